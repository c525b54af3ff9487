//! Range coding with fixed tables (rANS: Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman
//! coding with compression rate of arithmetic coding", 2013), one table per context, in interleaved lanes.
//!
//! Place `i` of a block belongs to lane `i % 8` (blocks of fewer than 4096 places have one lane). A lane's state is between 2^16 and 2^32; all lanes share one stream of
//! 16-bit words, from which a lane takes the next one when its state falls below 2^16.

use crate::prelude::*;

/// Frequencies of a table sum to `1 << TABLE_BITS`.
pub const TABLE_BITS: u32 = 11;
/// What they sum to.
pub const TOTAL: u32 = 1 << TABLE_BITS;
/// Lanes of a block of [`FEW`] places or more; smaller ones have one.
pub const LANES: usize = 8;
/// Fewer places than these are not worth eight states.
const FEW: usize = 4096;
/// Where every state begins to be encoded, and ends when decoded: its smallest value.
const REST: u32 = 1 << 16;

/// Frequencies of 256 symbols, and for each of [`TOTAL`] slots the symbol it belongs to.
#[derive(Clone, Debug)]
pub struct Table {
    frequencies: Box<[u16; 256]>,
    starts: Box<[u16; 256]>,
    /// `symbol | frequency << 8 | (slot - first slot of the symbol) << 20`.
    slots: Box<[u32; TOTAL as usize]>,
}

impl Table {
    /// `None` where the frequencies do not sum to [`TOTAL`].
    pub fn new(frequencies: &[u16; 256]) -> Option<Self> {
        let mut starts = Box::new([0; 256]);
        let mut slots = Box::new([0; TOTAL as usize]);
        let mut at = 0;
        for (symbol, &frequency) in (0u32..).zip(frequencies) {
            {
                starts[symbol as usize] = at as u16;
            }
            let own = slots.get_mut(at..at + usize::from(frequency))?;
            for (n, slot) in (0u32..).zip(own) {
                *slot = symbol | u32::from(frequency) << 8 | n << 20;
            }
            at += usize::from(frequency);
        }
        let table = Self { frequencies: Box::new(*frequencies), starts, slots };
        (at == TOTAL as usize).then_some(table)
    }

    /// Of each symbol.
    pub fn frequencies(&self) -> &[u16; 256] {
        &self.frequencies
    }
}

/// Appends the code of `symbols`, each coded by the table whose number stands beside it. Unless it is to be there `always`, it
/// has no bytes where all symbols are certain (of frequency [`TOTAL`]).
///
/// # Panics
/// If there is no such table, or in debug builds if a symbol's frequency in it is 0.
pub fn encode(tables: &[Table], contexts: &[u8], symbols: &[u8], always: bool, out: &mut Vec<u8>) {
    if symbols.len() < FEW {
        encode_lanes::<1>(tables, contexts, symbols, always, out);
    } else {
        encode_lanes::<LANES>(tables, contexts, symbols, always, out);
    }
}

fn encode_lanes<const LANES: usize>(
    tables: &[Table],
    contexts: &[u8],
    symbols: &[u8],
    always: bool,
    out: &mut Vec<u8>,
) {
    let mut states = [REST; LANES];
    let mut words = Vec::with_capacity(symbols.len() / 2);
    for (i, (&symbol, &context)) in symbols.iter().zip(contexts).enumerate().rev() {
        let table = &tables[usize::from(context)];
        let frequency = u32::from(table.frequencies[usize::from(symbol)]);
        debug_assert!(frequency > 0, "symbol {symbol} in context {context}");
        let x = &mut states[i % LANES];
        if *x >> (32 - TABLE_BITS) >= frequency {
            words.push(*x as u16);
            *x >>= 16;
        }
        *x = ((*x / frequency) << TABLE_BITS) + *x % frequency + u32::from(table.starts[usize::from(symbol)]);
    }
    if !always && words.is_empty() && states == [REST; LANES] {
        return;
    }
    out.extend(states.iter().flat_map(|x| x.to_le_bytes()));
    out.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
}

/// Decodes as many symbols as there are contexts. Returns how many bytes the code has (`None` where it is none: a state out
/// of range, too few words, or states that do not come to rest). `empty` says that it has no bytes at all.
///
/// # Panics
/// If there is no such table.
pub fn decode(
    tables: &[Table],
    contexts: &[u8],
    bytes: &[u8],
    empty: bool,
    symbols: &mut [u8],
) -> Option<usize> {
    if symbols.len() < FEW {
        decode_lanes::<1>(tables, contexts, bytes, empty, symbols)
    } else {
        decode_lanes::<LANES>(tables, contexts, bytes, empty, symbols)
    }
}

fn decode_lanes<const LANES: usize>(
    tables: &[Table],
    contexts: &[u8],
    bytes: &[u8],
    empty: bool,
    symbols: &mut [u8],
) -> Option<usize> {
    let mut states = [REST; LANES];
    let mut at = 0;
    if !empty {
        at = 4 * LANES;
        for (x, bytes) in states.iter_mut().zip(bytes.get(..at)?.as_chunks::<4>().0) {
            *x = u32::from_le_bytes(*bytes);
        }
    }
    if states.iter().any(|x| *x < REST) {
        return None;
    }
    let mut step = |x: &mut u32, context: u8| {
        let slot = tables[usize::from(context)].slots[(*x & (TOTAL - 1)) as usize];
        *x = ((slot >> 8) & 0xFFF) * (*x >> TABLE_BITS) + (slot >> 20);
        if *x < REST {
            // Behind the end there are zeros, which `at` tells of.
            let word = bytes.get(at..at + 2).map_or(0, |word| u16::from_le_bytes([word[0], word[1]]));
            *x = *x << 16 | u32::from(word);
            at += 2;
        }
        slot as u8
    };
    let (whole, rest) = symbols.as_chunks_mut::<LANES>();
    let (whole_contexts, rest_contexts) = contexts.as_chunks::<LANES>();
    for (symbols, contexts) in whole.iter_mut().zip(whole_contexts) {
        for lane in 0..LANES {
            symbols[lane] = step(&mut states[lane], contexts[lane]);
        }
    }
    for ((symbol, context), x) in rest.iter_mut().zip(rest_contexts).zip(&mut states) {
        *symbol = step(x, *context);
    }
    (states == [REST; LANES] && at <= bytes.len()).then_some(at)
}
