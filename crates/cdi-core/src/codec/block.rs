//! One block of a coded tensor, decoded.

use super::error::CodeError;
use super::head::{Book, Head};
use super::rans;
use super::rawbits::BitReader;
use super::symbol::{Form, PRUNED, PRUNED_TO_INITIAL};
use crate::blocks::Block;
use crate::prelude::*;
use crate::tensor::Matrix;

/// Buffers of a thread.
#[derive(Debug, Default)]
pub struct BlockDecoder {
    /// Of the code at this place in memory, which the last block was of.
    book: Option<((usize, usize), Book)>,
    levels: Vec<i32>,
    contexts: Vec<u8>,
    symbols: Vec<u8>,
}

/// What the values of a block are made from, each in the tensor's type, little-endian, one for each place of the block; empty
/// where nothing needs them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockValues<'a> {
    /// Predictions, for the difference model.
    pub prediction: &'a [u8],
    /// What pruned places become; zero where empty.
    pub pruned: &'a [u8],
    /// What those that take their initial value become.
    pub initial: &'a [u8],
}

impl BlockDecoder {
    /// Decodes a block of a coded tensor, whose whole code is `code` (and stays where it is in memory while this lives), into `out`: as many elements as the block has.
    ///
    /// # Errors
    /// [`CodeError::Block`].
    ///
    /// # Panics
    /// If a slice is too short for the block.
    pub fn decode(
        &mut self,
        head: &Head,
        code: &[u8],
        (number, block): (usize, &Block),
        values: BlockValues<'_>,
        out: &mut [u8],
    ) -> Result<(), CodeError> {
        let bytes = &code[head.block_bytes(number)];
        let Self { book, levels, contexts, symbols } = self;
        let place = (code.as_ptr().addr(), code.len());
        let book = match book {
            Some((known, book)) if *known == place => book,
            _ => &mut book.insert((place, head.book(code)?)).1,
        };
        book.levels.of_block((head.form, head.model), block, head.matrix, values.prediction, levels);
        book.levels.contexts(levels, contexts);
        symbols.resize(block.len, 0);
        let wrong = CodeError::Block(number);
        let coded = rans::decode(&book.tables, contexts, bytes, bytes.is_empty(), symbols).ok_or(wrong)?;
        let mut rest = BitReader::new(&bytes[coded..]);
        match head.form.bits {
            16 => join::<2>(book, (head.matrix, block), symbols, values, &mut rest, out),
            32 => join::<4>(book, (head.matrix, block), symbols, values, &mut rest, out),
            _ => join::<8>(book, (head.matrix, block), symbols, values, &mut rest, out),
        }
        rest.at_end().then_some(()).ok_or(wrong)
    }
}

/// Puts symbols and what they left together, row by row.
fn join<const SIZE: usize>(
    book: &Book,
    (matrix, block): (Matrix, &Block),
    symbols: &[u8],
    values: BlockValues<'_>,
    rest: &mut BitReader<'_>,
    out: &mut [u8],
) {
    let of = |bytes: &[u8], n: usize| load::<SIZE>(bytes.as_chunks::<SIZE>().0, n);
    let predictions = values.prediction.as_chunks::<SIZE>().0;
    let (first, width) = (block.row(matrix), block.columns(matrix));
    let out = out.as_chunks_mut::<SIZE>().0;
    for (row, (symbols, out)) in symbols.chunks(width).zip(out.chunks_mut(width)).enumerate() {
        // Checked to be no more than there are.
        let zeros = book.levels.zeros.at(first + row) as u32;
        for (n, (&symbol, out)) in (row * width..).zip(symbols.iter().zip(out)) {
            let bits = match symbol {
                PRUNED => of(values.pruned, n),
                PRUNED_TO_INITIAL => of(values.initial, n),
                _ => {
                    let rest = rest.take(book.symbols.count(symbol, zeros));
                    book.symbols.value(symbol, rest, load(predictions, n), zeros)
                }
            };
            out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
        }
    }
}

#[inline(always)]
fn load<const SIZE: usize>(values: &[[u8; SIZE]], n: usize) -> u64 {
    let mut bits = [0; 8];
    if let Some(value) = values.get(n) {
        bits[..SIZE].copy_from_slice(value);
    }
    u64::from_le_bytes(bits)
}

impl Form {
    /// Calls `f` with the number and the bits of each element.
    #[inline(always)]
    pub(super) fn each(self, bytes: &[u8], mut f: impl FnMut(usize, u64)) {
        #[inline(always)]
        fn all<const SIZE: usize>(bytes: &[u8], f: &mut impl FnMut(usize, u64)) {
            let values = bytes.as_chunks::<SIZE>().0;
            (0..values.len()).for_each(|n| f(n, load(values, n)));
        }
        match self.bits {
            16 => all::<2>(bytes, &mut f),
            32 => all::<4>(bytes, &mut f),
            _ => all::<8>(bytes, &mut f),
        }
    }

    /// Calls `f` with the bits of each element of one slice and of the other.
    #[inline(always)]
    pub(super) fn each_pair(self, a: &[u8], b: &[u8], mut f: impl FnMut(u64, u64)) {
        #[inline(always)]
        fn all<const SIZE: usize>(a: &[u8], b: &[u8], f: &mut impl FnMut(u64, u64)) {
            let (a, b) = (a.as_chunks::<SIZE>().0, b.as_chunks::<SIZE>().0);
            (0..a.len()).for_each(|n| f(load(a, n), load(b, n)));
        }
        match self.bits {
            16 => all::<2>(a, b, &mut f),
            32 => all::<4>(a, b, &mut f),
            _ => all::<8>(a, b, &mut f),
        }
    }
}
