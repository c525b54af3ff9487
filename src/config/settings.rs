//! The settings: a config with every default filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layer::LayerRule;
use super::pruning::PruneSettings;
use super::source::Source;
use super::tune::TuneSettings;
use crate::analysis::Threshold;
use crate::gates::Gates;
use crate::init::Scheme;
use crate::rules::RuleSet;
use crate::tensor::{FloatDtype, Layout, Shape};

/// All settings of a config, with defaults filled in. Relative paths are joined to the folder of the config,
/// other paths are as written. `None` means that there is none, never that a default applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The text of the config; provides positions for the errors of later stages.
    pub source: Source,
    /// SHA-256, in lower-case hexadecimal, of the bytes of the config file, followed for each override, in
    /// order, by a line feed, `--set ` and the override as given.
    pub config_sha256: String,
    /// Seed of all noise; a negative seed as its two's complement; 0 if there is none and
    /// nothing depends on it.
    pub seed: u64,
    /// The tensors to initialise.
    pub model: Option<ModelSettings>,
    /// Layout of tensors whose rule has none.
    pub layout: Layout,
    /// Sources of initial values. The rules and their patterns are in the order of the config.
    pub rules: RuleSet<InitRule>,
    /// Output of the initial checkpoint; `None` if none is written.
    pub init: Option<InitSettings>,
    /// The trained checkpoint.
    pub trained: Option<TrainedSettings>,
    /// Whether the config has the key `analyze`, which requests that stage.
    pub analyze_named: bool,
    /// How trained and initial values are compared, in any stage.
    pub analyze: AnalyzeSettings,
    /// How the trained checkpoint is pruned; `None` if it is not.
    pub prune: Option<PruneSettings>,
    /// The search for the smallest file; `prune` is then the first candidate.
    pub tune: Option<TuneSettings>,
    /// Limits that the result must meet.
    pub gates: Gates,
    /// Output of the manifest; `None` if none is written.
    pub manifest: Option<PathBuf>,
}

/// The tensors to initialise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSettings {
    /// A checkpoint with the tensors; those in `tensors` take precedence.
    pub like: Option<PathBuf>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, (Shape, FloatDtype)>,
}

/// Initial values of the tensors that a rule matches.
#[derive(Clone, Debug, PartialEq)]
pub struct InitRule {
    /// The rule's patterns as written.
    pub text: Vec<String>,
    /// Their layer ids.
    pub layer: LayerRule,
    /// Their initial values.
    pub init: InitSource,
    /// Slices of the tensors, each initialised like a separate tensor; usually empty.
    pub slices: Vec<SliceRule>,
    /// Their layout.
    pub layout: Layout,
    /// Whether the config gives the layout. Otherwise, stacked experts are recognised by their names.
    pub layout_given: bool,
    /// Factor by which weight decay multiplied weights without gradient, if the rule gives it.
    pub decay: Option<Decay>,
    /// Whether the tensors may share layer ids.
    pub shared: bool,
    /// Whether the rule may match nothing.
    pub optional: bool,
}

/// A slice of a fused tensor along its output dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceRule {
    /// Its name, unique within the rule.
    pub name: String,
    /// Number of outputs, more than 0; `None` for an equal share of what the others leave.
    pub size: Option<usize>,
    /// Its layer id; `None` to derive it from the rule. With `auto`, it is the hash of the name of the
    /// tensor, a dot and the name of the slice; otherwise, the id of the rule plus the number of the slice.
    pub layer: Option<LayerRule>,
    /// Its initial values.
    pub scheme: Scheme,
}

/// Source of initial values.
#[derive(Clone, Debug, PartialEq)]
pub enum InitSource {
    /// Drawn from the seed.
    Scheme(Scheme),
    /// The tensor of the same name in this checkpoint.
    From(PathBuf),
    /// Unknown: the tensor is neither initialised nor compared.
    None,
}

/// Output of the initial checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitSettings {
    /// Path of the file.
    pub output: PathBuf,
    /// Maximum bytes per shard; `None` for one file of any size.
    pub max_shard_size: Option<u64>,
}

/// The trained checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedSettings {
    /// A safetensors file, an index, or a folder.
    pub path: PathBuf,
    /// Components to remove from the names of its tensors, wherever they occur; applied before the prefixes.
    pub strip: Vec<String>,
    /// Prefixes to remove from the names of its tensors, in order.
    pub strip_prefix: Vec<String>,
}

/// Factor by which weight decay multiplied weights without gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// This factor, finite and greater than 0; 1 for `none`.
    Fixed(f64),
    /// Inferred from the weights.
    Auto,
}

/// How trained and initial values are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzeSettings {
    /// Maximum change of a sleeping weight; default 0. `None` to infer it from the weights.
    pub threshold: Option<Threshold>,
    /// Decay factor for tensors whose rule has none.
    pub decay: Decay,
    /// Files for the results.
    pub report: ReportPaths,
}

/// Files for the results of the analysis; `None` for formats that are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPaths {
    /// JSON.
    pub json: Option<PathBuf>,
    /// Comma-separated values.
    pub csv: Option<PathBuf>,
    /// Markdown.
    pub markdown: Option<PathBuf>,
    /// One HTML page with everything.
    pub html: Option<PathBuf>,
    /// A folder for the plots.
    pub svg: Option<PathBuf>,
}

impl Settings {
    /// The checkpoint with initial values; the first, if rules name several.
    pub fn base(&self) -> Option<&Path> {
        self.rules.rules().iter().find_map(|rule| match &rule.value.init {
            InitSource::From(path) => Some(path.as_path()),
            _ => None,
        })
    }
}
