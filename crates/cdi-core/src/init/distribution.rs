//! What a scaled scheme draws from, and what it counts.

use serde::{Deserialize, Serialize};

/// The distribution that a scaled scheme draws from; the standard deviation is the same for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Normal.
    #[default]
    Normal,
    /// Uniform on ±sqrt(3)·std.
    Uniform,
    /// Normal, cut off at two standard deviations and then stretched to the standard deviation asked for,
    /// as in JAX and Keras.
    #[serde(alias = "truncated_normal")]
    TruncNormal,
}

impl Distribution {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Uniform => "uniform",
            Self::TruncNormal => "trunc_normal",
        }
    }
}

/// Which connections a scheme counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fan {
    /// Inputs of one output.
    #[serde(alias = "fan_in")]
    In,
    /// Outputs of one input.
    #[serde(alias = "fan_out")]
    Out,
    /// The mean of both.
    #[serde(alias = "fan_avg")]
    Avg,
}

impl Fan {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Avg => "avg",
        }
    }
}
