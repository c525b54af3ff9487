//! Configs that are accepted, and the settings they make.

use std::path::{Path, PathBuf};

use super::*;
use crate::analysis::Threshold;
use crate::init::{Scheme, SchemeParams};
use crate::sparse::{Fill, Format};
use crate::tensor::{FloatDtype, Layout, Shape};

/// The example of the interface's page, with the values of this version.
const EXAMPLE: &str = r#"
version: 1
seed: 42                          # -2^63 … 2^64-1

model:                            # the tensors to initialise
  like: skeleton.safetensors      # names, shapes and types of this file, folder or index …
  tensors:                        # … and/or listed here, which wins where both name one
    fc1.weight: [256, 784]
    fc2.weight: {shape: [10, 256], dtype: bf16}
  dtype: f32
  layout: out_in

rules:                            # ordered, the first match wins; a tensor that none matches is an error
  - match: "fc*.weight"           # a glob or a list of globs, anchored at both ends
    layer: {base: 0, step: 1, by: 1}
    init: he
  - match: "blocks.*.attn.{q,k,v}.weight"
    init: {mode: attention, d_model: 512}
  - match: "**.bias"
    init: zeros

init:    {output: out/init.safetensors, max_shard_size: 5GB}
trained: {path: runs/last/model.safetensors, strip_prefix: ["module.", "_orig_mod."]}
analyze:
  threshold: 1e-6
  decay: none
  report: {json: out/report.json, csv: out/report.csv, markdown: out/report.md, html: out/report.html, svg: out/plots}
prune:
  output: out/pruned.safetensors
  criterion: sleeping
  target: threshold
  scope: tensor
  structure: unstructured
  fill: zero
  format: auto
  dtype: keep
  rules:
    - {match: ["**.bias", "**norm**"], keep: true}
"#;

fn parse(text: &str) -> Settings {
    Settings::parse(text, Path::new("configs/x.yaml"), &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// The settings with one rule, of which `rest` is the end.
fn rule(rest: &str) -> InitRule {
    parse(&format!("{{seed: 1, rules: [{{match: 're:b\\.(?P<n>\\d+)', {rest}}}]}}")).rules.rules()[0]
        .value
        .clone()
}

fn scheme(params: SchemeParams) -> Scheme {
    params.scheme().unwrap()
}

#[test]
fn the_example_of_the_interface_makes_its_settings() {
    let settings = parse(EXAMPLE);
    assert_eq!((settings.seed, settings.layout), (42, Layout::OutIn));
    assert_eq!(settings.config_sha256.len(), 64);
    let shape = |dims: &[usize]| Shape::new(dims.to_vec()).unwrap();
    let model = settings.model.unwrap();
    assert_eq!(model.like, Some(PathBuf::from("configs/skeleton.safetensors")));
    assert_eq!(
        model.tensors.into_iter().collect::<Vec<_>>(),
        [
            ("fc1.weight".to_owned(), (shape(&[256, 784]), FloatDtype::F32)),
            ("fc2.weight".to_owned(), (shape(&[10, 256]), FloatDtype::Bf16)),
        ]
    );
    let init_rule = |text: &str, layer, params| InitRule {
        text: vec![text.to_owned()],
        layer,
        init: InitSource::Scheme(scheme(params)),
        slices: Vec::new(),
        layout: Layout::OutIn,
        layout_given: true,
        decay: None,
        shared: false,
        optional: false,
    };
    let by_first = LayerRule::Affine { base: 0, step: 1, by: Some(Group::Number(1)) };
    let attention = SchemeParams { d_model: Some(512), ..SchemeParams::named("attention") };
    assert_eq!(
        settings.rules.rules().iter().map(|rule| rule.value.clone()).collect::<Vec<_>>(),
        [
            init_rule("fc*.weight", by_first, SchemeParams::named("he")),
            init_rule("blocks.*.attn.{q,k,v}.weight", LayerRule::Auto, attention),
            init_rule("**.bias", LayerRule::Auto, SchemeParams::named("zeros")),
        ]
    );
    let init =
        InitSettings { output: "configs/out/init.safetensors".into(), max_shard_size: Some(5_000_000_000) };
    assert_eq!(settings.init, Some(init));
    let trained = TrainedSettings {
        path: "configs/runs/last/model.safetensors".into(),
        strip: Vec::new(),
        strip_prefix: vec!["module.".into(), "_orig_mod.".into()],
    };
    assert_eq!(settings.trained, Some(trained));
    assert!(settings.analyze_named);
    let report = ReportPaths {
        json: Some("configs/out/report.json".into()),
        csv: Some("configs/out/report.csv".into()),
        markdown: Some("configs/out/report.md".into()),
        html: Some("configs/out/report.html".into()),
        svg: Some("configs/out/plots".into()),
    };
    let threshold = Some(Threshold::Absolute(1e-6));
    assert_eq!(settings.analyze, AnalyzeSettings { threshold, decay: Decay::Fixed(1.0), report });
    let prune = settings.prune.unwrap();
    assert_eq!(prune.output, Path::new("configs/out/pruned.safetensors"));
    assert_eq!((prune.fill, prune.format, prune.max_shard_size), (Fill::Zero, FormatChoice::Auto, None));
    let keep = PruneRule {
        text: vec!["**.bias".into(), "**norm**".into()],
        keep: true,
        decision: prune.decision.clone(),
        optional: false,
        values: None,
    };
    assert_eq!(prune.rules.find("a.norm1.weight").unwrap().value, &keep);
}

#[test]
fn defaults_are_decided() {
    let settings = parse("seed: 1");
    assert_eq!((settings.model, settings.init, settings.trained, settings.prune), (None, None, None, None));
    assert!(settings.rules.is_empty() && !settings.analyze_named);
    let analyze = AnalyzeSettings {
        threshold: Some(Threshold::Absolute(0.0)),
        decay: Decay::Fixed(1.0),
        report: ReportPaths::default(),
    };
    assert_eq!(settings.analyze, analyze);
    assert!(parse("seed: 1\nanalyze:\n").analyze_named, "a key without a value asks for the stage");
    let settings = parse(
        "{seed: 1, model: {dtype: f16, layout: in_out, tensors: {s: []}}, rules: [{match: s, init: he}]}",
    );
    assert_eq!(settings.rules.rules()[0].value.layout, Layout::InOut);
    assert_eq!(settings.model.unwrap().tensors["s"], (Shape::new(vec![]).unwrap(), FloatDtype::F16));
}

#[test]
fn seeds_of_both_signs() {
    let seed = |text: &str| parse(&format!("seed: {text}")).seed;
    assert_eq!(seed("-1"), u64::MAX);
    assert_eq!(seed("-9223372036854775808"), 1 << 63);
    assert_eq!(seed("18446744073709551615"), u64::MAX);
    assert_eq!(seed("0x10"), 16);
}

#[test]
fn every_form_of_a_layer() {
    let layer = |text: &str| rule(&format!("init: he, layer: {text}")).layer;
    let affine = |base, step, by| LayerRule::Affine { base, step, by };
    assert_eq!(layer("3"), affine(3, 1, None));
    assert_eq!(layer("auto"), LayerRule::Auto);
    assert_eq!(layer("{base: 7}"), affine(7, 1, None));
    assert_eq!(layer("{step: 2}"), affine(0, 2, Some(Group::Number(1))));
    assert_eq!(layer("{base: 10, by: n}"), affine(10, 1, Some(Group::Name("n".into()))));
    assert_eq!(layer("18446744073709551615"), affine(u64::MAX, 1, None));
}

#[test]
fn every_form_of_an_initial_value() {
    let init = |text: &str| rule(&format!("init: {text}")).init;
    assert_eq!(init("none"), InitSource::None);
    assert_eq!(init("{from: base/}"), InitSource::From("configs/base/".into()));
    assert_eq!(init("{from: /base.safetensors}"), InitSource::From("/base.safetensors".into()));
    assert_eq!(init("glorot"), InitSource::Scheme(scheme(SchemeParams::named("xavier"))));
    let normal = SchemeParams { std: Some(1.0), mean: Some(-0.5), ..SchemeParams::named("normal") };
    assert_eq!(init("{mode: normal, std: 1, mean: -0.5}"), InitSource::Scheme(scheme(normal)));
}

#[test]
fn rules_may_be_written_as_json() {
    let text = r#"{"seed": 1, "rules": [
        {"match": "fc1.weight", "layer": 0, "init": {"mode": "normal", "std": 0.02}},
        {"match": ["fc2.weight", "fc3.weight"], "init": "zeros", "shared": true, "optional": true}]}"#;
    let rules = parse(text).rules;
    let normal = SchemeParams { std: Some(0.02), ..SchemeParams::named("normal") };
    assert_eq!(rules.rules()[0].value.init, InitSource::Scheme(scheme(normal)));
    let second = rules.find("fc3.weight").unwrap();
    assert_eq!((second.rule, second.pattern), (1, 1));
    assert!(second.value.shared && second.value.optional);
}

#[test]
fn thresholds_decays_formats_and_prefixes() {
    let analyze = |text: &str| parse(&format!("{{seed: 1, analyze: {{{text}}}}}")).analyze;
    assert_eq!(analyze("threshold: 1").threshold, Some(Threshold::Absolute(1.0)));
    assert_eq!(analyze("threshold: {relative: 1}").threshold, Some(Threshold::Relative(1.0)));
    assert_eq!(analyze("threshold: {ulps: 3}").threshold, Some(Threshold::Ulps(3)));
    assert!(
        matches!(analyze("threshold: -0.0").threshold, Some(Threshold::Absolute(x)) if x.is_sign_positive())
    );
    assert_eq!(analyze("threshold: auto").threshold, None);
    assert_eq!(analyze("decay: 0.9").decay, Decay::Fixed(0.9));
    assert_eq!(analyze("decay: auto").decay, Decay::Auto);
    let rules =
        parse("{seed: 1, rules: [{match: a, init: he, decay: auto}, {match: b, init: he, decay: none}]}");
    let decays: Vec<_> = rules.rules.rules().iter().map(|rule| rule.value.decay).collect();
    assert_eq!(decays, [Some(Decay::Auto), Some(Decay::Fixed(1.0))]);
    let prune =
        parse("{seed: 1, prune: {output: p, fill: init, format: bitmask, max_shard_size: 4MiB}}").prune;
    let prune = prune.unwrap();
    assert_eq!((prune.fill, prune.format), (Fill::Init, FormatChoice::Fixed(Format::Bitmask)));
    assert_eq!(prune.max_shard_size, Some(4 << 20));
    let trained = parse("{seed: 1, trained: {path: /t, strip_prefix: module.}}").trained.unwrap();
    assert_eq!((trained.path, trained.strip_prefix), ("/t".into(), vec!["module.".to_owned()]));
}

#[test]
fn overrides_win_and_show_in_the_digest() {
    let overrides = ["seed=7", "rules.0.init={mode: constant, value: 2}", "model.tensors.\"a.b\"=[2, 3]"];
    let overrides = overrides.map(str::to_owned);
    let text = "{seed: 1, rules: [{match: a.b, init: he}, {match: c, init: he}]}";
    let settings = Settings::parse(text, Path::new("x.yaml"), &overrides).unwrap();
    assert_eq!(settings.seed, 7);
    let constant = InitSource::Scheme(Scheme::Constant(2.0));
    assert_eq!(settings.rules.rules()[0].value.init, constant);
    assert_eq!(settings.model.unwrap().tensors["a.b"].0.dims(), [2, 3]);
    assert_eq!(settings.source.overrides().collect::<Vec<_>>(), overrides);
    assert_eq!(settings.source.text(), text);
    // printf 'seed: 1' | sha256sum; printf 'seed: 1\n--set seed=2' | sha256sum
    assert_eq!(parse("seed: 1").config_sha256, PLAIN);
    let set = Settings::parse("seed: 1", Path::new("x"), &["seed=2".to_owned()]).unwrap();
    assert_eq!(set.config_sha256, OVERRIDDEN);
}

const PLAIN: &str = "e8b0d9f7f4027917287b4adebf4c0bbfe2f9965ae54c4cfe62aab76b20a9af18";
const OVERRIDDEN: &str = "c40789dfe92229982310c388b1a6840106d7a18f26f41f447089f9a85c775679";

#[test]
fn the_folder_of_a_bare_file_name_is_the_current_one() {
    let settings = Settings::parse("{seed: 1, init: {output: a}}", Path::new("x.yaml"), &[]).unwrap();
    assert_eq!(settings.init.unwrap().output, Path::new("a"));
}
