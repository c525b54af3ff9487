//! Runs in parts: every byte of every output is what one process writes, however many parts there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cdi_prune::config::Settings;
use cdi_prune::pipeline::{
    Error, Merged, PartDone, PartsOptions, PartsProblem, Resolved, Silent, Stages, merge, plan_parts, run,
    run_part,
};

use crate::common::{Scratch, Tensor, f32s, root};

/// A config with every output, of a language model with 26 floating-point tensors.
fn config(rest: &str) -> String {
    let data = root().join("tests/data/byte_lm_adamw");
    let facts = crate::common::facts(&data);
    let (rules, seed) = (&facts["rules"], &facts["seed"]);
    format!(
        "seed: {seed}
model: {{like: {data}/trained.safetensors}}
rules: {rules}
init: {{output: out/init.safetensors, max_shard_size: 100KB}}
trained: {{path: {data}/trained.safetensors}}
analyze:
  report: {{json: out/report.json, csv: out/report.csv, markdown: out/report.md, html: out/report.html, svg: out/plots}}
manifest: out/manifest.json
{rest}
",
        data = data.display()
    )
}

fn prune(rest: &str) -> String {
    config(&format!("prune: {{output: out/pruned.safetensors, {rest}}}"))
}

fn resolved(settings: &Settings) -> Resolved<'_> {
    Resolved::new(settings).unwrap()
}

/// The files that one process writes.
fn alone(s: &Scratch, config: &str) -> BTreeMap<String, Vec<u8>> {
    s.write("alone/x.yaml", config);
    let settings = Settings::load(&s.path("alone/x.yaml"), &[]).unwrap();
    run(&resolved(&settings), Stages::All, &Silent, |_| {}).unwrap();
    outputs(s, "alone/out/")
}

/// Every file below this folder, by its path there.
fn outputs(s: &Scratch, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let files = s.files().into_iter();
    files.filter_map(|(name, bytes)| Some((name.strip_prefix(folder)?.to_owned(), bytes))).collect()
}

/// Runs in parts to the end. Returns the names of the merged steps.
fn in_parts(settings: &Settings, parts: usize, order: impl Fn(usize) -> usize) -> Vec<&'static str> {
    let options = PartsOptions { parts, folder: None };
    let mut steps = Vec::new();
    loop {
        for number in 1..=parts {
            let done = run_part(&resolved(settings), order(number), options, &Silent).unwrap();
            assert!(matches!(done, PartDone::Step { again: false, .. }), "{done:?}");
        }
        match merge(&resolved(settings), options, &Silent, |_| {}).unwrap() {
            Merged::Step { step, .. } => steps.push(step.0),
            Merged::Finished(_) => break,
            Merged::Before => panic!("finished before"),
        }
    }
    steps
}

/// Compares a run in parts with a run alone, byte by byte, and the steps with those of the plan.
#[track_caller]
fn same(config: &str, numbers: &[usize]) {
    let s = Scratch::new();
    let expected = alone(&s, config);
    assert!(expected.len() > 5);
    for parts in numbers {
        let folder = format!("parts{parts}");
        s.write(&format!("{folder}/x.yaml"), config);
        let settings = Settings::load(&s.path(&format!("{folder}/x.yaml")), &[]).unwrap();
        let plan = plan_parts(&resolved(&settings), *parts).unwrap();
        let mut steps = in_parts(&settings, *parts, |number| parts + 1 - number);
        steps.push(plan.steps.last().unwrap());
        if !plan.may_be_more {
            assert_eq!(steps, plan.steps, "{parts} parts");
        }
        let mut got = outputs(&s, &format!("{folder}/out/"));
        let hidden = got.keys().filter(|name| name.starts_with('.')).cloned().collect::<Vec<_>>();
        assert_eq!(hidden.len(), 1, "{hidden:?}");
        assert!(hidden[0].ends_with("/finished.json"));
        got.remove(&hidden[0]);
        assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &got {
            assert!(*bytes == expected[name], "{parts} parts: {name} differs");
        }
    }
}

const SOME: [usize; 2] = [3, 7];

#[test]
fn any_number_of_parts_writes_the_same_bytes() {
    same(&prune("max_shard_size: 60KB"), &[1, 2, 3, 7, 64]);
}

#[test]
fn an_analysis_has_the_same_report() {
    same(&config(""), &SOME);
}

#[test]
fn thresholds_are_found_in_the_same_sample() {
    let auto = prune("fill: init, format: bitmask")
        .replace("analyze:", "analyze:\n  threshold: auto\n  decay: auto");
    same(&auto, &SOME);
}

#[test]
fn rankings_of_all_tensors_end_at_the_same_weight() {
    for decisions in [
        "criterion: magnitude, target: {sparsity: 0.7}, scope: global",
        "criterion: movement, target: {sparsity: 0.5}, scope: global, floor: 0.1, ceiling: 0.8, format: csr",
        "criterion: magnitude, target: {sparsity: 0.3}, scope: global, structure: rows, format: bitmask",
        "criterion: random, target: {bytes: 300KB}, scope: global, format: sparse, max_shard_size: 100KB",
    ] {
        same(&prune(decisions), &SOME);
    }
}

#[test]
fn rankings_within_tensors_are_one_step() {
    for decisions in [
        "criterion: magnitude, target: {sparsity: 0.7}, scope: tensor, dtype: f16",
        "criterion: movement, target: {sparsity: 0.5}, scope: row, fill: nearest",
        "criterion: magnitude, structure: {n: 2, m: 4}, rules: [{match: '**.bias', keep: true}, {match: 'h*.ln*.*', keep: true}]",
        "criterion: magnitude, target: {bytes: 300KB}, scope: tensor, format: sparse",
    ] {
        same(&prune(decisions), &SOME);
    }
}

#[test]
fn codes_are_the_same() {
    for values in [
        "values: {exact: true}",
        "values: {exact: true}, max_shard_size: 60KB",
        "criterion: magnitude, target: {sparsity: 0.5}, scope: global, format: auto",
        "criterion: magnitude, target: {bytes: 150KB}, scope: global, format: auto",
        "values: {step: auto}, format: coded",
        "values: {step: {bits: 5}}, criterion: magnitude, target: {sparsity: 0.4}, scope: row, format: coded",
    ] {
        same(&prune(values), &SOME);
    }
}

/// Weights from a base, tied tensors, and units removed from a chain: what needs several tensors at once.
#[test]
fn tensors_that_depend_on_each_other_are_in_one_part() {
    let values = |seed: u32, n: usize| -> Vec<u8> {
        let value = |i: u32| ((i.wrapping_mul(2_654_435_761) ^ seed) % 1009) as f32 / 128.0 - 4.0;
        f32s(&(0..n as u32).map(value).collect::<Vec<_>>())
    };
    let tensors = |seed| -> Vec<Tensor<'static>> {
        vec![
            ("a.weight", "F32", &[40, 30], values(seed, 1200)),
            ("a.bias", "F32", &[40], values(seed + 1, 40)),
            ("b.weight", "F32", &[20, 40], values(seed + 2, 800)),
            ("b.bias", "F32", &[20], values(seed + 3, 20)),
            ("c.weight", "F32", &[10, 20], values(seed + 4, 200)),
            ("embed", "F32", &[50, 20], values(seed + 5, 1000)),
            ("head", "F32", &[50, 20], values(seed + 5, 1000)),
            ("ids", "I64", &[3], vec![1; 24]),
        ]
    };
    for (seed, prune) in [
        (7, "criterion: magnitude, scope: global, target: {sparsity: 0.4}"),
        (7, "criterion: movement, scope: tensor, target: {sparsity: 0.4}, fill: init, format: bitmask"),
        (7, "values: {exact: true}"),
        (
            7,
            "criterion: magnitude, structure: rows, scope: global, target: {sparsity: 0.45}, remove: true, \
             chains: [{layers: [a, b, c], activation: relu}], rules: [{match: '*.bias', keep: true}]",
        ),
    ] {
        let s = Scratch::new();
        for folder in ["alone", "parts"] {
            s.safetensors(&format!("{folder}/base.safetensors"), &tensors(3));
            s.safetensors(&format!("{folder}/trained.safetensors"), &tensors(seed));
            let config = format!(
                "seed: 1\nrules: [{{match: '**', init: {{from: base.safetensors}}}}]\n\
                 trained: {{path: trained.safetensors}}\nanalyze: {{threshold: 0.5}}\n\
                 prune: {{output: out/pruned.safetensors, {prune}}}\nmanifest: out/manifest.json\n"
            );
            s.write(&format!("{folder}/x.yaml"), config);
        }
        let load = |folder: &str| Settings::load(&s.path(&format!("{folder}/x.yaml")), &[]).unwrap();
        run(&resolved(&load("alone")), Stages::All, &Silent, |_| {}).unwrap();
        in_parts(&load("parts"), 5, |number| number);
        for file in ["out/pruned.safetensors", "out/manifest.json"] {
            let [alone, parts] = ["alone", "parts"].map(|folder| s.path(folder).join(file));
            assert!(fs::read(alone).unwrap() == fs::read(parts).unwrap(), "{prune}: {file}");
        }
    }
}

const DECISIONS: &str =
    "criterion: movement, target: {sparsity: 0.6}, scope: global, format: bitmask, max_shard_size: 60KB";

/// The folder of the parts of a run in this folder.
fn exchange(s: &Scratch, parts: usize) -> PathBuf {
    s.path(&format!("parts/out/.pruned.safetensors.cdi-prune-parts/of-{parts:05}"))
}

fn settings_of(s: &Scratch, config: &str) -> Settings {
    s.write("parts/x.yaml", config);
    Settings::load(&s.path("parts/x.yaml"), &[]).unwrap()
}

fn options(parts: usize) -> PartsOptions<'static> {
    PartsOptions { parts, folder: None }
}

/// Runs all parts of one step, and merges unless it is the one with this name.
fn until(settings: &Settings, parts: usize, last: &str) {
    loop {
        let mut name = "";
        for number in 1..=parts {
            let done = run_part(&resolved(settings), number, options(parts), &Silent).unwrap();
            let PartDone::Step { step, .. } = done else { panic!("{done:?}") };
            name = step.0;
        }
        if name == last {
            return;
        }
        merge(&resolved(settings), options(parts), &Silent, |_| {}).unwrap();
    }
}

#[test]
fn parts_can_be_done_again_and_late_ones_change_nothing() {
    let s = Scratch::new();
    let config = prune(DECISIONS);
    let expected = alone(&s, &config);
    let settings = settings_of(&s, &config);
    until(&settings, 3, "mark");
    // Again, before the merge.
    let again = run_part(&resolved(&settings), 2, options(3), &Silent).unwrap();
    assert!(matches!(again, PartDone::Step { step: ("mark", _), again: true }), "{again:?}");
    // A part whose result was lost, and with it what it kept.
    let mark = |part: usize, rest: &str| {
        let mut files = fs::read_dir(exchange(&s, 3)).unwrap().map(|entry| entry.unwrap().path());
        let end = format!("-mark.part-{part:05}{rest}");
        files.find(|path| path.to_str().unwrap().ends_with(&end)).unwrap()
    };
    let kept = fs::read(mark(2, ".masks")).unwrap();
    fs::remove_file(mark(2, "")).unwrap();
    fs::remove_file(mark(2, ".masks")).unwrap();
    let again = run_part(&resolved(&settings), 2, options(3), &Silent).unwrap();
    assert!(matches!(again, PartDone::Step { step: ("mark", _), again: false }), "{again:?}");
    assert!(fs::read(mark(2, ".masks")).unwrap() == kept);
    assert!(matches!(
        merge(&resolved(&settings), options(3), &Silent, |_| {}).unwrap(),
        Merged::Step { step: ("mark", _), .. }
    ));
    until(&settings, 3, "write");
    assert!(matches!(merge(&resolved(&settings), options(3), &Silent, |_| {}).unwrap(), Merged::Finished(_)));
    let mut got = outputs(&s, "parts/out/");
    got.retain(|name, _| !name.starts_with('.'));
    assert!(got == expected);
    // Everything is done.
    assert_eq!(run_part(&resolved(&settings), 1, options(3), &Silent).unwrap(), PartDone::Finished);
    assert!(matches!(merge(&resolved(&settings), options(3), &Silent, |_| {}).unwrap(), Merged::Before));
    assert_eq!(fs::read_dir(exchange(&s, 3)).unwrap().count(), 1);
    // Until an output is missing.
    fs::remove_file(s.path("parts/out/report.csv")).unwrap();
    let done = run_part(&resolved(&settings), 1, options(3), &Silent).unwrap();
    assert!(matches!(done, PartDone::Step { step: ("init", 1), again: false }));
}

/// The problem that a merge finds, and the name of the file or folder that it is about. Nothing is written.
fn problem(s: &Scratch, settings: &Settings, parts: usize) -> (String, PartsProblem) {
    let visible = || {
        let mut files = outputs(s, "parts/out/");
        files.retain(|name, _| !name.starts_with('.'));
        files
    };
    let before = visible();
    let error = merge(&resolved(settings), options(parts), &Silent, |_| {}).unwrap_err();
    assert!(visible() == before);
    assert_eq!(error.exit_code(), 1);
    match error {
        Error::Parts { path, problem } => (path.file_name().unwrap().to_str().unwrap().to_owned(), *problem),
        other => panic!("{other}"),
    }
}

#[test]
fn bad_parts_are_named_and_nothing_is_written() {
    let s = Scratch::new();
    let config = prune(DECISIONS);
    let settings = settings_of(&s, &config);
    let step = ("init", 1);
    fs::create_dir_all(exchange(&s, 4)).unwrap();
    let (folder, found) = problem(&s, &settings, 4);
    assert_eq!(
        (&*folder, found),
        ("of-00004", PartsProblem::Missing { step, missing: vec![1, 2, 3, 4], of: 4 })
    );
    until(&settings, 4, "init");
    let part = exchange(&s, 4).join("1-init.part-00003");
    let good = fs::read(&part).unwrap();
    fs::remove_file(&part).unwrap();
    let (_, found) = problem(&s, &settings, 4);
    assert_eq!(found, PartsProblem::Missing { step, missing: vec![3], of: 4 });

    let bad = |bytes: &[u8]| {
        fs::write(&part, bytes).unwrap();
        let (file, found) = problem(&s, &settings, 4);
        assert_eq!(file, "1-init.part-00003");
        found
    };
    let line = good.iter().position(|byte| *byte == b'\n').unwrap();
    let edited = |from: &str, to: &str| {
        let text = String::from_utf8(good[..line].to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        [text.replacen(from, to, 1).as_bytes(), &good[line..]].concat()
    };
    assert_eq!(bad(b""), PartsProblem::NotAPart);
    assert_eq!(bad(&vec![0x5a; 1 << 20]), PartsProblem::NotAPart);
    assert_eq!(bad(b"{\"format\":\"cdi-prune part\",\"version\":1}\n"), PartsProblem::NotAPart);
    assert_eq!(bad(&edited("\"version\":1", "\"version\":2")), PartsProblem::Version(2));
    assert_eq!(
        bad(&edited("\"tool\":\"", "\"tool\":\"9.")),
        PartsProblem::Tool(format!("9.{}", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(bad(&edited("\"config\":\"", "\"config\":\"0")), PartsProblem::Config);
    assert_eq!(bad(&edited("\"inputs\":\"", "\"inputs\":\"0")), PartsProblem::Inputs);
    let place = |got: &str| PartsProblem::Place {
        expected: "part 3 of step 1 (`init`)".to_owned(),
        got: got.to_owned(),
    };
    assert_eq!(bad(&edited("\"part\":3", "\"part\":2")), place("part 2 of step 1 (`init`)"));
    assert_eq!(bad(&edited("\"step\":1", "\"step\":7")), place("part 3 of step 7 (`init`)"));
    let length = good.len() as u64;
    assert_eq!(bad(&good[..good.len() - 1]), PartsProblem::Length { expected: length, got: length - 1 });
    assert_eq!(bad(&[&good[..], b"x"].concat()), PartsProblem::Length { expected: length, got: length + 1 });
    // An honest file with an absurd length is refused by its size on disk, not by its word.
    let text = edited("\"bytes\":", "\"bytes\":9999999999");
    assert!(matches!(bad(&text), PartsProblem::Length { .. }));
    for at in [line + 1, (line + good.len()) / 2, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        assert_eq!(bad(&flipped), PartsProblem::Damaged, "{at}");
    }
    fs::write(&part, &good).unwrap();
    assert!(matches!(merge(&resolved(&settings), options(4), &Silent, |_| {}), Ok(Merged::Step { .. })));
}

#[test]
fn what_was_lost_is_computed_again() {
    let s = Scratch::new();
    for config in [prune(DECISIONS), prune("criterion: magnitude, target: {sparsity: 0.5}, format: auto")] {
        let expected = alone(&s, &config);
        let _ = fs::remove_dir_all(s.path("parts"));
        let settings = settings_of(&s, &config);
        let all = || fs::read_dir(exchange(&s, 4)).unwrap().map(|entry| entry.unwrap().path());
        let merge = || merge(&resolved(&settings), options(4), &Silent, |_| {});
        let part = |number| run_part(&resolved(&settings), number, options(4), &Silent);
        // What a part has kept, changed and then lost.
        let before_write = if config.contains("auto") { "compare" } else { "mark" };
        until(&settings, 4, before_write);
        merge().unwrap();
        for end in [".part-00002.masks", ".part-00003.codes"] {
            let kept = all().filter(|path| path.to_str().unwrap().ends_with(end)).max();
            let Some(kept) = kept else { continue };
            let (number, good) = (if end.contains('2') { 2 } else { 3 }, fs::read(&kept).unwrap());
            fs::write(&kept, b"other").unwrap();
            let error = part(number).unwrap_err();
            assert!(matches!(error, Error::Parts { path, problem }
                if path == kept && *problem == PartsProblem::Kept));
            let again = part(number).unwrap();
            assert!(
                matches!(again, PartDone::Step { step, again: false } if step.0 == before_write),
                "{again:?}"
            );
            assert!(fs::read(&kept).unwrap() == good);
        }
        until(&settings, 4, "write");
        // A whole shard, and a share of one.
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let written = all().filter(|path| name(path).contains("write.pruned")).collect::<Vec<_>>();
        let shared = written.iter().filter(|path| name(path).contains(".part-")).min();
        let whole = written.iter().filter(|path| !name(path).contains(".part-")).min();
        for file in shared.into_iter().chain(whole) {
            let mut bytes = fs::read(file).unwrap();
            *bytes.iter_mut().rev().find(|byte| **byte != 0).unwrap() ^= 1;
            fs::write(file, bytes).unwrap();
            let (found, problem) = problem(&s, &settings, 4);
            let PartsProblem::Shard { part: number } = problem else { panic!("{problem:?}") };
            assert_eq!(found, name(file));
            assert!(matches!(part(number).unwrap(), PartDone::Step { step: ("write", _), again: false }));
        }
        assert!(matches!(merge().unwrap(), Merged::Finished(_)));
        let mut got = outputs(&s, "parts/out/");
        got.retain(|name, _| !name.starts_with('.'));
        assert!(got == expected);
    }
}

#[test]
fn a_search_is_not_divided() {
    let s = Scratch::new();
    let text = fs::read_to_string(root().join("configs/tune.yaml")).unwrap();
    let data = format!("{}/", root().display());
    s.write("x.yaml", text.replace("../", &data).replace(&format!("{data}out/"), "out/"));
    let settings = Settings::load(&s.path("x.yaml"), &[]).unwrap();
    let error = run_part(&resolved(&settings), 1, options(2), &Silent).unwrap_err();
    assert!(matches!(&error, Error::Parts { problem, .. } if **problem == PartsProblem::Tune), "{error}");
    assert!(plan_parts(&resolved(&settings), 2).is_err());
}
