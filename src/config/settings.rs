//! The settings: a config in which everything is decided.

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

/// Everything that a config says, defaults filled in. Paths are joined to the config's folder where they were
/// relative, and otherwise as written. `None` means that there is none, never that a default applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The text that all this is from; locates what later stages find wrong.
    pub source: Source,
    /// SHA-256 in lower-case hexadecimal of the config file's bytes, followed, for each override in order, by
    /// a line feed, `--set ` and the override as given.
    pub config_sha256: String,
    /// Seed of all noise; a negative one as its two's complement; 0 where there is none,
    /// and nothing is drawn.
    pub seed: u64,
    /// The tensors to initialise.
    pub model: Option<ModelSettings>,
    /// The layout of tensors whose rule names none.
    pub layout: Layout,
    /// Where initial values come from. [`InitRule`]s and their patterns are in the config's order.
    pub rules: RuleSet<InitRule>,
    /// Where the initial checkpoint goes; `None` where none is written.
    pub init: Option<InitSettings>,
    /// The trained checkpoint.
    pub trained: Option<TrainedSettings>,
    /// Whether the config has the key `analyze`, and so asks for that stage.
    pub analyze_named: bool,
    /// How trained and initial values are compared, whoever asks.
    pub analyze: AnalyzeSettings,
    /// How the trained checkpoint is pruned; `None` where it is not.
    pub prune: Option<PruneSettings>,
    /// How the smallest file is searched for; `prune` is then the first thing tried.
    pub tune: Option<TuneSettings>,
    /// Limits that the result must keep.
    pub gates: Gates,
    /// Where a run's manifest goes; `None` where none is written.
    pub manifest: Option<PathBuf>,
}

/// The tensors to initialise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSettings {
    /// A checkpoint whose tensors they are, unless `tensors` lists them.
    pub like: Option<PathBuf>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, (Shape, FloatDtype)>,
}

/// What a rule says about the tensors it matches.
#[derive(Clone, Debug, PartialEq)]
pub struct InitRule {
    /// The rule's patterns as written.
    pub text: Vec<String>,
    /// Their layer ids.
    pub layer: LayerRule,
    /// Their initial values.
    pub init: InitSource,
    /// The slices that they are cut into, of which each starts as a tensor of its own; empty for most.
    pub slices: Vec<SliceRule>,
    /// Their layout.
    pub layout: Layout,
    /// Whether the config says so. Where it does not, stacked experts are told by their name.
    pub layout_given: bool,
    /// The factor that weight decay put on those without gradient, where the rule names one.
    pub decay: Option<Decay>,
    /// Whether they may share a layer id with another tensor.
    pub shared: bool,
    /// Whether it is fine that the rule matches nothing.
    pub optional: bool,
}

/// A slice of a fused tensor along its output dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceRule {
    /// Its name, which no other slice of the rule has.
    pub name: String,
    /// Outputs, more than 0; `None` for an equal share of what the others leave.
    pub size: Option<usize>,
    /// Its layer id. `None` for one that follows from the rule's: of `auto` the hash of the tensor's name, a
    /// dot and the slice's; otherwise the rule's id plus the number of the slice.
    pub layer: Option<LayerRule>,
    /// Its initial values.
    pub scheme: Scheme,
}

/// Where initial values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum InitSource {
    /// Drawn from the seed.
    Scheme(Scheme),
    /// The tensor of the same name in this checkpoint.
    From(PathBuf),
    /// Not known: the tensor is neither initialised nor compared.
    None,
}

/// Where the initial checkpoint goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitSettings {
    /// Path of the file.
    pub output: PathBuf,
    /// Most bytes of a shard; `None` writes one file whatever its size.
    pub max_shard_size: Option<u64>,
}

/// The trained checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedSettings {
    /// A safetensors file, an index, or a folder.
    pub path: PathBuf,
    /// Components to take out of its tensors' names, wherever they stand; before the prefixes.
    pub strip: Vec<String>,
    /// Prefixes to take off its tensors' names, in order.
    pub strip_prefix: Vec<String>,
}

/// The factor that weight decay put on weights without gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// This one, finite and above 0; 1 for `none`.
    Fixed(f64),
    /// The weights are to tell it.
    Auto,
}

/// How trained and initial values are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzeSettings {
    /// The largest change of a weight that sleeps; default 0. `None` where the weights are to tell it.
    pub threshold: Option<Threshold>,
    /// The factor for tensors whose rule names none.
    pub decay: Decay,
    /// Files for the results.
    pub report: ReportPaths,
}

/// Files for the results of the analysis; `None` where a format is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPaths {
    /// JSON.
    pub json: Option<PathBuf>,
    /// Comma-separated values.
    pub csv: Option<PathBuf>,
    /// Markdown.
    pub markdown: Option<PathBuf>,
    /// One page with everything, for a browser.
    pub html: Option<PathBuf>,
    /// A folder for the plots.
    pub svg: Option<PathBuf>,
}

impl Settings {
    /// The checkpoint that initial values are taken from: the first, where rules name several.
    pub fn base(&self) -> Option<&Path> {
        self.rules.rules().iter().find_map(|rule| match &rule.value.init {
            InitSource::From(path) => Some(path.as_path()),
            _ => None,
        })
    }
}
