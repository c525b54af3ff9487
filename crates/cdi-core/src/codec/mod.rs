//! Coded tensors. A value is stored as an entropy-coded symbol and its remaining bits, which are stored
//! unchanged; or, with a loss that the caller chooses, as a whole number of steps. Decoding uses only
//! integers, and for steps only products, sums and roundings of binary64, so the bytes mean the same on
//! every machine. `docs/format.md` specifies every byte.
//!
//! | module | holds |
//! | --- | --- |
//! | `rans` | the entropy coder |
//! | `frequency` | tables of frequencies, built from histograms, and their bytes |
//! | `rawbits` | bits that are not coded |
//! | `symbol` | values to symbols and back |
//! | `bytes` | elements coded byte by byte |
//! | `elements` | loops over the elements of a block |
//! | `steps` | values rounded to whole numbers of steps |
//! | `levels` | the table for each element, by classes of rows and columns and the magnitude of its prediction |
//! | `head` | the bytes that precede the blocks of a tensor |
//! | `block` | the decoder of blocks |
//! | `counts` | symbols counted by level, and the tables built from the counts |
//! | `choose` | the model that gives the fewest bytes, chosen from a sample |
//! | `encoder` | the encoder of a tensor |

mod block;
mod bytes;
mod choose;
mod counts;
mod cursor;
mod elements;
mod encoder;
mod error;
mod frequency;
mod head;
mod levels;
mod rans;
mod rawbits;
#[cfg(test)]
mod refusals;
mod steps;
mod symbol;
#[cfg(test)]
mod tests;

use crate::blocks;
use crate::checkpoint::TensorSpec;
use crate::prelude::*;
use crate::tensor::{Matrix, Shape};

/// Suffix of the name of the tensor that holds another tensor's code.
pub const CODES: &str = ".codes";

/// The tensor that holds a code of this many bytes.
pub fn part(name: &str, bytes: usize) -> TensorSpec {
    let shape = Shape::new(vec![bytes]).expect("a code lies in memory or in a file");
    TensorSpec { name: format!("{name}{CODES}"), dtype: safetensors::Dtype::U8, shape }
}

/// Bytes of the shortest code of a tensor: one whose elements are all pruned, or all as predicted.
pub fn least_bytes(matrix: Matrix) -> u64 {
    // Version, model, flags, number of tables and a table of one symbol; a length for each block.
    6 + 4 * blocks::cut(0, matrix).count() as u64
}

pub use block::{BlockDecoder, BlockValues};
pub use choose::{Choice, Filled, Over, Sample, choose, choose_bytes, choose_steps, without_pruned};
pub use encoder::{BlockInput, EncoderScratch, KEPT, Lines, TensorEncoder};
pub use error::CodeError;
pub use head::{Head, block_of};
pub use steps::nearest as nearest_step;
pub use symbol::{Form, Model, PRUNED, PRUNED_TO_INITIAL};
