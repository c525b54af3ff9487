//! What a config is for, and that it keeps what it says it keeps.

use std::collections::BTreeMap;
use std::fs;

use crate::common::{Scratch, Tensor, f32s, succeeds};

/// A checkpoint with what no training makes: running statistics, a counter, a scale without dimensions, one
/// of an adapter, a scale per output that no name explains, and a matrix of one element.
fn odd(s: &Scratch, file: &str) {
    let ramp = |n: usize| f32s(&(0..n).map(|i| (i as f32 + 1.0) / n as f32).collect::<Vec<_>>());
    let tensors: [Tensor<'_>; 12] = [
        ("conv1.weight", "F32", &[8, 4, 3, 3], ramp(288)),
        ("bn1.weight", "F32", &[8], ramp(8)),
        ("bn1.bias", "F32", &[8], ramp(8)),
        ("bn1.running_mean", "F32", &[8], ramp(8)),
        ("bn1.running_var", "F32", &[8], ramp(8)),
        ("bn1.num_batches_tracked", "I64", &[], 10i64.to_le_bytes().to_vec()),
        ("fc.weight", "F32", &[4, 8], ramp(32)),
        ("fc.weight_scale", "F32", &[4, 1], ramp(4)),
        ("gate.weight", "F32", &[1, 1], ramp(1)),
        ("unet_a.alpha", "F32", &[], ramp(1)),
        ("unet_a.lora_down.weight", "F32", &[4, 8, 1, 1], ramp(32)),
        ("unet_a.lora_up.weight", "F32", &[8, 4, 1, 1], ramp(32)),
    ];
    s.safetensors(file, &tensors);
}

/// Tensor by tensor, how many of its weights went.
fn pruned(s: &Scratch, config: &str, overrides: &[&str]) -> BTreeMap<String, u64> {
    let sets = overrides.iter().flat_map(|text| ["--set", text]);
    let args: Vec<&str> = ["run", config].into_iter().chain(sets).collect();
    succeeds(s, &args);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(s.path("out/m/report.json")).unwrap()).unwrap();
    let tensors = report["tensors"].as_array().unwrap();
    let count =
        |t: &serde_json::Value| (t["name"].as_str().unwrap().to_owned(), t["pruned_weights"].as_u64());
    tensors.iter().map(count).filter_map(|(name, n)| Some((name, n?))).collect()
}

/// What is called kept is kept by rule, under every criterion.
#[test]
fn kept_means_kept() {
    let s = Scratch::new();
    odd(&s, "m.safetensors");
    succeeds(&s, &["new", "m.safetensors", "-o", "m.yaml"]);
    let config = fs::read_to_string(s.path("m.yaml")).unwrap();
    assert!(config.contains("kept under any criterion\n"), "{config}");
    for criterion in ["magnitude", "random"] {
        for scope in ["tensor", "global"] {
            let criterion = format!("prune.criterion={criterion}");
            let scope = format!("prune.scope={scope}");
            let more = ["prune.target={sparsity: 0.75}", "prune.fill=zero"];
            let found = pruned(&s, "m.yaml", &[&[criterion.as_str(), &scope], &more[..]].concat());
            let gone: Vec<&str> =
                found.iter().filter(|(_, n)| **n > 0).map(|(name, _)| name.as_str()).collect();
            let expected = ["conv1.weight", "fc.weight", "unet_a.lora_down.weight", "unet_a.lora_up.weight"];
            assert!(gone.iter().all(|name| expected.contains(name)), "{gone:?}");
            if scope.ends_with("tensor") {
                assert_eq!(gone, expected);
            }
        }
    }
}

/// Pruning by magnitude needs neither a seed nor initial values.
#[test]
fn for_magnitude() {
    let s = Scratch::new();
    odd(&s, "m.safetensors");
    succeeds(&s, &["new", "m.safetensors", "--for", "magnitude", "-o", "m.yaml"]);
    let config = fs::read_to_string(s.path("m.yaml")).unwrap();
    assert!(!config.contains("seed:") && !config.contains("model:"), "{config}");
    assert!(
        config.contains("  - match: \"**\"                         # 11 tensors\n    init: none\n"),
        "{config}"
    );
    let found = pruned(&s, "m.yaml", &[]);
    assert_eq!((found["conv1.weight"], found["fc.weight"], found["bn1.running_var"]), (144, 16, 0));
    assert!(fs::read_to_string(s.path("out/m/report.html")).unwrap().contains("conv1.weight"));
}

/// Where a config of one's own lets them go, a warning names them.
#[test]
fn what_is_no_weight_is_not_pruned_in_silence() {
    let s = Scratch::new();
    odd(&s, "m.safetensors");
    let config = "\
        rules: [{match: '**', init: none}]\n\
        trained: {path: m.safetensors}\n\
        prune: {output: p.safetensors, criterion: magnitude, target: {sparsity: 1}}\n";
    s.write("x.yaml", config);
    let warning = "WARNING: Pruned, although by name or size they do not look like weights: bn1.running_mean \
                   (running statistics), bn1.running_var (running statistics), fc.weight_scale (scales) and \
                   2 more. To keep them, add a rule to `prune.rules`.\n";
    let ran = succeeds(&s, &["prune", "x.yaml"]);
    assert!(ran.stdout.contains(warning), "{}", ran.stdout);
    let keep = "prune.rules=[{match: ['*.running_*', '**scale', '**.alpha', gate.*], keep: true}]";
    let ran = succeeds(&s, &["prune", "x.yaml", "--set", keep]);
    assert!(!ran.stdout.contains("no weights"), "{}", ran.stdout);
}

/// Only what training starts from.
#[test]
fn for_init() {
    let s = Scratch::new();
    odd(&s, "m.safetensors");
    // Names stay as they are, as the initial checkpoint has those of its skeleton.
    s.tamper("m.safetensors", |header, _| {
        let old = std::mem::take(header.as_object_mut().unwrap());
        *header = old.into_iter().map(|(name, entry)| (format!("module.{name}"), entry)).collect();
    });
    succeeds(&s, &["new", "m.safetensors", "--for", "init", "-o", "m.yaml"]);
    let config = fs::read_to_string(s.path("m.yaml")).unwrap();
    assert!(
        config.ends_with("init:\n  output: out/m/init.safetensors        # start training from this file\n"),
        "{config}"
    );
    assert!(config.contains("seed: 42 ") && !config.contains("trained"), "{config}");
    succeeds(&s, &["run", "m.yaml"]);
    assert!(s.path("out/m/init.safetensors").exists());
}

/// What fine-tuning changed: initial values are the base's, tensors that it lacks are kept, and the result
/// is restored with it.
#[test]
fn for_fine_tuning() {
    let s = Scratch::new();
    let weights = |n: usize| (0..n).map(|i| i as f32 / 100.0 - 0.3).collect::<Vec<_>>();
    let mut tuned = weights(64);
    tuned[10] += 0.5;
    tuned[33] -= 0.25;
    let bias = || ("body.bias", "F32", &[8][..], f32s(&weights(8)));
    s.safetensors(
        "base/m.safetensors",
        &[
            ("body.weight", "F32", &[8, 8], f32s(&weights(64))),
            bias(),
            ("head.weight", "F32", &[5, 8], f32s(&weights(40))),
        ],
    );
    s.safetensors(
        "runs/m.safetensors",
        &[
            ("body.weight", "F32", &[8, 8], f32s(&tuned)),
            bias(),
            ("head.weight", "F32", &[2, 8], f32s(&weights(16))),
            ("classifier.weight", "F32", &[2, 8], f32s(&weights(16))),
        ],
    );
    succeeds(&s, &["new", "runs/m.safetensors", "--base", "base", "-o", "configs/t.yaml"]);
    let config = fs::read_to_string(s.path("configs/t.yaml")).unwrap();
    assert!(!config.contains("seed:"), "{config}");
    let rules = config.split_once("\nrules:\n").unwrap().1.split_once("\ntrained:").unwrap().0;
    assert_eq!(
        rules,
        "  # Not in the base, or with another shape there: not compared, kept. Edit this rule if you know \
         their initialisers.\n  - match: [classifier.weight, head.weight]  # 2 of [2, 8]\n    init: none\n\n  \
         # All others start as in the base.\n  - match: \"**\"                         # 2 tensors\n    \
         init: {from: ../base}\n"
    );
    let ran = succeeds(&s, &["run", "configs/t.yaml"]);
    assert!(ran.stdout.contains("70 of 72 weights (97.2 %) are sleeping"), "{ran:?}");
    let pruned = "configs/out/m/pruned.safetensors";
    succeeds(&s, &["restore", pruned, "-o", "dense.safetensors", "--base", "base"]);
    let inspect = |file: &str| succeeds(&s, &["inspect", file, "--format", "json"]).stdout;
    assert_eq!(inspect("dense.safetensors"), inspect("runs/m.safetensors"));
    // `--for finetune` says the same.
    let again = succeeds(&s, &["new", "runs/m.safetensors", "--base", "base", "--for", "finetune"]).stdout;
    assert!(again.contains("init: {from: base}\n"), "{again}");
}

#[test]
fn purposes_that_make_no_sense() {
    let s = Scratch::new();
    odd(&s, "m.safetensors");
    s.safetensors("other.safetensors", &[("a", "F32", &[1], f32s(&[1.0]))]);
    for (args, code, message) in [
        (
            &["--for", "finetune"][..],
            2,
            "`--for finetune` needs `--base BASE`, the checkpoint that fine-tuning started from",
        ),
        (
            &["--for", "magnitude", "--base", "m.safetensors"],
            2,
            "`--base` works only with `--for finetune`, which is then the default",
        ),
        (
            &["--base", "none.safetensors"],
            1,
            "none.safetensors: cannot open: No such file or directory (os error 2)",
        ),
        (
            &["--base", "other.safetensors"],
            1,
            "other.safetensors: none of its tensors has the name and shape of a tensor in m.safetensors: \
             this is the base of another model, or the names differ",
        ),
        (
            &["--base", "other.safetensors", "-o", "other.safetensors", "--force"],
            2,
            "the base and the config are the same file (other.safetensors): an output must not replace an input or another \
             output; give one of them another path",
        ),
    ] {
        let ran = s.run(&[&["new", "m.safetensors"], args].concat());
        assert_eq!(
            (ran.stderr.as_str(), ran.code),
            (format!("error: {message}\n").as_str(), code),
            "{ran:?}"
        );
    }
}
