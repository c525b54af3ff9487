//! The gain of an activation function: the factor on the standard deviation that preserves the variance of
//! its outputs.

use serde::{Deserialize, Serialize};

/// An activation function, by PyTorch's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// None.
    Linear,
    /// None, after a convolution.
    Conv,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(0, x)`.
    Relu,
    /// `max(a x, x)`.
    LeakyRelu,
    /// Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.
    Selu,
}

impl Nonlinearity {
    /// The name in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Conv => "conv",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Relu => "relu",
            Self::LeakyRelu => "leaky_relu",
            Self::Selu => "selu",
        }
    }

    /// The square of `torch.nn.init.calculate_gain`: 1, 25/9 for tanh, 2 for relu, `2 / (1 + a²)` for
    /// leaky_relu, 9/16 for selu. The square is exact even if the gain is irrational, and it is what a
    /// variance is multiplied by.
    pub fn gain_squared(self, a: f64) -> f64 {
        match self {
            Self::Linear | Self::Conv | Self::Sigmoid => 1.0,
            Self::Tanh => 25.0 / 9.0,
            Self::Relu => 2.0,
            Self::LeakyRelu => 2.0 / (1.0 + a * a),
            Self::Selu => 9.0 / 16.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_those_of_torch() {
        // torch.nn.init.calculate_gain(name, a) of PyTorch 1.13, printed with 17 digits.
        for (nonlinearity, a, gain) in [
            (Nonlinearity::Linear, 0.0, 1.0),
            (Nonlinearity::Conv, 0.0, 1.0),
            (Nonlinearity::Sigmoid, 0.0, 1.0),
            (Nonlinearity::Tanh, 0.0, 1.6666666666666667),
            (Nonlinearity::Relu, 0.0, core::f64::consts::SQRT_2),
            (Nonlinearity::LeakyRelu, 0.2, 1.3867504905630728),
            (Nonlinearity::LeakyRelu, 0.01, 1.4141428569978354),
            (Nonlinearity::Selu, 0.0, 0.75),
        ] {
            let own = nonlinearity.gain_squared(a).sqrt();
            assert!((own - gain).abs() < 1e-12, "{}: {own}", nonlinearity.name());
        }
    }
}
