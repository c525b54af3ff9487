#!/usr/bin/env python3
"""Takes the checks of the readers away one by one, and says which tests fail without each.

    python3 tests/mutations.py [FIRST [LAST]]     those checks, a row for each, as docs/reliability.md has them
    python3 tests/mutations.py FIRST LAST --quick the same, up to the first run of tests with one that fails
    python3 tests/mutations.py --sample COUNT     of those that the core's own tests notice, as many as are due at this commit
    python3 tests/mutations.py --check            whether each check is still where it is said to be; runs nothing

Changes the sources in place and puts them back. Exit code 1 if some check can go without a test noticing.
"""

import argparse
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = "crates/cdi-core/src"
NODE = "src/config/node.rs"
HEADER, READER, OPEN, INDEX, REGULAR, SHAPE = (
    f"{CORE}/{name}.rs"
    for name in (
        "checkpoint/header", "checkpoint/reader", "checkpoint/open", "checkpoint/index", "regular_file", "tensor/shape"
    )
)
PRUNED, CSR, BITMASK, FILL = (
    f"{CORE}/{name}.rs" for name in ("reader/validate", "sparse/csr", "sparse/bitmask", "sparse/fillmask")
)
DEFLATED = f"{CORE}/sparse/deflated.rs"
COMPENSATE, STEPS = "src/prune/compensate.rs", "src/pipeline/pack/steps.rs"
HEAD, LEVELS, TABLES, RANS, RAW, CODED, FILE = (
    f"{CORE}/{name}.rs"
    for name in (
        "codec/head", "codec/levels", "codec/frequency", "codec/rans", "codec/rawbits", "reader/coded", "reader/file"
    )
)
# Arguments of `cargo test`, one run after the other: the library's own tests, and of the others those that the checks are for.
TESTS = [
    ["--lib"],
    ["--test", "stages", "--test", "program", "--", "formats::", "headers::", "hostile::", "errors::", "manifest::", "pack::",
     "steps::"],
]

# What is checked in the core is mostly tested there, which takes a fraction of the time to build.
OWN_TESTS_OF_CORE = [["-p", "cdi-core", "--lib"]]
TESTS_OF_CORE = [*OWN_TESTS_OF_CORE, *TESTS]

# What is checked, where, and the check without its effect.
CHECKS = [
    ("a header has at most 100 MB", HEADER, "if length > MAX_HEADER {", "if false {"),
    ("a name occurs once", HEADER, ".find(|pair| pair[0].0 == pair[1].0)", ".find(|_| false)"),
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
    ("a shard's tensors are those of the index", OPEN, "if index.tensors.get(name.as_str()) != Some(&n) {", "if false {"),
    ("the index's tensors are in the shards", OPEN,
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
    ("no tensor stands beside its own parts", f"{CORE}/reader/file.rs",
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
    ("columns are there", CSR, "if usize::try_from(got).map_or(true, |column| column >= cols) {", "if false {"),
    ("the version of a code is known", HEAD, "if version != VERSION {", "if false {"),
    ("the model of a code is known", HEAD, "3 => Model::Bytes { difference: true },", "3.. => Model::Bytes { difference: true },"),
    ("only floating-point types have a model of values", HEAD, "0 if form.is_float() =>", "0 =>"),
    ("only floating-point types have a model of differences", HEAD, "1 if form.is_float() =>", "1 =>"),
    ("flags of a code are known", HEAD, "if flags > 7 ||", "if"),
    ("only values have low bits that are zero", HEAD, "(flags & 4 != 0 && !matches!(model, Model::Value { .. }))", "false"),
    ("a code has 1 to 16 tables", HEAD, "if !(1..=MOST_TABLES).contains(&count) {", "if count == 0 {"),
    ("a code has at least one table", HEAD, "if !(1..=MOST_TABLES).contains(&count) {", "if count > MOST_TABLES {"),
    ("a code has the lengths of its blocks", HEAD, "if blocks.is_none_or(|blocks| blocks > bytes.len() / 4) {", "if false {"),
    ("low bits are within the mantissa", HEAD, "if flags & 4 != 0 && !levels.zeros.are_within(form.most_zeros()) {", "if false {"),
    ("symbols of pruned places are allowed", HEAD, "if table.frequencies()[unwanted..2].iter().any(|f| *f > 0) {", "if false {"),
    ("block lengths add up", HEAD, "if got == all { Ok(ends) }", "if true { Ok(ends) }"),
    ("thresholds of levels rise", LEVELS, "0 => None,", "0 => Some(*last),"),
    ("thresholds of levels are numbers", LEVELS, "step => last.checked_add(step.into()),", "step => Some(last.wrapping_add(step.into())),"),
    ("thresholds of levels lie together", LEVELS, "let next = next.filter(in_reach);", "let _ = in_reach;"),
    ("classes are told for so many lines alone", LEVELS, "if count > MOST_CLASSES {", "if false {"),
    ("classes without a code have none", LEVELS, "if table.frequencies().iter().any(|f| u32::from(*f) == rans::TOTAL) {", "if false {"),
    ("classes use all of their code", LEVELS, "if read != Some(code.len()) {", "if read.is_none() {"),
    ("symbols are those of the model", TABLES, "if last < first || last > usize::from(last_symbol) {", "if last < first {"),
    ("symbols of a table are in order", TABLES, "if last < first || last > usize::from(last_symbol) {", "if last > usize::from(last_symbol) {"),
    ("states are large enough", RANS, "if states.iter().any(|x| *x < REST) {", "if false {"),
    ("states come to rest", RANS, "(states == [REST; LANES]).then_some(begun + 2 * (all - words.len()))", "Some(begun + 2 * (all - words.len()))"),
    ("no words are missing", RANS, "taken += words;\n            }\n            words = words.get(taken..)?;",
     "taken += words;\n            }\n            words = words.get(taken..).unwrap_or_default();"),
    ("padding of bits is clear", RAW, "is_clear.then_some(begun.len())", "Some(begun.len())"),
    ("bits come out", RAW, "self.bytes_read() == Some(self.bytes.len())", "self.bytes_read().is_some()"),
    ("a code and its description agree on predictions", CODED, "if head.is_difference() != prediction.is_some() {", "if false {"),
    ("bytes are not pruned", CODED, "if head.is_bytes() && description.fill != Fill::Zero {", "if false {"),
    ("other types are predicted by a base alone", CODED, "if !form.is_float() && prediction", "if false && prediction"),
    ("a base has what the file was packed with", PRUNED, "if got != *sha256 {", "if false {"),
    ("a base's tensor of another type is not taken", PRUNED, "} else if tensor.dtype != dtype {", "} else if false {"),
    ("a tensor in the base has its type", PRUNED, "            if tensor.dtype != dtype {\n                let problem", "            if false {\n                let problem"),
    ("a tensor is in the base or in the file", PRUNED, "None if !in_file => Ok(()),", "None => Ok(()),"),
    ("a compressed description ends with its data", DEFLATED, "TINFLStatus::Done if read < deflated.len() => {",
     "TINFLStatus::Done if false => {"),
    ("a description does not inflate without end", DEFLATED, "const MAX_JSON: usize = 1 << 24;", "const MAX_JSON: usize = 1 << 30;"),
    ("shared codes fill their tensor", CODED, "if described != got as u64 {", "if described > got as u64 {"),
    ("only coded tensors have a shared code", CODED, "shared().find(|(tensor, _)| tensor.format != Format::Coded)",
     "shared().find(|_| false)"),
    ("shards have no shared codes", CODED, "if self.checkpoint.metadata().len() > 1 {", "if false {"),
    ("a code is shared or a tensor", CODED, "if self.checkpoint.tensor(&own).is_some() {", "if false {"),
    ("a step is positive and finite", HEAD, "if !(step > 0.0 && step.is_finite()) {", "if false {"),
    ("second moments are finite", COMPENSATE, ".position(|value| !value.is_finite())", ".position(|_| false)"),
    ("second moments are symmetric", COMPENSATE, "if (value - other).abs() > ASYMMETRY * scale {", "if false {"),
    ("no second moment is negative", COMPENSATE, "if own < 0.0 {", "if false {"),
    ("second moments are positive semidefinite", COMPENSATE, "if own.is_nan() || own <= 0.0 {", "if false {"),
    ("second moments are those of a tensor", STEPS, "None => return Err(wrong(name, CalibrationProblem::Unknown)),",
     "None => continue,"),
    ("a calibration is of use", STEPS, ".filter(|_| !is_of_use)", ".filter(|_| false)"),
    ("second moments are for each pair of inputs", STEPS,
     "if moments.shape.dims() != [inputs, inputs] || inputs > blocks::BLOCK_ELEMENTS {", "if false {"),
    ("columns rise", CSR, "if got <= before {", "if false {"),
]

# Where checks are that the core's own tests notice, and those there that only other tests do, or that have not been tried.
IN_CORE = (f"{CORE}/codec/", f"{CORE}/sparse/", HEADER, SHAPE)
ELSEWHERE = {
    "`__metadata__` has at most 65,536 keys",
    "a compressed description ends with its data", "a description does not inflate without end",
}


def misplaced():
    """Checks that are not where they are said to be."""
    for what, file, before, _ in CHECKS:
        path = ROOT / file
        count = path.read_text().count(before) if path.exists() else 0
        if count != 1:
            yield f"{file} has {count} times, not once, the check that {what}: {before!r}"
    for what in ELSEWHERE - {check[0] for check in CHECKS}:
        yield f"there is no check that {what}"


def due(count):
    """The checks of a sample: others at each commit, the same ones whenever a commit is tested."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    own = [check for check in CHECKS if check[1].startswith(IN_CORE) and check[0] not in ELSEWHERE]
    begin = int(commit, 16) % len(own)
    return [own[(begin + n) % len(own)] for n in range(min(count, len(own)))]


def failing(check, is_enough, tests_of_core=TESTS_OF_CORE):
    """The tests that fail without a check; of the first run of tests with any, where that is enough."""
    _, file, before, after = check
    path = ROOT / file
    text = path.read_text()
    failed = []
    try:
        path.write_text(text.replace(before, after))
        for tests in tests_of_core if file.startswith(CORE) else TESTS:
            run = subprocess.run(
                ["cargo", "test", "--no-fail-fast", *tests],
                cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            )
            failed += re.findall(r"^test (\S+) \.\.\. FAILED", run.stdout, re.M)
            if run.returncode and not failed:
                print(run.stderr[-2000:], file=sys.stderr)
            if failed and is_enough:
                break
    finally:
        path.write_text(text)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("range", nargs="*", type=int, metavar="FIRST LAST")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sample", type=int, metavar="COUNT")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    lost = list(misplaced())
    if lost:
        sys.exit("\n".join(lost))
    if args.check:
        print(f"{len(CHECKS)} checks are where they are said to be")
        return 0
    # Ended, it puts the sources back as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    first, last = (*args.range, *(0, len(CHECKS))[len(args.range) :])[:2]
    if args.sample is None:
        checks, tests_of_core = CHECKS[first:last], TESTS_OF_CORE
    else:
        checks, tests_of_core = due(args.sample), OWN_TESTS_OF_CORE
    missed = 0
    for check in checks:
        failed = list(dict.fromkeys(failing(check, args.quick, tests_of_core)))
        missed += not failed
        names = ", ".join(f"`{name}`" for name in failed) or "**none**"
        print(f"| {check[0]} | `{check[1]}` | {names} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
