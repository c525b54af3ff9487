//! The stage `init`: writes the initial checkpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::blocks::{self, Block};
use super::error::Error;
use super::outputs::check_writer;
use super::progress::Progress;
use super::resolve::{Resolved, Tensor};
use crate::checkpoint::{CheckpointError, CheckpointWriter, Group, Slot, TensorSpec};
use crate::init::Initial;
use crate::sparse::{FileMetadata, Kind};
use crate::tensor::FloatDtype;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The files, an index last.
    pub files: Vec<PathBuf>,
    /// Tensors in them.
    pub tensors: usize,
    /// Bytes of all checkpoint files together.
    pub bytes: u64,
}

enum Source<'a> {
    Initial(Initial<'a>, FloatDtype),
    Copy(&'a [u8]),
}

struct Job<'a> {
    slot: Slot,
    source: Source<'a>,
}

/// Writes the model's tensors with their initial values. Tensors that are no floats, and those of `init: none`, are
/// copied from `model.like`, and left out where only `model.tensors` has them.
///
/// # Errors
/// [`Error::NoSection`] without `init` or `model` in the config; whatever writing meets.
pub fn initialise(resolved: &Resolved<'_>, progress: &dyn Progress) -> Result<Written, Error> {
    let settings = resolved.settings;
    let missing = |key| Error::NoSection { file: settings.source.file().to_owned(), command: "init", key };
    let init = settings.init.as_ref().ok_or_else(|| missing("init"))?;
    settings.model.as_ref().ok_or_else(|| missing("model"))?;

    let mut tensors: Vec<(&String, &Tensor, Source<'_>)> = Vec::new();
    for (name, tensor) in &resolved.model {
        let source = match (resolved.initial(name, tensor), FloatDtype::of(tensor.dtype)) {
            (Some(initial), Some(dtype)) => Some(Source::Initial(initial, dtype)),
            _ => resolved.skeleton_bytes(name).map(Source::Copy),
        };
        tensors.extend(source.map(|source| (name, tensor, source)));
    }
    let groups: Vec<Group> = tensors
        .iter()
        .map(|(name, t, _)| {
            let (name, dtype, shape) = ((*name).clone(), t.dtype, t.shape.clone());
            Group::single(TensorSpec { name, dtype, shape })
        })
        .collect();
    let writer = CheckpointWriter::create(&init.output, &groups, init.max_shard_size, |_| {
        FileMetadata::new(Kind::Initial, settings.seed).into_map(&BTreeMap::new())
    })?;
    check_writer(resolved.inputs(), &writer, "`init.output`")?;

    let mut work: Vec<Block> = Vec::new();
    for (n, (_, tensor, _)) in tensors.iter().enumerate() {
        work.extend(blocks::cut(n, tensor.shape.matrix()));
    }
    let sizes: Vec<usize> = tensors.iter().map(|(_, t, _)| t.dtype.bitsize()).collect();
    let jobs: Vec<Job<'_>> =
        tensors.into_iter().map(|(name, _, source)| Job { slot: writer.slot(name), source }).collect();
    progress.begin("init", groups.iter().map(Group::bytes).sum());
    blocks::for_each(
        &work,
        progress,
        |block| (block.len * sizes[block.tensor] / 8) as u64,
        || (Vec::new(), Vec::new()),
        |(values, bytes), block| {
            write_block(&writer, &jobs[block.tensor], sizes[block.tensor], block, values, bytes)
        },
    )?;
    progress.end();
    let (tensors, bytes) = (groups.len(), writer.bytes());
    Ok(Written { files: writer.commit()?, tensors, bytes })
}

fn write_block(
    writer: &CheckpointWriter,
    job: &Job<'_>,
    bits: usize,
    block: &Block,
    values: &mut Vec<f64>,
    bytes: &mut Vec<u8>,
) -> Result<(), CheckpointError> {
    match &job.source {
        Source::Copy(from) => {
            // Types of less than a byte are never cut inside one: blocks begin at multiples of 16 elements, or are
            // whole rows; a row that fills no whole bytes makes the block's ends round to the same byte.
            let range = block.start * bits / 8..(block.start + block.len) * bits / 8;
            writer.write_at(job.slot, range.start as u64, &from[range])
        }
        Source::Initial(initial, dtype) => {
            values.resize(block.len, 0.0);
            bytes.resize(block.len * dtype.size(), 0);
            initial.fill(block.start, *dtype, values);
            dtype.encode(values, bytes);
            writer.write_at(job.slot, block.bytes(dtype.size()).start as u64, bytes)
        }
    }
}
