//! From the config as typed to settings: every default is filled in here, every combination checked.

mod decision;
mod gates;
mod init;
mod layout;
mod prune;
mod stages;
mod tune;
mod value;

use std::path::Path;

use super::error::{ConfigErrorKind, Problem};
use super::node::Node;
use super::path::KeyPath;
use super::settings::{InitSource, Settings};
use super::source::Source;
use super::wire::Config;
use value::Folder;

/// The settings that the config makes.
pub(super) fn settings(config: Config, source: &Source, config_sha256: String) -> Result<Settings, Problem> {
    let root = KeyPath::root();
    version(config.version.as_ref(), &root.key("version"))?;
    let folder = Folder::of(source.file());
    let named = gates::Named {
        trained: config.trained.is_some(),
        compared: config.analyze.is_some() || config.prune.is_some(),
        prune: config.prune.is_some(),
        tune: config.tune.is_some(),
    };
    let gates = config.gates.as_ref().map(|g| gates::gates(g, &root.key("gates"), &named)).transpose()?;
    let pruning = config.prune.as_ref();
    let tuned = match (&config.tune, pruning) {
        (None, _) => None,
        (Some(tune), Some(prune)) if named.trained => {
            Some(tune::tune(tune, prune, &root.key("tune"), &folder)?)
        }
        (Some(_), prune) => {
            let needs = if prune.is_none() { "prune" } else { "trained" };
            let path = root.key("tune");
            return Err(Problem::at_key(&path, ConfigErrorKind::NeedsKey { key: path.clone(), needs }));
        }
    };
    let layout = match config.model.as_ref().and_then(|model| model.layout.as_ref()) {
        Some(node) => layout::layout(node, &root.key("model").key("layout"))?,
        None => crate::tensor::Layout::default(),
    };
    let settings = Settings {
        source: source.clone(),
        config_sha256,
        seed: seed(&config.seed, &root.key("seed"))?,
        model: config.model.map(|m| stages::model(m, &root.key("model"), &folder)).transpose()?,
        layout,
        rules: init::rules(&config.rules, &root.key("rules"), layout, &folder)?,
        init: config.init.map(|i| stages::init(i, &root.key("init"), &folder)).transpose()?,
        trained: config.trained.map(|t| stages::trained(t, &root.key("trained"), &folder)).transpose()?,
        analyze_named: config.analyze.is_some(),
        analyze: stages::analyze(config.analyze.unwrap_or_default(), &root.key("analyze"), &folder)?,
        prune: match &tuned {
            Some((_, first)) => Some(first.clone()),
            None => config.prune.map(|p| prune::prune(p, &root.key("prune"), &folder)).transpose()?,
        },
        tune: tuned.map(|(tune, _)| tune),
        gates: gates.unwrap_or_default(),
        manifest: folder.join_some(config.manifest),
    };
    outputs_differ(&settings)?;
    Ok(settings)
}

/// A rule's `init` alone; a path in it stays as it is.
pub(super) fn init_value(node: &Node, path: &KeyPath) -> Result<InitSource, Problem> {
    init::init(node, path, &Folder::of(Path::new("")))
}

fn version(node: Option<&Node>, path: &KeyPath) -> Result<(), Problem> {
    match node {
        None | Some(Node::Int(1)) => Ok(()),
        Some(other) => Err(Problem::at_value(path, ConfigErrorKind::Version(other.to_string()))),
    }
}

/// Signed and unsigned seeds of 64 bits; a negative one as its two's complement.
fn seed(node: &Node, path: &KeyPath) -> Result<u64, Problem> {
    match node {
        Node::Int(i) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(i) => Ok(*i as u64),
        other => Err(Problem::bad_value(path, "a whole number from -2^63 to 2^64-1", other)),
    }
}

/// Two outputs in one file would leave only the later one.
fn outputs_differ(settings: &Settings) -> Result<(), Problem> {
    let report = &settings.analyze.report;
    let key = |stage: &str, name: &str| KeyPath::root().key(stage).key(name);
    let report_key = |name: &str| key("analyze", "report").key(name);
    let outputs = [
        (key("init", "output"), settings.init.as_ref().map(|init| &init.output)),
        (report_key("json"), report.json.as_ref()),
        (report_key("csv"), report.csv.as_ref()),
        (report_key("markdown"), report.markdown.as_ref()),
        (report_key("html"), report.html.as_ref()),
        (report_key("svg"), report.svg.as_ref()),
        (key("prune", "output"), settings.prune.as_ref().map(|prune| &prune.output)),
        (KeyPath::root().key("manifest"), settings.manifest.as_ref()),
    ];
    for (i, (second, file)) in outputs.iter().enumerate() {
        let Some(file) = file else { continue };
        if let Some((first, _)) = outputs[..i].iter().find(|(_, earlier)| earlier.as_ref() == Some(file)) {
            let kind = ConfigErrorKind::SameOutput {
                first: first.clone(),
                second: second.clone(),
                file: (*file).clone(),
            };
            return Err(Problem::at_value(second, kind));
        }
    }
    Ok(())
}
