//! The search for the smallest file within an accuracy budget: the search, the user's evaluation command, and
//! the result.
//!
//! This module does not depend on checkpoints: a search asks for sparsities on lines or for lengths of steps,
//! and the command gets a path.
//!
//! ```
//! use cdi_prune::tune::{Better, Lines, Metric, last_number, search};
//!
//! // One line of sparsities: 0, 0.25, 0.5, 0.75 and 1, then midpoints down to a tolerance of 0.125.
//! let lines = Lines { ranged: vec![true], low: 0.0, high: 1.0, steps: 4, tolerance: 0.125 };
//! let (original, max_drop) = (0.9, 0.05);
//! let mut best: f64 = 0.0;
//! let complete = search(&lines, |points: &[(usize, Option<f64>)]| {
//!     let within = points.iter().map(|&(_, sparsity)| {
//!         let sparsity = sparsity.unwrap_or(0.0);
//!         // Here a file would be pruned and the command run, which prints the accuracy in its last line.
//!         let printed = format!("epoch 3\naccuracy: {}\n", 0.9 - 0.1 * sparsity * sparsity);
//!         let Metric::Finite(metric) = last_number(&printed) else { return Err("no number") };
//!         let is_within = Better::Higher.drop(original, metric) <= max_drop;
//!         if is_within {
//!             best = best.max(sparsity);
//!         }
//!         Ok(is_within)
//!     });
//!     within.collect::<Result<Vec<_>, _>>()
//! })?;
//! assert!(complete);
//! assert_eq!(best, 0.625);
//! # Ok::<(), &str>(())
//! ```

mod cache;
mod command;
mod metric;
mod points;
mod search;
mod steps;

use serde::{Deserialize, Serialize};

pub use cache::{Cache, CacheError};
pub(crate) use command::quoted;
pub use command::{EvaluationError, EvaluationProblem, PLACE, evaluate, stop_running};
pub use metric::{Metric, last_number};
pub use points::{
    Confirmation, Confirmed, Part, PointSteps, TensorStep, TunePoint, TuneReport, front, winner,
};
pub use search::{Lines, search};
pub use steps::{Coordinate, Measured, Space, search_steps};

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
}
