//! Counts and sums of a run of weights, and how runs add up to a tensor and tensors to a checkpoint.

use serde::{Deserialize, Serialize};

use super::exact::real;

/// What one run of weights, or several merged in their order, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaStats {
    /// Weights.
    pub total: u64,
    /// Those over the threshold, NaN and infinite ones included.
    pub changed: u64,
    /// Those of them whose delta is finite.
    pub changed_finite: u64,
    /// Weights whose delta is finite.
    pub finite: u64,
    /// Trained weights that are zero, of either sign.
    pub zeros: u64,
    /// Trained weights that are NaN or infinite.
    pub not_finite: u64,
    /// Those of them that are NaN.
    pub nan: u64,
    /// Sum of |delta| over the finite ones.
    #[serde(with = "real")]
    pub sum: f64,
    /// Sum of delta² over the finite ones.
    #[serde(with = "real")]
    pub sum_squares: f64,
    /// Sum of |delta| over the changed finite ones.
    #[serde(with = "real")]
    pub sum_changed: f64,
    /// Largest finite |delta|, 0 where there is none.
    #[serde(with = "real")]
    pub max: f64,
}

impl DeltaStats {
    /// Adds a later run. Merging in another order would round the sums differently.
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

    /// Mean |delta|; `None` where no delta is finite.
    pub fn mean(&self) -> Option<f64> {
        ratio(self.sum, self.finite)
    }

    /// Root of the mean delta²; `None` where no delta is finite.
    pub fn rms(&self) -> Option<f64> {
        ratio(self.sum_squares, self.finite).map(f64::sqrt)
    }

    /// Largest |delta|; `None` where no delta is finite.
    pub fn max(&self) -> Option<f64> {
        (self.finite > 0).then_some(self.max)
    }

    /// Mean |delta| of the changed weights; `None` where there is none.
    pub fn mean_changed(&self) -> Option<f64> {
        ratio(self.sum_changed, self.changed_finite)
    }
}

fn ratio(sum: f64, n: u64) -> Option<f64> {
    (n > 0).then(|| sum / n as f64)
}
