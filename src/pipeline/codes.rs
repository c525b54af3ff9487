//! Coded tensors whose blocks are in a spool.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::outcome::Rounded;
use crate::codec::{Choice, Over};
use crate::tensor::FloatDtype;

/// A coded tensor. Its blocks are in a spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Coded {
    pub choice: Choice,
    pub head: Vec<u8>,
    pub blocks: Range<u64>,
    /// Number of finite values beyond the range of the type that they were cast to.
    pub overflowed: u64,
    /// How its values were rounded; `None` if they were not.
    pub rounded: Option<Rounded>,
}

impl Coded {
    pub fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.blocks.end - self.blocks.start
    }

    /// The factor of the initial values from which its values are predicted; `None` if they are not.
    pub fn prediction(&self) -> Option<f64> {
        self.choice.prediction()
    }
}

/// What the code of a tensor depends on within one search, apart from the masks of pruned weights: two with
/// the same key have the same code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CodeKey {
    /// Name of the tensor.
    pub name: String,
    /// The bits of the length of its steps, and from where they are counted, if it is rounded.
    pub steps: Option<(u64, Over)>,
    /// Whether rounding compensates its errors.
    pub is_compensated: bool,
    /// The type that it is cast to; `None` if it is coded byte by byte.
    pub written: Option<FloatDtype>,
    /// Whether it may be predicted.
    pub predicts: bool,
}
