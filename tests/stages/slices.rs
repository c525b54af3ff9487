//! Fused tensors: slices that start as tensors of their own, through the whole program.

use std::fs;

use cdi_prune::checkpoint::Checkpoint;

use crate::common::Scratch;

/// A fused projection in each layout and its bias, and the same parts as tensors of their own.
const FUSED: &str = "
seed: 5
model:
  tensors: {h.0.qkv.weight: [24, 6], h.1.qkv.weight: [24, 6], h.0.qkv.bias: [24], f.kernel: [6, 24]}
rules:
  - {match: 'h.*.qkv.weight', layer: {base: 10, step: 4, by: 1}, init: {mode: attention, d_model: 6}, slices: [q, k, v]}
  - match: 'h.*.qkv.bias'
    init: {mode: torch_default, fan_in_of: 'h.*.qkv.weight'}
    slices: [{name: q, size: 12}, {name: kv, init: zeros}]
  - match: f.kernel
    layout: in_out
    init: orthogonal
    layer: 40
    slices: [{name: q, size: 12, layer: 30}, {name: k, size: 4}, {name: v, init: he, layer: {base: 32}}]
init: {output: fused.safetensors}
trained: {path: trained.safetensors}
analyze: {threshold: 0}
prune: {output: pruned.safetensors, fill: init, format: bitmask}
";

/// The bias's layer ids are the hashes of these names: `h.0.qkv.bias.q`.
const APART: &str = "
seed: 5
model:
  tensors:
    a10: [8, 6]
    a11: [8, 6]
    a12: [8, 6]
    a14: [8, 6]
    a15: [8, 6]
    a16: [8, 6]
    h.0.qkv.bias.q: [12]
    k30: [6, 12]
    k41: [6, 4]
    k32: [6, 8]
rules:
  - {match: 'a*', layer: {by: 1}, init: {mode: attention, d_model: 6}}
  - {match: 'h.*.qkv.bias.q', init: {mode: torch_default, fan_in: 6}}
  - {match: k32, layout: in_out, layer: 32, init: he}
  - {match: 'k*', layout: in_out, layer: {by: 1}, init: orthogonal}
init: {output: apart.safetensors}
";

fn f32s(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let bytes = checkpoint.tensor(name).unwrap().bytes();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn initial() -> Scratch {
    let scratch = Scratch::new();
    for (name, config) in [("fused", FUSED), ("apart", APART)] {
        scratch.write(&format!("{name}.yaml"), config);
        let ran = scratch.run(&["init", &format!("{name}.yaml")]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    scratch
}

#[test]
fn slices_start_as_tensors_of_their_own() {
    let scratch = initial();
    let fused = Checkpoint::open(&scratch.path("fused.safetensors")).unwrap();
    let apart = Checkpoint::open(&scratch.path("apart.safetensors")).unwrap();
    let join = |names: &[&str]| names.iter().flat_map(|name| f32s(&apart, name)).collect::<Vec<f32>>();
    assert_eq!(f32s(&fused, "h.0.qkv.weight"), join(&["a10", "a11", "a12"]));
    assert_eq!(f32s(&fused, "h.1.qkv.weight"), join(&["a14", "a15", "a16"]));
    let bias = [f32s(&apart, "h.0.qkv.bias.q"), vec![0.0; 12]].concat();
    assert_eq!(f32s(&fused, "h.0.qkv.bias"), bias);
    let parts = [("k30", 12), ("k41", 4), ("k32", 8)].map(|(name, size)| (f32s(&apart, name), size));
    let rows = (0..6).flat_map(|row| {
        parts.iter().flat_map(move |(part, size)| part[row * size..(row + 1) * size].iter().copied())
    });
    assert_eq!(f32s(&fused, "f.kernel"), rows.collect::<Vec<f32>>());
}

#[test]
fn pruned_slices_are_restored_to_the_bit() {
    let scratch = initial();
    let mut bytes = fs::read(scratch.path("fused.safetensors")).unwrap();
    // One weight in twenty changes: its lowest bit.
    let data = bytes.len() - (24 * 6 * 2 + 24 + 6 * 24) * 4;
    for byte in bytes[data..].iter_mut().step_by(80) {
        *byte ^= 1;
    }
    scratch.write("trained.safetensors", &bytes);
    let ran = scratch.run(&["run", "fused.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = scratch.run(&["restore", "pruned.safetensors", "-o", "back.safetensors"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let trained = Checkpoint::open(&scratch.path("trained.safetensors")).unwrap();
    let back = Checkpoint::open(&scratch.path("back.safetensors")).unwrap();
    let pruned = Checkpoint::open(&scratch.path("pruned.safetensors")).unwrap();
    let mut stored = 0;
    for (name, tensor) in trained.tensors() {
        assert_eq!(tensor.bytes(), back.tensor(name).unwrap().bytes(), "{name}");
        stored += pruned.tensor(&format!("{name}.compressed")).unwrap().shape.elements();
    }
    // Of 456 weights the file stores those that changed.
    assert_eq!(stored, 23);
}

#[test]
fn plan_names_the_slices() {
    let scratch = Scratch::new();
    scratch.write("x.yaml", FUSED);
    let plan = scratch.run(&["plan", "x.yaml"]).stdout;
    for text in [
        "[q: attention(d_model=6) 14, k: attention(d_model=6) 15, v: attention(d_model=6) 16]",
        "[q: orthogonal 30, k: orthogonal 41, v: he 32]",
        "1 orthogonal tensor is regenerated as a whole",
    ] {
        assert!(plan.contains(text), "{plan}");
    }
}

/// The error of a config with one tensor `w` of this shape and one rule.
fn error(shape: &str, rule: &str) -> String {
    let scratch = Scratch::new();
    let text = format!(
        "seed: 1\nmodel: {{tensors: {{w: {shape}, w.bias: [4]}}}}\nrules:\n  - {{match: w, {rule}}}\n"
    );
    scratch.write("x.yaml", text + "  - {match: w.bias, init: he, layer: 7}\n");
    let ran = scratch.run(&["plan", "x.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    ran.stderr
}

#[test]
fn slices_that_cannot_be() {
    for (shape, rule, expected) in [
        (
            "[10, 3]",
            "init: he, slices: [q, k, v]",
            "x.yaml:4:34: tensor `w`: 10 of its 10 outputs remain for 3 slices without a size, and cannot be \
             split evenly",
        ),
        (
            "[10, 3]",
            "init: he, slices: [{name: a, size: 4}, {name: b, size: 5}]",
            "x.yaml:4:34: tensor `w`: its slices have 9 outputs in total, but the tensor has 10",
        ),
        ("[]", "init: ones, slices: [a]", "x.yaml:4:36: tensor `w`: a scalar cannot have slices"),
        (
            "[4, 3]",
            "init: he, slices: [a, a]",
            "x.yaml:4:38: `rules[0].slices[1]`: expected slices with different names, got `a` twice",
        ),
        (
            "[4, 3]",
            "init: he, slices: []",
            "x.yaml:4:34: `rules[0].slices`: expected a list of slices, such as [q, k, v], got an empty list",
        ),
        (
            "[4, 3]",
            "init: he, slices: q",
            "x.yaml:4:34: `rules[0].slices`: expected a list of slices, such as [q, k, v], got the text `q`",
        ),
        (
            "[4, 3]",
            "init: he, slices: [3]",
            "x.yaml:4:35: `rules[0].slices[0]`: expected a slice's name, or {name, size, layer, init}, got 3",
        ),
        (
            "[4, 3]",
            "init: none, slices: [a]",
            "x.yaml:4:36: `rules[0].slices`: expected no slices, or a rule with a mode as its `init`, got \
             initial values that are not drawn (`init: none` or `{from: FILE}`)",
        ),
        (
            "[4, 3]",
            "init: he, slices: [{name: a, size: 0}]",
            "x.yaml:4:51: `rules[0].slices[0].size`: expected a whole number above 0, got 0",
        ),
        (
            "[4, 3]",
            "init: he, slices: [{name: a, init: none}]",
            "x.yaml:4:51: `rules[0].slices[0].init`: expected a mode or {mode: …}, got the text `none`",
        ),
        (
            "[4, 3]",
            "init: he, slices: [{name: a, width: 3}]",
            "x.yaml:4:45: unknown key `width` in `rules[0].slices[0]`; the keys are name, size, layer, init",
        ),
        (
            "[4]",
            "init: he, slices: [a, {name: b, init: orthogonal}]",
            "x.yaml:4:38: tensor `w.b`: `orthogonal` needs at least two dimensions; its shape is [2]",
        ),
        (
            "[4, 3]",
            "init: he, slices: [a, b], layer: 18446744073709551615",
            "x.yaml:4:49: tensor `w.b`: its layer id, 18446744073709551615 + 1 * 1, does not fit in 64 bits",
        ),
        (
            "[4, 3]",
            "init: he, slices: [a, b], layer: 6",
            "x.yaml:5:5: tensors `w.b` and `w.bias` both have layer id 7, so they would start with the same \
             noise; give them different ids, or set `shared: true` on their rules if this is intended",
        ),
    ] {
        assert_eq!(error(shape, rule), format!("error: {expected}\n"), "{rule}");
    }
}
