//! The config as typed: one structure per mapping of the interface's page, nothing decided yet.
//!
//! A value that may be written in several ways (a number or a mapping, a word or a list) is kept as a
//! [`Node`] and read where it is decided, so that its errors can speak of all its forms; its schema is
//! in [`super::forms`].

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms;
pub(super) use super::forms::{
    Affine, BitsForm, FromCheckpoint, FullTensor as Tensor, Scores, Slice, SparsityGate, StructureForm,
    TargetForm, ThresholdForm,
};
pub(super) use super::goals::{BetterWord, Gates, Tune};
use super::node::Node;
use crate::tensor::FloatDtype;

/// The initial weights of a model, what training changed, and which weights are pruned. A relative path is
/// relative to the config's folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "cdi-prune config")]
pub(super) struct Config {
    /// Version of the config's format: 1.
    #[schemars(with = "Option<forms::Version>")]
    pub version: Option<Node>,
    /// Seed of all initial values, a whole number from -2^63 to 2^64-1; required if anything is drawn from
    /// it.
    #[schemars(with = "Option<forms::Seed>")]
    pub seed: Option<Node>,
    /// The tensors to initialise.
    pub model: Option<Model>,
    /// The initial values of each tensor. The first rule that matches applies.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Output of the initial checkpoint.
    pub init: Option<Init>,
    /// The trained checkpoint.
    pub trained: Option<Trained>,
    /// Comparison of the trained checkpoint with the initial values.
    pub analyze: Option<Analyze>,
    /// Pruning of the trained checkpoint.
    pub prune: Option<Prune>,
    /// Search for the smallest file that keeps the accuracy, as measured by your own command.
    pub tune: Option<Tune>,
    /// Limits that the result must meet, checked last; exit code 4 if it does not.
    pub gates: Option<Gates>,
    /// List of all files that `run` read and wrote, with their digests; written last.
    pub manifest: Option<PathBuf>,
}

/// The tensors to initialise: those of a checkpoint, those listed, or both. The list takes precedence.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    /// Checkpoint to take names, shapes and types from: a safetensors file, an index, or a folder.
    pub like: Option<PathBuf>,
    /// Tensors by name: a shape, or a shape and a type.
    #[schemars(with = "Option<std::collections::BTreeMap<String, forms::Tensor>>")]
    pub tensors: Option<Node>,
    /// Type of listed tensors without a type; default f32.
    pub dtype: Option<FloatDtype>,
    /// Dimensions of outputs and inputs: out_in (PyTorch, the default), in_out (Flax, Keras), or a role for
    /// each dimension.
    #[schemars(with = "Option<forms::LayoutValue>")]
    pub layout: Option<Node>,
}

/// Initial values for tensors with matching names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// A glob anchored at both ends, `re:` and an unanchored regular expression, or a list of them.
    #[serde(rename = "match")]
    #[schemars(with = "forms::OneOrMany")]
    pub patterns: Node,
    /// Layer id of the tensors; default auto, the hash of the name.
    #[schemars(with = "Option<forms::Layer>")]
    pub layer: Option<Node>,
    /// A mode, a mode with parameters, another checkpoint, or none.
    #[schemars(with = "forms::InitValue")]
    pub init: Node,
    /// Slices of a fused tensor along its output dimension, each initialised like a separate tensor: names,
    /// or names with sizes, layers and inits.
    #[schemars(with = "Option<Vec<forms::SliceForm>>")]
    pub slices: Option<Node>,
    /// Overrides the model's layout.
    #[schemars(with = "Option<forms::LayoutValue>")]
    pub layout: Option<Node>,
    /// Overrides `analyze.decay` for these tensors.
    #[schemars(with = "Option<forms::Decay>")]
    pub decay: Option<Node>,
    /// Allow tensors to share a layer id and therefore their noise; default false.
    #[serde(default)]
    pub shared: bool,
    /// Allow the rule to match nothing; default false.
    #[serde(default)]
    pub optional: bool,
}

/// Output of the initial checkpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Init {
    /// Path of the file.
    pub output: PathBuf,
    /// Split the output into shards of at most this size; default: one file.
    #[schemars(with = "Option<forms::Size>")]
    pub max_shard_size: Option<Node>,
}

/// The trained checkpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trained {
    /// A safetensors file, an index, or a folder.
    pub path: PathBuf,
    /// A prefix to remove from the tensor names, or a list of prefixes.
    #[schemars(with = "Option<forms::OneOrMany>")]
    pub strip_prefix: Option<Node>,
    /// A name that wrappers insert between the dots of tensor names, such as _orig_mod, to remove anywhere;
    /// or a list of such names.
    #[schemars(with = "Option<forms::OneOrMany>")]
    pub strip: Option<Node>,
}

/// Comparison of the trained checkpoint with the initial values.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Analyze {
    /// Largest change of a sleeping weight; default 0; auto to infer it from the weights.
    #[schemars(with = "Option<forms::ThresholdValue>")]
    pub threshold: Option<Node>,
    /// Factor by which weight decay shrank weights without gradient; default none (1); auto to infer it from
    /// the weights.
    #[schemars(with = "Option<forms::Decay>")]
    pub decay: Option<Node>,
    /// Files for the results.
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
    /// A page with tables and plots in one file for the browser.
    pub html: Option<PathBuf>,
    /// A folder for the plots: layers.svg, delta_histograms.svg, evidence.svg and heatmap_NAME.svg.
    pub svg: Option<PathBuf>,
}

/// Pruning of the trained checkpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Prune {
    /// The pruned checkpoint. A path with a slash at the end is a folder, which also receives the small files
    /// beside the trained checkpoint.
    pub output: PathBuf,
    /// Ranking criterion; the smallest scores are pruned: sleeping (default), magnitude, movement,
    /// magnitude_increase, nearest, random, or scores from a file.
    #[schemars(with = "Option<forms::Criterion>")]
    pub criterion: Option<Node>,
    /// How many weights are pruned: threshold (default), all that sleep by the threshold of the analysis; a
    /// share; all but a number; or as many as necessary for a file size.
    #[schemars(with = "Option<forms::Target>")]
    pub target: Option<Node>,
    /// Which weights are ranked together: those of a tensor (default), of all tensors, or of a row.
    #[schemars(with = "Option<forms::Scope>")]
    pub scope: Option<Node>,
    /// Which weights are pruned together: unstructured (default), each weight alone; all but n of m
    /// neighbours; rows, columns, filters, channels or blocks.
    #[schemars(with = "Option<forms::Structure>")]
    pub structure: Option<Node>,
    /// Keep tensors with fewer elements; default 0.
    #[schemars(with = "Option<u64>")]
    pub min_elements: Option<Node>,
    /// With scope global, the smallest share pruned from each tensor; default 0.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub floor: Option<Node>,
    /// With scope global, the largest share pruned from each tensor; default 1.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub ceiling: Option<Node>,
    /// Value of a pruned weight: zero (default); init, its initial value; nearest, the nearer of the two
    /// (default for the criterion nearest).
    #[schemars(with = "Option<forms::FillValue>")]
    pub fill: Option<Node>,
    /// Storage format: auto (default), the smallest for each tensor; coded, entropy-coded; sparse, the
    /// smallest of dense, bitmask and csr for each tensor; dense; bitmask; csr.
    #[schemars(with = "Option<forms::FormatValue>")]
    pub format: Option<Node>,
    /// With format auto or coded: code tensors that are not pruned too; default true.
    pub code_kept: Option<bool>,
    /// How values are coded, with format auto or coded. Without any key that says what is pruned, nothing is
    /// pruned, and all tensors are coded.
    pub values: Option<Values>,
    /// Type of the values written for pruned tensors: keep (default), or f32, bf16, f16, to which they are
    /// rounded.
    #[schemars(with = "Option<forms::OutputDtype>")]
    pub dtype: Option<Node>,
    /// Fill in initial values even if the trained checkpoint does not seem to have started from them; default
    /// false.
    #[serde(default)]
    pub any_start: bool,
    /// Split the output into shards of at most this size; default: one file.
    #[schemars(with = "Option<forms::Size>")]
    pub max_shard_size: Option<Node>,
    /// Remove units that empty rows or columns leave useless from the layers in `chains`, which become
    /// smaller dense tensors; default false. Requires fill zero.
    #[serde(default)]
    pub remove: bool,
    /// Chains of layers from which `remove` may remove units.
    #[serde(default)]
    pub chains: Vec<Chain>,
    /// Names of tensors that are copies of each other: they lose the same weights and count once. Copies with
    /// the same bytes are found automatically.
    #[serde(default)]
    pub tied: Vec<Vec<String>>,
    /// Settings for some tensors. The first rule that matches applies.
    #[serde(default)]
    pub rules: Vec<PruneRule>,
}

/// How values are coded: bit for bit, or rounded to whole numbers of steps.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Values {
    /// Keep every value bit for bit (true), or round it to steps (false, the default if there is a step).
    pub exact: Option<bool>,
    /// Length of a step: a number above 0; auto, an eighth of the root mean square of the tensor's values; or
    /// as many steps over the range of the tensor's values as this number of bits can count.
    #[schemars(with = "Option<forms::Step>")]
    pub step: Option<Node>,
    /// From where steps are counted: auto (default), whichever takes fewer bytes; init, the initial value;
    /// zero.
    #[schemars(with = "Option<forms::OverWord>")]
    pub over: Option<Node>,
    /// Rounding: nearest (default), each value by itself; compensated, so that the outputs of the layer
    /// change least, which requires `calibration`.
    #[schemars(with = "Option<forms::RoundingWord>")]
    pub rounding: Option<Node>,
    /// A checkpoint with the second moments of the layers' inputs, the products summed over samples: for each
    /// weight, under its name, [inputs, inputs].
    pub calibration: Option<PathBuf>,
}

/// Layers that read only each other: the units between any two of them may be removed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    /// Names of the layers in order, at least two: the tensors are NAME.weight and NAME.bias. Include a batch
    /// norm between two layers.
    #[schemars(length(min = 2))]
    pub layers: Vec<String>,
    /// Activation between two layers: relu, identity, gelu, silu, tanh. Without it, the activation is
    /// unknown.
    #[schemars(with = "Option<forms::ActivationWord>")]
    pub activation: Option<Node>,
}

/// Settings for tensors with matching names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PruneRule {
    /// A glob anchored at both ends, `re:` and an unanchored regular expression, or a list of them.
    #[serde(rename = "match")]
    #[schemars(with = "forms::OneOrMany")]
    pub patterns: Node,
    /// Keep the tensors unchanged, byte for byte (true), or prune them (false, the default).
    #[serde(default)]
    pub keep: bool,
    /// Overrides `prune.criterion` for these tensors.
    #[schemars(with = "Option<forms::Criterion>")]
    pub criterion: Option<Node>,
    /// Overrides `prune.target` for these tensors; a file size is allowed only in `prune.target`.
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
    /// Overrides keys of `prune.values` for these tensors.
    pub values: Option<Values>,
    /// Allow the rule to match nothing; default false.
    #[serde(default)]
    pub optional: bool,
}
