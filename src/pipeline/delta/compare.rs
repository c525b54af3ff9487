//! What changed from one checkpoint to another, and the states of both, from one pass over their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cdi_core::internal::checkpoint::growth;
use cdi_core::internal::state::{Digest, State, TensorDigest, of_block, ranges};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, Mapped, TensorRef};
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::error::Error;
use crate::pipeline::progress::Progress;
use crate::tensor::FloatDtype;

/// What became of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Its bytes are the same.
    Unchanged,
    /// It has other values.
    Changed,
    /// One of its dimensions is longer.
    Grown,
    /// It has another type.
    Retyped,
    /// It has another shape, in more than one longer dimension.
    Reshaped,
    /// The base has no such tensor.
    Added,
    /// Only the base has it.
    Removed,
}

/// A tensor of the new checkpoint, or one that it lacks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedTensor {
    /// Its name, in the base if it was removed.
    pub name: String,
    /// Its name in the base, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// What became of it.
    pub change: Change,
    /// Its type, as in safetensors.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Number of elements whose bits differ; `None` if type or shape differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// The largest absolute difference of two elements, for floating-point types; those that are not finite
    /// do not count. `None` where `changed` is, or where nothing differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<f64>,
    /// Its bytes in the new checkpoint.
    pub bytes: u64,
    /// Its bytes in the delta.
    pub delta_bytes: u64,
}

/// What a comparison found.
pub(super) struct Compared {
    /// Those of the new checkpoint in name order, then those that were removed.
    pub tensors: Vec<ChangedTensor>,
    /// The states of the base and of the new checkpoint.
    pub base: String,
    pub new: String,
}

/// Some bytes to digest.
struct Item<'a> {
    data: Mapped<'a>,
    /// The same bytes in the base, and the type.
    base: Option<(Mapped<'a>, safetensors::Dtype)>,
}

/// What was found of them.
struct Found {
    digest: Digest,
    base: Option<Digest>,
    changed: u64,
    largest: f64,
}

/// Compares two checkpoints. `renamed` has the names of the base for those of the new one that differ.
pub(super) fn compare(
    base: &Checkpoint,
    new: &Checkpoint,
    renamed: &BTreeMap<String, String>,
    progress: &dyn Progress,
) -> Result<Compared, Error> {
    let source = |name: &'_ str| renamed.get(name).cloned().unwrap_or_else(|| name.to_owned());
    let moved: BTreeSet<&str> = renamed.values().map(String::as_str).collect();
    let (mut tensors, mut items, mut of_new) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_base: BTreeMap<String, Range<usize>> = BTreeMap::new();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (name, tensor) in new.tensors() {
        let from = source(name);
        // A tensor whose name has moved to another one is no predecessor.
        let old = (renamed.contains_key(name) || !moved.contains(name)).then(|| base.tensor(&from)).flatten();
        let change = old.map_or(Change::Added, |old| change(&old, &tensor));
        let pair = old.filter(|_| change == Change::Unchanged);
        let first = items.len();
        items.extend(ranges(tensor.dtype, tensor.shape).map(|range| Item {
            data: tensor.data.part(range.clone()),
            base: pair.map(|old| (old.data.part(range), tensor.dtype)),
        }));
        of_new.push((name, tensor, first..items.len()));
        if pair.is_some() {
            of_base.insert(from.clone(), first..items.len());
        }
        used.extend(old.map(|_| from.clone()));
        tensors.push(ChangedTensor {
            name: name.to_owned(),
            renamed_from: (from != name).then_some(from),
            change,
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.dims().to_vec(),
            changed: pair.map(|_| 0),
            largest: None,
            bytes: tensor.data.len() as u64,
            delta_bytes: 0,
        });
    }
    let mut removed = Vec::new();
    for (name, tensor) in base.tensors() {
        if !of_base.contains_key(name) {
            let first = items.len();
            let parts = ranges(tensor.dtype, tensor.shape).map(|range| tensor.data.part(range));
            items.extend(parts.map(|data| Item { data, base: None }));
            of_base.insert(name.to_owned(), first..items.len());
        }
        if !used.contains(name) {
            removed.push(ChangedTensor {
                name: name.to_owned(),
                renamed_from: None,
                change: Change::Removed,
                dtype: tensor.dtype.to_string(),
                shape: tensor.shape.dims().to_vec(),
                changed: None,
                largest: None,
                bytes: 0,
                delta_bytes: 0,
            });
        }
    }
    progress.begin("compare", items.iter().map(|item| item.data.len() as u64).sum());
    let found = blocks::for_each(
        &items,
        progress,
        |item| {
            let mut reads = Reads::of(item.data);
            reads.mapped[1] = item.base.map(|(base, _)| base);
            reads
        },
        <[Vec<f64>; 2]>::default,
        |scratch, item| Ok::<_, Error>(look(item, scratch)),
    )?;
    progress.end();
    let (mut before, mut after) = (State::default(), State::default());
    let digest = |range: Range<usize>, of: fn(&Found) -> &Digest| {
        found[range].iter().map(of).collect::<TensorDigest>().finish()
    };
    for (row, (name, tensor, range)) in tensors.iter_mut().zip(of_new) {
        after.add(name, tensor.dtype, tensor.shape, &digest(range.clone(), |found| &found.digest));
        if let Some(changed) = &mut row.changed {
            *changed = found[range.clone()].iter().map(|found| found.changed).sum();
            if *changed > 0 {
                row.change = Change::Changed;
                let largest = found[range].iter().map(|found| found.largest).fold(0.0, f64::max);
                row.largest = FloatDtype::of(tensor.dtype).map(|_| largest);
            }
        }
    }
    for (name, tensor) in base.tensors() {
        let all = digest(of_base[name].clone(), |found| found.base.as_ref().unwrap_or(&found.digest));
        before.add(name, tensor.dtype, tensor.shape, &all);
    }
    tensors.extend(removed);
    Ok(Compared { tensors, base: before.finish(), new: after.finish() })
}

/// Without looking at the bytes: `Unchanged` if those can be compared.
fn change(old: &TensorRef<'_>, new: &TensorRef<'_>) -> Change {
    if old.dtype != new.dtype {
        return Change::Retyped;
    }
    if old.shape == new.shape {
        return Change::Unchanged;
    }
    if growth(old.shape, new.shape).is_some() { Change::Grown } else { Change::Reshaped }
}

fn look(item: &Item<'_>, [old, new]: &mut [Vec<f64>; 2]) -> Found {
    let bytes = item.data.bytes();
    let mut found = Found { digest: of_block(bytes), base: None, changed: 0, largest: 0.0 };
    let Some((base, dtype)) = item.base.map(|(base, dtype)| (base.bytes(), dtype)) else { return found };
    // Most blocks are equal, and need no second digest.
    if base == bytes {
        found.base = Some(found.digest);
        return found;
    }
    found.base = Some(of_block(base));
    found.changed = match dtype.bitsize() {
        16 => differing::<2>(base, bytes),
        32 => differing::<4>(base, bytes),
        64 => differing::<8>(base, bytes),
        // Elements that share a byte count as one.
        _ => differing::<1>(base, bytes),
    };
    if let Some(float) = FloatDtype::of(dtype) {
        for (bytes, values) in [(base, &mut *old), (bytes, &mut *new)] {
            values.resize(bytes.len() / float.size(), 0.0);
            float.decode(bytes, values);
        }
        let differences = old.iter().zip(&*new).map(|(old, new)| (new - old).abs());
        found.largest = differences.filter(|d| d.is_finite()).fold(0.0, f64::max);
    }
    found
}

fn differing<const SIZE: usize>(old: &[u8], new: &[u8]) -> u64 {
    let (old, new) = (old.as_chunks::<SIZE>().0, new.as_chunks::<SIZE>().0);
    old.iter().zip(new).filter(|(old, new)| old != new).count() as u64
}
