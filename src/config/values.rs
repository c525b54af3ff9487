//! How the values of coded tensors are stored.

use std::path::PathBuf;

use crate::codec::Over;

/// How the values of coded tensors are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Bit for bit.
    Exact,
    /// Rounded to whole numbers of steps.
    Steps(Steps),
}

/// How values are rounded to steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    /// Length of a step.
    pub step: StepLength,
    /// From where steps are counted.
    pub over: Over,
    /// The checkpoint with the second moments of the layers' inputs, if rounding compensates its errors.
    pub calibration: Option<PathBuf>,
}

/// Length of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum StepLength {
    /// An eighth of the root mean square of the tensor's values.
    #[default]
    Auto,
    /// This length, positive and finite.
    Length(f64),
    /// The range of the tensor's values, divided by one less than two to the power of this number, 1 … 16.
    Bits(u32),
}

impl Values {
    /// How values are rounded; `None` if they are not.
    pub fn steps(&self) -> Option<&Steps> {
        match self {
            Self::Exact => None,
            Self::Steps(steps) => Some(steps),
        }
    }
}
