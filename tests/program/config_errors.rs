//! Every error of a config, whole: what a person reads, with the place it names.

use std::fs;
use std::path::Path;

use cdi_prune::config::{ConfigErrorKind, KeyPath, PatternHint, Place, Settings};

fn error(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    match Settings::parse(text, Path::new("configs/x.yaml"), &overrides) {
        Ok(_) => panic!("accepted: {text} {overrides:?}"),
        Err(error) => error.to_string(),
    }
}

/// The error of a config with one rule, whose lines from the fourth on are given.
fn rule_error(lines: &str) -> String {
    error(&format!("seed: 1\nrules:\n  - match: 'fc*.weight'\n{lines}"), &[])
}

fn analyze_error(value: &str) -> String {
    error(&format!("seed: 1\nanalyze: {{{value}}}\n"), &[])
}

fn prune_error(value: &str) -> String {
    error(&format!("seed: 1\nprune: {{output: a, {value}}}\n"), &[])
}

#[test]
fn a_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.yaml");
    let error = Settings::load(&path, &[]).unwrap_err();
    assert!(matches!(*error.kind, ConfigErrorKind::Unreadable(_)));
    assert!(error.to_string().starts_with(&format!("{}: the config cannot be read: ", path.display())));
}

#[test]
fn a_file_that_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("binary.yaml");
    fs::write(&path, b"seed: 1\n# \xc3\xa9 \xff\n").unwrap();
    let error = Settings::load(&path, &[]).unwrap_err();
    assert!(matches!(*error.kind, ConfigErrorKind::NotUtf8));
    assert_eq!(error.place, Place::Position { file: path.clone(), line: 2, column: 5 });
    assert_eq!(error.to_string(), format!("{}:2:5: the config is not UTF-8 text", path.display()));
}

#[test]
fn nothing_in_the_file() {
    for text in ["", "# only a comment\n", "---\n"] {
        assert_eq!(error(text, &[]), "configs/x.yaml: the config is empty");
    }
}

#[test]
fn no_mapping() {
    assert_eq!(
        error("- seed: 1\n", &[]),
        "configs/x.yaml:1:1: a config must be a mapping of keys to values, but this is a list"
    );
    assert_eq!(
        error("# a\n seed=1\n", &[]),
        "configs/x.yaml:2:2: a config must be a mapping of keys to values, but this is the text `seed=1`"
    );
}

#[test]
fn several_documents() {
    assert_eq!(
        error("seed: 1\n---\nseed: 2\n", &[]),
        "configs/x.yaml:3:1: a second YAML document begins here, but a config is a single document"
    );
}

/// As Windows' editors write it: lines and columns are those of the text behind it, the
/// digest that of the file.
#[test]
fn a_byte_order_mark() {
    assert_eq!(
        error("\u{feff}sed: 1\n", &[]),
        "configs/x.yaml:1:1: unknown key `sed` (did you mean `seed`?); the keys are version, seed, model, rules, init, \
         trained, analyze, prune, tune, gates, manifest"
    );
    assert_eq!(error("\u{feff}", &[]), "configs/x.yaml: the config is empty");
    let marked = Settings::parse("\u{feff}seed: 1", Path::new("x.yaml"), &[]).unwrap();
    assert_eq!(marked.seed, 1);
    assert_eq!(marked.source.text(), "\u{feff}seed: 1");
    // printf '\xef\xbb\xbfseed: 1' | sha256sum
    assert_eq!(marked.config_sha256, "841728c75fb1459e6ae442b53d42ff007679e2a3d4e0d5503c9e9903c2a4c868");
}

/// Every key that holds a path, and the program that `tune` runs.
#[test]
fn home_folders() {
    let whole = "expected an absolute path, or one relative to the config's folder (only a shell expands \
                 `~`; write `./~…` for a file whose name begins with it), got `~/a`";
    for (line, column, key) in [
        ("model: {like: ~/a}", 15, "model.like"),
        ("rules: [{match: a, init: {from: ~/a}}]", 33, "rules[0].init.from"),
        ("init: {output: ~/a}", 16, "init.output"),
        ("trained: {path: ~/a}", 17, "trained.path"),
        ("analyze: {report: {json: ~/a}}", 26, "analyze.report.json"),
        ("analyze: {report: {csv: ~/a}}", 25, "analyze.report.csv"),
        ("analyze: {report: {markdown: ~/a}}", 30, "analyze.report.markdown"),
        ("analyze: {report: {html: ~/a}}", 26, "analyze.report.html"),
        ("analyze: {report: {svg: ~/a}}", 25, "analyze.report.svg"),
        ("prune: {output: ~/a}", 17, "prune.output"),
        ("prune: {output: a, target: {keep: 1}, criterion: {scores: ~/a}}", 59, "prune.criterion.scores"),
        ("manifest: ~/a", 11, "manifest"),
    ] {
        assert_eq!(error(line, &[]), format!("configs/x.yaml:1:{column}: `{key}`: {whole}"));
    }
    let tuned = |tune: &str| {
        let rest = "prune: {output: b}\ntrained: {path: c}\n";
        error(&format!("{rest}tune: {{better: lower, max_drop: 0, {tune}}}\n"), &[])
    };
    assert_eq!(
        tuned("command: [e, '{checkpoint}'], cache: ~/a"),
        format!("configs/x.yaml:3:73: `tune.cache`: {whole}")
    );
    assert_eq!(
        tuned("command: [~/a, '{checkpoint}']"),
        format!("configs/x.yaml:3:46: `tune.command[0]`: {whole}")
    );
    assert!(Settings::parse("init: {output: ./~a}", Path::new("x.yaml"), &[]).is_ok());
}

#[test]
fn how_values_are_coded() {
    let values = "values: {exact: true}";
    for (keys, message) in [
        ("values: {exact: 1}", "2:36: `prune.values.exact`: expected true or false, got 1"),
        (
            "values: {steps: 1}",
            "2:29: unknown key `steps` in `prune.values` (did you mean `step`?); the keys are exact, step, over, \
             rounding, calibration",
        ),
        (
            "rules: [{match: a, values: {exact: true}}]",
            "2:47: `prune.rules[0].values`: expected `prune.values` as well, whose keys it overrides, got none",
        ),
        (
            &format!("{values}, rules: [{{match: a, keep: true, values: {{step: 1}}}}]"),
            "2:82: `prune.rules[0].values`: expected no such key together with `keep: true`, which leaves the \
             tensors unchanged, got one",
        ),
        (
            &format!("{values}, format: bitmask"),
            "2:51: `prune.format`: expected auto or coded together with `values`, which says how values are coded, \
             got the text `bitmask`",
        ),
        (
            &format!("{values}, dtype: bf16, criterion: magnitude, target: {{sparsity: 0.5}}"),
            "2:50: `prune.dtype`: expected keep together with `values: {exact: true}`, because a cast rounds values, \
             got the text `bf16`",
        ),
        (
            &format!("{values}, fill: init"),
            "2:49: `prune.fill`: expected no `fill`, because without a criterion or a target, `values` means that \
             nothing is pruned, got one",
        ),
        (
            &format!("{values}, code_kept: false"),
            "2:54: `prune.code_kept`: expected true, because without a criterion or a target, `values` means that \
             nothing is pruned, got false",
        ),
    ] {
        assert_eq!(prune_error(keys), format!("configs/x.yaml:{message}"), "{keys}");
    }
    let prune = |keys: &str| {
        let text = format!("seed: 1\nprune: {{output: a, {values}{keys}}}\n");
        Settings::parse(&text, Path::new("x.yaml"), &[]).unwrap().prune.unwrap()
    };
    // What says that something is pruned.
    for keys in [
        ", criterion: sleeping",
        ", target: threshold",
        ", scope: tensor",
        ", structure: rows",
        ", min_elements: 0",
        ", rules: [{match: a, criterion: random, target: {sparsity: 0.5}}]",
        ", tied: [[a, b]]",
    ] {
        assert!(prune(keys).decision("c").is_some(), "{keys}");
    }
    assert!(
        ["", ", format: coded", ", code_kept: true", ", rules: [{match: a, keep: true}]"]
            .iter()
            .all(|keys| prune(keys).decision("c").is_none())
    );
    assert!(prune(", criterion: sleeping, fill: init").decision("c").is_some());
}

#[test]
fn what_others_call_it() {
    let scores = "expected {scores: FILE}: a checkpoint that contains, under the name of each tensor, a \
                  score for each weight, or a factor for the magnitudes of each input (for Wanda, the norms \
                  of the inputs)";
    assert_eq!(
        prune_error("criterion: wanda, target: {sparsity: 0.5}"),
        format!("configs/x.yaml:2:31: `prune.criterion`: {scores}, got the text `wanda`")
    );
    assert_eq!(
        prune_error("rules: [{match: a, criterion: scores}]"),
        format!("configs/x.yaml:2:50: `prune.rules[0].criterion`: {scores}, got the text `scores`")
    );
    assert_eq!(
        prune_error("structure: 4:2"),
        "configs/x.yaml:2:31: `prune.structure`: expected n of m to keep, with n at most m, got 4 of 2"
    );
    assert_eq!(
        prune_error("structure: 0:2"),
        "configs/x.yaml:2:31: `prune.structure`: expected a whole number above 0, got 0"
    );
    let structure = |value: &str| {
        let text = format!("prune: {{output: a, criterion: magnitude, structure: {value}}}");
        Settings::parse(&text, Path::new("x.yaml"), &[]).unwrap().prune.unwrap().decision.structure
    };
    assert_eq!(structure("2:4"), structure("{n: 2, m: 4}"));
    assert_eq!(structure("'1:16'"), structure("{n: 1, m: 16}"));
    let tuned = "prune: {output: a}\ntrained: {path: b}\n\
                 tune: {better: lower, max_drop: 0, command: [e, '{checkpoint}'], structures: [2:4], criteria: [magnitude]}";
    assert!(Settings::parse(tuned, Path::new("x.yaml"), &[]).is_ok());
}

#[test]
fn tabs() {
    assert_eq!(
        error("seed: 1\nmodel:\n  like: a\n \tdtype: f32\n", &[]),
        "configs/x.yaml:4:2: YAML must be indented with spaces, but this is a tab"
    );
}

#[test]
fn what_is_no_yaml() {
    assert_eq!(
        error("seed: [1, 2\nmodel: {}\n", &[]),
        "configs/x.yaml:2:6: not valid YAML: did not find expected ',' or ']', while parsing a flow sequence at line 1 \
         column 7"
    );
    assert_eq!(
        error("seed: !int 1\n", &[]),
        "configs/x.yaml:1:7: not valid YAML: a config cannot have YAML tags (`!…`)"
    );
    assert_eq!(
        error("seed: 1\nrules:\n  - match: **.bias\n", &[]),
        "configs/x.yaml:3:13: not valid YAML: did not find expected alphabetic or numeric character, while scanning an \
         alias at line 3 column 12; a pattern that begins with a star needs quotes"
    );
}

#[test]
fn overrides_that_cannot_be_applied() {
    assert_eq!(error("seed: 1", &["seed"]), "--set seed: expected KEY=VALUE");
    assert_eq!(error("seed: 1", &["seed.x=1"]), "--set seed.x=1: `seed` is 1, which has no keys");
    assert_eq!(
        error("{seed: 1, rules: [{match: a, init: he}]}", &["rules.1.init=he"]),
        "--set rules.1.init=he: `rules` has no entry 1: it has 1, counted from 0"
    );
    assert_eq!(
        error("seed: 1", &["seed=[1"]),
        "--set seed=[1: not valid YAML: did not find expected ',' or ']', while parsing a flow sequence"
    );
}

#[test]
fn overrides_that_do_nothing() {
    for (text, set, why) in [
        ("rules: [{match: a, init: zeros}]", "seed=2", "nothing is drawn from the seed"),
        (
            "{seed: 1, rules: [{match: a, init: none}, {match: b, init: he}]}",
            "rules.0.layer=3",
            "the rule draws nothing, so its tensors have no layer id",
        ),
        (
            "{seed: 1, model: {like: a, tensors: {b: {shape: [1], dtype: f16}}}}",
            "model.dtype=bf16",
            "every tensor in `model.tensors` has a type, and those of `model.like` keep theirs",
        ),
        (
            "{rules: [{match: a, init: none}], analyze: {}}",
            "analyze.threshold=auto",
            "no rule gives an initial value, so there is nothing to compare with",
        ),
    ] {
        assert_eq!(error(text, &[set]), format!("--set {set}: this has no effect: {why}"));
    }
    for (text, set) in [
        ("{seed: 1, rules: [{match: a, init: he}]}", "seed=1"),
        ("{seed: 1, rules: [{match: a, init: he}]}", "rules.0.layer=3"),
        ("{seed: 1, model: {tensors: {b: [1]}}}", "model.dtype=bf16"),
        ("{rules: [{match: a, init: {from: b}}], analyze: {}}", "analyze.threshold=auto"),
    ] {
        assert!(Settings::parse(text, Path::new("x.yaml"), &[set.to_owned()]).is_ok(), "{text} {set}");
    }
}

#[test]
fn what_an_override_set_is_blamed_on_it() {
    assert_eq!(
        error("seed: 1", &["analyze.treshold=3"]),
        "--set analyze.treshold=3: unknown key `treshold` in `analyze` (did you mean `threshold`?); the keys are \
         threshold, decay, report"
    );
    assert_eq!(
        error("{seed: 1, prune: {output: a}}", &["prune.fill=init", "prune.fill=zeros"]),
        "--set prune.fill=zeros: `prune.fill` cannot be `zeros` (did you mean `zero`?); the values are zero, init, \
         nearest"
    );
    assert_eq!(
        error("seed: 1", &["prune.fill=init"]),
        "--set prune.fill=init: missing key `output` in `prune`"
    );
    assert_eq!(
        error("seed: x", &["prune.output=a"]),
        "configs/x.yaml:1:7: `seed`: expected a whole number from -2^63 to 2^64-1, got the text `x`"
    );
}

#[test]
fn unknown_keys() {
    assert_eq!(
        error("seed: 1\nanalyze:\n  # how much\n  treshold: 3\n", &[]),
        "configs/x.yaml:4:3: unknown key `treshold` in `analyze` (did you mean `threshold`?); the keys are threshold, \
         decay, report"
    );
    assert_eq!(
        error("seed: 1\ncolour: red\n", &[]),
        "configs/x.yaml:2:1: unknown key `colour`; the keys are version, seed, model, rules, init, trained, analyze, \
         prune, tune, gates, manifest"
    );
    assert_eq!(
        rule_error("    init: {mode: normal, sdt: 1}\n"),
        "configs/x.yaml:4:26: unknown key `sdt` in `rules[0].init` (did you mean `std`?); the keys are mode, \
         distribution, fan, gain, nonlinearity, a, scale, d_model, fan_in, fan_in_of, mean, std, depth, low, high, value, \
         groups, sparsity, zero_mean"
    );
    assert_eq!(
        error("seed: 1\nmodel:\n  tensors:\n    fc1.weight: {shape: [2], dtpe: f32}\n", &[]),
        "configs/x.yaml:4:30: unknown key `dtpe` in `model.tensors.\"fc1.weight\"` (did you mean `dtype`?); the keys \
         are shape, dtype"
    );
}

#[test]
fn duplicate_keys() {
    assert_eq!(
        error("seed: 1\nmodel:\n  like: a\n  layout: out_in\n  like: b\n", &[]),
        "configs/x.yaml:5:3: duplicate key `like`"
    );
    assert_eq!(
        error("seed: 1\nmodel: {tensors: {a: [1], b: [2], a: [3]}}\n", &[]),
        "configs/x.yaml:2:35: duplicate key `a`"
    );
}

#[test]
fn missing_keys() {
    let drawn = "rules: [{match: a, init: zeros}, {match: b, init: he}]\n";
    assert_eq!(error(drawn, &[]), "configs/x.yaml:1:1: missing key `seed`, which `rules[1].init` needs");
    assert_eq!(
        error("prune: {output: a, criterion: random, target: {keep: 1}}\n", &[]),
        "configs/x.yaml:1:1: missing key `seed`, which `prune.criterion` needs"
    );
    assert_eq!(error("seed: 1\nprune:\n", &[]), "configs/x.yaml:2:1: missing key `output` in `prune`");
    assert_eq!(rule_error("    layer: 1\n"), "configs/x.yaml:3:5: missing key `init` in `rules[0]`");
    assert_eq!(
        rule_error("    init: {gain: 1}\n"),
        "configs/x.yaml:4:5: missing key `mode` in `rules[0].init`"
    );
}

#[test]
fn bad_values() {
    assert_eq!(
        error("seed: 18446744073709551616\n", &[]),
        "configs/x.yaml:1:7: `seed`: expected a whole number from -2^63 to 2^64-1, got 18446744073709551616"
    );
    assert_eq!(error("seed: 1\nrules:\n", &[]), "configs/x.yaml:2:7: `rules`: expected a list, got nothing");
    assert_eq!(
        error("seed: 1\nmodel:\n  tensors:\n    fc1.weight: [2, -3]\n", &[]),
        "configs/x.yaml:4:21: `model.tensors.\"fc1.weight\"[1]`: expected a dimension of at least 0, got -3"
    );
    assert_eq!(
        error("seed: 1\nrules:\n  - {match: {a,b}, init: he}\n", &[]),
        "configs/x.yaml:3:13: `rules[0].match`: expected a pattern or a list of them, got a mapping (a pattern with \
         braces needs quotes)"
    );
    assert_eq!(
        rule_error("    init: he\n    layer: -1\n"),
        "configs/x.yaml:5:12: `rules[0].layer`: expected a whole number from 0 to 2^64-1, auto or {base, step, by}, \
         got -1"
    );
    assert_eq!(
        rule_error("    init: he\n    shared: 1\n"),
        "configs/x.yaml:5:13: `rules[0].shared`: expected true or false, got 1"
    );
    assert_eq!(
        rule_error("    init: {mode: normal, std: small}\n"),
        "configs/x.yaml:4:31: `rules[0].init.std`: expected a number, got the text `small`"
    );
    assert_eq!(
        rule_error("    init: [he]\n"),
        "configs/x.yaml:4:11: `rules[0].init`: expected a mode, {mode: …}, {from: FILE} or none, got a list"
    );
    assert_eq!(
        error("seed: 1\ninit: {output: a, max_shard_size: 5 gigs}\n", &[]),
        "configs/x.yaml:2:35: `init.max_shard_size`: expected a whole number of bytes above 0, such as 10MB (10^6), \
         10MiB (2^20) or 5GB, got the text `5 gigs`"
    );
    assert_eq!(
        analyze_error("threshold: .nan"),
        "configs/x.yaml:2:22: `analyze.threshold`: expected a finite number of at least 0, {relative: x}, \
         {ulps: n} or auto, got NaN"
    );
    assert_eq!(
        analyze_error("threshold: {relative: -1}"),
        "configs/x.yaml:2:33: `analyze.threshold.relative`: expected a finite number of at least 0, got -1"
    );
    assert_eq!(
        analyze_error("threshold: {relative: 1, ulps: 1}"),
        "configs/x.yaml:2:22: `analyze.threshold`: expected exactly one of relative and ulps, got both"
    );
    assert_eq!(
        analyze_error("decay: nome"),
        "configs/x.yaml:2:18: `analyze.decay`: expected none, auto or a finite number above 0, got the text `nome` (did you \
         mean `none`?)"
    );
}

#[test]
fn unknown_values() {
    assert_eq!(
        prune_error("criterion: slepping"),
        "configs/x.yaml:2:31: `prune.criterion` cannot be `slepping` (did you mean `sleeping`?); the values are sleeping, \
         magnitude, movement, magnitude_increase, nearest, random"
    );
    assert_eq!(
        error("seed: 1\nmodel: {dtype: fp32}\n", &[]),
        "configs/x.yaml:2:16: `model.dtype` cannot be `fp32` (did you mean `f32`?); the values are f64, f32, f16, bf16"
    );
}

/// Texts made to keep a parser busy, or to fill memory.
#[test]
fn hostile_texts() {
    let deep = format!("seed: 1\nrules: {}", "[".repeat(200_000));
    assert_eq!(error(&deep, &[]), "configs/x.yaml:2:1008: not valid YAML: more than 1000 brackets are open");
    let deep = format!("seed: 1\nrules: {}", "{a: ".repeat(200_000));
    assert_eq!(error(&deep, &[]), "configs/x.yaml:2:4008: not valid YAML: more than 1000 brackets are open");
    let deep = format!("seed: 1\nrules: {}", "- ".repeat(20_000));
    assert!(error(&deep, &[]).starts_with("configs/x.yaml:2:8: not valid YAML: "), "{}", error(&deep, &[]));
    let deep = format!("rules:\n  {}", "- ".repeat(20_000));
    assert_eq!(error(&deep, &[]), "configs/x.yaml:2:257: not valid YAML: recursion limit exceeded");
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in ('b'..='k').zip('a'..) {
        bomb += &format!("{name}: &{name} [*{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}]\n");
    }
    assert_eq!(error(&bomb, &[]), "configs/x.yaml: not valid YAML: repetition limit exceeded");
}

/// Each parameter of an initialiser outside its range, at its place.
#[test]
fn parameters_of_initialisers() {
    for (init, column, message) in [
        ("{mode: trunc_normal, std: 0}", 37, "`std` is 0, expected a finite number greater than 0"),
        ("{mode: trunc_normal, low: 2}", 11, "trunc_normal needs low < high, got low 2 and high 2"),
        ("{mode: normal, std: -1}", 31, "`std` is -1, expected a finite number of at least 0"),
        ("{mode: normal, depth: 0}", 33, "`depth` is 0, expected 1 or more"),
        ("{mode: he, gain: .inf}", 28, "`gain` is inf, expected a finite number"),
        (
            "{mode: he, nonlinearity: tanh, a: 1}",
            45,
            "`a` is the slope of leaky_relu; `nonlinearity: tanh` has none",
        ),
        ("{mode: he, scale: 2}", 22, "`scale` does not apply to initialisation mode `he`"),
        ("{mode: xavier, fan: out}", 26, "`fan` does not apply to initialisation mode `xavier`"),
        ("{mode: variance_scaling, scale: -1}", 43, "`scale` is -1, expected a finite number of at least 0"),
        ("{mode: sparse}", 18, "initialisation mode `sparse` needs a `sparsity`"),
        ("{mode: sparse, sparsity: 1.5}", 36, "`sparsity` is 1.5, expected a number from 0 to 1"),
        ("{mode: orthogonal, gain: .inf}", 36, "`gain` is inf, expected a finite number"),
        ("{mode: orthogonal, a: 1}", 30, "`a` does not apply to initialisation mode `orthogonal`"),
        ("{mode: dirac, groups: 0}", 33, "`groups` is 0, expected 1 or more"),
        ("{mode: torch_default, fan_in: 3, fan_in_of: w}", 41, "`fan_in` and `fan_in_of` exclude each other"),
        (
            "{mode: he_normal, zero_mean: true}",
            40,
            "`zero_mean` and `distribution: trunc_normal` exclude each other",
        ),
    ] {
        assert_eq!(
            rule_error(&format!("    init: {init}\n")),
            format!("configs/x.yaml:4:{column}: {message}"),
            "{init}"
        );
    }
}

#[test]
fn another_version() {
    assert_eq!(
        error("version: 2\nseed: 1\n", &[]),
        "configs/x.yaml:1:10: `version` is 2, but this tool reads version 1"
    );
}

#[test]
fn layouts_that_say_nothing() {
    for (layout, column, message) in [
        (
            "outin",
            13,
            "`rules[0].layout` cannot be `outin` (did you mean `out_in`?); the values are out_in, in_out",
        ),
        (
            "3",
            13,
            "`rules[0].layout`: expected out_in, in_out or a role for each dimension, such as [expert, out, in], got 3",
        ),
        (
            "[exprt, out]",
            14,
            "`rules[0].layout[0]` cannot be `exprt` (did you mean `expert`?); the values are expert, out, in, kernel",
        ),
        ("[out, 1]", 19, "`rules[0].layout[1]`: expected expert, out, in or kernel, got 1"),
        ("[expert, in]", 13, "`rules[0].layout`: expected `out` among the roles, got [expert, in]"),
        (
            "[out, expert, in]",
            13,
            "`rules[0].layout`: expected `expert` before all other roles, got [out, expert, in]",
        ),
        (
            "[in, out, in]",
            13,
            "`rules[0].layout`: expected dimensions with the same role side by side, got [in, out, in]",
        ),
        ("[]", 13, "`rules[0].layout`: expected 1 to 8 roles, one for each dimension, got []"),
        (
            "[kernel, out]",
            13,
            "`rules[0].layout`: expected `in` among the roles, because there is `kernel`, got [kernel, out]",
        ),
    ] {
        assert_eq!(
            rule_error(&format!("    layout: {layout}\n    init: he\n")),
            format!("configs/x.yaml:4:{column}: {message}")
        );
    }
    assert_eq!(
        error("seed: 1\nmodel: {layout: flax}\n", &[]),
        "configs/x.yaml:2:17: `model.layout` cannot be `flax`; the values are out_in, in_out"
    );
}

#[test]
fn schemes_that_make_no_sense() {
    assert_eq!(
        rule_error("    init: hee\n"),
        "configs/x.yaml:4:11: unknown initialisation mode `hee` (did you mean `he`?); the modes are he, xavier, lecun, \
         attention, variance_scaling, torch_default, normal, trunc_normal, uniform, sparse, constant, zeros, ones, eye, \
         dirac, orthogonal, delta_orthogonal"
    );
    assert_eq!(
        rule_error("    init:\n      mode: normal\n      std: -1\n"),
        "configs/x.yaml:6:12: `std` is -1, expected a finite number of at least 0"
    );
    assert_eq!(
        rule_error("    init:\n      mode: he\n      std: 1\n"),
        "configs/x.yaml:6:7: `std` does not apply to initialisation mode `he`"
    );
    assert_eq!(
        rule_error("    layout: in_out\n    init: {mode: he, zero_mean: true}\n"),
        "configs/x.yaml:5:11: `zero_mean` needs the layout out_in: in an in_out tensor, convolution kernels \
         are not contiguous"
    );
    assert!(
        rule_error("    layout: [out, kernel, in]\n    init: {mode: he, zero_mean: true}\n")
            .starts_with("configs/x.yaml:5:11: `zero_mean` needs the layout out_in")
    );
}

#[test]
fn patterns_that_cannot_be_compiled() {
    assert_eq!(
        error("seed: 1\nrules:\n  - {match: 'a[b', init: he}\n", &[]),
        "configs/x.yaml:3:13: pattern `a[b`: the `[` at character 2 is not closed"
    );
    assert_eq!(
        error(
            "seed: 1\nprune:\n  output: a\n  rules:\n    - keep: true\n      match:\n        - ok\n        - 're:('\n",
            &[]
        ),
        "configs/x.yaml:8:11: pattern `re:(`: not a regular expression: unclosed group"
    );
}

#[test]
fn groups_that_a_pattern_does_not_have() {
    assert_eq!(
        rule_error("    init: he\n    layer: {by: 2}\n"),
        "configs/x.yaml:5:17: `rules[0].layer.by` refers to group 2, but pattern `fc*.weight` has 1 group"
    );
    assert_eq!(
        rule_error("    init: he\n    layer: {by: n}\n"),
        "configs/x.yaml:5:17: `rules[0].layer.by` refers to group `n`, but pattern `fc*.weight` has no group \
         with a name"
    );
    assert_eq!(
        error("{seed: 1, rules: [{match: ['a.*', b], init: he, layer: {step: 2}}]}", &[]),
        "configs/x.yaml:1:63: `rules[0].layer.step` refers to group 1, but pattern `b` has no group"
    );
}

#[test]
fn outputs_in_one_file() {
    assert_eq!(
        error("seed: 1\ninit: {output: out/a}\nprune: {output: out/./a}\n", &[]),
        "configs/x.yaml:3:17: `prune.output` writes the same file as `init.output`: configs/out/./a"
    );
}

#[test]
fn later_stages_locate_their_errors() {
    let text = "seed: 1\nrules:\n  - {match: a, init: he}\n  - match: conv*\n    init: he\n";
    let settings = Settings::parse(text, Path::new("configs/x.yaml"), &[]).unwrap();
    let kind = || ConfigErrorKind::RuleMatchesNothing {
        patterns: vec!["conv*".to_owned()],
        hint: PatternHint::Near("conv1.weight".to_owned()),
    };
    let at = |path: &str| settings.source.error(&KeyPath::parse(path).unwrap(), kind());
    assert_eq!(
        at("rules[1]").to_string(),
        "configs/x.yaml:4:5: this rule matches no tensor: `conv*` (did you mean `conv1.weight`?) (use \
         `optional: true` to allow this)"
    );
    let position = |line, column| Place::Position { file: "configs/x.yaml".into(), line, column };
    assert_eq!(at("rules[1].match").place, position(4, 12));
    assert_eq!(at("rules[1].layer.by").place, position(4, 5), "the rule, where it has no such key");
    assert_eq!(at("prune.rules[0]").place, position(1, 1));
    let stage = ConfigErrorKind::Stage("the model has no tensor".into());
    let error = settings.source.error(&KeyPath::root().key("rules"), stage);
    assert_eq!(error.to_string(), "configs/x.yaml:3:3: the model has no tensor");
}
