//! The command `pack`: codes a whole checkpoint without loss, predicted from initial
//! values if those are known.

mod bytes;
mod code;
mod coded;
mod equal;
mod predict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::copy::copy;
use super::error::Error;
use super::outcome::Written;
use super::outputs::{check_distinct, check_writer};
use super::plan::{Coding, other_metadata};
use super::progress::Progress;
use super::resolve::refuse_pruned;
use super::spool::Spool;
use super::task::TensorTask;
use crate::checkpoint::{Checkpoint, TensorRef, TensorSpec};
use crate::codec::{CODES, Choice};
use crate::sparse::{FileMetadata, Kind, PrunedTensor, SHARED_LIMIT};
use crate::store::{CheckpointWriter, Group, OutputSet, share_codes};
use code::Coded;
pub(super) use code::{Pruning, ToCode, choices, code_all};
pub(super) use coded::CodedTensors;
use equal::Digests;
pub use predict::PredictFrom;

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
        Self { name: name.to_owned(), from: tensor.bytes().len() as u64, to: 0, choice: None, equal: true }
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
    let checkpoint = start.checkpoint()?;
    refuse_pruned(checkpoint)?;
    start.base().map_or(Ok(()), refuse_pruned)?;
    let inputs = start.inputs()?;
    let paths = || inputs.iter().map(|(role, path)| (role.as_str(), *path));
    check_distinct(paths(), [("the output", output)])?;
    let mut set = OutputSet::open(output, paths().map(|(_, path)| path))?;
    let mut descriptions = equal::equal(start, checkpoint.tensors(), progress)?;
    let equal: BTreeSet<&str> = descriptions.keys().copied().collect();
    let whole = |(name, _): &(&str, _)| {
        !equal.contains(name) && checkpoint.tensor(&format!("{name}{CODES}")).is_none()
    };
    let tasks = start.tasks(checkpoint.tensors().filter(whole));
    let bytes_tasks = bytes::tasks(start, checkpoint.tensors().filter(whole));
    let total = checkpoint.tensors().map(|(_, tensor)| tensor.bytes().len() as u64).sum();
    let coding = Coding::new(start.described_bytes(), total, max_shard_size);
    let coded = code(&tasks, &bytes_tasks, (checkpoint, coding), output, progress)?;
    let group = |(name, tensor): (&str, TensorRef<'_>)| match equal.contains(name) {
        true => Group::new(name, Vec::new()),
        false => group(&coded, name, &tensor),
    };
    let mut groups: Vec<Group> = checkpoint.tensors().map(group).collect();
    share_codes(&mut groups, max_shard_size);
    descriptions.append(&mut describe(&coded, start, &tasks)?);
    for task in &bytes_tasks {
        let found = coded.get(task.name);
        descriptions.extend(found.map(|found| (task.name, task.described(&found.choice))));
    }
    let others = other_metadata(checkpoint);
    let digests = Digests::new(start.base(), descriptions.values());
    let metadata = |groups: &[Group]| {
        let described = |group: &Group| {
            let code = group.shared.then(|| group.bytes());
            Some(PrunedTensor { code, ..descriptions.get(group.name.as_str())?.clone() })
        };
        let tensors: Vec<PrunedTensor> = groups.iter().filter_map(described).collect();
        let base = digests.of_file(&tensors);
        FileMetadata { tensors, base, ..FileMetadata::new(Kind::Pruned, start.seed()) }.into_map(&others)
    };
    let key = || Ok::<_, Error>(None);
    let writer = CheckpointWriter::resume(&mut set, output, &groups, max_shard_size, metadata, key)?;
    check_writer(paths(), &writer, "the output")?;
    progress.begin("write", groups.iter().map(Group::bytes).sum());
    let mut tensors = Vec::with_capacity(groups.len());
    for (name, tensor) in checkpoint.tensors() {
        tensors.push(match equal.contains(name) {
            true => PackedTensor::equal(name, &tensor),
            false => write(&coded, name, &tensor, &writer, progress)?,
        });
    }
    progress.end();
    let bytes = writer.bytes();
    let files = writer.stage(&mut set)?;
    set.commit()?;
    let written = Written { files, tensors: groups.len(), bytes, beside: Vec::new() };
    let read = checkpoint.files().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    Ok(Packed { written, read, tensors })
}

/// Codes tensors. Returns those that become smaller.
fn code<'a>(
    tasks: &[TensorTask<'a>],
    others: &[bytes::BytesTask<'a>],
    (checkpoint, coding): (&Checkpoint, Coding),
    output: &Path,
    progress: &dyn Progress,
) -> Result<CodedTensors<'a>, Error> {
    let spool = Spool::beside(output)?;
    let all: Vec<ToCode<'_>> = tasks.iter().map(|task| ToCode::whole(task, coding.described)).collect();
    progress.begin("pack", 3 * tasks.iter().map(|task| task.trained.bytes().len() as u64).sum::<u64>());
    let coded = code_all(&all, &spool, progress)?;
    progress.end();
    let mut coded = tasks.iter().map(|task| task.name).zip(coded).collect();
    bytes::code(others, coding, &spool, &mut coded, progress)?;
    let is_worth_it = |coding: Coding, name: &str, found: &Coded| {
        let dense = checkpoint.tensor(name).map_or(0, |tensor| tensor.bytes().len() as u64);
        coding.is_worth_it(found.bytes(), found.prediction(), dense)
    };
    coded.retain(|name, found| is_worth_it(coding, name, found));
    if coded.values().filter(|found| found.bytes() < SHARED_LIMIT).count() == 1 {
        // It has nothing to share a header entry with.
        coded.retain(|name, found| is_worth_it(coding.alone(), name, found));
    }
    Ok(CodedTensors::new(coded, spool))
}

/// What is written to the file for a tensor.
fn group(coded: &CodedTensors<'_>, name: &str, tensor: &TensorRef<'_>) -> Group {
    let whole = || TensorSpec { name: name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() };
    Group::new(name, vec![coded.spec(name).unwrap_or_else(whole)])
}

/// The descriptions of the coded tensors, by name.
fn describe<'t>(
    coded: &CodedTensors<'_>,
    start: &PredictFrom<'_>,
    tasks: &[TensorTask<'t>],
) -> Result<BTreeMap<&'t str, PrunedTensor>, Error> {
    let coded = tasks.iter().filter_map(|task| Some((task, coded.get(task.name)?)));
    coded.map(|(task, found)| Ok((task.name, start.described(task, &found.choice)?))).collect()
}

/// Writes a tensor: its code, or its data if it is not coded.
fn write(
    coded: &CodedTensors<'_>,
    name: &str,
    tensor: &TensorRef<'_>,
    writer: &CheckpointWriter,
    progress: &dyn Progress,
) -> Result<PackedTensor, Error> {
    let from = tensor.bytes().len() as u64;
    let (to, choice) = match coded.write(name, writer, progress)? {
        None => {
            copy([(writer.slot(name), tensor.data)].into_iter(), writer, progress)?;
            (from, None)
        }
        Some(found) => (found.bytes(), Some(found.choice)),
    };
    Ok(PackedTensor { name: name.to_owned(), from, to, choice, equal: false })
}
