//! What decides which places are pruned: small cases whose result can be counted by hand, every error that a
//! person can meet, and the same bytes on any number of threads. `tests/python/test_decisions.py` holds all
//! combinations of criteria, structures and scopes against NumPy.

use std::path::Path;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::config::Settings;
use cdi_prune::prune::Target;
use serde_json::Value;

use crate::common::{Scratch, f32s, root};

const F32: &str = "F32";

/// Two tensors whose initial values are zero everywhere, and a third of unknown ones.
fn scratch(prune: &str) -> Scratch {
    let s = Scratch::new();
    s.safetensors(
        "trained.safetensors",
        &[
            ("a", F32, &[2, 4], f32s(&[0.5, -0.25, 4.0, 1.0, 0.25, -3.0, 2.0, -0.0])),
            ("b", F32, &[2, 2], f32s(&[0.125, f32::NAN, -0.25, 8.0])),
            ("free", F32, &[3], f32s(&[1.0, 0.25, 2.0])),
        ],
    );
    configure(&s, prune);
    s
}

fn configure(s: &Scratch, prune: &str) {
    let config = format!(
        "seed: 1
rules: [{{match: free, init: none}}, {{match: '*', init: zeros}}]
trained: {{path: trained.safetensors}}
analyze: {{threshold: 0.25, report: {{json: report.json}}}}
prune:
  output: pruned.safetensors
  {}
",
        prune.replace('\n', "\n  ")
    );
    s.write("x.yaml", config);
}

/// Prunes and gives a tensor of the restored file.
fn restored(s: &Scratch, name: &str) -> Vec<f32> {
    for args in [&["run", "x.yaml"][..], &["restore", "pruned.safetensors", "-o", "back.safetensors"]] {
        let ran = s.run(args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let back = Checkpoint::open(&s.path("back.safetensors")).unwrap();
    let bytes = back.tensor(name).unwrap().bytes();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn fails(prune: &str, code: i32, message: &str) {
    fails_in(&scratch(prune), code, message);
}

fn fails_in(s: &Scratch, code: i32, message: &str) {
    let ran = s.run(&["prune", &s.path("x.yaml").display().to_string()]);
    assert_eq!(ran.stderr.trim_end(), format!("error: {message}"));
    assert_eq!(ran.code, code);
    assert!(!s.path("pruned.safetensors").exists());
}

fn config_error(prune: &str) -> String {
    let text = format!("seed: 1\nprune: {{output: a, {prune}}}\n");
    Settings::parse(&text, Path::new("x.yaml"), &[]).unwrap_err().to_string()
}

#[test]
fn half_of_a_tensor_goes_and_of_equals_the_first() {
    let s = scratch("criterion: magnitude\ntarget: {sparsity: 0.5}");
    // |-0.0| and the first of the two 0.25; then the second, then 0.5.
    assert_eq!(restored(&s, "a"), [0.0, 0.0, 4.0, 1.0, 0.0, -3.0, 2.0, 0.0]);
    assert_eq!(restored(&s, "a")[7].to_bits(), 0);
    let b = restored(&s, "b");
    assert!(b[1].is_nan());
    assert_eq!([b[0], b[2], b[3]], [0.0, 0.0, 8.0]);
    // 1.5 of 3 is rounded to the even 2. The criterion needs no initial value.
    assert_eq!(restored(&s, "free"), [0.0, 0.0, 2.0]);
    let report: Value = serde_json::from_slice(&std::fs::read(s.path("report.json")).unwrap()).unwrap();
    assert_eq!(report["totals"]["pruned_weights"], 8);
    assert_eq!(report["tensors"][2]["action"], "pruned");
}

#[test]
fn a_global_ranking_takes_tensors_in_name_order() {
    let s = scratch("criterion: magnitude\nscope: global\ntarget: {keep: 11}");
    // 4 of 15 go: 0, 0.125, then two of the four 0.25: those of `a`.
    assert_eq!(restored(&s, "a"), [0.5, 0.0, 4.0, 1.0, 0.0, -3.0, 2.0, 0.0]);
    let b = restored(&s, "b");
    assert_eq!([b[0], b[2], b[3]], [0.0, -0.25, 8.0]);
    assert_eq!(restored(&s, "free"), [1.0, 0.25, 2.0]);
}

#[test]
fn what_needs_initial_values_keeps_tensors_without() {
    let s = scratch("criterion: movement\ntarget: {sparsity: 1}");
    assert_eq!(restored(&s, "free"), [1.0, 0.25, 2.0]);
    // A weight that is no number stays, whatever the target.
    let b = restored(&s, "b");
    assert!(b[1].is_nan() && [b[0], b[2], b[3]] == [0.0; 3]);
}

#[test]
fn rules_and_small_tensors() {
    let s = scratch(
        "criterion: magnitude\ntarget: {sparsity: 1}\nmin_elements: 4\n\
         rules: [{match: a, structure: {n: 1, m: 2}}]",
    );
    assert_eq!(restored(&s, "a"), [0.5, 0.0, 4.0, 0.0, 0.0, -3.0, 2.0, 0.0]);
    assert_eq!(restored(&s, "free"), [1.0, 0.25, 2.0]);
}

#[test]
fn scores_of_a_file() {
    let scores = |s: &Scratch, a: (&[usize], Vec<f32>)| {
        s.safetensors(
            "scores.safetensors",
            &[
                ("a", F32, a.0, f32s(&a.1)),
                ("b", "BF16", &[2, 2], vec![0, 0, 0, 0x40, 0x80, 0x3f, 0, 0xc0]),
                ("free", F32, &[3], f32s(&[0.0, 1.0, -1.0])),
            ],
        );
    };
    let s = scratch("criterion: {scores: scores.safetensors}\ntarget: {sparsity: 0.5}");
    scores(&s, (&[2, 4], vec![8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]));
    assert_eq!(restored(&s, "a"), [0.5, -0.25, 4.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    // 0 and -2 are the smallest of 0, 2, 1 and -2.
    let b = restored(&s, "b");
    assert_eq!([b[0], b[2], b[3]], [0.0, -0.25, 0.0]);
    assert_eq!(restored(&s, "free"), [0.0, 0.25, 0.0]);
    // Norms of input channels: 1, 8, 0.25 and 0, times magnitudes: 0.5, 2, 1, 0; 0.25, 24, 0.5, 0.
    scores(&s, (&[4], vec![1.0, 8.0, 0.25, 0.0]));
    assert_eq!(restored(&s, "a"), [0.0, -0.25, 4.0, 0.0, 0.0, -3.0, 2.0, 0.0]);
    configure(&s, "criterion: {scores: scores.safetensors}\ntarget: {sparsity: 0.5}\nscope: row");
    assert_eq!(restored(&s, "a"), [0.0, -0.25, 4.0, 0.0, 0.0, -3.0, 2.0, 0.0]);
}

#[test]
fn scores_that_cannot_serve() {
    let s = scratch(
        "criterion: {scores: scores.safetensors}\ntarget: {sparsity: 0.5}\nrules: [{match: 'free', keep: true}]",
    );
    let ran = s.run(&["prune", &s.path("x.yaml").display().to_string()]);
    assert_eq!((ran.code, ran.stderr.starts_with("error: DIR/scores.safetensors: cannot open")), (1, true));
    let b = || ("b", F32, &[2usize, 2][..], f32s(&[1.0; 4]));
    let at = "DIR/scores.safetensors: tensor `a`, which provides scores,";
    s.safetensors("scores.safetensors", &[b()]);
    fails_in(&s, 1, &format!("{at} is missing there"));
    s.safetensors("scores.safetensors", &[("a", "I32", &[2, 4], vec![0; 32]), b()]);
    fails_in(&s, 1, &format!("{at} is I32 there, expected F64, F32, F16 or BF16"));
    s.safetensors("scores.safetensors", &[("a", F32, &[3], f32s(&[1.0; 3])), b()]);
    let message =
        "has shape [3] there, expected [2, 4] for a score per weight, or [4] for a norm per input channel";
    fails_in(&s, 1, &format!("{at} {message}"));
    s.safetensors("scores.safetensors", &[("a", F32, &[4], f32s(&[1.0, 2.0, -0.5, 1.0])), b()]);
    let message = "has the norm -0.5 for input channel 2, expected a finite number of at least 0";
    fails_in(&s, 1, &format!("{at} {message}"));
    let scores = [1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN, 7.0, 8.0];
    s.safetensors("scores.safetensors", &[("a", F32, &[2, 4], f32s(&scores)), b()]);
    fails_in(&s, 1, &format!("{at} has the score NaN at position 5, expected a finite number"));
    s.safetensors("pruned.safetensors", &[("a", F32, &[4], f32s(&[1.0; 4])), b()]);
    configure(
        &s,
        "criterion: {scores: pruned.safetensors}\ntarget: {sparsity: 0.5}\nrules: [{match: 'free', keep: true}]",
    );
    let ran = s.run(&["prune", &s.path("x.yaml").display().to_string()]);
    assert_eq!(ran.code, 2);
    let message = "the scores of `prune` and `prune.output` are the same file (DIR/pruned.safetensors): an output must not replace an input or another output; give one of them another path";
    assert_eq!(ran.stderr.trim_end(), format!("error: {message}"));
}

#[test]
fn what_the_tensors_do_not_allow() {
    fails(
        "criterion: magnitude\nstructure: {n: 2, m: 4}",
        2,
        "DIR/x.yaml:8:14: tensor `b` has 2 inputs, which is not a multiple of 4; add `where_divisible: true` \
         to leave such tensors unchanged, or give it another structure or `keep: true` in `prune.rules`",
    );
    fails(
        "criterion: magnitude\ntarget: {sparsity: 0.5}\nrules: [{match: 'f*', structure: filters}]",
        2,
        "DIR/x.yaml:9:36: tensor `free` of shape [3] has no filters or channels, which need two dimensions; \
         give it another structure or `keep: true` in `prune.rules`",
    );
    fails(
        "criterion: magnitude\ntarget: {sparsity: 0.5}\nfill: init",
        2,
        "DIR/x.yaml:9:9: tensor `free` has `init: none`, so there is no initial value to fill in; use `fill: \
         zero`, or `keep: true` in `prune.rules`",
    );
    // 15 weights of four bytes, and a header.
    for scope in ["tensor", "global"] {
        let s =
            scratch(&format!("criterion: magnitude\nscope: {scope}\nformat: dense\ntarget: {{bytes: 100}}"));
        let ran = s.run(&["prune", &s.path("x.yaml").display().to_string()]);
        let message = "bytes, more than the 100 of `prune.target`; raise the target, or keep fewer tensors";
        assert!(ran.stderr.starts_with("error: DIR/pruned.safetensors: even with everything pruned that can be pruned, the file would have "));
        assert!(ran.stderr.trim_end().ends_with(message), "{}", ran.stderr);
        assert_eq!(ran.code, 1);
    }
}

/// A config with these rules, whose initial values are not known.
fn rules(s: &Scratch, rules: &str, prune: &str) {
    let config = format!(
        "seed: 1\nrules: [{rules}]\ntrained: {{path: trained.safetensors}}\nanalyze: {{report: {{json: report.json}}}}\n\
         prune: {{output: pruned.safetensors, criterion: magnitude, {prune}}}\n"
    );
    s.write("x.yaml", config);
}

/// Four inputs by three outputs, stored inputs first: of each output, which is a column
/// here, two inputs stay.
#[test]
fn two_of_four_and_rows_go_along_inputs() {
    let s = Scratch::new();
    let weights = [1.0, 8.0, 3.0, 2.0, 7.0, 4.0, 3.0, 6.0, 1.0, 4.0, 5.0, 2.0];
    s.safetensors("trained.safetensors", &[("a", F32, &[4, 3], f32s(&weights))]);
    let expected = [0.0, 8.0, 3.0, 0.0, 7.0, 4.0, 3.0, 0.0, 0.0, 4.0, 0.0, 0.0];
    for prune in ["structure: {n: 2, m: 4}", "scope: row, target: {sparsity: 0.5}"] {
        rules(&s, "{match: a, init: none, layout: in_out}", prune);
        assert_eq!(restored(&s, "a"), expected, "{prune}");
    }
    // As earlier releases did, whatever the columns are.
    rules(&s, "{match: a, init: none, layout: in_out}", "structure: {n: 1, m: 3, along: columns}");
    assert_eq!(restored(&s, "a"), [0.0, 8.0, 0.0, 0.0, 7.0, 0.0, 0.0, 6.0, 0.0, 0.0, 5.0, 0.0]);
    rules(&s, "{match: a, init: none, layout: in_out}", "structure: rows, target: {keep: 1}");
    assert_eq!(restored(&s, "a"), [0.0, 8.0, 0.0, 0.0, 7.0, 0.0, 0.0, 6.0, 0.0, 0.0, 5.0, 0.0]);
}

#[test]
fn what_groups_of_m_do_not_divide_can_be_left() {
    let s = Scratch::new();
    let weights = [1.0, 8.0, 3.0, 2.0, 7.0, 4.0];
    s.safetensors(
        "trained.safetensors",
        &[("a", F32, &[2, 3], f32s(&weights)), ("b", F32, &[3, 2], f32s(&weights))],
    );
    rules(&s, "{match: '*', init: none}", "structure: {n: 1, m: 2, where_divisible: true}");
    assert_eq!(restored(&s, "a"), weights);
    assert_eq!(restored(&s, "b"), [0.0, 8.0, 3.0, 0.0, 7.0, 0.0]);
    let report: Value = serde_json::from_slice(&std::fs::read(s.path("report.json")).unwrap()).unwrap();
    assert_eq!([0, 1].map(|n| report["tensors"][n]["action"].clone()), ["kept", "pruned"]);
    let plan = s.run(&["plan", "x.yaml"]);
    assert!(
        plan.stdout.lines().any(|line| line.starts_with("│ a ") && line.contains("kept")),
        "{}",
        plan.stdout
    );
}

/// `a` and `b` hold the same values, `c` others, `d` and `e` one value each.
fn tied(prune: &str) -> Scratch {
    let s = Scratch::new();
    let (one, other) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]);
    s.safetensors(
        "trained.safetensors",
        &[
            ("a", F32, &[2, 3], f32s(&one)),
            ("b", F32, &[2, 3], f32s(&one)),
            ("c", F32, &[2, 3], f32s(&other)),
            ("d", F32, &[4], f32s(&[9.0; 4])),
            ("e", F32, &[4], f32s(&[9.0; 4])),
        ],
    );
    rules(&s, "{match: '*', init: none}", prune);
    s
}

#[test]
fn tied_tensors_lose_the_same_places_and_count_once() {
    // Twelve of `a` and `c` and eight of `d` and `e`, of which six go. As three tensors of six, nine would.
    let s = tied("scope: global, target: {keep: 14}");
    for name in ["a", "b"] {
        assert_eq!(restored(&s, name), [0.0, 0.0, 0.0, 4.0, 5.0, 6.0], "{name}");
    }
    assert_eq!(restored(&s, "c"), [0.0, 0.0, 0.0, 4.5, 5.5, 6.5]);
    assert_eq!(restored(&s, "e"), [9.0; 4]);
    // The same of groups.
    let s = tied("scope: global, structure: rows, target: {keep: 4}");
    for name in ["a", "b"] {
        assert_eq!(restored(&s, name), [0.0, 0.0, 0.0, 4.0, 5.0, 6.0], "{name}");
    }
    // At random too, by the first name, and not where they are one value, unless they are named.
    let random = |more: &str| {
        let s = tied("target: {sparsity: 0.5}");
        let config = std::fs::read_to_string(s.path("x.yaml")).unwrap();
        s.write("x.yaml", config.replace("criterion: magnitude", &format!("criterion: random{more}")));
        ["a", "b", "d", "e"].map(|name| restored(&s, name).iter().map(|w| *w == 0.0).collect::<Vec<_>>())
    };
    let [a, b, d, e] = random("");
    assert!(a == b && d != e, "{a:?} {b:?} {d:?} {e:?}");
    let [a, b, d, e] = random(", tied: [[e, d], [b, a]]");
    assert!(a == b && d == e, "{a:?} {b:?} {d:?} {e:?}");
}

/// A size of the file counts both.
#[test]
fn a_size_counts_copies() {
    let s = Scratch::new();
    let weights: Vec<f32> = (0..4000).map(|n| 1.0 + (n * 7 % 4001) as f32).collect();
    s.safetensors(
        "trained.safetensors",
        &[("a", F32, &[40, 100], f32s(&weights)), ("b", F32, &[40, 100], f32s(&weights))],
    );
    for scope in ["tensor", "global"] {
        rules(
            &s,
            "{match: '*', init: none}",
            &format!("scope: {scope}, target: {{bytes: 20kB}}, format: sparse"),
        );
        assert_eq!(restored(&s, "a"), restored(&s, "b"));
        let size = || std::fs::metadata(s.path("pruned.safetensors")).unwrap().len();
        assert!((19_000..=20_000).contains(&size()), "{scope}: {}", size());
        // Coded, all of it would take 12,922 bytes.
        rules(&s, "{match: '*', init: none}", &format!("scope: {scope}, target: {{bytes: 8kB}}"));
        assert_eq!(restored(&s, "a"), restored(&s, "b"));
        assert!((7_800..=8_000).contains(&size()), "{scope}: {}", size());
    }
}

#[test]
fn tensors_that_are_not_tied() {
    let say = |second: &str, column: usize, why: &str| {
        format!(
            "DIR/x.yaml:5:{column}: `a` and `{second}` are listed as tied, but {why}; remove them from \
             `prune.tied`"
        )
    };
    let check = |more: &str, message: String| {
        fails_in(&tied(&format!("target: {{keep: 1}}, tied: {more}")), 2, &message)
    };
    check("[[a, c]]", say("c", 89, "do not have the same bytes"));
    check("[[a, d]]", say("d", 89, "do not have one type and shape"));
    check("[[a, x]]", say("x", 89, "are not both in the trained checkpoint"));
    check(
        "[[a, b]], rules: [{match: b, keep: true}]",
        say("b", 89, "are pruned by different rules, or one of them is kept"),
    );
    assert_eq!(
        config_error("tied: [[a]]"),
        "x.yaml:2:27: `prune.tied[0]`: expected at least two names, got 1"
    );
    assert_eq!(
        config_error("tied: [[a, b], [c, b]]"),
        "x.yaml:2:39: `prune.tied[1][1]`: expected each name once, got `b` again"
    );
}

/// Where a config says nothing of a layout, experts are told by their name, and `plan` says so.
#[test]
fn stacked_experts_are_told_by_their_name() {
    let s = Scratch::new();
    let stack = |name| (name, F32, &[2usize, 2, 2][..], f32s(&[1.0; 8]));
    s.safetensors(
        "trained.safetensors",
        &[stack("mlp.experts.down"), stack("mlp.experts.up"), stack("my_experts")],
    );
    let said = "mlp.experts.down and 1 more: read as stacked experts, [expert, out, in], because of the \
                name. If inputs come first, or these are not experts, add a `layout` to the rule.";
    for (layout, experts, other, told) in [
        ("", "[expert, out, in]", "out_in", true),
        (", layout: out_in", "out_in", "out_in", false),
        (", layout: in_out", "in_out", "in_out", false),
        (", layout: [expert, in, out]", "[expert, in, out]", "[expert, in, out]", false),
    ] {
        rules(&s, &format!("{{match: '**', init: none{layout}}}"), "target: {sparsity: 0.5}");
        let plan = s.run(&["plan", "x.yaml"]);
        assert_eq!(plan.stdout.lines().any(|line| line == said), told, "{}", plan.stdout);
        let rows = s.run(&["plan", "x.yaml", "--format", "json"]);
        let rows: Value = serde_json::from_str(&rows.stdout).unwrap();
        assert_eq!((&rows[0]["layout"], &rows[2]["layout"]), (&experts.into(), &other.into()));
    }
    // The standard deviation of one expert's own inputs: sqrt(2 / 256), not sqrt(2 / (64 * 256)).
    s.write(
        "x.yaml",
        "{seed: 1, model: {tensors: {experts.down_proj: [8, 64, 256]}}, rules: [{match: '**', init: {mode: he, fan: in}}], \
         init: {output: i.safetensors}}",
    );
    let ran = s.run(&["init", "x.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    let file = std::fs::read(s.path("i.safetensors")).unwrap();
    let values = safetensors::SafeTensors::deserialize(&file).unwrap();
    let data = values.tensor("experts.down_proj").unwrap().data().to_vec();
    let values: Vec<f64> =
        data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
    let variance = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
    assert!((variance.sqrt() / (2.0f64 / 256.0).sqrt() - 1.0).abs() < 0.01, "{}", variance.sqrt());
}

#[test]
fn layouts_that_tensors_do_not_have() {
    let s = Scratch::new();
    s.safetensors("trained.safetensors", &[("a", F32, &[2, 2, 2], f32s(&[1.0; 8]))]);
    let layout = |layout: &str| format!("{{match: a, init: none, layout: {layout}}}");
    rules(&s, &layout("[out, in]"), "target: {sparsity: 0.5}");
    fails_in(
        &s,
        2,
        "DIR/x.yaml:2:40: tensor `a`: its shape [2, 2, 2] has 3 dimensions, but its layout [out, in] has 2; \
         give it a separate rule with another `layout`",
    );
    rules(&s, &layout("[in, out, kernel]"), "structure: {n: 1, m: 2, along: inputs}");
    fails_in(
        &s,
        2,
        "DIR/x.yaml:5:70: tensor `a` has its outputs between inputs and kernel, in its layout [in, out, \
         kernel], but `along: inputs` needs those side by side; use `along: input_channels`",
    );
    rules(&s, &layout("[expert, out, in]"), "criterion: {scores: s.safetensors}, target: {sparsity: 0.5}");
    let config = std::fs::read_to_string(s.path("x.yaml")).unwrap().replace("criterion: magnitude, ", "");
    s.write("x.yaml", config);
    s.safetensors("s.safetensors", &[("a", F32, &[3], f32s(&[1.0; 3]))]);
    fails_in(
        &s,
        1,
        "DIR/s.safetensors: tensor `a`, which provides scores, has shape [3] there, expected [2, 2, 2] for a \
         score per weight, or [2] or [2, 2] for a norm per input channel, of all experts or of each",
    );
}

#[test]
fn what_makes_no_sense_together() {
    let needs_a_number = "expected sleeping or nearest with `target: threshold`, the default; other criteria \
                          need the target {sparsity: x}, {keep: n} or {bytes: SIZE}";
    for (prune, column, message) in [
        ("criterion: random", 31, format!("`prune.criterion`: {needs_a_number}, got the text `random`")),
        (
            "rules: [{match: a, criterion: movement}]",
            50,
            format!("`prune.rules[0].criterion`: {needs_a_number}, got the text `movement`"),
        ),
        (
            "criterion: random, target: {keep: 1}, rules: [{match: a, target: threshold}]",
            85,
            format!("`prune.rules[0].target`: {needs_a_number}, got it with another criterion"),
        ),
        (
            "structure: {n: 2, m: 4}, target: {keep: 1}",
            53,
            "`prune.target`: expected no target, because the structure n of m determines how many weights \
             are kept, got one"
                .to_owned(),
        ),
        (
            "structure: {n: 2, m: 4}, scope: global",
            52,
            "`prune.scope`: expected no scope, because the structure n of m ranks each group of m, got one"
                .to_owned(),
        ),
        (
            "target: {sparsity: [0.1, 0.2]}, scope: global",
            28,
            "`prune.target`: expected one sparsity with `scope: global`, got a list of them".to_owned(),
        ),
        (
            "target: {keep: 1}, scope: row, structure: rows",
            62,
            "`prune.structure`: expected unstructured with `scope: row`, got another structure".to_owned(),
        ),
        (
            "target: {bytes: 1kB}, scope: row",
            28,
            "`prune.target`: expected {sparsity: x} or {keep: n} with `scope: row`, got {bytes: …}"
                .to_owned(),
        ),
        (
            "target: {keep: 1}, scope: global, floor: 0.5, ceiling: 0.25",
            61,
            "`prune.floor`: expected at most the ceiling, 0.25, got 0.5".to_owned(),
        ),
        (
            "target: {keep: 1}, floor: 0.5",
            46,
            "`prune.floor`: expected no floor or ceiling without `scope: global` and the target {sparsity: \
             x}, {keep: n} or {bytes: SIZE}, got one"
                .to_owned(),
        ),
        (
            "rules: [{match: a, target: {bytes: 1kB}}]",
            47,
            "`prune.rules[0].target`: expected another target; `bytes` limits the whole file, so it works \
             only in `prune.target`, got {bytes: …}"
                .to_owned(),
        ),
        (
            "target: {bytes: 1kB}, rules: [{match: a, structure: rows}]",
            72,
            "`prune.rules[0].structure`: expected a target of its own for it, because `{bytes: …}` in \
             `prune.target` needs a single ranking, got none"
                .to_owned(),
        ),
        (
            "rules: [{match: a, keep: true, scope: row}]",
            58,
            "`prune.rules[0].scope`: expected no such key together with `keep: true`, which leaves the \
             tensors unchanged, got one"
                .to_owned(),
        ),
    ] {
        assert_eq!(config_error(prune), format!("x.yaml:2:{column}: {message}"), "{prune}");
    }
}

#[test]
fn values_that_no_key_has() {
    for (prune, column, message) in [
        (
            "criterion: [1]",
            31,
            "`prune.criterion`: expected sleeping, magnitude, movement, magnitude_increase, nearest, random or {scores: \
             FILE}, got a list",
        ),
        ("criterion: {file: a}", 32, "unknown key `file` in `prune.criterion`; the keys are scores"),
        (
            "target: treshold",
            28,
            "`prune.target` cannot be `treshold` (did you mean `threshold`?); the values are threshold",
        ),
        (
            "target: 0.5",
            28,
            "`prune.target`: expected threshold, {sparsity: x}, {keep: n} or {bytes: SIZE}, got 0.5",
        ),
        (
            "target: {}",
            28,
            "`prune.target`: expected exactly one of sparsity, keep and bytes, got an empty \
                            mapping",
        ),
        (
            "target: {keep: 1, sparsity: 1}",
            28,
            "`prune.target`: expected exactly one of sparsity, keep and bytes, got several",
        ),
        ("target: {sparsity: 70}", 39, "`prune.target.sparsity`: expected a number from 0 to 1, got 70"),
        (
            "target: {sparsity: [0, 2]}",
            43,
            "`prune.target.sparsity[1]`: expected a number from 0 to 1, got 2",
        ),
        (
            "target: {sparsity: []}",
            39,
            "`prune.target.sparsity`: expected a number from 0 to 1 or a list of them, got an empty list",
        ),
        ("target: {keep: -1}", 35, "`prune.target.keep`: expected a whole number of at least 0, got -1"),
        (
            "target: {bytes: 4 megs}",
            36,
            "`prune.target.bytes`: expected a whole number of bytes above 0, such as 10MB (10^6), 10MiB (2^20) or 5GB, \
             got the text `4 megs`",
        ),
        (
            "scope: globl",
            27,
            "`prune.scope` cannot be `globl` (did you mean `global`?); the values are tensor, global, row",
        ),
        (
            "structure: row",
            31,
            "`prune.structure` cannot be `row` (did you mean `rows`?); the values are unstructured, rows, columns, \
             filters, channels",
        ),
        (
            "structure: {n: 2}",
            31,
            "`prune.structure`: expected unstructured, rows, columns, filters, channels, {n: 2, m: 4} or {block: [4, \
             4]}, got other keys together",
        ),
        (
            "structure: {n: 3, m: 2}",
            31,
            "`prune.structure`: expected n of m to keep, with n at most m, got 3 of 2",
        ),
        ("structure: {n: 0, m: 2}", 35, "`prune.structure.n`: expected a whole number above 0, got 0"),
        (
            "structure: {n: 2, m: 4, along: input}",
            51,
            "`prune.structure.along` cannot be `input` (did you mean `inputs`?); the values are inputs, input_channels, \
             columns",
        ),
        (
            "structure: {n: 2, m: 4, along: 1}",
            51,
            "`prune.structure.along`: expected inputs, input_channels or columns, got 1",
        ),
        (
            "structure: {block: [2, 2], where_divisible: true}",
            31,
            "`prune.structure`: expected unstructured, rows, columns, filters, channels, {n: 2, m: 4} or {block: [4, \
             4]}, got other keys together",
        ),
        ("structure: {block: 4}", 39, "`prune.structure.block`: expected [rows, columns], got 4"),
        ("structure: {block: [4]}", 39, "`prune.structure.block`: expected [rows, columns], got a list of 1"),
        (
            "structure: {block: [4, 0]}",
            43,
            "`prune.structure.block[1]`: expected a whole number above 0, got 0",
        ),
        (
            "min_elements: many",
            34,
            "`prune.min_elements`: expected a whole number of at least 0, got the text `many`",
        ),
        ("floor: 1.5", 27, "`prune.floor`: expected a number from 0 to 1, got 1.5"),
    ] {
        assert_eq!(config_error(prune), format!("x.yaml:2:{column}: {message}"), "{prune}");
    }
}

/// Several blocks, rows longer than one, and many equal weights.
#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let s = Scratch::new();
    let weight = |n: usize| match n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 {
        hash if hash % 3 > 0 => 0.0,
        hash => (hash % 1024) as f32 / 64.0 - 8.0,
    };
    let weights = |n: usize, salt: usize| f32s(&(0..n).map(|i| weight(i + salt)).collect::<Vec<_>>());
    s.safetensors(
        "trained.safetensors",
        &[
            ("long", F32, &[2, 90_000], weights(180_000, 1)),
            ("many", F32, &[400, 700], weights(280_000, 7)),
            ("small", F32, &[50], weights(50, 9)),
            ("turned", F32, &[6, 70_000], weights(420_000, 3)),
            ("experts", F32, &[3, 120, 600], weights(216_000, 5)),
        ],
    );
    for decision in [
        "criterion: magnitude, scope: global, target: {sparsity: 0.5}",
        "criterion: magnitude, scope: global, target: {sparsity: 0.9}, floor: 0.2, ceiling: 0.95",
        "criterion: magnitude, scope: global, target: {bytes: 500kB}",
        "criterion: movement, scope: row, target: {sparsity: 0.8}",
        "criterion: nearest, target: {sparsity: 0.75}",
        "criterion: random, structure: {n: 1, m: 50, where_divisible: true}",
        "criterion: movement, structure: {n: 1, m: 3, where_divisible: true}",
        "criterion: magnitude, structure: columns, target: {keep: 30}",
        "criterion: sleeping, structure: {block: [7, 9]}, scope: global, target: {sparsity: 0.4}",
    ] {
        let config = format!(
            "{{seed: 1, rules: [{{match: turned, init: he, layout: in_out}}, {{match: experts, init: he, layout: [expert, \
             in, out]}}, {{match: '*', init: he}}], trained: {{path: \
             trained.safetensors}}, prune: {{output: pruned.safetensors, {decision}}}}}"
        );
        s.write("x.yaml", config);
        let files = ["1", "2", "3"].map(|threads| {
            let ran = s.run(&["prune", "x.yaml", "--threads", threads]);
            assert_eq!(ran.code, 0, "{decision}: {}", ran.stderr);
            std::fs::read(s.path("pruned.safetensors")).unwrap()
        });
        assert!(files[0] == files[1] && files[0] == files[2], "{decision}");
    }
}

/// The config of docs/pruning.md is one.
#[test]
fn the_documented_config_is_accepted() {
    let page = std::fs::read_to_string(root().join("docs/pruning.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let settings = Settings::parse(&format!("seed: 1\n{text}"), Path::new("x.yaml"), &[]).unwrap();
    let prune = settings.prune.unwrap();
    assert_eq!(prune.decision("h0.attn.bias"), None);
    let embedding = prune.decision("embed.weight").unwrap();
    assert_eq!((embedding.min_elements, &embedding.target), (1000, &Target::Sparsity(vec![0.3])));
}
