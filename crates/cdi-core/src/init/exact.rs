//! The exact distribution of a scheme's weights, for comparison with the drawn weights.

use super::draw::Draw;
use super::scheme::Scheme;
use super::special::{normal_above, normal_between, sphere_above, tails_of_largest, truncated_moments};
#[cfg(not(feature = "std"))]
use crate::float::Float;
use crate::tensor::{Axes, Layout, Shape};

/// Distribution of one weight before it is rounded to a stored type: 0 for a fixed share of the weights, and
/// drawn for the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExactDistribution {
    /// Share of weights that the scheme sets to 0.
    zeros: f64,
    /// Independent draws per weight; less than one if weights depend on each other.
    freedom: f64,
    drawn: Drawn,
}

/// A continuous distribution. Standard deviations are more than 0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Drawn {
    Normal {
        mean: f64,
        std: f64,
    },
    Uniform {
        low: f64,
        high: f64,
    },
    Truncated {
        mean: f64,
        std: f64,
        low: f64,
        high: f64,
    },
    /// A coordinate of a point on the sphere in `n` dimensions, 2 or more: an element of a uniformly
    /// distributed matrix whose columns have `n` elements and this length.
    Sphere {
        n: usize,
        radius: f64,
    },
}

impl ExactDistribution {
    /// The distribution of a scheme's weights in a tensor of this shape; `None` if they are constant, or if
    /// no formula is known (uniform kernels with their mean subtracted).
    pub fn of(scheme: &Scheme, shape: &Shape, layout: Layout) -> Option<Self> {
        if let Some((one, layout)) = layout.of_one(shape) {
            return Self::of(scheme, &one, layout);
        }
        let (matrix, axes) = (shape.matrix(), Axes::new(shape, layout));
        if shape.elements() == 0 {
            return None;
        }
        let (mut zeros, mut freedom) = (0.0, 1.0);
        let drawn = match *scheme {
            Scheme::Sparse { sparsity, std } => {
                zeros = (sparsity * matrix.rows as f64).ceil() / matrix.rows as f64;
                Drawn::Normal { mean: 0.0, std }
            }
            Scheme::Orthogonal { gain } => {
                Drawn::Sphere { n: axes.outputs.max(axes.inputs * axes.kernel), radius: gain.abs() }
            }
            Scheme::DeltaOrthogonal { gain } => {
                // One element of each kernel is drawn. There are no more inputs than outputs.
                zeros = 1.0 - 1.0 / axes.kernel as f64;
                Drawn::Sphere { n: axes.outputs.max(axes.inputs), radius: gain.abs() }
            }
            _ => match scheme.draw(0, shape, layout) {
                Draw::Gaussian { mean, std } => Drawn::Normal { mean, std: std.abs() },
                Draw::Uniform { low, span } => {
                    Drawn::Uniform { low: low.min(low + span), high: low.max(low + span) }
                }
                Draw::Truncated(truncated) => {
                    let (mean, std, low, high) = truncated.parameters();
                    Drawn::Truncated { mean, std, low, high }
                }
                Draw::Constant(_) | Draw::Structured(_) | Draw::Whole { .. } => {
                    return None;
                }
            },
        };
        let kernel = if axes.are_kernels_together() { axes.kernel } else { 1 };
        let drawn = match drawn {
            // A kernel's mean has 1/k of the variance, and subtracting it makes the elements dependent.
            Drawn::Normal { mean, std } if scheme.zero_mean() && kernel > 1 => {
                freedom = 1.0 - 1.0 / kernel as f64;
                Drawn::Normal { mean, std: std * freedom.sqrt() }
            }
            Drawn::Uniform { .. } if scheme.zero_mean() && kernel > 1 => return None,
            drawn => drawn,
        };
        let wide = match drawn {
            Drawn::Normal { std, .. } => std > 0.0,
            Drawn::Uniform { low, high } => low < high,
            Drawn::Truncated { .. } => true,
            Drawn::Sphere { n, radius } => n > 1 && radius > 0.0,
        };
        (wide && zeros < 1.0).then_some(Self { zeros, freedom, drawn })
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        (1.0 - self.zeros) * self.drawn.moments().0
    }

    /// The standard deviation.
    pub fn std(&self) -> f64 {
        // If the scheme sets weights to 0, the others have mean 0.
        (1.0 - self.zeros).sqrt() * self.drawn.moments().1
    }

    /// Standard error of the mean of `n` weights.
    pub fn error_of_mean(&self, n: f64) -> f64 {
        self.std() / n.sqrt()
    }

    /// Standard error, to first order, of the standard deviation of `n` weights.
    pub fn error_of_std(&self, n: f64) -> f64 {
        let (.., kurtosis) = self.drawn.moments();
        let draws = n * self.freedom * (1.0 - self.zeros);
        self.std() * ((kurtosis - 1.0) / draws).sqrt() / 2.0
    }

    /// The share of weights that the scheme sets to 0.
    pub fn zeros(&self) -> f64 {
        self.zeros
    }

    /// The probability that a weight is in `[low, high]`, `low <= high`.
    pub fn probability(&self, low: f64, high: f64) -> f64 {
        let zeros = if low <= 0.0 && 0.0 <= high { self.zeros } else { 0.0 };
        zeros + (1.0 - self.zeros) * self.drawn.between(low, high)
    }

    /// The probabilities that a weight is `< x`, and that it is `<= x`.
    pub fn below(&self, x: f64) -> (f64, f64) {
        let drawn = (1.0 - self.zeros) * (1.0 - self.drawn.above(x));
        let with = |zero: bool| if zero { self.zeros + drawn } else { drawn };
        (with(x > 0.0), with(x >= 0.0))
    }

    /// The smallest and largest values that a weight can have, which may be infinite.
    pub fn support(&self) -> (f64, f64) {
        let (low, high) = self.drawn.support();
        if self.zeros > 0.0 { (low.min(0.0), high.max(0.0)) } else { (low, high) }
    }

    /// Two intervals, for the smallest and for the largest of `n` weights. Each is beyond either end of its
    /// interval with probability `p`. `None` if weights depend on each other, because the largest then has no
    /// simple distribution.
    pub fn extremes(&self, n: f64, p: f64) -> Option<[(f64, f64); 2]> {
        if self.freedom < 1.0 || matches!(self.drawn, Drawn::Sphere { .. }) {
            return None;
        }
        let (far, near) = tails_of_largest((n * (1.0 - self.zeros)).max(1.0), p);
        let [min_far, min_near] = [far, near].map(|tail| self.drawn.first(|x| self.drawn.up_to(x) >= tail));
        let [max_near, max_far] = [near, far].map(|tail| self.drawn.first(|x| self.drawn.above(x) <= tail));
        // Zeros are weights too.
        let zero = if self.zeros > 0.0 { 0.0 } else { f64::INFINITY };
        Some([(min_far, min_near.min(zero)), (max_near.max(-zero), max_far)])
    }
}

impl Drawn {
    /// Mean, standard deviation, kurtosis.
    fn moments(&self) -> (f64, f64, f64) {
        match *self {
            Self::Normal { mean, std } => (mean, std, 3.0),
            Self::Uniform { low, high } => (low + (high - low) / 2.0, (high - low) / 12f64.sqrt(), 1.8),
            Self::Truncated { mean, std, low, high } => {
                let (shift, variance, fourth) = truncated_moments((low - mean) / std, (high - mean) / std);
                (mean + std * shift, std * variance.sqrt(), fourth / (variance * variance))
            }
            Self::Sphere { n, radius } => {
                let n = n as f64;
                (0.0, radius / n.sqrt(), 3.0 * n / (n + 2.0))
            }
        }
    }

    /// `P(X > x)`.
    fn above(&self, x: f64) -> f64 {
        match *self {
            Self::Normal { mean, std } => normal_above((x - mean) / std),
            Self::Uniform { low, high } => ((high - x) / (high - low)).clamp(0.0, 1.0),
            Self::Truncated { mean, std, low, high } => {
                let [a, x, b] = [low, x.clamp(low, high), high].map(|x| (x - mean) / std);
                normal_between(x, b) / normal_between(a, b)
            }
            Self::Sphere { n, radius } => {
                let above = sphere_above(n, (x.abs() / radius).min(1.0));
                if x < 0.0 { 1.0 - above } else { above }
            }
        }
    }

    /// `P(X <= x)`, computed as `P(-X >= -x)`, so that the lower tail is as precise as the upper one.
    fn up_to(&self, x: f64) -> f64 {
        let mirrored = match *self {
            Self::Normal { mean, std } => Self::Normal { mean: -mean, std },
            Self::Uniform { low, high } => Self::Uniform { low: -high, high: -low },
            Self::Truncated { mean, std, low, high } => {
                Self::Truncated { mean: -mean, std, low: -high, high: -low }
            }
            sphere @ Self::Sphere { .. } => sphere,
        };
        mirrored.above(-x)
    }

    /// `P(low < X < high)`.
    fn between(&self, low: f64, high: f64) -> f64 {
        let above = self.above(low);
        let between = if above < 0.5 { above - self.above(high) } else { self.up_to(high) - self.up_to(low) };
        between.max(0.0)
    }

    fn support(&self) -> (f64, f64) {
        match *self {
            Self::Normal { .. } => (f64::NEG_INFINITY, f64::INFINITY),
            Self::Uniform { low, high } | Self::Truncated { low, high, .. } => (low, high),
            Self::Sphere { radius, .. } => (-radius, radius),
        }
    }

    /// The smallest value for which a monotone condition holds, by bisection.
    fn first(&self, is_true: impl Fn(f64) -> bool) -> f64 {
        let (mut low, mut high) = match *self {
            // Beyond these, probabilities are 0 in binary64.
            Self::Normal { mean, std } => (mean - 40.0 * std, mean + 40.0 * std),
            _ => self.support(),
        };
        for _ in 0..200 {
            let middle = low + (high - low) / 2.0;
            if middle <= low || middle >= high {
                break;
            }
            if is_true(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}
