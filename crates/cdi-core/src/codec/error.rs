//! Errors in coded tensors.

use thiserror::Error;

/// Why bytes are not a valid code for a tensor of this type and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// The code ends before its head does.
    #[error("the head is cut off")]
    Truncated,
    /// The code was written by a later version.
    #[error("unknown code version {0}; a later version of cdi-prune wrote it")]
    Version(u8),
    /// A number that has no meaning.
    #[error("{what} is {got}, which is invalid")]
    Unknown {
        /// Which number.
        what: &'static str,
        /// Its value.
        got: u64,
    },
    /// The bits of a step that is not positive and finite.
    #[error("its step is {}, which is not a positive number", f64::from_bits(*.0))]
    Step(u64),
    /// A table whose frequencies do not sum to 2048, or with symbols that this tensor cannot have.
    #[error("table {0} is not a valid frequency table for this tensor")]
    Table(usize),
    /// Classes of rows or columns with an invalid code.
    #[error("the classes of {0} are damaged")]
    Classes(&'static str),
    /// Blocks whose lengths do not sum to the number of bytes after the head.
    #[error("its block lengths add up to {got} bytes, but there are {bytes}")]
    Lengths {
        /// Sum of the lengths, in bytes.
        got: u64,
        /// Number of bytes after the head.
        bytes: u64,
    },
    /// A block whose coder does not return to its initial state, or that has too many or too few bytes.
    #[error("block {0} is damaged")]
    Block(usize),
}
