//! What can be wrong with a coded tensor.

use thiserror::Error;

/// Why bytes are no coded tensor of the type and shape that they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// The head goes on behind the last byte.
    #[error("the head is cut off")]
    Truncated,
    /// Written by a later version.
    #[error("version {0} of the code is not known here; a later cdi-prune wrote it")]
    Version(u8),
    /// A number that stands for nothing.
    #[error("{what} is {got}, which means nothing here")]
    Unknown {
        /// Which number.
        what: &'static str,
        /// Its value.
        got: u64,
    },
    /// Frequencies that do not sum to 2048, or of symbols that this tensor cannot have.
    #[error("table {0} is no table of frequencies of this tensor's symbols")]
    Table(usize),
    /// Classes of rows or columns that are not coded as they should be.
    #[error("the classes of {0} are damaged")]
    Classes(&'static str),
    /// Blocks that together are longer or shorter than what follows the head.
    #[error("its blocks are said to have {got} bytes together, and there are {bytes}")]
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
