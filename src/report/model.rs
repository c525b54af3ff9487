//! What a report says. The fields' order is the order in every format.

use serde::Serialize;

use crate::analysis::{DeltaStats, Threshold};

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form: 1.
    pub version: u32,
    /// The seed, reduced to 64 bits.
    pub seed: u64,
    /// Version of the noise function.
    pub noise_version: u32,
    /// Digest of the config.
    pub config_sha256: String,
    /// Over all floating-point tensors.
    pub totals: Totals,
    /// In name order.
    pub tensors: Vec<ReportTensor>,
}

/// Sums over all floating-point tensors. Changed, sleeping and deltas are over those whose initial values are known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Weights of all floating-point tensors.
    pub total_weights: u64,
    /// Weights compared with an initial value.
    pub compared_weights: u64,
    /// Counts and means.
    #[serde(flatten)]
    pub changes: Changes,
    /// Rows whose every weight sleeps.
    pub sleeping_rows: Option<u64>,
    /// Columns whose every weight sleeps.
    pub sleeping_columns: Option<u64>,
    /// Trained weights that are zero.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// Places pruned.
    pub pruned_weights: Option<u64>,
    /// `pruned_weights / total_weights`.
    pub sparsity: Option<f64>,
}

/// One tensor. What does not apply is `None`: a type that passes through has no counts, a tensor without initial value
/// no changes, a report without pruning no action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportTensor {
    /// Its name.
    pub name: String,
    /// The layer id of its noise.
    pub layer_id: Option<u64>,
    /// Its type, in safetensors' spelling.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What made its initial value, in words.
    pub init: Option<String>,
    /// The pattern that decided about it.
    pub rule: Option<String>,
    /// Number of weights.
    pub total_weights: u64,
    /// Counts and means.
    #[serde(flatten)]
    pub changes: Changes,
    /// As used.
    pub threshold: Option<Threshold>,
    /// The factor on its initial values.
    pub decay: Option<f64>,
    /// Rows whose every weight sleeps.
    pub sleeping_rows: Option<u64>,
    /// Columns whose every weight sleeps.
    pub sleeping_columns: Option<u64>,
    /// Trained weights that are zero.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// `pruned`, `kept` or `passed_through`.
    pub action: Option<&'static str>,
    /// Places pruned.
    pub pruned_weights: Option<u64>,
    /// `pruned_weights / total_weights`.
    pub sparsity: Option<f64>,
}

/// What changed, of one tensor or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// Weights over the threshold.
    pub changed_weights: Option<u64>,
    /// Weights within it.
    pub sleeping_weights: Option<u64>,
    /// Of the weights compared, 0 … 100.
    pub changed_percentage: Option<f64>,
    /// Of the weights compared, 0 … 100.
    pub sleeping_percentage: Option<f64>,
    /// Mean |delta|.
    pub mean_delta: Option<f64>,
    /// Largest |delta|.
    pub max_delta: Option<f64>,
    /// Root of the mean delta².
    pub rms_delta: Option<f64>,
    /// Mean |delta| of the changed weights.
    pub mean_delta_changed: Option<f64>,
}

impl Changes {
    /// From counts and sums.
    pub fn new(stats: &DeltaStats) -> Self {
        let percentage = |n: u64| share(n, stats.total) * 100.0;
        // A mean of huge deltas may overflow: JSON has no infinity.
        let finite = |x: Option<f64>| x.filter(|x| x.is_finite());
        Self {
            changed_weights: Some(stats.changed),
            sleeping_weights: Some(stats.sleeping()),
            changed_percentage: Some(percentage(stats.changed)),
            sleeping_percentage: Some(percentage(stats.sleeping())),
            mean_delta: finite(stats.mean()),
            max_delta: finite(stats.max()),
            rms_delta: finite(stats.rms()),
            mean_delta_changed: finite(stats.mean_changed()),
        }
    }
}

/// `n / of`, 0 of nothing.
pub(crate) fn share(n: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}
