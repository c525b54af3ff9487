# The program alone, as a static binary: docker build -t cdi-prune . && docker run --rm -v "$PWD:/work" cdi-prune run model.yaml
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin cdi-prune
RUN mkdir -m 1777 /empty

FROM scratch
COPY --from=build /src/target/release/cdi-prune /cdi-prune
# For object stores: what proves who they are, and room for what is read of them.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /empty /tmp
WORKDIR /work
ENTRYPOINT ["/cdi-prune"]
