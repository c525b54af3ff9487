//! Elements coded byte by byte, with each byte as a symbol: for types that are not floating point, and for
//! floats with few distinct values. The symbols of a block are the lowest bytes of all its elements, then the
//! second-lowest bytes, and so on.

use super::elements::widen;
use super::symbol::Form;
use crate::prelude::*;

/// Difference in level between one byte of an element and the next.
const APART: i32 = 16;

/// Calls one of the two functions below with the element size as a constant.
macro_rules! by_size {
    ($form:expr, $function:ident($($argument:expr),*)) => {
        match $form.bits {
            8 => $function::<1>($($argument),*),
            16 => $function::<2>($($argument),*),
            32 => $function::<4>($($argument),*),
            _ => $function::<8>($($argument),*),
        }
    };
}

/// Writes the bytes of the elements to `symbols`. If there are predictions, writes the bytes of the folded
/// differences from them instead.
#[inline(always)]
pub fn split(form: Form, values: &[u8], prediction: &[u8], symbols: &mut Vec<u8>) {
    symbols.resize(values.len(), 0);
    by_size!(form, split_sized(form, values, prediction, symbols));
}

#[inline(always)]
fn split_sized<const SIZE: usize>(form: Form, values: &[u8], prediction: &[u8], symbols: &mut [u8]) {
    let values = values.as_chunks::<SIZE>().0;
    let prediction = prediction.as_chunks::<SIZE>().0;
    for (byte, symbols) in symbols.chunks_mut(values.len().max(1)).enumerate() {
        if prediction.is_empty() {
            for (symbol, value) in symbols.iter_mut().zip(values) {
                *symbol = value[byte];
            }
            continue;
        }
        for (symbol, (value, prediction)) in symbols.iter_mut().zip(values.iter().zip(prediction)) {
            *symbol = (form.fold(widen(value).wrapping_sub(widen(prediction))) >> (8 * byte)) as u8;
        }
    }
}

/// Restores elements from their symbols and, if these are of differences, from the predictions.
#[inline(always)]
pub fn join(form: Form, symbols: &[u8], prediction: Option<&[u8]>, out: &mut [u8]) {
    by_size!(form, join_sized(symbols, prediction, out));
}

#[inline(always)]
fn join_sized<const SIZE: usize>(symbols: &[u8], prediction: Option<&[u8]>, out: &mut [u8]) {
    let out = out.as_chunks_mut::<SIZE>().0;
    for (byte, symbols) in symbols.chunks(out.len().max(1)).enumerate() {
        for (out, symbol) in out.iter_mut().zip(symbols) {
            out[byte] = *symbol;
        }
    }
    if let Some(prediction) = prediction {
        for (out, prediction) in out.iter_mut().zip(prediction.as_chunks::<SIZE>().0) {
            let bits = widen(prediction).wrapping_add(Form::unfold(widen(out)));
            out.copy_from_slice(&bits.to_le_bytes()[..SIZE]);
        }
    }
}

/// Extends the levels of elements to the levels of all their bytes.
#[inline(always)]
pub fn spread(form: Form, levels: &mut Vec<i32>) {
    let len = levels.len();
    for byte in 1..form.size() {
        levels.extend_from_within(..len);
        levels[byte * len..].iter_mut().for_each(|level| *level += APART * byte as i32);
    }
}
