//! Factor and threshold told by the weights: on made-up training whose truth is known, and on the real
//! checkpoints, of whose weights `facts.json` says which got no gradient.

use std::collections::BTreeSet;

use cdi_prune::analysis::{Calibration, Evidence, Sampled, Threshold, decide};
use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::noise::{gaussian, uniform};
use cdi_prune::tensor::FloatDtype;
use serde_json::{Value, json};

use crate::common::{Scratch, facts, root, shipped_config};

/// Made-up training of one tensor: `untouched` of its `n` weights become `s` times their initial value, give
/// or take the rounding of many steps; the others move by `step` times a gaussian.
struct Training {
    dtype: FloatDtype,
    n: u64,
    untouched: u64,
    s: f64,
    step: f64,
}

impl Training {
    fn f32(n: u64, untouched: u64, s: f64, step: f64) -> Self {
        Self { dtype: FloatDtype::F32, n, untouched, s, step }
    }

    /// `layer` makes the tensors differ.
    fn sample(&self, layer: u64) -> Sampled {
        let pair = |i: u64| {
            let w0 = self.dtype.round(0.05 * gaussian(1, layer, 0, i));
            let spread = if self.s == 1.0 { 0.0 } else { 4e-6 * (uniform(2, layer, 0, i) - 0.5) };
            let moved = if i < self.untouched { 0.0 } else { self.step * gaussian(3, layer, 0, i) };
            [self.dtype.round(self.s * (1.0 + spread) * w0 + moved), w0]
        };
        Sampled { dtype: self.dtype, decay: None, pairs: (0..self.n).map(pair).collect() }
    }
}

fn decide_all(trainings: &[Training]) -> (Vec<Sampled>, Vec<Calibration>, Vec<Evidence>) {
    let samples: Vec<Sampled> = trainings.iter().zip(100..).map(|(t, layer)| t.sample(layer)).collect();
    let (decided, evidence) = decide(&samples);
    (samples, decided, evidence)
}

/// Called sleeping, and of these truly untouched.
fn called(sample: &Sampled, decided: &Calibration, untouched: u64) -> (u64, u64) {
    let sleeps = |[w, w0]: &[f64; 2]| {
        let expected = decided.decay * w0;
        match decided.threshold {
            Threshold::Relative(x) => (w - expected).abs() <= x * expected.abs(),
            Threshold::Absolute(x) => (w - expected).abs() <= x,
            Threshold::Ulps(n) => sample.dtype.ulps_between(*w, sample.dtype.round(expected)) <= n,
            Threshold::Nothing => false,
        }
    };
    let mut counts = (0, 0);
    for (i, _) in sample.pairs.iter().enumerate().filter(|(_, pair)| sleeps(pair)) {
        counts.0 += 1;
        counts.1 += u64::from((i as u64) < untouched);
    }
    counts
}

#[test]
fn untouched_weights_without_decay_are_exactly_their_initial_values() {
    let trainings = [Training::f32(50_000, 800, 1.0, 0.02), Training::f32(3_000, 0, 1.0, 0.02)];
    let (samples, decided, evidence) = decide_all(&trainings);
    assert!(evidence.len() == 1 && evidence[0].found, "{evidence:?}");
    assert_eq!((evidence[0].sleeping, evidence[0].tensors), (800, 1));
    assert_eq!((decided[0].decay, decided[0].threshold), (1.0, Threshold::Relative(0.0)));
    assert_eq!(called(&samples[0], &decided[0], 800), (800, 800));
    assert_eq!((decided[0].own, decided[1].own), (true, false));
}

#[test]
fn decayed_weights_are_found_by_their_common_factor() {
    for s in [0.9999, 0.87, 0.3922, 0.01] {
        let trainings = [Training::f32(60_000, 900, s, 0.03), Training::f32(4_000, 12, s, 0.03)];
        let (samples, decided, evidence) = decide_all(&trainings);
        assert!(evidence[0].found, "{s}");
        assert!((decided[0].decay / s - 1.0).abs() < 1e-6, "{s}: {}", decided[0].decay);
        let all = (called(&samples[0], &decided[0], 900), called(&samples[1], &decided[1], 12));
        // Every untouched weight, and next to no other.
        assert_eq!((all.0.1, all.1.1), (900, 12), "{s}");
        assert!(all.0.0 + all.1.0 <= 914, "{s}: {all:?}");
    }
}

/// After little training live weights crowd around the factor too, thinning out from it: there
/// the valley is shallow.
#[test]
fn short_training_and_few_untouched_weights() {
    for (n, untouched, s, step) in
        [(60_000, 15_000, 0.99845, 2e-4), (60_000, 15_000, 1.0, 2e-4), (7_000, 25, 0.911, 0.02)]
    {
        let (samples, decided, evidence) = decide_all(&[Training::f32(n, untouched, s, step)]);
        assert!(evidence[0].found, "{s}");
        assert!((decided[0].decay / s - 1.0).abs() < 1e-6, "{s}: {}", decided[0].decay);
        let (called, right) = called(&samples[0], &decided[0], untouched);
        assert_eq!(right, untouched, "{s}");
        assert!(called as f64 <= 1.02 * untouched as f64, "{s}: {called}");
    }
}

#[test]
fn live_weights_alone_give_none() {
    // Training at any pace; with decay, on which no weight's lack of gradient depends.
    for (s, step) in [(1.0, 0.05), (1.0, 1e-3), (1.0, 1e-5), (0.9, 0.02), (0.9, 1e-3)] {
        let (samples, decided, evidence) =
            decide_all(&[Training::f32(60_000, 0, s, step), Training::f32(500, 0, s, step)]);
        // Slow training under one factor leaves the ratios in a heap, but no narrow one.
        assert!(evidence.iter().all(|e| !e.found), "{s} {step}: {evidence:?}");
        assert_eq!(decided[0].threshold, Threshold::Nothing);
        assert_eq!(called(&samples[0], &decided[0], 0), (0, 0));
    }
}

#[test]
fn each_group_of_an_optimiser_has_its_factor() {
    let trainings = [
        Training::f32(30_000, 2_000, 0.7, 0.02),
        Training::f32(30_000, 1_500, 1.0, 0.02),
        Training::f32(30_000, 1_000, 0.95, 0.02),
        Training::f32(2_000, 40, 0.7, 0.02),
    ];
    let (samples, decided, _) = decide_all(&trainings);
    for (n, (training, decided)) in trainings.iter().zip(&decided).enumerate() {
        assert!((decided.decay / training.s - 1.0).abs() < 1e-6, "{n}: {decided:?}");
        assert!(decided.own, "{n}");
        let (called, right) = called(&samples[n], decided, training.untouched);
        assert_eq!(right, training.untouched, "{n}");
        assert!(called <= right + 2, "{n}: {called}");
    }
}

#[test]
fn types_of_two_bytes_are_compared_after_rounding() {
    for dtype in [FloatDtype::Bf16, FloatDtype::F16] {
        // A bf16 weight and 0.999 of it round to the same value, so that a weaker decay cannot be told. Of
        // 0.99 and other round factors whole classes of weights lie on the boundary between two values.
        for s in [1.0, 0.9871, 0.8712, 0.3033] {
            let (samples, decided, evidence) =
                decide_all(&[Training { dtype, n: 40_000, untouched: 4_000, s, step: 0.05 }]);
            assert!(evidence[0].found, "{dtype} {s}");
            // 128 significands of bf16 tell the factor apart from others 3e-5 away, the 1024 of
            // f16 eight times better.
            let error = if dtype == FloatDtype::Bf16 { 4e-5 } else { 1e-5 };
            assert!((decided[0].decay / s - 1.0).abs() < error, "{dtype} {s}: {}", decided[0].decay);
            assert_eq!(decided[0].threshold, Threshold::Ulps(0));
            let (called, right) = called(&samples[0], &decided[0], 4_000);
            // The spread moves one in some hundreds across the boundary between two values.
            assert!(right >= 3_980, "{dtype} {s}: {right}");
            // Live weights come to hold the value by chance.
            assert!(called - right <= 400, "{dtype} {s}: {called}");
        }
        let (_, decided, evidence) =
            decide_all(&[Training { dtype, n: 40_000, untouched: 0, s: 0.9, step: 0.05 }]);
        assert!(!evidence[0].found, "{dtype}: {evidence:?}");
        assert_eq!(decided[0].threshold, Threshold::Nothing);
    }
}

#[test]
fn what_starts_at_zero_sleeps_where_it_still_is() {
    let mut sample = Training::f32(1_000, 0, 1.0, 0.02).sample(1);
    for (n, [w, w0]) in sample.pairs.iter_mut().enumerate() {
        *w0 = 0.0;
        *w = if n < 10 { 0.0 } else { *w };
    }
    let (decided, evidence) = decide(std::slice::from_ref(&sample));
    assert_eq!((decided[0].threshold, evidence.len()), (Threshold::Absolute(0.0), 0));
    assert_eq!(called(&sample, &decided[0], 10), (10, 10));
}

#[test]
fn a_given_factor_is_taken_and_its_evidence_told() {
    let mut sample = Training::f32(30_000, 500, 0.8, 0.02).sample(1);
    sample.decay = Some(0.8);
    let (decided, evidence) = decide(std::slice::from_ref(&sample));
    assert_eq!((decided[0].decay, evidence[0].found), (0.8, true));
    sample.decay = Some(0.81);
    let (decided, evidence) = decide(&[sample]);
    assert_eq!((decided[0].decay, evidence[0].found), (0.81, false));
    assert_eq!(decided[0].threshold, Threshold::Nothing);
}

fn f64s(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    let tensor = checkpoint.tensor(name).unwrap();
    let mut out = vec![0.0; tensor.shape.elements()];
    tensor.float().unwrap().decode(tensor.bytes(), &mut out);
    out
}

/// Runs `analyze` with both left to the weights. The report, and the places called sleeping, found by the
/// report's factors and thresholds and counted against it.
fn sleeping(folder: &str) -> (Value, BTreeSet<(String, usize)>) {
    let scratch = Scratch::new();
    let folder = root().join(folder);
    let trained = folder.join("trained.safetensors");
    let mut config = shipped_config(&folder);
    config["init"] = json!({"output": "init.safetensors"});
    config["analyze"] = json!({"threshold": "auto", "decay": "auto", "report": {"json": "report.json"}});
    scratch.write("x.yaml", config.to_string());
    let ran = scratch.run(&["run", "x.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: Value = serde_json::from_slice(&std::fs::read(scratch.path("report.json")).unwrap()).unwrap();
    let (initial, trained) =
        (Checkpoint::open(&scratch.path("init.safetensors")).unwrap(), Checkpoint::open(&trained).unwrap());
    let mut places = BTreeSet::new();
    for tensor in report["tensors"].as_array().unwrap() {
        let name = tensor["name"].as_str().unwrap();
        let dtype = trained.tensor(name).unwrap().float().unwrap();
        let decay = tensor["decay"].as_f64().unwrap();
        let mut count = 0;
        for (n, (w, w0)) in f64s(&trained, name).iter().zip(f64s(&initial, name)).enumerate() {
            let expected = decay * w0;
            let sleeps = match &tensor["threshold"] {
                Value::Number(x) => (w - expected).abs() <= x.as_f64().unwrap(),
                Value::String(none) => {
                    assert_eq!(none, "none");
                    false
                }
                form => match form["relative"].as_f64() {
                    Some(x) => (w - expected).abs() <= x * expected.abs(),
                    None => dtype.ulps_between(*w, dtype.round(expected)) <= form["ulps"].as_u64().unwrap(),
                },
            };
            if sleeps {
                count += 1;
                places.insert((name.to_owned(), n));
            }
        }
        assert_eq!(tensor["sleeping_weights"], count, "{name}");
    }
    (report, places)
}

fn tensor<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["tensors"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap()
}

/// The border of two pixels around 32 x 32, which is always black: 240 inputs of 64 neurons.
fn border() -> BTreeSet<(String, usize)> {
    let dead = |column: usize| {
        let (row, column) = (column / 32, column % 32);
        !(2..30).contains(&row) || !(2..30).contains(&column)
    };
    (0..64 * 1024).filter(|n| dead(n % 1024)).map(|n| ("fc1.weight".to_owned(), n)).collect()
}

/// Recall of at least 0.999, precision of at least 0.97, and the factor to 1e-5 are what this tool promises;
/// pinned is what it reaches.
#[test]
fn dead_inputs_without_decay() {
    let (report, found) = sleeping("examples/data/mlp_pad_sgd");
    assert_eq!((border().len(), found.len(), border().difference(&found).count()), (15_360, 15_442, 0));
    let fc1 = tensor(&report, "fc1.weight");
    assert_eq!((&fc1["decay"], &fc1["own_evidence"]), (&1.0.into(), &true.into()));
    assert_eq!((fc1["sleeping_inputs"].as_u64(), fc1["sleeping_outputs"].as_u64()), (Some(240), Some(0)));
}

#[test]
fn dead_inputs_under_coupled_decay() {
    let (report, found) = sleeping("tests/data/mlp_pad_sgdm_wd");
    assert_eq!((found.len(), border().difference(&found).count()), (15_522, 0));
    let decay = tensor(&report, "fc1.weight")["decay"].as_f64().unwrap();
    // `ratio_quantiles` of the facts: the median of w / w0 over the border.
    assert!((decay / 0.3922054816829318 - 1.0).abs() < 1e-8, "{decay:?}");
    // By theory 0.3922053.
    assert!((decay / 0.3922053462338752 - 1.0).abs() < 1e-5, "{decay:?}");
}

#[test]
fn tokens_never_seen_under_decoupled_decay() {
    let (report, found) = sleeping("tests/data/byte_lm_adamw");
    let facts = facts(&root().join("tests/data/byte_lm_adamw"));
    let rows = facts["untouched_rows"].as_array().unwrap();
    let row = |row: &Value| {
        let row = row.as_u64().unwrap() as usize;
        (64 * row..64 * (row + 1)).map(|n| ("tok_emb.weight".to_owned(), n))
    };
    let truth: BTreeSet<_> = rows.iter().flat_map(row).collect();
    assert_eq!((truth.len(), found == truth), (9_536, true));
    let embedding = tensor(&report, "tok_emb.weight");
    let decay = embedding["decay"].as_f64().unwrap();
    assert!((decay / 0.7866339628282469 - 1.0).abs() < 1e-8, "{decay:?}");
    assert_eq!(embedding["sleeping_outputs"], 149);
}

#[test]
fn two_byte_weights_that_never_left_their_value() {
    let (report, found) = sleeping("examples/data/mlp_bf16_sgd");
    // `sleeping_totals` of the facts at 0: bit-identical weights.
    assert_eq!(found.len(), 21_546);
    assert_eq!(tensor(&report, "fc1.weight")["decay"], 1.0);
    assert_eq!(tensor(&report, "fc1.weight")["threshold"], serde_json::json!({"ulps": 0}));
}

/// The network has next to nothing to give: a few weights of its first linear layer, whose inputs are dead,
/// lie in a narrow heap at the factor that theory gives, 0.986058.
#[test]
fn next_to_nothing_sleeps_in_the_convolutional_network() {
    let (report, found) = sleeping("tests/data/cnn_adamw");
    assert_eq!(found.len(), 343);
    assert!(found.iter().all(|(name, _)| name == "fc1.weight"));
    let decay = tensor(&report, "fc1.weight")["decay"].as_f64().unwrap();
    assert!((decay / 0.9860580319282841 - 1.0).abs() < 3e-5, "{decay:?}");
    assert!(report["totals"]["sleeping_percentage"].as_f64().unwrap() < 1.5);
}
