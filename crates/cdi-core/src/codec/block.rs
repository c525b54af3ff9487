//! Decodes the blocks of a coded tensor.

use super::bytes;
use super::error::CodeError;
use super::head::{Book, Head};
use super::rawbits::BitReader;
use super::steps;
use super::symbol::{Form, Model, PRUNED, PRUNED_TO_INITIAL, Symbols};
use crate::blocks::Block;
use crate::dispatch::{InstructionSet, Kernel};
use crate::prelude::*;
use crate::tensor::Matrix;

/// Evaluates an expression with `$size` as a constant: the number of bytes of an element. Use plain loops in
/// the expression: the compiler does not extend an instruction set to iterator functions that take closures.
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

/// Decodes blocks, with the buffers of one thread.
#[derive(Debug, Default)]
pub struct BlockDecoder {
    /// The book of the last decoded code, with the code's address and length in memory.
    book: Option<((usize, usize), Book)>,
    scratch: Scratch,
    /// The instruction set that decoding uses.
    set: InstructionSet,
}

#[derive(Debug, Default)]
struct Scratch {
    levels: Vec<i32>,
    contexts: Vec<u8>,
    symbols: Vec<u8>,
    steps: steps::Buffers,
    folded: Vec<u64>,
}

/// Values from which a block is restored: one per element of the block, in the tensor's type, little-endian.
/// A slice may be empty if the block does not need it.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockValues<'a> {
    /// Predictions, for difference models.
    pub prediction: &'a [u8],
    /// Values of pruned elements; zeros if empty.
    pub pruned: &'a [u8],
    /// Values of the pruned elements that take their initial value; zeros if empty.
    pub initial: &'a [u8],
}

impl BlockDecoder {
    /// A decoder that uses this instruction set.
    #[cfg(test)]
    pub fn on(set: InstructionSet) -> Self {
        Self { set, ..Self::default() }
    }

    /// Decodes a block of a coded tensor into `out`, which has the size of the block's elements. `code` is
    /// the whole code of the tensor; it must stay at its address in memory while this decoder lives.
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

/// A block to decode. The output is `None` if its bytes are invalid.
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
        let Scratch { levels, contexts, symbols, steps, folded } = scratch;
        book.levels.of_block((head.form, head.model), block, head.matrix, values.prediction, levels);
        book.levels.contexts(levels, contexts);
        symbols.resize(contexts.len(), 0);
        let coded = book.decoder.decode(contexts, bytes, bytes.is_empty(), symbols)?;
        let mut rest = BitReader::new(&bytes[coded..]);
        if let Model::Bytes { difference } = head.model {
            bytes::join(head.form, symbols, difference.then_some(values.prediction), out);
            return rest.at_end().then_some(());
        }
        if let Model::Steps { step, difference } = head.model {
            // Without predictions, steps are counted from zero.
            let prediction = if difference { values.prediction } else { &[] };
            count_steps(&book.symbols, symbols, &mut rest, folded);
            steps.restore(head.form, step, folded, prediction, out);
            sized!(head.form, SIZE => put_others::<SIZE>(symbols, folded, values, out));
            return rest.at_end().then_some(());
        }
        let block = (head.matrix, block);
        sized!(head.form, SIZE => rest = join::<SIZE>(head, book, block, symbols, values, rest, out));
        rest.at_end().then_some(())
    }
}

/// The folded number of steps of each symbol; for elements that are stored unchanged, their bits.
#[inline(always)]
fn count_steps(known: &Symbols, symbols: &[u8], rest: &mut BitReader<'_>, folded: &mut Vec<u64>) {
    folded.clear();
    folded.extend(symbols.iter().map(|symbol| known.steps(*symbol, rest.take(known.count(*symbol)))));
}

/// Puts the values of elements that are not a number of steps from their prediction: pruned ones, and those
/// that are stored unchanged.
#[inline(always)]
fn put_others<const SIZE: usize>(symbols: &[u8], unchanged: &[u64], values: BlockValues<'_>, out: &mut [u8]) {
    let of = |bytes: &[u8], n: usize| load::<SIZE>(bytes.as_chunks::<SIZE>().0, n);
    let out = out.as_chunks_mut::<SIZE>().0;
    for (n, ((symbol, bits), out)) in symbols.iter().zip(unchanged).zip(out).enumerate() {
        let bits = match *symbol {
            PRUNED => of(values.pruned, n),
            PRUNED_TO_INITIAL => of(values.initial, n),
            symbol if Symbols::is_unchanged(symbol) => *bits,
            _ => continue,
        };
        out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
    }
}

/// Joins symbols with their remaining bits.
#[inline(always)]
fn join<'b, const SIZE: usize>(
    head: &Head,
    Book { symbols: known, levels, .. }: &Book,
    (matrix, block): (Matrix, &Block),
    symbols: &[u8],
    values: BlockValues<'_>,
    mut rest: BitReader<'b>,
    out: &mut [u8],
) -> BitReader<'b> {
    let form = head.form.sized::<SIZE>();
    let of = |bytes: &[u8], n: usize| load::<SIZE>(bytes.as_chunks::<SIZE>().0, n);
    let out = out.as_chunks_mut::<SIZE>().0;
    let put = |out: &mut [u8; SIZE], bits: u64| out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
    if let Model::Value { .. } = head.model {
        let (first, width) = (block.row(matrix), block.columns(matrix));
        for (row, (symbols, out)) in symbols.chunks(width).zip(out.chunks_mut(width)).enumerate() {
            // Checked when the head was read: at most `Form::most_zeros`.
            let zeros = levels.zeros.at(first + row) as u32;
            for (n, (&symbol, out)) in (row * width..).zip(symbols.iter().zip(out)) {
                let bits = match symbol {
                    PRUNED => of(values.pruned, n),
                    PRUNED_TO_INITIAL => of(values.initial, n),
                    _ => {
                        let count = known.count_of_value(symbol, zeros);
                        known.value(form, symbol, take::<SIZE>(&mut rest, count), zeros)
                    }
                };
                put(out, bits);
            }
        }
        return rest;
    }
    let predictions = values.prediction.as_chunks::<SIZE>().0;
    for (n, ((&symbol, prediction), out)) in symbols.iter().zip(predictions).zip(out).enumerate() {
        let bits = match symbol {
            PRUNED => of(values.pruned, n),
            PRUNED_TO_INITIAL => of(values.initial, n),
            _ => {
                let rest = take::<SIZE>(&mut rest, known.count(symbol));
                known.value_at(form, symbol, rest, widen(prediction))
            }
        };
        put(out, bits);
    }
    rest
}

/// Takes the next `count` bits, at most as many as the remaining bits of an element of `SIZE` bytes.
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

/// The element at index `n`; zero if there is none.
#[inline(always)]
fn load<const SIZE: usize>(values: &[[u8; SIZE]], n: usize) -> u64 {
    values.get(n).map_or(0, widen)
}

impl Form {
    /// The same form, for loops that are compiled for elements of `SIZE` bytes.
    #[inline(always)]
    fn sized<const SIZE: usize>(self) -> Self {
        // Only 16 bits can be of two types.
        let mantissa = match SIZE {
            4 => 23,
            8 => 52,
            _ => self.mantissa,
        };
        Self { bits: 8 * SIZE as u32, mantissa }
    }

    /// Calls `f` with this form and the bits of each element, in order.
    #[inline(always)]
    pub(super) fn each(self, bytes: &[u8], mut f: impl FnMut(Self, u64)) {
        sized!(self, SIZE => for value in bytes.as_chunks::<SIZE>().0 {
            f(self.sized::<SIZE>(), widen(value));
        });
    }

    /// Calls `f` with this form and the bits of each pair of elements from the two slices, in order.
    #[inline(always)]
    pub(super) fn each_pair(self, a: &[u8], b: &[u8], mut f: impl FnMut(Self, u64, u64)) {
        sized!(self, SIZE => for (a, b) in a.as_chunks::<SIZE>().0.iter().zip(b.as_chunks::<SIZE>().0) {
            f(self.sized::<SIZE>(), widen(a), widen(b));
        });
    }

    /// Replaces the content of `out` with the results of `f` for the bits of each element.
    #[inline(always)]
    pub(super) fn map<T: Copy + Default>(self, bytes: &[u8], out: &mut Vec<T>, f: impl Fn(Self, u64) -> T) {
        out.resize(8 * bytes.len() / self.bits as usize, T::default());
        sized!(self, SIZE => for (out, value) in out.iter_mut().zip(bytes.as_chunks::<SIZE>().0) {
            *out = f(self.sized::<SIZE>(), widen(value));
        });
    }

    /// Like [`Self::map`], for pairs of elements from two slices of the same length.
    #[inline(always)]
    pub(super) fn map_pairs<T: Copy + Default>(
        self,
        a: &[u8],
        b: &[u8],
        out: &mut Vec<T>,
        f: impl Fn(Self, u64, u64) -> T,
    ) {
        out.resize(8 * a.len() / self.bits as usize, T::default());
        sized!(self, SIZE => {
            let pairs = a.as_chunks::<SIZE>().0.iter().zip(b.as_chunks::<SIZE>().0);
            for (out, (a, b)) in out.iter_mut().zip(pairs) {
                *out = f(self.sized::<SIZE>(), widen(a), widen(b));
            }
        });
    }

    /// Subtracts from each level the magnitude of its prediction, in half octaves.
    #[inline(always)]
    pub(super) fn lower(self, predictions: &[u8], levels: &mut [i32]) {
        sized!(self, SIZE => {
            for (level, prediction) in levels.iter_mut().zip(predictions.as_chunks::<SIZE>().0) {
                *level -= self.sized::<SIZE>().half_octaves(widen(prediction));
            }
        });
    }
}
