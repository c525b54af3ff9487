//! Everything that people copy works: each config in `configs/`, each program in `examples/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a config with its outputs in a scratch folder, and gives the last lines of its table.
fn run(config: &str) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let out = |file: &str| dir.path().join(file).display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .arg("run")
        .arg(root().join("configs").join(config))
        .args(["--set", &format!("init.output={}", out("init.safetensors"))])
        .args(["--set", &format!("prune.output={}", out("pruned.safetensors"))])
        .args(["--set", &format!("analyze.report={{json: {}}}", out("report.json"))])
        .output()
        .unwrap();
    assert!(output.status.success(), "{config}: {}", String::from_utf8_lossy(&output.stderr));
    for file in ["init.safetensors", "pruned.safetensors", "report.json"] {
        assert!(dir.path().join(file).exists(), "{config} writes no {file}");
    }
    (dir, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_config_is_tested_here() {
    let mut configs: Vec<_> = fs::read_dir(root().join("configs"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    configs.sort();
    assert_eq!(configs, ["cnn.yaml", "mlp.yaml", "quickstart.yaml", "transformer.yaml"]);
}

/// The counts are those of the data's `facts.json` (`sleeping_totals`, `untouched`).
#[test]
fn configs_say_what_the_facts_say() {
    let (_dir, table) = run("quickstart.yaml");
    assert!(table.contains("15,442 of 68,010 weights (22.7 %) are sleeping"), "{table}");
    let (_dir, table) = run("mlp.yaml");
    assert!(table.contains("21,546 of 50,890 weights (42.3 %) are sleeping"), "{table}");
    let (_dir, table) = run("cnn.yaml");
    assert!(table.contains("110 of 39,418 weights (0.3 %) are sleeping"), "{table}");
}

#[test]
fn the_transformer_finds_the_bytes_never_seen() {
    let (dir, _table) = run("transformer.yaml");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    let embedding =
        report["tensors"].as_array().unwrap().iter().find(|t| t["name"] == "tok_emb.weight").unwrap();
    // 149 of the 256 byte values do not occur in the training text.
    assert_eq!(embedding["sleeping_rows"], 149);
}

/// A built example; `cargo test` builds them all.
fn example(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo test` or `cargo build --examples`", path.display());
    path
}

fn run_example(name: &str, args: &[&str]) -> String {
    let output = Command::new(example(name)).args(args).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn example_quickstart() {
    assert_eq!(
        run_example("quickstart", &[]),
        "initial weights of fc1: 65536 of them, the first is -0.031230096\n\
         the last one, made alone: 0.03246522, the same as in the matrix: true\n\
         after training 15442 weights of fc1 are sleeping, 50094 changed; 240 of its 1024 inputs are dead\n\
         pruned file: 219992 bytes of 272040\n\
         restored fc1.weight equals the trained one: true\n"
    );
}

#[test]
fn example_evaluate() {
    // Trained accuracies: `trained_heldout_1000` of the facts. Zeroing the sleeping weights of the network trained in
    // bf16 costs 6.3 points; giving them their initial value back changes nothing.
    assert_eq!(
        run_example("evaluate", &[]),
        "accuracy on 1000 images   trained   sleeping -> 0   sleeping -> initial value\n\
         mlp_pad_sgd                 87.6 %          87.6 %                      87.6 %\n\
         mlp_bf16_sgd                79.6 %          73.3 %                      79.6 %\n"
    );
    let file = root().join("examples/data/mlp_bf16_sgd/trained.safetensors");
    let file = file.to_str().unwrap();
    assert_eq!(run_example("evaluate", &[file]), format!("79.6 %  {file}\n"));
}
