//! Whether coding a tensor is worth it, and whether small codes share a header entry. The two depend on each
//! other: a small code is worth more if it needs no entry of its own.

use super::error::Error;
use crate::sparse::{PrunedTensor, SHARED_LIMIT};
use crate::store::{Group, share_codes};

/// What a header needs for a coded tensor, to decide whether coding is worth it. Descriptions are compressed
/// together, so these are averages, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding {
    /// What describing the source of predictions takes.
    pub described: u64,
    /// Whether small codes share a header entry.
    shares: bool,
}

impl Coding {
    /// The description of a coded tensor.
    const DESCRIPTION: u64 = 25;
    /// The entry of a tensor in the header, without its name.
    const ENTRY: u64 = 55;
    /// Predictions from the file's base.
    pub const IN_BASE: u64 = 12;
    /// Predictions from values that are drawn, or whose digest is in the description.
    pub const ELSEWHERE: u64 = 60;

    /// For a checkpoint of `total` bytes before coding, in files of at most `max` bytes.
    pub fn new(described: u64, total: u64, max: Option<u64>) -> Self {
        Self { described, shares: max.is_none_or(|max| total <= max) }
    }

    /// Whether small codes are taken to share a header entry.
    pub fn shares(self) -> bool {
        self.shares
    }

    /// How tensors are stored, as `decide` finds with these sizes, in files of at most `max` bytes. If no
    /// codes share a header entry then, because there is only one small code or the name is taken, it finds
    /// that again with an entry for each.
    pub fn decide<T>(
        self,
        max: Option<u64>,
        mut decide: impl FnMut(Self) -> Result<(T, Vec<Group>), Error>,
    ) -> Result<(T, Vec<Group>), Error> {
        let (found, mut groups) = decide(self)?;
        share_codes(&mut groups, max);
        let would_share = self.shares && groups.iter().any(Group::is_small_code);
        if would_share && !groups.iter().any(|group| group.shared) {
            return decide(Self { shares: false, ..self });
        }
        Ok((found, groups))
    }

    /// Whether coding a kept tensor of `dense` bytes makes the file smaller.
    pub fn is_worth_it(self, code: u64, prediction: Option<f64>, dense: u64) -> bool {
        let entry = if self.shares && code < SHARED_LIMIT { Self::ENTRY } else { 0 };
        code + self.describing(prediction) < dense + entry
    }

    /// Bytes of the description of a coded tensor with this prediction.
    pub fn describing(self, prediction: Option<f64>) -> u64 {
        Self::DESCRIPTION + prediction.map_or(0, |_| self.described)
    }
}

/// The descriptions of the tensors in a file, each made when it is needed; `of` gives that of the tensor with
/// a name, if it has one.
pub(super) fn descriptions(
    groups: &[Group],
    of: impl Fn(&str) -> Option<PrunedTensor>,
) -> impl Iterator<Item = PrunedTensor> {
    groups.iter().filter_map(move |group| {
        let code = group.shared.then(|| group.bytes());
        Some(PrunedTensor { code, ..of(&group.name)? })
    })
}
