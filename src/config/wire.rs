//! The config as typed: one structure per mapping of the interface's page, nothing decided yet.
//!
//! A value that may be written in several ways (a number or a mapping, a word or a list) is kept as a [`Node`] and
//! read where it is decided, so that its errors can speak of all its forms; its schema is in [`super::forms`].

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms;
pub(super) use super::forms::{
    Affine, FromCheckpoint, FullTensor as Tensor, Scores, Slice, SparsityGate, StructureForm, TargetForm,
    ThresholdForm,
};
pub(super) use super::goals::{BetterWord, Gates, Tune};
use super::node::Node;
use crate::tensor::FloatDtype;

/// Which weights a model starts from, what its training changed, and which of them are pruned. A relative path is
/// relative to the config's folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "cdi-prune config")]
pub(super) struct Config {
    /// Version of the config's format: 1.
    #[schemars(with = "Option<forms::Version>")]
    pub version: Option<Node>,
    /// Seed of every initial value, a whole number from -2^63 to 2^64-1; needed where anything is drawn from it.
    #[schemars(with = "Option<forms::Seed>")]
    pub seed: Option<Node>,
    /// The tensors to initialise.
    pub model: Option<Model>,
    /// How each tensor's initial values are made: ordered, the first rule that matches wins.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Where the initial checkpoint is written.
    pub init: Option<Init>,
    /// The checkpoint that training made.
    pub trained: Option<Trained>,
    /// How the trained checkpoint is compared with the initial values.
    pub analyze: Option<Analyze>,
    /// How the trained checkpoint is pruned.
    pub prune: Option<Prune>,
    /// Search for the smallest file that keeps the accuracy, as a command of yours measures it.
    pub tune: Option<Tune>,
    /// Limits that the result must keep, checked last: exit code 4 where it does not.
    pub gates: Option<Gates>,
    /// Every file that `run` read and wrote with its digest, written last.
    pub manifest: Option<PathBuf>,
}

/// The tensors to initialise: those of a checkpoint, those listed, or both; the list wins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    /// Take names, shapes and types from this checkpoint: a safetensors file, an index, or a folder.
    pub like: Option<PathBuf>,
    /// Tensors by name: a shape, or a shape and a type.
    #[schemars(with = "Option<std::collections::BTreeMap<String, forms::Tensor>>")]
    pub tensors: Option<Node>,
    /// Type of the listed tensors that name none; default f32.
    pub dtype: Option<FloatDtype>,
    /// Which dimensions hold outputs and inputs: out_in (PyTorch, the default), in_out (Flax, Keras), or a role for each
    /// dimension.
    #[schemars(with = "Option<forms::LayoutValue>")]
    pub layout: Option<Node>,
}

/// Initial values for the tensors whose names match.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// A glob anchored at both ends, `re:` and an unanchored regular expression, or a list of them.
    #[serde(rename = "match")]
    #[schemars(with = "forms::OneOrMany")]
    pub patterns: Node,
    /// The tensors' layer id; default auto, the hash of the name.
    #[schemars(with = "Option<forms::Layer>")]
    pub layer: Option<Node>,
    /// A mode, a mode with parameters, another checkpoint, or none.
    #[schemars(with = "forms::InitValue")]
    pub init: Node,
    /// For a fused tensor, its slices along the output dimension, each initialised as a tensor of its own: names, or names
    /// with sizes, layers and inits.
    #[schemars(with = "Option<Vec<forms::SliceForm>>")]
    pub slices: Option<Node>,
    /// Overrides the model's layout.
    #[schemars(with = "Option<forms::LayoutValue>")]
    pub layout: Option<Node>,
    /// Overrides `analyze.decay` for these tensors.
    #[schemars(with = "Option<forms::Decay>")]
    pub decay: Option<Node>,
    /// Allow tensors to share a layer id, and so their noise; default false.
    #[serde(default)]
    pub shared: bool,
    /// Allow the rule to match nothing; default false.
    #[serde(default)]
    pub optional: bool,
}

/// Where the initial checkpoint is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Init {
    /// The file.
    pub output: PathBuf,
    /// Split into shards above this size; default one file.
    #[schemars(with = "Option<forms::Size>")]
    pub max_shard_size: Option<Node>,
}

/// The checkpoint that training made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trained {
    /// A safetensors file, an index, or a folder.
    pub path: PathBuf,
    /// A prefix to take off its tensors' names, or a list of prefixes.
    #[schemars(with = "Option<forms::OneOrMany>")]
    pub strip_prefix: Option<Node>,
    /// A name that wrappers put between the dots of its tensors' names, such as _orig_mod, to take out wherever it
    /// stands; or a list of them.
    #[schemars(with = "Option<forms::OneOrMany>")]
    pub strip: Option<Node>,
}

/// How the trained checkpoint is compared with the initial values.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Analyze {
    /// The largest change of a weight that sleeps; default 0; auto to let the weights tell it.
    #[schemars(with = "Option<forms::ThresholdValue>")]
    pub threshold: Option<Node>,
    /// The factor by which weight decay shrank weights without gradient; default none, which is 1; auto to let the weights
    /// tell it.
    #[schemars(with = "Option<forms::Decay>")]
    pub decay: Option<Node>,
    /// Files to write the results to.
    pub report: Option<Report>,
}

/// Files for the results of the analysis.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    /// JSON.
    pub json: Option<PathBuf>,
    /// Comma-separated values.
    pub csv: Option<PathBuf>,
    /// Markdown.
    pub markdown: Option<PathBuf>,
    /// A page with tables and plots in one file, for any browser.
    pub html: Option<PathBuf>,
    /// A folder for the plots: layers.svg, delta_histograms.svg, evidence.svg and heatmap_NAME.svg.
    pub svg: Option<PathBuf>,
}

/// How the trained checkpoint is pruned.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Prune {
    /// The pruned checkpoint; with a slash at its end a folder, which gets the small files beside the trained one too.
    pub output: PathBuf,
    /// By what weights are ranked, the smallest to go: sleeping (default), magnitude, movement, magnitude_increase, nearest,
    /// random, or scores of a file.
    #[schemars(with = "Option<forms::Criterion>")]
    pub criterion: Option<Node>,
    /// How many go: threshold (default), all that the analysis' threshold calls sleeping; a share, all but so many, or as
    /// many as it takes for a size of the file.
    #[schemars(with = "Option<forms::Target>")]
    pub target: Option<Node>,
    /// What is ranked with each other: the weights of a tensor (default), of all tensors, or of a row.
    #[schemars(with = "Option<forms::Scope>")]
    pub scope: Option<Node>,
    /// What goes together: unstructured (default), each weight alone; all but n of m columns; rows, columns, filters,
    /// channels or blocks.
    #[schemars(with = "Option<forms::Structure>")]
    pub structure: Option<Node>,
    /// Keep tensors of fewer elements; default 0.
    #[schemars(with = "Option<u64>")]
    pub min_elements: Option<Node>,
    /// With scope global, the least share of each tensor that goes; default 0.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub floor: Option<Node>,
    /// With scope global, the largest share of each tensor that goes; default 1.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub ceiling: Option<Node>,
    /// What a pruned place becomes: zero (default); init, its initial value; nearest, whichever of the two is nearer to the
    /// weight (default of the criterion nearest).
    #[schemars(with = "Option<forms::FillValue>")]
    pub fill: Option<Node>,
    /// How a tensor is stored: auto (default), the smallest per tensor; dense; bitmask; csr.
    #[schemars(with = "Option<forms::FormatValue>")]
    pub format: Option<Node>,
    /// The type of the values written of pruned tensors: keep (default), or f32, bf16, f16, to which they are rounded.
    #[schemars(with = "Option<forms::OutputDtype>")]
    pub dtype: Option<Node>,
    /// Fill in initial values even where the trained checkpoint does not seem to have started from them; default false.
    #[serde(default)]
    pub any_start: bool,
    /// Split into shards above this size; default one file.
    #[schemars(with = "Option<forms::Size>")]
    pub max_shard_size: Option<Node>,
    /// Take the units that rows or columns without a weight leave useless out of the layers of `chains`, which become
    /// smaller dense tensors; default false. For fill zero.
    #[serde(default)]
    pub remove: bool,
    /// The chains of layers whose units `remove` may take out.
    #[serde(default)]
    pub chains: Vec<Chain>,
    /// Tensors that are copies of each other, by their names: they lose the same places and count once. Copies with the same
    /// bytes are found without being named.
    #[serde(default)]
    pub tied: Vec<Vec<String>>,
    /// What differs for some tensors: ordered, the first rule that matches wins.
    #[serde(default)]
    pub rules: Vec<PruneRule>,
}

/// Layers that read each other and nothing else reads: the units between any two of them may be removed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    /// Names of the layers in their order, two at least: the tensors are NAME.weight and NAME.bias. A batch norm between
    /// two layers is named too.
    #[schemars(length(min = 2))]
    pub layers: Vec<String>,
    /// What stands between two of them: relu, identity, gelu, silu, tanh. Without it, none is known.
    #[schemars(with = "Option<forms::ActivationWord>")]
    pub activation: Option<Node>,
}

/// What differs for the tensors whose names match.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PruneRule {
    /// A glob anchored at both ends, `re:` and an unanchored regular expression, or a list of them.
    #[serde(rename = "match")]
    #[schemars(with = "forms::OneOrMany")]
    pub patterns: Node,
    /// Write the tensors byte for byte as they are (true), or prune them (false, the default).
    #[serde(default)]
    pub keep: bool,
    /// Overrides `prune.criterion` for these tensors.
    #[schemars(with = "Option<forms::Criterion>")]
    pub criterion: Option<Node>,
    /// Overrides `prune.target` for these tensors; a size of the file is for `prune.target` only.
    #[schemars(with = "Option<forms::Target>")]
    pub target: Option<Node>,
    /// Overrides `prune.scope` for these tensors.
    #[schemars(with = "Option<forms::Scope>")]
    pub scope: Option<Node>,
    /// Overrides `prune.structure` for these tensors.
    #[schemars(with = "Option<forms::Structure>")]
    pub structure: Option<Node>,
    /// Overrides `prune.min_elements` for these tensors.
    #[schemars(with = "Option<u64>")]
    pub min_elements: Option<Node>,
    /// Overrides `prune.floor` for these tensors.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub floor: Option<Node>,
    /// Overrides `prune.ceiling` for these tensors.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub ceiling: Option<Node>,
    /// Allow the rule to match nothing; default false.
    #[serde(default)]
    pub optional: bool,
}
