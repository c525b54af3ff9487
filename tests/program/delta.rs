//! Deltas: every kind of change, chains, files in place, and what is refused.

use std::collections::BTreeMap;

use cdi_prune::checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::common::{Ran, Scratch, Tensor, description, f32s, root, succeeds};

type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

/// All tensors of a checkpoint.
fn tensors(s: &Scratch, name: &str) -> Tensors {
    let checkpoint = Checkpoint::open(&s.path(name)).unwrap();
    let row = |(name, tensor): (&str, cdi_prune::checkpoint::TensorRef<'_>)| {
        let form = (tensor.dtype.to_string(), tensor.shape.dims().to_vec(), tensor.bytes().to_vec());
        (name.to_owned(), form)
    };
    checkpoint.tensors().map(row).collect()
}

/// Numbers that compress as badly as weights do.
fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x3d00_0000 | state >> 8 & 0xff_ffff) * if state & 1 == 1 { -1.0 } else { 1.0 }
    };
    (0..count).map(next).collect()
}

/// A tensor whose element `n` is multiplied by 1.25 where `n` is a multiple of `every`.
fn changed(values: &[f32], every: usize) -> Vec<f32> {
    values.iter().enumerate().map(|(n, v)| if n % every == 0 { v * 1.25 } else { *v }).collect()
}

fn bf16s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

/// A base with a tensor for each kind of change, and the next version, in two shards.
fn every_kind(s: &Scratch) {
    let w = noise(1, 300 * 400);
    let mut odd = w[..200].to_vec();
    odd[3] = f32::from_bits(0x7f80_0001);
    let old: [Tensor<'_>; 13] = [
        ("changed", "F32", &[300, 400], f32s(&w)),
        ("columns", "F32", &[40, 30], f32s(&w[..1200])),
        ("empty", "F32", &[0, 4], vec![]),
        ("equal", "F32", &[100, 20], f32s(&w[..2000])),
        ("five", "F4", &[5, 4], vec![7; 10]),
        ("ids", "I64", &[500], (0..500u64).flat_map(u64::to_le_bytes).collect()),
        ("middle", "BF16", &[3, 5, 200], bf16s(&w[..3000])),
        ("nan", "F32", &[200], f32s(&odd)),
        ("old.name", "F32", &[20, 50], f32s(&w[5000..6000])),
        ("retyped", "F32", &[50, 60], f32s(&w[..3000])),
        ("rows", "F32", &[400, 300], f32s(&w)),
        ("shape", "F32", &[20, 30], f32s(&w[..600])),
        ("was", "F32", &[2], f32s(&[1.0, 2.0])),
    ];
    s.safetensors("old.safetensors", &old);
    let mut rows = changed(&w, 1000);
    rows.extend(noise(2, 600));
    let columns = w[..1200].chunks(30).flat_map(|row| [row, &[9.0, 8.0]].concat()).collect::<Vec<f32>>();
    let middle: Vec<f32> = w[..3000].chunks(1000).flat_map(|part| [part, &w[..200]].concat()).collect();
    odd[4] = f32::from_bits(0xffc0_1234);
    let mut ids: Vec<u8> = (0..500u64).flat_map(u64::to_le_bytes).collect();
    ids[8] = 77;
    let new: [Tensor<'_>; 13] = [
        ("added", "F32", &[3], f32s(&[1.0, 2.0, 3.0])),
        ("changed", "F32", &[300, 400], f32s(&changed(&w, 50))),
        ("columns", "F32", &[40, 32], f32s(&columns)),
        ("empty", "F32", &[0, 4], vec![]),
        ("equal", "F32", &[100, 20], f32s(&w[..2000])),
        ("five", "F4", &[5, 4], vec![8; 10]),
        ("ids", "I64", &[500], ids),
        ("middle", "BF16", &[3, 6, 200], bf16s(&middle)),
        ("nan", "F32", &[200], f32s(&odd)),
        ("new.name", "F32", &[20, 50], f32s(&changed(&w[5000..6000], 7))),
        ("retyped", "BF16", &[50, 60], bf16s(&w[..3000])),
        ("rows", "F32", &[402, 300], f32s(&rows)),
        ("shape", "F32", &[30, 20], f32s(&w[..600])),
    ];
    s.safetensors("new/a-1.safetensors", &new[..6]);
    s.safetensors("new/a-2.safetensors", &new[6..]);
    let place = |(n, (name, ..)): (usize, &Tensor<'_>)| {
        ((*name).to_owned(), Value::from(if n < 6 { "a-1.safetensors" } else { "a-2.safetensors" }))
    };
    let map: serde_json::Map<String, Value> = new.iter().enumerate().map(place).collect();
    let index = json!({"metadata": {"total_size": 0, "note": "kept"}, "weight_map": map});
    s.write("new/model.safetensors.index.json", index.to_string());
}

#[test]
fn every_kind_of_change() {
    let s = Scratch::new();
    every_kind(&s);
    let made = succeeds(
        &s,
        &[
            "delta",
            "old.safetensors",
            "new",
            "-o",
            "d.safetensors",
            "--map",
            "old.*=new.*",
            "--format",
            "json",
        ],
    );
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let of = |name: &str| {
        let all = made["tensors"].as_array().unwrap();
        let row = all.iter().find(|tensor| tensor["name"] == name).unwrap();
        (row["change"].as_str().unwrap().to_owned(), row["changed"].as_u64())
    };
    for (name, change, elements) in [
        ("added", "added", None),
        ("changed", "changed", Some(2400)),
        ("columns", "grown", None),
        ("empty", "unchanged", Some(0)),
        ("equal", "unchanged", Some(0)),
        // Bytes, of which each has two elements.
        ("five", "changed", Some(10)),
        ("ids", "changed", Some(1)),
        ("middle", "grown", None),
        ("nan", "changed", Some(1)),
        ("new.name", "changed", Some(143)),
        ("retyped", "retyped", None),
        ("rows", "grown", None),
        ("shape", "reshaped", None),
        ("was", "removed", None),
    ] {
        assert_eq!(of(name), (change.to_owned(), elements), "{name}");
    }
    // What grew costs what is new of it, and what has another type is predicted from what it was.
    let bytes = |name: &str| {
        let all = made["tensors"].as_array().unwrap();
        all.iter().find(|tensor| tensor["name"] == name).unwrap()["delta_bytes"].as_u64().unwrap()
    };
    assert!(bytes("rows") < 3500, "{}", bytes("rows"));
    assert!(bytes("middle") < 1000, "{}", bytes("middle"));
    assert!(bytes("columns") < 1000, "{}", bytes("columns"));
    assert!(bytes("retyped") < 700, "{}", bytes("retyped"));
    assert_eq!(bytes("equal"), 0);

    succeeds(&s, &["apply", "old.safetensors", "d.safetensors", "-o", "made.safetensors"]);
    assert!(tensors(&s, "made.safetensors") == tensors(&s, "new"));
    // Whatever reads packed files reads deltas.
    succeeds(&s, &["restore", "d.safetensors", "--base", "old.safetensors", "-o", "restored.safetensors"]);
    assert!(tensors(&s, "restored.safetensors") == tensors(&s, "new"));
    succeeds(&s, &["verify", "old.safetensors", "d.safetensors", "new"]);
    let inspected = succeeds(&s, &["inspect", "d.safetensors"]).stdout;
    for line in [
        format!("Delta over old.safetensors with the state {}.", made["base_state"].as_str().unwrap()),
        format!("It gives the state {}.", made["state"].as_str().unwrap()),
        "Renamed: new.name is old.name in the base.".to_owned(),
        "Removed: was.".to_owned(),
    ] {
        assert!(inspected.contains(&line), "{inspected}");
    }
    // In shards, with the same tensors.
    succeeds(
        &s,
        &[
            "delta",
            "old.safetensors",
            "new",
            "-o",
            "s.safetensors",
            "--map",
            "old.name=new.name",
            "--max-shard-size",
            "3kB",
        ],
    );
    assert!(s.path("s.safetensors.index.json").exists());
    let apply = [
        "apply",
        "old.safetensors",
        "s.safetensors.index.json",
        "-o",
        "m.safetensors",
        "--max-shard-size",
        "500kB",
    ];
    succeeds(&s, &apply);
    assert!(tensors(&s, "m.safetensors.index.json") == tensors(&s, "new"));
}

#[test]
fn what_the_table_says() {
    let s = Scratch::new();
    s.safetensors(
        "1.safetensors",
        &[("a", "F32", &[4], f32s(&[1.0, 2.0, 3.0, 4.0])), ("b", "F32", &[1], f32s(&[5.0]))],
    );
    s.safetensors(
        "2.safetensors",
        &[("a", "F32", &[4], f32s(&[1.0, 2.5, 3.0, 4.0])), ("b", "F32", &[1], f32s(&[5.0]))],
    );
    let ran = succeeds(&s, &["delta", "1.safetensors", "2.safetensors", "-o", "d.safetensors"]);
    let expected = "\
┌────────────────────────────────────────────────────────────────────────┐
│ tensor           type  shape  changed      %      max  bytes  in delta │
│                                               |delta|                  │
╞════════════════════════════════════════════════════════════════════════╡
│ a       changed  F32   4            1  25.00  5.00e-1     16        16 │
└────────────────────────────────────────────────────────────────────────┘
2 tensors: 1 unchanged. 1 changed element in the tensors that both have.
Delta: d.safetensors, 424 bytes, 302.86 % of the new checkpoint's 140 (";
    assert!(ran.stdout.starts_with(expected), "{}", ran.stdout);
    assert!(ran.stdout.ends_with(" s). It gives the state 76c87bc5b0343c18.\n"), "{}", ran.stdout);
    let ran = succeeds(&s, &["delta", "1.safetensors", "1.safetensors", "-o", "e.safetensors"]);
    assert!(ran.stdout.starts_with("2 tensors: 2 unchanged. 0 changed elements"), "{}", ran.stdout);
    let ran = succeeds(&s, &["apply", "1.safetensors", "e.safetensors", "-o", "1b.safetensors"]);
    let expected = "Wrote 1b.safetensors, 172 bytes. 2 tensors of 20 bytes, 2 of them unchanged, ";
    assert!(ran.stdout.starts_with(expected), "{}", ran.stdout);
    let ran = succeeds(&s, &["apply", "1.safetensors", "d.safetensors", "--dry-run"]);
    assert!(ran.stdout.starts_with("Checked, nothing written. 2 tensors of 20 bytes, 1 of them unchanged, "));
}

/// Four versions with a delta between each two: values change, a tensor grows, and values change again.
fn versions(s: &Scratch) -> Vec<String> {
    let w = noise(3, 120_000);
    let grown = [changed(&w, 9), noise(4, 400)].concat();
    let rows = [300, 300, 301, 301];
    let values = [w.clone(), changed(&w, 9), grown.clone(), changed(&grown, 31)];
    for (n, (rows, values)) in rows.into_iter().zip(&values).enumerate() {
        let other = f32s(&[n as f32; 5]);
        s.safetensors(
            &format!("v{n}.safetensors"),
            &[
                ("w", "F32", &[rows, 400], f32s(values)),
                ("x", "F32", &[5], if n < 3 { f32s(&[0.0; 5]) } else { other }),
            ],
        );
    }
    let name = |n: usize| format!("d{n}.safetensors");
    for n in 1..4 {
        let (old, new) = (format!("v{}.safetensors", n - 1), format!("v{n}.safetensors"));
        succeeds(s, &["delta", &old, &new, "-o", &name(n)]);
    }
    (1..4).map(name).collect()
}

#[test]
fn a_chain_is_applied_in_one_go() {
    let s = Scratch::new();
    versions(&s);
    for (first, last) in [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)] {
        let base = format!("v{first}.safetensors");
        let deltas: Vec<String> = (first + 1..=last).map(|n| format!("d{n}.safetensors")).collect();
        let mut args = vec!["apply", &base, "-o", "made.safetensors"];
        args.extend(deltas.iter().map(String::as_str));
        for threads in ["1", "3"] {
            succeeds(&s, &[&args[..], &["--threads", threads]].concat());
            // All but the order of the header, and `format: pt`.
            assert!(
                tensors(&s, "made.safetensors") == tensors(&s, &format!("v{last}.safetensors")),
                "{first} {last}"
            );
        }
    }
}

/// Five versions of several tensors, of which one is added, one renamed, and one removed, and their deltas.
fn history(s: &Scratch) {
    let w = noise(5, 100_000);
    let ids = |n: u64| {
        (0..300u64).map(|id| id * 3 + n * u64::from(id % 50 == 0)).flat_map(u64::to_le_bytes).collect()
    };
    let two = changed(&w, 40);
    let three = changed(&two, 63);
    let small = |factor: f32| f32s(&[0.5 * factor, 1.0]);
    let shape: &[usize] = &[250, 400];
    let versions: [Vec<Tensor<'_>>; 5] = [
        vec![
            ("gone", "F32", &[2], small(1.0)),
            ("ids", "I64", &[300], ids(0)),
            ("old.w", "F32", shape, f32s(&w)),
        ],
        vec![
            ("added", "F32", &[2], small(2.0)),
            ("gone", "F32", &[2], small(3.0)),
            ("ids", "I64", &[300], ids(1)),
            ("old.w", "F32", shape, f32s(&two)),
        ],
        vec![
            ("added", "F32", &[2], small(4.0)),
            ("ids", "I64", &[300], ids(2)),
            ("new.w", "F32", shape, f32s(&two)),
        ],
        vec![
            ("added", "F32", &[2], small(4.0)),
            ("ids", "I64", &[300], ids(2)),
            ("new.w", "F32", shape, f32s(&three)),
        ],
        vec![
            ("added", "F32", &[2], small(5.0)),
            ("ids", "I64", &[300], ids(4)),
            ("new.w", "F32", shape, f32s(&changed(&three, 9))),
        ],
    ];
    for (n, tensors) in versions.iter().enumerate() {
        s.safetensors(&format!("v{n}.safetensors"), tensors);
    }
    for n in 1..5 {
        let (old, new) = (format!("v{}.safetensors", n - 1), format!("v{n}.safetensors"));
        let output = format!("d{n}.safetensors");
        let mut args = vec!["delta", &old, &new, "-o", &output];
        if n == 2 {
            args.extend(["--map", "old.w=new.w"]);
        }
        succeeds(s, &args);
    }
}

#[test]
fn squashed_deltas_do_the_same() {
    let s = Scratch::new();
    history(&s);
    let check = |delta: &str, first: usize, last: usize| {
        let (base, new) = (format!("v{first}.safetensors"), tensors(&s, &format!("v{last}.safetensors")));
        succeeds(&s, &["apply", &base, delta, "-o", "made.safetensors"]);
        assert!(tensors(&s, "made.safetensors") == new, "{delta}");
        succeeds(&s, &["restore", delta, "--base", &base, "-o", "made.safetensors"]);
        assert!(tensors(&s, "made.safetensors") == new, "{delta}");
    };
    let squash = |deltas: &[&str], more: &[&str], output: &str| {
        let files: Vec<String> = deltas.iter().map(|name| format!("{name}.safetensors")).collect();
        let output = format!("{output}.safetensors");
        let args = ["squash"].into_iter().chain(files.iter().map(String::as_str)).chain(["-o", &output]);
        let ran = succeeds(&s, &args.chain(more.iter().copied()).collect::<Vec<_>>());
        (ran.stdout, std::fs::metadata(s.path(&output)).map_or(0, |file| file.len()))
    };
    squash(&["d1", "d2"], &[], "d12");
    check("d12.safetensors", 0, 2);
    squash(&["d3", "d4"], &[], "d34");
    check("d34.safetensors", 2, 4);
    // Of squashed ones, with layers over layers.
    let (words, layered) = squash(&["d12", "d34"], &[], "all");
    check("all.safetensors", 0, 4);
    assert!(
        words.contains(" 2 tensors have differences of several deltas; with --base, they become one.\n"),
        "{words}"
    );
    let (_, at_once) = squash(&["d1", "d2", "d3", "d4"], &[], "once");
    assert_eq!(at_once, layered);
    let inspected = succeeds(&s, &["inspect", "all.safetensors"]).stdout;
    assert!(
        inspected.contains("Renamed: new.w is old.w in the base.\nNew: added.\nRemoved: gone.\n"),
        "{inspected}"
    );
    // With the base, as small as a delta made at once.
    let (words, over) = squash(&["d1", "d2", "d3", "d4"], &["--base", "v0.safetensors"], "over");
    check("over.safetensors", 0, 4);
    assert!(over < layered && !words.contains("differences"), "{over} {layered} {words}");
    let make =
        ["delta", "v0.safetensors", "v4.safetensors", "-o", "direct.safetensors", "--map", "old.w=new.w"];
    succeeds(&s, &make);
    assert_eq!(s.files()["direct.safetensors"], s.files()["over.safetensors"]);
    // In a chain with others.
    succeeds(
        &s,
        &["apply", "v0.safetensors", "d12.safetensors", "d34.safetensors", "-o", "made.safetensors"],
    );
    assert!(tensors(&s, "made.safetensors") == tensors(&s, "v4.safetensors"));
    let names = s.files();
    assert!(names.keys().all(|name| !name.contains("squash")), "{:?}", names.keys());

    let t = Scratch::new();
    versions(&t);
    refused(
        &t,
        &["squash", "d1.safetensors", "d2.safetensors", "-o", "x.safetensors"],
        "d2.safetensors: tensor `w` gets another type or shape here, after a delta before this one: without the base, \
         the two cannot become one; give it with `--base FILE`",
    );
    let base =
        ["squash", "d1.safetensors", "d2.safetensors", "-o", "x.safetensors", "--base", "v0.safetensors"];
    succeeds(&t, &base);
    succeeds(&t, &["apply", "v0.safetensors", "x.safetensors", "-o", "made.safetensors"]);
    assert!(tensors(&t, "made.safetensors") == tensors(&t, "v2.safetensors"));
}

#[track_caller]
fn refused(s: &Scratch, args: &[&str], message: &str) {
    let before = s.files();
    let ran: Ran = s.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, format!("error: {message}\n").as_str()), "{ran:?}");
    assert!(s.files() == before);
}

fn state(s: &Scratch, delta: &str, key: &str) -> String {
    let ran = succeeds(s, &["inspect", delta, "--format", "json"]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    found["delta"][key].as_str().unwrap().to_owned()
}

#[test]
fn what_is_refused() {
    let s = Scratch::new();
    versions(&s);
    let states: Vec<String> = (1..4)
        .map(|n| state(&s, &format!("d{n}.safetensors"), "base_state"))
        .chain([state(&s, "d3.safetensors", "state")])
        .collect();
    let [v0, v1, v2, v3] = &states[..] else { panic!() };
    let to = ["-o", "x.safetensors"];
    let apply = |files: &[&str]| -> Vec<String> {
        let files = files.iter().map(|file| format!("{file}.safetensors"));
        ["apply".to_owned()].into_iter().chain(files).chain(to.map(str::to_owned)).collect()
    };
    for (files, message) in [
        (
            &["v2", "d1"][..],
            format!(
                "d1.safetensors: it applies to the state {v0}, but v2.safetensors has the state {v2}; give the version \
                 that the delta was made from (`v0.safetensors` then), or the deltas between"
            ),
        ),
        (
            &["v1", "d1", "d2"],
            format!(
                "d1.safetensors: it applies to the state {v0}, but v1.safetensors has the state {v1}; the deltas up to \
                 d1.safetensors have been applied to it: leave them out"
            ),
        ),
        (
            &["v2", "d1", "d2"],
            format!(
                "d1.safetensors: it applies to the state {v0}, but v2.safetensors has the state {v2}; it is already \
                 what the deltas give, so there is nothing to apply"
            ),
        ),
        (
            &["v0", "d2", "d1"],
            format!(
                "d1.safetensors: it applies to the state {v0}, but d2.safetensors gives the state {v2}; a delta \
                 between the two is missing"
            ),
        ),
        (
            &["v0", "d1", "d3", "d2"],
            format!(
                "d3.safetensors: it applies to the state {v2}, but d1.safetensors gives the state {v1}; \
                 d2.safetensors gives it: deltas are given in the order in which they were made"
            ),
        ),
        (
            &["v0", "d1", "d1"],
            format!(
                "d1.safetensors: it applies to the state {v0}, but d1.safetensors gives the state {v1}; both are \
                 deltas over the same state, of which only one can be applied"
            ),
        ),
        (
            &["v0", "v1"],
            "v1.safetensors: it is not a delta: make one with `cdi-prune delta BASE NEW -o DELTA`; `restore` reads \
             other files"
                .to_owned(),
        ),
    ] {
        let args = apply(files);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        refused(&s, &args, &message);
    }
    let other =
        format!("v2.safetensors: it has the state {v2}, but the deltas give {v1}: it is another version");
    refused(&s, &["verify", "v0.safetensors", "d1.safetensors", "v2.safetensors"], &other);
    let restore = ["restore", "d1.safetensors", "--base", "v3.safetensors", "-o", "x.safetensors"];
    refused(
        &s,
        &restore,
        &format!(
            "d1.safetensors: it is a delta over a checkpoint with the state {v0}, but v3.safetensors has the state \
             {v3}: this is another version; give the one that the delta was made from with `--base FILE`, or use \
             `apply`, which takes a chain of deltas"
        ),
    );
    refused(
        &s,
        &["restore", "d1.safetensors", "-o", "x.safetensors"],
        "d1.safetensors: tensor `w` needs the values of another checkpoint (`v0.safetensors` when this was written): \
         give it with `--base FILE`",
    );
    let map = |map: &str, problem: &str| {
        let args = ["delta", "v0.safetensors", "v1.safetensors", "-o", "x.safetensors", "--map", map];
        refused(&s, &args, &format!("v0.safetensors: --map {map}: {problem}"));
    };
    map("a*=b", "both names have one `*`, or none");
    map("y=w", "the base has no tensor of the first name");
    map("w=y", "the new checkpoint has no tensor of the second name");
    map("y*=z*", "no tensor of the base has a name like the first that becomes one of the new checkpoint");
    let ran = s.run(&["delta", "v0.safetensors", "v1.safetensors", "-o", "x.safetensors", "--map", "w"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("expected OLD=NEW, two names of tensors"), "{}", ran.stderr);
    let wrong = |more: &[&str], message: &str| {
        let ran = s.run(&[&["delta", "v0.safetensors", "v1.safetensors", "-o", "x"][..], more].concat());
        assert_eq!((ran.code, ran.stderr), (2, format!("error: {message}\n")));
    };
    let names = "--map: tensors of a version have the names of the base; use the default form";
    wrong(&["--form", "xor-zstd", "--map", "w=x"], names);
    for (option, value) in [("--checksum", "blake3"), ("--number", "3"), ("--base-number", "2")] {
        let message = format!("{option} is for `--form xor-zstd` and `overwrite-zstd`");
        wrong(&[option, value], &message);
    }
    let ran = s.run(&["apply", "v0.safetensors", "d1.safetensors"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("required arguments were not provided"), "{}", ran.stderr);
    let ran = s.run(&["verify", "v0.safetensors", "v1.safetensors"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (2, "error: verify: expected a manifest, or BASE DELTA… NEW\n")
    );
    let ran = s.run(&["apply", "v0.safetensors", "d1.safetensors", "-o", "v0.safetensors"]);
    let message = "the base or a delta and the output are the same file (v0.safetensors): an output must not replace an \
                   input or another output; give one of them another path";
    assert_eq!((ran.code, ran.stderr), (2, format!("error: {message}\n")));
}

/// A delta whose codes were changed says so, and which state it should give.
#[test]
fn a_damaged_delta_gives_nothing() {
    let s = Scratch::new();
    versions(&s);
    let state = state(&s, "d1.safetensors", "state");
    let before = s.files();
    let mut kinds = [0, 0];
    for n in 0..60 {
        s.tamper("d1.safetensors", |_, data| {
            let at = data.len() * (2 * n + 1) / 120;
            data[at] ^= 4;
        });
        let ran = s.run(&["apply", "v0.safetensors", "d1.safetensors", "-o", "x.safetensors"]);
        assert_eq!(ran.code, 1);
        let damaged = ran.stderr.starts_with("error: d1.safetensors: the code of tensor `w`: block ");
        let other = ran.stderr.starts_with(&format!(
            "error: d1.safetensors: it gives the state {state}, but applying it gave "
        )) && ran.stderr.ends_with(": it is damaged; nothing was written\n");
        assert!(damaged || other, "{}", ran.stderr);
        kinds[usize::from(other)] += 1;
        s.write("d1.safetensors", &before["d1.safetensors"]);
        assert!(s.files() == before);
    }
    assert!(kinds[0] > 0 && kinds[1] > 0, "{kinds:?}");
}

#[test]
fn in_place() {
    let s = Scratch::new();
    every_kind(&s);
    // A folder becomes the next version of itself: only the shard that changes is written, and the index.
    let new = tensors(&s, "new");
    let mut next: Vec<Tensor<'_>> = Vec::new();
    for (name, (dtype, shape, bytes)) in &new {
        let bytes = if name == "nan" { f32s(&noise(9, 200)) } else { bytes.clone() };
        if name != "shape" {
            next.push((name, dtype, shape, bytes));
        }
    }
    next.push(("zz", "F32", &[2], f32s(&[1.0, 2.0])));
    s.safetensors("next.safetensors", &next);
    succeeds(&s, &["delta", "new", "next.safetensors", "-o", "d.safetensors"]);
    let before = s.files();
    let ran = succeeds(&s, &["apply", "new", "d.safetensors", "--in-place"]);
    assert!(
        ran.stdout.starts_with("Wrote new/a-2.safetensors, new/model.safetensors.index.json, "),
        "{ran:?}"
    );
    assert!(tensors(&s, "new") == tensors(&s, "next.safetensors"));
    let after = s.files();
    assert!(after["new/a-1.safetensors"] == before["new/a-1.safetensors"]);
    let index: Value = serde_json::from_slice(&after["new/model.safetensors.index.json"]).unwrap();
    let sum: usize = next.iter().map(|(.., bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"], json!({"total_size": sum, "note": "kept"}));
    assert_eq!(index["weight_map"]["zz"], "a-2.safetensors");
    assert_eq!(index["weight_map"].get("shape"), None);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    // Again is refused, and changes nothing.
    let ran = s.run(&["apply", "new", "d.safetensors", "--in-place"]);
    assert!(
        ran.stderr.contains("it is already what the deltas give, so there is nothing to apply"),
        "{ran:?}"
    );
    assert!(s.files() == after);
    // One file, and one that stays as it is.
    succeeds(&s, &["delta", "next.safetensors", "next.safetensors", "-o", "none.safetensors"]);
    let same = succeeds(&s, &["apply", "next.safetensors", "none.safetensors", "--in-place"]);
    assert!(
        same.stdout.starts_with("Nothing to write: no file of the base changes. 13 tensors of "),
        "{same:?}"
    );
    succeeds(&s, &["delta", "next.safetensors", "old.safetensors", "-o", "back.safetensors"]);
    let old = tensors(&s, "old.safetensors");
    succeeds(&s, &["apply", "next.safetensors", "back.safetensors", "--in-place"]);
    assert!(tensors(&s, "next.safetensors") == old);
}

#[test]
fn a_folder_that_is_being_updated() {
    let s = Scratch::new();
    every_kind(&s);
    std::fs::rename(
        s.path("new/model.safetensors.index.json"),
        s.path("new/model.safetensors.index.json.cdi-prune-update"),
    )
    .unwrap();
    refused(
        &s,
        &["delta", "old.safetensors", "new", "-o", "d.safetensors"],
        "new: its files are being updated in place, or an update was interrupted \
         (`model.safetensors.index.json.cdi-prune-update`): `cdi-prune apply FOLDER DELTA --in-place` finishes it, or \
         gives the old version back",
    );
    // A check that writes nothing does not finish it either.
    refused(
        &s,
        &["apply", "new", "old.safetensors", "--dry-run"],
        "new: its files are being updated in place, or an update was interrupted \
         (`model.safetensors.index.json.cdi-prune-update`): `cdi-prune apply FOLDER DELTA --in-place` finishes it, or \
         gives the old version back",
    );
    // As it says, whatever comes of the delta.
    let ran = s.run(&["apply", "new", "old.safetensors", "--in-place"]);
    assert!(ran.stderr.contains("old.safetensors: it is not a delta"), "{ran:?}");
    succeeds(&s, &["inspect", "new"]);
    // Without an index, nothing can tell.
    let shards = ["set/m-00001-of-00002.safetensors", "set/m-00002-of-00002.safetensors"];
    s.safetensors(shards[0], &[("a", "F32", &[1], f32s(&[1.0]))]);
    s.safetensors(shards[1], &[("b", "F32", &[1], f32s(&[1.0]))]);
    let next = [("a", "F32", &[1][..], f32s(&[2.0])), ("b", "F32", &[1][..], f32s(&[2.0]))];
    s.safetensors("next.safetensors", &next);
    succeeds(&s, &["delta", "set", "next.safetensors", "-o", "d.safetensors"]);
    refused(
        &s,
        &["apply", "set", "d.safetensors", "--in-place"],
        "set: --in-place: the checkpoint has several files and no index, which would show that they are being \
         replaced; write the new version to another folder with `-o`",
    );
}

#[cfg(unix)]
#[test]
fn links_are_not_replaced() {
    let s = Scratch::new();
    versions(&s);
    std::os::unix::fs::symlink(s.path("v0.safetensors"), s.path("link.safetensors")).unwrap();
    refused(
        &s,
        &["apply", "link.safetensors", "d1.safetensors", "--in-place"],
        "link.safetensors: --in-place: link.safetensors is a link; give the folder that it leads to",
    );
}

/// The vector `delta` of tests/vectors, for other readers: renamed and grown tensors, and one with two codes.
/// `CDI_PRUNE_WRITE_VECTORS=1 cargo test --test program delta` writes it anew.
#[test]
fn the_vector_of_a_delta() {
    let s = Scratch::new();
    let w = noise(6, 1920);
    let (two, ids) =
        (changed(&w, 5), |n: u64| (0..200u64).map(|id| id / 7 + n).flat_map(u64::to_le_bytes).collect());
    let versions: [Vec<Tensor<'_>>; 3] = [
        vec![
            ("equal", "F32", &[3], f32s(&[1.0, 2.0, 3.0])),
            ("ids", "I64", &[200], ids(0)),
            ("old", "F32", &[16, 60], f32s(&w[..960])),
            ("rows", "BF16", &[40, 24], bf16s(&w[960..])),
            ("twice", "F32", &[40, 48], f32s(&w)),
        ],
        vec![
            ("equal", "F32", &[3], f32s(&[1.0, 2.0, 3.0])),
            ("ids", "I64", &[200], ids(1)),
            ("new", "F32", &[16, 60], f32s(&changed(&w[..960], 3))),
            ("rows", "BF16", &[41, 24], bf16s(&[&w[960..], &w[..24]].concat())),
            ("twice", "F32", &[40, 48], f32s(&two)),
        ],
        vec![
            ("added", "F32", &[2], f32s(&[0.5, -0.5])),
            ("equal", "F32", &[3], f32s(&[1.0, 2.0, 3.0])),
            ("ids", "I64", &[200], ids(1)),
            ("new", "F32", &[16, 60], f32s(&changed(&w[..960], 3))),
            ("rows", "BF16", &[41, 24], bf16s(&[&w[960..], &w[..24]].concat())),
            ("twice", "F32", &[40, 48], f32s(&changed(&two, 11))),
        ],
    ];
    for (name, tensors) in ["delta.base", "1", "2"].iter().zip(&versions) {
        s.safetensors(&format!("{name}.safetensors"), tensors);
    }
    let map = ["--map", "old=new"];
    succeeds(
        &s,
        &[&["delta", "delta.base.safetensors", "1.safetensors", "-o", "a.safetensors"][..], &map].concat(),
    );
    succeeds(&s, &["delta", "1.safetensors", "2.safetensors", "-o", "b.safetensors"]);
    succeeds(&s, &["squash", "a.safetensors", "b.safetensors", "-o", "delta.safetensors"]);
    let apply = ["apply", "delta.base.safetensors", "delta.safetensors", "-o", "delta.decoded.safetensors"];
    succeeds(&s, &apply);
    assert!(tensors(&s, "delta.decoded.safetensors") == tensors(&s, "2.safetensors"));
    let folder = root().join("tests/vectors");
    for file in ["delta.base.safetensors", "delta.safetensors", "delta.decoded.safetensors"] {
        let made = std::fs::read(s.path(file)).unwrap();
        if std::env::var_os("CDI_PRUNE_WRITE_VECTORS").is_some() {
            std::fs::write(folder.join(file), &made).unwrap();
        }
        assert!(std::fs::read(folder.join(file)).unwrap() == made, "{file}");
    }
}

/// Descriptions that contradict the codes, the base, or themselves.
#[test]
fn hostile_deltas() {
    let s = Scratch::new();
    let vectors = root().join("tests/vectors");
    let files = ["delta.base.safetensors", "delta.safetensors"]
        .map(|name| std::fs::read(vectors.join(name)).unwrap());
    s.write("base.safetensors", &files[0]);
    let refused_as = |change: &dyn Fn(&mut Value), message: &str, by_apply: &str| {
        s.write("d.safetensors", &files[1]);
        s.tamper("d.safetensors", |header, _| {
            let mut described: Value = serde_json::from_str(&description(header)).unwrap();
            change(&mut described);
            header["__metadata__"]["cdi_prune"] = described.to_string().into();
        });
        let restore = ["restore", "d.safetensors", "--base", "base.safetensors", "-o", "x.safetensors"];
        let place = if message.starts_with("base.") { "" } else { "d.safetensors: " };
        refused(&s, &restore, &format!("{place}{message}"));
        let message = match by_apply {
            "" => message,
            // Nothing forbids it but the disk.
            "room" => return,
            other => other,
        };
        let apply = ["apply", "base.safetensors", "d.safetensors", "-o", "x.safetensors"];
        refused(&s, &apply, &format!("d.safetensors: {message}"));
    };
    fn entry<'v>(described: &'v mut Value, name: &str) -> &'v mut Value {
        let all = described["tensors"].as_array_mut().unwrap();
        all.iter_mut().find(|tensor| tensor["name"] == name).unwrap()
    }
    let without = "it is a delta, but its description does not say over which state, or which it gives";
    refused_as(&|d| drop(d.as_object_mut().unwrap().remove("delta")), without, "");
    refused_as(&|d| d["kind"] = json!("pruned"), without, "");
    let length = entry(&mut serde_json::from_str::<Value>(&plain(&files[1])).unwrap(), "twice")["code"]
        .as_u64()
        .unwrap();
    refused_as(
        &|d| entry(d, "twice")["layers"][0]["code"] = json!(1u64 << 40),
        &format!(
            "tensor `twice`: its `cdi_prune` metadata is wrong: its layers have 1099511627776 bytes, its code {length}"
        ),
        "",
    );
    refused_as(
        &|d| {
            let own = length - entry(d, "twice")["layers"][0]["code"].as_u64().unwrap();
            entry(d, "twice")["layers"] =
                json!([{"code": 0, "prediction": 1.0}, {"code": length - own, "prediction": 1.0}]);
        },
        "the code of tensor `twice`: the head is cut off",
        "",
    );
    refused_as(
        &|d| d["delta"]["renamed"] = json!({"new": "equal"}),
        "base.safetensors: tensor `new`, which provides initial values, is missing there",
        "the checkpoint that it applies to has no fitting tensor `equal`: it is another version, or the delta is damaged",
    );
    refused_as(
        &|d| entry(d, "equal")["shape"] = json!([1u64 << 40]),
        "tensor `equal`: which has grown since its base, has 4398046511104 bytes, more than the limit of 4294967296; \
         even a small file can describe a tensor of this size: raise the limit only for a file that you trust \
         (`Limits::bytes`)",
        "room",
    );
}

/// The JSON of a file's description.
fn plain(file: &[u8]) -> String {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    description(&serde_json::from_slice(&file[8..8 + length]).unwrap())
}
