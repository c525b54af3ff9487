//! Packed checkpoints: their sizes, what comes back, and what is refused.

use std::fs;
use std::path::Path;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::reader::PrunedReader;
use sha2::{Digest, Sha256};

use crate::common::{Ran, Scratch, Tensor, f32s, root, rows_through_a_handle};

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
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
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

/// A base and what was trained from it: `w` of several blocks, most of it a little off; `long`, rows longer
/// than a block, as it was; `b`, too small to be worth a code.
fn trained(s: &Scratch) {
    let (w, long) = (weights(300 * 500, 1), weights(2 * 70_000, 2));
    let moved: Vec<f32> = w
        .iter()
        .zip(weights(w.len(), 3))
        .enumerate()
        .map(|(n, (w, d))| if n % 7 == 0 { *w } else { w + d * 1e-3 })
        .collect();
    let all = |w: &[f32]| -> Vec<Tensor<'static>> {
        vec![
            ("b", "F32", &[2], f32s(&[0.5, -0.0])),
            ("ids", "I64", &[2], [7u64.to_le_bytes(), 9u64.to_le_bytes()].concat()),
            ("long", "F32", &[2, 70_000], f32s(&long)),
            ("w", "F32", &[300, 500], f32s(w)),
        ]
    };
    s.safetensors("base.safetensors", &all(&w));
    s.safetensors("trained.safetensors", &all(&moved));
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
        "Packed 272,512 bytes in 6 tensors into over.safetensors: 172,098 bytes, 63.2 %."
    );
    ok(&s, &["pack", &trained, "-o", "alone.safetensors"]);
    let size = |name: &str| fs::metadata(s.path(name)).unwrap().len();
    assert_eq!((size("over.safetensors"), size("alone.safetensors")), (172_098, 226_608));
    for name in ["over.safetensors", "alone.safetensors"] {
        ok(&s, &["restore", name, "-o", "back.safetensors"]);
        assert_eq!(contents(&s.path("back.safetensors")), contents(Path::new(&trained)), "{name}");
    }
    assert_eq!(
        [digest(&s.path("over.safetensors")), digest(&s.path("alone.safetensors"))],
        [
            "c8a00f391f956ca371c8254ea5105fd0fc22c657af3c259a013f92c85023dbd0",
            "e153d7b8572c639a2f81d573fbac2e2e53ed446461b090f6b21218426927d4a7"
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
    assert_eq!(names, ["b", "ids", "long.codes", "w.codes"]);
    // Nothing but a head: version, model, flags and number of tables, a table of one symbol, and the lengths
    // of four blocks, which are 0.
    assert_eq!(packed[2].3.len(), 4 + 2 + 4 * 4);
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
            ("bf16", "BF16", &[64, 90], halves(|v| half::bf16::from_f32(v).to_bits())),
            ("bytes", "U8", &[5760], values.iter().map(|v| (v * 900.0) as i8 as u8).collect()),
            ("empty", "F32", &[0, 7], Vec::new()),
            ("f16", "F16", &[64, 90], halves(|v| half::f16::from_f32(v).to_bits())),
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
    let sizes: Vec<(String, usize)> = contents(&s.path("p.safetensors"))
        .into_iter()
        .filter(|(name, ..)| name.ends_with(".codes"))
        .map(|(name, .., bytes)| (name, bytes.len()))
        .collect();
    let names: Vec<&str> = sizes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bf16.codes", "f16.codes", "f32.codes", "f64.codes", "vector.codes", "zeros.codes"]);
    // Version, model and its `top`, flags, number of tables, a table of one symbol, and the
    // length of one block.
    assert_eq!(sizes[5].1, 1 + 3 + 1 + 1 + 2 + 4);
    assert!(sizes.iter().zip([11_520, 11_520, 23_040, 46_080, 23_040]).all(|((_, size), raw)| *size < raw));
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
        "p.safetensors: tensor `long` needs the values of another checkpoint (`base.safetensors` when this \
         was written): give it with `--base FILE`",
    );
    s.tamper("base.safetensors", |_, data| data[40] ^= 1);
    let ran = s.run(&["restore", "p.safetensors", "--base", "base.safetensors", "-o", "back.safetensors"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("SHA-256"), "{ran:?}");
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
        (1, 2, "p.safetensors: the code of tensor `w`: the model is 2, which is invalid"),
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
