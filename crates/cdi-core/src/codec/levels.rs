//! Which table a place takes. Its level says in half octaves how large its symbol is to be expected: the
//! class of its row and that of its column added, less, in the difference model, the magnitude of its
//! prediction (one value of the type is worth more there). Thresholds cut levels into runs, one table each.

use super::bytes;
use super::cursor::{Cursor, write_number};
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

/// Tables of a tensor at the most.
pub const MOST_TABLES: usize = 16;

/// Rows, or columns, of a tensor with classes at the most.
pub const MOST_CLASSES: usize = 1 << 20;

/// Classes of the rows or of the columns of a tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// What is added to each.
    pub base: i16,
    /// Above `base`; empty where all are `base`.
    pub above: Vec<u8>,
}

impl Classes {
    #[inline(always)]
    pub fn at(&self, n: usize) -> i32 {
        i32::from(self.base) + self.above.get(n).map_or(0, |above| i32::from(*above))
    }

    /// Whether each is from 0 to `most`.
    pub fn are_within(&self, most: u32) -> bool {
        let base = i32::from(self.base);
        let last = base + i32::from(self.above.iter().copied().max().unwrap_or_default());
        base >= 0 && last <= most as i32
    }

    /// Reads as many classes as there are rows or columns.
    pub fn read(input: &mut Cursor<'_>, what: &'static str, count: usize) -> Result<Self, CodeError> {
        let base = i16::from_le_bytes(input.array()?);
        let wrong = CodeError::Classes(what);
        let len = input.number()?;
        let code = input.take(usize::try_from(len).map_err(|_| CodeError::Truncated)?)?;
        if code.is_empty() {
            return Ok(Self { base, above: Vec::new() });
        }
        // A few bytes can stand for any number of classes.
        if count > MOST_CLASSES {
            return Err(wrong);
        }
        let mut bits = BitReader::new(code);
        let table = read_table(&mut bits, 255).ok_or(wrong)?;
        let code = &code[bits.bytes_read().ok_or(wrong)?..];
        // Where all classes are one there is no code.
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

    /// Appends what [`Self::read`] reads.
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

    /// Of the classes, where there is more than one.
    fn frequencies(&self) -> Option<[u16; 256]> {
        let first = self.above.first()?;
        self.above.iter().any(|class| class != first).then(|| {
            let mut histogram: Histogram = [0; 256];
            self.above.iter().for_each(|class| histogram[usize::from(*class)] += 1);
            frequency::frequencies(&histogram)
        })
    }

    /// Roughly the bits that they take.
    pub fn bits(&self) -> f64 {
        if *self == Self::default() {
            return 0.0;
        }
        let mut histogram: Histogram = [0; 256];
        self.above.iter().for_each(|class| histogram[usize::from(*class)] += 1);
        frequency::entropy(&histogram) + 24.0
    }
}

/// From a place to the number of its table.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Of rows, where they have classes.
    pub rows: Classes,
    /// Of columns.
    pub columns: Classes,
    /// Of rows, how many low bits of all their values are zero: only in the value model.
    pub zeros: Classes,
    /// Levels from which the next table is taken, rising: one fewer than there are tables.
    pub thresholds: Vec<i16>,
}

impl Levels {
    /// Puts the level of each place of a block, or of each byte of its elements, into `levels`.
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
            Model::Value { .. } => {}
            Model::Difference => form.lower(prediction, levels),
            Model::Bytes { .. } => bytes::spread(form, levels),
        }
    }

    /// The table of each level.
    #[inline(always)]
    pub fn contexts(&self, levels: &[i32], contexts: &mut Vec<u8>) {
        contexts.clear();
        let Some((&first, &last)) = self.thresholds.first().zip(self.thresholds.last()) else {
            contexts.resize(levels.len(), 0);
            return;
        };
        // Thresholds lie within 255 of each other.
        let (first, span) = (i32::from(first), (i32::from(last) - i32::from(first)) as usize);
        let mut map = [0; 257];
        for (n, context) in map.iter_mut().enumerate().take(span + 2).skip(1) {
            let level = first + n as i32 - 1;
            *context = self.thresholds.iter().filter(|t| i32::from(**t) <= level).count() as u8;
        }
        contexts.resize(levels.len(), 0);
        for (context, level) in contexts.iter_mut().zip(levels) {
            *context = map[(level - first + 1).clamp(0, span as i32 + 1) as usize];
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

    /// Appends what [`Self::read`] reads.
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
