//! The command `pack`: codes a whole checkpoint without loss, predicted from initial
//! values if those are known.

mod bytes;
mod code;
mod coded;
mod equal;
mod floats;
mod predict;
mod prepared;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::codes::Coded;
use super::coding::{Coding, descriptions};
use super::copy::copy;
use super::error::{Error, caught};
use super::outcome::Written;
use super::outputs::{check_distinct, check_writer};
use super::plan::other_metadata;
use super::progress::Progress;
use super::resolve::refuse_pruned;
use super::spool::Spool;
use crate::checkpoint::{Checkpoint, TensorRef, TensorSpec};
use crate::codec::{CODES, Choice, part};
use crate::place;
use crate::sparse::{Delta, FileMetadata, Kind, PrunedTensor};
use crate::store::{CheckpointWriter, Group, OutputSet};
pub(super) use bytes::Bytes;
pub(super) use code::{ToCode, choices, code_all};
pub(super) use coded::CodedTensors;
use equal::Digests;
pub(super) use floats::{Floats, Pruning, Rounding};
pub use predict::PredictFrom;
pub(super) use steps::{Extent, check_calibrations};

/// The result of packing.
#[derive(Debug)]
pub struct Packed {
    /// The files written.
    pub written: Written,
    /// Total size of the input files in bytes.
    pub read: u64,
    /// The tensors in name order.
    pub tensors: Vec<PackedTensor>,
}

/// The result for one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedTensor {
    /// Its name.
    pub name: String,
    /// Its size in bytes before.
    pub from: u64,
    /// Its size in bytes after, without the header.
    pub to: u64,
    /// How it is coded; `None` if it is not coded.
    choice: Option<Choice>,
    /// Whether it is identical to the base's tensor and therefore not in the file.
    pub equal: bool,
}

impl PackedTensor {
    fn equal(name: &str, tensor: &TensorRef<'_>) -> Self {
        Self { name: name.to_owned(), from: tensor.data.len() as u64, to: 0, choice: None, equal: true }
    }

    /// One that is in the file: its code, if it is coded, or its data.
    fn new(name: &str, tensor: &TensorRef<'_>, coded: Option<&Coded>) -> Self {
        let from = tensor.data.len() as u64;
        let (to, choice) = coded.map_or((from, None), |coded| (coded.bytes(), Some(coded.choice)));
        Self { name: name.to_owned(), from, to, choice, equal: false }
    }

    /// Whether its values are stored as differences from a prediction; `None` if they are not coded.
    pub fn predicted(&self) -> Option<bool> {
        self.choice.map(|choice| choice.model.is_difference())
    }
}

/// Writes a packed checkpoint, which [`super::restore`] restores bit for bit.
///
/// # Errors
/// [`Error::AlreadyPruned`] if the checkpoint or base is already pruned or packed; [`Error::SameFile`] if an
/// output is an input; errors of reading and writing.
pub fn pack(
    start: &PredictFrom<'_>,
    output: &Path,
    max_shard_size: Option<u64>,
    progress: &dyn Progress,
) -> Result<Packed, Error> {
    caught(|| pack_over(start, output, max_shard_size, None, progress))
}

/// The same, as a delta if one is described.
pub(super) fn pack_over(
    start: &PredictFrom<'_>,
    output: &Path,
    max_shard_size: Option<u64>,
    delta: Option<Delta>,
    progress: &dyn Progress,
) -> Result<Packed, Error> {
    let checkpoint = start.checkpoint()?;
    refuse_pruned(checkpoint)?;
    start.base().map_or(Ok(()), refuse_pruned)?;
    let inputs = start.inputs()?;
    let paths = || inputs.iter().map(|(role, path)| (role.as_str(), *path));
    check_distinct(paths(), [("the output", output)])?;
    let mut set = OutputSet::open(output, paths().map(|(_, path)| path))?;
    let mut described = equal::equal(start, checkpoint.tensors(), progress)?;
    let equal: BTreeSet<&str> = described.keys().copied().collect();
    let whole = |(name, _): &(&str, _)| {
        !equal.contains(name) && checkpoint.tensor(&format!("{name}{CODES}")).is_none()
    };
    let tasks = start.tasks(checkpoint.tensors().filter(whole));
    let total = checkpoint.tensors().map(|(_, tensor)| tensor.data.len() as u64).sum();
    let coding = Coding::new(start.described_bytes(), total, max_shard_size);
    let floats = tasks.iter().map(|task| ToCode::whole(task, coding.described));
    let all: Vec<ToCode<'_>> = floats.chain(start.others(checkpoint.tensors().filter(whole))).collect();
    let mut coded = code(&all, output, progress)?;
    let (names, groups) =
        coding.decide(max_shard_size, |coding| Ok(groups(checkpoint, &equal, &coded, coding)))?;
    coded.retain(&names);
    described.append(&mut describe(&coded, start, &all)?);
    let others = other_metadata(checkpoint);
    // The base of a delta has a digest already.
    let digests = Digests::new(start.base().filter(|_| delta.is_none()), described.values());
    let metadata = |groups: &[Group]| {
        let tensors: Vec<PrunedTensor> = descriptions(groups, |name| described.get(name).cloned()).collect();
        let description = match delta.clone() {
            None => {
                let base = digests.of_file(&tensors);
                FileMetadata { base, ..FileMetadata::new(Kind::Pruned, start.seed()) }
            }
            delta => FileMetadata { delta, ..FileMetadata::new(Kind::Delta, start.seed()) },
        };
        FileMetadata { tensors, ..description }.into_map(&others)
    };
    let key = || Ok::<_, Error>(None);
    let writer = CheckpointWriter::resume(&mut set, output, &groups, max_shard_size, metadata, key)?;
    check_writer(paths(), &writer, "the output")?;
    progress.begin("write", groups.iter().map(Group::bytes).sum());
    let others = || checkpoint.tensors().filter(|(name, _)| !equal.contains(name));
    coded.write(others().map(|(name, _)| name), &writer, progress)?;
    let dense = others().filter(|(name, _)| coded.get(name).is_none());
    copy(dense.map(|(name, tensor)| (writer.slot(name), tensor.data)), &writer, progress)?;
    progress.end();
    let packed = |(name, tensor): (_, TensorRef<'_>)| match equal.contains(name) {
        true => PackedTensor::equal(name, &tensor),
        false => PackedTensor::new(name, &tensor, coded.get(name)),
    };
    let tensors = checkpoint.tensors().map(packed).collect();
    let bytes = writer.bytes();
    let files = writer.stage(&mut set)?;
    set.commit()?;
    let written = Written { files, tensors: groups.len(), bytes, beside: Vec::new() };
    let read = checkpoint.files().filter_map(|file| place::size(file).ok()).sum();
    Ok(Packed { written, read, tensors })
}

/// Codes tensors.
fn code<'a>(all: &[ToCode<'a>], output: &Path, progress: &dyn Progress) -> Result<CodedTensors<'a>, Error> {
    let spool = Spool::beside(output)?;
    let (coded, _) = code_all("pack", all, (&spool, 0), progress)?;
    Ok(CodedTensors::new(all.iter().map(ToCode::name).zip(coded).collect(), Some(Arc::new(spool))))
}

/// What is written to the file for each tensor, and the names of the tensors for which that is a code: those
/// that become smaller by it.
fn groups<'a>(
    checkpoint: &'a Checkpoint,
    equal: &BTreeSet<&str>,
    coded: &CodedTensors<'_>,
    coding: Coding,
) -> (BTreeSet<&'a str>, Vec<Group>) {
    let mut names = BTreeSet::new();
    let group = |(name, tensor): (&'a str, TensorRef<'_>)| {
        if equal.contains(name) {
            return Group::new(name, Vec::new());
        }
        let dense = tensor.data.len() as u64;
        match coded.get(name) {
            Some(found) if coding.is_worth_it(found.bytes(), found.prediction(), dense) => {
                names.insert(name);
                Group::new(name, vec![part(name, found.bytes() as usize)])
            }
            _ => {
                let (name, shape) = (name.to_owned(), tensor.shape.clone());
                Group::single(TensorSpec { name, dtype: tensor.dtype, shape })
            }
        }
    };
    let groups = checkpoint.tensors().map(group).collect();
    (names, groups)
}

/// The descriptions of the coded tensors, by name.
fn describe<'t>(
    coded: &CodedTensors<'_>,
    start: &PredictFrom<'_>,
    all: &[ToCode<'t>],
) -> Result<BTreeMap<&'t str, PrunedTensor>, Error> {
    let coded = all.iter().filter_map(|tensor| Some((tensor, coded.get(tensor.name())?)));
    coded.map(|(tensor, found)| Ok((tensor.name(), start.described(tensor, &found.choice)?))).collect()
}
