//! The stage `prune`: from masks to a pruned checkpoint. Nothing is compared or regenerated again, save where a dense
//! tensor takes initial values.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::blocks::{self, Block, Reads};
use super::compare::Masks;
use super::encoder::Encoder;
use super::error::Error;
use super::initialise::Written;
use super::origin::{Action, Slice, Tensor};
use super::outputs::check_writer;
use super::progress::Progress;
use super::remove::Removal;
use super::resolve::{Resolved, base_tensor};
use super::survey::Judgement;
use crate::bits;
use crate::checkpoint::{
    Checkpoint, CheckpointError, CheckpointWriter, Group, METADATA_KEY, Mapped, OutputSet, Slot, TensorSpec,
    checkpoint_bytes, release,
};
use crate::config::{FormatChoice, InitSource, PruneSettings};
use crate::init::Initial;
use crate::report::Removed;
use crate::sparse::{
    FileMetadata, Fill, Format, InitialValues, Kind, PrunedTensor, SliceValues, Unknown, bitmask, smallest,
};
use crate::tensor::{FloatDtype, Matrix};

/// What pruning did.
#[derive(Debug)]
pub struct Pruned {
    /// The files.
    pub written: Written,
    /// Per tensor of the trained checkpoint, in name order.
    pub tensors: Vec<PrunedResult>,
    /// Units taken out of chains of layers.
    pub removed: Vec<Removed>,
}

/// What pruning did with one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrunedResult {
    /// Whether it was pruned, kept or passed through.
    pub action: Action,
    /// Places pruned.
    pub pruned: u64,
    /// How it is stored.
    pub format: Format,
    /// Whether units were taken out of it or of a layer that it belongs to: it is dense and written apart.
    pub smaller: bool,
}

struct Job<'a> {
    matrix: Matrix,
    dtype: FloatDtype,
    trained: Mapped<'a>,
    /// Start of its mask in the spool.
    mask_at: u64,
    target: Target<'a>,
}

enum Target<'a> {
    Dense { slot: Slot, initial: Option<Initial<'a>>, from: Option<(Mapped<'a>, FloatDtype)>, decay: f64 },
    Bitmask { mask: Slot, compressed: Slot, row_offsets: Slot },
}

impl Job<'_> {
    fn reads(&self, block: &Block) -> Reads<'_> {
        let trained = self.trained.part(block.bytes(self.dtype.size()));
        let initial = match &self.target {
            Target::Dense { initial: Some(_), from: Some((from, dtype)), .. } => {
                Some(from.part(block.bytes(dtype.size())))
            }
            _ => None,
        };
        let whole = match &self.target {
            Target::Dense { initial: Some(initial), .. } => initial.whole(),
            _ => None,
        };
        Reads { mapped: [Some(trained), initial, None], whole, ..Reads::of(trained) }
    }
}

/// Refuses a checkpoint whose tensors' names an encoding would need, before anything is written.
pub fn check_part_names(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    if prune.format == FormatChoice::Fixed(Format::Dense) {
        return Ok(());
    }
    let (checkpoint, tensors) = resolved.trained()?;
    for (name, _) in tensors.iter().filter(|(_, t)| t.action == Action::Prune) {
        let taken = bitmask::SUFFIXES
            .iter()
            .map(|suffix| format!("{name}{suffix}"))
            .find(|p| tensors.contains_key(p));
        if let Some(part) = taken {
            return Err(Error::PartName { path: checkpoint.path().to_owned(), tensor: name.clone(), part });
        }
    }
    Ok(())
}

/// Adds the pruned checkpoint to the outputs.
///
/// # Errors
/// Whatever reading the masks or writing meets.
pub fn prune(
    resolved: &Resolved<'_>,
    judgement: &Judgement,
    prune: &PruneSettings,
    masks: &Masks,
    set: &mut OutputSet,
    progress: &dyn Progress,
) -> Result<Pruned, Error> {
    let (checkpoint, _) = resolved.trained()?;
    let removal = Removal::find(resolved, prune, masks)?;
    let mut layout = Layout::new(resolved, judgement, prune, Some(&removal))?;
    let (results, groups) = layout.decide(&masks.stored)?;
    let writer = CheckpointWriter::create(&prune.output, &groups, prune.max_shard_size, |groups| {
        layout.metadata(groups)
    })?;
    check_writer(resolved.inputs(), &writer, "`prune.output`")?;
    let total: u64 = checkpoint.tensors().map(|(_, t)| t.bytes().len() as u64).sum();
    progress.begin("prune", total);
    copy_untouched(checkpoint, &results, &writer, progress)?;
    encode_pruned(resolved, judgement, prune, masks, &results, &writer, progress)?;
    removal.write(resolved, masks, &writer, progress)?;
    progress.end();
    let (count, bytes) = (groups.iter().map(|g| g.tensors.len()).sum(), writer.bytes());
    let written = Written { files: writer.stage(set)?, tensors: count, bytes };
    Ok(Pruned { written, tensors: results, removed: removal.removed })
}

/// What stands in the pruned file, by how many values of each tensor stay.
pub(super) struct Layout<'r> {
    resolved: &'r Resolved<'r>,
    judgement: &'r Judgement,
    prune: &'r PruneSettings,
    removal: Option<&'r Removal>,
    longest_offset: u64,
    others: BTreeMap<String, String>,
    /// Descriptions made so far: of a tensor from another checkpoint it takes a digest.
    known: BTreeMap<String, PrunedTensor>,
    /// Those of the last decision.
    described: BTreeMap<String, Format>,
}

impl<'r> Layout<'r> {
    pub fn new(
        resolved: &'r Resolved<'_>,
        judgement: &'r Judgement,
        prune: &'r PruneSettings,
        removal: Option<&'r Removal>,
    ) -> Result<Self, Error> {
        let (checkpoint, _) = resolved.trained()?;
        Ok(Self {
            resolved,
            judgement,
            prune,
            removal,
            longest_offset: 2 * checkpoint.tensors().map(|(_, t)| t.bytes().len() as u64).sum::<u64>(),
            others: other_metadata(checkpoint),
            known: BTreeMap::new(),
            described: BTreeMap::new(),
        })
    }

    /// How each tensor is stored.
    fn decide(&mut self, stored: &[usize]) -> Result<(Vec<PrunedResult>, Vec<Group>), Error> {
        let (_, tensors) = self.resolved.trained()?;
        let mut results = Vec::with_capacity(tensors.len());
        let mut groups = Vec::with_capacity(tensors.len());
        self.described.clear();
        for (n, (name, tensor)) in tensors.iter().enumerate() {
            if let Some(cut) = self.removal.and_then(|removal| removal.of(n)) {
                let spec = TensorSpec { name: name.clone(), dtype: tensor.dtype, shape: cut.shape.clone() };
                let pruned = tensor.shape.elements() as u64 - cut.stored;
                results.push(PrunedResult {
                    action: Action::Prune,
                    pruned,
                    format: Format::Dense,
                    smaller: true,
                });
                groups.push(Group::single(spec));
                continue;
            }
            let (result, group) = decide(name, tensor, self.prune, stored[n], self.longest_offset);
            if result.pruned > 0 || result.format != Format::Dense {
                if !self.known.contains_key(name) {
                    let decay = self.judgement.tensors[n].decay;
                    let found = describe(self.resolved, name, tensor, decay, self.prune.fill, result.format)?;
                    self.known.insert(name.clone(), found);
                }
                self.described.insert(name.clone(), result.format);
            }
            results.push(result);
            groups.push(group);
        }
        Ok((results, groups))
    }

    /// The `__metadata__` of the file that holds these tensors.
    fn metadata(&self, groups: &[Group]) -> BTreeMap<String, String> {
        let description = |group: &Group| {
            let format = *self.described.get(&group.name)?;
            self.known.get(&group.name).map(|known| PrunedTensor { format, ..known.clone() })
        };
        let tensors = groups.iter().filter_map(description).collect();
        let seed = self.resolved.settings.seed;
        FileMetadata { tensors, ..FileMetadata::new(Kind::Pruned, seed) }.into_map(&self.others)
    }

    /// Bytes of the files with so many values of each tensor, an index not counted.
    pub fn bytes(&mut self, stored: &[usize]) -> Result<u64, Error> {
        let (_, groups) = self.decide(stored)?;
        Ok(checkpoint_bytes(&groups, self.prune.max_shard_size, |groups| self.metadata(groups)))
    }
}

/// How a tensor is stored with so many values kept, and under which names.
fn decide(
    name: &str,
    tensor: &Tensor,
    prune: &PruneSettings,
    stored: usize,
    longest_offset: u64,
) -> (PrunedResult, Group) {
    let mut result = PrunedResult { action: tensor.action, pruned: 0, format: Format::Dense, smaller: false };
    let whole = TensorSpec { name: name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() };
    let (Action::Prune, Some(dtype)) = (tensor.action, FloatDtype::of(tensor.dtype)) else {
        return (result, Group::single(whole));
    };
    result.pruned = (tensor.shape.elements() - stored) as u64;
    result.format = match prune.format {
        FormatChoice::Fixed(format) => format,
        FormatChoice::Auto => smallest(name, dtype, &tensor.shape, stored, longest_offset),
    };
    let group = match result.format {
        Format::Dense => Group::single(whole),
        Format::Bitmask => {
            let tensors = bitmask::parts(name, dtype, &tensor.shape, stored).to_vec();
            Group { name: name.to_owned(), tensors }
        }
    };
    (result, group)
}

/// All that restoring the tensor needs to know.
fn describe(
    resolved: &Resolved<'_>,
    name: &str,
    tensor: &Tensor,
    decay: f64,
    fill: Fill,
    format: Format,
) -> Result<PrunedTensor, Error> {
    let origin = tensor.origin.as_ref().expect("only tensors that a rule matches are pruned");
    let init = match &origin.source {
        InitSource::Scheme(_) if !origin.slices.is_empty() => {
            let slice = |slice: &Slice| SliceValues {
                name: slice.name.clone(),
                size: slice.size,
                layer_id: slice.layer,
                init: slice.scheme.params(),
            };
            InitialValues::Slices { slices: origin.slices.iter().map(slice).collect() }
        }
        InitSource::Scheme(scheme) => InitialValues::Scheme(Box::new(scheme.params())),
        InitSource::From(path) => {
            let base = resolved.base(path).expect("opened when the config was resolved");
            let sha256 = digest(base_tensor(base, name, &tensor.shape)?.data);
            InitialValues::Stored { from: file_name(path), sha256 }
        }
        InitSource::None => InitialValues::Unknown(Unknown::None),
    };
    Ok(PrunedTensor {
        name: name.to_owned(),
        dtype: tensor.dtype,
        shape: tensor.shape.dims().to_vec(),
        format,
        fill,
        layer_id: origin.layer,
        init,
        layout: origin.layout,
        initial_dtype: origin.stored_as,
        decay,
    })
}

/// SHA-256 of a part of a file, in hexadecimal.
pub(super) fn digest(data: Mapped<'_>) -> String {
    let mut sha256 = Sha256::new();
    for part in data.chunks(8 << 20) {
        sha256.update(part.bytes());
        release([part]);
    }
    crate::digest::hex(sha256)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The trained files' own metadata; of keys that several shards have the first one's value.
fn other_metadata(checkpoint: &Checkpoint) -> BTreeMap<String, String> {
    let mut others = BTreeMap::new();
    for (key, value) in checkpoint.metadata().iter().flatten() {
        if key != METADATA_KEY {
            others.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    others
}

/// Copies the tensors that are kept or passed through, byte for byte.
fn copy_untouched(
    checkpoint: &Checkpoint,
    results: &[PrunedResult],
    writer: &CheckpointWriter,
    progress: &dyn Progress,
) -> Result<(), CheckpointError> {
    const PIECE: usize = 1 << 18;
    let mut pieces = Vec::new();
    for ((name, tensor), result) in checkpoint.tensors().zip(results) {
        if result.action != Action::Prune {
            let slot = writer.slot(name);
            pieces.extend(tensor.data.chunks(PIECE).enumerate().map(|(n, piece)| (slot, n * PIECE, piece)));
        }
    }
    blocks::for_each(
        &pieces,
        progress,
        |(_, _, piece)| Reads::of(*piece),
        || (),
        |(), (slot, at, piece)| writer.write_at(*slot, *at as u64, piece.bytes()),
    )
    .map(drop)
}

fn encode_pruned(
    resolved: &Resolved<'_>,
    judgement: &Judgement,
    prune: &PruneSettings,
    masks: &Masks,
    results: &[PrunedResult],
    writer: &CheckpointWriter,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let mut jobs: Vec<Option<Job<'_>>> = Vec::with_capacity(tensors.len());
    for (n, ((name, tensor), (_, data))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
        let (Action::Prune, Some(dtype), false) =
            (tensor.action, FloatDtype::of(tensor.dtype), results[n].smaller)
        else {
            jobs.push(None);
            continue;
        };
        let target = match results[n].format {
            Format::Dense => Target::Dense {
                slot: writer.slot(name),
                initial: if prune.fill == Fill::Init { resolved.initial(name, tensor) } else { None },
                from: resolved.initial_data(name, tensor),
                decay: judgement.tensors[n].decay,
            },
            Format::Bitmask => {
                let part = |n: usize| writer.slot(&format!("{name}{}", bitmask::SUFFIXES[n]));
                let shape: Vec<u8> =
                    tensor.shape.dims().iter().flat_map(|d| (*d as i64).to_le_bytes()).collect();
                writer.write_at(part(0), 0, &shape)?;
                Target::Bitmask { mask: part(1), compressed: part(2), row_offsets: part(3) }
            }
        };
        let (matrix, trained) = (tensor.shape.matrix(), data.data);
        if matrix.cols == 0
            && let Target::Bitmask { row_offsets, .. } = &target
        {
            // Rows without columns have no block to write their offsets.
            writer.write_at(*row_offsets, 0, &vec![0; 8 * matrix.rows])?;
        }
        jobs.push(Some(Job { matrix, dtype, trained, mask_at: masks.starts[n], target }));
    }
    blocks::for_each(
        &masks.blocks,
        progress,
        |(block, _)| jobs[block.tensor].as_ref().map(|job| job.reads(block)).unwrap_or_default(),
        Scratch::default,
        |scratch, (block, before)| match &jobs[block.tensor] {
            Some(job) => encode_block(job, block, *before, masks, writer, scratch),
            None => Ok(()),
        },
    )?;
    Ok(())
}

#[derive(Default)]
struct Scratch {
    mask: Vec<u8>,
    encoder: Encoder,
    out: Vec<u8>,
}

fn encode_block(
    job: &Job<'_>,
    block: &Block,
    before: usize,
    masks: &Masks,
    writer: &CheckpointWriter,
    scratch: &mut Scratch,
) -> Result<(), CheckpointError> {
    let Scratch { mask, encoder, out } = scratch;
    let size = job.dtype.size();
    let places = block.mask_bytes(job.matrix);
    mask.resize(places.len(), 0);
    masks.spool.read(job.mask_at + places.start as u64, mask)?;
    let trained = job.trained.part(block.bytes(size)).bytes();
    let columns = block.columns(job.matrix);
    match &job.target {
        Target::Dense { slot, initial, decay, .. } => {
            let out = match initial {
                Some(initial) => encoder.encode(initial, block.start, block.len, job.dtype, *decay),
                None => encoder.zeros(trained.len()),
            };
            bitmask::overlay(trained, columns, mask, job.dtype, out);
            writer.write_at(*slot, block.bytes(size).start as u64, out)
        }
        Target::Bitmask { mask: mask_slot, compressed, row_offsets } => {
            writer.write_at(*mask_slot, places.start as u64, mask)?;
            bitmask::gather(trained, columns, mask, job.dtype, out);
            writer.write_at(*compressed, (before * size) as u64, out)?;
            if block.column(job.matrix) > 0 {
                return Ok(());
            }
            out.clear();
            let mut offset = before as u64;
            let rows = if block.whole_rows(job.matrix) { block.len / job.matrix.cols } else { 1 };
            for row in mask.chunks(columns.div_ceil(8)).take(rows) {
                out.extend(offset.to_le_bytes());
                offset += bits::count(row);
            }
            writer.write_at(*row_offsets, 8 * block.row(job.matrix) as u64, out)
        }
    }
}
