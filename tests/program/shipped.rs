//! Everything that people copy works: each config in `configs/`, each program in `examples/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::common::root;

/// Runs a config with its outputs in a scratch folder, and gives the last lines of its table.
fn run(config: &str) -> (TempDir, String) {
    run_with(config, &[])
}

/// The same with more overrides.
fn run_with(config: &str, overrides: &[String]) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let out = |file: &str| dir.path().join(file).display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .arg("run")
        .arg(root().join("configs").join(config))
        .args(["--set", &format!("init.output={}", out("init.safetensors"))])
        .args(["--set", &format!("prune.output={}", out("pruned.safetensors"))])
        .args(["--set", &format!("analyze.report={{json: {}}}", out("report.json"))])
        .args(overrides.iter().flat_map(|text| ["--set", text]))
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
    let expected =
        ["cnn.yaml", "mlp.yaml", "quickstart.yaml", "smallest.yaml", "transformer.yaml", "tune.yaml"];
    assert_eq!(configs, expected);
}

/// The counts are those of the data's `facts.json` (`sleeping_totals`, `untouched`).
#[test]
fn configs_say_what_the_facts_say() {
    let (_dir, table) = run("quickstart.yaml");
    assert!(table.contains("15,442 of 68,010 weights (22.7 %) are sleeping"), "{table}");
    let (_dir, table) = run("mlp.yaml");
    assert!(table.contains("21,546 of 50,890 weights (42.3 %) are sleeping"), "{table}");
    let (_dir, table) = run("cnn.yaml");
    assert!(
        table.contains("110 of 39,418 weights (0.3 %) are within the threshold, |w - w0| <= 1e-4. "),
        "{table}"
    );
}

/// What the README shows. The counts are those of `facts.json`; P50, P99 and max of |delta| and the standard
/// deviations are NumPy's, quantiles to 1 / 64 of their value.
#[test]
fn the_quickstart_prints_its_table() {
    let (dir, printed) = run("quickstart.yaml");
    assert_eq!(
        printed.replace(&dir.path().display().to_string(), "DIR"),
        "\
┌─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┐
│ tensor      shape    weights  sleeping     %            outputs  inputs      P50      P99      max  std now  pruned │
│                                                          asleep  asleep  |delta|  |delta|  |delta|  / start         │
╞═════════════════════════════════════════════════════════════════════════════════════════════════════════════════════╡
│ fc1.bias    64            64         0   0.0  ········        -       -  9.42e-2  4.20e-1  5.62e-1        -    kept │
│ fc1.weight  64x1024   65,536    15,442  23.6  █▉······        0     240  7.33e-3  1.09e-1  3.05e-1     1.21  15,442 │
│ fc2.bias    32            32         0   0.0  ········        -       -  1.11e-1  2.83e-1  2.99e-1        -    kept │
│ fc2.weight  32x64      2,048         0   0.0  ········        0       0  3.29e-2  2.28e-1  3.98e-1     1.17       0 │
│ fc3.bias    10            10         0   0.0  ········        -       -  1.63e-1  3.22e-1  4.12e-1        -    kept │
│ fc3.weight  10x32        320         0   0.0  ········        0       0  1.09e-1  4.60e-1  6.76e-1     1.55       0 │
│ total                 68,010    15,442  22.7  █▉······        0     240                    6.76e-1           15,442 │
└─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
15,442 of 68,010 weights (22.7 %) are sleeping: they still have exactly their initial value.
Pruned file: DIR/pruned.safetensors, 171,747 bytes, 63.0 % of the trained file's 272,512.
"
    );
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

/// What docs/tuning.md says. The command is the same program, built already.
#[test]
fn tuning_finds_the_smallest_file() {
    let command = format!("tune.command=[{}, '{{checkpoint}}']", example("evaluate").display());
    let (_dir, printed) = run_with("tune.yaml", &[command]);
    let last: Vec<&str> = printed.lines().rev().take(4).collect();
    assert_eq!(
        last[3],
        "Tuned: sleeping, global, unstructured, fill init, sparsity 0.694687: metric 87.1, 0.5 worse than \
         the original's 87.6 (at most 0.5 worse). The smallest of 64 tried that is within the limit."
    );
    assert!(last[2].contains(", 75,327 bytes, 27.6 % of the trained file's 272,512."), "{}", last[2]);
    assert_eq!(last[1], "Gate passed: max_output_bytes: 75,327 bytes, limit at most 150,000.");
    assert_eq!(last[0], "Gate passed: max_metric_drop: 0.5, limit at most 0.5.");
}

/// What docs/tuning.md says, with both commands of the config, built already.
#[test]
fn rounding_finds_a_far_smaller_file() {
    let folder = TempDir::new().unwrap();
    let moments = folder.path().join("new/moments.safetensors");
    let trained = root().join("examples/data/mlp_pad_sgd/trained.safetensors");
    let output = Command::new(example("calibrate")).arg(trained).arg(&moments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let evaluate = example("evaluate").display().to_string();
    let confirm = root().join("examples/data/fashion_confirm.safetensors");
    let (_dir, printed) = run_with(
        "smallest.yaml",
        &[
            format!("prune.values.calibration={}", moments.display()),
            format!("tune.command=[{evaluate}, '{{checkpoint}}']"),
            format!("tune.confirm=[{evaluate}, --images, {}, '{{checkpoint}}']", confirm.display()),
        ],
    );
    assert_eq!(
        printed.lines().next().unwrap(),
        "The tuned file has 6,223 bytes, 2.3 % of the original 272,600; its metric is 87.5, 0.1 worse than \
         the original's 87.6. On other data it is 87.4, 0.5 worse than the original's 87.9."
    );
    let last: Vec<&str> = printed.lines().rev().take(4).collect();
    assert_eq!(
        last[3],
        "Tuned: a step for each tensor: 0.0985 to 0.394: metric 87.5, 0.1 worse than the original's 87.6 (at \
         most 0.5 worse). The smallest of 462 tried that is within the limit, after 2 smaller files that other \
         data did not confirm."
    );
    assert!(last[2].contains(", 6,223 bytes, 2.3 % of the trained file's 272,512."), "{}", last[2]);
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

/// The rows of the trained tensor, which is what restoring at threshold 0 gives; added up by NumPy.
#[test]
fn example_read_pruned() {
    let (dir, _) = run("quickstart.yaml");
    let pruned = dir.path().join("pruned.safetensors");
    assert_eq!(
        run_example("read_pruned", &[pruned.to_str().unwrap(), "fc1.weight", "1", "3"]),
        "row 1: 1024 weights, 0 of them zero, sum 1.527552\n\
         row 2: 1024 weights, 0 of them zero, sum 1.924145\n"
    );
}

#[test]
fn example_quickstart() {
    assert_eq!(
        run_example("quickstart", &[]),
        "initial weights of fc1: 65536 of them, the first is -0.031230096\n\
         the last one, made alone: 0.03246522, the same as in the matrix: true\n\
         after training 15442 weights of fc1 are sleeping, 50094 changed; 240 of its 1024 inputs are dead\n\
         pruned file: 171747 bytes of 272512\n\
         restored fc1.weight equals the trained one: true\n"
    );
}

#[test]
fn example_evaluate() {
    // Trained accuracies: `trained_heldout_1000` of the facts. Zeroing the sleeping weights of the network
    // trained in bf16 costs 6.3 points; giving them their initial value back changes nothing.
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

/// The example's own output, the same on every machine: its arithmetic has a fixed order. The same training
/// in NumPy's F32, whose sums are grouped otherwise, ended at 75.5 % and 90.9 %.
#[test]
fn example_showcase() {
    assert_eq!(
        run_example("showcase", &[]),
        concat!(
            "initial     11.5 % of 200 held-out images\n",
            "trained     77.0 %, and 92.6 % of the 800 images it learnt from\n",
            "\n",
            "tensor       weights   awakened   sleeping   sleeping columns\n",
            "fc1.bias          64         64          0                  0\n",
            "fc1.weight     65536      48902      16634                241\n",
            "fc2.bias          32         32          0                  0\n",
            "fc2.weight      2048       2018         30                  0\n",
            "fc3.bias          10         10          0                  0\n",
            "fc3.weight       320        320          0                  0\n",
            "\n",
            "trained file: 272488 bytes\n",
            "                             sleeping -> 0    sleeping -> initial value\n",
            "threshold   pruned        bytes   accuracy        bytes   accuracy   restored\n",
            "0           24.5 %       163085     77.0 %       163109     77.0 %   as trained, bit for bit\n",
            "1e-5        25.5 %       161788     77.0 %       161812     77.0 %   near\n",
            "1e-4        28.0 %       158096     76.5 %       158120     77.0 %   near\n",
            "1e-3        36.6 %       143447     76.5 %       143471     77.0 %   near\n",
            "3e-3        46.8 %       123920     75.5 %       123936     76.5 %   near\n",
            "1e-2        64.9 %        84727     75.5 %        84759     76.0 %   near\n",
            "2e-2        78.0 %        54873     68.5 %        54929     77.5 %   near\n",
            "5e-2        93.7 %        17055     62.5 %        17111     72.5 %   near\n",
        )
    );
}

#[test]
fn example_raw_draws() {
    use std::io::Read;
    use std::process::Stdio;
    // Seed 42: the first four draws of row 0 of layer 0, and those of the layers 0 to 3 at (0, 0), computed
    // in Python from docs/noise.md.
    for (layout, expected) in [
        ("rows", [0xC16129ECD0DC5B93, 0x723AD4CBD7C9B07B, 0x3E53A9F2486D1D0A, 0xB8A2570B4F8B0C0C]),
        ("layers", [0xC16129ECD0DC5B93, 0x3E4A12D70B0AF178, 0x68FEA42EEE61BECD, 0x15F4163333581662]),
    ] {
        let mut child =
            Command::new(example("raw_draws")).arg(layout).stdout(Stdio::piped()).spawn().unwrap();
        let mut bytes = [0; 32];
        // The pipe closes when this returns: then the program must end, and well.
        child.stdout.take().unwrap().read_exact(&mut bytes).unwrap();
        let draws: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|d| u64::from_le_bytes(*d)).collect();
        assert_eq!(draws, expected, "{layout}");
        assert!(child.wait().unwrap().success());
    }
    let refused = Command::new(example("raw_draws")).arg("columns").output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rows"), "{refused:?}");
}
