//! Resolves the typed config to settings: fills in every default and checks every combination.

mod decision;
mod gates;
mod init;
mod layout;
mod prune;
mod stages;
mod tune;
mod value;
mod values;

use std::path::Path;

use super::error::{ConfigErrorKind, Problem};
use super::node::Node;
use super::outputs::OutputKind;
use super::path::KeyPath;
use super::settings::{InitRule, InitSource, Settings};
use super::source::Source;
use super::tune::TuneSearch;
use super::wire::Config;
use crate::prune::{Criterion, Decision};
use crate::rules::Rule;
use value::Folder;

/// The settings of a config.
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
    let seeded = config.seed.is_some();
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
    let layout_given = config.model.as_ref().is_some_and(|model| model.layout.is_some());
    let layout = match config.model.as_ref().and_then(|model| model.layout.as_ref()) {
        Some(node) => layout::layout(node, &root.key("model").key("layout"))?,
        None => crate::tensor::Layout::default(),
    };
    let settings = Settings {
        source: source.clone(),
        config_sha256,
        seed: config.seed.as_ref().map(|node| seed(node, &root.key("seed"))).transpose()?.unwrap_or(0),
        model: config.model.map(|m| stages::model(m, &root.key("model"), &folder)).transpose()?,
        layout,
        rules: init::rules(&config.rules, &root.key("rules"), (layout, layout_given), &folder)?,
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
        manifest: folder.join_some(config.manifest, &root.key("manifest"))?,
    };
    if let (false, Some(by)) = (seeded, draws(&settings)) {
        return Err(Problem::at_key(&root, ConfigErrorKind::MissingSeed { by }));
    }
    outputs_differ(&settings)?;
    Ok(settings)
}

/// The `init` of a rule alone. A path in it is not resolved.
pub(super) fn init_value(node: &Node, path: &KeyPath) -> Result<InitSource, Problem> {
    init::init(node, path, &Folder::of(Path::new("")))
}

fn version(node: Option<&Node>, path: &KeyPath) -> Result<(), Problem> {
    match node {
        None | Some(Node::Int(1)) => Ok(()),
        Some(other) => Err(Problem::at_value(path, ConfigErrorKind::Version(other.to_string()))),
    }
}

/// Signed and unsigned 64-bit seeds; a negative seed as its two's complement.
fn seed(node: &Node, path: &KeyPath) -> Result<u64, Problem> {
    match node {
        Node::Int(i) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(i) => Ok(*i as u64),
        other => Err(Problem::bad_value(path, "a whole number from -2^63 to 2^64-1", other)),
    }
}

/// The first key that depends on the seed.
pub(super) fn draws(settings: &Settings) -> Option<KeyPath> {
    let root = KeyPath::root();
    let rules = root.key("rules");
    let by_rule = |(n, rule): (usize, &Rule<InitRule>)| {
        let InitRule { init, slices, .. } = &rule.value;
        let path = rules.index(n);
        match init {
            InitSource::Scheme(scheme) if slices.is_empty() => scheme.is_random().then(|| path.key("init")),
            _ => slices.iter().any(|slice| slice.scheme.is_random()).then(|| path.key("slices")),
        }
    };
    let initial = settings.rules.rules().iter().enumerate().find_map(by_rule);
    let random = |decision: &Decision| decision.criterion == Criterion::Random;
    let prune = root.key("prune");
    let by_pruning = || {
        let settings = settings.prune.as_ref()?;
        if random(&settings.decision) {
            return Some(prune.key("criterion"));
        }
        let rule = settings
            .rules
            .rules()
            .iter()
            .position(|rule| !rule.value.keep && random(&rule.value.decision))?;
        Some(prune.key("rules").index(rule).key("criterion"))
    };
    let by_tuning = || {
        let TuneSearch::Sparsity { recipes, .. } = &settings.tune.as_ref()?.search else { return None };
        recipes
            .iter()
            .any(|recipe| random(&recipe.at(0.0).decision))
            .then(|| root.key("tune").key("criteria"))
    };
    initial.or_else(by_pruning).or_else(by_tuning)
}

/// Refuses two outputs with the same file, because only the later one would remain.
fn outputs_differ(settings: &Settings) -> Result<(), Problem> {
    let mut earlier: Vec<(OutputKind, &Path)> = Vec::new();
    for (kind, file) in settings.outputs() {
        if let Some((first, _)) = earlier.iter().find(|(_, other)| *other == file) {
            let (first, second, file) = (first.key(), kind.key(), file.to_owned());
            let kind = ConfigErrorKind::SameOutput { first, second: second.clone(), file };
            return Err(Problem::at_value(&second, kind));
        }
        earlier.push((kind, file));
    }
    Ok(())
}
