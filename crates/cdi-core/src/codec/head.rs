//! The head of a coded tensor, before its blocks: its model, levels, tables, and the end of each block.

use core::ops::Range;

use super::cursor::Cursor;
use super::error::CodeError;
use super::frequency::read as read_table;
use super::levels::{Levels, MOST_TABLES};
use super::rans::{self, Table};
use super::rawbits::BitReader;
use super::symbol::{Form, Model, Symbols};
use crate::blocks::{self, Block};
use crate::prelude::*;
use crate::tensor::Matrix;

/// Version of the code format.
pub const VERSION: u8 = 1;

/// The part of a coded tensor's head that stays in memory: no larger than the code itself. Decoders
/// read the rest again.
#[derive(Clone, Debug)]
pub struct Head {
    pruned: Option<u8>,
    /// Whether a table has symbols of pruned elements.
    marks_pruned: bool,
    pub(super) form: Form,
    pub(super) model: Model,
    pub(super) matrix: Matrix,
    /// Where the blocks begin, in bytes from the start of the code.
    first: usize,
    /// Where each block ends, in bytes from `first`.
    ends: Vec<u64>,
}

/// The rest of what decoding needs. It can be much larger than the code.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub levels: Levels,
    pub decoder: rans::Decoder,
}

/// All parts of a head.
type Parts = (Head, Levels, Vec<Table>);

impl Head {
    /// The book of the code to which this head belongs.
    pub(super) fn book(&self, bytes: &[u8]) -> Result<Book, CodeError> {
        let (_, levels, tables) = Self::read_all(bytes, self.form, self.matrix, self.pruned)?;
        Ok(Book { levels, decoder: rans::Decoder::new(&tables) })
    }

    /// Reads the head of a coded tensor with this form and matrix view. `bytes` is the tensor's whole code.
    /// `pruned` is the last symbol for pruned elements that the tensor's fill allows, or `None` if nothing is
    /// pruned. Codes of bytes never have such symbols.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn read(
        bytes: &[u8],
        form: impl Into<Form>,
        matrix: Matrix,
        pruned: Option<u8>,
    ) -> Result<Self, CodeError> {
        Self::read_all(bytes, form.into(), matrix, pruned).map(|(head, ..)| head)
    }

    fn read_all(bytes: &[u8], form: Form, matrix: Matrix, pruned: Option<u8>) -> Result<Parts, CodeError> {
        let mut input = Cursor::new(bytes);
        let version = input.byte()?;
        if version != VERSION {
            return Err(CodeError::Version(version));
        }
        let model = match input.byte()? {
            0 if form.is_float() => Model::Value { top: u16::from_le_bytes(input.array()?) },
            1 if form.is_float() => Model::Difference,
            2 => Model::Bytes { difference: false },
            3 => Model::Bytes { difference: true },
            got @ (4 | 5) if form.is_float() => {
                let step = f64::from_le_bytes(input.array()?);
                if !(step > 0.0 && step.is_finite()) {
                    return Err(CodeError::Step(step.to_bits()));
                }
                Model::Steps { step, difference: got == 5 }
            }
            got => return Err(CodeError::Unknown { what: "the model", got: got.into() }),
        };
        let symbols = Symbols::new(form, model);
        let flags = input.byte()?;
        let count = usize::from(input.byte()?);
        if flags > 7 || (flags & 4 != 0 && !matches!(model, Model::Value { .. })) {
            return Err(CodeError::Unknown { what: "the classes' flag", got: flags.into() });
        }
        if !(1..=MOST_TABLES).contains(&count) {
            return Err(CodeError::Unknown { what: "the number of tables", got: count as u64 });
        }
        // The code contains the length of each block.
        let blocks = block_count(matrix);
        if blocks.is_none_or(|blocks| blocks > bytes.len() / 4) {
            return Err(CodeError::Truncated);
        }
        let levels = Levels::read(&mut input, matrix, flags, count)?;
        if flags & 4 != 0 && !levels.zeros.are_within(form.most_zeros()) {
            return Err(CodeError::Classes("low bits"));
        }
        let mut bits = BitReader::new(input.rest());
        let mut tables = Vec::with_capacity(count);
        let mut marks_pruned = false;
        for n in 0..count {
            let table = read_table(&mut bits, symbols.last()).ok_or(CodeError::Table(n))?;
            let unwanted = if model.is_bytes() { 2 } else { pruned.map_or(0, |last| usize::from(last) + 1) };
            if table.frequencies()[unwanted..2].iter().any(|f| *f > 0) {
                return Err(CodeError::Table(n));
            }
            marks_pruned |= !model.is_bytes() && table.frequencies()[..2].iter().any(|f| *f > 0);
            tables.push(table);
        }
        let read = bits.bytes_read().ok_or(CodeError::Table(count - 1))?;
        input.take(read)?;
        let lengths = input.take(4 * blocks.unwrap_or_default())?;
        let first = input.at();
        let all = (bytes.len() - first) as u64;
        let ends = ends(lengths, all)?;
        Ok((Self { pruned, marks_pruned, form, model, matrix, first, ends }, levels, tables))
    }

    /// Whether values are differences from a prediction.
    pub fn is_difference(&self) -> bool {
        self.model.is_difference()
    }

    /// Whether elements may be pruned: the code has a symbol for that. Encoders give symbols to tables only
    /// where they occur.
    pub fn marks_pruned(&self) -> bool {
        self.marks_pruned
    }

    /// Bytes of an element.
    pub fn size(&self) -> usize {
        self.form.size()
    }

    /// How values became symbols.
    pub fn model(&self) -> Model {
        self.model
    }

    /// Whether elements are coded as bytes. If so, none can be pruned.
    pub fn is_bytes(&self) -> bool {
        self.model.is_bytes()
    }

    /// The range of a block's bytes in the code.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block_bytes(&self, block: usize) -> Range<usize> {
        let start = if block == 0 { 0 } else { self.ends[block - 1] as usize };
        self.first + start..self.first + self.ends[block] as usize
    }
}

/// The end of each block's code. The lengths must sum to `all`.
fn ends(lengths: &[u8], all: u64) -> Result<Vec<u64>, CodeError> {
    let mut ends = Vec::with_capacity(lengths.len() / 4);
    let mut got = 0;
    for length in lengths.as_chunks::<4>().0 {
        got += u64::from(u32::from_le_bytes(*length));
        ends.push(got);
    }
    if got == all { Ok(ends) } else { Err(CodeError::Lengths { got, bytes: all }) }
}

/// The number of blocks into which a matrix is cut; `None` if it overflows.
fn block_count(matrix: Matrix) -> Option<usize> {
    let Matrix { rows, cols } = matrix;
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    match blocks::BLOCK_ELEMENTS / cols {
        0 => cols.div_ceil(blocks::BLOCK_ELEMENTS).checked_mul(rows),
        at_once => Some(rows.div_ceil(at_once)),
    }
}

/// The number of the block that contains the element at index `place`, and the block.
pub fn block_of(matrix: Matrix, place: usize) -> (usize, Block) {
    let (row, column) = (place / matrix.cols, place % matrix.cols);
    match blocks::BLOCK_ELEMENTS / matrix.cols {
        0 => {
            let part = column / blocks::BLOCK_ELEMENTS;
            let start = part * blocks::BLOCK_ELEMENTS;
            let len = blocks::BLOCK_ELEMENTS.min(matrix.cols - start);
            let number = row * matrix.cols.div_ceil(blocks::BLOCK_ELEMENTS) + part;
            (number, Block { tensor: 0, start: row * matrix.cols + start, len })
        }
        at_once => {
            let number = row / at_once;
            let rows = at_once.min(matrix.rows - number * at_once);
            (number, Block { tensor: 0, start: number * at_once * matrix.cols, len: rows * matrix.cols })
        }
    }
}
