//! Orthogonal tensors, which are regenerated whole, through the whole program.

use cdi_core::internal::dispatch::{InstructionSet, VARIABLE};

use crate::common::Scratch;

const CONFIG: &str = "
version: 1
seed: 42
model: {tensors: {a.weight: [300, 200], conv.weight: [16, 8, 3, 3], b.weight: [70, 90]}}
rules:
  - {match: conv.weight, layer: 1, init: {mode: delta_orthogonal, gain: 1.5}}
  - {match: '*.weight', init: orthogonal_}
init: {output: init.safetensors}
trained: {path: trained.safetensors}
analyze: {threshold: 0}
prune: {output: pruned.safetensors, fill: init, format: bitmask}
";

#[test]
fn the_pipeline_gives_the_same_bytes_on_every_instruction_set_and_thread_count() {
    let scratch = Scratch::new();
    scratch.write("c.yaml", CONFIG);
    let mut files = None;
    for set in InstructionSet::available() {
        for threads in ["1", "2", "3"] {
            let run = |args: &[&str]| {
                let args = [args, &["--threads", threads]].concat();
                let ran = scratch.run_with(&[(VARIABLE, set.name())], &args);
                assert_eq!(ran.code, 0, "{}", ran.stderr);
            };
            run(&["init", "c.yaml"]);
            // Training that changes one weight, by its sign.
            std::fs::copy(scratch.path("init.safetensors"), scratch.path("trained.safetensors")).unwrap();
            scratch.tamper("trained.safetensors", |_, data| data[1003] ^= 0x80);
            run(&["prune", "c.yaml"]);
            run(&["restore", "pruned.safetensors", "-o", "dense.safetensors"]);
            let now = scratch.files();
            let data = |name: &str| now[name][now[name].len() - 4 * 67_452..].to_vec();
            assert_eq!(data("dense.safetensors"), data("trained.safetensors"));
            assert!(now["pruned.safetensors"].len() < 15_000);
            assert_eq!(files.get_or_insert_with(|| now.clone()), &now, "{set:?} {threads}");
        }
    }
}

#[test]
fn plan_says_what_is_made_whole() {
    let scratch = Scratch::new();
    scratch.write("c.yaml", CONFIG);
    let ran = scratch.run(&["plan", "c.yaml"]);
    // 300 x 200 elements of 8 bytes.
    let line = "3 orthogonal tensors are regenerated as a whole, not weight by weight, the largest in \
                480,000 bytes of memory.";
    assert_eq!(ran.stdout.lines().last(), Some(line), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("delta_orthogonal(gain=1.5)"));
}
