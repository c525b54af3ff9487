//! Tensors to be written.

use safetensors::Dtype;

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

/// Tensors that must share a file: the parts of one encoded tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the tensor that they stand for.
    pub name: String,
    /// The parts.
    pub tensors: Vec<TensorSpec>,
}

impl Group {
    /// A tensor on its own.
    pub fn single(tensor: TensorSpec) -> Self {
        Self { name: tensor.name.clone(), tensors: vec![tensor] }
    }

    /// Bytes of all its parts.
    pub fn bytes(&self) -> u64 {
        total(self.tensors.iter().map(TensorSpec::bytes))
    }
}

/// A sum of sizes that stays at the largest number where it would be larger: no disk has room for that.
pub fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
