//! The command `pack`: a whole checkpoint, coded without loss, against initial values where they are known.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use super::error::Error;
use super::outcome::Written;
use super::outputs::{check_distinct, check_writer};
use super::plan::{initial_values, other_metadata, stored_values};
use super::progress::{Progress, Silent};
use super::resolve::{Resolved, refuse_pruned};
use super::spool::Spool;
use super::task::TensorTask;
use crate::checkpoint::{Checkpoint, TensorSpec};
use crate::codec::{BlockInput, CODES, Choice, EncoderScratch, Model, TensorEncoder, choose};
use crate::config::InitSource;
use crate::encoder::Encoder;
use crate::init::Initial;
use crate::sparse::{FileMetadata, Fill, Format, InitialValues, Kind, PrunedTensor, Unknown};
use crate::store::{CheckpointWriter, Group, OutputSet};
use crate::tensor::{FloatDtype, Layout, Matrix, Shape};

/// What values are predicted from.
#[derive(Clone, Copy, Debug)]
pub enum PredictFrom<'a> {
    /// Nothing: each value stands for itself.
    Nothing(&'a Checkpoint),
    /// The tensors of the same name and shape in a base checkpoint.
    Base(&'a Checkpoint, &'a Checkpoint),
    /// The initial values that a config describes, of its trained checkpoint.
    Config(&'a Resolved<'a>),
}

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
    /// How it is coded; `None` where it stands as it is.
    choice: Option<Choice>,
}

impl PackedTensor {
    /// Whether its values are stored as differences to a prediction; `None` where they are not coded.
    pub fn predicted(&self) -> Option<bool> {
        self.choice.map(|choice| choice.model == Model::Difference)
    }
}

/// A tensor that has been coded: its blocks are in the spool.
struct Coded {
    choice: Choice,
    head: Vec<u8>,
    blocks: Range<u64>,
}

impl Coded {
    fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.blocks.end - self.blocks.start
    }
}

/// What a coded tensor takes besides its code, roughly: one that does not win as much stays as it is. The header's entry is there
/// in any case.
const DESCRIPTION: u64 = 100;
/// Bits that it takes, roughly, to say where its predictions come from.
const DESCRIBED: f64 = 8.0 * 150.0;
/// Places of a tensor that are looked at to choose how it is coded.
const SAMPLE: usize = 1 << 14;
/// Tensors, and bytes of them, that are worked on together.
const BATCH: (usize, usize) = (64, 256 << 20);

impl<'a> PredictFrom<'a> {
    fn checkpoint(&self) -> Result<&'a Checkpoint, Error> {
        match *self {
            Self::Nothing(checkpoint) | Self::Base(checkpoint, _) => Ok(checkpoint),
            Self::Config(resolved) => Ok(resolved.trained()?.0),
        }
    }

    fn initial(&self, name: &str, shape: &Shape) -> Option<Initial<'a>> {
        match *self {
            Self::Nothing(_) => None,
            Self::Base(_, base) => {
                let tensor = base.tensor(name).filter(|tensor| tensor.shape == shape)?;
                Some(Initial::Stored { data: tensor.data, dtype: tensor.float()?, stored_as: None })
            }
            Self::Config(resolved) => resolved.initial(name, resolved.trained.as_ref()?.get(name)?),
        }
    }

    /// What the file says about the initial values of a tensor.
    fn describe(
        &self,
        name: &str,
        shape: &Shape,
    ) -> Result<(Option<u64>, InitialValues, Layout, Option<FloatDtype>), Error> {
        match *self {
            Self::Nothing(_) => Ok((None, InitialValues::Unknown(Unknown::None), Layout::default(), None)),
            Self::Base(_, base) => {
                Ok((None, stored_values(base, base.path(), name, shape, None)?, Layout::default(), None))
            }
            Self::Config(resolved) => {
                let tensor = &resolved.trained()?.1[name];
                let origin = tensor.origin.as_ref().expect("a tensor with initial values has an origin");
                let drawn = !matches!(origin.source, InitSource::From(_));
                let initial_dtype = origin.stored_as.filter(|_| drawn);
                Ok((origin.layer, initial_values(resolved, name, tensor)?, origin.layout, initial_dtype))
            }
        }
    }
}

/// Rows, or parts of them, from all over a tensor, and what their places are of all.
fn sample(task: &TensorTask<'_>, encoder: &mut Encoder) -> (Matrix, Vec<u8>, Vec<u8>, f64) {
    let Matrix { rows, cols } = task.matrix;
    let some = (SAMPLE / cols).clamp(4.min(rows), rows);
    let cols_of = cols.min(SAMPLE.div_ceil(some));
    let (mut values, mut initial) = (Vec::new(), Vec::new());
    for n in 0..some {
        let row = n * rows / some;
        let block = Block { tensor: task.n, start: row * cols, len: cols_of };
        values.extend_from_slice(task.values(&block).bytes());
        if let Some(from) = &task.initial {
            initial.extend_from_slice(encoder.encode(from, block.start, block.len, task.dtype, 1.0));
        }
    }
    let share = (some * cols_of) as f64 / (rows * cols) as f64;
    (Matrix { rows: some, cols: cols_of }, values, initial, share)
}

/// How a tensor is coded.
fn choice(task: &TensorTask<'_>, encoder: &mut Encoder) -> Choice {
    let (matrix, values, initial, share) = sample(task, encoder);
    choose(task.dtype, matrix, (&values, &initial, &[]), (1.0, share, DESCRIBED))
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    encoder: Encoder,
    codec: EncoderScratch,
}

/// Writes a checkpoint that [`super::restore`] gives back to the bit.
///
/// # Errors
/// [`Error::AlreadyPruned`]; [`Error::SameFile`] where an output is an input; whatever reading and writing meet.
pub fn pack(
    start: &PredictFrom<'_>,
    output: &Path,
    max_shard_size: Option<u64>,
    progress: &dyn Progress,
) -> Result<Packed, Error> {
    let checkpoint = start.checkpoint()?;
    refuse_pruned(checkpoint)?;
    if let PredictFrom::Base(_, base) = start {
        refuse_pruned(base)?;
    }
    let inputs = || {
        let base = match start {
            PredictFrom::Base(_, base) => Some(*base),
            _ => None,
        };
        let files = checkpoint.files().chain(base.into_iter().flat_map(Checkpoint::files));
        let own =
            files.map(|path| ("the checkpoint to pack or its base".to_owned(), path)).collect::<Vec<_>>();
        match start {
            PredictFrom::Config(resolved) => {
                resolved.inputs().into_iter().map(|(kind, path)| (kind.to_string(), path)).collect()
            }
            _ => own,
        }
    };
    check_distinct(inputs(), [("the output", output)])?;
    let set = OutputSet::open(output, inputs().iter().map(|(_, path)| *path))?;
    let tasks: Vec<TensorTask<'_>> = checkpoint
        .tensors()
        .filter(|(name, _)| checkpoint.tensor(&format!("{name}{CODES}")).is_none())
        .filter(|(_, tensor)| tensor.float().is_some() && tensor.shape.elements() > 0)
        .enumerate()
        .filter_map(|(n, (name, tensor))| {
            TensorTask::unruled(n, name, tensor, start.initial(name, tensor.shape))
        })
        .collect();
    let spool = Spool::beside(output)?;
    let mut coded = BTreeMap::new();
    let mut end = 0;
    let mut rest = &tasks[..];
    progress.begin("pack", 3 * tasks.iter().map(|task| task.trained.bytes().len() as u64).sum::<u64>());
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |task: &&TensorTask<'_>| {
            bytes += task.trained.bytes().len();
            bytes <= BATCH.1
        };
        let (now, later) = rest.split_at(rest.iter().take(BATCH.0).take_while(fits).count().max(1));
        for (task, found) in now.iter().zip(code(now, &spool, &mut end, progress)?) {
            let predicted = if found.choice.model == Model::Difference { DESCRIBED as u64 / 8 } else { 0 };
            if found.bytes() + DESCRIPTION + predicted < task.trained.bytes().len() as u64 {
                coded.insert(task.name, found);
            }
        }
        rest = later;
    }
    progress.end();
    write(start, &tasks, &coded, &spool, (set, output, max_shard_size), inputs, progress)
}

/// The values of a block and their predictions: what every pass takes.
fn block_input<'a>(
    task: &'a TensorTask<'_>,
    choice: &Choice,
    block: &Block,
    encoder: &'a mut Encoder,
) -> BlockInput<'a> {
    let prediction: &[u8] = match (&task.initial, choice.model) {
        (Some(initial), Model::Difference) => {
            encoder.encode(initial, block.start, block.len, task.dtype, choice.scale)
        }
        _ => &[],
    };
    let values = task.values(block).bytes();
    BlockInput { values, prediction, pruned: &[] }
}

/// Codes these tensors into the spool, from `end` on.
fn code(
    tasks: &[TensorTask<'_>],
    spool: &Spool,
    end: &mut u64,
    progress: &dyn Progress,
) -> Result<Vec<Coded>, Error> {
    // The tasks at hand are some of all, in their order.
    let first = tasks.first().map_or(0, |task| task.n);
    let at = |block: &Block| block.tensor - first;
    let numbers: Vec<usize> = (0..tasks.len()).collect();
    let choices = blocks::for_each(
        &numbers,
        &Silent,
        |n| Reads { bytes: 0, ..tasks[*n].reads(&Block { tensor: first + n, start: 0, len: 1 }) },
        Encoder::default,
        |encoder, n| Ok::<_, Error>(choice(&tasks[*n], encoder)),
    )?;
    let mut encoders: Vec<TensorEncoder> = tasks
        .iter()
        .zip(&choices)
        .map(|(task, choice)| TensorEncoder::new(task.dtype, task.matrix, choice.model, choice.lines))
        .collect();
    let blocks: Vec<Block> = tasks.iter().flat_map(TensorTask::blocks).collect();
    let reads = |block: &Block| tasks[at(block)].reads(block);
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, block| {
        let input = block_input(&tasks[at(block)], &choices[at(block)], block, &mut scratch.encoder);
        encoders[at(block)].measure(block, input, &mut scratch.codec);
        Ok::<_, Error>(())
    })?;
    encoders.iter_mut().for_each(TensorEncoder::classify);
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, block| {
        let input = block_input(&tasks[at(block)], &choices[at(block)], block, &mut scratch.encoder);
        encoders[at(block)].count(block, input, &mut scratch.codec);
        Ok::<_, Error>(())
    })?;
    encoders.iter_mut().for_each(TensorEncoder::cut);
    let mut lengths: Vec<Vec<u32>> = vec![Vec::new(); tasks.len()];
    let mut starts = vec![None; tasks.len()];
    // So many blocks' codes are held before they go to the spool in their order.
    for blocks in blocks.chunks(64 * 1024 * 1024 / (8 * BLOCK_ELEMENTS)) {
        let codes = blocks::for_each(blocks, progress, reads, Scratch::default, |scratch, block| {
            let input = block_input(&tasks[at(block)], &choices[at(block)], block, &mut scratch.encoder);
            let mut code = Vec::new();
            encoders[at(block)].encode(block, input, &mut scratch.codec, &mut code);
            Ok::<_, Error>(code)
        })?;
        for (block, code) in blocks.iter().zip(codes) {
            starts[at(block)].get_or_insert(*end);
            lengths[at(block)].push(code.len() as u32);
            spool.write(*end, &code)?;
            *end += code.len() as u64;
        }
    }
    let all = encoders.iter().zip(choices.iter().copied()).zip(lengths.iter().zip(starts));
    Ok(all
        .map(|((encoder, choice), (lengths, start))| {
            let start = start.unwrap_or(*end);
            let len: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
            Coded { choice, head: encoder.head(lengths), blocks: start..start + len }
        })
        .collect())
}

/// Writes the file from the spool.
fn write<'p>(
    start: &PredictFrom<'_>,
    tasks: &[TensorTask<'_>],
    coded: &BTreeMap<&str, Coded>,
    spool: &Spool,
    (mut set, output, max_shard_size): (OutputSet, &Path, Option<u64>),
    inputs: impl Fn() -> Vec<(String, &'p Path)>,
    progress: &dyn Progress,
) -> Result<Packed, Error> {
    const PIECE: usize = 1 << 18;
    let checkpoint = start.checkpoint()?;
    let mut descriptions = BTreeMap::new();
    for task in tasks {
        if let Some(found) = coded.get(task.name) {
            descriptions.insert(task.name, describe(start, task, &found.choice)?);
        }
    }
    let groups: Vec<Group> = checkpoint
        .tensors()
        .map(|(name, tensor)| {
            let spec = match coded.get(name) {
                Some(found) => {
                    let shape = Shape::new(vec![found.bytes() as usize]).expect("as many bytes as there are");
                    TensorSpec { name: format!("{name}{CODES}"), dtype: safetensors::Dtype::U8, shape }
                }
                None => {
                    TensorSpec { name: name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() }
                }
            };
            Group { name: name.to_owned(), tensors: vec![spec] }
        })
        .collect();
    let seed = match start {
        PredictFrom::Config(resolved) => resolved.settings.seed,
        _ => 0,
    };
    let others = other_metadata(checkpoint);
    let metadata = |groups: &[Group]| {
        let mut metadata = FileMetadata::new(Kind::Pruned, seed);
        let described = groups.iter().filter_map(|group| descriptions.get(group.name.as_str()).cloned());
        metadata.tensors = described.collect();
        metadata.into_map(&others)
    };
    let key = || Ok::<_, Error>(None);
    let writer = CheckpointWriter::resume(&mut set, output, &groups, max_shard_size, metadata, key)?;
    check_writer(inputs(), &writer, "the output")?;
    progress.begin("write", groups.iter().map(Group::bytes).sum());
    let mut tensors = Vec::new();
    for (name, tensor) in checkpoint.tensors() {
        let from = tensor.bytes().len() as u64;
        let Some(found) = coded.get(name) else {
            let slot = writer.slot(name);
            let pieces: Vec<_> = tensor.data.chunks(PIECE).enumerate().collect();
            blocks::for_each(
                &pieces,
                progress,
                |(_, piece)| Reads::of(*piece),
                || (),
                |(), (n, piece)| writer.write_at(slot, (n * PIECE) as u64, piece.bytes()),
            )?;
            tensors.push(PackedTensor { name: name.to_owned(), from, to: from, choice: None });
            continue;
        };
        let slot = writer.slot(&format!("{name}{CODES}"));
        writer.write_at(slot, 0, &found.head)?;
        let mut at = found.blocks.start;
        let mut piece = Vec::new();
        while at < found.blocks.end {
            piece.resize((found.blocks.end - at).min(PIECE as u64) as usize, 0);
            spool.read(at, &mut piece)?;
            writer.write_at(slot, found.head.len() as u64 + at - found.blocks.start, &piece)?;
            at += piece.len() as u64;
            progress.advance(piece.len() as u64);
        }
        let (name, to) = (name.to_owned(), found.bytes());
        tensors.push(PackedTensor { name, from, to, choice: Some(found.choice) });
    }
    progress.end();
    let (count, bytes) = (groups.len(), writer.bytes());
    let files = writer.stage(&mut set)?;
    set.commit()?;
    let written = Written { files, tensors: count, bytes, beside: Vec::new() };
    let read = checkpoint.files().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    Ok(Packed { written, read, tensors })
}

/// All that restoring a coded tensor needs to know.
fn describe(start: &PredictFrom<'_>, task: &TensorTask<'_>, choice: &Choice) -> Result<PrunedTensor, Error> {
    let prediction = (choice.model == Model::Difference).then_some(choice.scale);
    let (layer_id, init, layout, initial_dtype) = match prediction {
        Some(_) => start.describe(task.name, task.shape)?,
        None => (None, InitialValues::Unknown(Unknown::None), Layout::default(), None),
    };
    Ok(PrunedTensor {
        name: task.name.to_owned(),
        dtype: task.dtype.dtype(),
        shape: task.shape.dims().to_vec(),
        format: Format::Coded,
        fill: Fill::Zero,
        layer_id,
        init,
        layout,
        initial_dtype,
        trained_dtype: None,
        prediction,
        decay: 1.0,
    })
}
