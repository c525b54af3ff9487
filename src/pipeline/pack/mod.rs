//! The command `pack`: a whole checkpoint, coded without loss, against initial values where they are known.

mod bytes;
mod code;
mod equal;
mod predict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::Dtype;

use super::copy::{PIECE, copy};
use super::error::Error;
use super::outcome::Written;
use super::outputs::{check_distinct, check_writer};
use super::plan::other_metadata;
use super::progress::Progress;
use super::resolve::refuse_pruned;
use super::spool::Spool;
use super::task::TensorTask;
use crate::checkpoint::{TensorRef, TensorSpec};
use crate::codec::{CODES, Choice, Model};
use crate::sparse::{FileMetadata, Kind, PrunedTensor};
use crate::store::{CheckpointWriter, Group, OutputSet, Slot};
use crate::tensor::Shape;
use code::{Coded, DESCRIBED, code};
use equal::Digests;
pub use predict::PredictFrom;

/// What packing did.
#[derive(Debug)]
pub struct Packed {
    /// The files.
    pub written: Written,
    /// Bytes of the files that were read.
    pub read: u64,
    /// Per tensor, in name order.
    pub tensors: Vec<PackedTensor>,
}

/// What became of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedTensor {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub from: u64,
    /// Those it has now, without the header's.
    pub to: u64,
    /// How it is coded; `None` where it stands as it is, or is the base's.
    choice: Option<Choice>,
    /// Whether it is the base's, byte for byte, and not in the file.
    pub equal: bool,
}

impl PackedTensor {
    fn equal(name: &str, tensor: &TensorRef<'_>) -> Self {
        Self { name: name.to_owned(), from: tensor.bytes().len() as u64, to: 0, choice: None, equal: true }
    }

    /// Whether its values are stored as differences to a prediction; `None` where they are not coded.
    pub fn predicted(&self) -> Option<bool> {
        self.choice.map(|choice| choice.model.is_difference())
    }
}

/// What a coded tensor takes besides its code, roughly: one that does not win as much stays as it is. The
/// header's entry is there in any case.
const DESCRIPTION: u64 = 100;
/// Tensors, and bytes of them, that are worked on together.
const BATCH: (usize, usize) = (64, 256 << 20);

/// Writes a checkpoint that [`super::restore`] gives back to the bit.
///
/// # Errors
/// [`Error::AlreadyPruned`]; [`Error::SameFile`] where an output is an input; whatever
/// reading and writing meet.
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
    let spool = Spool::beside(output)?;
    let bytes_tasks = bytes::tasks(start, checkpoint.tensors().filter(whole));
    let mut coded = code_all(&tasks, &spool, progress)?;
    bytes::code(&bytes_tasks, &spool, &mut coded, progress)?;
    let coding = Coding { coded, spool };
    let group = |(name, tensor): (&str, TensorRef<'_>)| match equal.contains(name) {
        true => Group { name: name.to_owned(), tensors: Vec::new() },
        false => coding.group(name, &tensor),
    };
    let groups: Vec<Group> = checkpoint.tensors().map(group).collect();
    descriptions.append(&mut coding.describe(start, &tasks)?);
    for task in &bytes_tasks {
        let found = coding.coded.get(task.name);
        descriptions.extend(found.map(|found| (task.name, task.described(&found.choice))));
    }
    let others = other_metadata(checkpoint);
    let digests = Digests::new(start.base(), descriptions.values());
    let metadata = |groups: &[Group]| {
        let described = groups.iter().filter_map(|group| descriptions.get(group.name.as_str()).cloned());
        let tensors: Vec<PrunedTensor> = described.collect();
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
            false => coding.write(name, &tensor, &writer, progress)?,
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

/// Codes tensors into the spool, some at a time; gives those that win by it, by name.
fn code_all<'a>(
    tasks: &[TensorTask<'a>],
    spool: &Spool,
    progress: &dyn Progress,
) -> Result<BTreeMap<&'a str, Coded>, Error> {
    let mut coded = BTreeMap::new();
    let mut end = 0;
    let mut rest = tasks;
    progress.begin("pack", 3 * tasks.iter().map(|task| task.trained.bytes().len() as u64).sum::<u64>());
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |task: &&TensorTask<'_>| {
            bytes += task.trained.bytes().len();
            bytes <= BATCH.1
        };
        let (now, later) = rest.split_at(rest.iter().take(BATCH.0).take_while(fits).count().max(1));
        for (task, found) in now.iter().zip(code(now, spool, &mut end, progress)?) {
            let predicted = if found.choice.model == Model::Difference { DESCRIBED as u64 / 8 } else { 0 };
            if found.bytes() + DESCRIPTION + predicted < task.trained.bytes().len() as u64 {
                coded.insert(task.name, found);
            }
        }
        rest = later;
    }
    progress.end();
    Ok(coded)
}

/// A checkpoint of which some tensors have been coded.
struct Coding<'a> {
    coded: BTreeMap<&'a str, Coded>,
    spool: Spool,
}

impl Coding<'_> {
    /// What stands in the file for a tensor.
    fn group(&self, name: &str, tensor: &TensorRef<'_>) -> Group {
        let spec = match self.coded.get(name) {
            Some(found) => {
                let shape = Shape::new(vec![found.bytes() as usize]).expect("as many bytes as there are");
                TensorSpec { name: format!("{name}{CODES}"), dtype: Dtype::U8, shape }
            }
            None => TensorSpec { name: name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() },
        };
        Group { name: name.to_owned(), tensors: vec![spec] }
    }

    /// All that restoring needs to know, by tensor.
    fn describe<'t>(
        &self,
        start: &PredictFrom<'_>,
        tasks: &[TensorTask<'t>],
    ) -> Result<BTreeMap<&'t str, PrunedTensor>, Error> {
        let coded = tasks.iter().filter_map(|task| Some((task, self.coded.get(task.name)?)));
        coded.map(|(task, found)| Ok((task.name, start.described(task, &found.choice)?))).collect()
    }

    /// Writes what stands for a tensor.
    fn write(
        &self,
        name: &str,
        tensor: &TensorRef<'_>,
        writer: &CheckpointWriter,
        progress: &dyn Progress,
    ) -> Result<PackedTensor, Error> {
        let from = tensor.bytes().len() as u64;
        let (to, choice) = match self.coded.get(name) {
            None => {
                copy([(writer.slot(name), tensor.data)].into_iter(), writer, progress)?;
                (from, None)
            }
            Some(found) => {
                self.write_code(found, writer.slot(&format!("{name}{CODES}")), writer, progress)?;
                (found.bytes(), Some(found.choice))
            }
        };
        Ok(PackedTensor { name: name.to_owned(), from, to, choice, equal: false })
    }

    fn write_code(
        &self,
        found: &Coded,
        slot: Slot,
        writer: &CheckpointWriter,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        writer.write_at(slot, 0, &found.head)?;
        let mut at = found.blocks.start;
        let mut piece = Vec::new();
        while at < found.blocks.end {
            piece.resize((found.blocks.end - at).min(PIECE as u64) as usize, 0);
            self.spool.read(at, &mut piece)?;
            writer.write_at(slot, found.head.len() as u64 + at - found.blocks.start, &piece)?;
            at += piece.len() as u64;
            progress.advance(piece.len() as u64);
        }
        Ok(())
    }
}
