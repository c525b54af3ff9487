//! Schemes: initialisations in which every parameter has a value.

use core::fmt;

use super::distribution::{Distribution, Fan};
use super::gain::Nonlinearity;
use super::params::SchemeParams;
#[cfg(not(feature = "std"))]
use crate::float::Float;
use crate::prelude::*;
use crate::tensor::{Axes, Layout, Shape};

/// Initialisation of one tensor. All reals are finite, standard deviations are not
/// negative, and `low < high`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheme {
    /// Zero mean, with a variance that depends on the fans.
    Scaled {
        /// The variance as a function of the fans.
        rule: VarianceRule,
        /// Distribution; the standard deviation is the same for all.
        distribution: Distribution,
        /// Factor on the standard deviation.
        gain: f64,
        /// Subtract each convolution kernel's mean.
        zero_mean: bool,
    },
    /// PyTorch's default for the weights and biases of Linear and Conv layers: uniform in ±1/sqrt(fan_in)
    /// (`kaiming_uniform_` with `a = sqrt(5)`).
    TorchDefault {
        /// Source of the fan-in.
        fan_in: FanIn,
    },
    /// Normal with this mean and standard deviation.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation, before the division by depth.
        std: f64,
        /// Blocks of a residual network: the standard deviation is divided by `sqrt(2 depth)`. Radford et
        /// al., "Language models are unsupervised multitask learners", 2019, section 2.3.
        depth: Option<u64>,
        /// Subtract each convolution kernel's mean (then `mean` is 0).
        zero_mean: bool,
    },
    /// Normal, truncated to `[low, high]`.
    TruncNormal {
        /// Mean before truncation.
        mean: f64,
        /// Standard deviation before truncation, more than 0.
        std: f64,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
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
    /// Normal with zero mean; in each column, `ceil(sparsity * rows)` weights are 0. Martens, "Deep
    /// learning via Hessian-free optimization", ICML 2010.
    Sparse {
        /// Share of zeros, 0 … 1.
        sparsity: f64,
        /// Standard deviation of the others.
        std: f64,
    },
    /// The same value everywhere.
    Constant(f64),
    /// The identity matrix: 1 on the main diagonal, else 0.
    Eye,
    /// Convolutions that copy their input channels: 1 in the middle of the kernel from each input channel to
    /// the output channel of the same number within its group, else 0.
    Dirac {
        /// Groups of output channels.
        groups: u64,
    },
    /// Orthonormal rows or columns, whichever are fewer, of the matrix `[out, rest]`: Saxe, McClelland,
    /// Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
    /// ICLR 2014. Uniformly distributed among all such matrices.
    Orthogonal {
        /// Factor on the matrix.
        gain: f64,
    },
    /// Convolutions whose kernels are an orthonormal matrix in the middle and zero elsewhere: Xiao et al.,
    /// "Dynamical isometry and a mean field theory of CNNs", ICML 2018, algorithm 1.
    DeltaOrthogonal {
        /// Factor on the matrix.
        gain: f64,
    },
}

/// The standard deviation as a function of the fans, before the gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VarianceRule {
    /// `sqrt(g² / fan)`, `g² = 2` unless another activation is named: He et al., "Delving deep into
    /// rectifiers", ICCV 2015, eq. 10.
    He {
        /// Which fan.
        fan: Fan,
        /// Activation and its slope below 0.
        activation: Option<(Nonlinearity, f64)>,
    },
    /// `sqrt(2 g² / (fan_in + fan_out))`, `g² = 1` unless another activation is named: Glorot and Bengio,
    /// "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, eq. 12 (its
    /// uniform form is eq. 16).
    Xavier {
        /// Activation and its slope below 0.
        activation: Option<(Nonlinearity, f64)>,
    },
    /// `sqrt(1 / fan)`: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, eq. 16.
    Lecun {
        /// Which fan.
        fan: Fan,
    },
    /// `sqrt(scale / fan)`: `jax.nn.initializers.variance_scaling` and Keras's `VarianceScaling`.
    VarianceScaling {
        /// Variance times fan.
        scale: f64,
        /// Which fan.
        fan: Fan,
    },
    /// `1 / sqrt(d_model)`, where `d_model` is `fan_in` unless given: the scale of the projections in
    /// Vaswani et al., "Attention is all you need", NeurIPS 2017.
    Attention {
        /// Width of the model.
        d_model: Option<u64>,
    },
}

/// Source of the fan-in that determines a scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FanIn {
    /// The tensor itself, a weight.
    Own,
    /// This number.
    Given(u64),
    /// The tensor with this name.
    Of(String),
}

impl VarianceRule {
    /// The standard deviation for a tensor with these fans, in binary64, with one rounding per operation.
    pub fn std(self, fan_in: usize, fan_out: usize) -> f64 {
        let fans = |fan| match fan {
            Fan::In => fan_in as f64,
            Fan::Out => fan_out as f64,
            Fan::Avg => (fan_in + fan_out) as f64 / 2.0,
        };
        let gain_squared = |activation: Option<(Nonlinearity, f64)>, default: f64| {
            activation.map_or(default, |(nonlinearity, a)| nonlinearity.gain_squared(a))
        };
        match self {
            Self::He { fan, activation } => (gain_squared(activation, 2.0) / fans(fan)).sqrt(),
            Self::Xavier { activation } => {
                (2.0 * gain_squared(activation, 1.0) / (fan_in + fan_out) as f64).sqrt()
            }
            Self::Lecun { fan } => (1.0 / fans(fan)).sqrt(),
            Self::VarianceScaling { scale, fan } => (scale / fans(fan)).sqrt(),
            Self::Attention { d_model } => 1.0 / (d_model.map_or(fan_in as f64, |d| d as f64)).sqrt(),
        }
    }

    /// The parameters, without those that have their default value.
    fn params(self) -> SchemeParams {
        let fan = |fan| (fan != Fan::In).then_some(fan);
        let with = |name, activation: Option<(Nonlinearity, f64)>| SchemeParams {
            nonlinearity: activation.map(|(nonlinearity, _)| nonlinearity),
            a: activation.filter(|(n, _)| *n == Nonlinearity::LeakyRelu).map(|(_, a)| a),
            ..SchemeParams::named(name)
        };
        match self {
            Self::He { fan: f, activation } => SchemeParams { fan: fan(f), ..with("he", activation) },
            Self::Xavier { activation } => with("xavier", activation),
            Self::Lecun { fan: f } => SchemeParams { fan: fan(f), ..SchemeParams::named("lecun") },
            Self::VarianceScaling { scale, fan: f } => SchemeParams {
                scale: (scale != 1.0).then_some(scale),
                fan: fan(f),
                ..SchemeParams::named("variance_scaling")
            },
            Self::Attention { d_model } => SchemeParams { d_model, ..SchemeParams::named("attention") },
        }
    }
}

impl Scheme {
    /// Checks whether the scheme can initialise a tensor of this shape.
    ///
    /// # Errors
    /// [`ShapeMismatch`], which says what the scheme needs.
    pub fn check_shape(&self, shape: &Shape, layout: Layout) -> Result<(), ShapeMismatch> {
        layout.for_shape(shape).map_err(|error| ShapeMismatch {
            mode: self.params().mode,
            expected: format!(
                "a layout for its dimensions, and {} names {}",
                error.layout,
                error.layout.rank()
            ),
            shape: shape.clone(),
        })?;
        if let Some((one, layout)) = layout.of_one(shape) {
            // The error must show the shape of the whole tensor.
            let whole = |error| ShapeMismatch { shape: shape.clone(), ..error };
            return self.check_shape(&one, layout).map_err(whole);
        }
        let needs = |expected| ShapeMismatch { mode: self.params().mode, expected, shape: shape.clone() };
        let (rank, axes) = (shape.rank(), Axes::new(shape, layout));
        match self {
            Self::Eye | Self::Sparse { .. } if rank != 2 => Err(needs("two dimensions".to_owned())),
            Self::Orthogonal { .. } if rank < 2 => Err(needs("at least two dimensions".to_owned())),
            Self::Dirac { .. } | Self::DeltaOrthogonal { .. } if !(3..=5).contains(&rank) => {
                Err(needs("three to five dimensions".to_owned()))
            }
            Self::DeltaOrthogonal { .. } => {
                let (outputs, inputs) = (axes.outputs, axes.inputs);
                if inputs <= outputs {
                    Ok(())
                } else {
                    Err(needs(format!(
                        "at most as many input channels as output channels, not {inputs} and {outputs}"
                    )))
                }
            }
            Self::Dirac { groups } => {
                if (axes.outputs as u64).is_multiple_of(*groups) {
                    Ok(())
                } else {
                    Err(needs(format!("a number of output channels that is divisible by {groups} groups")))
                }
            }
            Self::TorchDefault { fan_in: FanIn::Own } if rank < 2 => {
                Err(needs("at least two dimensions, or for a bias `fan_in` or `fan_in_of`".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether each convolution kernel's mean is subtracted.
    pub fn zero_mean(&self) -> bool {
        match self {
            Self::Scaled { zero_mean, .. }
            | Self::Normal { zero_mean, .. }
            | Self::Uniform { zero_mean, .. } => *zero_mean,
            _ => false,
        }
    }

    /// Whether a weight depends on its position in the whole tensor, so that each stacked expert is
    /// a tensor of its own.
    pub(super) fn makes_whole_tensors(&self) -> bool {
        matches!(
            self,
            Self::Eye
                | Self::Dirac { .. }
                | Self::Sparse { .. }
                | Self::Orthogonal { .. }
                | Self::DeltaOrthogonal { .. }
        )
    }

    /// Whether the values depend on the noise function, and therefore on seed and layer id.
    pub fn is_random(&self) -> bool {
        !matches!(self, Self::Constant(_) | Self::Eye | Self::Dirac { .. })
    }

    /// The parameters of this scheme, without those that have their default value: the canonical form in
    /// files.
    pub fn params(&self) -> SchemeParams {
        let some_if = |differs: bool, x: f64| differs.then_some(x);
        let zero_mean = self.zero_mean().then_some(true);
        match *self {
            Self::Scaled { rule, distribution, gain, .. } => SchemeParams {
                distribution: (distribution != Distribution::Normal).then_some(distribution),
                gain: some_if(gain != 1.0, gain),
                zero_mean,
                ..rule.params()
            },
            Self::TorchDefault { ref fan_in } => SchemeParams {
                fan_in: if let FanIn::Given(fan_in) = fan_in { Some(*fan_in) } else { None },
                fan_in_of: if let FanIn::Of(tensor) = fan_in { Some(tensor.clone()) } else { None },
                ..SchemeParams::named("torch_default")
            },
            Self::Normal { mean, std, depth, .. } => SchemeParams {
                mean: some_if(mean != 0.0, mean),
                std: Some(std),
                depth,
                zero_mean,
                ..SchemeParams::named("normal")
            },
            Self::TruncNormal { mean, std, low, high } => SchemeParams {
                mean: some_if(mean != 0.0, mean),
                std: Some(std),
                low: Some(low),
                high: Some(high),
                ..SchemeParams::named("trunc_normal")
            },
            Self::Sparse { sparsity, std } => {
                SchemeParams { sparsity: Some(sparsity), std: Some(std), ..SchemeParams::named("sparse") }
            }
            Self::Eye => SchemeParams::named("eye"),
            Self::Orthogonal { gain } => {
                SchemeParams { gain: some_if(gain != 1.0, gain), ..SchemeParams::named("orthogonal") }
            }
            Self::DeltaOrthogonal { gain } => {
                SchemeParams { gain: some_if(gain != 1.0, gain), ..SchemeParams::named("delta_orthogonal") }
            }
            Self::Dirac { groups } => {
                SchemeParams { groups: (groups != 1).then_some(groups), ..SchemeParams::named("dirac") }
            }
            Self::Uniform { low, high, .. } => {
                SchemeParams { low: Some(low), high: Some(high), zero_mean, ..SchemeParams::named("uniform") }
            }
            Self::Constant(0.0) => SchemeParams::named("zeros"),
            Self::Constant(1.0) => SchemeParams::named("ones"),
            Self::Constant(value) => SchemeParams { value: Some(value), ..SchemeParams::named("constant") },
        }
    }
}

/// A scheme that cannot initialise a tensor of this shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{mode}` needs {expected}; its shape is {shape}")]
pub struct ShapeMismatch {
    /// Canonical mode.
    pub mode: String,
    /// What it needs, in words.
    pub expected: String,
    /// The tensor's shape.
    pub shape: Shape,
}

/// The mode and the parameters that differ from their defaults: `he`, `normal(std=0.02)`.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.params().fmt(f)
    }
}
