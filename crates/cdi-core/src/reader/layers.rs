//! Decodes the codes of several deltas, one over the other.

use super::stored::CodedLayer;
use crate::blocks::Block;
use crate::codec::{BlockDecoder, BlockValues, CodeError};
use crate::init::encoder::Encoder;
use crate::prelude::*;
use crate::tensor::FloatDtype;

/// Decodes layers, with the buffers of one thread.
#[derive(Debug, Default)]
pub struct LayerDecoder {
    encoder: Encoder,
    /// One for each layer: it keeps the tables of its code.
    decoders: Vec<BlockDecoder>,
    before: Vec<u8>,
}

impl LayerDecoder {
    /// Decodes a block of each layer over the values in `out`, in order. `float` is the type of the tensor,
    /// if it is a floating-point one, and `code` its whole code.
    ///
    /// # Errors
    /// [`CodeError::Block`].
    pub fn decode(
        &mut self,
        layers: &[CodedLayer],
        code: &[u8],
        float: Option<FloatDtype>,
        block: (usize, &Block),
        out: &mut [u8],
    ) -> Result<(), CodeError> {
        if self.decoders.len() < layers.len() {
            self.decoders.resize_with(layers.len(), BlockDecoder::default);
        }
        for (CodedLayer { head, place, prediction }, decoder) in layers.iter().zip(&mut self.decoders) {
            self.before.clear();
            self.before.extend_from_slice(out);
            let prediction = match float {
                Some(dtype) => self.encoder.encode_values(&self.before, dtype, dtype, *prediction),
                None => &mut self.before,
            };
            let values = BlockValues { prediction, ..BlockValues::default() };
            decoder.decode(head, &code[place.clone()], block, values, out)?;
        }
        Ok(())
    }
}
