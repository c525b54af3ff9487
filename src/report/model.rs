//! What a report says. The fields' order is the order in every format.

use serde::{Deserialize, Serialize};

use super::start::Start;
use crate::analysis::{
    DeltaHistogram, DeltaSpread, DeltaStats, Evidence, Moments, Quantiles, Spreads, Threshold,
};
use crate::gates::GateResult;
use crate::sparse::Fill;
use crate::tune::TuneReport;

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(title = "cdi-prune report")]
pub struct Report {
    /// Version of this form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The seed, reduced to 64 bits.
    pub seed: u64,
    /// Version of the noise function.
    pub noise_version: u32,
    /// SHA-256 of the config's bytes, followed, for each override, by a line with it.
    pub config_sha256: String,
    /// What pruned places became: `zero`, `init` or `nearest`; null in a report without pruning.
    pub fill: Option<Fill>,
    /// Sums over all floating-point tensors.
    pub totals: Totals,
    /// Whether the checkpoint started from these initial values; null in a report of an earlier release.
    #[serde(default)]
    pub start: Option<Start>,
    /// What `decay: auto` and `threshold: auto` were decided on, one entry per factor found or looked for in vain; empty
    /// where the config gives both.
    pub evidence: Vec<Evidence>,
    /// The config's gates, as they were found; empty where it has none.
    #[serde(default)]
    pub gates: Vec<GateResult>,
    /// The search for the smallest file; null where there was none.
    #[serde(default)]
    pub tune: Option<TuneReport>,
    /// Units taken out of the config's chains of layers; empty where it has none.
    #[serde(default)]
    pub removed: Vec<Removed>,
    /// Every tensor of the trained checkpoint, in name order.
    pub tensors: Vec<ReportTensor>,
}

/// Units taken out between two layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Removed {
    /// The layer whose outputs they are.
    pub layer: String,
    /// The layer whose inputs they are.
    pub next: String,
    /// How many there were.
    pub units: u64,
    /// How many of them went.
    pub removed: u64,
    /// How many of those left a constant in the next layer's bias.
    pub folded: u64,
}

/// Sums over all floating-point tensors. Changed, sleeping and deltas are over those whose initial values are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Trained weights that are zero, of either sign.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// Places pruned, by any fill.
    pub pruned_weights: Option<u64>,
    /// Those of them whose weight training had changed, as far as that is known.
    pub pruned_changed_weights: Option<u64>,
    /// Share of the sum of the squares of the pruned tensors' weights that those of the pruned places are, 0 … 1.
    pub pruned_norm_share: Option<f64>,
    /// `pruned_weights / total_weights`, 0 … 1.
    pub sparsity: Option<f64>,
    /// Bytes of the trained checkpoint's files, an index not counted.
    pub trained_bytes: Option<u64>,
    /// Bytes of the pruned checkpoint's files, an index not counted.
    pub pruned_bytes: Option<u64>,
    /// `pruned_bytes / trained_bytes`.
    pub pruned_bytes_share: Option<f64>,
}

/// One tensor. What does not apply is `None`: a type that passes through has no counts, a tensor without initial value
/// no changes, a report without pruning no action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReportTensor {
    /// Its name, after `strip_prefix`.
    pub name: String,
    /// The layer id of its noise; null where no noise makes its initial value.
    pub layer_id: Option<u64>,
    /// Its type, in safetensors' spelling.
    pub dtype: String,
    /// Its shape, outermost dimension first.
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
    /// The largest |delta| of a weight that sleeps, as used.
    pub threshold: Option<Threshold>,
    /// The factor on its initial values, as used; 1 without decay.
    pub decay: Option<f64>,
    /// Place in the report's `evidence`, from 0, of what decay or threshold was decided on; null where the config gave
    /// both, and for a tensor that starts at 0, whose ratios say nothing.
    pub evidence: Option<usize>,
    /// Whether the tensor's own weights bear that evidence out; otherwise it was decided by those of the others.
    pub own_evidence: Option<bool>,
    /// Rows of the matrix view whose every weight sleeps.
    pub sleeping_rows: Option<u64>,
    /// Columns of the matrix view whose every weight sleeps.
    pub sleeping_columns: Option<u64>,
    /// Trained weights that are zero, of either sign.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// Output neurons, filters or embedding rows whose every weight sleeps, by the tensor's layout; null below two
    /// dimensions.
    pub sleeping_outputs: Option<u64>,
    /// Inputs or input channels whose every weight sleeps, by the tensor's layout; null below two dimensions.
    pub sleeping_inputs: Option<u64>,
    /// Sleeping weights in none of these: what else reads them is awake, so that setting them to zero is felt. All
    /// sleeping ones below two dimensions.
    pub sleeping_scattered: Option<u64>,
    /// Share of the weights that are NaN, 0 … 1.
    pub nan_share: Option<f64>,
    /// Share of the weights that are infinite, 0 … 1.
    pub infinite_share: Option<f64>,
    /// Share of the weights that are zero, 0 … 1.
    pub zero_share: Option<f64>,
    /// How far the tensor has come from its initial values.
    #[serde(flatten)]
    pub drift: Drift,
    /// Whether it started from these initial values, by `centred_cosine`: false where it does not seem to have; null where
    /// that tells neither.
    pub started_here: Option<bool>,
    /// What pruning did: `pruned`, `kept` or `passed_through`.
    pub action: Option<String>,
    /// The criterion that pruned it; null where it was not pruned.
    pub criterion: Option<String>,
    /// Places pruned, by any fill.
    pub pruned_weights: Option<u64>,
    /// Those of them whose weight training had changed: over the threshold; null where it was not pruned, its initial values
    /// are not known, or units were taken out of it.
    pub pruned_changed_weights: Option<u64>,
    /// Share of the sum of the squares of its weights that those of the pruned places are, 0 … 1, over the finite ones; null
    /// where it was not pruned, or units were taken out of it.
    pub pruned_norm_share: Option<f64>,
    /// `pruned_weights / total_weights`, 0 … 1.
    pub sparsity: Option<f64>,
    /// Kept values that are finite, but beyond the range of the type that `prune.dtype` names, and so became infinite; null
    /// where it names none.
    pub overflowed_weights: Option<u64>,
}

/// What changed, of one tensor or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Changes {
    /// Weights over the threshold, NaN and infinite ones included.
    pub changed_weights: Option<u64>,
    /// Weights within the threshold.
    pub sleeping_weights: Option<u64>,
    /// `changed_weights` of the weights compared, 0 … 100.
    pub changed_percentage: Option<f64>,
    /// `sleeping_weights` of the weights compared, 0 … 100.
    pub sleeping_percentage: Option<f64>,
    /// Mean |delta| over finite ones.
    pub mean_delta: Option<f64>,
    /// Largest finite |delta|.
    pub max_delta: Option<f64>,
    /// Root of the mean delta² over finite ones.
    pub rms_delta: Option<f64>,
    /// Mean |delta| of the changed weights whose delta is finite; null where there is none.
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
    /// The same in standard deviations of the initial values; null where these are all alike.
    pub delta_over_std: Option<Quantiles>,
    /// Standard deviation of the weights now.
    pub std: Option<f64>,
    /// Standard deviation of the initial values.
    pub initial_std: Option<f64>,
    /// `std / initial_std`: far below 1 the layer vanishes, far above it explodes; null where the initial values are all
    /// alike.
    pub std_ratio: Option<f64>,
    /// `(|w| - |w0|) / |w0|` of the Euclidean norms; null where the initial values are all 0.
    pub norm_change: Option<f64>,
    /// Cosine of the angle between the tensor and its initial value; null where either is all 0.
    pub cosine: Option<f64>,
    /// The same of both less their means, whose square chance makes `1 / n` on average where the tensor did not start here;
    /// null where either is the same everywhere.
    pub centred_cosine: Option<f64>,
    /// Counts of |delta| by quarters of a decade.
    pub delta_histogram: Option<DeltaHistogram>,
}

impl Drift {
    /// From the number of weights, sums over them, and counts of |delta|.
    pub fn new(n: u64, sums: &Moments, spread: &DeltaSpread) -> Self {
        let finite = |x: f64| x.is_finite().then_some(x);
        let Spreads { now: std, initial: initial_std, cosine: centred_cosine } = sums.spreads(n);
        let (now, start) = (sums.sum_squares.sqrt(), sums.initial_sum_squares.sqrt());
        let spreads = initial_std.filter(|std| *std > 0.0);
        Self {
            delta_quantiles: spread.quantiles,
            delta_over_std: spread.quantiles.zip(spreads).map(|(quantiles, std)| quantiles.over(std)),
            std,
            initial_std,
            std_ratio: std.zip(spreads).and_then(|(now, start)| finite(now / start)),
            norm_change: finite((now - start) / start),
            cosine: finite(sums.dot / (now * start)),
            centred_cosine,
            delta_histogram: Some(spread.histogram.clone()),
        }
    }
}

/// `n / of`, 0 of nothing.
pub(crate) fn share(n: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_initial_values_have_no_spread() {
        // 64 ones that a factor was put on and taken off again: sums as they come out, 6 ulps from 64.
        let sums = Moments {
            sum: 70.0,
            sum_squares: 77.0,
            initial_sum: 64.0,
            initial_sum_squares: 64.000_000_000_000_08,
            dot: 70.0,
        };
        let drift = Drift::new(64, &sums, &DeltaSpread::default());
        assert_eq!((drift.initial_std, drift.std_ratio), (Some(0.0), None));
        // sqrt(77 / 64 - (70 / 64)²)
        assert_eq!(drift.std, Some(0.082_679_728_470_768_46));
        let none = Drift::new(0, &Moments::default(), &DeltaSpread::default());
        assert_eq!((none.std, none.initial_std), (None, None));
    }
}
