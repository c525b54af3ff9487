//! Tensors that are written together.

use crate::checkpoint::TensorSpec;
use crate::codec::CODES;
use crate::sparse::SHARED_LIMIT;

/// Tensors that must share a file: the parts of one encoded tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the tensor that the parts encode.
    pub name: String,
    /// The parts.
    pub tensors: Vec<TensorSpec>,
    /// Whether its only part, a code, is not a tensor of its own, but lies in the one for the codes of such
    /// groups. `share_codes` decides that.
    pub(crate) shared: bool,
}

impl Group {
    /// The parts of a tensor.
    pub fn new(name: &str, tensors: Vec<TensorSpec>) -> Self {
        Self { name: name.to_owned(), tensors, shared: false }
    }

    /// A tensor on its own.
    pub fn single(tensor: TensorSpec) -> Self {
        Self { name: tensor.name.clone(), tensors: vec![tensor], shared: false }
    }

    /// Total size of the parts in bytes.
    pub fn bytes(&self) -> u64 {
        total(self.tensors.iter().map(TensorSpec::bytes))
    }

    /// Whether this is a code that can share a tensor with others.
    pub(crate) fn is_small_code(&self) -> bool {
        let [part] = &self.tensors[..] else { return false };
        part.name.strip_suffix(CODES) == Some(&self.name) && part.bytes() < SHARED_LIMIT
    }
}

/// A sum of sizes in bytes, which saturates at `u64::MAX`; no disk has room for that.
pub fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
