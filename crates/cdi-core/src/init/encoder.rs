//! The initial values of a block as bytes of a stored type.

use super::Initial;
use crate::prelude::*;
use crate::tensor::FloatDtype;

/// Values that are processed together: few enough to stay in the cache from the draw to the encoded byte.
pub const PIECE: usize = 1024;

/// How many values to generate at once.
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
    /// The initial values `start, start + 1, …`, rounded to the stored type. With a decay factor other than
    /// 1, they are multiplied by it and rounded again.
    pub fn encode(
        &mut self,
        initial: &Initial<'_>,
        start: usize,
        len: usize,
        dtype: FloatDtype,
        decay: f64,
    ) -> &mut [u8] {
        let fill = |at: usize, round, values: &mut [f64]| initial.fill(start + at, round, values);
        self.encode_from(piece(initial, len), len, dtype, decay, fill)
    }

    /// The same of values that are stored as `from`.
    pub fn encode_values(
        &mut self,
        bytes: &[u8],
        from: FloatDtype,
        dtype: FloatDtype,
        decay: f64,
    ) -> &mut [u8] {
        let size = from.size();
        self.encode_from(PIECE, bytes.len() / size, dtype, decay, |at, round, values| {
            from.decode(&bytes[at * size..(at + values.len()) * size], values);
            if let Some(dtype) = round {
                dtype.round_slice(values);
            }
        })
    }

    /// Values that `fill` provides: from which one on, and the type that they must be rounded to.
    fn encode_from(
        &mut self,
        piece: usize,
        len: usize,
        dtype: FloatDtype,
        decay: f64,
        fill: impl Fn(usize, Option<FloatDtype>, &mut [f64]),
    ) -> &mut [u8] {
        self.values.resize(piece, 0.0);
        self.bytes.resize(len * dtype.size(), 0);
        for (n, bytes) in self.bytes.chunks_mut(piece * dtype.size()).enumerate() {
            let values = &mut self.values[..bytes.len() / dtype.size()];
            // Encoding rounds to the type; only a decay factor needs rounding before that.
            fill(n * piece, (decay != 1.0).then_some(dtype), values);
            if decay != 1.0 {
                for value in &mut *values {
                    *value *= decay;
                }
            }
            dtype.encode(values, bytes);
        }
        &mut self.bytes
    }

    /// This many zero bytes.
    pub fn zeros(&mut self, len: usize) -> &mut [u8] {
        self.bytes.clear();
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}
