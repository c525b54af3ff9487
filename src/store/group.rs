//! Tensors that are written together.

use crate::checkpoint::TensorSpec;

/// Tensors that must share a file: the parts of one encoded tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the tensor that the parts encode.
    pub name: String,
    /// The parts.
    pub tensors: Vec<TensorSpec>,
}

impl Group {
    /// A tensor on its own.
    pub fn single(tensor: TensorSpec) -> Self {
        Self { name: tensor.name.clone(), tensors: vec![tensor] }
    }

    /// Total size of the parts in bytes.
    pub fn bytes(&self) -> u64 {
        total(self.tensors.iter().map(TensorSpec::bytes))
    }
}

/// A sum of sizes in bytes, which saturates at `u64::MAX`; no disk has room for that.
pub fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
