//! The gates that a config sets.

use crate::rules::Pattern;

/// The gates that a config sets; none by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    /// Least shares of places pruned, in the config's order.
    pub min_sparsity: Vec<SparsityGate>,
    /// Most bytes of the pruned checkpoint, above 0: all shards together, an index not counted.
    pub max_output_bytes: Option<u64>,
    /// Largest share of places pruned of any tensor, 0 … 1.
    pub max_tensor_sparsity: Option<f64>,
    /// Whether every trained weight must be finite.
    pub finite: bool,
    /// Whether the trained checkpoint must have started from the config's initial values.
    pub started_here: bool,
    /// Largest drop of the metric that `tune` measures, in the metric's units, not negative.
    pub max_metric_drop: Option<f64>,
}

/// The least share of places pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct SparsityGate {
    /// The patterns as written; empty for all floating-point tensors.
    pub text: Vec<String>,
    /// The same compiled.
    pub patterns: Vec<Pattern>,
    /// The share, 0 … 1, of their places together.
    pub min: f64,
    /// Whether it is fine that the patterns match nothing; then there is nothing to measure.
    pub optional: bool,
}

impl SparsityGate {
    /// Whether the gate is about a tensor of this name.
    pub fn is_about(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.is_match(name))
    }
}
