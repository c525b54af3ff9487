//! Errors about the results of blocks.

/// Why block results cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockProblem {
    /// Results are not in block order, or one is missing.
    #[error(
        "the result of block {got} where that of block {expected} is next: merge them all, in the order of their numbers"
    )]
    Order {
        /// Index of the block whose result should be next.
        expected: usize,
        /// Index of the block that this result is of.
        got: usize,
    },
    /// There are fewer results than blocks.
    #[error("{got} block results for {expected} blocks")]
    Missing {
        /// Number of blocks.
        expected: usize,
        /// Number of results.
        got: usize,
    },
    /// The result is of another config or another checkpoint.
    #[error("the result of block {number}, of tensor `{tensor}`, is not of this config and checkpoint")]
    Other {
        /// Index of the block.
        number: usize,
        /// The tensor in the result.
        tensor: String,
    },
    /// The result holds keys of scores, but a comparison is needed.
    #[error("the result of block {number} is of another question: it compares nothing")]
    NoComparison {
        /// Index of the block.
        number: usize,
    },
}
