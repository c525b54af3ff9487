//! The model of a report. The order of the fields is the order in every format.

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
    /// Version of the report format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The seed, reduced to 64 bits.
    pub seed: u64,
    /// Version of the noise function.
    pub noise_version: u32,
    /// SHA-256 of the config's bytes, followed by a line for each override.
    pub config_sha256: String,
    /// Value of pruned weights: `zero`, `init` or `nearest`; null in a report without pruning, and if nothing
    /// was to be pruned.
    pub fill: Option<Fill>,
    /// Sums over all floating-point tensors.
    pub totals: Totals,
    /// Whether the checkpoint started from these initial values; null in a report of an earlier release.
    #[serde(default)]
    pub start: Option<Start>,
    /// Evidence for `decay: auto` and `threshold: auto`, one entry for each factor found or sought without
    /// success; empty if the config gives both.
    pub evidence: Vec<Evidence>,
    /// Results of the config's gates; empty if it has none.
    #[serde(default)]
    pub gates: Vec<GateResult>,
    /// The search for the smallest file; null without a search.
    #[serde(default)]
    pub tune: Option<TuneReport>,
    /// Units removed from the config's chains of layers; empty if it has none.
    #[serde(default)]
    pub removed: Vec<Removed>,
    /// Every tensor of the trained checkpoint, in name order.
    pub tensors: Vec<ReportTensor>,
}

impl Report {
    /// Whether a file was written in which nothing was to be pruned.
    pub(crate) fn is_packed(&self) -> bool {
        self.fill.is_none() && self.totals.pruned_bytes.is_some()
    }

    /// What the file that was written is called.
    pub fn file_words(&self) -> &'static str {
        if self.tensors.iter().any(|tensor| tensor.rounding.is_some()) {
            return "Rounded file";
        }
        if self.is_packed() { "Packed file" } else { "Pruned file" }
    }
}

/// Units removed between two layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Removed {
    /// The layer that has them as outputs.
    pub layer: String,
    /// The layer that has them as inputs.
    pub next: String,
    /// How many there were.
    pub units: u64,
    /// How many of them were removed.
    pub removed: u64,
    /// How many of those left a constant in the next layer's bias.
    pub folded: u64,
}

/// Sums over all floating-point tensors. Changed, sleeping and deltas cover those with known initial values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Totals {
    /// Weights of all floating-point tensors.
    pub total_weights: u64,
    /// Weights compared with an initial value.
    pub compared_weights: u64,
    /// Counts and means.
    #[serde(flatten)]
    pub changes: Changes,
    /// Rows in which every weight sleeps.
    pub sleeping_rows: Option<u64>,
    /// Columns in which every weight sleeps.
    pub sleeping_columns: Option<u64>,
    /// Trained weights that are zero, of either sign.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// Number of pruned weights, with any fill.
    pub pruned_weights: Option<u64>,
    /// How many of them training had changed, as far as known.
    pub pruned_changed_weights: Option<u64>,
    /// Sum of squares of the pruned weights, as a share of that of all weights of the pruned tensors, 0 … 1.
    pub pruned_norm_share: Option<f64>,
    /// `pruned_weights / total_weights`, 0 … 1.
    pub sparsity: Option<f64>,
    /// Bytes of the trained checkpoint's files, without an index.
    pub trained_bytes: Option<u64>,
    /// Bytes of the pruned checkpoint's files, without an index.
    pub pruned_bytes: Option<u64>,
    /// `pruned_bytes / trained_bytes`.
    pub pruned_bytes_share: Option<f64>,
}

/// One tensor. Values that do not apply are `None`: a type that passes through has no counts, a tensor
/// without initial value has no changes, and a report without pruning has no action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReportTensor {
    /// Name of the tensor, after `strip_prefix`.
    pub name: String,
    /// Layer id of the noise; null if the initial value does not depend on noise.
    pub layer_id: Option<u64>,
    /// Type of the tensor, as in safetensors.
    pub dtype: String,
    /// Shape of the tensor, outermost dimension first.
    pub shape: Vec<usize>,
    /// Initialiser of the tensor, in words.
    pub init: Option<String>,
    /// Pattern of the rule that applied.
    pub rule: Option<String>,
    /// Number of weights.
    pub total_weights: u64,
    /// Counts and means.
    #[serde(flatten)]
    pub changes: Changes,
    /// The largest |delta| of a sleeping weight, as used.
    pub threshold: Option<Threshold>,
    /// The factor on the initial values, as used; 1 without decay.
    pub decay: Option<f64>,
    /// Index into the report's `evidence`, from 0, of the entry that determined decay or threshold; null if
    /// the config gave both, and for a tensor that starts at 0, whose ratios are undefined.
    pub evidence: Option<usize>,
    /// Whether the tensor's own weights support that evidence; otherwise, those of other tensors decided.
    pub own_evidence: Option<bool>,
    /// Rows of the matrix view in which every weight sleeps.
    pub sleeping_rows: Option<u64>,
    /// Columns of the matrix view in which every weight sleeps.
    pub sleeping_columns: Option<u64>,
    /// Trained weights that are zero, of either sign.
    pub zeros: Option<u64>,
    /// Trained weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// Output neurons, filters or embedding rows in which every weight sleeps, according to the tensor's
    /// layout; null below two dimensions.
    pub sleeping_outputs: Option<u64>,
    /// Inputs or input channels in which every weight sleeps, according to the tensor's layout; null below
    /// two dimensions.
    pub sleeping_inputs: Option<u64>,
    /// Sleeping weights outside such outputs and inputs: weights around them are awake, so setting them to
    /// zero has an effect. Below two dimensions, all sleeping weights.
    pub sleeping_scattered: Option<u64>,
    /// Share of the weights that are NaN, 0 … 1.
    pub nan_share: Option<f64>,
    /// Share of the weights that are infinite, 0 … 1.
    pub infinite_share: Option<f64>,
    /// Share of the weights that are zero, 0 … 1.
    pub zero_share: Option<f64>,
    /// Distance of the tensor from its initial values.
    #[serde(flatten)]
    pub drift: Drift,
    /// Whether the tensor started from these initial values, by `centred_cosine`: false if it seems not to
    /// have; null if undetermined.
    pub started_here: Option<bool>,
    /// Result of pruning: `pruned`, `kept` or `passed_through`.
    pub action: Option<String>,
    /// Criterion used for pruning; null if the tensor was not pruned.
    pub criterion: Option<String>,
    /// Number of pruned weights, with any fill.
    pub pruned_weights: Option<u64>,
    /// How many of them training had changed by more than the threshold; null if the tensor was not pruned,
    /// if its initial values are unknown, or if units were removed from it.
    pub pruned_changed_weights: Option<u64>,
    /// Sum of squares of the finite pruned weights, as a share of that of all finite weights, 0 … 1; null if
    /// the tensor was not pruned, or if units were removed from it.
    pub pruned_norm_share: Option<f64>,
    /// `pruned_weights / total_weights`, 0 … 1.
    pub sparsity: Option<f64>,
    /// Kept values that are finite, but outside the range of the type in `prune.dtype`, and became infinite;
    /// null without such a type.
    pub overflowed_weights: Option<u64>,
    /// How its values were rounded; absent if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<RoundingError>,
}

/// How the values of a tensor were rounded to steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RoundingError {
    /// Length of a step, in the units of the weights.
    pub step: f64,
    /// Root mean square of what rounding changed, over kept finite weights, as a share of theirs.
    pub error: f64,
    /// Number of these weights that return to where steps are counted from: an initial value or zero.
    #[serde(default)]
    pub at_start: u64,
}

/// Changes of one tensor or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Changes {
    /// Weights above the threshold, including NaN and infinite ones.
    pub changed_weights: Option<u64>,
    /// Weights within the threshold.
    pub sleeping_weights: Option<u64>,
    /// `changed_weights` of the weights compared, 0 … 100.
    pub changed_percentage: Option<f64>,
    /// `sleeping_weights` of the weights compared, 0 … 100.
    pub sleeping_percentage: Option<f64>,
    /// Mean |delta| over finite values.
    pub mean_delta: Option<f64>,
    /// Largest finite |delta|.
    pub max_delta: Option<f64>,
    /// Root of the mean delta² over finite values.
    pub rms_delta: Option<f64>,
    /// Mean |delta| of the changed weights with finite delta; null if there are none.
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

/// Distance of a tensor from its initial values, over the weights with finite delta. Norms, angles and
/// standard deviations refer to the initial values without decay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Drift {
    /// P50, P90 and P99 of |delta| over finite values.
    pub delta_quantiles: Option<Quantiles>,
    /// The same in standard deviations of the initial values; null if these are constant.
    pub delta_over_std: Option<Quantiles>,
    /// Standard deviation of the trained weights.
    pub std: Option<f64>,
    /// Standard deviation of the initial values.
    pub initial_std: Option<f64>,
    /// `std / initial_std`: far below 1, the layer vanishes; far above 1, it explodes; null if the initial
    /// values are constant.
    pub std_ratio: Option<f64>,
    /// `(|w| - |w0|) / |w0|` of the Euclidean norms; null if the initial values are all 0.
    pub norm_change: Option<f64>,
    /// Cosine of the angle between the tensor and its initial value; null if either is all 0.
    pub cosine: Option<f64>,
    /// The same after subtracting each mean; its square is `1 / n` on average if the tensor did not start
    /// here; null if either is constant.
    pub centred_cosine: Option<f64>,
    /// Counts of |delta| in quarters of a decade.
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
