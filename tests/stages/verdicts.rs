//! The verdict says what the weights bear out and no more: of the shipped checkpoints, whose counts NumPy
//! found, and of reports made up for the cases that they do not show.

use cdi_prune::analysis::{Evidence, RatioHistogram, Threshold};
use cdi_prune::report::{Changes, Report, ReportTensor, Totals, verdict};

use crate::common::{Scratch, root, shipped_config};

/// The last line of what `analyze` prints on a shipped checkpoint.
fn shipped(name: &str, threshold: &str, decay: &str) -> String {
    let folders = ["examples/data", "tests/data"].map(|parent| root().join(parent).join(name));
    let folder = folders.iter().find(|folder| folder.exists()).unwrap();
    let s = Scratch::new();
    s.write("x.yaml", shipped_config(folder).to_string());
    let set = [format!("analyze.threshold={threshold}"), format!("analyze.decay={decay}")];
    let ran = s.run(&["analyze", "x.yaml", "--set", &set[0], "--set", &set[1]]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.lines().last().unwrap().to_owned()
}

/// 15,442 and 21,546: `sleeping_totals` at 0. 9,536: 149 bytes never seen, of 64 weights each. 15,522 and
/// 343: counted in NumPy at these factors and thresholds. What chance would put there and the heights of the
/// peaks are the tool's own.
#[test]
fn what_the_weights_tell() {
    for (name, expected) in [
        (
            "mlp_pad_sgd",
            "15,442 of 68,010 weights (22.7 %) are sleeping: they still have exactly their initial value (peak 231,600 \
             times its background; fewer than 1 expected by chance).",
        ),
        (
            "mlp_bf16_sgd",
            "21,546 of 50,890 weights (42.3 %) are sleeping: they still have exactly their initial value (peak 25 times \
             its background; about 870 expected by chance).",
        ),
        (
            "mlp_pad_sgdm_wd",
            "15,522 of 68,010 weights (22.8 %) were touched only by weight decay: they equal 0.392205 x \
             their initial value (peak 7,792 times its background; about 13 expected by chance).",
        ),
        (
            "byte_lm_adamw",
            "9,536 of 136,448 weights (7.0 %) were touched only by weight decay: they equal 0.786634 x their \
             initial value (peak of 2,575 with none next to it; none expected by chance).",
        ),
        (
            "cnn_adamw",
            "343 of 39,418 weights (0.9 %) were touched only by weight decay: they equal 0.986039 x their \
             initial value (peak 1,214 times its background; about 1 expected by chance).",
        ),
    ] {
        assert_eq!(shipped(name, "auto", "auto"), expected);
    }
}

/// 980, 9,537 and 1: NumPy.
#[test]
fn what_a_given_threshold_tells() {
    assert_eq!(
        shipped("cnn_adamw", "1e-3", "none"),
        "980 of 39,418 weights (2.5 %) are within the threshold, |w - w0| <= 0.001. This includes weights \
         that only moved slowly."
    );
    assert_eq!(
        shipped("byte_lm_adamw", "{relative: 1.0e-4}", "0.786634"),
        "9,537 of 136,448 weights (7.0 %) are within the threshold, |w - s w0| <= 1e-4 |s w0| with s = \
         0.786634. This includes weights that only moved slowly."
    );
    // The weights told the factor, and their own threshold finds others.
    assert_eq!(
        shipped("byte_lm_adamw", "0", "auto"),
        "1 of 136,448 weights (<0.1 %) are within the threshold, |w - s w0| <= 0 with s = 0.786634, inferred \
         from the weights. This includes weights that only moved slowly. The weights themselves show 9,536 \
         untouched ones: use `analyze.threshold: auto`."
    );
}

/// 4: NumPy.
#[test]
fn where_nothing_sleeps() {
    assert_eq!(
        shipped("byte_lm_adamw", "0", "none"),
        "None of 136,448 weights is sleeping: training changed every one. If there was weight decay, it \
         hides the weights that it alone moved: `analyze.decay: auto` looks for its factor."
    );
    assert_eq!(
        shipped("cnn_adamw", "auto", "none"),
        "No weight can be called sleeping: of 39,336 examined, none stands out from the live ones (none has \
         exactly its initial value). This is a result, not a failure. If there was weight decay, it hides \
         the weights that it alone moved: `analyze.decay: auto` looks for its factor."
    );
    assert_eq!(
        shipped("mlp_bf16_sgd", "auto", "0.5"),
        "No weight can be called sleeping: of 50,816 examined, none stands out from the live ones at the \
         decay factor 0.5 (4 have exactly their initial value times 0.5). This is a result, not a failure."
    );
    assert_eq!(
        shipped("cnn_adamw", "{ulps: 2}", "none"),
        "None of 39,418 weights is within the threshold, w at most 2 values from w0. If there was weight \
         decay, it hides the weights that it alone moved: `analyze.decay: auto` looks for its factor."
    );
}

fn evidence(found: bool, decay: f64, sleeping: u64) -> Evidence {
    let threshold = if found { Threshold::Relative(1e-5) } else { Threshold::Nothing };
    Evidence {
        found,
        dtype: "f32".to_owned(),
        decay,
        decay_sought: true,
        threshold,
        tensors: 1,
        weights: 5000,
        sleeping,
        live_expected: if found { 2.0 } else { 0.0 },
        peak: if found { 300 } else { 0 },
        peak_live_expected: if found { 0.5 } else { 0.0 },
        valley: 0,
        histogram: RatioHistogram { zero: 7, ..RatioHistogram::default() },
    }
}

/// A report of tensors of 1000 weights: how many sleep, threshold, factor, place of the evidence.
fn report(tensors: &[(u64, Threshold, f64, Option<usize>)], evidence: Vec<Evidence>) -> Report {
    let changes = |sleeping: u64, total: u64| Changes {
        changed_weights: Some(total - sleeping),
        sleeping_weights: Some(sleeping),
        ..Changes::default()
    };
    let rows = tensors.iter().enumerate().map(|(n, (sleeping, threshold, decay, evidence))| ReportTensor {
        name: format!("t{n}"),
        total_weights: 1000,
        changes: changes(*sleeping, 1000),
        threshold: Some(*threshold),
        decay: Some(*decay),
        evidence: *evidence,
        ..ReportTensor::default()
    });
    let total = 1000 * tensors.len() as u64;
    Report {
        version: 1,
        seed: 1,
        noise_version: 1,
        config_sha256: String::new(),
        fill: None,
        totals: Totals {
            total_weights: total,
            compared_weights: total,
            changes: changes(tensors.iter().map(|t| t.0).sum(), total),
            ..Totals::default()
        },
        start: None,
        evidence,
        gates: Vec::new(),
        tune: None,
        removed: Vec::new(),
        tensors: rows.collect(),
    }
}

#[test]
fn groups_of_an_optimiser_are_told_apart() {
    let told = Threshold::Relative(1e-5);
    let report = report(
        &[
            (0, told, 0.9, Some(1)),
            (400, told, 0.9, Some(1)),
            (800, told, 0.5, Some(0)),
            (16, Threshold::Absolute(0.0), 1.0, None),
        ],
        // The sample held half of the 800 sleeping weights, so that chance put 4 among them.
        vec![evidence(true, 0.5, 400), evidence(true, 0.9, 400)],
    );
    assert_eq!(
        verdict(&report),
        "1,216 of 4,000 weights (30.4 %) are sleeping: 800 equal 0.5 x their initial value (peak 600 times its background; \
         about 4 expected by chance); 400 equal 0.9 x their initial value (peak 600 times its background; about 2 expected \
         by chance); 16 still have exactly their initial value."
    );
}

#[test]
fn what_some_tensors_tell_says_nothing_of_the_others() {
    let report = report(
        &[(400, Threshold::Relative(1e-5), 0.9, Some(0)), (0, Threshold::Nothing, 1.0, Some(1))],
        vec![evidence(true, 0.9, 400), evidence(false, 1.0, 0)],
    );
    assert_eq!(
        verdict(&report),
        "400 of 2,000 weights (20.0 %) were touched only by weight decay: they equal 0.9 x their initial \
         value (peak 600 times its background; about 2 expected by chance). Of the others, none can be \
         called sleeping: of 5,000 examined, none stands out from the live ones at any decay factor (7 have \
         exactly their initial value)."
    );
}

#[test]
fn a_factor_that_was_not_found_is_named() {
    let report = report(&[(3, Threshold::Absolute(1e-6), 1.0, Some(0))], vec![evidence(false, 1.0, 0)]);
    assert_eq!(
        verdict(&report),
        "3 of 1,000 weights (0.3 %) are within the threshold, |w - w0| <= 1e-6. This includes weights that \
         only moved slowly. No decay factor stands out among 5,000 weights, so 1 is used."
    );
}

#[test]
fn without_initial_values_there_is_no_verdict() {
    let mut report = report(&[], Vec::new());
    report.totals.total_weights = 10;
    assert_eq!(verdict(&report), "No tensor was compared: no rule gives an initial value.");
}
