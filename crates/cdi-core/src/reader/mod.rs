//! Pruned files in a program: opens and checks the whole file, then restores any tensor, or any of its rows,
//! into memory that the caller owns.
//!
//! | module | holds |
//! | --- | --- |
//! | `file` | the opened file |
//! | `validate` | its description against its tensors |
//! | `parts` | the parts of an encoded tensor against each other |
//! | `decode` | blocks of encoded tensors |
//! | `coded` | tensors whose values are entropy-coded |
//! | `stored` | how each tensor is stored |
//! | `rows` | tensors and rows into the caller's memory |

mod coded;
pub(crate) mod decode;
mod error;
mod file;
mod parts;
mod rows;
mod stored;
pub(crate) mod validate;

pub use crate::codec::CodeError;
pub use error::{BaseProblem, OpenError, PrunedProblem, RowsError};
pub use file::{Limits, PrunedReader};
pub use rows::TensorReader;
