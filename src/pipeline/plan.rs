//! What stands in a pruned file: how each tensor is stored, under which names, and what
//! restoring needs to know.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::Error;
use super::origin::{Action, Slice, Tensor};
use super::outcome::PrunedResult;
use super::remove::Removal;
use super::resolve::Resolved;
use super::task::Tasks;
use crate::checkpoint::{Checkpoint, METADATA_KEY, TensorSpec};
use crate::config::{FormatChoice, InitSource, PruneSettings};
use crate::digest;
use crate::sparse::{
    FileMetadata, Fill, Format, InitialValues, Kind, PrunedTensor, SliceValues, Unknown, parts, smallest,
};
use crate::store::{Group, checkpoint_bytes};
use crate::tensor::{FloatDtype, Shape};
use cdi_core::internal::base_tensor;

/// What stands in the pruned file, by how many values of each tensor stay.
pub(super) struct FilePlan<'r> {
    resolved: &'r Resolved<'r>,
    tasks: &'r Tasks<'r>,
    prune: &'r PruneSettings,
    removal: Option<&'r Removal>,
    longest_offset: u64,
    others: BTreeMap<String, String>,
    /// Descriptions made so far: of a tensor from another checkpoint it takes a digest.
    known: BTreeMap<String, PrunedTensor>,
    /// Those of the last decision.
    described: BTreeMap<String, Format>,
}

impl<'r> FilePlan<'r> {
    pub fn new(
        resolved: &'r Resolved<'_>,
        tasks: &'r Tasks<'r>,
        prune: &'r PruneSettings,
        removal: Option<&'r Removal>,
    ) -> Result<Self, Error> {
        let (checkpoint, _) = resolved.trained()?;
        Ok(Self {
            resolved,
            tasks,
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
    pub fn decide(&mut self, stored: &[usize]) -> Result<(Vec<PrunedResult>, Vec<Group>), Error> {
        let (_, tensors) = self.resolved.trained()?;
        let mut results = Vec::with_capacity(tensors.len());
        let mut groups = Vec::with_capacity(tensors.len());
        self.described.clear();
        for (n, (name, tensor)) in tensors.iter().enumerate() {
            if let Some(smaller) = self.removal.and_then(|removal| removal.of(n)) {
                let dtype = self.prune.dtype.map_or(tensor.dtype, FloatDtype::dtype);
                let spec = TensorSpec { name: name.clone(), dtype, shape: smaller.shape.clone() };
                let pruned = tensor.shape.elements() as u64 - smaller.stored;
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
                    let decay = self.tasks.get(n).map_or(1.0, |task| task.calibration.decay);
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
    pub fn metadata(&self, groups: &[Group]) -> BTreeMap<String, String> {
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
fn stored_values(
    base: &Checkpoint,
    path: &Path,
    name: &str,
    shape: &Shape,
    initial_dtype: Option<FloatDtype>,
) -> Result<InitialValues, Error> {
    let sha256 = digest::of_mapped(base_tensor(base, name, shape)?.data);
    Ok(InitialValues::Stored { from: file_name(path), sha256, initial_dtype })
}

/// The last part of a path, by which descriptions name a base.
pub(super) fn file_name(path: &Path) -> String {
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
