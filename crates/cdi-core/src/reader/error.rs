//! Errors when a pruned file is opened or one of its tensors is read.

use safetensors::Dtype;

use crate::checkpoint::{CheckpointError, FileName};
use crate::codec::CodeError;
use crate::prelude::*;
use crate::sparse::bitmask::BitmaskError;
use crate::sparse::csr::CsrError;
use crate::sparse::{DescriptionError, SHARED_CODES};
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
    /// It is missing.
    #[error("is missing there")]
    Missing,
    /// It has another shape.
    #[error("has shape {got} there, expected {expected}")]
    Shape {
        /// Shape of the tensor to initialise.
        expected: Shape,
        /// Its shape in the base.
        got: Shape,
    },
    /// It is not a floating-point tensor.
    #[error("is {0} there, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// Its type differs from that of the described tensor.
    #[error("is {got} there, expected {expected}")]
    OtherDtype {
        /// Type of the described tensor.
        expected: Dtype,
        /// Its type in the base.
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

/// Problems of a file that is to be restored.
#[derive(Debug, thiserror::Error)]
pub enum PrunedProblem {
    /// The file has no description.
    #[error("not a pruned file of cdi-prune: its `__metadata__` has no `cdi_prune`")]
    NotPruned,
    /// The file is an initial checkpoint of this tool, which is already dense.
    #[error("not a pruned file of cdi-prune: its `__metadata__` says it is an initial checkpoint")]
    Initial,
    /// The description cannot be read.
    #[error("its `cdi_prune` metadata cannot be read: {0}")]
    Unreadable(DescriptionError),
    /// The file was written by a later version.
    #[error("its `cdi_prune` metadata has {what} {got}; this version reads {expected}")]
    Version {
        /// Which version.
        what: &'static str,
        /// The one in the file.
        got: u32,
        /// The supported version.
        expected: u32,
    },
    /// Files of one checkpoint contradict each other.
    #[error("its shards were made with different seeds, {0} and {1}")]
    Seeds(u64, u64),
    /// A part of a described tensor is missing.
    #[error("tensor `{tensor}`: its part `{part}` is missing")]
    PartMissing {
        /// The tensor.
        tensor: String,
        /// Name of the part.
        part: String,
    },
    /// The type or shape of a part differs from the description.
    #[error("tensor `{tensor}`: its part `{part}` is {got}, expected {expected}")]
    PartForm {
        /// The tensor.
        tensor: String,
        /// Name of the part.
        part: String,
        /// Type and shape according to the description.
        expected: String,
        /// Type and shape in the file.
        got: String,
    },
    /// The parts of a bitmask contradict each other.
    #[error("tensor `{tensor}`: {error}")]
    Bitmask {
        /// The tensor.
        tensor: String,
        /// The contradiction.
        error: BitmaskError,
    },
    /// The rows or columns of a CSR tensor contradict each other.
    #[error("tensor `{tensor}`: {error}")]
    Csr {
        /// The tensor.
        tensor: String,
        /// The contradiction.
        error: CsrError,
    },
    /// Bits are set after the last pruned element.
    #[error("tensor `{tensor}`: its `{tensor}.fillmask` has a bit set beyond its {pruned} pruned weights")]
    FillPadding {
        /// The tensor.
        tensor: String,
        /// Number of pruned elements.
        pruned: usize,
    },
    /// The stored shape differs from the described one.
    #[error("tensor `{tensor}`: `{tensor}.shape` holds {got:?}, expected {expected:?}")]
    StoredShape {
        /// The tensor.
        tensor: String,
        /// Shape according to the description.
        expected: Vec<usize>,
        /// Shape in the file.
        got: Vec<i64>,
    },
    /// The description of a tensor is impossible.
    #[error("tensor `{tensor}`: its `cdi_prune` metadata is wrong: {problem}")]
    Description {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor exceeds the reader's limits.
    #[error(
        "tensor `{tensor}`: {what} {got} {unit}, more than the limit of {limit}; even a small file can \
         describe a tensor of this size: raise the limit only for a file that you trust ({way_out})"
    )]
    Limit {
        /// The tensor.
        tensor: String,
        /// What exceeds the limit, as a verb: `has`, or `drawing its initial values takes`.
        what: &'static str,
        /// The amount.
        got: u64,
        /// Its unit.
        unit: &'static str,
        /// The maximum.
        limit: u64,
        /// How to raise the maximum.
        way_out: &'static str,
    },
    /// The code of a tensor is invalid.
    #[error("the code of tensor `{tensor}`: {error}")]
    Code {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        error: CodeError,
    },
    /// The codes that share a tensor do not fill it.
    #[error(
        "the codes in `{SHARED_CODES}` have {described} bytes according to their descriptions, but it has {got}"
    )]
    SharedCodes {
        /// The sum of the described lengths.
        described: u64,
        /// Length of the tensor in bytes.
        got: usize,
    },
    /// Two tensors with the same name would be restored.
    #[error("tensor `{0}` is described twice, or is in the file beside its own parts")]
    Twice(String),
    /// The base is not the one with which the file was packed.
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
    /// The file is a delta, and the checkpoint that was given is not its base.
    #[error(
        "it is a delta over a checkpoint with the state {expected}, but {base} has the state {got}: this is another \
         version; give the one that the delta was made from with `--base FILE`, or use `apply`, which takes a chain \
         of deltas"
    )]
    OtherState {
        /// The base that was given.
        base: FileName,
        /// The state in the file.
        expected: String,
        /// The state found.
        got: String,
    },
    /// The description of a delta is incomplete, or differs between its files.
    #[error("it is a delta, but {0}")]
    Delta(&'static str),
    /// Initial values come from a checkpoint that was not given.
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
    /// There is no such tensor.
    #[error("there is no tensor `{0}`")]
    Unknown(String),
    /// The rows do not exist.
    #[error("tensor `{tensor}` has {rows} rows, but {from}..{to} were requested")]
    Beyond {
        /// The tensor.
        tensor: String,
        /// Number of rows of its matrix view.
        rows: usize,
        /// First requested row.
        from: usize,
        /// The row after the last requested row.
        to: usize,
    },
    /// The slice has the wrong length.
    #[error("the requested rows of tensor `{tensor}` have {expected} bytes, but the slice has {got}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Length of the rows, in bytes.
        expected: usize,
        /// Length of the slice, in bytes.
        got: usize,
    },
    /// The slice has the wrong number of elements.
    #[error("the requested rows of tensor `{tensor}` have {expected} elements, but the slice has {got}")]
    Elements {
        /// The tensor.
        tensor: String,
        /// Number of elements in the rows.
        expected: usize,
        /// Number of elements in the slice.
        got: usize,
    },
    /// The element type cannot hold every value of the tensor.
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
    /// The tensor exceeds the reader's limit on allocations.
    #[error(
        "tensor `{tensor}` has {bytes} bytes, more than the limit of {limit} (`Limits::bytes`); read it by \
         rows, or into your own memory"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its size in bytes.
        bytes: u64,
        /// The maximum in bytes.
        limit: u64,
    },
    /// A block of a coded tensor cannot be decoded.
    #[error("tensor `{tensor}`: {error}; the file was damaged after it was written")]
    Code {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        error: CodeError,
    },
    /// There is not enough memory for the whole tensor.
    #[error("not enough memory for the {bytes} bytes of tensor `{tensor}`; read it by rows")]
    NoMemory {
        /// The tensor.
        tensor: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The rows begin or end within a byte, because their elements are smaller than a byte.
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
        /// The row after the last requested row.
        to: usize,
    },
}
