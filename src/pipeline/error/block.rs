//! What can be wrong with the results of blocks.

/// Why results cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockProblem {
    /// Not in block order, or one is missing.
    #[error(
        "the result of block {got} where that of block {expected} is next: merge them all, in the order of their numbers"
    )]
    Order {
        /// The block whose result is next.
        expected: usize,
        /// That of this one.
        got: usize,
    },
    /// Fewer results than blocks.
    #[error("{got} block results for {expected} blocks")]
    Missing {
        /// Blocks.
        expected: usize,
        /// Results.
        got: usize,
    },
    /// Of another config, or another checkpoint.
    #[error("the result of block {number}, of tensor `{tensor}`, is not of this config and checkpoint")]
    Other {
        /// Its number.
        number: usize,
        /// The tensor that it says it is of.
        tensor: String,
    },
    /// Keys where a comparison is to be merged.
    #[error("the result of block {number} is of another question: it compares nothing")]
    NoComparison {
        /// Its number.
        number: usize,
    },
}
