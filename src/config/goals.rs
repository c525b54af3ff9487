//! Requirements for the result, as typed: gates, and the search for the smallest file that keeps the
//! accuracy. Part of [`super::wire`].

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms;
use super::node::Node;

/// Limits that the result must meet, at least one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gates {
    /// Minimum share of all floating-point weights that is pruned, or a list of such shares.
    #[schemars(with = "Option<forms::MinSparsity>")]
    pub min_sparsity: Option<Node>,
    /// Maximum bytes of the pruned checkpoint, without an index.
    #[schemars(with = "Option<forms::Size>")]
    pub max_output_bytes: Option<Node>,
    /// Maximum share of any one tensor that is pruned.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub max_tensor_sparsity: Option<Node>,
    /// Whether every weight of the trained checkpoint must be finite.
    pub finite: Option<bool>,
    /// Whether the trained checkpoint must have started from the config's initial values.
    pub started_here: Option<bool>,
    /// How much worse than the original the metric of `tune` may be.
    #[schemars(with = "Option<f64>", range(min = 0))]
    pub max_metric_drop: Option<Node>,
}

/// The search for the smallest file that keeps the accuracy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tune {
    /// The evaluation command: a program and its arguments, in which {checkpoint} is replaced by the path of
    /// the checkpoint to evaluate. It runs without a shell in the config's folder. The last number that it
    /// prints is the metric.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Whether higher or lower metrics are better.
    pub better: BetterWord,
    /// How much worse than the original the metric may be, in its units.
    #[schemars(with = "f64", range(min = 0))]
    pub max_drop: Node,
    /// Another command, like `command`, that measures on other data. What the search has found is written
    /// only if it is within `max_drop` by this command too; otherwise the next larger file that is.
    #[schemars(length(min = 1))]
    pub confirm: Option<Vec<String>>,
    /// Number of commands that run at the same time; default 1.
    #[schemars(with = "Option<u64>", range(min = 1, max = 64))]
    pub jobs: Option<Node>,
    /// Time limit for each call of a command; default 1h.
    #[schemars(with = "Option<forms::Duration>")]
    pub timeout: Option<Node>,
    /// Criteria to try; default: that of `prune`.
    #[schemars(with = "Option<Vec<forms::Criterion>>", length(min = 1))]
    pub criteria: Option<Vec<Node>>,
    /// Structures to try; default: that of `prune`.
    #[schemars(with = "Option<Vec<forms::Structure>>", length(min = 1))]
    pub structures: Option<Vec<Node>>,
    /// Scopes to try; default: that of `prune`.
    #[schemars(with = "Option<Vec<forms::Scope>>", length(min = 1))]
    pub scopes: Option<Vec<Node>>,
    /// Fills to try; default: that of `prune`.
    #[schemars(with = "Option<Vec<forms::FillValue>>", length(min = 1))]
    pub fills: Option<Vec<Node>>,
    /// Smallest and largest sparsity to try; default [0, 0.99].
    #[schemars(with = "Option<[f64; 2]>", inner(range(min = 0, max = 1)))]
    pub sparsity: Option<Node>,
    /// Number of equal steps in that range. Both ends of every step are tried before the search continues
    /// between two of them; default 1.
    #[schemars(with = "Option<u64>", range(min = 1, max = 1_000_000))]
    pub steps: Option<Node>,
    /// Precision of the sparsity found; default 0.01.
    #[schemars(with = "Option<f64>", range(max = 1), extend("exclusiveMinimum" = 0))]
    pub tolerance: Option<Node>,
    /// Maximum number of checkpoints to evaluate, including the original; default: no limit.
    #[schemars(with = "Option<u64>", range(min = 2, max = 1_000_000))]
    pub max_evaluations: Option<Node>,
    /// Folder for the measurements, so that nothing is evaluated twice; default: `prune.output` with `.tune`
    /// appended.
    pub cache: Option<PathBuf>,
}

/// Which metrics are better.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BetterWord {
    Higher,
    Lower,
}
