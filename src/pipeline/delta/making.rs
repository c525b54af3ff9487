//! A new checkpoint that is made of a base, by whatever form of delta.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::FormOf;
use crate::checkpoint::{Checkpoint, TensorSpec};
use crate::pipeline::error::Error;
use crate::pipeline::outcome::Written;
use crate::pipeline::progress::Progress;
use crate::store::{CheckpointWriter, Group, Slot};

/// What applying gave.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// The files; none if nothing was written.
    #[serde(flatten)]
    pub written: Written,
    /// Number of tensors that are those of the base, byte for byte.
    pub unchanged: usize,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
    /// The state of the base.
    pub base_state: String,
    /// The state of the new checkpoint.
    pub state: String,
}

/// Where a tensor is written; `None` if it is not.
pub(super) type Place<'w> = dyn Fn(&str) -> Option<(&'w CheckpointWriter<'w>, Slot)> + Sync + 'w;

/// A new checkpoint that is made of a base.
pub(super) trait Making {
    fn base(&self) -> &Checkpoint;

    /// The files of the deltas.
    fn inputs(&self) -> Vec<&Path>;

    /// The tensors of the new checkpoint.
    fn tensors(&self) -> BTreeMap<&str, FormOf<'_>>;

    /// The name in the base of a tensor whose bytes are the base's; `None` if they come from a delta.
    fn in_base<'n>(&'n self, name: &'n str) -> Option<&'n str>;

    /// The name in the base of the tensor that this one comes from, if there is one.
    fn source<'n>(&'n self, name: &'n str) -> &'n str;

    /// The `__metadata__` of the new checkpoint.
    fn metadata(&self) -> BTreeMap<String, String>;

    /// The states of the base and of the new checkpoint.
    fn states(&self) -> [String; 2];

    /// Makes every tensor, writes those that have a place, and checks all digests. Returns the number of
    /// tensors that are those of the base.
    fn make(&self, place: &Place<'_>, progress: &dyn Progress) -> Result<usize, Error>;

    /// Bytes of all tensors.
    fn tensor_bytes(&self) -> u64 {
        let bytes = |(dtype, shape): &FormOf<'_>| shape.bytes(dtype.bitsize()).unwrap_or_default() as u64;
        self.tensors().values().map(bytes).sum()
    }
}

/// What applying gave.
pub(super) fn applied(
    made: &dyn Making,
    unchanged: usize,
    files: Vec<PathBuf>,
    bytes: u64,
    beside: Vec<PathBuf>,
) -> Applied {
    let [base_state, state] = made.states();
    Applied {
        written: Written { files, tensors: made.tensors().len(), bytes, beside },
        unchanged,
        tensor_bytes: made.tensor_bytes(),
        base_state,
        state,
    }
}

/// What is written of these tensors.
pub(super) fn groups<'a>(tensors: impl Iterator<Item = (&'a str, FormOf<'a>)>) -> Vec<Group> {
    let spec = |(name, (dtype, shape)): (&str, FormOf<'_>)| {
        Group::single(TensorSpec { name: name.to_owned(), dtype, shape: shape.clone() })
    };
    tensors.map(spec).collect()
}
