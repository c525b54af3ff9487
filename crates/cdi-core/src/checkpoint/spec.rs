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
    /// Bytes of its data, rounded down to whole bytes.
    pub fn bytes(&self) -> u64 {
        // Elements times 8 bytes do not overflow, but elements times bits might: whole groups of 8
        // elements are counted first.
        let (elements, bits) = (self.shape.elements() as u64, self.dtype.bitsize() as u64);
        elements / 8 * bits + elements % 8 * bits / 8
    }
}
