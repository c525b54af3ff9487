//! Errors in the scores for pruning.

use safetensors::Dtype;

use crate::tensor::Shape;

/// Why the scores of a tensor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScoresProblem {
    /// There are no scores for it.
    #[error("is missing there")]
    Missing,
    /// The scores are not floating-point numbers.
    #[error("is {0} there, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// There is neither one score per weight nor one norm per input channel.
    #[error("has shape {got} there, expected {expected}{}", for_channels(.channels, *.experts))]
    Shape {
        /// Shape of the tensor to be pruned.
        expected: Shape,
        /// Number of its input channels, if it has any.
        channels: Option<usize>,
        /// Number of its experts.
        experts: usize,
        /// Shape of the scores.
        got: Shape,
    },
    /// A score cannot be ranked, because it is not finite.
    #[error("has the score {score} at position {place}, expected a finite number")]
    NotFinite {
        /// Index of the score in storage order.
        place: usize,
        /// The score.
        score: f64,
    },
    /// A number cannot be a norm, because it is negative or not finite.
    #[error("has the norm {norm} for input channel {place}, expected a finite number of at least 0")]
    NotANorm {
        /// Index of the input channel.
        place: usize,
        /// The number.
        norm: f64,
    },
}

fn for_channels(channels: &Option<usize>, experts: usize) -> String {
    match channels {
        None => String::new(),
        Some(n) if experts == 1 => {
            format!(" for a score per weight, or [{n}] for a norm per input channel")
        }
        Some(n) => format!(
            " for a score per weight, or [{n}] or [{experts}, {n}] for a norm per input channel, of all experts or of each"
        ),
    }
}
