//! One block of a coded tensor, decoded.

use super::bytes;
use super::error::CodeError;
use super::head::{Book, Head};
use super::rawbits::BitReader;
use super::symbol::{Form, Model, PRUNED, PRUNED_TO_INITIAL};
use crate::blocks::Block;
use crate::dispatch::{InstructionSet, Kernel};
use crate::prelude::*;
use crate::tensor::Matrix;

/// Evaluates an expression in which `$size` is the bytes of an element, a constant. Loops stand in it written
/// out: the compiler would not carry an instruction set into the functions of iterators.
macro_rules! sized {
    ($form:expr, $size:ident => $loop:expr) => {
        match $form.bits {
            16 => {
                const $size: usize = 2;
                $loop
            }
            32 => {
                const $size: usize = 4;
                $loop
            }
            _ => {
                const $size: usize = 8;
                $loop
            }
        }
    };
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub struct BlockDecoder {
    /// Of the code at this place in memory, which the last block was of.
    book: Option<((usize, usize), Book)>,
    scratch: Scratch,
    /// The instruction set that it runs on.
    set: InstructionSet,
}

#[derive(Debug, Default)]
struct Scratch {
    levels: Vec<i32>,
    contexts: Vec<u8>,
    symbols: Vec<u8>,
}

/// What the values of a block are made from, each in the tensor's type, little-endian, one for each place of
/// the block; empty where nothing needs them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockValues<'a> {
    /// Predictions, for models of differences.
    pub prediction: &'a [u8],
    /// What pruned places become; zero where empty.
    pub pruned: &'a [u8],
    /// What those that take their initial value become.
    pub initial: &'a [u8],
}

impl BlockDecoder {
    /// One that runs on this instruction set.
    #[cfg(test)]
    pub fn on(set: InstructionSet) -> Self {
        Self { set, ..Self::default() }
    }

    /// Decodes a block of a coded tensor, whose whole code is `code` (and stays where it is in memory while
    /// this lives), into `out`: as many elements as the block has.
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
        let Self { book, scratch, .. } = self;
        let place = (code.as_ptr().addr(), code.len());
        let book = match book {
            Some((known, book)) if *known == place => &*book,
            _ => &book.insert((place, head.book(code)?)).1,
        };
        let decoded = self.set.run(Decode { head, book, bytes, block, values, scratch, out });
        decoded.ok_or(CodeError::Block(number))
    }
}

/// A block to be decoded; `None` where it is none.
struct Decode<'a> {
    head: &'a Head,
    book: &'a Book,
    bytes: &'a [u8],
    block: &'a Block,
    values: BlockValues<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [u8],
}

impl Kernel for Decode<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(self) -> Option<()> {
        let Self { head, book, bytes, block, values, scratch, out } = self;
        let Scratch { levels, contexts, symbols } = scratch;
        book.levels.of_block((head.form, head.model), block, head.matrix, values.prediction, levels);
        book.levels.contexts(levels, contexts);
        symbols.resize(contexts.len(), 0);
        let coded = book.decoder.decode(contexts, bytes, bytes.is_empty(), symbols)?;
        let mut rest = BitReader::new(&bytes[coded..]);
        if let Model::Bytes { difference } = head.model {
            bytes::join(head.form, symbols, difference.then_some(values.prediction), out);
            return rest.at_end().then_some(());
        }
        let block = (head.matrix, block);
        sized!(head.form, SIZE => join::<SIZE>(head, book, block, symbols, values, &mut rest, out));
        rest.at_end().then_some(())
    }
}

/// Puts symbols and what they left together.
#[inline(always)]
fn join<const SIZE: usize>(
    head: &Head,
    Book { symbols: known, levels, .. }: &Book,
    (matrix, block): (Matrix, &Block),
    symbols: &[u8],
    values: BlockValues<'_>,
    rest: &mut BitReader<'_>,
    out: &mut [u8],
) {
    let of = |bytes: &[u8], n: usize| load::<SIZE>(bytes.as_chunks::<SIZE>().0, n);
    let out = out.as_chunks_mut::<SIZE>().0;
    let put = |out: &mut [u8; SIZE], bits: u64| out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
    if let Model::Value { .. } = head.model {
        let (first, width) = (block.row(matrix), block.columns(matrix));
        for (row, (symbols, out)) in symbols.chunks(width).zip(out.chunks_mut(width)).enumerate() {
            // Checked to be no more than there are.
            let zeros = levels.zeros.at(first + row) as u32;
            for (n, (&symbol, out)) in (row * width..).zip(symbols.iter().zip(out)) {
                let bits = match symbol {
                    PRUNED => of(values.pruned, n),
                    PRUNED_TO_INITIAL => of(values.initial, n),
                    _ => {
                        let count = known.count_of_value(symbol, zeros);
                        known.value(symbol, take::<SIZE>(rest, count), zeros)
                    }
                };
                put(out, bits);
            }
        }
        return;
    }
    let predictions = values.prediction.as_chunks::<SIZE>().0;
    for (n, ((&symbol, prediction), out)) in symbols.iter().zip(predictions).zip(out).enumerate() {
        let bits = match symbol {
            PRUNED => of(values.pruned, n),
            PRUNED_TO_INITIAL => of(values.initial, n),
            _ => {
                let rest = take::<SIZE>(rest, known.count(symbol));
                known.value_at(symbol, rest, widen(prediction))
            }
        };
        put(out, bits);
    }
}

/// The next bits, as many as an element of so many bytes can leave.
#[inline(always)]
fn take<const SIZE: usize>(rest: &mut BitReader<'_>, count: u32) -> u64 {
    if SIZE == 8 { rest.take(count) } else { rest.take_few(count) }
}

#[inline(always)]
fn widen<const SIZE: usize>(value: &[u8; SIZE]) -> u64 {
    let mut bits = [0; 8];
    bits[..SIZE].copy_from_slice(value);
    u64::from_le_bytes(bits)
}

/// The element at `n`; zero where there is none.
#[inline(always)]
fn load<const SIZE: usize>(values: &[[u8; SIZE]], n: usize) -> u64 {
    values.get(n).map_or(0, widen)
}

impl Form {
    /// Calls `f` with the bits of each element, in order.
    #[inline(always)]
    pub(super) fn each(self, bytes: &[u8], mut f: impl FnMut(u64)) {
        sized!(self, SIZE => for value in bytes.as_chunks::<SIZE>().0 {
            f(widen(value));
        });
    }

    /// Calls `f` with the bits of each element of one slice and of the other, in order.
    #[inline(always)]
    pub(super) fn each_pair(self, a: &[u8], b: &[u8], mut f: impl FnMut(u64, u64)) {
        sized!(self, SIZE => for (a, b) in a.as_chunks::<SIZE>().0.iter().zip(b.as_chunks::<SIZE>().0) {
            f(widen(a), widen(b));
        });
    }

    /// Puts what `f` makes of the bits of each element into `out`, in place of what is there.
    #[inline(always)]
    pub(super) fn map<T: Copy + Default>(self, bytes: &[u8], out: &mut Vec<T>, f: impl Fn(u64) -> T) {
        out.resize(8 * bytes.len() / self.bits as usize, T::default());
        sized!(self, SIZE => for (out, value) in out.iter_mut().zip(bytes.as_chunks::<SIZE>().0) {
            *out = f(widen(value));
        });
    }

    /// [`Self::map`] of the bits of each element of one slice and of the other, which is as long.
    #[inline(always)]
    pub(super) fn map_pairs<T: Copy + Default>(
        self,
        a: &[u8],
        b: &[u8],
        out: &mut Vec<T>,
        f: impl Fn(u64, u64) -> T,
    ) {
        out.resize(8 * a.len() / self.bits as usize, T::default());
        sized!(self, SIZE => {
            let pairs = a.as_chunks::<SIZE>().0.iter().zip(b.as_chunks::<SIZE>().0);
            for (out, (a, b)) in out.iter_mut().zip(pairs) {
                *out = f(widen(a), widen(b));
            }
        });
    }

    /// Lowers each level by the half octaves of its prediction.
    #[inline(always)]
    pub(super) fn lower(self, predictions: &[u8], levels: &mut [i32]) {
        sized!(self, SIZE => {
            for (level, prediction) in levels.iter_mut().zip(predictions.as_chunks::<SIZE>().0) {
                *level -= self.half_octaves(widen(prediction));
            }
        });
    }
}
