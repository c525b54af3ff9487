//! Errors when a pruned file is opened or one of its tensors is read.

use safetensors::Dtype;

use crate::checkpoint::{CheckpointError, FileName};
use crate::codec::CodeError;
use crate::prelude::*;
use crate::sparse::bitmask::BitmaskError;
use crate::sparse::csr::CsrError;
use crate::tensor::{FloatDtype, Shape};

/// Errors when a pruned file is opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read, or is not safetensors.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file is invalid.
    #[error("{path}: {problem}")]
    Pruned {
        /// The file.
        path: FileName,
        /// What is wrong with it.
        problem: PrunedProblem,
    },
    /// A tensor of the base checkpoint cannot provide initial values.
    #[error("{path}: tensor `{tensor}`, which provides initial values, {problem}")]
    Base {
        /// The base checkpoint.
        path: FileName,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: BaseProblem,
    },
}

/// Reasons why a tensor of a base checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaseProblem {
    /// It is not there.
    #[error("is missing there")]
    Missing,
    /// It has another shape.
    #[error("has shape {got} there, expected {expected}")]
    Shape {
        /// Shape of the tensor to initialise.
        expected: Shape,
        /// Shape there.
        got: Shape,
    },
    /// It is not a floating-point tensor.
    #[error("is {0} there, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// It has another type than a tensor that is not floating point.
    #[error("is {got} there, expected {expected}")]
    OtherDtype {
        /// Type of the coded tensor.
        expected: Dtype,
        /// Type there.
        got: Dtype,
    },
    /// It is not the tensor that the file was pruned against.
    #[error(
        "has SHA-256 {got} there, expected {expected}: this is not the checkpoint that the file was pruned with"
    )]
    Digest {
        /// The digest in the pruned file.
        expected: String,
        /// The digest found.
        got: String,
    },
}

/// Problems of a file to restore.
#[derive(Debug, thiserror::Error)]
pub enum PrunedProblem {
    /// No description.
    #[error("not a pruned file of cdi-prune: its `__metadata__` has no `cdi_prune`")]
    NotPruned,
    /// An initial checkpoint of this tool, which is already dense.
    #[error("not a pruned file of cdi-prune: its `__metadata__` says it is an initial checkpoint")]
    Initial,
    /// A description that cannot be read.
    #[error("its `cdi_prune` metadata cannot be read: {0}")]
    Unreadable(serde_json::Error),
    /// Written by a later version.
    #[error("its `cdi_prune` metadata has {what} {got}; this version reads {expected}")]
    Version {
        /// Which version.
        what: &'static str,
        /// The one in the file.
        got: u32,
        /// The one understood.
        expected: u32,
    },
    /// Files of one checkpoint that contradict each other.
    #[error("its shards were made with different seeds, {0} and {1}")]
    Seeds(u64, u64),
    /// A described tensor without its parts.
    #[error("tensor `{tensor}`: its part `{part}` is missing")]
    PartMissing {
        /// The tensor.
        tensor: String,
        /// Name of the part.
        part: String,
    },
    /// A part with a type or shape that differs from the description.
    #[error("tensor `{tensor}`: its part `{part}` is {got}, expected {expected}")]
    PartForm {
        /// The tensor.
        tensor: String,
        /// Name of the part.
        part: String,
        /// Type and shape by the description.
        expected: String,
        /// Type and shape in the file.
        got: String,
    },
    /// Parts that contradict each other.
    #[error("tensor `{tensor}`: {error}")]
    Bitmask {
        /// The tensor.
        tensor: String,
        /// How.
        error: BitmaskError,
    },
    /// Rows or columns that contradict each other.
    #[error("tensor `{tensor}`: {error}")]
    Csr {
        /// The tensor.
        tensor: String,
        /// How.
        error: CsrError,
    },
    /// Bits after the last pruned position.
    #[error("tensor `{tensor}`: its `{tensor}.fillmask` has a bit set beyond its {pruned} pruned weights")]
    FillPadding {
        /// The tensor.
        tensor: String,
        /// Places pruned.
        pruned: usize,
    },
    /// A stored shape other than the described one.
    #[error("tensor `{tensor}`: `{tensor}.shape` holds {got:?}, expected {expected:?}")]
    StoredShape {
        /// The tensor.
        tensor: String,
        /// Shape by the description.
        expected: Vec<usize>,
        /// Shape in the file.
        got: Vec<i64>,
    },
    /// An impossible description of a tensor.
    #[error("tensor `{tensor}`: its `cdi_prune` metadata is wrong: {problem}")]
    Description {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor beyond the reader's limits.
    #[error(
        "tensor `{tensor}`: {what} {got} {unit}, more than the limit of {limit}; even a small file can \
         describe a tensor of this size: raise the limit only for a file that you trust ({way_out})"
    )]
    Limit {
        /// The tensor.
        tensor: String,
        /// What of it: `has`, or `drawing its initial values takes`.
        what: &'static str,
        /// How much.
        got: u64,
        /// Of what.
        unit: &'static str,
        /// The most.
        limit: u64,
        /// How to raise it.
        way_out: &'static str,
    },
    /// An invalid code.
    #[error("the code of tensor `{tensor}`: {error}")]
    Code {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        error: CodeError,
    },
    /// Two tensors with the same name would be restored.
    #[error("tensor `{0}` is described twice, or is in the file beside its own parts")]
    Twice(String),
    /// A base that is not the one that the file was packed with.
    #[error(
        "it needs tensors of its base that have the SHA-256 {expected} together, but those of {base} have {got}: \
         this is not the checkpoint that the file was packed with; give that one with `--base FILE`"
    )]
    OtherBase {
        /// The base that was given.
        base: FileName,
        /// The digest in the file.
        expected: String,
        /// The digest found.
        got: String,
    },
    /// Initial values from a checkpoint that was not given.
    #[error(
        "tensor `{tensor}` needs the values of another checkpoint (`{from}` when this was written): give it \
         with `--base FILE`"
    )]
    BaseNeeded {
        /// The tensor.
        tensor: String,
        /// The name of the base checkpoint when the file was written.
        from: String,
    },
}

/// Errors when rows are read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// No such tensor.
    #[error("there is no tensor `{0}`")]
    Unknown(String),
    /// Rows that do not exist.
    #[error("tensor `{tensor}` has {rows} rows, but {from}..{to} were requested")]
    Beyond {
        /// The tensor.
        tensor: String,
        /// Rows of its matrix view.
        rows: usize,
        /// First requested row.
        from: usize,
        /// Row after the last.
        to: usize,
    },
    /// A slice with the wrong length.
    #[error("the requested rows of tensor `{tensor}` have {expected} bytes, but the slice has {got}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Bytes of the rows.
        expected: usize,
        /// Bytes of the slice.
        got: usize,
    },
    /// A slice with the wrong number of elements.
    #[error("the requested rows of tensor `{tensor}` have {expected} elements, but the slice has {got}")]
    Elements {
        /// The tensor.
        tensor: String,
        /// Elements of the rows.
        expected: usize,
        /// Elements of the slice.
        got: usize,
    },
    /// An element type that cannot hold every value of the tensor.
    #[error(
        "tensor `{tensor}` is {dtype}, whose values do not all fit into elements of type {requested}; request a \
         type that holds them, or read its bytes"
    )]
    Type {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// Type of the elements.
        requested: FloatDtype,
    },
    /// A tensor that exceeds the reader's limit on allocations.
    #[error(
        "tensor `{tensor}` has {bytes} bytes, more than the limit of {limit} (`Limits::bytes`); read it by \
         rows, or into your own memory"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its bytes.
        bytes: u64,
        /// The most.
        limit: u64,
    },
    /// A coded tensor with a block that cannot be decoded.
    #[error("tensor `{tensor}`: {error}; the file was damaged after it was written")]
    Code {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        error: CodeError,
    },
    /// Not enough memory for a whole tensor.
    #[error("not enough memory for the {bytes} bytes of tensor `{tensor}`; read it by rows")]
    NoMemory {
        /// The tensor.
        tensor: String,
        /// Its bytes.
        bytes: u64,
    },
    /// Rows of elements smaller than a byte that begin or end within a byte.
    #[error(
        "rows {from}..{to} of tensor `{tensor}`, which is {dtype}, begin or end within a byte; read the whole tensor"
    )]
    PartByte {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// First requested row.
        from: usize,
        /// Row after the last.
        to: usize,
    },
}
