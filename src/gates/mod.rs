//! Gates: limits that the result must meet, checked after everything else.
//!
//! The measured values are plain numbers; this module reads no files.
//!
//! ```
//! use cdi_prune::gates::{Gates, Measured, MeasuredTensor, check};
//! use cdi_prune::report::gate_words;
//!
//! let gates = Gates { max_output_bytes: Some(200_000), finite: true, ..Gates::default() };
//! let tensor = MeasuredTensor { name: "fc1.weight", weights: 65_536, pruned: Some(15_442), not_finite: 0 };
//! let measured = Measured { tensors: vec![tensor], output_bytes: Some(222_442), ..Measured::default() };
//! let results = check(&gates, &measured);
//! assert_eq!(results.iter().map(|result| result.passed).collect::<Vec<_>>(), [false, true]);
//! assert_eq!(gate_words(&results[0]), "max_output_bytes: 222,442 bytes, limit at most 200,000");
//! ```

mod check;
mod settings;

use serde::{Deserialize, Serialize};

pub use check::{Measured, MeasuredStart, MeasuredTensor, check};
pub use settings::{Gates, SparsityGate};

/// Which gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Share of pruned weights in all floating-point tensors or in those that patterns match: at least the
    /// limit.
    MinSparsity,
    /// Bytes of the pruned checkpoint: at most the limit.
    MaxOutputBytes,
    /// Share of pruned weights in the tensor where it is largest: at most the limit.
    MaxTensorSparsity,
    /// Weights of the trained checkpoint that are NaN or infinite: none.
    Finite,
    /// Cosine of weights and initial values after subtracting each mean: at least the limit, the smallest
    /// value that is not chance.
    StartedHere,
    /// How much worse than the original the pruned checkpoint is, in the metric's units: at most the limit.
    MaxMetricDrop,
}

impl Gate {
    /// The name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinSparsity => "min_sparsity",
            Self::MaxOutputBytes => "max_output_bytes",
            Self::MaxTensorSparsity => "max_tensor_sparsity",
            Self::Finite => "finite",
            Self::StartedHere => "started_here",
            Self::MaxMetricDrop => "max_metric_drop",
        }
    }

    /// Whether the gate counts bytes or weights; otherwise it is a share or a metric.
    pub fn counts(self) -> bool {
        matches!(self, Self::MaxOutputBytes | Self::Finite)
    }

    /// Whether the limit is the smallest value that passes; otherwise it is the largest.
    pub fn is_least(self) -> bool {
        matches!(self, Self::MinSparsity | Self::StartedHere)
    }
}

/// A limit or a measured value: a number of bytes or weights, a share, or a difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Figure {
    /// A count.
    Count(u64),
    /// A share, 0 … 1, or a difference of metrics.
    Real(f64),
}

impl Figure {
    /// The nearest binary64.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Count(n) => n as f64,
            Self::Real(x) => x,
        }
    }
}

/// Result of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GateResult {
    /// Which one.
    pub gate: Gate,
    /// Patterns of the tensors that the gate covers; null if it covers all.
    pub patterns: Option<Vec<String>>,
    /// For gates on single tensors, the tensor farthest from passing; null otherwise.
    pub tensor: Option<String>,
    /// The smallest (`min_sparsity`, `started_here`) or largest (all others) value that passes.
    pub limit: Figure,
    /// The measured value.
    pub measured: Figure,
    /// Whether it passed.
    pub passed: bool,
}
