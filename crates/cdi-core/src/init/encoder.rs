//! Initial values as the bytes of a stored type, for a whole block.

use super::Initial;
use crate::prelude::*;
use crate::tensor::FloatDtype;

/// Values that are worked on at once: they stay in the fastest memory from the draw to the encoded byte.
pub const PIECE: usize = 1024;

/// How many values to regenerate at once.
pub fn piece(initial: &Initial<'_>, len: usize) -> usize {
    match initial {
        Initial::Generated { generator, .. } if generator.prefers_long_runs() => len.max(1),
        _ => PIECE,
    }
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub struct Encoder {
    values: Vec<f64>,
    bytes: Vec<u8>,
}

impl Encoder {
    /// The initial values `start, start + 1, …` rounded to the stored type; where there is a decay factor,
    /// times it and rounded again.
    pub fn encode(
        &mut self,
        initial: &Initial<'_>,
        start: usize,
        len: usize,
        dtype: FloatDtype,
        decay: f64,
    ) -> &mut [u8] {
        let piece = piece(initial, len);
        self.values.resize(piece, 0.0);
        self.bytes.resize(len * dtype.size(), 0);
        for (n, bytes) in self.bytes.chunks_mut(piece * dtype.size()).enumerate() {
            let values = &mut self.values[..bytes.len() / dtype.size()];
            // Encoding rounds to the type, so without a decay factor there is no need to do so before it.
            initial.fill(start + n * piece, (decay != 1.0).then_some(dtype), values);
            if decay != 1.0 {
                for value in &mut *values {
                    *value *= decay;
                }
            }
            dtype.encode(values, bytes);
        }
        &mut self.bytes
    }

    /// So many zero bytes.
    pub fn zeros(&mut self, len: usize) -> &mut [u8] {
        self.bytes.clear();
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}
