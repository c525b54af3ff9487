//! What a report says. The fields' order is the order in every format.

use serde::{Deserialize, Serialize};

use crate::analysis::{DeltaHistogram, DeltaSpread, DeltaStats, Evidence, Moments, Quantiles, Threshold};

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// What `decay: auto` and `threshold: auto` were decided on, one entry per factor found or looked for in vain; empty
    /// where the config gives both.
    pub evidence: Vec<Evidence>,
    /// In name order.
    pub tensors: Vec<ReportTensor>,
}

/// Sums over all floating-point tensors. Changed, sleeping and deltas are over those whose initial values are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Place in the report's `evidence` of what decay and threshold were decided on; `None` where the config gave both.
    pub evidence: Option<usize>,
    /// Whether the tensor's own weights bear that evidence out; otherwise it was decided by the others'.
    pub own_evidence: Option<bool>,
    /// Rows whose every weight sleeps.
    pub sleeping_rows: Option<u64>,
    /// Columns whose every weight sleeps.
    pub sleeping_columns: Option<u64>,
    /// Trained weights that are zero.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// Output neurons, filters or embedding rows whose every weight sleeps, by the tensor's layout; `None` below two
    /// dimensions.
    pub sleeping_outputs: Option<u64>,
    /// Inputs or input channels whose every weight sleeps, by the tensor's layout; `None` below two dimensions.
    pub sleeping_inputs: Option<u64>,
    /// Shares of the weights that are NaN, infinite, and zero: 0 … 1.
    pub nan_share: Option<f64>,
    /// As `nan_share`.
    pub infinite_share: Option<f64>,
    /// As `nan_share`.
    pub zero_share: Option<f64>,
    /// How far the tensor has come from its initial values.
    #[serde(flatten)]
    pub drift: Drift,
    /// `pruned`, `kept` or `passed_through`.
    pub action: Option<String>,
    /// Places pruned.
    pub pruned_weights: Option<u64>,
    /// `pruned_weights / total_weights`.
    pub sparsity: Option<f64>,
}

/// What changed, of one tensor or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// How far a tensor has come from its initial values, over the weights whose delta is finite. Norms, angles and standard
/// deviations are against the initial values as they were, without decay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Drift {
    /// P50, P90 and P99 of |delta| over finite ones.
    pub delta_quantiles: Option<Quantiles>,
    /// The same in standard deviations of the initial values; `None` where these are all alike.
    pub delta_over_std: Option<Quantiles>,
    /// Standard deviation of the weights now.
    pub std: Option<f64>,
    /// Standard deviation of the initial values.
    pub initial_std: Option<f64>,
    /// `std / initial_std`: far below 1 the layer vanishes, far above it explodes.
    pub std_ratio: Option<f64>,
    /// `(|w| - |w0|) / |w0|` of the Euclidean norms.
    pub norm_change: Option<f64>,
    /// Cosine of the angle between the tensor and its initial value.
    pub cosine: Option<f64>,
    /// Counts of |delta| by quarters of a decade.
    pub delta_histogram: Option<DeltaHistogram>,
}

impl Drift {
    /// From the number of weights, sums over them, and counts of |delta|.
    pub fn new(n: u64, sums: &Moments, spread: &DeltaSpread) -> Self {
        let finite = |x: f64| x.is_finite().then_some(x);
        let std = |sum: f64, squares: f64| {
            let mean = sum / n as f64;
            // Rounding may leave less than nothing.
            finite((squares / n as f64 - mean * mean).max(0.0).sqrt())
        };
        let (now, start) = (sums.sum_squares.sqrt(), sums.initial_sum_squares.sqrt());
        let initial_std = std(sums.initial_sum, sums.initial_sum_squares);
        let spreads = initial_std.filter(|std| *std > 0.0);
        let std = std(sums.sum, sums.sum_squares);
        Self {
            delta_quantiles: spread.quantiles,
            delta_over_std: spread.quantiles.zip(spreads).map(|(quantiles, std)| quantiles.over(std)),
            std,
            initial_std,
            std_ratio: std.zip(spreads).and_then(|(now, start)| finite(now / start)),
            norm_change: finite((now - start) / start),
            cosine: finite(sums.dot / (now * start)),
            delta_histogram: Some(spread.histogram.clone()),
        }
    }
}

/// `n / of`, 0 of nothing.
pub(crate) fn share(n: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}
