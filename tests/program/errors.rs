//! Every error that a user meets at the command line beyond the config's own syntax: its words, its exit
//! code, and that no file was made, changed or lost.

use std::fs;

use serde_json::json;

use crate::common::{Ran, Scratch, Tensor, f32s, succeeds};

const CONFIG: &str = "\
seed: 1
model: {tensors: {a.weight: [2, 4], a.bias: [4]}}
rules:
  - {match: '*.weight', init: he}
  - {match: '*.bias', init: zeros}
init: {output: init.safetensors}
trained: {path: trained.safetensors}
analyze: {threshold: 0, report: {json: report.json}}
prune: {output: pruned.safetensors, format: bitmask}
";

const OUTPUTS: [&str; 3] = ["init.safetensors", "pruned.safetensors", "report.json"];

fn weight() -> Tensor<'static> {
    ("a.weight", "F32", &[2, 4], f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
}

fn bias() -> Tensor<'static> {
    ("a.bias", "F32", &[4], f32s(&[0.0, 0.0, 1.0, 0.0]))
}

/// The config, a trained checkpoint that fits it, and outputs of an earlier run.
fn scratch() -> Scratch {
    let s = Scratch::new();
    s.write("x.yaml", CONFIG);
    s.safetensors("trained.safetensors", &[weight(), bias()]);
    for output in OUTPUTS {
        s.write(output, format!("old {output}"));
    }
    s
}

/// The config with parts of it replaced.
fn change(s: &Scratch, changes: &[(&str, &str)]) {
    let mut config = CONFIG.to_owned();
    for (from, to) in changes {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, to);
    }
    s.write("x.yaml", config);
}

#[track_caller]
fn expect(ran: &Ran, code: i32, message: &str) {
    // What to do next, where training has to come first, is no error.
    let word = if code == 3 { "" } else { "error: " };
    assert_eq!(ran.stderr, format!("{word}{message}\n"), "{ran:?}");
    assert_eq!(ran.code, code, "{ran:?}");
    assert_eq!(ran.stdout, "");
}

/// Runs the program, which must fail so and leave every file as it was.
#[track_caller]
fn fails(s: &Scratch, args: &[&str], code: i32, message: &str) {
    let before = s.files();
    let ran = s.run(args);
    expect(&ran, code, message);
    assert!(s.files() == before, "files before: {:?}, after: {:?}", before.keys(), s.files().keys());
}

/// `run` fails so.
#[track_caller]
fn run_fails(s: &Scratch, code: i32, message: &str) {
    let config = s.path("x.yaml").display().to_string();
    fails(s, &["run", &config], code, message);
}

/// A pruned file to restore, `pruned.safetensors`.
fn pruned() -> Scratch {
    let s = scratch();
    succeeds(&s, &["prune", "x.yaml"]);
    s
}

/// A pruned file whose initial values are those of `base.safetensors`.
fn pruned_from_base() -> Scratch {
    let s = with_base(&[weight(), bias()]);
    succeeds(&s, &["prune", "x.yaml", "--set", "prune.fill=init"]);
    s
}

/// A config whose weights start from `base.safetensors`.
fn with_base(base: &[Tensor<'_>]) -> Scratch {
    let s = scratch();
    change(&s, &[("init: he", "init: {from: base.safetensors}")]);
    s.safetensors("base.safetensors", base);
    s
}

#[track_caller]
fn restore_fails(s: &Scratch, more: &[&str], code: i32, message: &str) {
    s.write("dense.safetensors", "old dense");
    let file = s.path("pruned.safetensors").display().to_string();
    let args = [&["restore", &file, "-o", "dense.safetensors"], more].concat();
    fails(s, &args, code, message);
}

// The trained checkpoint against the model and the rules.

#[test]
fn truncated_trained_file() {
    let s = scratch();
    let bytes = fs::read(s.path("trained.safetensors")).unwrap();
    s.write("trained.safetensors", &bytes[..bytes.len() - 1]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: truncated: the header describes a file of 184 bytes, but it has 183",
    );
    s.write("trained.safetensors", &bytes[..20]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: truncated: the header should have 128 bytes, but the file has only 12 \
         after the header length",
    );
    s.write("trained.safetensors", &bytes[..5]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: not a safetensors file: 5 bytes, shorter than the 8 bytes of a header length",
    );
}

#[test]
fn empty_trained_file() {
    let s = scratch();
    s.write("trained.safetensors", "");
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: not a safetensors file: 0 bytes, shorter than the 8 bytes of a header length",
    );
}

#[test]
fn wrong_shape() {
    let s = scratch();
    let (name, dtype, _, bytes) = weight();
    s.safetensors("trained.safetensors", &[(name, dtype, &[4, 2], bytes), bias()]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: the trained checkpoint does not fit the config: `a.weight` has shape [4, 2], expected [2, 4]",
    );
}

#[test]
fn missing_tensor() {
    let s = scratch();
    s.safetensors("trained.safetensors", &[weight()]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: the trained checkpoint does not fit the config: missing there, although \
         the model has them: `a.bias`",
    );
}

#[test]
fn trained_tensor_that_no_rule_matches() {
    let s = scratch();
    s.safetensors("trained.safetensors", &[weight(), bias(), ("a.scale", "F32", &[1], f32s(&[1.0]))]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: the trained checkpoint does not fit the config: no rule matches `a.scale` \
         (add a rule; use `init: none` if the initial value is not known)",
    );
    s.safetensors("trained.safetensors", &[weight(), bias(), ("a.norm.bias", "F32", &[1], f32s(&[1.0]))]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: the trained checkpoint does not fit the config: no rule matches `a.norm.bias` \
         (add a rule; use `init: none` if the initial value is not known); `*` stops at a dot, but `**` does \
         not: `**.bias` matches `a.norm.bias`",
    );
}

#[test]
fn everything_wrong_at_once() {
    let s = scratch();
    let (name, dtype, _, bytes) = weight();
    s.safetensors(
        "trained.safetensors",
        &[
            (name, dtype, &[8], bytes),
            ("a.scale", "F32", &[1], f32s(&[1.0])),
            ("b.scale", "BF16", &[1], vec![0, 0]),
        ],
    );
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: the trained checkpoint does not fit the config: no rule matches `a.scale`, \
         `b.scale` (add a rule; use `init: none` if the initial value is not known); missing there, although \
         the model has them: `a.bias`; `a.weight` has shape [8], expected [2, 4]",
    );
}

#[test]
fn integers_where_floats_are_expected() {
    let s = scratch();
    s.safetensors("trained.safetensors", &[weight(), ("a.bias", "I32", &[4], vec![0; 16])]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: the trained checkpoint does not fit the config: `a.bias` is I32, expected F32",
    );
}

#[test]
fn nan_is_no_error() {
    let s = scratch();
    let mut values = [0.0; 4];
    values[1] = f32::NAN;
    s.safetensors("trained.safetensors", &[weight(), ("a.bias", "F32", &[4], f32s(&values))]);
    let ran = succeeds(&s, &["analyze", "x.yaml"]);
    assert!(ran.stdout.contains("WARNING: 1 NaN in a.bias."), "{}", ran.stdout);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(s.path("report.json")).unwrap()).unwrap();
    let bias = &report["tensors"][0];
    assert_eq!(bias["name"], "a.bias");
    assert_eq!((&bias["changed_weights"], &bias["not_finite"]), (&json!(1), &json!(1)));
    assert_eq!(report["totals"]["not_finite"], 1);
}

#[test]
fn names_that_become_one_without_their_prefix() {
    let s = scratch();
    change(&s, &[("trained.safetensors}", "trained.safetensors, strip_prefix: ['module.']}")]);
    let (_, dtype, shape, bytes) = bias();
    s.safetensors("trained.safetensors", &[weight(), bias(), ("module.a.bias", dtype, shape, bytes)]);
    run_fails(
        &s,
        1,
        "DIR/trained.safetensors: tensors `a.bias` and `module.a.bias` are both called `a.bias` once `strip_prefix` is applied",
    );
}

#[test]
fn trained_is_a_pruned_file() {
    let s = pruned();
    change(&s, &[("path: trained", "path: pruned"), ("output: pruned", "output: again")]);
    run_fails(
        &s,
        1,
        "DIR/pruned.safetensors: this is a pruned file of cdi-prune, not a trained checkpoint; convert it \
         with `cdi-prune restore DIR/pruned.safetensors -o dense.safetensors`",
    );
}

#[test]
fn a_tensor_in_the_way_of_an_encodings_part() {
    let s = scratch();
    s.safetensors("trained.safetensors", &[weight(), bias(), ("a.weight.bitmask", "U8", &[1], vec![0])]);
    let message = "DIR/trained.safetensors: tensor `a.weight.bitmask` has the name that a part of the encoded tensor `a.weight` would have; set `format: dense` or a prune rule with `keep: true` for `a.weight`";
    run_fails(&s, 1, message);
    let config = s.path("x.yaml").display().to_string();
    fails(&s, &["prune", &config], 1, message);
    succeeds(&s, &["prune", "x.yaml", "--set", "prune.format=dense"]);
}

#[test]
fn no_trained_checkpoint_yet() {
    let s = scratch();
    fs::remove_file(s.path("trained.safetensors")).unwrap();
    let mut before = s.files();
    let config = s.path("x.yaml").display().to_string();
    let message = "DIR/trained.safetensors: there is no trained checkpoint yet. Train the model from the \
                   initial checkpoint DIR/init.safetensors, save it as DIR/trained.safetensors, then run \
                   this command again";
    for command in ["analyze", "prune"] {
        fails(&s, &[command, &config], 3, message);
    }
    let ran = s.run(&["--quiet", "run", &config]);
    expect(&ran, 3, message);
    before.remove("init.safetensors");
    let mut after = s.files();
    after.remove("init.safetensors");
    assert!(after == before);
    let inventory = succeeds(&s, &["inspect", "init.safetensors", "--format", "json"]).stdout;
    let inventory: serde_json::Value = serde_json::from_str(&inventory).unwrap();
    assert_eq!(inventory["made_by_cdi_prune"], "initial");
    let names: Vec<_> = inventory["tensors"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["a.bias", "a.weight"]);

    change(&s, &[("init: {output: init.safetensors}\n", "")]);
    run_fails(
        &s,
        3,
        "DIR/trained.safetensors: there is no trained checkpoint yet. Train the model, save it there, then \
         run this command again",
    );
}

/// An override that the command makes no use of; files of other stages do matter, as no
/// output may be another's.
#[test]
fn overrides_of_what_is_not_read() {
    let s = scratch();
    s.write("pruned.safetensors", "");
    for (args, words) in [
        (
            &["init", "x.yaml", "--set", "prune.fill=init"][..],
            "`init` does not use `prune.fill`; leave it out",
        ),
        (
            &["init", "x.yaml", "--set", "analyze.decay=auto"],
            "`init` does not use `analyze.decay`; leave it out",
        ),
        (&["init", "x.yaml", "--set", "gates={finite: true}"], "`init` does not use `gates`; leave it out"),
        (
            &["analyze", "x.yaml", "--set", "prune.fill=init"],
            "`analyze` does not use `prune.fill`; leave it out",
        ),
        (
            &["prune", "x.yaml", "--set", "init.max_shard_size=1MB"],
            "`prune` does not use `init.max_shard_size`; leave it out",
        ),
    ] {
        fails(&s, args, 2, &format!("--set {}: this has no effect: {words}", args[3]));
    }
    for args in [
        &["inspect", "trained.safetensors"][..],
        &["restore", "pruned.safetensors", "-o", "dense.safetensors"],
        &["verify", "manifest.json"],
        &["compare", "a.json", "b.json"],
        &["new", "trained.safetensors"],
        &["schema"],
        &["completions", "bash"],
        &["matrix", "--mode", "he", "--rows", "2", "--cols", "2"],
    ] {
        let set = ["--set", "prune.fill=init"];
        let message =
            format!("--set prune.fill=init: this has no effect: `{}` reads no config; leave it out", args[0]);
        fails(&s, &[args, &set].concat(), 2, &message);
    }
    succeeds(&s, &["analyze", "x.yaml", "--set", "prune.output=other.safetensors"]);
    succeeds(&s, &["plan", "x.yaml", "--set", "prune.fill=init"]);
    let dotted =
        ["plan", "x.yaml", "--set", "model.tensors.a.bias=[5]", "--set", "trained.path=none.safetensors"];
    assert!(succeeds(&s, &dotted).stdout.contains(" 5 "), "{:?}", s.run(&dotted));
}

// The rules against the tensors.

#[test]
fn a_rule_that_matches_nothing() {
    let s = scratch();
    change(&s, &[("init: zeros}", "init: zeros}\n  - {match: 'a.weihgt', init: he}")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:6:13: this rule matches no tensor: `a.weihgt` (did you mean `a.weight`?) (use `optional: \
         true` to allow this)",
    );
    change(&s, &[("init: zeros}", "init: zeros}\n  - {match: ['decoder.**', 'head.*'], init: he}")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:6:13: this rule matches no tensor: `decoder.**`, `head.*` (use `optional: true` to allow \
         this)",
    );
    change(&s, &[("format: bitmask", "rules: [{match: '*.bais', keep: true}]")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:9:53: this rule matches no tensor: `*.bais` (did you mean `a.bias`?) (use `optional: \
         true` to allow this)",
    );
    change(&s, &[("format: bitmask", "rules: [{match: '*.baiss', keep: true, optional: true}]")]);
    succeeds(&s, &["run", "x.yaml"]);
}

/// One dead pattern beside live ones, wherever patterns are: the tensors that it was meant to
/// keep would be pruned.
#[test]
fn a_pattern_of_a_list_that_matches_nothing() {
    let s = scratch();
    let allowed = "(use a separate rule with `optional: true` to allow this)";
    for (change_to, place, found) in [
        (
            ("format: bitmask", "rules: [{match: ['**.bias', 'a*'], keep: true}]"),
            "9:65",
            "`a*`; `*` stops at a dot, but `**` does not: `a**` matches `a.bias`",
        ),
        (("match: '*.bias'", "match: ['*.bias', '**.biass']"), "5:24", "`**.biass`"),
        (
            ("prune:", "gates: {min_sparsity: [{match: [a.weight, a.wieght], min: 0.1}]}\nprune:"),
            "9:43",
            "`a.wieght` (did you mean `a.weight`?)",
        ),
    ] {
        change(&s, &[change_to]);
        let message =
            format!("DIR/x.yaml:{place}: this pattern of the list matches no tensor: {found} {allowed}");
        run_fails(&s, 2, &message);
    }
    // Tensors that an earlier rule has taken are matched all the same; and a rule may say that it is fine.
    let shadowed = "rules: [{match: a.bias, keep: true}, {match: ['**.bias', '**'], keep: true}]";
    change(&s, &[("format: bitmask", shadowed)]);
    succeeds(&s, &["run", "x.yaml"]);
    change(&s, &[("format: bitmask", "rules: [{match: ['**.bias', 'bn*'], keep: true, optional: true}]")]);
    succeeds(&s, &["run", "x.yaml"]);
}

/// Without `model` nothing but the trained checkpoint says what the rules are about: that it is
/// missing is what is wrong.
#[test]
fn no_trained_checkpoint_and_no_model() {
    let s = scratch();
    let config = "\
        seed: 1\n\
        rules: [{match: a.weight, init: RULE}]\n\
        trained: {path: modle.safetensors}\n\
        analyze: {}\n\
        prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 0.5}}\n";
    for rule in ["none", "he", "none, optional: true", "{from: base.safetensors}"] {
        s.write("x.yaml", config.replace("RULE", rule));
        for command in ["run", "analyze", "prune", "plan"] {
            let message = "modle.safetensors: there is no trained checkpoint yet. Train the model, save it \
                           there, then run this command again";
            fails(&s, &[command, "x.yaml"], 3, message);
        }
    }
}

#[test]
fn writing_the_initial_checkpoint_needs_no_trained_one() {
    let s = scratch();
    succeeds(&s, &["init", "x.yaml"]);
    let initial = fs::read(s.path("init.safetensors")).unwrap();
    // Cut off; of another model; a folder without a checkpoint.
    for broken in 0..3 {
        s.write("init.safetensors", "old init.safetensors");
        fs::remove_file(s.path("trained.safetensors")).unwrap();
        match broken {
            0 => s.write("trained.safetensors", "cut"),
            1 => s.safetensors("trained.safetensors", &[("c.weight", "F32", &[1], f32s(&[1.0]))]),
            _ => fs::create_dir(s.path("trained.safetensors")).unwrap(),
        }
        assert_ne!(s.run(&["analyze", "x.yaml"]).code, 0);
        succeeds(&s, &["init", "x.yaml"]);
        assert!(fs::read(s.path("init.safetensors")).unwrap() == initial);
    }
}

#[test]
fn a_model_tensor_that_no_rule_matches() {
    let s = scratch();
    change(&s, &[("a.bias: [4]", "a.bias: [4], a.gain: [4], b.gain: [4]")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:4:3: no rule matches `a.gain`, `b.gain` of the model (add a rule; use `init: none` if \
         there is no initial value)",
    );
    change(&s, &[("a.bias: [4]", "a.bias: [4], b.norm.bias: [4]")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:4:3: no rule matches `b.norm.bias` of the model (add a rule; use `init: none` if there is \
         no initial value); `*` stops at a dot, but `**` does not: `**.bias` matches `b.norm.bias`",
    );
}

#[test]
fn two_tensors_of_one_layer() {
    let s = scratch();
    let shape = ("a.bias: [4]", "a.bias: [4], b.weight: [2, 4]");
    change(&s, &[shape, ("init: he", "layer: {base: 7}, init: he")]);
    let (_, dtype, dims, bytes) = weight();
    s.safetensors("trained.safetensors", &[weight(), bias(), ("b.weight", dtype, dims, bytes)]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:4:5: tensors `a.weight` and `b.weight` both have layer id 7, so they would start with \
         the same noise; give them different ids, or set `shared: true` on their rules if this is intended",
    );
    change(&s, &[shape, ("init: he", "layer: {base: 7}, shared: true, init: he")]);
    succeeds(&s, &["run", "x.yaml"]);
}

#[test]
fn a_layer_by_no_number() {
    let s = scratch();
    change(&s, &[("init: he", "layer: {base: 0, step: 1, by: 1}, init: he")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:4:32: tensor `a.weight`: its layer id uses group 1 of the pattern, which matched `a`, \
         expected a decimal number",
    );
}

// Outputs that are inputs.

#[test]
fn outputs_that_are_inputs() {
    let s = scratch();
    change(&s, &[("output: pruned", "output: trained")]);
    run_fails(
        &s,
        2,
        "`trained.path` and `prune.output` are the same file (DIR/trained.safetensors): an output must not replace an input or another output; give one of them another path",
    );
    change(&s, &[("output: init", "output: ./trained")]);
    run_fails(
        &s,
        2,
        "`trained.path` and `init.output` are the same file (DIR/./trained.safetensors): an output must not replace an input or another output; give one of them another path",
    );
    change(&s, &[("json: report.json", "json: x.yaml")]);
    run_fails(
        &s,
        2,
        "the config and `analyze.report.json` are the same file (DIR/x.yaml): an output must not replace an input or another output; give one of them another path",
    );
}

#[cfg(unix)]
#[test]
fn outputs_that_are_inputs_by_links() {
    let s = scratch();
    change(&s, &[("output: pruned", "output: link")]);
    let message = "`trained.path` and `prune.output` are the same file (DIR/link.safetensors): an output must not replace an input or another output; give one of them another path";
    std::os::unix::fs::symlink("trained.safetensors", s.path("link.safetensors")).unwrap();
    run_fails(&s, 2, message);
    fs::remove_file(s.path("link.safetensors")).unwrap();
    fs::hard_link(s.path("trained.safetensors"), s.path("link.safetensors")).unwrap();
    run_fails(&s, 2, message);
}

#[test]
fn outputs_that_are_one_file() {
    let s = scratch();
    change(&s, &[("json: report.json", "json: pruned.safetensors")]);
    run_fails(
        &s,
        2,
        "DIR/x.yaml:9:17: `prune.output` writes the same file as `analyze.report.json`: DIR/pruned.safetensors",
    );
    fs::remove_file(s.path("pruned.safetensors")).unwrap();
    run_fails(
        &s,
        2,
        "DIR/x.yaml:9:17: `prune.output` writes the same file as `analyze.report.json`: DIR/pruned.safetensors",
    );
}

/// Else the first run would leave the initial checkpoint where the trained one is looked for.
#[test]
fn an_output_where_the_trained_checkpoint_will_be() {
    let s = scratch();
    fs::remove_file(s.path("trained.safetensors")).unwrap();
    change(&s, &[("output: init", "output: trained")]);
    run_fails(
        &s,
        2,
        "`trained.path` and `init.output` are the same file (DIR/trained.safetensors): an output must not replace an input or another output; give one of them another path",
    );
}

/// An index beside a single file that is written is taken for an earlier run's and removed:
/// not one that is read.
#[test]
fn an_output_that_would_displace_the_index_of_an_input() {
    let s = sharded(&json!({"a.weight": "one.safetensors", "a.bias": "two.safetensors"}));
    change(
        &s,
        &[
            ("path: trained.safetensors", "path: model.safetensors.index.json"),
            ("output: pruned", "output: model"),
        ],
    );
    run_fails(
        &s,
        2,
        "`trained.path` and the index of `prune.output` are the same file (DIR/model.safetensors.index.json): an output must not replace an input or another output; give one of them another path",
    );
}

#[test]
fn an_output_below_a_file() {
    let s = scratch();
    s.write("file", "no folder");
    change(&s, &[("output: pruned", "output: file/pruned")]);
    let config = s.path("x.yaml").display().to_string();
    fails(&s, &["prune", &config], 1, "DIR/file: cannot create the folder: File exists (os error 17)");
    change(&s, &[("json: report", "json: file/report")]);
    fails(&s, &["analyze", &config], 1, "DIR/file: cannot create the folder: File exists (os error 17)");
    change(&s, &[("output: init", "output: file/init")]);
    fails(&s, &["init", &config], 1, "DIR/file: cannot create the folder: File exists (os error 17)");
}

// Commands and flags.

#[test]
fn stages_that_the_config_does_not_have() {
    let s = scratch();
    let config = s.path("x.yaml").display().to_string();
    change(&s, &[("init: {output: init.safetensors}\n", "")]);
    fails(
        &s,
        &["init", &config],
        2,
        "DIR/x.yaml: `init` needs the key `init`, which the config does not have",
    );
    change(&s, &[("prune: {output: pruned.safetensors, format: bitmask}\n", "")]);
    fails(
        &s,
        &["prune", &config],
        2,
        "DIR/x.yaml: `prune` needs the key `prune`, which the config does not have",
    );
    change(&s, &[("trained: {path: trained.safetensors}\n", "")]);
    fails(
        &s,
        &["analyze", &config],
        2,
        "DIR/x.yaml: `analyze` needs the key `trained`, which the config does not have",
    );
    fails(
        &s,
        &["prune", &config],
        2,
        "DIR/x.yaml: `prune` needs the key `trained`, which the config does not have",
    );
    run_fails(&s, 2, "DIR/x.yaml: `analyze` needs the key `trained`, which the config does not have");
    change(&s, &[("model: {tensors: {a.weight: [2, 4], a.bias: [4]}}\n", "")]);
    fails(
        &s,
        &["init", &config],
        2,
        "DIR/x.yaml: `init` needs the key `model`, which the config does not have",
    );
    s.write("x.yaml", "seed: 1\nmodel: {tensors: {a.bias: [4]}}\nrules: [{match: a.bias, init: zeros}]\n");
    run_fails(&s, 2, "DIR/x.yaml: `run` needs the key `init`, which the config does not have");
}

#[test]
fn bad_usage() {
    let s = scratch();
    let cases: [(&[&str], &str); 6] = [
        (
            &["run", "x.yaml", "--thread", "2"],
            "unexpected argument '--thread' found\n\n  tip: a similar argument exists: '--threads'",
        ),
        (&["run", "x.yaml", "--threads", "0"], "invalid value '0' for '--threads <N>': 0 is not in 1..=1024"),
        (&["run"], "the following required arguments were not provided:\n  <CONFIG>"),
        (
            &["prun", "x.yaml"],
            "unrecognized subcommand 'prun'\n\n  tip: some similar subcommands exist: 'run', 'prune'",
        ),
        (
            &["restore", "a", "-o", "b", "--max-shard-size", "5G"],
            "invalid value '5G' for '--max-shard-size <SIZE>': `5G` is not a size: expected a whole number \
             of bytes above 0, such as 10MB (10^6), 10MiB (2^20) or 5GB",
        ),
        (
            &["inspect", "a", "--format", "csv"],
            "invalid value 'csv' for '--format <FORMAT>'\n  [possible values: table, json]",
        ),
    ];
    for (args, message) in cases {
        let before = s.files();
        let ran = s.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {message}\n\n")), "{}", ran.stderr);
        assert!(s.files() == before);
    }
    fails(
        &s,
        &["run", "none.yaml"],
        2,
        "none.yaml: the config cannot be read: No such file or directory (os error 2)",
    );
}

// Checkpoints of initial values.

#[test]
fn base_without_the_tensor() {
    let s = with_base(&[bias()]);
    run_fails(
        &s,
        1,
        "DIR/base.safetensors: tensor `a.weight`, which provides initial values, is missing there",
    );
}

#[test]
fn base_of_another_shape() {
    let (name, dtype, _, bytes) = weight();
    let s = with_base(&[(name, dtype, &[4, 2], bytes)]);
    run_fails(
        &s,
        1,
        "DIR/base.safetensors: tensor `a.weight`, which provides initial values, has shape [4, 2] there, \
         expected [2, 4]",
    );
}

#[test]
fn base_of_another_type() {
    let s = with_base(&[("a.weight", "U8", &[2, 4], vec![0; 8])]);
    run_fails(
        &s,
        1,
        "DIR/base.safetensors: tensor `a.weight`, which provides initial values, is U8 there, expected F64, \
         F32, F16 or BF16",
    );
}

#[test]
fn no_base() {
    let s = with_base(&[]);
    fs::remove_file(s.path("base.safetensors")).unwrap();
    run_fails(&s, 1, "DIR/base.safetensors: cannot open: No such file or directory (os error 2)");
}

// Restoring.

#[test]
fn restoring_no_pruned_file() {
    let s = scratch();
    s.safetensors("pruned.safetensors", &[weight()]);
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: not a pruned file of cdi-prune: its `__metadata__` has no `cdi_prune`",
    );
    succeeds(&s, &["init", "x.yaml", "--set", "init.output=pruned.safetensors", "--set", "prune.output=p"]);
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: not a pruned file of cdi-prune: its `__metadata__` says it is an initial checkpoint",
    );
}

#[test]
fn restoring_without_a_part() {
    let s = pruned();
    s.tamper("pruned.safetensors", |header, _| {
        let header = header.as_object_mut().unwrap();
        let part = header.remove("a.weight.compressed").unwrap();
        header.insert("other".to_owned(), part);
    });
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight`: its part `a.weight.compressed` is missing",
    );
}

#[test]
fn restoring_with_a_part_of_another_type() {
    let s = pruned();
    s.tamper("pruned.safetensors", |header, _| header["a.weight.bitmask"]["dtype"] = json!("I8"));
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight`: its part `a.weight.bitmask` is I8 [2, 1], expected U8 [2, 1]",
    );
}

#[test]
fn restoring_with_a_wrong_bitmask() {
    let s = pruned();
    let flip = |row: usize, bits: u8| {
        s.tamper("pruned.safetensors", |header, data| {
            let start = header["a.weight.bitmask"]["data_offsets"][0].as_u64().unwrap();
            data[usize::try_from(start).unwrap() + row] ^= bits;
        });
    };
    flip(1, 0b1000);
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight`: 8 stored values, expected 7 for the bits set in the bitmask",
    );
    flip(0, 0b1000);
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight`: row 1 begins at stored value 4 according to its row \
         offset, but at 3 according to the bitmask",
    );
    flip(0, 0b1_1000);
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight`: the bitmask of row 0 has a bit set beyond its 4 columns",
    );
}

#[test]
fn restoring_shards_of_two_seeds() {
    let s = scratch();
    succeeds(&s, &["prune", "x.yaml", "--set", "prune.max_shard_size=16", "--set", "prune.format=bitmask"]);
    s.tamper("pruned-00002-of-00002.safetensors", |header, _| {
        let text = header["__metadata__"]["cdi_prune"].as_str().unwrap();
        assert!(text.contains("\"seed\":1"), "{text}");
        header["__metadata__"]["cdi_prune"] = json!(text.replacen("\"seed\":1", "\"seed\":2", 1));
    });
    fails(
        &s,
        &["restore", "pruned.safetensors.index.json", "-o", "dense.safetensors"],
        1,
        "pruned.safetensors.index.json: its shards were made with different seeds, 1 and 2",
    );
}

#[test]
fn restoring_a_tensor_beside_its_own_parts() {
    let s = pruned();
    s.tamper("pruned.safetensors", |header, data| {
        header["a.weight"] = json!({"dtype": "U8", "shape": [0], "data_offsets": [data.len(), data.len()]});
    });
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight` is described twice, or is in the file beside its own \
         parts",
    );
}

#[test]
fn restoring_a_scheme_that_cannot_make_the_shape() {
    let s = scratch();
    succeeds(&s, &["prune", "x.yaml", "--set", "prune.fill=init", "--set", "prune.format=bitmask"]);
    s.tamper("pruned.safetensors", |header, _| {
        let text = header["__metadata__"]["cdi_prune"].as_str().unwrap();
        assert!(text.contains("\"mode\":\"he\""), "{text}");
        header["__metadata__"]["cdi_prune"] =
            json!(text.replacen("\"mode\":\"he\"", "\"mode\":\"dirac\"", 1));
    });
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight`: its `cdi_prune` metadata is wrong: `dirac` needs three to five dimensions; its shape is [2, 4]",
    );
}

#[test]
fn restoring_a_later_version() {
    let s = pruned();
    s.tamper("pruned.safetensors", |header, _| {
        let text = header["__metadata__"]["cdi_prune"].as_str().unwrap();
        let text = text.replacen("\"version\":1", "\"version\":2", 1);
        header["__metadata__"]["cdi_prune"] = json!(text);
    });
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: its `cdi_prune` metadata has version 2; this version reads 1",
    );
    s.tamper("pruned.safetensors", |header, _| header["__metadata__"]["cdi_prune"] = json!("{"));
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: its `cdi_prune` metadata cannot be read: EOF while parsing an object at line 1 column 1",
    );
}

#[test]
fn restoring_a_truncated_file() {
    let s = pruned();
    let bytes = fs::read(s.path("pruned.safetensors")).unwrap();
    s.write("pruned.safetensors", &bytes[..bytes.len() - 1]);
    let n = bytes.len();
    restore_fails(
        &s,
        &[],
        1,
        &format!(
            "DIR/pruned.safetensors: truncated: the header describes a file of {n} bytes, but it has {}",
            n - 1
        ),
    );
}

#[test]
fn restoring_without_its_base() {
    let s = pruned_from_base();
    restore_fails(
        &s,
        &[],
        1,
        "DIR/pruned.safetensors: tensor `a.weight` needs the values of another checkpoint \
         (`base.safetensors` when this was written): give it with `--base FILE`",
    );
}

#[test]
fn restoring_with_another_base() {
    let s = pruned_from_base();
    s.safetensors("other.safetensors", &[("a.weight", "F32", &[2, 4], f32s(&[0.5; 8]))]);
    restore_fails(
        &s,
        &["--base", "other.safetensors"],
        1,
        "other.safetensors: tensor `a.weight`, which provides initial values, has SHA-256 \
         f09896aef1dbfb9ce734b68f8cd68c4687180da4c67c58696e65f78a2bcfa5b2 there, expected \
         af7de0621354bafceb193edf0fcf5d421cf21de7146580062fff53c7907f54e5: this is not the checkpoint that \
         the file was pruned with",
    );
    s.safetensors("other.safetensors", &[bias()]);
    restore_fails(
        &s,
        &["--base", "other.safetensors"],
        1,
        "other.safetensors: tensor `a.weight`, which provides initial values, is missing there",
    );
    succeeds(&s, &["restore", "pruned.safetensors", "-o", "dense.safetensors", "--base", "base.safetensors"]);
}

#[test]
fn restoring_onto_itself() {
    let s = pruned();
    fails(
        &s,
        &["restore", "pruned.safetensors", "-o", "./pruned.safetensors"],
        2,
        "the file to restore or its base and the output are the same file (./pruned.safetensors): an output must not replace an input or another output; give one of them another path",
    );
    let s = pruned_from_base();
    let args = ["restore", "pruned.safetensors", "-o", "base.safetensors", "--base", "base.safetensors"];
    fails(
        &s,
        &args,
        2,
        "the file to restore or its base and the output are the same file (base.safetensors): an output must not replace an input or another output; give one of them another path",
    );
}

#[test]
fn restoring_nothing() {
    let s = scratch();
    fails(
        &s,
        &["restore", "none.safetensors", "-o", "out.safetensors"],
        1,
        "none.safetensors: cannot open: No such file or directory (os error 2)",
    );
}

/// The shards of an output are known only when its size is.
#[test]
fn shards_that_would_displace_an_input() {
    let s = scratch();
    succeeds(&s, &["prune", "x.yaml", "--set", "prune.max_shard_size=16"]);
    fails(
        &s,
        &["restore", "pruned.safetensors.index.json", "-o", "pruned.safetensors"],
        2,
        "the file to restore or its base and a file of the output are the same file \
         (pruned.safetensors.index.json): an output must not replace an input or another output; give one of them \
         another path",
    );
    let s = scratch();
    s.safetensors("pruned-00001-of-00002.safetensors", &[weight()]);
    s.safetensors("pruned-00002-of-00002.safetensors", &[bias()]);
    let shards = ["pruned-00001-of-00002.safetensors", "pruned-00002-of-00002.safetensors"];
    let index = json!({"weight_map": {"a.weight": shards[0], "a.bias": shards[1]}});
    s.write("other.safetensors.index.json", index.to_string());
    change(&s, &[("path: trained.safetensors", "path: other.safetensors.index.json")]);
    let args = ["prune", "x.yaml", "--set", "prune.max_shard_size=16", "--set", "prune.format=dense"];
    fails(
        &s,
        &args,
        2,
        "`trained.path` and a file of `prune.output` are the same file (pruned-00001-of-00002.safetensors): an output \
         must not replace an input or another output; give one of them another path",
    );
}

// Folders and shards.

/// A trained checkpoint in two shards, with an index that says this of them.
fn sharded(weight_map: &serde_json::Value) -> Scratch {
    let s = scratch();
    s.safetensors("one.safetensors", &[weight()]);
    s.safetensors("two.safetensors", &[bias()]);
    s.write("model.safetensors.index.json", json!({"weight_map": weight_map}).to_string());
    change(&s, &[("path: trained.safetensors", "path: model.safetensors.index.json")]);
    s
}

#[test]
fn folders() {
    let s = scratch();
    change(&s, &[("path: trained.safetensors", "path: folder")]);
    fs::create_dir(s.path("folder")).unwrap();
    run_fails(&s, 1, "DIR/folder: the folder contains no .safetensors file and no *.safetensors.index.json");
    s.safetensors("folder/b.safetensors", &[weight(), bias()]);
    s.safetensors("folder/a.safetensors", &[weight(), bias()]);
    run_fails(
        &s,
        1,
        "DIR/folder: the folder contains several checkpoints (a.safetensors, b.safetensors): give the path \
         of one of them",
    );
    fs::remove_file(s.path("folder/a.safetensors")).unwrap();
    succeeds(&s, &["run", "x.yaml"]);
}

#[test]
fn a_shard_outside_the_folder() {
    let s = sharded(&json!({"a.weight": "one.safetensors", "a.bias": "../two.safetensors"}));
    run_fails(
        &s,
        1,
        "DIR/model.safetensors.index.json: the index places tensor `a.bias` in `../two.safetensors`, which is not a plain file name in the index's folder",
    );
}

#[cfg(unix)]
#[test]
fn a_shard_that_is_a_link_out_of_the_folder() {
    let s = sharded(&json!({"a.weight": "one.safetensors", "a.bias": "two.safetensors"}));
    fs::create_dir(s.path("blobs")).unwrap();
    fs::rename(s.path("two.safetensors"), s.path("blobs/two")).unwrap();
    std::os::unix::fs::symlink("blobs/two", s.path("two.safetensors")).unwrap();
    run_fails(
        &s,
        1,
        "DIR/model.safetensors.index.json: the shard `two.safetensors` is a link out of its folder, to \
         DIR/blobs/two; use `--follow-links` to allow this",
    );
    succeeds(&s, &["run", "x.yaml", "--follow-links"]);
    // A link within the folder leads nowhere else.
    fs::rename(s.path("blobs/two"), s.path("real.safetensors")).unwrap();
    fs::remove_file(s.path("two.safetensors")).unwrap();
    std::os::unix::fs::symlink("real.safetensors", s.path("two.safetensors")).unwrap();
    succeeds(&s, &["run", "x.yaml"]);
}

#[test]
fn a_tensor_that_an_index_places_twice() {
    let s = sharded(&json!({}));
    let map =
        r#"{"a.weight": "one.safetensors", "a.bias": "two.safetensors", "a.b\u0069as": "one.safetensors"}"#;
    s.write("model.safetensors.index.json", format!("{{\"weight_map\": {map}}}"));
    run_fails(
        &s,
        1,
        "DIR/model.safetensors.index.json: not a shard index: `a.bias` occurs twice at line 1 column 109",
    );
}

#[test]
fn a_tensor_called_like_the_metadata() {
    let s = scratch();
    s.safetensors("trained.safetensors", &[weight(), ("module.__metadata__", "F32", &[1], f32s(&[0.0]))]);
    s.write(
        "x.yaml",
        "seed: 1\nrules: [{match: '**', init: none}]\ntrained: {path: trained.safetensors, strip_prefix: [module.]}\n\
         prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 0.5}, format: dense}\n",
    );
    run_fails(
        &s,
        1,
        "DIR/pruned.safetensors: no tensor can be named `__metadata__`, because the format reserves this \
         name",
    );
}

#[test]
fn a_shard_that_is_missing() {
    let s = sharded(&json!({"a.weight": "one.safetensors", "a.bias": "three.safetensors"}));
    run_fails(&s, 1, "DIR/three.safetensors: cannot open: No such file or directory (os error 2)");
}

#[test]
fn tensors_that_index_and_shards_disagree_about() {
    let s = sharded(&json!({"a.weight": "one.safetensors", "a.bias": "one.safetensors"}));
    run_fails(
        &s,
        1,
        "DIR/model.safetensors.index.json: the index places tensor `a.bias` in `one.safetensors`, but its \
         header does not list this tensor",
    );
    s.safetensors("two.safetensors", &[bias(), ("b.bias", "F32", &[1], f32s(&[0.0]))]);
    let map = json!({"a.weight": "one.safetensors", "a.bias": "two.safetensors"});
    s.write("model.safetensors.index.json", json!({"weight_map": map}).to_string());
    run_fails(
        &s,
        1,
        "DIR/model.safetensors.index.json: shard `two.safetensors` has a tensor `b.bias` that the index does not place there",
    );
}

#[test]
fn an_index_that_is_none() {
    let s = sharded(&json!([1]));
    run_fails(
        &s,
        1,
        "DIR/model.safetensors.index.json: not a shard index: invalid type: sequence, expected an object of strings at line 1 column 14",
    );
}

#[test]
fn an_instruction_set_that_there_is_not() {
    let s = scratch();
    let ran = s.run_with(&[("CDI_PRUNE_ISA", "avx9000")], &["plan", "x.yaml"]);
    let sets: Vec<&str> =
        cdi_core::internal::dispatch::InstructionSet::available().iter().map(|set| set.name()).collect();
    expect(&ran, 2, &format!("CDI_PRUNE_ISA=avx9000: this processor has {}", sets.join(", ")));
}

#[test]
fn an_initialiser_that_cannot_make_the_shape() {
    for (init, expected) in [
        ("eye", "tensor `a.bias`: `eye` needs two dimensions; its shape is [4]"),
        ("{mode: sparse, sparsity: 0.5}", "tensor `a.bias`: `sparse` needs two dimensions; its shape is [4]"),
        ("dirac", "tensor `a.bias`: `dirac` needs three to five dimensions; its shape is [4]"),
        ("orthogonal", "tensor `a.bias`: `orthogonal` needs at least two dimensions; its shape is [4]"),
        (
            "delta_orthogonal",
            "tensor `a.bias`: `delta_orthogonal` needs three to five dimensions; its shape is [4]",
        ),
        (
            "torch_default",
            "tensor `a.bias`: `torch_default` needs at least two dimensions, or for a bias `fan_in` or \
             `fan_in_of`; its shape is [4]",
        ),
        (
            "{mode: torch_default, fan_in_of: '*.wieght'}",
            "tensor `a.bias`: `fan_in_of` refers to `a.wieght`, but there is no such tensor",
        ),
    ] {
        let s = scratch();
        change(&s, &[("init: zeros", &format!("init: {init}"))]);
        let ran = s.run(&["plan", "x.yaml"]);
        expect(&ran, 2, &format!("x.yaml:5:29: {expected}"));
    }
}

#[test]
fn more_inputs_than_a_delta_orthogonal_convolution_has_outputs() {
    let s = scratch();
    let config =
        "seed: 1\nmodel: {tensors: {c: [2, 4, 3, 3]}}\nrules: [{match: c, init: delta_orthogonal}]\n";
    s.write("x.yaml", format!("{config}init: {{output: init.safetensors}}\n"));
    let expected = "x.yaml:3:26: tensor `c`: `delta_orthogonal` needs at most as many input channels as \
                    output channels, not 4 and 2; its shape is [2, 4, 3, 3]";
    expect(&s.run(&["plan", "x.yaml"]), 2, expected);
}

#[test]
fn groups_that_do_not_divide_the_channels() {
    let s = scratch();
    let config =
        "seed: 1\nmodel: {tensors: {c: [4, 2, 3, 3]}}\nrules: [{match: c, init: {mode: dirac, groups: 3}}]\n";
    s.write("x.yaml", format!("{config}init: {{output: init.safetensors}}\n"));
    let expected = "x.yaml:3:26: tensor `c`: `dirac` needs a number of output channels that is divisible by \
                    3 groups; its shape is [4, 2, 3, 3]";
    expect(&s.run(&["plan", "x.yaml"]), 2, expected);
}

/// A bias that starts as PyTorch's do, by the weight that it belongs to, keeps its number in the pruned file.
#[test]
fn the_fan_in_of_another_tensor() {
    let s = scratch();
    change(&s, &[("init: zeros", "init: {mode: torch_default, fan_in_of: '*.weight'}")]);
    let plan = s.run(&["plan", "x.yaml", "--format", "json"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.contains("\"init\": \"torch_default(fan_in=4)\""), "{}", plan.stdout);
    assert_eq!(s.run(&["run", "x.yaml", "--set", "prune.fill=init"]).code, 0);
    let back = s.run(&["restore", "pruned.safetensors", "-o", "back.safetensors"]);
    assert_eq!(back.code, 0, "{back:?}");
}
