//! The files that pruning writes: encodings, fills and types, their sizes, their soundness
//! when they are read back.

use std::fs;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::reader::PrunedReader;
use serde_json::json;

use crate::common::{Ran, Scratch, Tensor, f32s, rows_through_a_handle, succeeds};

const CONFIG: &str = "\
seed: 7
rules: [{match: '**', init: {from: base.safetensors}}]
trained: {path: trained.safetensors}
analyze: {threshold: 0, report: {json: report.json}}
prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 0.9}, any_start: true}
";

/// Trained and base values of two tensors: one of several blocks with rows longer than a
/// block, one of many rows.
fn scratch() -> Scratch {
    let s = Scratch::new();
    s.write("x.yaml", CONFIG);
    let (long, many) = ([3usize, 70_001], [300usize, 301]);
    let values = |shape: [usize; 2], factor: u64| -> Vec<u8> {
        let one = |n: u64| ((n * n * factor % 1009) as f32 - 504.0) / 64.0;
        f32s(&(0..(shape[0] * shape[1]) as u64).map(one).collect::<Vec<_>>())
    };
    let tensors = |factor| {
        [
            ("long", "F32", &long[..], values(long, factor)),
            ("many", "F32", &many[..], values(many, factor + 6)),
        ]
    };
    s.safetensors("trained.safetensors", &tensors(31));
    s.safetensors("base.safetensors", &tensors(57));
    s
}

#[track_caller]
fn prune(s: &Scratch, threads: &str, keys: &[&str]) -> Vec<u8> {
    let mut args = vec!["run", "x.yaml", "--threads", threads, "--quiet"];
    args.extend(keys.iter().flat_map(|key| ["--set", key]));
    succeeds(s, &args);
    fs::read(s.path("pruned.safetensors")).unwrap()
}

fn restore(s: &Scratch, threads: &str) -> Vec<u8> {
    let base = ["--base", "base.safetensors"];
    let args = ["restore", "pruned.safetensors", "-o", "dense.safetensors", "--quiet", "--threads", threads];
    succeeds(s, &[&args[..], &base].concat());
    fs::read(s.path("dense.safetensors")).unwrap()
}

#[test]
fn bytes_are_the_same_at_any_number_of_threads_and_restore_to_the_dense_file() {
    let s = scratch();
    for fill in ["zero", "init", "nearest"] {
        for dtype in ["keep", "bf16"] {
            let (fill, dtype) = (&*format!("prune.fill={fill}"), &*format!("prune.dtype={dtype}"));
            let mut restored = Vec::new();
            for format in ["dense", "bitmask", "csr", "sparse", "coded", "auto"] {
                let keys = [fill, dtype, &format!("prune.format={format}")];
                let one = prune(&s, "1", &keys);
                let first = restore(&s, "1");
                assert!(prune(&s, "3", &keys) == one, "{keys:?}");
                assert!(restore(&s, "3") == first, "{keys:?}");
                restored.push(first);
            }
            assert!(restored.windows(2).all(|pair| pair[0] == pair[1]), "{fill} {dtype}");
        }
    }
}

#[test]
fn sparse_is_the_smallest_of_three_and_sizes_are_known_to_the_byte() {
    let s = scratch();
    for fill in ["zero", "nearest"] {
        for dtype in ["keep", "f16"] {
            for sparsity in ["0", "0.02", "0.1", "0.4", "0.6", "0.9", "0.96", "0.99", "1"] {
                let keys = |format: &str, target: String| {
                    [
                        format!("prune.fill={fill}"),
                        format!("prune.dtype={dtype}"),
                        format!("prune.target={target}"),
                        format!("prune.format={format}"),
                        // One tensor, so that its encoding is the file's.
                        "prune.rules=[{match: many, keep: true}]".to_owned(),
                    ]
                };
                let size = |format: &str| {
                    let keys = keys(format, format!("{{sparsity: {sparsity}}}"));
                    prune(&s, "2", &keys.each_ref().map(String::as_str)).len()
                };
                let least = ["dense", "bitmask", "csr"].map(size).into_iter().min().unwrap();
                let sparse = size("sparse");
                assert_eq!(sparse, least, "{fill} {dtype} {sparsity}");
                // A limit of just this size is kept, by pruning no more; one of a byte less by pruning more.
                let pruned = || {
                    let report = fs::read(s.path("report.json")).unwrap();
                    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
                    report["totals"]["pruned_weights"].as_u64().unwrap()
                };
                let count = pruned();
                let limited = |limit: usize| {
                    let keys = keys("sparse", format!("{{bytes: {limit}}}"));
                    (prune(&s, "2", &keys.each_ref().map(String::as_str)).len(), pruned())
                };
                let (size, same) = limited(sparse);
                assert!(size <= sparse && same <= count, "{size} of {sparse}, {same} of {count}");
                if sparsity != "1" {
                    let (size, more) = limited(sparse - 1);
                    assert!(size < sparse && more >= same, "{size} of {sparse}, {more} after {same}");
                }
            }
        }
    }
}

#[test]
fn the_criterion_nearest_fills_with_the_nearer_value_unless_the_config_says_otherwise() {
    let s = scratch();
    let nearest = ["prune.criterion=nearest", "prune.format=csr"];
    let by_default = prune(&s, "2", &nearest);
    assert!(by_default == prune(&s, "2", &[nearest[0], nearest[1], "prune.fill=nearest"]));
    assert!(by_default != prune(&s, "2", &[nearest[0], nearest[1], "prune.fill=zero"]));
}

/// A small file of two tensors, of which one goes beyond the range of F16.
fn small(keys: &[&str]) -> (Scratch, Ran) {
    let s = Scratch::new();
    s.write("x.yaml", CONFIG);
    let trained = [1.0, 7e4, -3.0, 65519.0, -65520.0, 0.25, 0.5, f32::INFINITY];
    s.safetensors(
        "trained.safetensors",
        &[("a", "F32", &[2, 4], f32s(&trained)), ("kept", "F32", &[1], f32s(&[1e9]))],
    );
    s.safetensors(
        "base.safetensors",
        &[
            ("a", "F32", &[2, 4], f32s(&[1.0, 2.0, -5.0, 0.0, 0.0, 0.375, 5.0, 0.0])),
            ("kept", "F32", &[1], f32s(&[1e9])),
        ],
    );
    let mut args = vec!["run", "x.yaml", "--set", "prune.rules=[{match: kept, keep: true}]"];
    args.extend(["--set", "prune.target={sparsity: 0.5}"]);
    args.extend(keys.iter().flat_map(|key| ["--set", key]));
    let ran = succeeds(&s, &args);
    (s, ran)
}

#[test]
fn values_beyond_the_range_are_counted_and_told() {
    for format in ["dense", "bitmask", "csr", "coded"] {
        let (s, ran) = small(&["prune.dtype=f16", &format!("prune.format={format}")]);
        let text = "Overflow: 2 finite weights became infinite in the type written, in a (2). Use a wider \
                    `prune.dtype`.";
        let all = ran.stdout + &ran.stderr;
        assert!(all.split_whitespace().collect::<Vec<_>>().join(" ").contains(text), "{all}");
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(s.path("report.json")).unwrap()).unwrap();
        assert_eq!(report["tensors"][0]["overflowed_weights"], json!(2));
        // What a rule keeps is neither cast nor counted.
        assert!(report["tensors"][1]["overflowed_weights"].is_null());
    }
}

/// Changes the first byte of a part and restores, which fails so.
#[track_caller]
fn corrupt(keys: &[&str], part: &str, at: usize, byte: u8, message: &str) {
    let (s, _) = small(keys);
    s.tamper("pruned.safetensors", |header, data| {
        let start = header[part]["data_offsets"][0].as_u64().unwrap();
        data[usize::try_from(start).unwrap() + at] = byte;
    });
    let ran =
        s.run(&["restore", "pruned.safetensors", "-o", "dense.safetensors", "--base", "base.safetensors"]);
    assert_eq!(ran.stderr, format!("error: pruned.safetensors: tensor `a`: {message}\n"));
    assert_eq!(ran.code, 1);
    assert!(!s.path("dense.safetensors").exists());
}

#[test]
fn rows_and_columns_that_contradict_each_other_are_refused() {
    // Kept are columns 1 and 3 of the first row, 0 and 3 of the second.
    let csr = &["prune.format=csr"][..];
    corrupt(csr, "a.crow_indices", 0, 1, "its `crow_indices` begin at 1, expected 0");
    corrupt(
        csr,
        "a.crow_indices",
        8,
        1,
        "row 1 ends at stored value 1 according to its `crow_indices`, before it begins at 2",
    );
    corrupt(
        csr,
        "a.crow_indices",
        8,
        5,
        "its `crow_indices` end at 5, expected 4, the number of its stored values",
    );
    corrupt(csr, "a.col_indices", 0, 4, "row 0 has a stored value in column 4, beyond its 4 columns");
    corrupt(
        csr,
        "a.col_indices",
        0,
        3,
        "row 0 has column 3 after column 3; the columns of a row must \
                                         increase",
    );
    corrupt(csr, "a.shape", 0, 3, "`a.shape` holds [3, 4], expected [2, 4]");
}

/// Earlier releases wrote row offsets as I64, also without any value.
#[test]
fn wide_row_offsets_are_read_as_before() {
    let s = scratch();
    for format in ["bitmask", "csr"] {
        for sparsity in ["0.9", "1"] {
            prune(
                &s,
                "2",
                &[&format!("prune.format={format}"), &format!("prune.target={{sparsity: {sparsity}}}")],
            );
            let dense = restore(&s, "2");
            let file = Checkpoint::open(&s.path("pruned.safetensors")).unwrap();
            let metadata = file.metadata()[0].clone();
            let rows = [("long", 3usize), ("many", 300)];
            let wide = |name: &str, bytes: &[u8]| -> Vec<u8> {
                let narrow: Vec<i32> =
                    bytes.as_chunks::<4>().0.iter().map(|n| i32::from_le_bytes(*n)).collect();
                let rows = rows.iter().find(|(tensor, _)| name.starts_with(tensor)).unwrap().1;
                let expected = rows + usize::from(format == "csr");
                assert_eq!(narrow.len(), if (format, sparsity) == ("bitmask", "1") { 0 } else { expected });
                let padded = narrow.into_iter().chain(std::iter::repeat(0)).take(expected);
                padded.flat_map(|n| i64::from(n).to_le_bytes()).collect()
            };
            let parts: Vec<(String, String, Vec<usize>, Vec<u8>)> = file
                .tensors()
                .map(|(name, part)| {
                    let is_offsets = name.ends_with("row_offsets") || name.ends_with("crow_indices");
                    let (dtype, bytes) = (part.dtype.to_string(), part.bytes());
                    let dims = part.shape.dims().to_vec();
                    if is_offsets {
                        assert_eq!(dtype, "I32");
                        let bytes = wide(name, bytes);
                        return (name.to_owned(), "I64".to_owned(), vec![bytes.len() / 8], bytes);
                    }
                    (name.to_owned(), dtype, dims, bytes.to_vec())
                })
                .collect();
            drop(file);
            let parts: Vec<Tensor<'_>> = parts
                .iter()
                .map(|(name, dtype, dims, bytes)| (&**name, &**dtype, &**dims, bytes.clone()))
                .collect();
            s.safetensors("pruned.safetensors", &parts);
            s.tamper("pruned.safetensors", |header, _| header["__metadata__"] = json!(metadata));
            assert!(restore(&s, "2") == dense, "{format} {sparsity}");
            for (name, tensor) in Checkpoint::open(&s.path("dense.safetensors")).unwrap().tensors() {
                let file = PrunedReader::open(&s.path("pruned.safetensors"), None).unwrap();
                rows_through_a_handle(&file, name, tensor.bytes());
            }
        }
    }
}

#[test]
fn fill_masks_that_do_not_fit_are_refused() {
    for format in ["bitmask", "csr"] {
        let keys = [&*format!("prune.format={format}"), "prune.fill=nearest"];
        corrupt(
            &keys,
            "a.fillmask",
            0,
            0b1_0000,
            "its `a.fillmask` has a bit set beyond its 4 pruned weights",
        );
        let (s, _) = small(&keys);
        s.tamper("pruned.safetensors", |header, _| {
            let part = header.as_object_mut().unwrap().remove("a.fillmask").unwrap();
            header.as_object_mut().unwrap().insert("other".to_owned(), part);
        });
        let restore = ["restore", "pruned.safetensors", "-o", "d", "--base", "base.safetensors"];
        let expected = "error: pruned.safetensors: tensor `a`: its part `a.fillmask` is missing\n";
        assert_eq!(s.run(&restore).stderr, expected);
        // A mask of nine places.
        let (s, _) = small(&keys);
        s.tamper("pruned.safetensors", |header, data| {
            data.push(0);
            let part = &mut header["a.fillmask"];
            part["shape"] = json!([2]);
            part["data_offsets"][1] = json!(part["data_offsets"][1].as_u64().unwrap() + 1);
        });
        let expected =
            "error: pruned.safetensors: tensor `a`: its part `a.fillmask` is U8 [2], expected U8 [1]\n";
        if format == "csr" {
            // There the mask is the file's last tensor.
            assert_eq!(s.run(&restore).stderr, expected);
        }
    }
}

#[test]
fn descriptions_that_cannot_be_are_refused() {
    let describe = |from: &str, to: &str| {
        let (s, _) = small(&["prune.format=csr", "prune.fill=nearest"]);
        s.tamper("pruned.safetensors", |header, _| {
            let text = header["__metadata__"]["cdi_prune"].as_str().unwrap();
            assert!(text.contains(from), "{text}");
            header["__metadata__"]["cdi_prune"] = json!(text.replace(from, to));
        });
        let ran = s.run(&["restore", "pruned.safetensors", "-o", "d", "--base", "base.safetensors"]);
        assert_eq!(ran.code, 1);
        ran.stderr
    };
    assert_eq!(
        describe("\"csr\"", "\"coo\""),
        "error: pruned.safetensors: its `cdi_prune` metadata cannot be read: unknown variant `coo`, expected one of \
         `dense`, `bitmask`, `csr`, `coded`, `base` at line 1 column 121\n"
    );
    assert_eq!(
        describe("\"csr\"", "\"bitmask\""),
        "error: pruned.safetensors: tensor `a`: its part `a.compressed` is missing\n"
    );
    assert_eq!(
        describe("\"F32\"", "\"F16\""),
        "error: pruned.safetensors: tensor `a`: its part `a.values` is F32 [4], expected F16 [count]\n"
    );
    assert_eq!(
        describe("[2,4]", "[2,5]"),
        "error: pruned.safetensors: tensor `a`: `a.shape` holds [2, 4], expected [2, 5]\n"
    );
}

#[test]
fn names_that_parts_would_need_are_refused() {
    for (part, format) in
        [("a.crow_indices", "csr"), ("a.values", "auto"), ("a.fillmask", "bitmask"), ("a.codes", "coded")]
    {
        let s = Scratch::new();
        s.write("x.yaml", CONFIG);
        let tensors = [("a", "F32", &[1usize][..], f32s(&[1.0])), (part, "U8", &[1], vec![0])];
        s.safetensors("trained.safetensors", &tensors);
        s.safetensors("base.safetensors", &tensors);
        let format = format!("prune.format={format}");
        let ran = s.run(&["run", "x.yaml", "--set", &format, "--set", "prune.fill=nearest"]);
        assert_eq!(
            ran.stderr.replace("DIR/", ""),
            format!(
                "error: trained.safetensors: tensor `{part}` has the name that a part of the encoded tensor `a` would \
                 have; set `format: dense` or a prune rule with `keep: true` for `a`\n"
            )
        );
        assert_eq!(ran.code, 1);
    }
}

#[test]
fn a_fill_that_nobody_knows_is_refused() {
    let s = Scratch::new();
    s.write("x.yaml", CONFIG.replace("{from: base.safetensors}", "none"));
    s.safetensors("trained.safetensors", &[("a", "F32", &[2], f32s(&[1.0, 2.0]))]);
    let ran = s.run(&["run", "x.yaml", "--set", "prune.fill=nearest"]);
    assert!(
        ran.stderr.contains("tensor `a` has `init: none`, so there is no initial value to fill in"),
        "{ran:?}"
    );
    assert_eq!(ran.code, 2);
}

/// More columns than I32 numbers: a file of 4 GiB, of which nothing is stored.
#[test]
#[cfg(target_os = "linux")]
fn too_many_columns_for_csr_are_refused() {
    let s = Scratch::new();
    let columns = (1usize << 31) + 8;
    let header =
        json!({"a": {"dtype": "F16", "shape": [columns], "data_offsets": [0, 2 * columns]}}).to_string();
    let header = format!("{header:<80}");
    s.write("trained.safetensors", [&80u64.to_le_bytes()[..], header.as_bytes()].concat());
    let file = fs::OpenOptions::new().write(true).open(s.path("trained.safetensors")).unwrap();
    file.set_len(88 + 2 * columns as u64).unwrap();
    s.write("x.yaml", CONFIG.replace("{from: base.safetensors}", "none"));
    let ran = s.run(&["run", "x.yaml", "--set", "prune.format=csr"]);
    assert!(
        ran.stderr.contains(
            "tensor `a` has 2147483656 columns, but `format: csr` supports at most 2147483648; use another \
             format, or `keep: true` in `prune.rules`"
        ),
        "{ran:?}"
    );
    assert_eq!(ran.code, 2);
}

#[test]
fn rows_are_read_into_the_callers_memory_as_restore_gives_them() {
    let s = scratch();
    for keys in [
        ["prune.format=csr", "prune.fill=nearest", "prune.dtype=bf16"],
        ["prune.format=bitmask", "prune.fill=nearest", "prune.dtype=keep"],
        ["prune.format=bitmask", "prune.fill=init", "prune.dtype=f16"],
        ["prune.format=dense", "prune.fill=nearest", "prune.dtype=bf16"],
    ] {
        prune(&s, "2", &keys);
        restore(&s, "2");
        let restored = Checkpoint::open(&s.path("dense.safetensors")).unwrap();
        let file =
            PrunedReader::open(&s.path("pruned.safetensors"), Some(&s.path("base.safetensors"))).unwrap();
        let bytes = |name: &str| std::fs::read(s.path(name)).unwrap();
        let in_memory =
            PrunedReader::from_bytes(bytes("pruned.safetensors"), Some(bytes("base.safetensors").into()))
                .unwrap();
        for (name, tensor) in restored.tensors() {
            let matrix = tensor.shape.matrix();
            assert!(in_memory.read_to_vec(name).unwrap() == tensor.bytes(), "{keys:?} {name}");
            let width = tensor.bytes().len() / matrix.rows;
            for (from, to) in
                [(0, matrix.rows), (1, 2), (2, 2), (matrix.rows / 2, matrix.rows), (matrix.rows, matrix.rows)]
            {
                let mut out = vec![0xAA; (to - from) * width];
                file.read_rows(name, from..to, &mut out).unwrap();
                assert!(out == tensor.bytes()[from * width..to * width], "{keys:?} {name} {from}..{to}");
            }
        }
        let text = |name: &str, rows, len: usize| {
            let mut out = vec![7; len];
            let error = file.read_rows(name, rows, &mut out).unwrap_err().to_string();
            assert!(out.iter().all(|byte| *byte == 7));
            error
        };
        assert_eq!(text("other", 0..1, 0), "there is no tensor `other`");
        assert_eq!(text("many", 299..301, 8), "tensor `many` has 300 rows, but 299..301 were requested");
        let size = if keys[2].ends_with("keep") { 4 } else { 2 };
        assert_eq!(
            text("many", 0..2, 8),
            format!("the requested rows of tensor `many` have {} bytes, but the slice has 8", 602 * size)
        );
    }
}

/// Every encoding and fill, with initial values that are stored, drawn one by one, and drawn whole.
#[test]
fn rows_through_a_handle_are_those_that_are_read_at_once() {
    let s = scratch();
    let check = |base: Option<&str>| {
        let (pruned, dense) = (s.path("pruned.safetensors"), s.path("dense.safetensors"));
        let base = base.map(|base| s.path(base));
        let file = PrunedReader::open(&pruned, base.as_deref()).unwrap();
        let restored = Checkpoint::open(&dense).unwrap();
        for (name, tensor) in restored.tensors() {
            rows_through_a_handle(&file, name, tensor.bytes());
        }
    };
    for format in ["dense", "bitmask", "csr"].map(|format| format!("prune.format={format}")) {
        for fill in ["zero", "init", "nearest"].map(|fill| format!("prune.fill={fill}")) {
            prune(&s, "2", &[&format, &fill]);
            restore(&s, "2");
            check(Some("base.safetensors"));
        }
    }
    s.write("drawn.yaml", DRAWN);
    succeeds(&s, &["init", "drawn.yaml"]);
    fs::copy(s.path("init.safetensors"), s.path("drawn.safetensors")).unwrap();
    for format in ["bitmask", "csr"].map(|format| format!("prune.format={format}")) {
        for fill in ["init", "nearest"].map(|fill| format!("prune.fill={fill}")) {
            succeeds(&s, &["prune", "drawn.yaml", "--set", &format, "--set", &fill]);
            succeeds(&s, &["restore", "pruned.safetensors", "-o", "dense.safetensors"]);
            check(None);
        }
    }
    succeeds(&s, &["pack", "drawn.safetensors", "--config", "drawn.yaml", "-o", "pruned.safetensors"]);
    succeeds(&s, &["restore", "pruned.safetensors", "-o", "dense.safetensors"]);
    check(None);
}

const DRAWN: &str = "\
seed: 3
model: {tensors: {he.weight: [300, 301], ortho.weight: [120, 90], delta.weight: [24, 8, 3, 3], qkv.weight: [96, 64]}}
rules:
  - {match: he.weight, init: he}
  - {match: ortho.weight, init: {mode: orthogonal, gain: 2}}
  - {match: delta.weight, init: delta_orthogonal}
  - {match: qkv.weight, init: orthogonal, slices: [q, k, {name: v, init: he}]}
init: {output: init.safetensors}
trained: {path: drawn.safetensors}
prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 0.5}}
";

/// A file of these entries and this many bytes of data, 0, 1, 2, …
fn bytes_of(json: &str, data: u8) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &Vec::from_iter(0..data)].concat()
}

#[test]
fn rows_that_end_within_a_byte_are_refused() {
    let json = r#"{"half":{"dtype":"F4","shape":[4,3],"data_offsets":[0,6]}}"#;
    let file = PrunedReader::from_bytes(bytes_of(json, 6), None).unwrap();
    let mut out = [7; 3];
    file.read_rows("half", 2..4, &mut out).unwrap();
    assert_eq!(out, [3, 4, 5]);
    assert_eq!(
        file.read_rows("half", 0..1, &mut out).unwrap_err().to_string(),
        "rows 0..1 of tensor `half`, which is F4, begin or end within a byte; read the whole tensor"
    );
    assert_eq!(file.read_to_vec("half").unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(file.read_to_vec("other").unwrap_err().to_string(), "there is no tensor `other`");
}

#[test]
fn bytes_in_memory_are_checked_as_files_are() {
    let error = |file: Vec<u8>, base| PrunedReader::from_bytes(file, base).unwrap_err().to_string();
    let json = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let length = 8 + json.len() + 8;
    assert_eq!(
        error(bytes_of(json, 7), None),
        format!(
            "in memory: truncated: the header describes a file of {length} bytes, but it has {}",
            length - 1
        )
    );
    assert_eq!(
        error(bytes_of(json, 8), Some(Vec::new().into())),
        "base in memory: not a safetensors file: 0 bytes, shorter than the 8 bytes of a header length"
    );
}
