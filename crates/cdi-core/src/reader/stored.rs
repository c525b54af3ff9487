//! How the tensors of a file are stored, as determined when the file was opened.

use alloc::collections::BTreeSet;
use core::ops::Range;

use safetensors::Dtype;

use crate::codec::Head;
use crate::init::Generator;
use crate::prelude::*;
use crate::sparse::{Parts, PrunedTensor};
use crate::tensor::{FloatDtype, Shape};

/// The parts of the tensors validated so far, which are no tensors themselves.
#[derive(Debug, Default)]
pub(super) struct PartsSeen {
    pub names: BTreeSet<String>,
    /// Where the next code begins in the tensor that codes share.
    pub shared: usize,
}

/// How a tensor is stored.
#[derive(Debug)]
pub(super) enum Stored {
    /// Unencoded, in the file.
    Whole,
    /// Encoded, in several parts.
    Encoded(Box<Encoded>),
    /// Entropy-coded.
    Coded(Box<Coded>),
    /// Not in the file but in its base.
    InBase(Dtype, Shape),
}

/// A tensor that is encoded in several parts.
#[derive(Debug)]
pub(super) struct Encoded {
    pub description: PrunedTensor,
    pub dtype: FloatDtype,
    pub shape: Shape,
    /// The names of its parts.
    pub parts: Parts<String>,
    /// The number of values stored before each block of a bitmask; empty for CSR, where these
    /// numbers are searched for.
    pub before: Vec<usize>,
    /// The generator of the initial values that pruned elements take, if these are drawn.
    pub drawn: Option<Generator>,
}

/// A code over another one.
#[derive(Debug)]
pub struct CodedLayer {
    /// Its head.
    pub head: Head,
    /// Where in the code of the tensor it is.
    pub place: Range<usize>,
    /// The factor of the values before it.
    pub prediction: f64,
}

/// A coded tensor whose head has been read.
#[derive(Debug)]
pub(super) struct Coded {
    pub description: Box<PrunedTensor>,
    pub dtype: Dtype,
    pub shape: Shape,
    /// The name of the tensor that holds the code, and where in it the code is.
    pub codes: String,
    pub place: Range<usize>,
    pub head: Head,
    /// Where in the code the own one ends.
    pub end: usize,
    pub layers: Vec<CodedLayer>,
    /// The generator of initial values, if these are drawn.
    pub drawn: Option<Generator>,
}
