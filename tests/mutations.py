#!/usr/bin/env python3
"""Takes the checks of the readers away one by one, and says which test fails without each.

    python3 tests/mutations.py [FIRST [LAST]]

Changes the sources in place and puts them back: for a checkout without changes. A line for each check, as docs/reliability.md has
them; exit code 1 if some check can go without a test noticing.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER, READER, NODE, REGULAR = (
    f"src/{name}.rs" for name in ("checkpoint/header", "checkpoint/reader", "config/node", "regular")
)
PRUNED, CSR, BITMASK, FILL = (
    f"src/{name}.rs" for name in ("reader/validate", "sparse/csr", "sparse/bitmask", "sparse/fillmask")
)
SHAPE, INDEX = "src/tensor/shape.rs", "src/checkpoint/index.rs"
# Arguments of `cargo test`, one run after the other: the library's own tests, and of the others those that the checks are for.
TESTS = [
    ["--lib"],
    ["--test", "stages", "--test", "program", "--", "formats::", "hostile::", "errors::", "manifest::"],
]

# What is checked, where, and the check without its effect.
CHECKS = [
    ("a header has at most 100 MB", HEADER, "if length > MAX_HEADER {", "if false {"),
    ("a name occurs once", HEADER, ".find(|[(a, _), (b, _)]| a == b)", ".find(|_| false)"),
    ("a metadata key occurs once", HEADER, "if strings.insert(key.clone(), value).is_some() {",
     "if strings.insert(key.clone(), value).is_some() && false {"),
    ("data follow each other without gap or overlap", HEADER, "if from != end {", "if false {"),
    ("elements fill whole bytes", SHAPE, "rest.is_multiple_of(8).then(||", "true.then(||"),
    ("a shape has at most 64 dimensions", SHAPE, "if dims.len() > MAX_RANK {", "if false {"),
    ("`__metadata__` has at most 65,536 keys", HEADER, "if strings.len() > MAX_METADATA {", "if false {"),
    ("a tensor has the bytes of its type and shape", HEADER, "if got != expected {\n            return Err(HeaderError::Length",
     "if false {\n            return Err(HeaderError::Length"),
    ("the file ends with its data", HEADER, "if expected != file_len {", "if false {"),
    ("a shard is a plain name", INDEX, "if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {",
     "if parts.next().is_none() {"),
    ("a shard is no link out of the folder", INDEX, "(!inside).then_some(real)", "(false && !inside).then_some(real)"),
    ("a shard's tensors are those of the index", READER, "if index.tensors.get(name.as_str()) != Some(&n) {", "if false {"),
    ("the index's tensors are in the shards", READER,
     "absent.min() {", "absent.min().filter(|_| false) {"),
    ("no two stripped names are one", READER, "if let Some(first) = original.insert(short.clone(), name.clone()) {",
     "if let Some(first) = original.insert(short.clone(), name.clone()).filter(|_| false) {"),
    ("configs are not nested without end", NODE, "if open > MOST_OPEN {", "if open > 3 * MOST_OPEN {"),
    ("a config is one document", NODE, "if let Some(second) = documents.next() {",
     "if let Some(second) = documents.next().filter(|_| false) {"),
    ("versions are known", PRUNED, "if got != expected {", "if false {"),
    ("a tensor has at most as many elements as the limit", PRUNED, "if elements > self.limits.elements {", "if false {"),
    ("columns can be numbered", PRUNED, "if description.format == Format::Csr && !csr::can_hold(matrix) {", "if false {"),
    ("shards have one seed", PRUNED, "if *seed.get_or_insert(found.seed) != found.seed {",
     "if *seed.get_or_insert(found.seed) != found.seed && false {"),
    ("the stored shape is the described one", PRUNED,
     "if !dims.iter().map(|d| usize::try_from(*d)).eq(shape.dims().iter().map(|d| Ok(*d))) {", "if false {"),
    ("a part has its type and shape", PRUNED, "if found.dtype == dtype && fits {", "if true {"),
    ("no tensor stands beside its own parts", "src/reader/file.rs",
     "return Err(wrong(PrunedProblem::Twice(name.to_owned())));", "continue;"),
    ("a base has the recorded digest", PRUNED, "if got == *sha256 {", "if true {"),
    ("a scheme fits the shape", PRUNED, "scheme.check_shape(shape, layout).map_err(|error| error.to_string())?;", ""),
    ("padding of a fill mask is clear", FILL, "(used @ 1.., Some(last)) => last >> used == 0,", "(1.., Some(_)) => true,"),
    ("padding of a bitmask is clear", BITMASK, "&& last >> used != 0", "&& last >> used != 0 && false"),
    ("row offsets are the sums of the rows' bits", BITMASK, "&& expected != Some(got)", "&& expected != Some(got) && false"),
    ("a bitmask has as many bits as values", BITMASK, "if before != stored {", "if false {"),
    ("rows begin at 0", CSR, "if first != 0 {", "if false {"),
    ("rows do not end before they begin", CSR, "if got < begin {", "if false {"),
    ("rows end with the values", CSR, "if usize::try_from(begin) != Ok(stored) {", "if false {"),
    ("columns are there", CSR, "if usize::try_from(got).map_or(true, |column| column >= matrix.cols) {", "if false {"),
    ("columns rise", CSR, "if n > offset(crow, row) && column(n - 1) >= got {", "if false {"),
]


def main():
    first, last = (int(a) for a in (sys.argv[1:] + ["0", str(len(CHECKS))][len(sys.argv) - 1 :])[:2])
    missed = 0
    for what, file, before, after in CHECKS[first:last]:
        path = ROOT / file
        text = path.read_text()
        assert text.count(before) == 1, (file, before, text.count(before))
        path.write_text(text.replace(before, after))
        try:
            runs = [
                subprocess.run(
                    ["cargo", "test", "--no-fail-fast", *tests],
                    cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                )
                for tests in TESTS
            ]
        finally:
            path.write_text(text)
        failed = [name for run in runs for name in re.findall(r"^test (\S+) \.\.\. FAILED", run.stdout, re.M)]
        for run in runs:
            if not failed and run.returncode:
                print(run.stderr[-2000:], file=sys.stderr)
        missed += not failed
        print(f"| {what} | `{file}` | {', '.join(f'`{name}`' for name in failed) or '**none**'} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
