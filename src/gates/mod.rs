//! Gates: limits that the result must keep, measured when everything else is done.
//!
//! What is measured comes as plain figures; nothing here reads a file.

mod check;
mod settings;

use serde::{Deserialize, Serialize};

pub use check::{Measured, MeasuredStart, MeasuredTensor, check};
pub use settings::{Gates, SparsityGate};

/// Which gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Share of places pruned, of all floating-point tensors or of those that patterns match: at least the limit.
    MinSparsity,
    /// Bytes of the pruned checkpoint: at most the limit.
    MaxOutputBytes,
    /// Share of places pruned of the tensor where it is largest: at most the limit.
    MaxTensorSparsity,
    /// Weights of the trained checkpoint that are NaN or infinite: none.
    Finite,
    /// The cosine of weights and initial values, each less their mean: at least what is no chance, the limit.
    StartedHere,
    /// How much worse than the original the pruned checkpoint is, in the metric's units: at most the limit.
    MaxMetricDrop,
}

impl Gate {
    /// As the config spells it.
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

    /// Whether it counts bytes or weights; else it is a share or a metric.
    pub fn counts(self) -> bool {
        matches!(self, Self::MaxOutputBytes | Self::Finite)
    }

    /// Whether the limit is the least that passes; else it is the most.
    pub fn is_least(self) -> bool {
        matches!(self, Self::MinSparsity | Self::StartedHere)
    }
}

/// A limit or what was measured: a number of bytes or weights, or a share or difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Figure {
    /// A count.
    Count(u64),
    /// A share, 0 … 1, or a difference of metrics.
    Real(f64),
}

impl Figure {
    /// The nearest real.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Count(n) => n as f64,
            Self::Real(x) => x,
        }
    }
}

/// A gate as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GateResult {
    /// Which one.
    pub gate: Gate,
    /// The patterns of the tensors that it is about; null where it is about all.
    pub patterns: Option<Vec<String>>,
    /// The tensor that was farthest from passing, for gates about single tensors; null where there is none.
    pub tensor: Option<String>,
    /// The least (`min_sparsity`, `started_here`) or the most (all others) that passes.
    pub limit: Figure,
    /// What was measured.
    pub measured: Figure,
    /// Whether it passed.
    pub passed: bool,
}
