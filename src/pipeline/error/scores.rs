//! Why scores to prune by cannot serve.

use safetensors::Dtype;

use crate::tensor::Shape;

/// Why the scores of a tensor cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ScoresProblem {
    /// There are none.
    #[error("is missing there")]
    Missing,
    /// They are no floating-point numbers.
    #[error("is {0} there, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// As many as neither weights nor input channels.
    #[error("has shape {got} there, expected {expected}{}", for_channels(.channels, *.experts))]
    Shape {
        /// Shape of the tensor.
        expected: Shape,
        /// Its input channels, where it has some.
        channels: Option<usize>,
        /// Its experts.
        experts: usize,
        /// Shape there.
        got: Shape,
    },
    /// A score that cannot be ranked.
    #[error("has the score {score} at position {place}, expected a finite number")]
    NotFinite {
        /// The place, in storage order.
        place: usize,
        /// The score.
        score: f64,
    },
    /// A number that no norm can be.
    #[error("has the norm {norm} for input channel {place}, expected a finite number of at least 0")]
    NotANorm {
        /// The channel.
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
