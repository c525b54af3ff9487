//! Packed checkpoints: their sizes, what comes back, and what is refused.

use std::fs;
use std::path::Path;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::reader::PrunedReader;
use cdi_prune::tensor::{bf16, f16};

use crate::common::{
    Ran, Scratch, Tensor, codes, description, f32s, root, rows_through_a_handle, shipped_config,
};

fn ok(s: &Scratch, args: &[&str]) -> Ran {
    let ran = s.run(args);
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    ran
}

fn fails(s: &Scratch, args: &[&str], code: i32, message: &str) {
    let ran = s.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (code, format!("error: {message}\n").as_str()), "{args:?}");
}

fn digest(path: &Path) -> String {
    crate::common::digest(&fs::read(path).unwrap())
}

/// Name, type, shape and bytes of every tensor.
fn contents(path: &Path) -> Vec<(String, String, Vec<usize>, Vec<u8>)> {
    let file = Checkpoint::open(path).unwrap();
    file.tensors()
        .map(|(name, tensor)| {
            (name.to_owned(), tensor.dtype.to_string(), tensor.shape.dims().to_vec(), tensor.bytes().to_vec())
        })
        .collect()
}

/// The repository's folder, in which its configs lie.
fn shipped(name: &str) -> String {
    root().join(name).display().to_string()
}

/// Numbers that look like weights, the same everywhere.
fn weights(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (next() + next() + next()) * 0.04).collect()
}

/// A base and what was trained from it: `w` of several blocks, most of it a little off; `ids`, too small to
/// be worth a code; `long`, rows longer than a block, and `b`, as they were.
fn trained(s: &Scratch) {
    let (w, long) = (weights(300 * 500, 1), weights(2 * 70_000, 2));
    let moved: Vec<f32> = w
        .iter()
        .zip(weights(w.len(), 3))
        .enumerate()
        .map(|(n, (w, d))| if n % 7 == 0 { *w } else { w + d * 1e-3 })
        .collect();
    let all = |w: &[f32], id: u64| -> Vec<Tensor<'static>> {
        vec![
            ("b", "F32", &[2], f32s(&[0.5, -0.0])),
            ("ids", "I64", &[2], [id.to_le_bytes(), 9u64.to_le_bytes()].concat()),
            ("long", "F32", &[2, 70_000], f32s(&long)),
            ("w", "F32", &[300, 500], f32s(w)),
        ]
    };
    s.safetensors("base.safetensors", &all(&w, 0));
    s.safetensors("trained.safetensors", &all(&moved, 7));
}

/// The network that comes with the repository, 272,512 bytes, alone and against the start that its config
/// describes. Sizes and digests were written by this program; that the bytes mean what they should, the
/// decoder in `tests/python` shows, which was written from docs/format.md.
#[test]
fn the_shipped_network() {
    let s = Scratch::new();
    let trained = shipped("examples/data/mlp_pad_sgd/trained.safetensors");
    let config = shipped("configs/quickstart.yaml");
    let said = ok(&s, &["pack", &trained, "--config", &config, "-o", "over.safetensors"]).stdout;
    let said =
        said.split(" (").map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect::<String>();
    assert_eq!(
        said.trim_end(),
        "Packed 272,512 bytes in 6 tensors into over.safetensors: 171,704 bytes, 63.0 %."
    );
    ok(&s, &["pack", &trained, "-o", "alone.safetensors"]);
    let size = |name: &str| fs::metadata(s.path(name)).unwrap().len();
    assert_eq!((size("over.safetensors"), size("alone.safetensors")), (171_704, 226_278));
    for name in ["over.safetensors", "alone.safetensors"] {
        ok(&s, &["restore", name, "-o", "back.safetensors"]);
        assert_eq!(contents(&s.path("back.safetensors")), contents(Path::new(&trained)), "{name}");
    }
    assert_eq!(
        [digest(&s.path("over.safetensors")), digest(&s.path("alone.safetensors"))],
        [
            "6d00e95deb1216bdff7740cb804d84e593250f3a9b0694c2e7b73eb4911bec9f",
            "ef571cb30cda3a2cbda374232c58f10b70529a81a38140d87fca58f23c24a7a9"
        ],
        "the bytes of packed files are a contract"
    );
    for (threads, set) in [("1", "portable"), ("2", "portable"), ("3", "")] {
        let variables: &[(&str, &str)] = if set.is_empty() { &[] } else { &[("CDI_PRUNE_ISA", set)] };
        let args = [
            "pack",
            &trained,
            "--config",
            &config,
            "-o",
            "again.safetensors",
            "--threads",
            threads,
            "--quiet",
        ];
        assert_eq!(s.run_with(variables, &args).code, 0);
        assert_eq!(
            digest(&s.path("again.safetensors")),
            digest(&s.path("over.safetensors")),
            "{threads} {set}"
        );
    }
}

#[test]
fn against_a_base_in_shards_and_by_rows() {
    let s = Scratch::new();
    trained(&s);
    let pack = ["pack", "trained.safetensors", "--base", "base.safetensors", "-o"];
    ok(&s, &[&pack[..], &["p.safetensors"]].concat());
    let packed = contents(&s.path("p.safetensors"));
    let names: Vec<&str> = packed.iter().map(|(name, ..)| name.as_str()).collect();
    // The others are the base's.
    assert_eq!(names, ["ids", "w.codes"]);
    ok(&s, &["restore", "p.safetensors", "--base", "base.safetensors", "-o", "back.safetensors"]);
    assert_eq!(contents(&s.path("back.safetensors")), contents(&s.path("trained.safetensors")));

    ok(&s, &[&pack[..], &["shards.safetensors", "--max-shard-size", "200KB"]].concat());
    assert!(s.path("shards.safetensors.index.json").exists());
    let index = "shards.safetensors.index.json";
    ok(&s, &["restore", index, "--base", "base.safetensors", "-o", "again.safetensors"]);
    assert_eq!(contents(&s.path("again.safetensors")), contents(&s.path("trained.safetensors")));

    let file = PrunedReader::open(&s.path("p.safetensors"), Some(&s.path("base.safetensors"))).unwrap();
    let all = contents(&s.path("trained.safetensors"));
    for (name, rows, columns, which) in [("w", 300, 500, 3), ("long", 2, 70_000, 2)] {
        for (from, to) in [(0, rows), (1, 2), (rows / 3, rows / 2 + 1), (rows - 1, rows), (1, 1)] {
            let mut out = vec![0; (to - from) * columns * 4];
            file.read_rows(name, from..to, &mut out).unwrap();
            assert!(out == all[which].3[from * columns * 4..to * columns * 4], "{name} {from}..{to}");
        }
        rows_through_a_handle(&file, name, &all[which].3);
    }
}

/// Every type, special values, shapes without elements, and one value throughout.
#[test]
fn all_types_and_shapes() {
    let s = Scratch::new();
    let n = 64 * 90;
    let mut values = weights(n, 5);
    for (n, special) in [f32::NAN, f32::INFINITY, -0.0, 0.0, 1e-45, f32::MAX, -1e30].into_iter().enumerate() {
        values[n * 131] = special;
    }
    let halves =
        |from: fn(f32) -> u16| values.iter().flat_map(|v| from(*v).to_le_bytes()).collect::<Vec<u8>>();
    let doubles: Vec<u8> = values.iter().flat_map(|v| (f64::from(*v) * 1.000_000_1).to_le_bytes()).collect();
    s.safetensors(
        "m.safetensors",
        &[
            ("bf16", "BF16", &[64, 90], halves(|v| bf16::from_f32(v).to_bits())),
            ("bytes", "U8", &[5760], values.iter().map(|v| (v * 900.0) as i8 as u8).collect()),
            ("empty", "F32", &[0, 7], Vec::new()),
            ("f16", "F16", &[64, 90], halves(|v| f16::from_f32(v).to_bits())),
            ("f32", "F32", &[4, 16, 90], f32s(&values)),
            ("f64", "F64", &[64, 90], doubles),
            ("one", "F32", &[], f32s(&[3.5])),
            ("vector", "F32", &[5760], f32s(&values)),
            ("zeros", "F32", &[64, 90], vec![0; n * 4]),
        ],
    );
    ok(&s, &["pack", "m.safetensors", "-o", "p.safetensors"]);
    ok(&s, &["restore", "p.safetensors", "-o", "back.safetensors"]);
    assert_eq!(contents(&s.path("back.safetensors")), contents(&s.path("m.safetensors")));
    let mut sizes: Vec<(String, usize)> =
        codes(&s.path("p.safetensors")).into_iter().map(|(name, code)| (name, code.len())).collect();
    let names: Vec<&str> = sizes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bf16", "bytes", "f16", "f32", "f64", "one", "vector", "zeros"]);
    // A single value takes more bytes as a code, but no header entry.
    sizes.remove(5);
    // Version, model and its `top`, flags, number of tables, a table of one symbol, and the
    // length of one block.
    assert_eq!(sizes[6].1, 1 + 3 + 1 + 1 + 2 + 4);
    let raw = [11_520, 5_760, 11_520, 23_040, 46_080, 23_040];
    assert!(sizes.iter().zip(raw).all(|((_, size), raw)| *size < raw), "{sizes:?}");
}

/// Types that are not floating point: their bytes are coded, alone or as differences to a base's of the same
/// type.
#[test]
fn other_types() {
    let s = Scratch::new();
    let n = 40 * 500;
    let noise = weights(3 * n, 8);
    let of = |k: usize, scale: f32| noise[k * n..][..n].iter().map(move |v| (v * scale) as i64);
    let bytes = |values: &mut dyn Iterator<Item = i64>, size: usize| -> Vec<u8> {
        values.flat_map(|value| value.to_le_bytes()[..size].to_vec()).collect()
    };
    let all = |step: i64| -> Vec<Tensor<'static>> {
        // Of every 10th element the next value, or the one before.
        let moved = move |values: Vec<i64>| {
            let step =
                move |n: usize| if n.is_multiple_of(10) { step * (1 - 2 * (n as i64 / 10 % 2)) } else { 0 };
            values.into_iter().enumerate().map(move |(n, value)| value + step(n))
        };
        vec![
            ("bool", "BOOL", &[40, 500], bytes(&mut of(0, 100.0).map(|v| i64::from(v > 0)), 1)),
            ("f4", "F4", &[40, 500], bytes(&mut of(1, 100.0).take(n / 2), 1)),
            ("f8", "F8_E4M3", &[40, 500], bytes(&mut moved(of(1, 200.0).map(|v| v & 0xFF).collect()), 1)),
            ("i64", "I64", &[20_000], bytes(&mut moved(of(2, 1e6).collect()), 8)),
            ("i8", "I8", &[40, 500], bytes(&mut moved(of(0, 900.0).collect()), 1)),
            ("u16", "U16", &[1, 17_500, 1], bytes(&mut (0..17_500), 2)),
            ("u32", "U32", &[40, 500], bytes(&mut moved(of(1, 1e9).collect()), 4)),
        ]
    };
    s.safetensors("base.safetensors", &all(0));
    s.safetensors("m.safetensors", &all(1));
    let described = |name: &str| -> Vec<(String, u8, usize)> {
        codes(&s.path(name)).into_iter().map(|(name, code)| (name, code[1], code.len())).collect()
    };
    ok(&s, &["pack", "m.safetensors", "-o", "alone.safetensors"]);
    ok(&s, &["unpack", "alone.safetensors", "-o", "back.safetensors"]);
    assert_eq!(contents(&s.path("back.safetensors")), contents(&s.path("m.safetensors")));
    ok(&s, &["pack", "m.safetensors", "--base", "base.safetensors", "-o", "over.safetensors"]);
    ok(&s, &["unpack", "over.safetensors", "--base", "base.safetensors", "-o", "back.safetensors"]);
    assert_eq!(contents(&s.path("back.safetensors")), contents(&s.path("m.safetensors")));
    // Name, model and bytes; types of less than a byte stay as they are.
    let expected = |all: &[(&str, u8, usize)]| -> Vec<(String, u8, usize)> {
        all.iter().map(|(name, model, bytes)| ((*name).to_owned(), *model, *bytes)).collect()
    };
    let alone = [
        ("bool", 2, 2289),
        ("f8", 2, 9753),
        ("i64", 2, 55198),
        ("i8", 2, 15545),
        ("u16", 2, 31122),
        ("u32", 2, 65977),
    ];
    assert_eq!(described("alone.safetensors"), expected(&alone));
    // The others are the base's.
    let over = [("f8", 3, 1458), ("i64", 3, 1462), ("i8", 3, 1458), ("u32", 3, 1462)];
    assert_eq!(described("over.safetensors"), expected(&over));

    let file = PrunedReader::open(&s.path("over.safetensors"), Some(&s.path("base.safetensors"))).unwrap();
    let all = contents(&s.path("m.safetensors"));
    for (name, _, shape, bytes) in &all {
        let row = bytes.len() / shape[0];
        if shape.len() > 1 {
            let mut out = vec![0; 3.min(shape[0]) * row];
            let rows = shape[0] - 3.min(shape[0])..shape[0];
            file.read_rows(name, rows.clone(), &mut out).unwrap();
            assert!(out == bytes[rows.start * row..], "{name}");
        }
        if name != "f4" {
            rows_through_a_handle(&file, name, bytes);
        }
    }
    let args = ["unpack", "over.safetensors", "-o", "back.safetensors"];
    let needs = "over.safetensors: tensor `bool` needs the values of another checkpoint (`base.safetensors` when \
                 this was written): give it with `--base FILE`";
    fails(&s, &args, 1, needs);
    let mut other = all.clone();
    other[4].1 = "U8".to_owned();
    let other: Vec<Tensor<'_>> = other
        .iter()
        .map(|(name, dtype, shape, bytes)| (&**name, &**dtype, &**shape, bytes.clone()))
        .collect();
    s.safetensors("other.safetensors", &other);
    let another = "other.safetensors: tensor `i8`, which provides initial values, is U8 there, expected I8";
    fails(&s, &[&args[..], &["--base", "other.safetensors"]].concat(), 1, another);
}

/// Pruning without anything that says what is pruned writes what `pack --config` writes: everything coded,
/// over the initial values that the rules describe, nothing lost.
#[test]
fn pruning_that_prunes_nothing() {
    let s = Scratch::new();
    let data = root().join("examples/data/mlp_pad_sgd");
    let trained = data.join("trained.safetensors").display().to_string();
    let mut config = shipped_config(&data);
    config["prune"] = serde_json::json!({"output": "pruned.safetensors", "values": {"exact": true}});
    config["analyze"] = serde_json::json!({"report": {"json": "report.json", "markdown": "report.md"}});
    config["gates"] = serde_json::json!({"max_output_bytes": 200_000});
    config["manifest"] = "manifest.json".into();
    s.write("x.yaml", config.to_string());
    let said = ok(&s, &["run", "x.yaml"]).stdout;
    assert!(
        said.ends_with(
            "Packed file: pruned.safetensors, 171,704 bytes, 63.0 % of the trained file's 272,512.\n\
             Gate passed: max_output_bytes: 171,704 bytes, limit at most 200,000.\n"
        ),
        "{said}"
    );
    ok(&s, &["pack", &trained, "--config", "x.yaml", "-o", "packed.safetensors"]);
    assert_eq!(digest(&s.path("pruned.safetensors")), digest(&s.path("packed.safetensors")));
    for command in ["restore", "unpack"] {
        ok(&s, &[command, "pruned.safetensors", "-o", "back.safetensors"]);
        assert_eq!(contents(&s.path("back.safetensors")), contents(Path::new(&trained)), "{command}");
    }
    ok(&s, &["verify", "manifest.json"]);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(s.path("report.json")).unwrap()).unwrap();
    assert_eq!((&report["fill"], &report["totals"]["pruned_weights"]), (&serde_json::Value::Null, &0.into()));
    assert!(report["tensors"].as_array().unwrap().iter().all(|tensor| tensor["action"] == "kept"));
    let markdown = fs::read_to_string(s.path("report.md")).unwrap();
    assert!(markdown.contains("\nPacked file: 171,704 bytes, 63.0 % of the trained file's 272,512.\n"));
    assert!(!markdown.contains("weights pruned"), "{markdown}");

    // With a criterion it is what it is without `values`.
    let some = ["--set", "prune.criterion=magnitude", "--set", "prune.target={sparsity: 0.5}"];
    ok(&s, &[&["run", "x.yaml", "--quiet"], &some[..]].concat());
    let with = digest(&s.path("pruned.safetensors"));
    config["prune"].as_object_mut().unwrap().remove("values");
    s.write("x.yaml", config.to_string());
    ok(&s, &[&["run", "x.yaml", "--quiet"], &some[..]].concat());
    assert_eq!(digest(&s.path("pruned.safetensors")), with);
}

/// The same over a base: everything that the rules place there is stored as differences, whatever its type.
#[test]
fn pruning_that_prunes_nothing_over_a_base() {
    let s = Scratch::new();
    let (w, ids) =
        (weights(3000, 1), |step: u64| (0..500).flat_map(move |n: u64| (n * n + step).to_le_bytes()));
    for (name, step) in [("base.safetensors", 0), ("trained.safetensors", 1)] {
        let moved: Vec<f32> = w.iter().map(|w| w * (1.0 + step as f32 * 1e-5)).collect();
        s.safetensors(
            name,
            &[("ids", "I64", &[500], ids(step).collect()), ("w", "F32", &[30, 100], f32s(&moved))],
        );
    }
    s.write(
        "x.yaml",
        "rules: [{match: '**', init: {from: base.safetensors}}]\ntrained: {path: trained.safetensors}\n\
         prune: {output: pruned.safetensors, values: {exact: true}}\n",
    );
    ok(&s, &["prune", "x.yaml"]);
    ok(&s, &["pack", "trained.safetensors", "--config", "x.yaml", "-o", "packed.safetensors"]);
    assert_eq!(digest(&s.path("pruned.safetensors")), digest(&s.path("packed.safetensors")));
    let models: Vec<(String, u8)> =
        codes(&s.path("pruned.safetensors")).into_iter().map(|(name, code)| (name, code[1])).collect();
    assert_eq!(models, [("ids".to_owned(), 3), ("w".to_owned(), 1)]);
    ok(&s, &["unpack", "pruned.safetensors", "--base", "base.safetensors", "-o", "back.safetensors"]);
    assert_eq!(contents(&s.path("back.safetensors")), contents(&s.path("trained.safetensors")));
    fails(
        &s,
        &["unpack", "pruned.safetensors", "-o", "back.safetensors"],
        1,
        "pruned.safetensors: tensor `ids` needs the values of another checkpoint (`base.safetensors` when this \
         was written): give it with `--base FILE`",
    );
}

/// Files whose tensors are all coded, but not as they were: they are restored, with a note.
#[test]
fn unpacking_what_is_not_the_trained_checkpoint() {
    let s = Scratch::new();
    let mut config = shipped_config(&root().join("examples/data/mlp_pad_sgd"));
    config["prune"] = serde_json::json!({"output": "p.safetensors", "format": "coded"});
    s.write("x.yaml", config.to_string());
    let note = "note: back.safetensors is not the trained checkpoint bit for bit: it has";
    let half = ["prune.criterion=magnitude", "prune.target={sparsity: 0.5}", "prune.scope=global"];
    let (all, four) = ("prune.values={step: 0.04}", "prune.rules=[{match: 'fc3.*', keep: true}]");
    for (sets, said) in [
        (vec!["prune.values={exact: true}"], ""),
        (vec![all], "values rounded to steps in 6 tensors"),
        (vec![all, four], "values rounded to steps in 4 tensors"),
        (half.to_vec(), "pruned weights in 6 tensors"),
        (
            [&half[..], &["prune.rules=[{match: ['fc[13].*', fc2.bias], keep: true}]"]].concat(),
            "pruned weights in 1 tensor",
        ),
        // In four of them steps are counted from zero, where pruned weights are no steps like others.
        (
            [&half[..], &[all]].concat(),
            "values rounded to steps in 6 tensors, and pruned weights in 2 tensors",
        ),
    ] {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        ok(&s, &[&["run", "x.yaml", "--quiet"], &sets[..]].concat());
        ok(&s, &["restore", "p.safetensors", "-o", "restored.safetensors", "--quiet"]);
        let stderr = ok(&s, &["unpack", "p.safetensors", "-o", "back.safetensors"]).stderr;
        let (first, rest) = stderr.split_once('\n').unwrap();
        assert!(first.starts_with("unpacked: back.safetensors, 6 tensors, 272,"), "{stderr}");
        assert_eq!(
            rest,
            if said.is_empty() { String::new() } else { format!("{note} {said}\n") },
            "{sets:?}"
        );
        assert_eq!(digest(&s.path("back.safetensors")), digest(&s.path("restored.safetensors")));
    }
    let unpack = ["unpack", "p.safetensors", "-o", "back.safetensors"];
    assert_eq!(ok(&s, &[&unpack[..], &["--quiet"]].concat()).stderr, "");
    let stderr = ok(&s, &[&unpack[..], &["--log-format", "json"]].concat()).stderr;
    assert!(stderr.lines().any(|line| line.contains("\"WARN\"") && line.contains(note)), "{stderr}");
}

/// The counterpart of `pack` unpacks what that wrote, and nothing else.
#[test]
fn what_unpack_refuses() {
    let s = Scratch::new();
    trained(&s);
    let unpack = |name: &str, message: &str| {
        fails(&s, &["unpack", name, "-o", "back.safetensors"], 1, message);
        assert!(!s.path("back.safetensors").exists());
    };
    unpack(
        "trained.safetensors",
        "trained.safetensors: not a packed file but an ordinary checkpoint, so there is nothing to unpack; \
         `cdi-prune pack trained.safetensors -o packed.safetensors` packs it",
    );
    s.write(
        "x.yaml",
        b"seed: 1\nmodel: {tensors: {w: [300, 500]}}\nrules: [{match: w, init: he}]\ninit: {output: init.safetensors}\n\
          trained: {path: t.safetensors}\nprune: {output: pruned.safetensors, criterion: magnitude, format: bitmask, \
          target: {sparsity: 0.5}}\n",
    );
    ok(&s, &["init", "x.yaml"]);
    fs::copy(s.path("init.safetensors"), s.path("t.safetensors")).unwrap();
    ok(&s, &["run", "x.yaml"]);
    unpack(
        "init.safetensors",
        "init.safetensors: not a packed file but an initial checkpoint of cdi-prune, which is dense already: use \
         it as it is",
    );
    unpack(
        "pruned.safetensors",
        "pruned.safetensors: this is a pruned file of cdi-prune, not a packed one; convert it with `cdi-prune \
         restore pruned.safetensors -o dense.safetensors`",
    );
    let ran = s.run(&["unpack", "x.safetensors", "-o", "y.safetensors", "--set", "seed=1"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("`unpack` reads no config"), "{ran:?}");
}

/// How many bits each weight takes, and what predicted it.
#[test]
fn inspected() {
    let s = Scratch::new();
    trained(&s);
    let pack = ["pack", "trained.safetensors", "--base", "base.safetensors", "-o", "p.safetensors"];
    ok(&s, &pack);
    assert_eq!(
        ok(&s, &["inspect", "p.safetensors"]).stdout,
        "\
┌───────────────────────────────────────────────────────────────────────┐
│ tensor   type  shape    predicted from    bytes  bits/weight  zeros % │
╞═══════════════════════════════════════════════════════════════════════╡
│ b        F32   2        base                  0         0.00        - │
│ ids      I64   2        -                    16            -     0.00 │
│ long     F32   2x70000  base                  0         0.00        - │
│ w.codes  U8    275968   base            275,968        14.72        - │
└───────────────────────────────────────────────────────────────────────┘
4 tensors in 1 file, 275,984 bytes of data.
"
    );
    let json = ok(&s, &["inspect", "p.safetensors", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["tensors"][1]["code"], serde_json::Value::Null);
    assert_eq!(
        json["tensors"][2],
        serde_json::json!({
            "name": "long", "dtype": "F32", "shape": [2, 70_000], "bytes": 0, "zeros": null,
            "code": {
                "tensor": "long", "dtype": "F32", "shape": [2, 70_000], "bits_per_weight": 0.0,
                "predicted_from": "base",
            },
        })
    );
    assert_eq!(
        json["tensors"][3]["code"],
        serde_json::json!({
            "tensor": "w", "dtype": "F32", "shape": [300, 500],
            "bits_per_weight": 8.0 * 275_968.0 / 150_000.0, "predicted_from": "base", "factor": 1.0,
        })
    );
    let network = shipped("examples/data/mlp_pad_sgd/trained.safetensors");
    let config = shipped("configs/quickstart.yaml");
    ok(&s, &["pack", &network, "--config", &config, "-o", "over.safetensors"]);
    assert_eq!(
        ok(&s, &["inspect", "over.safetensors"]).stdout,
        "\
┌───────────────────────────────────────────────────────────────────────────────┐
│ tensor            type  shape   predicted from    bytes  bits/weight  zeros % │
╞═══════════════════════════════════════════════════════════════════════════════╡
│ fc1.bias.codes    U8    263     nothing             263        32.88        - │
│ fc1.weight.codes  U8    163087  initial values  163,087        19.91        - │
│ fc2.bias.codes    U8    143     nothing             143        35.75        - │
│ fc2.weight.codes  U8    6542    initial values    6,542        25.55        - │
│ fc3.bias.codes    U8    64      nothing              64        51.20        - │
│ fc3.weight.codes  U8    1101    nothing           1,101        27.52        - │
└───────────────────────────────────────────────────────────────────────────────┘
6 tensors in 1 file, 171,200 bytes of data.
"
    );
}

#[test]
fn what_is_refused() {
    let s = Scratch::new();
    trained(&s);
    let pack = ["pack", "trained.safetensors", "--base", "base.safetensors", "-o"];
    ok(&s, &[&pack[..], &["p.safetensors"]].concat());
    fails(
        &s,
        &["restore", "p.safetensors", "-o", "back.safetensors"],
        1,
        "p.safetensors: tensor `b` needs the values of another checkpoint (`base.safetensors` when this \
         was written): give it with `--base FILE`",
    );
    s.tamper("base.safetensors", |_, data| data[40] ^= 1);
    fails(
        &s,
        &["restore", "p.safetensors", "--base", "base.safetensors", "-o", "back.safetensors"],
        1,
        "p.safetensors: it needs tensors of its base that have the SHA-256 \
         4ee7abbbce5acb6b6832d43e5d50f7a3ba515df6531fca971c251ace75ba800f together, but those of base.safetensors \
         have f7fce53add8fe7daee86e0e93cb83c3724210665a565d71868d99979eb58147e: this is not the checkpoint that \
         the file was packed with; give that one with `--base FILE`",
    );
    s.tamper("base.safetensors", |_, data| data[40] ^= 1);
    fails(
        &s,
        &[&pack[..], &["base.safetensors"]].concat(),
        2,
        "the checkpoint to pack or its base and the output are the same file (base.safetensors): an output must not replace an \
         input or another output; give one of them another path",
    );
    let packed = "p.safetensors: this is a pruned file of cdi-prune, not a trained checkpoint; convert it \
                  with `cdi-prune restore p.safetensors -o dense.safetensors`";
    fails(&s, &["pack", "p.safetensors", "-o", "q.safetensors"], 1, packed);
    fails(&s, &["pack", "trained.safetensors", "--base", "p.safetensors", "-o", "q.safetensors"], 1, packed);
    let ran = s.run(&[&pack[..], &["q.safetensors", "--config", "x.yaml"]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("cannot be used with"), "{ran:?}");
    fails(
        &s,
        &["pack", "none.safetensors", "-o", "q.safetensors"],
        1,
        "none.safetensors: cannot open: No such file or directory (os error 2)",
    );
}

/// One changed byte is found, or changes values alone: nothing crashes, and what is found is said
/// with tensor and file.
#[test]
fn damaged_codes() {
    let s = Scratch::new();
    s.safetensors("m.safetensors", &[("w", "F32", &[40, 64], f32s(&weights(2560, 9)))]);
    ok(&s, &["pack", "m.safetensors", "-o", "p.safetensors"]);
    let whole = fs::read(s.path("p.safetensors")).unwrap();
    let first = whole.len() - contents(&s.path("p.safetensors"))[0].3.len();
    let (mut refused, mut other) = (0, 0);
    for at in first..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        let read = PrunedReader::from_bytes(bytes, None).map(|file| file.read_to_vec("w"));
        match read {
            Ok(Ok(values)) => other += usize::from(values.len() == 2560 * 4),
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert_eq!(refused + other, whole.len() - first);
    assert!(refused > 100, "{refused}");
    for (at, xor, message) in [
        (
            0,
            3,
            "p.safetensors: the code of tensor `w`: unknown code version 2; a later version of cdi-prune \
             wrote it",
        ),
        (1, 6, "p.safetensors: the code of tensor `w`: the model is 6, which is invalid"),
        (4, 8, "p.safetensors: the code of tensor `w`: the classes' flag is 8, which is invalid"),
    ] {
        let mut bytes = whole.clone();
        bytes[first + at] ^= xor;
        s.write("p.safetensors", &bytes);
        fails(&s, &["restore", "p.safetensors", "-o", "back.safetensors"], 1, message);
        assert!(!s.path("back.safetensors").exists());
    }
    let mut bytes = whole;
    let last = bytes.len() - 1;
    bytes.truncate(last);
    // The header is about one more.
    s.write("p.safetensors", &bytes);
    assert_eq!(s.run(&["restore", "p.safetensors", "-o", "back.safetensors"]).code, 1);
}

/// What the description of a coded tensor says, and its base has, that cannot be.
#[test]
fn descriptions_that_contradict_their_code() {
    let wrong = |tensor: &str, problem: &str| {
        format!("tensor `{tensor}`: its `cdi_prune` metadata is wrong: {problem}")
    };
    let refused = |name: &str, from: &str, to: &str, message: &str| {
        let s = vectors(name);
        redescribe(&s, name, from, to);
        let base = format!("{name}.base.safetensors");
        let mut args = vec!["restore", "coded.safetensors", "-o", "back.safetensors"];
        if s.path(&base).exists() {
            args.extend(["--base", &base]);
        }
        fails(&s, &args, 1, message);
        assert!(!s.path("back.safetensors").exists());
    };
    let of = |tensor: &str, problem: &str| format!("coded.safetensors: {}", wrong(tensor, problem));
    let disagree = of("f64", "its code and its description disagree on whether values are predicted");
    refused("values", r#""name":"f64","#, r#""name":"f64","prediction":1,"#, &disagree);
    refused(
        "differences",
        r#""init":"base","prediction":0.9,"code":834}"#,
        r#""init":"base","code":834}"#,
        &disagree,
    );
    let model = "coded.safetensors: the code of tensor `f32`: the model is 0, which is invalid";
    refused("values", r#""name":"f32","dtype":"F32""#, r#""name":"f32","dtype":"I32""#, model);
    let pruned = "its elements are coded as bytes, so that none can be pruned, but it has a `fill`";
    refused("bytes", r#""name":"bool","#, r#""name":"bool","fill":"init","#, &of("bool", pruned));
    let factor = "BOOL can only be predicted from another checkpoint, with the factor 1";
    refused(
        "bytes",
        r#""prediction":1.0,"code":10},{"name":"f8""#,
        r#""prediction":0.5,"code":10},{"name":"f8""#,
        &of("bool_over", factor),
    );
    let small = of("bool", "F4 is not a type that can be coded");
    refused("bytes", r#""name":"bool","dtype":"BOOL""#, r#""name":"bool","dtype":"F4""#, &small);
    let nothing = "it is, or begins from, a tensor of the file's base, which is not described";
    refused("differences", r#""base":{"#, r#""other":{"#, &of("f64", nothing));
    refused(
        "differences",
        r#""name":"in_base","dtype":"F32""#,
        r#""name":"in_base","dtype":"BF16""#,
        "differences.base.safetensors: tensor `in_base`, which provides initial values, is F32 there, expected BF16",
    );
    refused(
        "differences",
        r#""name":"in_base","dtype":"F32","shape":[3,5]"#,
        r#""name":"in_base","dtype":"F32","shape":[5,3]"#,
        "differences.base.safetensors: tensor `in_base`, which provides initial values, has shape [3, 5] there, \
         expected [5, 3]",
    );
    refused(
        "differences",
        r#""sha256":""#,
        r#""sha256":"0"#,
        "coded.safetensors: it needs tensors of its base that have the SHA-256 \
         07d44b183694c6ed4d338c675dac5a6807e477da5db97f69829ba4dddc78f52a1 together, but those of \
         differences.base.safetensors have 7d44b183694c6ed4d338c675dac5a6807e477da5db97f69829ba4dddc78f52a1: this is \
         not the checkpoint that the file was packed with; give that one with `--base FILE`",
    );
    // A tensor that is in the base and in the file.
    let s = vectors("differences");
    redescribe(&s, "differences", r#""name":"in_base""#, r#""name":"cdi_prune.codes""#);
    s.tamper("differences.base.safetensors", |header, _| {
        let tensor = header.as_object_mut().unwrap().remove("in_base").unwrap();
        header["cdi_prune.codes"] = tensor;
    });
    fails(
        &s,
        &["restore", "coded.safetensors", "--base", "differences.base.safetensors", "-o", "back.safetensors"],
        1,
        "coded.safetensors: tensor `cdi_prune.codes` is described twice, or is in the file beside its own parts",
    );
}

/// A folder with these vectors, as coded.safetensors, and their base.
fn vectors(name: &str) -> Scratch {
    let s = Scratch::new();
    let from = root().join("tests/vectors");
    s.write("coded.safetensors", fs::read(from.join(format!("{name}.safetensors"))).unwrap());
    let base = format!("{name}.base.safetensors");
    if let Ok(bytes) = fs::read(from.join(&base)) {
        s.write(&base, bytes);
    }
    s
}

/// Changes what the file says about its tensors.
fn redescribe(s: &Scratch, name: &str, from: &str, to: &str) {
    s.tamper("coded.safetensors", |header, _| {
        let text = description(header);
        assert_eq!(text.matches(from).count(), 1, "{name}: {text}");
        header["__metadata__"]["cdi_prune"] = text.replace(from, to).into();
    });
}
