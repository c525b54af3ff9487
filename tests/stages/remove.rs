//! Units removed from a chain of layers: small networks whose numbers can be checked by hand, the same
//! function on every input, and every error that a person can meet.

use std::path::Path;

use cdi_prune::checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::common::{Scratch, Tensor, f32s, root};

const F32: &str = "F32";

/// Three layers of 2, 4, 3 and 2 units. Rows 0, 1 and 3 of `a` are the smallest of magnitude: with the ReLU
/// between, unit 0 gives 0, unit 1 gives 2, unit 3 gives 1.
fn network() -> Vec<Tensor<'static>> {
    vec![
        ("a.weight", F32, &[4, 2], f32s(&[0.5, 0.25, 0.25, 0.5, 4.0, -8.0, 0.125, 0.125])),
        ("a.bias", F32, &[4], f32s(&[-1.0, 2.0, 0.5, 1.0])),
        (
            "b.weight",
            F32,
            &[3, 4],
            f32s(&[9.0, 8.0, 10.0, -11.0, 8.0, 9.0, -9.0, 16.0, 0.5, 0.5, 0.25, 0.25]),
        ),
        ("b.bias", F32, &[3], f32s(&[0.25, -0.5, -1.0])),
        ("c.weight", F32, &[2, 3], f32s(&[8.0, 9.0, 10.0, -11.0, 12.0, 13.0])),
    ]
}

fn configure(s: &Scratch, prune: &str) {
    let config = format!(
        "seed: 1
rules: [{{match: '**', init: none}}]
trained: {{path: trained.safetensors}}
analyze: {{report: {{json: report.json, markdown: report.md}}}}
prune:
  output: pruned.safetensors
  criterion: magnitude
  structure: rows
  {}
  rules: [{{match: '*.bias', keep: true}}]
",
        prune.replace('\n', "\n  ")
    );
    s.write("x.yaml", config);
}

fn scratch(tensors: &[Tensor<'_>], prune: &str) -> Scratch {
    let s = Scratch::new();
    s.safetensors("trained.safetensors", tensors);
    configure(&s, prune);
    s
}

fn run(s: &Scratch, threads: &str) -> String {
    let ran = s.run(&["run", "x.yaml", "--threads", threads]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
}

fn tensor(file: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let file = Checkpoint::open(file).unwrap();
    let tensor = file.tensor(name).unwrap();
    let values = tensor.bytes().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    (tensor.shape.dims().to_vec(), values)
}

const CHAIN: &str =
    "scope: global\ntarget: {sparsity: 0.45}\nremove: true\nchains: [{layers: [a, b, c], activation: relu}]";

#[test]
fn silent_units_go_and_their_constants_are_folded() {
    // 0.45 of nine rows is four: rows 0, 1 and 3 of `a` and row 2 of `b`, whose bias of -1 the ReLU makes 0.
    let s = scratch(&network(), CHAIN);
    let printed = run(&s, "1");
    let file = s.path("pruned.safetensors");
    assert_eq!(tensor(&file, "a.weight"), (vec![1, 2], vec![4.0, -8.0]));
    assert_eq!(tensor(&file, "a.bias"), (vec![1], vec![0.5]));
    assert_eq!(tensor(&file, "b.weight"), (vec![2, 1], vec![10.0, -9.0]));
    // 0.25 + 2 * 8 - 1 * 11 and -0.5 + 2 * 9 + 1 * 16.
    assert_eq!(tensor(&file, "b.bias"), (vec![2], vec![5.25, 33.5]));
    assert_eq!(tensor(&file, "c.weight"), (vec![2, 2], vec![8.0, 9.0, -11.0, 12.0]));
    assert!(
        printed.contains(
            "Removed: 3 of 4 units between a and b, the constants of 2 folded into the bias of b.\n\
             Removed: 1 of 3 units between b and c.\n"
        ),
        "{printed}"
    );
    let report: Value = serde_json::from_slice(&std::fs::read(s.path("report.json")).unwrap()).unwrap();
    assert_eq!(
        report["removed"],
        json!([
            {"layer": "a", "next": "b", "units": 4, "removed": 3, "folded": 2},
            {"layer": "b", "next": "c", "units": 3, "removed": 1, "folded": 0},
        ])
    );
    // Everything that is no longer there counts as pruned: 33 weights were, 11 are left.
    assert_eq!(report["totals"]["pruned_weights"], 22);
    let markdown = std::fs::read_to_string(s.path("report.md")).unwrap();
    assert!(markdown.contains("- Removed: 1 of 3 units between `b` and `c`.\n"), "{markdown}");
    // Restoring takes the smaller tensors as they are.
    assert_eq!(s.run(&["restore", "pruned.safetensors", "-o", "back.safetensors"]).code, 0);
    assert_eq!(tensor(&s.path("back.safetensors"), "b.bias").1, [5.25, 33.5]);
}

#[test]
fn any_number_of_threads_writes_the_same_file() {
    let s = scratch(&network(), CHAIN);
    let files = ["1", "2", "7"].map(|threads| {
        run(&s, threads);
        std::fs::read(s.path("pruned.safetensors")).unwrap()
    });
    assert_eq!(files[0], files[1]);
    assert_eq!(files[0], files[2]);
}

#[test]
fn what_is_not_exact_stays_as_zeros() {
    // The activation is not named: no constant is known, and only what is 0 before it would be 0 behind it.
    let s = scratch(&network(), &(CHAIN.replace(", activation: relu", "") + "\ncode_kept: false"));
    run(&s, "2");
    let file = s.path("pruned.safetensors");
    assert_eq!(tensor(&file, "b.bias"), (vec![3], vec![0.25, -0.5, -1.0]));
    assert_eq!(s.run(&["restore", "pruned.safetensors", "-o", "back.safetensors"]).code, 0);
    let rows = vec![0.0, 0.0, 0.0, 0.0, 4.0, -8.0, 0.0, 0.0];
    assert_eq!(tensor(&s.path("back.safetensors"), "a.weight"), (vec![4, 2], rows));
    // Without a bias to take the constants up, a unit stays that gives one.
    let without: Vec<_> = network().into_iter().filter(|(name, ..)| *name != "b.bias").collect();
    let s = scratch(&without, CHAIN);
    run(&s, "2");
    assert_eq!(tensor(&s.path("pruned.safetensors"), "a.bias"), (vec![3], vec![2.0, 0.5, 1.0]));
}

#[test]
fn units_that_nothing_reads_go_whatever_they_give() {
    // Columns: of the four smallest of all nine, three are columns of `b` that no row of it needs.
    let mut tensors = network();
    tensors[2].3 = f32s(&[0.5, 8.0, 0.25, -11.0, 0.5, 9.0, 0.25, 16.0, 0.5, 0.5, 0.25, 0.25]);
    tensors[0].3 = f32s(&[40.0; 8]);
    let prune = CHAIN.replace("0.45", "0.22").replace(", activation: relu", "");
    let s = scratch(&tensors, &format!("{prune}\n# columns"));
    let config = std::fs::read_to_string(s.path("x.yaml")).unwrap();
    s.write("x.yaml", config.replace("structure: rows", "structure: columns"));
    run(&s, "2");
    let file = s.path("pruned.safetensors");
    assert_eq!(tensor(&file, "a.bias"), (vec![2], vec![2.0, 1.0]));
    assert_eq!(tensor(&file, "b.weight"), (vec![3, 2], vec![8.0, -11.0, 9.0, 16.0, 0.5, 0.25]));
}

#[test]
fn filters_of_convolutions_take_their_channels_and_norms_along() {
    // Two filters of 1x1x2, a batch norm, and a linear layer that reads each channel at two places.
    let tensors: Vec<Tensor<'_>> = vec![
        ("conv.weight", F32, &[2, 1, 1, 2], f32s(&[5.0, 6.0, 7.0, 8.0])),
        ("norm.weight", F32, &[2], f32s(&[1.0, 2.0])),
        ("norm.bias", F32, &[2], f32s(&[3.0, 4.0])),
        ("norm.running_mean", F32, &[2], f32s(&[5.0, 6.0])),
        ("norm.running_var", F32, &[2], f32s(&[7.0, 8.0])),
        ("fc.weight", F32, &[1, 4], f32s(&[0.5, 0.5, 1.0, 2.0])),
    ];
    let s = scratch(&tensors, "target: threshold");
    let config = "seed: 1
rules: [{match: '**', init: none}]
trained: {path: trained.safetensors}
prune:
  output: pruned.safetensors
  criterion: magnitude
  structure: columns
  target: {keep: 2}
  remove: true
  chains: [{layers: [conv, norm, fc], activation: relu}]
  rules: [{match: ['norm.*', 'conv.*'], keep: true}]
";
    s.write("x.yaml", config);
    run(&s, "2");
    let file = s.path("pruned.safetensors");
    assert_eq!(tensor(&file, "conv.weight"), (vec![1, 1, 1, 2], vec![7.0, 8.0]));
    for (name, value) in
        [("norm.weight", 2.0), ("norm.bias", 4.0), ("norm.running_mean", 6.0), ("norm.running_var", 8.0)]
    {
        assert_eq!(tensor(&file, name), (vec![1], vec![value]));
    }
    assert_eq!(tensor(&file, "fc.weight"), (vec![1, 2], vec![1.0, 2.0]));
}

/// The shipped network, a quarter of whose rows go: the same answers from 90 units as from 96 with
/// zeros, but for rounding.
#[test]
fn the_shipped_network_answers_as_with_zeros() {
    let s = Scratch::new();
    let trained = root().join("examples/data/mlp_pad_sgd/trained.safetensors");
    let prune = |remove: &str| {
        format!(
            "seed: 42
rules: [{{match: '**', init: none}}]
trained: {{path: '{}'}}
prune:
  output: {}.safetensors
  criterion: magnitude
  structure: rows
  scope: global
  target: {{sparsity: 0.25}}
  format: dense
  {remove}
  rules: [{{match: ['*.bias', 'fc3.*'], keep: true}}]
",
            trained.display(),
            if remove.is_empty() { "zeros" } else { "removed" },
        )
    };
    s.write("zeros.yaml", prune(""));
    s.write("removed.yaml", prune("remove: true\n  chains: [{layers: [fc1, fc2, fc3], activation: relu}]"));
    for config in ["zeros.yaml", "removed.yaml"] {
        let ran = s.run(&["run", config]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let layers = |file: &str| {
        ["fc1", "fc2", "fc3"].map(|layer| {
            let file = s.path(file);
            let (shape, weight) = tensor(&file, &format!("{layer}.weight"));
            (shape, weight, tensor(&file, &format!("{layer}.bias")).1)
        })
    };
    let (zeros, removed) = (layers("zeros.safetensors"), layers("removed.safetensors"));
    assert_eq!(zeros.each_ref().map(|l| l.0.clone()), [vec![64, 1024], vec![32, 64], vec![10, 32]]);
    let shapes = removed.each_ref().map(|l| l.0.clone());
    assert_eq!(shapes.iter().map(|s| s[0]).sum::<usize>(), 64 + 32 - 24 + 10);
    let answer = |layers: &[(Vec<usize>, Vec<f32>, Vec<f32>)], input: &[f64]| {
        let mut x = input.to_vec();
        for (n, (shape, weight, bias)) in layers.iter().enumerate() {
            x = (0..shape[0])
                .map(|i| {
                    let row = &weight[i * shape[1]..(i + 1) * shape[1]];
                    let sum: f64 = row.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum();
                    let y = sum + f64::from(bias[i]);
                    if n + 1 < layers.len() { y.max(0.0) } else { y }
                })
                .collect();
        }
        x
    };
    let images = Checkpoint::open(&root().join("examples/data/fashion.safetensors")).unwrap();
    let pixels = images.tensor("x").unwrap().bytes();
    for image in pixels.chunks(784).take(50) {
        let mut input = vec![0.0; 1024];
        for (n, pixel) in image.iter().enumerate() {
            input[(n / 28 + 2) * 32 + n % 28 + 2] = f64::from(*pixel) / 255.0;
        }
        let (zeros, removed) = (answer(&zeros, &input), answer(&removed, &input));
        for (a, b) in zeros.iter().zip(&removed) {
            // The folded bias is rounded to binary32 once.
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}

fn fails(tensors: &[Tensor<'_>], prune: &str, code: i32, message: &str) {
    let s = scratch(tensors, prune);
    let ran = s.run(&["run", "x.yaml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (code, message));
    assert!(!s.path("pruned.safetensors").exists());
}

#[test]
fn configs_that_cannot_be() {
    let chains = "target: {keep: 1}\nchains: [{layers: [a, b]}]";
    fails(
        &network(),
        chains,
        2,
        "error: x.yaml:10:11: `prune.chains`: expected `remove: true` as well, got none\n",
    );
    fails(
        &network(),
        "target: {keep: 1}\nremove: true",
        2,
        "error: x.yaml:10:11: `prune.remove`: expected `chains` as well, which list the layers that read \
         each other, got none\n",
    );
    fails(
        &network(),
        &format!("fill: init\nremove: true\n{chains}"),
        2,
        "error: x.yaml:10:11: `prune.remove`: expected `fill: zero` as well: with other fills, pruned rows \
         have weights, got another\n",
    );
    fails(
        &network(),
        "target: {bytes: 1kB}\nremove: true\nchains: [{layers: [a, b]}]",
        2,
        "error: x.yaml:10:11: `prune.remove`: expected a target other than `{bytes: …}`, which does not \
         account for removed units, got it\n",
    );
    fails(
        &network(),
        "target: {keep: 1}\nremove: true\nchains: [{layers: [a]}]",
        2,
        "error: x.yaml:11:21: `prune.chains[0].layers`: expected at least two layers, got 1\n",
    );
    fails(
        &network(),
        "target: {keep: 1}\nremove: true\nchains: [{layers: [a, b]}, {layers: [b, c]}]",
        2,
        "error: x.yaml:11:40: `prune.chains[1].layers[0]`: expected each layer once, got `b` again\n",
    );
    fails(
        &network(),
        "target: {keep: 1}\nremove: true\nchains: [{layers: [a, b], activation: rely}]",
        2,
        "error: x.yaml:11:41: `prune.chains[0].activation` cannot be `rely` (did you mean `relu`?); the values are relu, identity, gelu, silu, tanh\n",
    );
}

#[test]
fn tensors_that_form_no_chain() {
    let chain = |layers: &str| format!("target: {{keep: 1}}\nremove: true\nchains: [{{layers: [{layers}]}}]");
    fails(
        &network(),
        &chain("a, d"),
        2,
        "error: x.yaml:11:25: layer `d` of the chain has no tensor `d.weight` in the trained checkpoint\n",
    );
    fails(
        &network(),
        &chain("a, c"),
        2,
        "error: x.yaml:11:25: layer `c` of the chain has 3 columns, expected a multiple of the 4 units of \
         the previous layer\n",
    );
    let mut tensors = network();
    tensors[1] = ("a.bias", F32, &[3], f32s(&[0.0; 3]));
    fails(
        &tensors,
        &chain("a, b"),
        2,
        "error: x.yaml:11:22: layer `a` of the chain has a bias of shape [3], expected 4 floating-point numbers\n",
    );
    tensors[1] = ("norm.weight", F32, &[4], f32s(&[0.0; 4]));
    fails(
        &tensors,
        &chain("a, norm, b"),
        2,
        "error: x.yaml:11:25: layer `norm` of the chain has a weight of shape [4], expected a weight of \
         outputs by inputs, or a batch norm after such a layer, with weight, bias, running_mean and \
         running_var for each of its units\n",
    );
    tensors[0] = ("a.weight", "I32", &[4, 2], f32s(&[0.0; 8]));
    fails(
        &tensors,
        &chain("a, b"),
        2,
        "error: x.yaml:11:22: layer `a` of the chain has a weight of type I32, expected F64, F32, F16 or BF16\n",
    );
    let norm: Vec<Tensor<'_>> = ["n.weight", "n.bias", "n.running_mean", "n.running_var"]
        .into_iter()
        .map(|name| (name, F32, &[4][..], f32s(&[1.0; 4])))
        .chain(network())
        .collect();
    fails(
        &norm,
        &chain("a, n"),
        2,
        "error: x.yaml:11:21: layer `a` of the chain is alone: a chain needs at least two layers that are \
         not batch norms\n",
    );
}
