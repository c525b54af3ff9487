//! The whole program on real checkpoints: what `facts.json` of each folder says, computed by an independent
//! NumPy program in binary64, is what must come out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cdi_core::internal::dispatch::{InstructionSet, VARIABLE};
use cdi_prune::checkpoint::Checkpoint;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::root;

/// Folder, and where it lies: what the README and the examples use is in `examples`.
const DATA: [(&str, &str); 5] = [
    ("mlp_pad_sgd", "examples/data"),
    ("mlp_bf16_sgd", "examples/data"),
    ("mlp_pad_sgdm_wd", "tests/data"),
    ("byte_lm_adamw", "tests/data"),
    ("cnn_adamw", "tests/data"),
];

fn folder(name: &str) -> PathBuf {
    let (_, parent) = DATA.iter().find(|(n, _)| *n == name).expect("a shipped folder");
    root().join(parent).join(name)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn facts(name: &str) -> Value {
    crate::common::facts(&folder(name))
}

fn cdi_prune(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cdi-prune")).args(args).output().unwrap()
}

fn succeed(args: &[&str]) -> Output {
    succeed_on(InstructionSet::current().name(), args)
}

/// The program on this instruction set.
fn succeed_on(set: &str, args: &[&str]) -> Output {
    let output =
        Command::new(env!("CARGO_BIN_EXE_cdi-prune")).args(args).env(VARIABLE, set).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A config from a folder's own rules, written as JSON, which is YAML too; its outputs lie beside it.
fn config(dir: &TempDir, name: &str, changes: &[(&str, &str, Value)]) -> String {
    let facts = facts(name);
    let dtype = if name == "mlp_bf16_sgd" { "bf16" } else { "f32" };
    let mut config = json!({
        "version": 1,
        "seed": facts["seed"],
        "model": {"tensors": facts["shapes"], "dtype": dtype},
        "rules": facts["rules"],
        "init": {"output": "init.safetensors"},
        "trained": {"path": folder(name).join("trained.safetensors")},
        "analyze": {
            "threshold": 0,
            "report": {"json": "report.json", "csv": "report.csv", "markdown": "report.md"},
        },
        "prune": {"output": "pruned.safetensors"},
    });
    for (section, key, value) in changes {
        config[*section][*key] = value.clone();
    }
    let path = dir.path().join("config.yaml");
    fs::write(&path, config.to_string()).unwrap();
    path.display().to_string()
}

fn digests(path: &Path) -> BTreeMap<String, String> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    checkpoint.tensors().map(|(name, t)| (name.to_owned(), digest(t.bytes()))).collect()
}

fn same_tensors(a: &Path, b: &Path) {
    let (a, b) = (Checkpoint::open(a).unwrap(), Checkpoint::open(b).unwrap());
    assert_eq!(a.len(), b.len());
    for ((name, x), (other, y)) in a.tensors().zip(b.tensors()) {
        assert_eq!((name, x.dtype, x.shape), (other, y.dtype, y.shape));
        assert!(x.bytes() == y.bytes(), "{name} differs");
    }
}

#[test]
fn initial_checkpoints_equal_those_of_the_independent_program() {
    let expected = read_json(&root().join("tests/data/init_sha256.json"));
    for (name, _) in DATA {
        let dir = TempDir::new().unwrap();
        succeed(&["init", &config(&dir, name, &[])]);
        let found = digests(&dir.path().join("init.safetensors"));
        assert_eq!(json!(found), expected[name], "{name}");
    }
}

#[test]
fn reports_equal_the_facts() {
    for (name, _) in DATA {
        let facts = facts(name);
        for threshold in ["0", "1e-06", "0.0001", "0.001", "0.01"] {
            let dir = TempDir::new().unwrap();
            let value: f64 = threshold.parse().unwrap();
            succeed(&["analyze", &config(&dir, name, &[("analyze", "threshold", json!(value))])]);
            let report = read_json(&dir.path().join("report.json"));
            let tensors = report["tensors"].as_array().unwrap();
            assert_eq!(tensors.len(), facts["facts"].as_object().unwrap().len());
            for tensor in tensors {
                let fact = &facts["facts"][tensor["name"].as_str().unwrap()];
                assert_eq!(tensor["total_weights"], fact["total_weights"]);
                assert_eq!(tensor["sleeping_weights"], fact[format!("sleeping_at_{threshold}")], "{tensor}");
                assert_eq!(tensor["zeros"], fact["zeros"]);
                assert_eq!(tensor["max_delta"].as_f64(), fact["max_delta"].as_f64());
                for key in ["mean_delta", "rms_delta"] {
                    let (got, expected) = (tensor[key].as_f64().unwrap(), fact[key].as_f64().unwrap());
                    assert!(
                        (got - expected).abs() <= 1e-12 * expected,
                        "{name} {key}: {got}, not {expected}"
                    );
                }
                if threshold == "0.001" && fact.get("sleeping_rows_at_0.001").is_some() {
                    assert_eq!(tensor["sleeping_rows"], fact["sleeping_rows_at_0.001"]);
                    assert_eq!(tensor["sleeping_columns"], fact["sleeping_columns_at_0.001"]);
                }
            }
            assert_eq!(report["totals"]["sleeping_weights"], facts["sleeping_totals"][threshold]);
        }
    }
}

#[test]
fn restoring_initial_values_at_threshold_zero_gives_the_trained_weights_back() {
    for (name, _) in DATA {
        for format in ["bitmask", "auto", "dense"] {
            let dir = TempDir::new().unwrap();
            let changes = [("prune", "fill", json!("init")), ("prune", "format", json!(format))];
            succeed(&["run", &config(&dir, name, &changes)]);
            let (pruned, back) = (dir.path().join("pruned.safetensors"), dir.path().join("back.safetensors"));
            succeed(&["restore", pruned.to_str().unwrap(), "-o", back.to_str().unwrap()]);
            same_tensors(&back, &folder(name).join("trained.safetensors"));
        }
    }
}

#[test]
fn zero_fill_zeroes_the_sleeping_weights_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    succeed(&["run", &config(&dir, "mlp_pad_sgd", &[("prune", "format", json!("bitmask"))])]);
    let (pruned, back) = (dir.path().join("pruned.safetensors"), dir.path().join("back.safetensors"));
    succeed(&["restore", pruned.to_str().unwrap(), "-o", back.to_str().unwrap()]);
    let trained = Checkpoint::open(&folder("mlp_pad_sgd").join("trained.safetensors")).unwrap();
    let initial = Checkpoint::open(&dir.path().join("init.safetensors")).unwrap();
    let back = Checkpoint::open(&back).unwrap();
    let mut zeroed = 0;
    for (name, t) in trained.tensors() {
        let (initial, back) = (initial.tensor(name).unwrap(), back.tensor(name).unwrap());
        for ((w, w0), b) in t.bytes().chunks(4).zip(initial.bytes().chunks(4)).zip(back.bytes().chunks(4)) {
            let expected = if w == w0 { &[0; 4] } else { w };
            assert_eq!(b, expected, "{name}");
            zeroed += usize::from(w == w0);
        }
    }
    // `sleeping_totals` of the facts at threshold 0.
    assert_eq!(zeroed, 15_442);
}

#[test]
fn auto_is_never_larger_than_dense() {
    for (name, _) in DATA {
        for threshold in [0.0, 1e-4, 1e-2] {
            let sizes = ["auto", "dense", "bitmask"].map(|format| {
                let dir = TempDir::new().unwrap();
                let changes =
                    [("prune", "format", json!(format)), ("analyze", "threshold", json!(threshold))];
                succeed(&["run", &config(&dir, name, &changes)]);
                fs::metadata(dir.path().join("pruned.safetensors")).unwrap().len()
            });
            assert!(sizes[0] <= sizes[1] && sizes[0] <= sizes[2], "{name} at {threshold}: {sizes:?}");
        }
    }
}

#[test]
fn every_output_has_the_same_bytes_at_any_thread_count_on_any_instruction_set_and_in_every_run() {
    const OUTPUTS: [&str; 6] = [
        "init.safetensors",
        "pruned.safetensors",
        "report.json",
        "report.csv",
        "report.md",
        "back.safetensors",
    ];
    for (name, _) in DATA {
        let mut runs = Vec::new();
        let fastest = InstructionSet::current().name();
        let sets = InstructionSet::available().into_iter().map(|set| ("2", set.name()));
        for (threads, set) in [("1", fastest), ("2", fastest), ("7", fastest)].into_iter().chain(sets) {
            let dir = TempDir::new().unwrap();
            let config = config(&dir, name, &[("prune", "fill", json!("init"))]);
            let output = succeed_on(set, &["run", &config, "--threads", threads, "--color", "never"]);
            let [pruned, back] = ["pruned", "back"]
                .map(|n| dir.path().join(n).with_extension("safetensors").display().to_string());
            succeed_on(set, &["restore", &pruned, "-o", &back, "--threads", threads]);
            let files: Vec<Vec<u8>> = OUTPUTS.iter().map(|f| fs::read(dir.path().join(f)).unwrap()).collect();
            let table =
                String::from_utf8(output.stdout).unwrap().replace(dir.path().to_str().unwrap(), "DIR");
            runs.push((files, table));
        }
        assert!(runs.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
    }
}

#[test]
fn written_bytes_are_pinned() {
    // Digests of this tool's own output, to notice a change of any byte: a change is a breaking one.
    let dir = TempDir::new().unwrap();
    let changes = [("prune", "fill", json!("init")), ("prune", "format", json!("bitmask"))];
    succeed(&["run", &config(&dir, "mlp_pad_sgd", &changes)]);
    let digest = |file: &str| -> String {
        let bytes = fs::read(dir.path().join(file)).unwrap();
        Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect()
    };
    let found = [digest("init.safetensors"), digest("pruned.safetensors")];
    assert_eq!(
        found,
        [
            "3aa9a84ffb135e981bb0fe7a9ffc5f0ec6e2b8d85109ed24ce4045199abec2d9",
            "9084c5c175208687790ac2ac06ef500a4f12de2d53b53a4df3896ca442a3273c"
        ]
    );
}

#[test]
fn a_missing_trained_checkpoint_ends_with_3_after_the_initial_one_is_written() {
    let dir = TempDir::new().unwrap();
    let output =
        cdi_prune(&["run", &config(&dir, "mlp_pad_sgd", &[("trained", "path", json!("later.safetensors"))])]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(Checkpoint::open(&dir.path().join("init.safetensors")).unwrap().len(), 6);
    assert!(!dir.path().join("pruned.safetensors").exists());
}

#[test]
fn shards_are_written_and_read_like_one_file() {
    let dir = TempDir::new().unwrap();
    let changes = [
        ("init", "max_shard_size", json!("100kB")),
        ("prune", "max_shard_size", json!("100kB")),
        ("prune", "fill", json!("init")),
        ("prune", "format", json!("bitmask")),
    ];
    succeed(&["run", &config(&dir, "byte_lm_adamw", &changes)]);
    assert!(!dir.path().join("init.safetensors").exists());
    let index = dir.path().join("init.safetensors.index.json");
    let expected = read_json(&root().join("tests/data/init_sha256.json"));
    assert_eq!(json!(digests(&index)), expected["byte_lm_adamw"]);
    let weight_map = read_json(&index)["weight_map"].clone();
    assert_eq!(weight_map["h0.down.bias"], "init-00001-of-00008.safetensors");

    let back = dir.path().join("back.safetensors");
    let pruned = dir.path().join("pruned.safetensors.index.json");
    succeed(&[
        "restore",
        pruned.to_str().unwrap(),
        "-o",
        back.to_str().unwrap(),
        "--max-shard-size",
        "200kB",
    ]);
    let back = dir.path().join("back.safetensors.index.json");
    same_tensors(&back, &folder("byte_lm_adamw").join("trained.safetensors"));

    // A sharded trained checkpoint, by its index, gives what the single file gives.
    let reports = [back.clone(), folder("byte_lm_adamw").join("trained.safetensors")].map(|trained| {
        let again = TempDir::new().unwrap();
        succeed(&["analyze", &config(&again, "byte_lm_adamw", &[("trained", "path", json!(trained))])]);
        let mut report = read_json(&again.path().join("report.json"));
        // What files weigh is theirs.
        report["totals"].as_object_mut().unwrap().remove("trained_bytes").unwrap();
        (report["totals"].clone(), report["tensors"].clone())
    });
    assert_eq!(reports[0], reports[1]);
}

#[test]
fn a_fine_tuned_checkpoint_starts_from_another() {
    // The SGD run with momentum stands in for a fine-tuned model, the plain run for its base.
    let dir = TempDir::new().unwrap();
    let base = folder("mlp_pad_sgd").join("trained.safetensors");
    let trained = folder("mlp_pad_sgdm_wd").join("trained.safetensors");
    let config = dir.path().join("config.yaml");
    let text = json!({
        "seed": 0,
        "rules": [{"match": "**", "init": {"from": base}}],
        "trained": {"path": trained},
        "analyze": {"threshold": {"relative": 0.01}, "report": {"json": "report.json"}},
        "prune": {"output": "pruned.safetensors", "fill": "init", "format": "bitmask"},
    });
    fs::write(&config, text.to_string()).unwrap();
    succeed(&["run", config.to_str().unwrap()]);
    let (pruned, back) = (dir.path().join("pruned.safetensors"), dir.path().join("back.safetensors"));
    let (pruned, back_arg) = (pruned.to_str().unwrap(), back.to_str().unwrap());
    let output = cdi_prune(&["restore", pruned, "-o", back_arg]);
    assert_eq!(output.status.code(), Some(1));
    succeed(&["restore", pruned, "-o", back_arg, "--base", base.to_str().unwrap()]);
    let (base, trained, back) = (
        Checkpoint::open(&base).unwrap(),
        Checkpoint::open(&trained).unwrap(),
        Checkpoint::open(&back).unwrap(),
    );
    let f32s = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let mut from_base = 0u64;
    for (name, t) in trained.tensors() {
        let (w0, b) = (f32s(base.tensor(name).unwrap().bytes()), f32s(back.tensor(name).unwrap().bytes()));
        for ((w, w0), b) in f32s(t.bytes()).iter().zip(w0).zip(b) {
            let (x, x0) = (f64::from(*w), f64::from(w0));
            let sleeps = (x - x0).abs() <= 0.01 * x0.abs();
            from_base += u64::from(sleeps);
            assert_eq!(b.to_bits(), if sleeps { w0 } else { *w }.to_bits(), "{name}");
        }
    }
    let report = read_json(&dir.path().join("report.json"));
    assert_eq!(report["totals"]["sleeping_weights"].as_u64(), Some(from_base));
    assert!(from_base > 0);
}

#[test]
fn a_wider_trained_type_is_compared_with_what_the_initial_checkpoint_stored() {
    // The initial checkpoint is bf16; training keeps it in f32 and has not moved it.
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("config.yaml");
    let text = |dtype: &str, trained: &str| {
        format!(
            "seed: 3\nmodel: {{dtype: {dtype}, tensors: {{w: [16, 33]}}}}\nrules: [{{match: w, layer: 1, init: he}}]\n\
             init: {{output: {dtype}.safetensors}}\ntrained: {{path: {trained}}}\n\
             analyze: {{report: {{json: report.json}}}}\n"
        )
    };
    fs::write(&config, text("bf16", "none.safetensors")).unwrap();
    assert_eq!(cdi_prune(&["run", config.to_str().unwrap()]).status.code(), Some(3));
    let stored = Checkpoint::open(&dir.path().join("bf16.safetensors")).unwrap();
    let mut values = vec![0.0; 16 * 33];
    cdi_prune::tensor::FloatDtype::Bf16.decode(stored.tensor("w").unwrap().bytes(), &mut values);
    let header = r#"{"w":{"dtype":"F32","shape":[16,33],"data_offsets":[0,2112]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|w| (*w as f32).to_le_bytes()));
    fs::write(dir.path().join("wide.safetensors"), file).unwrap();
    fs::write(&config, text("bf16", "wide.safetensors")).unwrap();
    succeed(&["analyze", config.to_str().unwrap()]);
    assert_eq!(read_json(&dir.path().join("report.json"))["totals"]["sleeping_weights"], 528);
}
