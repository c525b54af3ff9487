//! The gates that a config sets.

use crate::rules::Pattern;

/// The gates in a config; none by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    /// Minimum shares of pruned weights, in the config's order.
    pub min_sparsity: Vec<SparsityGate>,
    /// Maximum size of the pruned checkpoint in bytes, above 0: all shards together, without an index.
    pub max_output_bytes: Option<u64>,
    /// Maximum share of pruned weights in any single tensor, 0 … 1.
    pub max_tensor_sparsity: Option<f64>,
    /// Whether every trained weight must be finite.
    pub finite: bool,
    /// Whether the trained checkpoint must have started from the config's initial values.
    pub started_here: bool,
    /// Maximum drop of the metric that `tune` measures, in the metric's units; not negative.
    pub max_metric_drop: Option<f64>,
}

/// A minimum share of pruned weights.
#[derive(Clone, Debug, PartialEq)]
pub struct SparsityGate {
    /// The patterns as written; empty for all floating-point tensors.
    pub text: Vec<String>,
    /// The same patterns, compiled.
    pub patterns: Vec<Pattern>,
    /// Minimum share of pruned weights in all matching tensors together, 0 … 1.
    pub min: f64,
    /// Whether the patterns may match nothing; the gate is then skipped.
    pub optional: bool,
}

impl SparsityGate {
    /// Whether the gate covers a tensor of this name.
    pub fn is_about(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.is_match(name))
    }
}
