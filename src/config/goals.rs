//! What the result must be, as typed: gates, and the search for the smallest file that keeps the accuracy. Part of
//! [`super::wire`].

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms;
use super::node::Node;

/// Limits that the result must keep, one at least.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gates {
    /// Least share of all floating-point weights that is pruned, or a list of least shares.
    #[schemars(with = "Option<forms::MinSparsity>")]
    pub min_sparsity: Option<Node>,
    /// Most bytes of the pruned checkpoint, an index not counted.
    #[schemars(with = "Option<forms::Size>")]
    pub max_output_bytes: Option<Node>,
    /// Largest share of any one tensor that is pruned.
    #[schemars(with = "Option<f64>", range(min = 0, max = 1))]
    pub max_tensor_sparsity: Option<Node>,
    /// Whether every weight of the trained checkpoint must be finite.
    pub finite: Option<bool>,
    /// Whether the trained checkpoint must have started from the config's initial values.
    pub started_here: Option<bool>,
    /// Most that the metric of `tune` may be worse than the original's.
    #[schemars(with = "Option<f64>", range(min = 0))]
    pub max_metric_drop: Option<Node>,
}

/// The search for the smallest file that keeps the accuracy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tune {
    /// The evaluation command: a program and its arguments, in which {checkpoint} stands for the path of the checkpoint to
    /// evaluate. It runs without a shell in the config's folder; the last number that it prints is the metric.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Whether higher or lower metrics are better.
    pub better: BetterWord,
    /// Most that the metric may be worse than the original's, in its units.
    #[schemars(with = "f64", range(min = 0))]
    pub max_drop: Node,
    /// Most time for each call of the command; default 1h.
    #[schemars(with = "Option<forms::Duration>")]
    pub timeout: Option<Node>,
    /// Criteria to try; default that of `prune`.
    #[schemars(with = "Option<Vec<forms::Criterion>>", length(min = 1))]
    pub criteria: Option<Vec<Node>>,
    /// Structures to try; default that of `prune`.
    #[schemars(with = "Option<Vec<forms::Structure>>", length(min = 1))]
    pub structures: Option<Vec<Node>>,
    /// Scopes to try; default that of `prune`.
    #[schemars(with = "Option<Vec<forms::Scope>>", length(min = 1))]
    pub scopes: Option<Vec<Node>>,
    /// Fills to try; default that of `prune`.
    #[schemars(with = "Option<Vec<forms::FillValue>>", length(min = 1))]
    pub fills: Option<Vec<Node>>,
    /// Least and largest sparsity to try; default [0, 0.99].
    #[schemars(with = "Option<[f64; 2]>", inner(range(min = 0, max = 1)))]
    pub sparsity: Option<Node>,
    /// Even steps of that range whose ends are all tried, before the search goes on between two of them; default 1.
    #[schemars(with = "Option<u64>", range(min = 1, max = 1_000_000))]
    pub steps: Option<Node>,
    /// How near the sparsity is searched for; default 0.01.
    #[schemars(with = "Option<f64>", range(max = 1), extend("exclusiveMinimum" = 0))]
    pub tolerance: Option<Node>,
    /// Most checkpoints to evaluate, the original included; default as many as it takes.
    #[schemars(with = "Option<u64>", range(min = 2, max = 1_000_000))]
    pub max_evaluations: Option<Node>,
    /// A folder for what was measured, so that nothing is evaluated twice; default that of `prune.output` with `.tune` added.
    pub cache: Option<PathBuf>,
}

/// Which metrics are better.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BetterWord {
    Higher,
    Lower,
}
