//! Counts and sums of weights, which are merged from runs to tensors to checkpoints.

use serde::{Deserialize, Serialize};

use super::exact::real;

/// Counts and sums of one run of weights, or of several runs merged in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaStats {
    /// Number of weights.
    pub total: u64,
    /// Weights above the threshold, including NaN and infinite ones.
    pub changed: u64,
    /// Changed weights with finite delta.
    pub changed_finite: u64,
    /// Weights with finite delta.
    pub finite: u64,
    /// Trained weights that are zero, of either sign.
    pub zeros: u64,
    /// Trained weights that are NaN or infinite.
    pub not_finite: u64,
    /// Trained weights that are NaN.
    pub nan: u64,
    /// Sum of the finite |delta|.
    #[serde(with = "real")]
    pub sum: f64,
    /// Sum of the finite delta².
    #[serde(with = "real")]
    pub sum_squares: f64,
    /// Sum of the finite |delta| of changed weights.
    #[serde(with = "real")]
    pub sum_changed: f64,
    /// Largest finite |delta|; 0 if there is none.
    #[serde(with = "real")]
    pub max: f64,
}

impl DeltaStats {
    /// Adds a later run. The order matters, because sums are rounded.
    pub fn merge(&mut self, later: &Self) {
        self.total += later.total;
        self.changed += later.changed;
        self.changed_finite += later.changed_finite;
        self.finite += later.finite;
        self.zeros += later.zeros;
        self.not_finite += later.not_finite;
        self.nan += later.nan;
        self.sum += later.sum;
        self.sum_squares += later.sum_squares;
        self.sum_changed += later.sum_changed;
        self.max = self.max.max(later.max);
    }

    /// Weights within the threshold.
    pub fn sleeping(&self) -> u64 {
        self.total - self.changed
    }

    /// Mean |delta|; `None` if no delta is finite.
    pub fn mean(&self) -> Option<f64> {
        ratio(self.sum, self.finite)
    }

    /// Root of the mean delta²; `None` if no delta is finite.
    pub fn rms(&self) -> Option<f64> {
        ratio(self.sum_squares, self.finite).map(f64::sqrt)
    }

    /// Largest |delta|; `None` if no delta is finite.
    pub fn max(&self) -> Option<f64> {
        (self.finite > 0).then_some(self.max)
    }

    /// Mean |delta| of the changed weights; `None` if there are none.
    pub fn mean_changed(&self) -> Option<f64> {
        ratio(self.sum_changed, self.changed_finite)
    }
}

fn ratio(sum: f64, n: u64) -> Option<f64> {
    (n > 0).then(|| sum / n as f64)
}
