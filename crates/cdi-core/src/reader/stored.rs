//! How the tensors of a file are stored, as it was found when the file was opened.

use safetensors::Dtype;

use crate::codec::Head;
use crate::init::Generator;
use crate::prelude::*;
use crate::sparse::{Parts, PrunedTensor};
use crate::tensor::{FloatDtype, Shape};

/// How a tensor is stored.
#[derive(Debug)]
pub(super) enum Stored {
    /// As it is in the file.
    Whole,
    /// In parts.
    Encoded(Box<Encoded>),
    /// Entropy-coded.
    Coded(Box<Coded>),
    /// Not in the file but in its base.
    InBase,
}

/// A tensor that other ones stand for.
#[derive(Debug)]
pub(super) struct Encoded {
    pub description: PrunedTensor,
    pub dtype: FloatDtype,
    pub shape: Shape,
    /// The names of its parts.
    pub parts: Parts<String>,
    /// Stored values before each block of a bitmask; those of rows and columns are sought in them.
    pub before: Vec<usize>,
    /// Draws the values of pruned places, where they are drawn.
    pub drawn: Option<Generator>,
}

/// A coded tensor whose head has been read.
#[derive(Debug)]
pub(super) struct Coded {
    pub description: Box<PrunedTensor>,
    pub dtype: Dtype,
    pub shape: Shape,
    /// The name of the tensor that holds the code.
    pub codes: String,
    pub head: Head,
    /// Draws initial values, where they are drawn.
    pub drawn: Option<Generator>,
}
