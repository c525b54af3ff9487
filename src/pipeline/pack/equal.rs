//! Tensors that are identical to the base's, and the digests that identify the base.

use std::collections::BTreeMap;

use super::PredictFrom;
use crate::checkpoint::{Checkpoint, Mapped, TensorRef};
use crate::digest;
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::copy::PIECE;
use crate::pipeline::error::Error;
use crate::pipeline::plan::file_name;
use crate::pipeline::progress::Progress;
use crate::sparse::{Base, Format, InBase, InitialValues, PrunedTensor, base_digest};

/// The descriptions of those of the tensors that are identical to the base's tensor of the same
/// name, type and shape.
pub(super) fn equal<'a>(
    start: &PredictFrom<'a>,
    tensors: impl Iterator<Item = (&'a str, TensorRef<'a>)>,
    progress: &dyn Progress,
) -> Result<BTreeMap<&'a str, PrunedTensor>, Error> {
    let Some(base) = start.base() else { return Ok(BTreeMap::new()) };
    let alike = |(name, tensor): (&'a str, TensorRef<'a>)| {
        let of = base.tensor(name)?;
        // A description is smaller than any tensor with its header entry.
        (tensor.shape.elements() > 0 && of.dtype == tensor.dtype && of.shape == tensor.shape)
            .then_some((name, tensor, of.data))
    };
    let alike: Vec<(&str, TensorRef<'_>, Mapped<'_>)> = tensors.filter_map(alike).collect();
    let pieces = |(n, (_, tensor, base)): (usize, &(&str, TensorRef<'a>, Mapped<'a>))| {
        tensor.data.chunks(PIECE).zip(base.chunks(PIECE)).map(move |(piece, base)| (n, piece, base))
    };
    let pieces: Vec<_> = alike.iter().enumerate().flat_map(pieces).collect();
    progress.begin("compare", alike.iter().map(|(_, tensor, _)| tensor.data.len() as u64).sum());
    let differ = blocks::for_each(
        &pieces,
        progress,
        |(_, piece, base)| Reads { mapped: [Some(*piece), Some(*base), None, None], ..Reads::of(*piece) },
        || (),
        |(), (n, piece, base)| Ok::<_, Error>((piece.bytes() != base.bytes()).then_some(*n)),
    )?;
    progress.end();
    let mut differ: Vec<usize> = differ.into_iter().flatten().collect();
    differ.dedup();
    let is_equal = |n: &usize| differ.binary_search(n).is_err();
    let found = alike.iter().enumerate().filter(|(n, _)| is_equal(n));
    Ok(found.map(|(_, (name, tensor, _))| (*name, described(name, tensor))).collect())
}

fn described(name: &str, tensor: &TensorRef<'_>) -> PrunedTensor {
    PrunedTensor::new(name, tensor.dtype, tensor.shape, Format::Base)
}

/// The digests of the base's tensors that descriptions refer to.
pub(super) struct Digests<'a> {
    base: Option<&'a Checkpoint>,
    of: BTreeMap<String, String>,
}

impl<'a> Digests<'a> {
    pub fn new<'d>(base: Option<&'a Checkpoint>, all: impl Iterator<Item = &'d PrunedTensor>) -> Self {
        let digest = |tensor: &PrunedTensor| {
            let data = base?.tensor(&tensor.name)?.data;
            Some((tensor.name.clone(), digest::of_mapped(data)))
        };
        Self { base, of: all.filter(|tensor| needs_base(tensor)).filter_map(digest).collect() }
    }

    /// The base of a file with these tensors; `None` if they do not refer to it.
    pub fn of_file(&self, tensors: &[PrunedTensor]) -> Option<Base> {
        let mut digests = tensors.iter().filter_map(|tensor| self.of.get(&tensor.name)).peekable();
        digests.peek()?;
        let from = file_name(self.base?.path());
        Some(Base { from, sha256: base_digest(digests.map(String::as_str)) })
    }
}

fn needs_base(tensor: &PrunedTensor) -> bool {
    tensor.format == Format::Base || tensor.init == InitialValues::InBase(InBase::Base)
}
