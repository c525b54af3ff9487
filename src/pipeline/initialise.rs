//! The stage `init`: writes the initial checkpoint.

use std::collections::BTreeMap;

use super::blocks::{self, Block, Reads};
use super::error::Error;
use super::inputs::InputKind;
use super::manifest::key;
use super::origin::Tensor;
use super::outcome::Written;
use super::outputs::{RunOutputs, check_writer};
use super::progress::Progress;
use super::resolve::Resolved;
use super::team::{Team, names};
use crate::checkpoint::{CheckpointError, Mapped, TensorSpec};
use crate::config::OutputKind;
use crate::digest;
use crate::encoder::Encoder;
use crate::init::Initial;
use crate::sparse::{FileMetadata, Kind};
use crate::store::{CheckpointWriter, Failed, Gathered, Group, PartWritten, Slot};
use crate::tensor::FloatDtype;

/// A tensor of the model, and its position in the output.
struct InitTask<'a> {
    slot: Slot,
    /// Bits per element.
    bits: usize,
    source: &'a Source<'a>,
}

enum Source<'a> {
    Initial { values: Initial<'a>, dtype: FloatDtype },
    Copy(Mapped<'a>),
}

impl InitTask<'_> {
    /// Bytes of a block. Types smaller than a byte are never divided within a byte: blocks begin at
    /// multiples of 16 elements, or are whole rows; if rows are not whole bytes, neighbouring blocks
    /// round to the same byte.
    fn bytes(&self, block: &Block) -> std::ops::Range<usize> {
        // Elements times 8 bytes do not overflow, but elements times 64 bits might.
        let bytes = |elements: usize| elements / 8 * self.bits + elements % 8 * self.bits / 8;
        bytes(block.start)..bytes(block.start + block.len)
    }

    fn reads(&self, block: &Block) -> Reads<'_> {
        let written = Reads { bytes: self.bytes(block).len() as u64, ..Reads::default() };
        match self.source {
            Source::Copy(from) => Reads::of(from.part(self.bytes(block))),
            Source::Initial { values, .. } => written.and_initial(values, block),
        }
    }
}

/// Adds the tensors of the model, with their initial values, to the outputs. Tensors of other types, and
/// those with `init: none`, are copied from `model.like`, and omitted if only `model.tensors` has them.
///
/// # Errors
/// [`Error::NoSection`] without `init` or `model` in the config; errors when writing.
pub fn initialise(
    resolved: &Resolved<'_>,
    (set, team): (&mut RunOutputs, &Team),
    progress: &dyn Progress,
) -> Result<Written, Error> {
    let settings = resolved.settings;
    let missing = |key| Error::NoSection { file: settings.source.file().to_owned(), command: "init", key };
    let init = settings.init.as_ref().ok_or_else(|| missing("init"))?;
    settings.model.as_ref().ok_or_else(|| missing("model"))?;

    let tensors = sources(resolved);
    let spec = |(name, t, _): &(&String, &Tensor, Source<'_>)| {
        let (name, dtype, shape) = ((*name).clone(), t.dtype, t.shape.clone());
        Group::single(TensorSpec { name, dtype, shape })
    };
    let groups: Vec<Group> = tensors.iter().map(spec).collect();
    // The origin of each tensor.
    let origins = || {
        let origin =
            |(name, tensor, _): &(&String, &Tensor, Source<'_>)| format!("{name} {:?}\n", tensor.origin);
        digest::of_pieces(tensors.iter().map(origin))
    };
    let metadata = |_: &[Group]| FileMetadata::new(Kind::Initial, settings.seed).into_map(&BTreeMap::new());
    let begin = |set: &mut RunOutputs| {
        // The initial checkpoint does not depend on the trained one.
        let inputs = |kind| matches!(kind, InputKind::Like | InputKind::Base);
        let decisions = || match team.is_alone() {
            true => key(resolved, inputs, &origins()).map(Some),
            false => Ok(None),
        };
        let writer = set.add(OutputKind::Initial, |set| {
            CheckpointWriter::resume(set, &init.output, &groups, init.max_shard_size, metadata, decisions)
        })?;
        check_writer(resolved.inputs(), &writer, "`init.output`")?;
        Ok::<_, Error>(writer)
    };
    let mut own_writer = None;
    let done = team.step(names::INIT, || {
        let writer = begin(set)?;
        write(&tensors, (&writer, team), progress)?;
        let files = team.keep_files(names::INIT, &writer, &groups)?;
        own_writer = Some(writer);
        Ok(files)
    })?;
    let writer = match own_writer {
        Some(writer) => Some(writer),
        None => {
            let files: Vec<&[PartWritten]> = done.iter().map(Vec::as_slice).collect();
            team.assemble(names::INIT, set, &groups, &files, begin)?
        }
    };
    let Some(writer) = writer else { return Ok(Written::default()) };
    let (tensors, bytes) = (groups.len(), writer.bytes());
    let files = set.add(OutputKind::Initial, |set| writer.stage(set))?;
    Ok(Written { files, tensors, bytes, beside: Vec::new() })
}

/// Writes those of the tensors that this process owns.
fn write(
    tensors: &[(&String, &Tensor, Source<'_>)],
    (writer, team): (&CheckpointWriter<'_>, &Team),
    progress: &dyn Progress,
) -> Result<(), Error> {
    // File by file, so that the run after a killed one can reuse finished files.
    let mut work: Vec<Vec<Block>> = vec![Vec::new(); writer.files()];
    let mut bytes = 0;
    let mut tasks = Vec::with_capacity(tensors.len());
    for (n, (name, tensor, source)) in tensors.iter().enumerate() {
        let (slot, bits) = (writer.slot(name), tensor.dtype.bitsize());
        tasks.push(InitTask { slot, bits, source });
        if !team.owns(name) {
            continue;
        }
        bytes += (tensor.shape.elements() * bits / 8) as u64;
        if let Some(file) = writer.file_at(slot) {
            work[file].extend(blocks::cut(n, tensor.shape.matrix()));
        }
    }
    progress.begin("init", bytes);
    writer.each_file(|file| {
        let failed = Failed::default();
        blocks::for_each(
            &work[file],
            progress,
            |block| tasks[block.tensor].reads(block),
            || (Encoder::default(), Gathered::new(writer, &failed)),
            |(encoder, out), block| write_block(&tasks[block.tensor], block, encoder, out),
        )?;
        Ok::<_, Error>(failed.check()?)
    })?;
    progress.end();
    Ok(())
}

/// The tensors to write, with the sources of their values.
fn sources<'r>(resolved: &'r Resolved<'_>) -> Vec<(&'r String, &'r Tensor, Source<'r>)> {
    let of = |(name, tensor): (&'r String, &'r Tensor)| {
        let source = match (resolved.initial(name, tensor), FloatDtype::of(tensor.dtype)) {
            (Some(values), Some(dtype)) => Some(Source::Initial { values, dtype }),
            _ => resolved.skeleton(name).map(Source::Copy),
        };
        Some((name, tensor, source?))
    };
    resolved.model.iter().filter_map(of).collect()
}

fn write_block(
    task: &InitTask<'_>,
    block: &Block,
    encoder: &mut Encoder,
    out: &mut Gathered<'_>,
) -> Result<(), CheckpointError> {
    let at = task.bytes(block);
    let bytes = match task.source {
        Source::Copy(from) => &from.bytes()[at.clone()],
        Source::Initial { values, dtype } => encoder.encode(values, block.start, block.len, *dtype, 1.0),
    };
    out.write_at(task.slot, at.start as u64, bytes)
}
