//! The command `new`: its config fits the checkpoint without an edit, says what the model's own code does
//! where names tell, and is short.

mod files;
mod models;
mod purposes;
mod zoo;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use zoo::Form;

use crate::common::{Scratch, Tensor, f32s, root, succeeds};

/// Values that differ from tensor to tensor.
fn values(name: &str, shape: &[usize]) -> Vec<u8> {
    let seed = name.bytes().fold(1u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    let n: usize = shape.iter().product();
    f32s(&(0..n).map(|i| (seed.wrapping_add(i as u32) % 1009) as f32 / 1009.0).collect::<Vec<_>>())
}

/// Writes a checkpoint of F32 tensors with these names; batch norms' counters are integers.
fn checkpoint(s: &Scratch, file: &str, forms: &[Form]) {
    let tensors: Vec<Tensor<'_>> = forms
        .iter()
        .map(|(name, shape)| match name.ends_with("num_batches_tracked") {
            true => (name.as_str(), "I64", shape.as_slice(), vec![0; 8]),
            false => (name.as_str(), "F32", shape.as_slice(), values(name, shape)),
        })
        .collect();
    s.safetensors(file, &tensors);
}

/// A config, and what `plan` says about it: per tensor its layer id and init.
struct Planned {
    config: String,
    rows: BTreeMap<String, (Option<u64>, Option<String>, String)>,
}

#[track_caller]
fn planned(s: &Scratch, file: &str) -> Planned {
    let config = succeeds(s, &["new", file]).stdout;
    s.write("model.yaml", &config);
    let plan = succeeds(s, &["plan", "model.yaml", "--format", "json"]).stdout;
    let rows: Vec<Value> = serde_json::from_str(&plan).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let row = |row: &Value| {
        let action = text(&row["action"]).unwrap();
        (text(&row["name"]).unwrap(), (row["layer_id"].as_u64(), text(&row["init"]), action))
    };
    Planned { config, rows: rows.iter().map(row).collect() }
}

#[track_caller]
fn model(forms: &[Form]) -> Planned {
    let s = Scratch::new();
    checkpoint(&s, "model.safetensors", forms);
    let planned = planned(&s, "model.safetensors");
    assert_eq!(planned.rows.len(), forms.len());
    planned
}

impl Planned {
    #[track_caller]
    fn is(&self, name: &str, init: &str) {
        assert_eq!(self.rows[name].1.as_deref(), Some(init), "{name}\n{}", self.config);
    }

    #[track_caller]
    fn layer(&self, name: &str, layer: u64) {
        assert_eq!(self.rows[name].0, Some(layer), "{name}\n{}", self.config);
    }

    /// The config without comments and empty lines.
    fn code(&self) -> Vec<&str> {
        let lines =
            self.config.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
        lines.map(|line| line.split("  #").next().unwrap_or_default().trim_end()).collect()
    }

    /// A run of these lines.
    #[track_caller]
    fn says(&self, lines: &[&str]) {
        let code = self.code();
        assert!(
            code.windows(lines.len()).any(|window| window == lines),
            "{lines:?} is not in\n{}",
            self.config
        );
    }

    fn rules(&self) -> usize {
        let code = self.code();
        code.iter()
            .take_while(|line| !line.starts_with("init:"))
            .filter(|line| line.starts_with("  - match:"))
            .count()
    }
}

#[test]
fn checkpoints_at_hand() {
    for data in [
        "examples/data/mlp_bf16_sgd",
        "examples/data/mlp_pad_sgd",
        "tests/data/byte_lm_adamw",
        "tests/data/cnn_adamw",
        "tests/data/mlp_pad_sgdm_wd",
    ] {
        let s = Scratch::new();
        fs::copy(root().join(data).join("trained.safetensors"), s.path("trained.safetensors")).unwrap();
        let planned = planned(&s, "trained.safetensors");
        assert!(planned.rows.values().all(|(layer, ..)| layer.is_some()), "{data}");
        // A guess is not the start.
        let ran = s.run(&["run", "model.yaml"]);
        assert!(
            ran.code == 1 && ran.stderr.contains("does not seem to have started from these initial values"),
            "{ran:?}"
        );
        assert!(!s.path("out/trained/pruned.safetensors").exists());
        // The whole job on it all the same.
        let ran = succeeds(&s, &["run", "model.yaml", "--set", "prune.any_start=true"]);
        assert!(ran.stdout.contains("Pruned file: out/trained/pruned.safetensors"), "{ran:?}");
    }
}

/// As printed: what a person gets for the smallest of models.
#[test]
fn whole_config_of_a_perceptron() {
    let s = Scratch::new();
    fs::copy(root().join("examples/data/mlp_pad_sgd/trained.safetensors"), s.path("mlp.safetensors"))
        .unwrap();
    assert_eq!(
        succeeds(&s, &["new", "mlp.safetensors"]).stdout,
        r#"# A starting config for mlp.safetensors: 6 floating-point tensors with 68,010 weights.
# Names and shapes show what a tensor is, not how it was initialised. Every `init` below is a guess:
# the defaults of PyTorch's layers.
#
# Edit `seed` and `rules` to generate the values that training starts from (`cdi-prune init` writes them; use
# `init: {from: FILE}` for a model that started from another file), and `trained.path`, the checkpoint after training.
# `cdi-prune plan` shows what this config does with each tensor.
version: 1
seed: 42                                # any number; initial weights depend only on this and the layer ids

model:
  like: mlp.safetensors                 # only names, shapes and types are used

# The first rule that matches applies. `layer` selects a tensor's noise; without it, the hash of its name does.
rules:
  # Weights: PyTorch's default for Linear and Conv layers, uniform on ±1/sqrt(fan_in).
  - match: "fc*.weight"                 # 3 tensors
    layer: {base: 0, step: 1, by: 1}    # the number matched by the star
    init: torch_default

  # Biases: PyTorch's default, uniform on ±1/sqrt(fan_in) of the corresponding weight.
  - match: "**.bias"                    # 3 tensors
    init: {mode: torch_default, fan_in_of: "*.weight"}

init:
  output: out/mlp/init.safetensors      # start training from this file

trained:
  path: mlp.safetensors                 # edit: the checkpoint after training

analyze:
  threshold: auto                       # inferred from the weights; 0: exactly the initial value
  decay: auto                           # also inferred: the factor of weight decay
  report:
    json: out/mlp/report.json
    csv: out/mlp/report.csv
    markdown: out/mlp/report.md
    html: out/mlp/report.html           # tables and plots for the browser

prune:
  output: out/mlp/pruned.safetensors
  fill: init                            # regenerated by `cdi-prune restore`; `zero` changes the network
  format: auto                          # the smallest format for each tensor
  rules:
    - match: "fc*.bias"                 # few and sensitive
      keep: true
"#
    );
}

/// As printed, from its rules on: blocks with a numbered range, fused projections, wide patterns.
#[test]
fn rules_of_the_byte_transformer() {
    let s = Scratch::new();
    fs::copy(root().join("tests/data/byte_lm_adamw/trained.safetensors"), s.path("lm.safetensors")).unwrap();
    let config = succeeds(&s, &["new", "lm.safetensors"]).stdout;
    let (head, rest) = config.split_once("rules:\n").unwrap();
    assert!(
        head.contains(
            "# normal, standard deviation 0.02, as in BERT, Llama and most similar transformers.\n"
        )
    );
    let (rules, rest) = rest.split_once("\ninit:\n").unwrap();
    assert_eq!(
        rules,
        r#"  # Embeddings.
  - match: pos_emb.weight               # [64, 64]
    layer: 0
    init: {mode: normal, std: 0.02}
  - match: tok_emb.weight               # [256, 64]
    layer: 1
    init: {mode: normal, std: 0.02}

  # Scales of norms.
  - match: "**ln*.weight"               # 5 of [64]
    init: ones

  # Weights.
  - match: "h*.down.weight"             # 2 of [64, 256]
    layer: {base: 10, step: 10, by: 1}  # 10 + 10 * the number matched by the star
    init: {mode: normal, std: 0.02}
  - match: "h*.o.weight"                # 2 of [64, 64]
    layer: {base: 11, step: 10, by: 1}
    init: {mode: normal, std: 0.02}
  - match: "h*.qkv.weight"              # 2 of [192, 64]
    layer: {base: 12, step: 10, by: 1}
    init: {mode: normal, std: 0.02}
    # slices: [q, k, v]                 # fused; add this to initialise each part separately
  - match: "h*.up.weight"               # 2 of [256, 64]
    layer: {base: 15, step: 10, by: 1}
    init: {mode: normal, std: 0.02}
  - match: head.weight                  # [256, 64]
    layer: 2
    init: {mode: normal, std: 0.02}

  # Biases that start at zero.
  - match: "**.bias"                    # 9 tensors
    init: zeros
"#
    );
    assert!(rest.ends_with(
        "  rules:\n    - match: [\"**.bias\", \"**ln*.weight\"]  # few and sensitive\n      keep: true\n"
    ));
}
