//! Decodes the blocks of a coded tensor.

use super::bytes;
use super::elements::{CHUNK, sized, widen};
use super::error::CodeError;
use super::head::{Book, Head};
use super::levels::Levels;
use super::rawbits::BitReader;
use super::steps;
use super::symbol::{Form, Model, PRUNED, PRUNED_TO_INITIAL, Symbols};
use crate::blocks::Block;
use crate::dispatch::{InstructionSet, Kernel};
use crate::prelude::*;

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
        let Scratch { levels, contexts, symbols, folded } = scratch;
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
            count_steps(head.form, symbols, &mut rest, folded);
            steps::restore(head.form, step, folded, prediction, out);
            sized!(head.form, SIZE => put_unchanged::<SIZE>(symbols, folded, out));
        } else {
            let (levels, prediction) = (&book.levels, values.prediction);
            sized!(head.form, SIZE => {
                rest = join::<SIZE>(head, levels, block, symbols, prediction, rest, out);
            });
        }
        if head.marks_pruned() {
            sized!(head.form, SIZE => put_pruned::<SIZE>(symbols, values, out));
        }
        rest.at_end().then_some(())
    }
}

/// The folded number of steps of each symbol; for elements that are stored unchanged, their bits.
#[inline(always)]
fn count_steps(form: Form, symbols: &[u8], rest: &mut BitReader<'_>, folded: &mut Vec<u64>) {
    let mut counts = [0; CHUNK];
    folded.resize(symbols.len(), 0);
    for (symbols, folded) in symbols.chunks(CHUNK).zip(folded.chunks_mut(CHUNK)) {
        for (count, symbol) in counts.iter_mut().zip(symbols) {
            *count = Symbols::count_of_steps(form, *symbol);
        }
        // For elements of any size: most symbols leave nothing.
        rest.take_all::<8>(&counts[..symbols.len()], folded);
        for (folded, symbol) in folded.iter_mut().zip(symbols) {
            *folded = Symbols::steps(*symbol, *folded);
        }
    }
}

/// Puts the values of elements that are stored unchanged.
#[inline(always)]
fn put_unchanged<const SIZE: usize>(symbols: &[u8], unchanged: &[u64], out: &mut [u8]) {
    let out = out.as_chunks_mut::<SIZE>().0.chunks_mut(CHUNK);
    for ((symbols, unchanged), out) in symbols.chunks(CHUNK).zip(unchanged.chunks(CHUNK)).zip(out) {
        // They are rare.
        if !symbols.iter().fold(false, |any, symbol| any | Symbols::is_unchanged(*symbol)) {
            continue;
        }
        for ((symbol, bits), out) in symbols.iter().zip(unchanged).zip(out) {
            if Symbols::is_unchanged(*symbol) {
                out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
            }
        }
    }
}

/// Puts the values of pruned elements; zeros if there are none.
#[inline(always)]
fn put_pruned<const SIZE: usize>(symbols: &[u8], values: BlockValues<'_>, out: &mut [u8]) {
    let zeros = [[0; SIZE]; CHUNK];
    for (mark, values) in [(PRUNED, values.pruned), (PRUNED_TO_INITIAL, values.initial)] {
        let values = values.as_chunks::<SIZE>().0;
        let chunks = symbols.chunks(CHUNK).zip(out.as_chunks_mut::<SIZE>().0.chunks_mut(CHUNK));
        for (n, (symbols, out)) in chunks.enumerate() {
            let values = if values.is_empty() { &zeros } else { &values[n * CHUNK..] };
            for ((symbol, value), out) in symbols.iter().zip(values).zip(out) {
                *out = if *symbol == mark { *value } else { *out };
            }
        }
    }
}

/// Joins symbols with their remaining bits. What comes of pruned elements is put right later.
#[inline(always)]
fn join<'b, const SIZE: usize>(
    head: &Head,
    levels: &Levels,
    block: &Block,
    symbols: &[u8],
    prediction: &[u8],
    mut rest: BitReader<'b>,
    out: &mut [u8],
) -> BitReader<'b> {
    let form = head.form.sized::<SIZE>();
    let out = out.as_chunks_mut::<SIZE>().0;
    let put = |out: &mut [u8; SIZE], bits: u64| out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
    let (mut bits, mut counts) = ([0; CHUNK], [0; CHUNK]);
    if let Model::Value { top } = head.model {
        let (first, width) = levels.rows_of_zeros(block, head.matrix);
        for (row, (symbols, out)) in (first..).zip(symbols.chunks(width).zip(out.chunks_mut(width))) {
            // Checked when the head was read: at most `Form::most_zeros`.
            let zeros = levels.zeros.at(row) as u32;
            for (symbols, out) in symbols.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
                for (count, symbol) in counts.iter_mut().zip(symbols) {
                    *count = Symbols::count_of_value(form, *symbol, zeros);
                }
                rest.take_all::<SIZE>(&counts[..symbols.len()], &mut bits);
                for ((symbol, bits), out) in symbols.iter().zip(&bits).zip(out) {
                    put(out, Symbols::value(form, top, *symbol, *bits, zeros));
                }
            }
        }
        return rest;
    }
    let predictions = prediction.as_chunks::<SIZE>().0.chunks(CHUNK);
    for ((symbols, predictions), out) in symbols.chunks(CHUNK).zip(predictions).zip(out.chunks_mut(CHUNK)) {
        for (count, symbol) in counts.iter_mut().zip(symbols) {
            *count = Symbols::count_of_distance(*symbol);
        }
        rest.take_all::<SIZE>(&counts[..symbols.len()], &mut bits);
        for (((symbol, prediction), bits), out) in symbols.iter().zip(predictions).zip(&bits).zip(out) {
            put(out, Symbols::value_at(form, *symbol, *bits, widen(prediction)));
        }
    }
    rest
}
