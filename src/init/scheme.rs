//! The schemes, decided: every parameter has a value, and each knows its scale from the fans.

use std::fmt;

use super::params::{Distribution, SchemeParams};
use crate::tensor::{Layout, Shape};

/// How the weights of one tensor start. All reals are finite, standard deviations are not negative, `low < high`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheme {
    /// Zero mean, variance by the fans.
    Scaled {
        /// Which fans count.
        rule: VarianceRule,
        /// Shape of the distribution; both have the same standard deviation.
        distribution: Distribution,
        /// Factor on the standard deviation.
        gain: f64,
        /// Subtract each convolution kernel's mean.
        zero_mean: bool,
    },
    /// Normal with this mean and standard deviation.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
        /// Subtract each convolution kernel's mean (then `mean` is 0).
        zero_mean: bool,
    },
    /// Uniform in `[low, high)`.
    Uniform {
        /// Lower end, included.
        low: f64,
        /// Upper end, excluded before rounding.
        high: f64,
        /// Subtract each convolution kernel's mean.
        zero_mean: bool,
    },
    /// One value everywhere.
    Constant(f64),
}

/// The standard deviation as a function of the fans, before the gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarianceRule {
    /// `sqrt(2 / fan_in)`: He et al., "Delving deep into rectifiers", ICCV 2015, eq. 10.
    He,
    /// `sqrt(2 / (fan_in + fan_out))`: Glorot and Bengio, "Understanding the difficulty of training deep
    /// feedforward neural networks", AISTATS 2010, eq. 12 (its uniform form is eq. 16).
    Xavier,
    /// `sqrt(1 / fan_in)`: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, eq. 16.
    Lecun,
    /// `1 / sqrt(d_model)`, `d_model` being `fan_in` where none is given: the scale of the projections in Vaswani et
    /// al., "Attention is all you need", NeurIPS 2017.
    Attention {
        /// Width of the model.
        d_model: Option<u64>,
    },
}

impl VarianceRule {
    /// The standard deviation for a tensor with these fans, in binary64, each operation rounded once.
    pub fn std(self, fan_in: usize, fan_out: usize) -> f64 {
        match self {
            Self::He => (2.0 / fan_in as f64).sqrt(),
            Self::Xavier => (2.0 / (fan_in + fan_out) as f64).sqrt(),
            Self::Lecun => (1.0 / fan_in as f64).sqrt(),
            Self::Attention { d_model } => 1.0 / (d_model.map_or(fan_in as f64, |d| d as f64)).sqrt(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::He => "he",
            Self::Xavier => "xavier",
            Self::Lecun => "lecun",
            Self::Attention { .. } => "attention",
        }
    }
}

/// What a scheme draws for a tensor of known fans: the noise page's last section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Draw {
    Constant(f64),
    /// `std * gaussian`, plus `mean` where it is not 0.
    Gaussian {
        mean: f64,
        std: f64,
    },
    /// `low + span * uniform`, or `span * (uniform - kernel mean)`.
    Uniform {
        low: f64,
        span: f64,
    },
}

impl Scheme {
    pub(super) fn draw(&self, shape: &Shape, layout: Layout) -> Draw {
        match *self {
            Self::Scaled { rule, distribution, gain, .. } => {
                let (fan_in, fan_out) = shape.fans(layout);
                let std = gain * rule.std(fan_in, fan_out);
                match distribution {
                    Distribution::Normal => Draw::Gaussian { mean: 0.0, std },
                    Distribution::Uniform => {
                        // A uniform distribution on ±b has the standard deviation b / sqrt(3).
                        let bound = 3f64.sqrt() * std;
                        Draw::Uniform { low: -bound, span: bound - -bound }
                    }
                }
            }
            Self::Normal { mean, std, .. } => Draw::Gaussian { mean, std },
            Self::Uniform { low, high, .. } => Draw::Uniform { low, span: high - low },
            Self::Constant(value) => Draw::Constant(value),
        }
    }

    /// Whether each convolution kernel's mean is subtracted.
    pub fn zero_mean(&self) -> bool {
        match self {
            Self::Scaled { zero_mean, .. }
            | Self::Normal { zero_mean, .. }
            | Self::Uniform { zero_mean, .. } => *zero_mean,
            Self::Constant(_) => false,
        }
    }

    /// Whether the values come from the noise function, so that the layer id matters.
    pub fn is_random(&self) -> bool {
        !matches!(self, Self::Constant(_))
    }

    /// The parameters that make this scheme, those with their default value left out: the canonical form in files.
    pub fn params(&self) -> SchemeParams {
        let some_if = |differs: bool, x: f64| differs.then_some(x);
        let zero_mean = self.zero_mean().then_some(true);
        match *self {
            Self::Scaled { rule, distribution, gain, .. } => SchemeParams {
                distribution: (distribution != Distribution::Normal).then_some(distribution),
                gain: some_if(gain != 1.0, gain),
                d_model: if let VarianceRule::Attention { d_model } = rule { d_model } else { None },
                zero_mean,
                ..SchemeParams::named(rule.name())
            },
            Self::Normal { mean, std, .. } => SchemeParams {
                mean: some_if(mean != 0.0, mean),
                std: Some(std),
                zero_mean,
                ..SchemeParams::named("normal")
            },
            Self::Uniform { low, high, .. } => {
                SchemeParams { low: Some(low), high: Some(high), zero_mean, ..SchemeParams::named("uniform") }
            }
            Self::Constant(0.0) => SchemeParams::named("zeros"),
            Self::Constant(1.0) => SchemeParams::named("ones"),
            Self::Constant(value) => SchemeParams { value: Some(value), ..SchemeParams::named("constant") },
        }
    }
}

/// `he`, `normal(std=0.02)`: the mode and what differs from its defaults.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.params().fmt(f)
    }
}
