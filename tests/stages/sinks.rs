//! Outputs in another place than local files.

#![allow(clippy::result_large_err, reason = "an error ends the whole run: its size is of no account")]

use std::collections::BTreeMap;

use cdi_prune::config::Settings;
use cdi_prune::pipeline::{Resolved, Silent, Stages, run, run_into};
use cdi_prune::store::{Memory, Sink};

use crate::common::{Scratch, root};

const CONFIG: &str = r#"
seed: 42
model: {tensors: {fc1.weight: [64, 1024], fc1.bias: [64], fc2.weight: [32, 64], fc2.bias: [32], fc3.weight: [10, 32], fc3.bias: [10]}}
rules:
  - {match: "fc*.weight", layer: {base: 0, step: 1, by: 1}, init: he}
  - {match: "**.bias", init: zeros}
init: {output: init.safetensors, max_shard_size: 100kB}
trained: {path: trained.safetensors}
analyze: {report: {json: report.json, csv: report.csv, html: report.html}}
prune: {output: pruned.safetensors, target: {sparsity: 0.5}, criterion: magnitude, max_shard_size: 100kB}
manifest: manifest.json
"#;

/// Whatever a stage writes goes through the sink: what is in memory is what would be on the disk, and nothing
/// is there.
#[test]
fn a_run_into_memory_writes_the_same_files_and_none_to_the_disk() {
    let scratch = Scratch::new();
    let trained = root().join("examples/data/mlp_pad_sgd/trained.safetensors");
    scratch.write("trained.safetensors", std::fs::read(trained).unwrap());
    scratch.write("config.yaml", CONFIG);
    let settings = Settings::load(&scratch.path("config.yaml"), &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let before = scratch.files();
    let memory = Memory::default();
    for _ in 0..2 {
        run_into(Box::new(memory.sink()), &resolved, Stages::All, &Silent, |_| {}).unwrap();
        assert_eq!(scratch.files(), before);
    }
    run(&resolved, Stages::All, &Silent, |_| {}).unwrap();
    let written = scratch.files().into_iter().filter(|(name, _)| !before.contains_key(name));
    let written: BTreeMap<_, _> = written.map(|(name, bytes)| (scratch.path(&name), bytes)).collect();
    assert_eq!(written.len(), 12, "{:?}", written.keys());
    assert!(memory.files() == written, "{:?}", memory.files().keys());
    // Another run has the output.
    let mut other = memory.sink();
    other.begin(&scratch.path("init.safetensors"), None).unwrap();
    let refused = run_into(Box::new(memory.sink()), &resolved, Stages::All, &Silent, |_| {}).unwrap_err();
    assert!(refused.to_string().ends_with("another run is writing this file; wait until it is done"));
    assert!(memory.files() == written);
}
