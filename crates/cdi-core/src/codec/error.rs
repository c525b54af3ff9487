//! Errors in coded tensors.

use thiserror::Error;

/// Why bytes are no coded tensor of the type and shape that they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// The head goes on behind the last byte.
    #[error("the head is cut off")]
    Truncated,
    /// Written by a later version.
    #[error("unknown code version {0}; a later version of cdi-prune wrote it")]
    Version(u8),
    /// A number that stands for nothing.
    #[error("{what} is {got}, which is invalid")]
    Unknown {
        /// Which number.
        what: &'static str,
        /// Its value.
        got: u64,
    },
    /// Frequencies that do not sum to 2048, or of symbols that this tensor cannot have.
    #[error("table {0} is not a valid frequency table for this tensor")]
    Table(usize),
    /// Classes of rows or columns that are not coded as they should be.
    #[error("the classes of {0} are damaged")]
    Classes(&'static str),
    /// Blocks that together are longer or shorter than what follows the head.
    #[error("its block lengths add up to {got} bytes, but there are {bytes}")]
    Lengths {
        /// Their sum.
        got: u64,
        /// What there is.
        bytes: u64,
    },
    /// A block whose coder does not come back to where it began, or that has bytes left over or too few.
    #[error("block {0} is damaged")]
    Block(usize),
}
