//! Tensors larger than a block, rows longer than one, every type and odd shape: what the whole pipeline makes
//! of them equals what one weight at a time says.

use std::fs;
use std::path::Path;
use std::process::Command;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::init::{Generator, SchemeParams};
use cdi_prune::tensor::{FloatDtype, Layout, Shape};
use tempfile::TempDir;

/// Name, shape, type, mode: rows in parts (cut inside a kernel of nine, in `conv`), many rows to a block, one
/// long row, one column, no rows, no columns, a scalar.
const TENSORS: [(&str, &[usize], FloatDtype, &str); 9] = [
    ("conv", &[3, 7801, 3, 3], FloatDtype::F32, "{mode: he, zero_mean: true}"),
    ("long_rows", &[3, 70001], FloatDtype::Bf16, "xavier"),
    ("many_rows", &[9001, 19], FloatDtype::F64, "{mode: uniform, low: -1, high: 1}"),
    ("vector", &[150_001], FloatDtype::F16, "{mode: normal, std: 0.5}"),
    ("column", &[70_001, 1], FloatDtype::F32, "lecun"),
    ("scalar", &[], FloatDtype::F32, "{mode: normal, mean: 2, std: 0.5}"),
    ("no_rows", &[0, 5], FloatDtype::F32, "he"),
    ("no_columns", &[5, 0], FloatDtype::F32, "he"),
    ("zeros", &[4, 10], FloatDtype::F32, "zeros"),
];

fn config(dir: &Path, fill: &str, format: &str) -> String {
    let mut text = String::from("seed: 11\nmodel:\n  tensors:\n");
    for (name, dims, dtype, _) in TENSORS {
        text += &format!("    {name}: {{shape: {dims:?}, dtype: {dtype}}}\n");
    }
    text += "rules:\n";
    for (n, (name, _, _, init)) in TENSORS.iter().enumerate() {
        text += &format!("  - {{match: {name}, layer: {n}, init: {init}}}\n");
    }
    text += "init: {output: init.safetensors}\ntrained: {path: trained.safetensors}\n";
    text += "analyze: {report: {json: report.json}}\n";
    text += &format!("prune: {{output: pruned.safetensors, fill: {fill}, format: {format}}}\n");
    let path = dir.join(format!("{fill}-{format}.yaml"));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn cdi_prune(args: &[&str], code: i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_cdi-prune")).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Training in our stead: moves every element whose number is 3 modulo 7, and flips the sign of the zeros.
fn train(dir: &Path) -> Vec<u8> {
    let mut bytes = fs::read(dir.join("init.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    for (name, dims, dtype, _) in TENSORS {
        let start = header + json[name]["data_offsets"][0].as_u64().unwrap() as usize;
        let elements: usize = dims.iter().product();
        for n in 0..elements {
            let at = start + n * dtype.size()..start + (n + 1) * dtype.size();
            let mut w = [0.0];
            dtype.decode(&bytes[at.clone()], &mut w);
            if name == "zeros" {
                w[0] = -0.0;
            } else if n % 7 == 3 {
                w[0] += 1.0;
            }
            dtype.encode(&w, &mut bytes[at]);
        }
    }
    fs::write(dir.join("trained.safetensors"), &bytes).unwrap();
    bytes
}

#[test]
fn pipeline_equals_one_weight_at_a_time() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    cdi_prune(&["run", &config(dir, "init", "auto")], 3);

    let initial = Checkpoint::open(&dir.join("init.safetensors")).unwrap();
    for (layer, (name, dims, dtype, init)) in TENSORS.iter().enumerate() {
        let params: SchemeParams = match init.strip_prefix('{') {
            Some(_) => serde_yaml::from_str(init).unwrap(),
            None => SchemeParams::named(init),
        };
        let shape = Shape::new(dims.to_vec()).unwrap();
        let scheme = params.scheme().unwrap();
        let generator = Generator::new(11, layer as u64, &scheme, &shape, Layout::OutIn);
        let mut stored = vec![0.0; shape.elements()];
        dtype.decode(initial.tensor(name).unwrap().bytes(), &mut stored);
        let cols = shape.matrix().cols;
        for (n, w) in stored.iter().enumerate() {
            let alone = dtype.round(generator.weight_at(n / cols, n % cols));
            assert_eq!(w.to_bits(), alone.to_bits(), "{name} {n}");
        }
    }

    let trained = train(dir);
    for format in ["auto", "bitmask", "dense"] {
        let config = config(dir, "init", format);
        cdi_prune(&["run", &config], 0);
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("report.json")).unwrap()).unwrap();
        for tensor in report["tensors"].as_array().unwrap() {
            let (name, dims, ..) = TENSORS.iter().find(|t| t.0 == tensor["name"]).unwrap();
            let elements = dims.iter().product::<usize>();
            // Numbers 3, 10, 17, …; flipped zeros sleep, but are stored.
            let changed = if *name == "zeros" { 0 } else { (elements + 3) / 7 };
            let pruned = if *name == "zeros" { 0 } else { elements - changed };
            assert_eq!(tensor["changed_weights"], changed, "{name}");
            assert_eq!(tensor["pruned_weights"], pruned, "{name}");
            // Every column of a matrix with seven rows and more has a moved weight, unless 7 divides the row.
            let columns = match *name {
                "many_rows" | "column" => 0,
                "zeros" => 10,
                "conv" => (0..70_209).filter(|j| (0..3).all(|i| (i * 70_209 + j) % 7 != 3)).count(),
                "long_rows" => (0..70_001).filter(|j| (0..3).all(|i| (i * 70_001 + j) % 7 != 3)).count(),
                "no_rows" | "no_columns" => 0,
                _ => elements - changed,
            };
            assert_eq!(tensor["sleeping_columns"], columns, "{name}");
            let rows = match *name {
                "column" => elements - changed,
                "scalar" => 1,
                "zeros" => 4,
                _ => 0,
            };
            assert_eq!(tensor["sleeping_rows"], rows, "{name}");
        }
        let (pruned, back) = (dir.join("pruned.safetensors"), dir.join("back.safetensors"));
        cdi_prune(&["restore", pruned.to_str().unwrap(), "-o", back.to_str().unwrap()], 0);
        let (back, expected) =
            (Checkpoint::open(&back).unwrap(), Checkpoint::open(&dir.join("trained.safetensors")).unwrap());
        for (name, tensor) in expected.tensors() {
            assert!(back.tensor(name).unwrap().bytes() == tensor.bytes(), "{name} in {format}");
        }
        // Nothing touched the trained file.
        assert!(fs::read(dir.join("trained.safetensors")).unwrap() == trained);
    }
}
