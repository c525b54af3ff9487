//! Selects the table for each element. The level of an element tells how large its symbol is expected to be,
//! in half octaves: the sum of the classes of its row and column, minus, in the difference model, the
//! magnitude of its prediction (the larger that is, the further apart are neighbouring values of the type).
//! Thresholds divide levels into runs, with one table each.

use super::bytes;
use super::cursor::{Cursor, write_number};
use super::elements::CHUNK;
use super::error::CodeError;
use super::frequency::read as read_table;
use super::frequency::{self, Histogram};
use super::rans;
use super::rawbits::BitReader;
use super::rawbits::BitWriter;
use super::symbol::{Form, Model};
use crate::blocks::Block;
use crate::prelude::*;
use crate::tensor::Matrix;

/// Maximum number of tables of a tensor.
pub const MOST_TABLES: usize = 16;

/// Maximum number of rows, or of columns, that can have classes.
pub const MOST_CLASSES: usize = 1 << 20;

/// Classes of the rows or of the columns of a tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Added to each class.
    pub base: i16,
    /// Each class minus `base`; empty if all are equal to `base`.
    pub above: Vec<u8>,
}

impl Classes {
    #[inline(always)]
    pub fn at(&self, n: usize) -> i32 {
        i32::from(self.base) + self.above.get(n).map_or(0, |above| i32::from(*above))
    }

    /// Whether all classes are from 0 to `most`.
    pub fn are_within(&self, most: u32) -> bool {
        let base = i32::from(self.base);
        let last = base + i32::from(self.above.iter().copied().max().unwrap_or_default());
        base >= 0 && last <= most as i32
    }

    /// Reads `count` classes, one for each row or column.
    pub fn read(input: &mut Cursor<'_>, what: &'static str, count: usize) -> Result<Self, CodeError> {
        let base = i16::from_le_bytes(input.array()?);
        let wrong = CodeError::Classes(what);
        let len = input.number()?;
        let code = input.take(usize::try_from(len).map_err(|_| CodeError::Truncated)?)?;
        if code.is_empty() {
            return Ok(Self { base, above: Vec::new() });
        }
        // A few bytes can describe any number of classes, so their number is limited.
        if count > MOST_CLASSES {
            return Err(wrong);
        }
        let mut bits = BitReader::new(code);
        let table = read_table(&mut bits, 255).ok_or(wrong)?;
        let code = &code[bits.bytes_read().ok_or(wrong)?..];
        // There must be no code if all classes are equal.
        if table.frequencies().iter().any(|f| u32::from(*f) == rans::TOTAL) {
            return Err(wrong);
        }
        let mut above = vec![0; count];
        let read = rans::Decoder::new([&table]).decode(&vec![0; count], code, false, &mut above);
        if read != Some(code.len()) {
            return Err(wrong);
        }
        Ok(Self { base, above })
    }

    /// Appends classes in the form that [`Self::read`] reads.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.base.to_le_bytes());
        let mut code = Vec::new();
        if let Some(frequencies) = self.frequencies() {
            let mut bits = BitWriter::default();
            frequency::write(&frequencies, &mut bits);
            bits.finish(&mut code);
            let table = rans::Table::new(&frequencies).expect("made to sum to the total");
            rans::Encoder::new([&table]).encode(&vec![0; self.above.len()], &self.above, true, &mut code);
        }
        write_number(code.len() as u64, out);
        out.extend(code);
    }

    /// Frequencies of the classes; `None` if all classes are equal.
    fn frequencies(&self) -> Option<[u16; 256]> {
        let first = self.above.first()?;
        self.above.iter().any(|class| class != first).then(|| {
            let mut histogram: Histogram = [0; 256];
            self.above.iter().for_each(|class| histogram[usize::from(*class)] += 1);
            frequency::frequencies(&histogram)
        })
    }

    /// Estimated size of the classes, in bits.
    pub fn bits(&self) -> f64 {
        if *self == Self::default() {
            return 0.0;
        }
        let mut histogram: Histogram = [0; 256];
        self.above.iter().for_each(|class| histogram[usize::from(*class)] += 1);
        frequency::entropy(histogram.into_iter(), self.above.len() as u64) + 24.0
    }
}

/// Maps an element to the number of its table.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Classes of rows, if they have any.
    pub rows: Classes,
    /// Classes of columns, if they have any.
    pub columns: Classes,
    /// For each row, the number of low bits that are zero in all its values; only in the value model.
    pub zeros: Classes,
    /// The first level of each table but the first, ascending.
    pub thresholds: Vec<i16>,
}

impl Levels {
    /// Writes the level of each element of a block, or of each byte of its elements, to `levels`.
    #[inline(always)]
    pub fn of_block(
        &self,
        (form, model): (Form, Model),
        block: &Block,
        matrix: Matrix,
        prediction: &[u8],
        levels: &mut Vec<i32>,
    ) {
        let (first_row, first_column, width) =
            (block.row(matrix), block.column(matrix), block.columns(matrix));
        levels.resize(block.len, 0);
        for (n, levels) in levels.chunks_mut(width).enumerate() {
            let row = self.rows.at(first_row + n) + i32::from(self.columns.base);
            match self.columns.above.get(first_column..first_column + levels.len()) {
                Some(above) => {
                    for (level, above) in levels.iter_mut().zip(above) {
                        *level = row + i32::from(*above);
                    }
                }
                None => levels.fill(row),
            }
        }
        match model {
            Model::Value { .. } | Model::Steps { .. } => {}
            Model::Difference => form.lower(prediction, levels),
            Model::Bytes { .. } => bytes::spread(form, levels),
        }
    }

    /// The first row of a block, and the number of its elements from one row with low bits of its own to the
    /// next: all of them, if rows do not differ in this.
    #[inline(always)]
    pub fn rows_of_zeros(&self, block: &Block, matrix: Matrix) -> (usize, usize) {
        let width = if self.zeros.above.is_empty() { block.len } else { block.columns(matrix) };
        (block.row(matrix), width)
    }

    /// The number of the table for each level.
    #[inline(always)]
    pub fn contexts(&self, levels: &[i32], contexts: &mut Vec<u8>) {
        contexts.resize(levels.len(), 0);
        let Some((&first, others)) = self.thresholds.split_first() else {
            contexts.fill(0);
            return;
        };
        // The last threshold is at most 255 above the first: 16 bits are enough.
        let first = i32::from(first);
        let (mut above, mut passed) = ([0u16; CHUNK], [0u16; CHUNK]);
        for (contexts, levels) in contexts.chunks_mut(CHUNK).zip(levels.chunks(CHUNK)) {
            for (above, level) in above.iter_mut().zip(levels) {
                *above = (level - first + 1).clamp(0, 256) as u16;
            }
            for (passed, above) in passed.iter_mut().zip(&above) {
                *passed = u16::from(*above > 0);
            }
            for threshold in others {
                let threshold = (i32::from(*threshold) - first) as u16;
                for (passed, above) in passed.iter_mut().zip(&above) {
                    *passed += u16::from(*above > threshold);
                }
            }
            for (context, passed) in contexts.iter_mut().zip(&passed) {
                *context = *passed as u8;
            }
        }
    }

    /// Reads classes and thresholds.
    pub fn read(input: &mut Cursor<'_>, matrix: Matrix, flags: u8, tables: usize) -> Result<Self, CodeError> {
        let rows = match flags & 1 {
            0 => Classes::default(),
            _ => Classes::read(input, "rows", matrix.rows)?,
        };
        let columns = match flags & 2 {
            0 => Classes::default(),
            _ => Classes::read(input, "columns", matrix.cols)?,
        };
        let zeros = match flags & 4 {
            0 => Classes::default(),
            _ => Classes::read(input, "low bits", matrix.rows)?,
        };
        let mut thresholds: Vec<i16> = Vec::new();
        for _ in 1..tables {
            let next = match thresholds.last() {
                None => Some(i16::from_le_bytes(input.array()?)),
                Some(last) => match input.byte()? {
                    0 => None,
                    step => last.checked_add(step.into()),
                },
            };
            let in_reach = |next: &i16| {
                let first = thresholds.first().unwrap_or(next);
                i32::from(*next) - i32::from(*first) <= 255
            };
            let next = next.filter(in_reach);
            thresholds.push(next.ok_or(CodeError::Unknown { what: "a threshold of levels", got: 0 })?);
        }
        Ok(Self { rows, columns, zeros, thresholds })
    }

    /// Appends classes and thresholds in the form that [`Self::read`] reads.
    pub fn write(&self, flags: u8, out: &mut Vec<u8>) {
        if flags & 1 != 0 {
            self.rows.write(out);
        }
        if flags & 2 != 0 {
            self.columns.write(out);
        }
        if flags & 4 != 0 {
            self.zeros.write(out);
        }
        if let Some(first) = self.thresholds.first() {
            out.extend(first.to_le_bytes());
        }
        out.extend(self.thresholds.windows(2).map(|pair| (pair[1] - pair[0]) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_the_number_of_thresholds_up_to_the_level() {
        let levels: Vec<i32> = (-300..300).chain([i32::MIN / 2, i32::MAX / 2]).collect();
        // The last one is 255 above the first, as far as it may be.
        for thresholds in [vec![], vec![-7], vec![-100, -99, 3, 100, 155]] {
            let found = |level: &i32| thresholds.iter().filter(|t| i32::from(**t) <= *level).count() as u8;
            let expected: Vec<u8> = levels.iter().map(found).collect();
            let mut contexts = vec![9; 3];
            Levels { thresholds, ..Levels::default() }.contexts(&levels, &mut contexts);
            assert_eq!(contexts, expected);
        }
    }
}
