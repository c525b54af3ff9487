//! The search for the smallest file within an accuracy budget: the search, the user's evaluation command, and
//! the result.
//!
//! This module does not depend on checkpoints: the search requests points on a line, and the command gets a
//! path.

mod cache;
mod command;
mod metric;
mod search;

use serde::{Deserialize, Serialize};

use crate::text::significant;

pub use cache::{Cache, CacheError};
pub(crate) use command::quoted;
pub use command::{EvaluationError, EvaluationProblem, PLACE, evaluate, stop_running};
pub use metric::{Metric, last_number};
pub use search::{Lines, search};

/// Whether higher or lower metrics are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Larger ones, such as accuracies.
    Higher,
    /// Smaller ones, such as losses.
    Lower,
}

impl Better {
    /// The name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }

    /// How much worse `metric` is than `original`, in their units; negative if it is better. The result is
    /// rounded to the twelfth significant decimal digit of the larger of the two, so that 0.876 - 0.874 is
    /// 0.002, as a reader expects.
    pub fn drop(self, original: f64, metric: f64) -> f64 {
        let difference = match self {
            Self::Higher => original - metric,
            Self::Lower => metric - original,
        };
        let largest = original.abs().max(metric.abs());
        // The decimal exponent is read from the digits, because logarithms may differ between machines.
        let text = format!("{largest:e}");
        let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
        let decimals = (11 - exponent).clamp(0, 330) as usize;
        let rounded: f64 = format!("{difference:.decimals$}").parse().unwrap_or(difference);
        // No negative zero.
        rounded + 0.0
    }
}

/// Result of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TuneReport {
    /// The evaluation command in the config.
    pub command: Vec<String>,
    /// Whether higher or lower metrics are better.
    pub better: Better,
    /// Most that the metric may be worse than the original's, in its units.
    pub max_drop: f64,
    /// The metric of the trained checkpoint.
    pub original_metric: f64,
    /// Bytes of the trained checkpoint when written without pruning.
    pub original_bytes: u64,
    /// Whether the search was completed; otherwise `max_evaluations` ended it.
    pub complete: bool,
    /// All points tried, in search order.
    pub points: Vec<TunePoint>,
    /// Index in `points`, from 0, of the point that was written.
    pub winner: usize,
}

/// A pruned checkpoint that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TunePoint {
    /// Ranking criterion.
    pub criterion: String,
    /// Structure of the pruned weights.
    pub structure: String,
    /// Scope of the ranking.
    pub scope: String,
    /// Value of pruned weights.
    pub fill: String,
    /// Target sparsity, 0 … 1; null if the structure determines it.
    pub target_sparsity: Option<f64>,
    /// Share of pruned weights in all floating-point weights, 0 … 1.
    pub sparsity: f64,
    /// Bytes of the pruned checkpoint.
    pub bytes: u64,
    /// The number that the command printed.
    pub metric: f64,
    /// How much worse than the original this is; negative if better.
    pub drop: f64,
    /// Whether this is within `max_drop`.
    pub within: bool,
}

impl TunePoint {
    /// What all points of one line have in common: `magnitude, global, unstructured, fill zero`.
    pub fn recipe(&self) -> String {
        format!("{}, {}, {}, fill {}", self.criterion, self.scope, self.structure, self.fill)
    }

    /// Recipe and sparsity: `magnitude, global, unstructured, fill zero, sparsity 0.5`.
    pub fn words(&self) -> String {
        let sparsity = self.target_sparsity.map(|s| format!(", sparsity {}", significant(s, 6)));
        self.recipe() + &sparsity.unwrap_or_default()
    }
}

/// The index of the smallest point within the allowed drop. Ties go to the point with the smaller
/// drop, then to the first.
pub fn winner(points: &[TunePoint]) -> Option<usize> {
    let within = points.iter().enumerate().filter(|(_, point)| point.within);
    within
        .min_by(|(_, a), (_, b)| a.bytes.cmp(&b.bytes).then(a.drop.total_cmp(&b.drop)))
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_what_the_digits_say() {
        assert_eq!(Better::Higher.drop(0.876, 0.874), 0.002);
        assert_eq!(Better::Higher.drop(87.6, 87.4), 0.2);
        assert_eq!(Better::Lower.drop(2.31, 2.34), 0.03);
        assert_eq!(Better::Lower.drop(1234.5, 1234.4), -0.1);
        assert_eq!(Better::Higher.drop(1e-9, 0.9e-9), 1e-10);
        assert_eq!(Better::Higher.drop(-1e300, 1e300), -2e300);
        assert!(Better::Higher.drop(0.0, 0.0).is_sign_positive());
        assert!(Better::Lower.drop(5.0, 5.0).is_sign_positive());
    }

    fn point(bytes: u64, drop: f64, within: bool) -> TunePoint {
        TunePoint {
            criterion: String::new(),
            structure: String::new(),
            scope: String::new(),
            fill: String::new(),
            target_sparsity: None,
            sparsity: 0.0,
            bytes,
            metric: 0.0,
            drop,
            within,
        }
    }

    #[test]
    fn the_smallest_within_wins() {
        let points = [
            point(5, 0.0, true),
            point(3, 0.2, true),
            point(1, 0.9, false),
            point(3, 0.1, true),
            point(3, 0.1, true),
        ];
        assert_eq!(winner(&points), Some(3));
        assert_eq!(winner(&points[2..3]), None);
    }
}
