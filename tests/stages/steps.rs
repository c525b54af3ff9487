//! Values rounded to steps: what comes back, how large the files are, and what is refused. Sizes and digests
//! were written by this program; what the bytes mean, the decoder in `tests/python` shows, which was written
//! from docs/format.md.

use std::fs;

use cdi_prune::reader::PrunedReader;
use serde_json::{Value, json};

use crate::common::{Scratch, Tensor, digest, f32s, root, rows_through_a_handle, shipped_config, succeeds};

/// A shipped network (272,512 bytes), and second moments of the inputs of its two small layers.
fn shipped(values: Value) -> Scratch {
    let s = Scratch::new();
    let mut config = shipped_config(&root().join("examples/data/mlp_pad_sgd"));
    config["prune"] = json!({"output": "rounded.safetensors", "values": values});
    s.write("x.yaml", config.to_string());
    // Inputs that depend on their neighbours; the first is always 0.
    let moments = |n: usize| -> Vec<f32> {
        let of =
            |i: usize, j: usize| if i * j == 0 { 0.0 } else { 1.0 / (1u32 << i.abs_diff(j).min(20)) as f32 };
        (0..n * n).map(|at| of(at / n, at % n) * 100.0).collect()
    };
    s.safetensors(
        "moments.safetensors",
        &[
            ("fc2.weight", "F32", &[64, 64], f32s(&moments(64))),
            ("fc3.weight", "F32", &[32, 32], f32s(&moments(32))),
        ],
    );
    s
}

fn values_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// The values of a tensor in the trained network and as restored.
fn both(s: &Scratch, name: &str) -> (Vec<f32>, Vec<f32>) {
    let trained = root().join("examples/data/mlp_pad_sgd/trained.safetensors");
    let [trained, rounded] = [trained, s.path("rounded.safetensors")]
        .map(|path| values_of(&PrunedReader::open(&path, None).unwrap().read_to_vec(name).unwrap()));
    (trained, rounded)
}

/// The settings, and the size and digest of the file.
fn files() -> [(Value, u64, &'static str); 5] {
    let compensated = json!({"step": 0.04, "rounding": "compensated", "calibration": "moments.safetensors"});
    [
        (json!({"step": 0.04}), 11_509, "5c3877e9161e68ba8bcf485f76b6312a874e04f29a34726e99d65788871e6a22"),
        (
            json!({"step": 0.04, "over": "zero"}),
            22_480,
            "1f67ae4c989dc8f1afc33152cd352643c0862c491ad52cc8cbb76e010516324c",
        ),
        (
            json!({"step": "auto", "over": "init"}),
            26_003,
            "057245cc4b0371c8b84be22a2dd81ef1ea655da55b8d12c9e77c4051da444f78",
        ),
        (
            json!({"step": {"bits": 6}}),
            21_238,
            "d791f1921135ae7b6d208d317008f404ba4b912740ecc7b6e05df2d6d2bbe15f",
        ),
        (compensated, 11_515, "86f61743c66d4de61855666d8bd5fcedf9d1b290d5beb3dcddaa83a20bff77b1"),
    ]
}

#[test]
fn the_same_bytes_on_any_number_of_threads_and_instruction_set() {
    for (values, size, sha256) in files() {
        let s = shipped(values.clone());
        for (threads, set) in [("1", "portable"), ("2", ""), ("8", "")] {
            let variables: &[(&str, &str)] = if set.is_empty() { &[] } else { &[("CDI_PRUNE_ISA", set)] };
            let ran = s.run_with(variables, &["run", "x.yaml", "--quiet", "--threads", threads]);
            assert_eq!(ran.code, 0, "{ran:?}");
            let path = s.path("rounded.safetensors");
            let found = (fs::metadata(&path).unwrap().len(), digest(&fs::read(&path).unwrap()));
            assert_eq!((found.0, found.1.as_str()), (size, sha256), "{values} {threads} {set}");
        }
        let file = PrunedReader::open(&s.path("rounded.safetensors"), None).unwrap();
        for name in ["fc1.weight", "fc2.weight", "fc3.bias"] {
            rows_through_a_handle(&file, name, &file.read_to_vec(name).unwrap());
        }
    }
}

#[test]
fn values_are_at_most_half_a_step_away_and_rules_override() {
    let s = shipped(json!({"step": 0.04}));
    let rules = r#"prune.rules=[{match: fc2.weight, values: {step: 0.01, over: zero}}, {match: fc1.bias, keep: true},
        {match: fc2.bias, values: {exact: true}}]"#;
    succeeds(&s, &["run", "x.yaml", "--quiet", "--set", rules]);
    for (name, most) in [
        ("fc1.weight", 0.02),
        ("fc2.weight", 0.005),
        ("fc3.weight", 0.02),
        ("fc1.bias", 0.0),
        ("fc2.bias", 0.0),
    ] {
        let (trained, rounded) = both(&s, name);
        let far = trained.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far <= most + 1e-7 && (most == 0.0 || far > most * 0.9), "{name}: {far}");
    }
    // Steps from zero are multiples of the step.
    assert!(both(&s, "fc2.weight").1.iter().all(|w| *w == ((f64::from(*w) / 0.01).round() * 0.01) as f32));
}

/// A rule that says how values are coded prunes nothing either.
#[test]
fn a_rule_for_values_is_no_rule_for_pruning() {
    let s = shipped(json!({"step": 0.04}));
    let file = |more: &[&str]| {
        succeeds(&s, &[&["prune", "x.yaml", "--quiet"], more].concat());
        fs::read(s.path("rounded.safetensors")).unwrap()
    };
    let rule = "prune.rules=[{match: fc1.weight, values: {step: 0.04}}]";
    assert!(file(&[]) == file(&["--set", rule, "--set", "analyze.threshold=0.01"]));
}

/// Weights that are pruned take their fill; others are rounded.
#[test]
fn pruned_weights_have_no_steps() {
    let s = shipped(json!({"step": 0.04}));
    let more = ["prune.criterion=magnitude", "prune.target={sparsity: 0.5}", "prune.fill=init"];
    let sets: Vec<&str> = more.iter().flat_map(|set| ["--set", *set]).collect();
    succeeds(&s, &[&["run", "x.yaml", "--quiet"], &sets[..]].concat());
    let (trained, rounded) = both(&s, "fc1.weight");
    let mut sizes: Vec<f32> = trained.iter().map(|w| w.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let limit = sizes[sizes.len() / 2];
    let large = trained.iter().zip(&rounded).filter(|(w, _)| w.abs() > limit);
    assert!(large.clone().count() > 30_000);
    assert!(large.clone().all(|(a, b)| (a - b).abs() <= 0.02 + 1e-7));
    let small = trained.iter().zip(&rounded).filter(|(w, _)| w.abs() < limit);
    assert!(small.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) > 0.05);
}

/// Second moments of a whole model serve where some tensors are kept.
#[test]
fn moments_of_kept_tensors_are_not_used() {
    let s = shipped(json!({"step": 0.04, "rounding": "compensated", "calibration": "moments.safetensors"}));
    succeeds(&s, &["run", "x.yaml", "--quiet", "--set", "prune.rules=[{match: fc3.weight, keep: true}]"]);
    let (trained, kept) = both(&s, "fc3.weight");
    assert!(trained == kept);
    let (trained, rounded) = both(&s, "fc2.weight");
    assert!(trained.iter().zip(&rounded).any(|(a, b)| (a - b).abs() > 0.0201));
}

/// A pruned weight and one that is rounded to its starting point restore alike, and share a symbol.
#[test]
fn pruned_weights_cost_no_more_than_zero_steps() {
    let s = shipped(json!({"step": 0.3}));
    let size = |over: &str, fill: &str, sparsity: &str| {
        let sets = [
            format!("prune.values.over={over}"),
            format!("prune.fill={fill}"),
            format!("prune.target={{sparsity: {sparsity}}}"),
            "prune.criterion=magnitude".to_owned(),
            "analyze.decay=none".to_owned(),
            "prune.rules=[{match: ['*.bias', fc2.weight, fc3.weight], keep: true}]".to_owned(),
        ];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set.as_str()]).collect();
        succeeds(&s, &[&["run", "x.yaml", "--quiet"], &sets[..]].concat());
        fs::metadata(s.path("rounded.safetensors")).unwrap().len()
    };
    // With steps of 0.3 from zero, the smaller half of the weights are no steps anyway.
    assert_eq!(size("zero", "zero", "0.5"), size("zero", "zero", "0"));
    let (trained, rounded) = both(&s, "fc1.weight");
    assert!(trained.iter().zip(&rounded).all(|(w, r)| w.abs() >= 0.15 || *r == 0.0));
    // Where they are not zero steps, a mask costs what it costs.
    assert!(size("init", "zero", "0.5") > size("init", "init", "0.5") + 4_000);
}

/// The outputs of a layer change less with compensated rounding, for inputs that depend on each other.
#[test]
fn compensated_rounding_changes_outputs_less() {
    let change = |rounding: &str| {
        let s = shipped(json!({"step": 0.1, "rounding": rounding, "over": "zero"}));
        let calibration = ["--set", "prune.values.calibration=moments.safetensors"];
        let more: &[&str] = if rounding == "nearest" { &[] } else { &calibration };
        succeeds(&s, &[&["run", "x.yaml", "--quiet"], more].concat());
        let (trained, rounded) = both(&s, "fc2.weight");
        let error: Vec<f64> = trained.iter().zip(&rounded).map(|(a, b)| f64::from(a - b)).collect();
        // e H eᵀ, with the second moments of `shipped`.
        let product = |e: &[f64]| -> f64 {
            let term = |i: usize, j: usize| {
                if i * j == 0 { 0.0 } else { e[i] * e[j] / (1u64 << i.abs_diff(j)) as f64 }
            };
            (0..64 * 64).map(|at| term(at / 64, at % 64)).sum()
        };
        error.chunks(64).map(product).sum::<f64>()
    };
    let (nearest, compensated) = (change("nearest"), change("compensated"));
    assert!(compensated < 0.8 * nearest, "{compensated} and {nearest}");
}

#[test]
fn what_is_refused() {
    let s = shipped(json!({"step": 0.04}));
    let wrong = |values: &str, message: &str| {
        let set = format!("prune.values={values}");
        let ran = s.run(&["run", "x.yaml", "--set", &set]);
        assert_eq!((ran.code, ran.stderr), (2, format!("error: --set {set}: {message}\n")), "{values}");
    };
    let step = "expected a finite number above 0, auto, or {bits: 1 … 16}, got";
    wrong("{step: 0}", &format!("`prune.values.step`: {step} 0"));
    wrong("{step: -1.5}", &format!("`prune.values.step`: {step} -1.5"));
    wrong("{step: .nan}", &format!("`prune.values.step`: {step} NaN"));
    wrong("{step: fine}", &format!("`prune.values.step`: {step} the text `fine`"));
    let bits = "`prune.values.step.bits`: expected a whole number from 1 to 16, got 17";
    wrong("{step: {bits: 17}}", bits);
    let none =
        "expected a `step`, such as {step: 0.01}, {step: auto} or {step: {bits: 6}}, or {exact: true}, got";
    wrong("{}", &format!("`prune.values`: {none} neither"));
    wrong("{exact: false}", &format!("`prune.values`: {none} neither"));
    wrong("{over: zero}", &format!("`prune.values`: {none} over"));
    let exact = "`prune.values.step`: expected no such key together with `exact: true`, which rounds nothing, got one";
    wrong("{exact: true, step: 1}", exact);
    let compensated = "`prune.values.rounding`: expected `calibration` as well, a file with the second moments of the \
                       layers' inputs, got none";
    wrong("{step: 1, rounding: compensated}", compensated);
    let nearest = "`prune.values.calibration`: expected `rounding: compensated` as well: rounding to nearest uses no \
                   calibration, got nearest";
    wrong("{step: 1, calibration: moments.safetensors}", nearest);
    assert!(!s.path("rounded.safetensors").exists());
}

/// Weights that are stored by input are rounded as their transpose is, kernels too, and in
/// more strips than one.
#[test]
fn a_transposed_tensor_is_rounded_alike() {
    let s = Scratch::new();
    let value = |output: usize, input: usize| {
        ((output * 31 + input * 17 + output * input) % 201) as f32 / 100.0 - 1.0
    };
    let by_output = |outputs: usize, inputs: usize| -> Vec<f32> {
        (0..outputs * inputs).map(|n| value(n / inputs, n % inputs)).collect()
    };
    let by_input = |outputs: usize, inputs: usize| -> Vec<f32> {
        (0..outputs * inputs).map(|n| value(n % outputs, n / outputs)).collect()
    };
    let moments = |n: usize| -> Vec<f32> {
        let of = |i: usize, j: usize| 50.0 / (1u32 << (2 * i.abs_diff(j)).min(20)) as f32;
        (0..n * n).map(|at| of(at / n, at % n)).collect()
    };
    let shapes: [(&str, &[usize], Vec<f32>); 4] = [
        ("a.large", &[4_000, 300], by_output(4_000, 300)),
        ("a.small", &[8, 36], by_output(8, 36)),
        ("b.large", &[300, 4_000], by_input(4_000, 300)),
        ("b.small", &[3, 3, 4, 8], by_input(8, 36)),
    ];
    s.safetensors(
        "t.safetensors",
        &shapes.clone().map(|(name, dims, values)| (name, "F32", dims, f32s(&values))),
    );
    let (large, small) = (f32s(&moments(300)), f32s(&moments(36)));
    let entry =
        |name, size: &'static [usize], bytes: &Vec<u8>| -> Tensor<'_> { (name, "F32", size, bytes.clone()) };
    s.safetensors(
        "m.safetensors",
        &[
            entry("a.large", &[300, 300], &large),
            entry("a.small", &[36, 36], &small),
            entry("b.large", &[300, 300], &large),
            entry("b.small", &[36, 36], &small),
        ],
    );
    let values = json!({"step": 0.25, "rounding": "compensated", "calibration": "m.safetensors"});
    let config = json!({
        "rules": [{"match": "b.*", "init": "none", "layout": "in_out"}, {"match": "a.*", "init": "none"}],
        "trained": {"path": "t.safetensors"},
        "prune": {"output": "rounded.safetensors", "values": values},
    });
    s.write("x.yaml", config.to_string());
    succeeds(&s, &["prune", "x.yaml", "--quiet", "--threads", "2"]);
    let file = PrunedReader::open(&s.path("rounded.safetensors"), None).unwrap();
    let rounded = |name: &str| values_of(&file.read_to_vec(name).unwrap());
    for (size, outputs, inputs) in [("large", 4_000, 300), ("small", 8, 36)] {
        let (a, b) = (rounded(&format!("a.{size}")), rounded(&format!("b.{size}")));
        assert!((0..outputs * inputs).all(|n| a[n] == b[n % inputs * outputs + n / inputs]), "{size}");
        // Many are not rounded to the nearest step, which shows that errors were compensated.
        let trained = by_output(outputs, inputs);
        let far = a.iter().zip(&trained).filter(|(rounded, w)| (*rounded - *w).abs() > 0.1251).count();
        assert!(far > outputs * inputs / 20, "{size}: {far}");
    }
    // What its second moments must be is said in its own words.
    s.safetensors("m.safetensors", &[entry("b.small", &[300, 300], &large)]);
    let ran = s.run(&["prune", "x.yaml"]);
    let message = "error: m.safetensors: tensor `b.small`, for rounding, has shape [300, 300] there, expected [36, 36]: the \
                   tensor is [3, 3, 4, 8], outputs last\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, message));
    let roles = config
        .to_string()
        .replace(r#""in_out""#, r#"["in", "kernel", "kernel", "out"]"#)
        .replace("b.*", "b.small");
    let roles = roles.replace(r#""match":"a.*""#, r#""match":["a.*","b.large"]"#);
    s.write("x.yaml", roles);
    let ran = s.run(&["prune", "x.yaml"]);
    let message = "has the layout [in, kernel, kernel, out], but rounding can compensate its errors only with the layouts out_in \
                   and in_out; set `rounding: nearest` for it in a prune rule\n";
    assert!(ran.code == 1 && ran.stderr.ends_with(message), "{ran:?}");
}

#[test]
fn moments_that_do_not_fit_are_refused() {
    let s = shipped(json!({"step": 0.04, "rounding": "compensated", "calibration": "m.safetensors"}));
    let one = |dtype: &'static str, name: &'static str, dims: &'static [usize], values: &[f32]| {
        let tensor: Tensor<'_> = (name, dtype, dims, f32s(values));
        s.safetensors("m.safetensors", &[tensor]);
    };
    let refused = |name: &str, problem: &str| {
        let ran = s.run(&["run", "x.yaml"]);
        let message = format!("error: m.safetensors: tensor `{name}`, for rounding, {problem}\n");
        assert_eq!((ran.code, ran.stderr), (1, message));
        assert!(!s.path("rounded.safetensors").exists());
    };
    let mut identity = vec![0.0; 32 * 32];
    (0..32).for_each(|n| identity[33 * n] = 1.0);
    one("F32", "fc4.weight", &[32, 32], &identity);
    let unknown = "is not the name of a tensor of the trained checkpoint; second moments have the names of the weights that \
                   read the inputs";
    refused("fc4.weight", unknown);
    one("I32", "fc3.weight", &[32, 32], &identity);
    refused("fc3.weight", "is I32 there, expected F32 or F64");
    one("F32", "fc3.weight", &[1024], &identity);
    let shape = "has shape [1024] there, expected [32, 32]: the tensor is [10, 32], outputs first";
    refused("fc3.weight", shape);
    one("F32", "fc3.bias", &[32, 32], &identity);
    let rank =
        "is [10], which has no inputs: only tensors of two or more dimensions are rounded with a calibration";
    refused("fc3.bias", rank);
    for (value, problem) in [
        (f32::NAN, "element [0, 1] is NaN"),
        (0.5, "element [1, 0] is 0, but element [0, 1] is 0.5; sums of products of inputs are symmetric"),
    ] {
        let mut moments = identity.clone();
        moments[1] = value;
        one("F32", "fc3.weight", &[32, 32], &moments);
        refused("fc3.weight", &format!("cannot be second moments: {problem}"));
    }
    let mut moments = identity.clone();
    (moments[1], moments[32]) = (2.0, 2.0);
    one("F32", "fc3.weight", &[32, 32], &moments);
    let ran = s.run(&["run", "x.yaml"]);
    assert!(ran.code == 1 && ran.stderr.contains("it is not positive semidefinite"), "{ran:?}");
    s.safetensors("m.safetensors", &[]);
    refused("fc1.bias", "is not there, nor is any other tensor that is rounded with this calibration");
    fs::remove_file(s.path("m.safetensors")).unwrap();
    let ran = s.run(&["run", "x.yaml"]);
    assert!(ran.code == 1 && ran.stderr.starts_with("error: m.safetensors: cannot open"), "{ran:?}");
}
