# The program alone, as a static binary: docker build -t cdi-prune . && docker run --rm -v "$PWD:/work" cdi-prune run model.yaml
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin cdi-prune

FROM scratch
COPY --from=build /src/target/release/cdi-prune /cdi-prune
WORKDIR /work
ENTRYPOINT ["/cdi-prune"]
