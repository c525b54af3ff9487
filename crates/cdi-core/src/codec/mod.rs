//! Coded tensors: every value is an entropy-coded symbol and the remaining bits, which are stored unchanged.
//! Decoding uses only integers, so the bytes mean the same on every machine. `docs/format.md` specifies every
//! byte.
//!
//! | module | holds |
//! | --- | --- |
//! | `rans` | the entropy coder |
//! | `frequency` | histograms to tables of frequencies, and those to bytes |
//! | `rawbits` | bits that are not coded |
//! | `symbol` | values to symbols and back |
//! | `bytes` | elements as bytes, each of which is a symbol |
//! | `levels` | which table a place takes: classes of rows and columns, and the magnitude of its prediction |
//! | `head` | what stands before the blocks of a tensor |
//! | `block` | one block, decoded |
//! | `counts` | symbols counted by level, and the tables that follow |
//! | `choose` | the model that makes the fewest bytes, from a sample |
//! | `encoder` | a tensor, coded |

mod block;
mod bytes;
mod choose;
mod counts;
mod cursor;
mod encoder;
mod error;
mod frequency;
mod head;
mod levels;
mod rans;
mod rawbits;
#[cfg(test)]
mod refusals;
mod symbol;
#[cfg(test)]
mod tests;

use crate::blocks;
use crate::checkpoint::TensorSpec;
use crate::prelude::*;
use crate::tensor::{Matrix, Shape};

/// Ends the name of the tensor that holds another one's code.
pub const CODES: &str = ".codes";

/// The tensor that holds a code of so many bytes.
pub fn part(name: &str, bytes: usize) -> TensorSpec {
    let shape = Shape::new(vec![bytes]).expect("a code lies in memory or in a file");
    TensorSpec { name: format!("{name}{CODES}"), dtype: safetensors::Dtype::U8, shape }
}

/// Bytes of the shortest code of a tensor: of one all of whose places are pruned, or are as predicted.
pub fn least_bytes(matrix: Matrix) -> u64 {
    // Version, model, flags, number of tables, a table of one symbol; a length for each block.
    6 + 4 * blocks::cut(0, matrix).count() as u64
}

pub use block::{BlockDecoder, BlockValues};
pub use choose::{Choice, choose, choose_bytes};
pub use encoder::{BlockInput, EncoderScratch, KEPT, Lines, TensorEncoder};
pub use error::CodeError;
pub use head::{Head, block_of};
pub use symbol::{Form, Model, PRUNED, PRUNED_TO_INITIAL};
