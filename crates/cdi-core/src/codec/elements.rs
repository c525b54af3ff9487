//! Loops over the elements of a block.

use super::symbol::Form;
use crate::prelude::*;

/// How many elements are processed by one loop after the other, so that what one leaves to the next stays in
/// the cache.
pub const CHUNK: usize = 256;

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
pub(super) use sized;

/// The bits of an element.
#[inline(always)]
pub fn widen<const SIZE: usize>(value: &[u8; SIZE]) -> u64 {
    let mut bits = [0; 8];
    bits[..SIZE].copy_from_slice(value);
    u64::from_le_bytes(bits)
}

impl Form {
    /// The same form, for loops that are compiled for elements of `SIZE` bytes.
    #[inline(always)]
    pub fn sized<const SIZE: usize>(self) -> Self {
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
    pub fn each(self, bytes: &[u8], mut f: impl FnMut(Self, u64)) {
        sized!(self, SIZE => for value in bytes.as_chunks::<SIZE>().0 {
            f(self.sized::<SIZE>(), widen(value));
        });
    }

    /// Replaces the content of `out` with the results of `f` for the bits of each element.
    #[inline(always)]
    pub fn map<T: Copy + Default>(self, bytes: &[u8], out: &mut Vec<T>, f: impl Fn(Self, u64) -> T) {
        out.resize(8 * bytes.len() / self.bits as usize, T::default());
        sized!(self, SIZE => for (out, value) in out.iter_mut().zip(bytes.as_chunks::<SIZE>().0) {
            *out = f(self.sized::<SIZE>(), widen(value));
        });
    }

    /// Like [`Self::map`], for pairs of elements from two slices of the same length.
    #[inline(always)]
    pub fn map_pairs<T: Copy + Default>(
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
    pub fn lower(self, predictions: &[u8], levels: &mut [i32]) {
        sized!(self, SIZE => {
            for (level, prediction) in levels.iter_mut().zip(predictions.as_chunks::<SIZE>().0) {
                *level -= self.sized::<SIZE>().half_octaves(widen(prediction));
            }
        });
    }
}
