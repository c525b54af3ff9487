//! Plans the contents of a pruned file: how each tensor is stored, the names of its parts, and the
//! metadata for restoring.

use std::collections::BTreeMap;
use std::path::Path;

use super::coding::{Coding, descriptions};
use super::error::Error;
use super::origin::{Action, Origin, Slice, Tensor};
use super::outcome::PrunedResult;
use super::remove::Removal;
use super::resolve::Resolved;
use super::task::Tasks;
use crate::checkpoint::{Checkpoint, METADATA_KEY, TensorSpec};
use crate::codec::{self, CODES};
use crate::config::{FormatChoice, InitSource, PruneSettings};
use crate::sparse::{
    FileMetadata, Fill, Format, InitialValues, Kind, PrunedTensor, SliceValues, Unknown, parts, smallest,
};
use crate::store::{Group, checkpoint_bytes};
use crate::tensor::{FloatDtype, Layout, Shape};
use cdi_core::internal::base_tensor;

/// The contents of the pruned file, given the number of values kept of each tensor.
pub(super) struct FilePlan<'r> {
    resolved: &'r Resolved<'r>,
    tasks: &'r Tasks<'r>,
    prune: &'r PruneSettings,
    removal: Option<&'r Removal>,
    longest_offset: u64,
    codes: &'r dyn Codes,
    coding: Coding,
    others: BTreeMap<String, String>,
    /// The tensors that the last decision describes, in name order.
    described: Vec<Described<'r>>,
}

/// What a description is made from.
struct Described<'r> {
    name: &'r str,
    tensor: &'r Tensor,
    decay: f64,
    format: Format,
    prediction: Option<f64>,
}

/// Actual or expected sizes of the tensors that may be coded.
pub(super) trait Codes {
    /// The size in bytes of the code of the tensor with index `n` and this name, with `stored` values kept,
    /// and the factor of the initial values that predict it. `None` if it is not coded.
    fn of(&self, n: usize, name: &str, stored: usize) -> Option<(u64, Option<f64>)>;
}

/// Whether a tensor of the trained checkpoint may be coded, unless removal makes it smaller.
pub(super) fn may_be_coded(
    prune: &PruneSettings,
    tensors: &BTreeMap<String, Tensor>,
    name: &str,
    tensor: &Tensor,
) -> bool {
    prune.format.codes()
        && (tensor.action == Action::Prune || prune.code_kept)
        && tensor.shape.elements() > 0
        && codec::Form::of(tensor.dtype).is_some()
        && !tensors.contains_key(&format!("{name}{CODES}"))
}

/// No tensor is coded.
pub(super) struct NoCodes;

impl Codes for NoCodes {
    fn of(&self, _: usize, _: &str, _: usize) -> Option<(u64, Option<f64>)> {
        None
    }
}

impl<'r> FilePlan<'r> {
    pub fn new(
        resolved: &'r Resolved<'_>,
        tasks: &'r Tasks<'r>,
        prune: &'r PruneSettings,
        removal: Option<&'r Removal>,
        codes: &'r dyn Codes,
    ) -> Result<Self, Error> {
        let (checkpoint, _) = resolved.trained()?;
        let total = checkpoint.tensors().map(|(_, t)| t.data.len() as u64).sum::<u64>();
        Ok(Self {
            resolved,
            tasks,
            prune,
            removal,
            longest_offset: if prune.dtype.is_some() { 4 } else { 2 } * total,
            codes,
            coding: Coding::new(Coding::ELSEWHERE, total, prune.max_shard_size),
            others: other_metadata(checkpoint),
            described: Vec::new(),
        })
    }

    /// Decides how each tensor is stored.
    pub fn decide(&mut self, stored: &[usize]) -> Result<(Vec<PrunedResult>, Vec<Group>), Error> {
        let (coding, max) = (self.coding, self.prune.max_shard_size);
        coding.decide(max, |coding| self.decide_with(coding, stored))
    }

    /// The same with these sizes of what a header needs.
    fn decide_with(
        &mut self,
        coding: Coding,
        stored: &[usize],
    ) -> Result<(Vec<PrunedResult>, Vec<Group>), Error> {
        let resolved = self.resolved;
        let (_, tensors) = resolved.trained()?;
        let mut results = Vec::with_capacity(tensors.len());
        let mut groups = Vec::with_capacity(tensors.len());
        self.described.clear();
        for (n, (name, tensor)) in tensors.iter().enumerate() {
            if let Some(smaller) = self.removal.and_then(|removal| removal.of(n)) {
                let dtype = self.prune.dtype.map_or(tensor.dtype, FloatDtype::dtype);
                let spec = TensorSpec { name: name.clone(), dtype, shape: smaller.shape() };
                let pruned = tensor.shape.elements() as u64 - smaller.stored;
                results.push(PrunedResult {
                    action: Action::Prune,
                    pruned,
                    format: Format::Dense,
                    overflowed: 0,
                    smaller: true,
                    rounded: None,
                });
                groups.push(Group::single(spec));
                continue;
            }
            let code = self.codes.of(n, name, stored[n]);
            let (result, group) = self.decide_one(coding, (name, tensor), stored[n], code);
            if result.pruned > 0 || result.format != Format::Dense {
                let decay = self.tasks.get(n).map_or(1.0, |task| task.calibration.decay);
                let prediction = code.and_then(|(_, prediction)| prediction);
                let described = Described { name, tensor, decay, format: result.format, prediction };
                // This finds the digest of a tensor in a base, for all descriptions of it.
                if !described.is_drawn() {
                    describe(resolved, self.prune, &described)?;
                }
                self.described.push(described);
            }
            results.push(result);
            groups.push(group);
        }
        Ok((results, groups))
    }

    /// How a tensor is stored with `stored` values kept, and the names of its parts. `code` is its code size,
    /// if it may be coded, and its prediction.
    fn decide_one(
        &self,
        coding: Coding,
        (name, tensor): (&str, &Tensor),
        stored: usize,
        code: Option<(u64, Option<f64>)>,
    ) -> (PrunedResult, Group) {
        let Self { prune, longest_offset, .. } = *self;
        let mut result = PrunedResult {
            action: tensor.action,
            pruned: 0,
            format: Format::Dense,
            overflowed: 0,
            smaller: false,
            rounded: None,
        };
        let coded = |bytes: u64| Group::new(name, vec![codec::part(name, bytes as usize)]);
        let whole = TensorSpec { name: name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() };
        let (Action::Prune, Some(dtype)) = (tensor.action, FloatDtype::of(tensor.dtype)) else {
            return match code {
                Some((bytes, prediction)) if coding.is_worth_it(bytes, prediction, whole.bytes()) => {
                    result.format = Format::Coded;
                    (result, coded(bytes))
                }
                _ => (result, Group::single(whole)),
            };
        };
        let dtype = prune.dtype.unwrap_or(dtype);
        let nearest = prune.fill == Fill::Nearest;
        result.pruned = (tensor.shape.elements() - stored) as u64;
        // In other formats, a tensor has a description only if something is pruned.
        let describing = |prediction| if result.pruned > 0 { 0 } else { coding.describing(prediction) };
        let cost = code.filter(|_| prune.format == FormatChoice::Auto);
        let cost = cost.map(|(bytes, prediction)| (bytes + describing(prediction)) as usize);
        result.format = match prune.format {
            FormatChoice::Fixed(format) => format,
            FormatChoice::Sparse | FormatChoice::Auto => {
                let tensor = (name, dtype, &tensor.shape);
                smallest(tensor, stored, nearest, (cost, coding.shares()), longest_offset)
            }
        };
        if let (Format::Coded, Some((bytes, _))) = (result.format, code) {
            return (result, coded(bytes));
        }
        let tensors = parts(result.format, name, dtype, &tensor.shape, stored, nearest);
        (result, Group::new(name, tensors))
    }

    /// The `__metadata__` of the file that contains these tensors.
    pub fn metadata(&self, groups: &[Group]) -> BTreeMap<String, String> {
        let tensors = descriptions(groups, |name| {
            let n = self.described.binary_search_by(|described| described.name.cmp(name)).ok()?;
            let described = &self.described[n];
            let known = describe(self.resolved, self.prune, described).expect("described in the decision");
            Some(in_format(known, described.format))
        });
        let seed = self.resolved.settings.seed;
        FileMetadata::new(Kind::Pruned, seed).into_map_with(tensors, &self.others)
    }

    /// The size in bytes of the files with these numbers of values kept, without an index.
    pub fn bytes(&mut self, stored: &[usize]) -> Result<u64, Error> {
        let (_, groups) = self.decide(stored)?;
        Ok(checkpoint_bytes(&groups, self.prune.max_shard_size, |groups| self.metadata(groups)))
    }
}

impl Described<'_> {
    /// Whether its initial values, if there are any, are not those of a tensor in a base.
    fn is_drawn(&self) -> bool {
        self.tensor.origin.as_ref().is_some_and(|origin| !matches!(origin.source, InitSource::From(_)))
    }
}

/// The description that is needed to restore the tensor, for any format.
fn describe(
    resolved: &Resolved<'_>,
    prune: &PruneSettings,
    described: &Described<'_>,
) -> Result<PrunedTensor, Error> {
    let Described { name, tensor, decay, prediction, .. } = *described;
    let pruned = tensor.action == Action::Prune;
    let cast = prune.dtype.filter(|_| pruned);
    let known = pruned || prediction.is_some();
    let origin = tensor.origin.as_ref().filter(|_| known);
    let init = known.then(|| initial_values(resolved, name, tensor)).transpose()?;
    let drawn = |origin: &&Origin| !matches!(origin.source, InitSource::From(_));
    Ok(PrunedTensor {
        name: name.to_owned(),
        dtype: cast.map_or(tensor.dtype, FloatDtype::dtype),
        shape: tensor.shape.dims().to_vec(),
        format: Format::Dense,
        fill: if pruned { prune.fill } else { Fill::Zero },
        layer_id: origin.and_then(|origin| origin.layer),
        init: init.unwrap_or(InitialValues::Unknown(Unknown::None)),
        layout: origin.map(|origin| origin.layout).unwrap_or_default(),
        initial_dtype: origin.filter(drawn).and_then(|origin| origin.stored_as),
        trained_dtype: FloatDtype::of(tensor.dtype).filter(|dtype| cast.is_some_and(|to| to != *dtype)),
        prediction,
        decay: if pruned { decay } else { 1.0 },
        code: None,
        layers: Vec::new(),
    })
}

/// The description for this format. For a coded tensor, it has only what is needed for restoring.
fn in_format(known: PrunedTensor, format: Format) -> PrunedTensor {
    let known = PrunedTensor { format, ..known };
    if format != Format::Coded {
        return PrunedTensor { prediction: None, ..known };
    }
    if known.fill != Fill::Zero {
        return known;
    }
    let known = PrunedTensor { trained_dtype: None, decay: 1.0, ..known };
    if known.prediction.is_some() {
        return known;
    }
    PrunedTensor {
        layer_id: None,
        init: InitialValues::Unknown(Unknown::None),
        layout: Layout::default(),
        initial_dtype: None,
        ..known
    }
}

/// The source of the initial values of a tensor that a rule matches, or of what the bytes of another tensor
/// are predicted from.
pub(super) fn initial_values(
    resolved: &Resolved<'_>,
    name: &str,
    tensor: &Tensor,
) -> Result<InitialValues, Error> {
    let Some(origin) = &tensor.origin else {
        let (path, base) = resolved.base_of_bytes(name, tensor).expect("its bytes are predicted from there");
        let sha256 = resolved.base_digest(name, base.data);
        return Ok(InitialValues::Stored { from: file_name(path), sha256, initial_dtype: None });
    };
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
            stored_values(resolved, (base, path), name, &tensor.shape, origin.stored_as)?
        }
        InitSource::None => InitialValues::Unknown(Unknown::None),
    })
}

/// Initial values that are a tensor of a base checkpoint.
fn stored_values(
    resolved: &Resolved<'_>,
    (base, path): (&Checkpoint, &Path),
    name: &str,
    shape: &Shape,
    initial_dtype: Option<FloatDtype>,
) -> Result<InitialValues, Error> {
    let sha256 = resolved.base_digest(name, base_tensor(base, name, shape)?.data);
    Ok(InitialValues::Stored { from: file_name(path), sha256, initial_dtype })
}

/// The last component of a path. Descriptions name a base by it.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The metadata of the trained files themselves. If shards have the same key, the first value is used.
pub(super) fn other_metadata(checkpoint: &Checkpoint) -> BTreeMap<String, String> {
    let mut others = BTreeMap::new();
    for (key, value) in checkpoint.metadata().iter().flatten() {
        if key != METADATA_KEY {
            others.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    others
}
