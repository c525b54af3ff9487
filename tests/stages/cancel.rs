//! Work that somebody stops: it ends with an error of its own, and leaves the folder as it was.

#![allow(clippy::result_large_err, reason = "an error ends the whole run: its size is of no account")]

use std::sync::atomic::{AtomicU64, Ordering};

use cdi_prune::config::Settings;
use cdi_prune::pipeline::{Error, Progress, Resolved, RestoreOptions, Stages, restore, run};
use cdi_prune::workers::Pool;

use crate::common::{Scratch, root};

/// Wants no more after so many bytes.
struct Until {
    done: AtomicU64,
    bytes: u64,
}

impl Until {
    fn bytes(bytes: u64) -> Self {
        Self { done: AtomicU64::new(0), bytes }
    }
}

impl Progress for Until {
    fn begin(&self, _stage: &'static str, _bytes: u64) {}

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn end(&self) {}

    fn cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.bytes
    }
}

const CONFIG: &str = r#"
seed: 42
model: {tensors: {fc1.weight: [64, 1024], fc1.bias: [64], fc2.weight: [32, 64], fc2.bias: [32], fc3.weight: [10, 32], fc3.bias: [10]}}
rules:
  - {match: "fc*.weight", layer: {base: 0, step: 1, by: 1}, init: he}
  - {match: "**.bias", init: zeros}
init: {output: init.safetensors}
trained: {path: trained.safetensors}
analyze: {report: {json: report.json, html: report.html}}
prune: {output: pruned.safetensors, target: {sparsity: 0.5}, criterion: magnitude}
manifest: manifest.json
"#;

#[test]
fn a_cancelled_run_leaves_nothing() {
    let scratch = Scratch::new();
    let trained = root().join("examples/data/mlp_pad_sgd/trained.safetensors");
    scratch.write("trained.safetensors", std::fs::read(trained).unwrap());
    scratch.write("config.yaml", CONFIG);
    let settings = Settings::load(&scratch.path("config.yaml"), &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let before = scratch.files();
    let pool = Pool::new(2).unwrap();
    // In the first stage, and in each of those behind it: each goes through 272,000 bytes at the least.
    for bytes in [0, 1, 280_000, 550_000, 820_000] {
        let progress = Until::bytes(bytes);
        let error = pool.run(|| run(&resolved, Stages::All, &progress, |_| {}).map(drop)).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{bytes}: {error}");
        assert_eq!(error.to_string(), "cancelled; the outputs are as they were");
        assert_eq!((error.exit_code(), scratch.files()), (1, before.clone()), "{bytes}");
    }
    pool.run(|| run(&resolved, Stages::All, &Until::bytes(u64::MAX), |_| {}).map(drop)).unwrap();
    let all = scratch.files();
    assert_eq!(all.len(), before.len() + 5, "{:?}", all.keys());

    let (file, output) = (scratch.path("pruned.safetensors"), scratch.path("restored.safetensors"));
    let error = restore(&file, &output, RestoreOptions::default(), &Until::bytes(0)).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(scratch.files(), all);
}
