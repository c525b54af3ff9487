//! What a scheme draws for one tensor.

use super::distribution::Distribution;
use super::orthogonal::{Orthogonal, Whole};
use super::scheme::{FanIn, Scheme};
use super::structure::Structure;
use super::truncated::Truncated;
#[cfg(not(feature = "std"))]
use crate::float::Float;
use crate::lock::Shared;
use crate::tensor::{Axes, Layout, Shape};

/// What a scheme draws for a tensor with known fans; see the last section of `docs/noise.md`.
#[derive(Clone, Debug)]
pub(super) enum Draw {
    Constant(f64),
    /// `std * gaussian`, plus `mean` if that is not 0.
    Gaussian {
        mean: f64,
        std: f64,
    },
    /// `low + span * uniform`, or `span * (uniform - kernel mean)`.
    Uniform {
        low: f64,
        span: f64,
    },
    Truncated(Truncated),
    Structured(Structure),
    Whole {
        matrix: Shared<Orthogonal>,
        whole: Whole,
    },
}

/// Standard deviation of a standard normal distribution truncated to ±2, by which JAX and Keras divide.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

impl Scheme {
    pub(super) fn draw(&self, layer_key: u64, shape: &Shape, layout: Layout) -> Draw {
        let (fan_in, fan_out) = shape.fans(layout);
        let whole = |matrix| {
            let matrix = Shared::new(matrix);
            Draw::Whole { whole: Whole::new(Shared::clone(&matrix)), matrix }
        };
        // Uniform on ±bound.
        let around_zero = |bound: f64| Draw::Uniform { low: -bound, span: bound - -bound };
        match *self {
            Self::Scaled { rule, distribution, gain, .. } => {
                let std = gain * rule.std(fan_in, fan_out);
                match distribution {
                    Distribution::Normal => Draw::Gaussian { mean: 0.0, std },
                    // A uniform distribution on ±b has the standard deviation b / sqrt(3).
                    Distribution::Uniform => around_zero(3f64.sqrt() * std),
                    Distribution::TruncNormal => {
                        let std = std.abs() / TRUNCATED_STD;
                        match std {
                            0.0 => Draw::Constant(0.0),
                            _ => Draw::Truncated(Truncated::new(0.0, std, -2.0 * std, 2.0 * std)),
                        }
                    }
                }
            }
            Self::TorchDefault { ref fan_in } => {
                let own = Axes::new(shape, layout).torch_fan_in() as f64;
                let fan_in = if let FanIn::Given(fan_in) = fan_in { *fan_in as f64 } else { own };
                around_zero(1.0 / fan_in.sqrt())
            }
            Self::Normal { mean, std, depth, .. } => {
                let std = depth.map_or(std, |depth| std / (2.0 * depth as f64).sqrt());
                Draw::Gaussian { mean, std }
            }
            Self::TruncNormal { mean, std, low, high } => {
                Draw::Truncated(Truncated::new(mean, std, low, high))
            }
            Self::Uniform { low, high, .. } => Draw::Uniform { low, span: high - low },
            Self::Sparse { sparsity, std } => Draw::Structured(Structure::sparse(shape, sparsity, std)),
            Self::Constant(value) => Draw::Constant(value),
            Self::Eye => Draw::Structured(Structure::Eye),
            Self::Dirac { groups } => Draw::Structured(Structure::dirac(shape, layout, groups)),
            Self::Orthogonal { gain } => whole(Orthogonal::full(layer_key, gain, shape, layout)),
            Self::DeltaOrthogonal { gain } => whole(Orthogonal::delta(layer_key, gain, shape, layout)),
        }
    }
}
