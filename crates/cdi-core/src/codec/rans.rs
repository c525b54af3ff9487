//! Range coding with fixed tables (rANS: Duda, "Asymmetric numeral systems: entropy coding combining
//! speed of Huffman coding with compression rate of arithmetic coding", 2013), with one table per context
//! and interleaved lanes.
//!
//! Symbol `i` of a block belongs to lane `i % 8` (blocks of fewer than 4096 symbols have one lane). The state
//! of a lane is between 2^16 and 2^32. All lanes share one stream of 16-bit words: a lane takes the next word
//! when its state falls below 2^16.

use core::hint::select_unpredictable;

use crate::prelude::*;

/// The frequencies of a table sum to `1 << TABLE_BITS`.
pub const TABLE_BITS: u32 = 11;
/// Sum of the frequencies of a table.
pub const TOTAL: u32 = 1 << TABLE_BITS;
/// Lanes of a block of at least [`FEW`] symbols. Smaller blocks have one.
pub const LANES: usize = 8;
/// Eight states are not worth their bytes in blocks of fewer symbols.
const FEW: usize = 4096;
/// The state of each lane before encoding and after decoding: the smallest valid one.
const REST: u32 = 1 << 16;

/// Frequencies of 256 symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    frequencies: Box<[u16; 256]>,
}

impl Table {
    /// `None` if the frequencies do not sum to [`TOTAL`].
    pub fn new(frequencies: &[u16; 256]) -> Option<Self> {
        let sum: u32 = frequencies.iter().map(|f| u32::from(*f)).sum();
        (sum == TOTAL).then(|| Self { frequencies: Box::new(*frequencies) })
    }

    /// The frequency of each symbol.
    pub fn frequencies(&self) -> &[u16; 256] {
        &self.frequencies
    }
}

/// Encodes with several tables. Each holds the slots of its symbols, prepared for division
/// by their frequencies.
#[derive(Clone, Debug)]
pub struct Encoder {
    tables: Vec<[Slots; 256]>,
}

/// The slots of a symbol, for encoding.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    /// `floor(2^43 / frequency) + 1`.
    reciprocal: u64,
    /// The largest state that need not become smaller first: `2^21 * frequency - 1`.
    most: u32,
    /// [`TOTAL`] minus the frequency.
    others: u16,
    /// The first slot.
    start: u16,
}

impl Encoder {
    /// An encoder with these tables.
    pub fn new<'t>(tables: impl IntoIterator<Item = &'t Table>) -> Self {
        let of = |table: &Table| {
            let mut slots = [Slots::default(); 256];
            let mut start = 0;
            let used = |(_, frequency): &(&mut Slots, &u16)| **frequency > 0;
            for (slots, frequency) in slots.iter_mut().zip(table.frequencies()).filter(used) {
                *slots = Slots {
                    reciprocal: (1 << 43) / u64::from(*frequency) + 1,
                    // 0 - 1 for the whole total: no state is above it.
                    most: (u32::from(*frequency) << (32 - TABLE_BITS)).wrapping_sub(1),
                    others: TOTAL as u16 - frequency,
                    start,
                };
                start += frequency;
            }
            slots
        };
        Self { tables: tables.into_iter().map(of).collect() }
    }

    /// Appends the code of `symbols`. Each symbol is coded with the table that the context at the same index
    /// names. Without `always`, the code is empty if all symbols are certain (of frequency [`TOTAL`]).
    ///
    /// # Panics
    /// If there is no such table, or in debug builds if a symbol's frequency in it is 0.
    #[inline(always)]
    pub fn encode(&self, contexts: &[u8], symbols: &[u8], always: bool, out: &mut Vec<u8>) {
        if symbols.len() < FEW {
            self.encode_lanes::<1>(contexts, symbols, always, out);
        } else {
            self.encode_lanes::<LANES>(contexts, symbols, always, out);
        }
    }

    #[inline(always)]
    fn encode_lanes<const LANES: usize>(
        &self,
        contexts: &[u8],
        symbols: &[u8],
        always: bool,
        out: &mut Vec<u8>,
    ) {
        let mut states = [REST; LANES];
        // A symbol gives at most one word. Words are read in reverse order, so they are written from the end.
        let begin = out.len() + 4 * LANES;
        out.resize(begin + 2 * symbols.len(), 0);
        let words = out[begin..].as_chunks_mut::<2>().0;
        let mut at = words.len();
        let step = |x: &mut u32, context: u8, symbol: u8, word: &mut [u8; 2]| {
            let Slots { reciprocal, most, others, start } =
                self.tables[usize::from(context)][usize::from(symbol)];
            debug_assert!(reciprocal > 0, "symbol {symbol} in context {context}");
            let full = *x > most;
            *word = (*x as u16).to_le_bytes();
            *x = select_unpredictable(full, *x >> 16, *x);
            // x / frequency: x is less than 2^21 * frequency, so the product fits in 64 bits and is too large
            // by less than 2^43 / frequency.
            let quotient = ((u64::from(*x) * reciprocal) >> 43) as u32;
            *x = *x + quotient * u32::from(others) + u32::from(start);
            usize::from(full)
        };
        let (whole, rest) = symbols.as_chunks::<LANES>();
        let (whole_contexts, rest_contexts) = contexts[..symbols.len()].as_chunks::<LANES>();
        for lane in (0..rest.len()).rev() {
            at -= step(&mut states[lane], rest_contexts[lane], rest[lane], &mut words[at - 1]);
        }
        for (symbols, contexts) in whole.iter().zip(whole_contexts).rev() {
            let free = words[..at].last_chunk_mut::<LANES>().expect("a word for each symbol to come");
            let mut taken = 0;
            for lane in (0..LANES).rev() {
                // At most LANES - 1 words have been taken; the remainder tells the compiler so.
                let word = &mut free[LANES - 1 - taken % LANES];
                taken += step(&mut states[lane], contexts[lane], symbols[lane], word);
            }
            at -= taken;
        }
        if !always && at == words.len() && states == [REST; LANES] {
            out.truncate(begin - 4 * LANES);
            return;
        }
        for (place, x) in out[begin - 4 * LANES..begin].as_chunks_mut::<4>().0.iter_mut().zip(states) {
            *place = x.to_le_bytes();
        }
        out.copy_within(begin + 2 * at.., begin);
        out.truncate(out.len() - 2 * at);
    }
}

/// Decodes with several tables. For each slot of each table, it holds
/// `symbol | (slot - first slot of the symbol) << 8 | frequency << 20`.
#[derive(Clone, Debug)]
pub struct Decoder {
    tables: Vec<[u32; TOTAL as usize]>,
}

impl Decoder {
    /// A decoder with these tables.
    pub fn new<'t>(tables: impl IntoIterator<Item = &'t Table>) -> Self {
        let of = |table: &Table| {
            let mut slots = [0; TOTAL as usize];
            let mut rest = slots.iter_mut();
            for (symbol, frequency) in (0u32..).zip(table.frequencies()) {
                let frequency = u32::from(*frequency);
                for (n, slot) in (0..frequency).zip(&mut rest) {
                    *slot = symbol | n << 8 | frequency << 20;
                }
            }
            slots
        };
        Self { tables: tables.into_iter().map(of).collect() }
    }

    /// Decodes one symbol for each context. Returns the length of the code in bytes, or `None` if the code is
    /// invalid: a state is out of range, words are missing, or the states do not end at their smallest value.
    /// `empty` means that the code has no bytes.
    ///
    /// # Panics
    /// If there is no such table.
    #[inline(always)]
    pub fn decode(&self, contexts: &[u8], bytes: &[u8], empty: bool, symbols: &mut [u8]) -> Option<usize> {
        if symbols.len() < FEW {
            self.decode_lanes::<1>(contexts, bytes, empty, symbols)
        } else {
            self.decode_lanes::<LANES>(contexts, bytes, empty, symbols)
        }
    }

    #[inline(always)]
    fn decode_lanes<const LANES: usize>(
        &self,
        contexts: &[u8],
        bytes: &[u8],
        empty: bool,
        symbols: &mut [u8],
    ) -> Option<usize> {
        let mut states = [REST; LANES];
        let mut words: &[[u8; 2]] = &[];
        if !empty {
            let (first, rest) = bytes.split_at_checked(4 * LANES)?;
            for (x, bytes) in states.iter_mut().zip(first.as_chunks::<4>().0) {
                *x = u32::from_le_bytes(*bytes);
            }
            words = rest.as_chunks::<2>().0;
        }
        if states.iter().any(|x| *x < REST) {
            return None;
        }
        // Returns the symbol and the number of words taken.
        let step = |x: &mut u32, context: u8, word: [u8; 2]| {
            let slot = self.tables[usize::from(context)][(*x & (TOTAL - 1)) as usize];
            let next = (slot >> 20) * (*x >> TABLE_BITS) + ((slot >> 8) & 0xFFF);
            let low = next < REST;
            *x = select_unpredictable(low, next << 16 | u32::from(u16::from_le_bytes(word)), next);
            (slot as u8, usize::from(low))
        };
        let all = words.len();
        let (whole, rest) = symbols.as_chunks_mut::<LANES>();
        let (whole_contexts, rest_contexts) = contexts.as_chunks::<LANES>();
        let mut last = [[0; 2]; LANES];
        for (symbols, contexts) in whole.iter_mut().zip(whole_contexts) {
            let next = words.first_chunk::<LANES>().unwrap_or_else(|| {
                // Words past the end are read as zeros.
                last.fill([0; 2]);
                last[..words.len()].copy_from_slice(words);
                &last
            });
            let mut taken = 0;
            for lane in 0..LANES {
                // At most LANES - 1 words have been taken; the remainder tells the compiler so.
                let (symbol, words) = step(&mut states[lane], contexts[lane], next[taken % LANES]);
                symbols[lane] = symbol;
                taken += words;
            }
            words = words.get(taken..)?;
        }
        for ((symbol, context), x) in rest.iter_mut().zip(rest_contexts).zip(&mut states) {
            let (found, taken) = step(x, *context, words.first().copied().unwrap_or_default());
            *symbol = found;
            words = words.get(taken..)?;
        }
        let begun = if empty { 0 } else { 4 * LANES };
        (states == [REST; LANES]).then_some(begun + 2 * (all - words.len()))
    }
}
