//! Tensors to be written.

use safetensors::Dtype;

use crate::prelude::*;
use crate::tensor::Shape;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Shape,
}

impl TensorSpec {
    /// Bytes of its data; the last one may be of a part of a byte.
    pub fn bytes(&self) -> u64 {
        // Times 8 bytes the elements do not overflow, times 64 bits they may.
        let (elements, bits) = (self.shape.elements() as u64, self.dtype.bitsize() as u64);
        elements / 8 * bits + elements % 8 * bits / 8
    }
}
