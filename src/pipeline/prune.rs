//! The stage `prune`: from masks to a pruned checkpoint. Nothing is compared or regenerated again, save where a dense
//! tensor takes initial values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cdi_core::internal::base_tensor;

use super::blocks::{self, Reads};
use super::compare::Masks;
use super::encode::{Encoding, encode_pruned};
use super::error::{Error, RuleProblem};
use super::initialise::Written;
use super::manifest::key;
use super::origin::{Action, Slice, Tensor};
use super::outputs::check_writer;
use super::progress::Progress;
use super::remove::Removal;
use super::resolve::{Resolved, undivided_lane};
use super::survey::Judgement;
use crate::checkpoint::{Checkpoint, CheckpointError, METADATA_KEY, TensorSpec};
use crate::config::{FormatChoice, InitSource, KeyPath, PruneSettings};
use crate::digest;
use crate::prune::Lane;
use crate::report::Removed;
use crate::sparse::{
    FileMetadata, Fill, Format, InitialValues, Kind, PrunedTensor, SliceValues, Unknown, csr, fillmask,
    parts, smallest, suffixes,
};
use crate::store::{CheckpointWriter, Compressed, Group, OutputSet, checkpoint_bytes, compressed, folder_of};
use crate::tensor::{FloatDtype, Shape};

/// What pruning did.
#[derive(Debug)]
pub struct Pruned {
    /// The files.
    pub written: Written,
    /// Per tensor of the trained checkpoint, in name order.
    pub tensors: Vec<PrunedResult>,
    /// Units taken out of chains of layers.
    pub removed: Vec<Removed>,
    /// Tensors left as they are, as groups of n of m do not divide them, in name order.
    pub undivided: Vec<Undivided>,
}

/// A tensor that groups of n of m do not divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undivided {
    /// Its name.
    pub name: String,
    /// How many neighbours it has.
    pub size: usize,
    /// What they are, in the plural.
    pub what: &'static str,
    /// Neighbours of a group.
    pub m: usize,
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
    /// Finite values that are beyond the range of the type they were cast to.
    pub overflowed: u64,
    /// Whether units were taken out of it or of a layer that it belongs to: it is dense and written apart.
    pub smaller: bool,
}

/// Refuses a checkpoint whose tensors' names an encoding would need, before anything is written.
pub fn check_part_names(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    let suffixes: BTreeSet<&str> = match prune.format {
        FormatChoice::Fixed(format) => suffixes(format).into_iter().collect(),
        FormatChoice::Auto => [Format::Bitmask, Format::Csr].into_iter().flat_map(suffixes).collect(),
    };
    let (checkpoint, tensors) = resolved.trained()?;
    for (name, tensor) in tensors.iter().filter(|(_, t)| t.action == Action::Prune) {
        if let (FormatChoice::Fixed(Format::Csr), false) =
            (prune.format, csr::can_hold(tensor.shape.matrix()))
        {
            let columns = tensor.shape.matrix().cols;
            let problem = RuleProblem::TooWide { tensor: name.clone(), columns };
            return Err(resolved.wrong(&KeyPath::root().key("prune").key("format"), problem));
        }
        let taken = suffixes
            .iter()
            .filter(|suffix| **suffix != fillmask::SUFFIX || prune.fill == Fill::Nearest)
            .map(|suffix| format!("{name}{suffix}"))
            .find(|p| tensors.contains_key(p));
        if let Some(part) = taken {
            return Err(Error::PartName { path: checkpoint.path().to_owned(), tensor: name.clone(), part });
        }
    }
    Ok(())
}

/// Refuses to prune what is no weight but a part of one, in a checkpoint that others, or this tool, have compressed.
pub fn check_compressed(resolved: &Resolved<'_>) -> Result<(), Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let pruned = |part: &String| tensors.get(part).is_some_and(|tensor| tensor.action == Action::Prune);
    let mut found = compressed(checkpoint);
    found.retain(|found| found.parts.iter().any(pruned));
    in_parts(checkpoint, found, true)
}

/// The error about these, if there are any.
pub(super) fn in_parts(checkpoint: &Checkpoint, found: Vec<Compressed>, pruning: bool) -> Result<(), Error> {
    let more = found.len().saturating_sub(1);
    let Some(Compressed { stem, parts, form }) = found.into_iter().next() else { return Ok(()) };
    let (path, parts) = (checkpoint.path().to_owned(), parts.into_iter().collect());
    Err(Error::InParts { path, stem, parts, form, more, pruning })
}

/// The tensors that are kept because the groups of `where_divisible: true` do not divide them.
fn undivided(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<Vec<Undivided>, Error> {
    let (_, tensors) = resolved.trained()?;
    let of = |(name, tensor): (&String, &Tensor)| {
        let origin = tensor.origin.as_ref()?;
        let decision = prune.decision(name)?;
        if origin.source == InitSource::None && decision.criterion.needs_initial()
            || (tensor.shape.elements() as u64) < decision.min_elements
        {
            return None;
        }
        let (m, Lane { size, what, .. }) = undivided_lane(decision, &tensor.shape, tensor.layout())?;
        Some(Undivided { name: name.clone(), size, what, m })
    };
    Ok(tensors.iter().filter_map(of).collect())
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
    let (mut results, groups) = layout.decide(&masks.stored)?;
    // A cast counts what overflows, and removal writes tensors apart: those need every tensor looked at.
    let resumable = prune.dtype.is_none() && prune.chains.is_empty();
    // Which weights go is in the masks, and all else in the headers and the inputs.
    let decisions = || match resumable {
        true => key(resolved, |_| true, &masks.spool.digest()?).map(Some),
        false => Ok::<_, Error>(None),
    };
    let metadata = |groups: &[Group]| layout.metadata(groups);
    let writer =
        CheckpointWriter::resume(set, &prune.output, &groups, prune.max_shard_size, metadata, decisions)?;
    check_writer(resolved.inputs(), &writer, "`prune.output`")?;
    let total: u64 = checkpoint.tensors().map(|(_, t)| t.bytes().len() as u64).sum();
    progress.begin("prune", total);
    // File by file, so that a run after a killed one finds some of them finished.
    let files: Vec<Option<usize>> =
        groups.iter().map(|group| writer.file_of(&group.tensors[0].name)).collect();
    for file in 0..writer.files() {
        let here = |n: usize| files[n] == Some(file);
        copy_untouched(checkpoint, &results, here, &writer, progress)?;
        let encoding = Encoding { resolved, judgement, prune, masks, writer: &writer, progress };
        encode_pruned(&encoding, &mut results, here)?;
        writer.finish(file)?;
    }
    removal.write(resolved, masks, prune.dtype, &mut results, &writer, progress)?;
    progress.end();
    let (count, bytes) = (groups.iter().map(|g| g.tensors.len()).sum(), writer.bytes());
    let files = writer.stage(set)?;
    let folder = folder_of(&prune.output);
    let mut beside = Vec::new();
    for file in resolved.small_files_out() {
        beside.push(set.add_bytes(&folder.join(&file.name), &file.bytes)?);
    }
    let written = Written { files, tensors: count, bytes, beside };
    Ok(Pruned { written, tensors: results, removed: removal.removed, undivided: undivided(resolved, prune)? })
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
            longest_offset: if prune.dtype.is_some() { 4 } else { 2 }
                * checkpoint.tensors().map(|(_, t)| t.bytes().len() as u64).sum::<u64>(),
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
                let dtype = self.prune.dtype.map_or(tensor.dtype, FloatDtype::dtype);
                let spec = TensorSpec { name: name.clone(), dtype, shape: cut.shape.clone() };
                let pruned = tensor.shape.elements() as u64 - cut.stored;
                results.push(PrunedResult {
                    action: Action::Prune,
                    pruned,
                    format: Format::Dense,
                    overflowed: 0,
                    smaller: true,
                });
                groups.push(Group::single(spec));
                continue;
            }
            let (result, group) = decide(name, tensor, self.prune, stored[n], self.longest_offset);
            if result.pruned > 0 || result.format != Format::Dense {
                if !self.known.contains_key(name) {
                    let decay = self.judgement.tensors[n].decay;
                    let found = describe(self.resolved, name, tensor, decay, self.prune, result.format)?;
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
    let mut result = PrunedResult {
        action: tensor.action,
        pruned: 0,
        format: Format::Dense,
        overflowed: 0,
        smaller: false,
    };
    let whole = TensorSpec { name: name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() };
    let (Action::Prune, Some(dtype)) = (tensor.action, FloatDtype::of(tensor.dtype)) else {
        return (result, Group::single(whole));
    };
    let dtype = prune.dtype.unwrap_or(dtype);
    let nearest = prune.fill == Fill::Nearest;
    result.pruned = (tensor.shape.elements() - stored) as u64;
    result.format = match prune.format {
        FormatChoice::Fixed(format) => format,
        FormatChoice::Auto => smallest(name, dtype, &tensor.shape, stored, nearest, longest_offset),
    };
    let tensors = parts(result.format, name, dtype, &tensor.shape, stored, nearest);
    (result, Group { name: name.to_owned(), tensors })
}

/// All that restoring the tensor needs to know.
fn describe(
    resolved: &Resolved<'_>,
    name: &str,
    tensor: &Tensor,
    decay: f64,
    prune: &PruneSettings,
    format: Format,
) -> Result<PrunedTensor, Error> {
    let origin = tensor.origin.as_ref().expect("only tensors that a rule matches are pruned");
    Ok(PrunedTensor {
        name: name.to_owned(),
        dtype: prune.dtype.map_or(tensor.dtype, FloatDtype::dtype),
        shape: tensor.shape.dims().to_vec(),
        format,
        fill: prune.fill,
        layer_id: origin.layer,
        init: initial_values(resolved, name, tensor)?,
        layout: origin.layout,
        initial_dtype: origin.stored_as.filter(|_| !matches!(origin.source, InitSource::From(_))),
        trained_dtype: FloatDtype::of(tensor.dtype)
            .filter(|dtype| prune.dtype.is_some_and(|to| to != *dtype)),
        prediction: None,
        decay,
    })
}

/// Where the initial values of a tensor that a rule matches come from.
pub(super) fn initial_values(
    resolved: &Resolved<'_>,
    name: &str,
    tensor: &Tensor,
) -> Result<InitialValues, Error> {
    let origin = tensor.origin.as_ref().expect("only of tensors that a rule matches");
    Ok(match &origin.source {
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
            stored_values(base, path, name, &tensor.shape, origin.stored_as)?
        }
        InitSource::None => InitialValues::Unknown(Unknown::None),
    })
}

/// Initial values that a tensor of a base has.
pub(super) fn stored_values(
    base: &Checkpoint,
    path: &Path,
    name: &str,
    shape: &Shape,
    initial_dtype: Option<FloatDtype>,
) -> Result<InitialValues, Error> {
    let sha256 = digest::of_mapped(base_tensor(base, name, shape)?.data);
    Ok(InitialValues::Stored { from: file_name(path), sha256, initial_dtype })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The trained files' own metadata; of keys that several shards have the first one's value.
pub(super) fn other_metadata(checkpoint: &Checkpoint) -> BTreeMap<String, String> {
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
    here: impl Fn(usize) -> bool,
    writer: &CheckpointWriter,
    progress: &dyn Progress,
) -> Result<(), CheckpointError> {
    const PIECE: usize = 1 << 18;
    let mut pieces = Vec::new();
    for (n, ((name, tensor), result)) in checkpoint.tensors().zip(results).enumerate() {
        if result.action != Action::Prune && here(n) {
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
