//! Errors when a pruned file is opened or one of its tensors is read.

use safetensors::Dtype;

use crate::checkpoint::{CheckpointError, FileName};
use crate::codec::CodeError;
use crate::prelude::*;
use crate::sparse::bitmask::BitmaskError;
use crate::sparse::csr::CsrError;
use crate::tensor::Shape;

/// Why a pruned file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that cannot be read, or is no safetensors file.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file that is not sound.
    #[error("{path}: {problem}")]
    Pruned {
        /// The file.
        path: FileName,
        /// What is wrong with it.
        problem: PrunedProblem,
    },
    /// A tensor of a base checkpoint that cannot serve as initial value.
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

/// Why a tensor of a base checkpoint cannot serve.
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
    /// It is no floating-point tensor.
    #[error("is {0} there, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// It is not the tensor that the file was pruned with.
    #[error(
        "has SHA-256 {got} there, expected {expected}: this is not the checkpoint that the file was pruned with"
    )]
    Digest {
        /// The digest in the pruned file.
        expected: String,
        /// The digest of what is there.
        got: String,
    },
}

/// What is wrong with a file to restore.
#[derive(Debug, thiserror::Error)]
pub enum PrunedProblem {
    /// No description.
    #[error("not a pruned file of cdi-prune: its `__metadata__` has no `cdi_prune`")]
    NotPruned,
    /// An initial checkpoint of this tool, which is dense as it is.
    #[error("not a pruned file of cdi-prune: its `__metadata__` says it is an initial checkpoint")]
    Initial,
    /// A description that cannot be read.
    #[error("its `cdi_prune` metadata cannot be read: {0}")]
    Unreadable(serde_json::Error),
    /// Made by a later version.
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
    /// A part of another type or shape than the description asks for.
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
    /// Bits behind the last pruned place.
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
    /// A described tensor that cannot be.
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
    /// A code that is none.
    #[error("the code of tensor `{tensor}`: {error}")]
    Code {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        error: CodeError,
    },
    /// Two tensors of one name would be restored.
    #[error("tensor `{0}` is described twice, or is in the file beside its own parts")]
    Twice(String),
    /// Initial values from a checkpoint that was not given.
    #[error(
        "tensor `{tensor}` needs the values of another checkpoint (`{from}` when this was written): give it \
         with `--base FILE`"
    )]
    BaseNeeded {
        /// The tensor.
        tensor: String,
        /// The base checkpoint, as it was called.
        from: String,
    },
}

/// Why rows cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// No such tensor.
    #[error("there is no tensor `{0}`")]
    Unknown(String),
    /// Rows that are not there.
    #[error("tensor `{tensor}` has {rows} rows, but {from}..{to} were requested")]
    Beyond {
        /// The tensor.
        tensor: String,
        /// Rows of its matrix view.
        rows: usize,
        /// First row asked for.
        from: usize,
        /// Row behind the last.
        to: usize,
    },
    /// A slice of another length.
    #[error("the requested rows of tensor `{tensor}` have {expected} bytes, but the slice has {got}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Bytes of the rows.
        expected: usize,
        /// Bytes of the slice.
        got: usize,
    },
    /// A tensor that is larger than the reader's limit on what it allocates.
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
    /// A coded tensor with a block that does not decode.
    #[error("tensor `{tensor}`: {error}; the file was damaged after it was written")]
    Code {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        error: CodeError,
    },
    /// Too little memory for a whole tensor.
    #[error("not enough memory for the {bytes} bytes of tensor `{tensor}`; read it by rows")]
    NoMemory {
        /// The tensor.
        tensor: String,
        /// Its bytes.
        bytes: u64,
    },
    /// Rows of elements smaller than a byte that begin or end within one.
    #[error(
        "rows {from}..{to} of tensor `{tensor}`, which is {dtype}, begin or end within a byte; read the whole tensor"
    )]
    PartByte {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// First row asked for.
        from: usize,
        /// Row behind the last.
        to: usize,
    },
}
