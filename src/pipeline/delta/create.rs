//! The command `delta`.

use std::collections::BTreeMap;
use std::path::Path;

use cdi_core::internal::checkpoint::View;
use serde::Serialize;

use super::compare::{Change, ChangedTensor, Compared, compare};
use crate::checkpoint::{Checkpoint, OpenOptions};
use crate::pipeline::error::{DeltaProblem, Error, caught};
use crate::pipeline::outcome::Written;
use crate::pipeline::pack::{PredictFrom, pack_over};
use crate::pipeline::plan::file_name;
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::refuse_pruned;
use crate::sparse::Delta;

/// How a delta is made.
#[derive(Clone, Debug, Default)]
pub struct DeltaOptions {
    /// Names in the base, and what the new checkpoint calls the same tensors. Both may contain one `*`, which
    /// stands for the same characters in both.
    pub map: Vec<(String, String)>,
    /// Where the output is cut into shards, in bytes; `None` for one file.
    pub max_shard_size: Option<u64>,
    /// How the checkpoints are opened.
    pub open: OpenOptions,
}

/// A delta that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// Its files.
    #[serde(flatten)]
    pub written: Written,
    /// The state of the base.
    pub base_state: String,
    /// The state of the new checkpoint.
    pub state: String,
    /// Bytes of the files of the new checkpoint.
    pub new_bytes: u64,
    /// The tensors of the new checkpoint in name order, then those that it lacks.
    pub tensors: Vec<ChangedTensor>,
}

/// Writes what changed from `base` to `new`, so that [`super::apply`] makes `new` of `base`: without loss,
/// and whatever files the tensors are in.
///
/// # Errors
/// [`Error::AlreadyPruned`] if one of them is pruned or packed; [`Error::SameFile`] if the output is an
/// input; [`Error::Delta`] for a wrong map; errors of reading and writing.
pub fn delta(
    base: &Path,
    new: &Path,
    output: &Path,
    options: &DeltaOptions,
    progress: &dyn Progress,
) -> Result<Made, Error> {
    caught(|| {
        let (mut base, new) =
            (Checkpoint::open_with(base, options.open)?, Checkpoint::open_with(new, options.open)?);
        delta_between(&mut base, &new, output, options, progress)
    })
}

/// The same for checkpoints that are open. The base is as it was when this returns.
pub(super) fn delta_between(
    base: &mut Checkpoint,
    new: &Checkpoint,
    output: &Path,
    options: &DeltaOptions,
    progress: &dyn Progress,
) -> Result<Made, Error> {
    refuse_pruned(base)?;
    refuse_pruned(new)?;
    let renamed = renamed(base, new, &options.map)?;
    let Compared { mut tensors, base: before, new: after } = compare(base, new, &renamed, progress)?;
    let names = |change| -> Vec<String> {
        tensors.iter().filter(|tensor| tensor.change == change).map(|tensor| tensor.name.clone()).collect()
    };
    let (added, removed) = (names(Change::Added), names(Change::Removed));
    let shapes = tensors.iter().filter_map(|tensor| {
        let (name, shape) = (tensor.name.as_str(), new.tensor(&tensor.name)?.shape);
        let from = tensor.renamed_from.as_deref().unwrap_or(name);
        (from != name || tensor.change == Change::Grown).then_some(View { name, from, shape })
    });
    let (path, no_memory) = (base.path().to_owned(), |(tensor, bytes)| Error::NoMemory { tensor, bytes });
    let hidden = base.view(shapes).map_err(no_memory)?;
    let from = file_name(&path);
    let described = Delta { from, base: before.clone(), state: after.clone(), renamed, added, removed };
    let start = PredictFrom::Base(new, base);
    let packed = pack_over(&start, output, options.max_shard_size, Some(described), progress);
    base.unview(hidden);
    let packed = packed?;
    let bytes: BTreeMap<&str, u64> = packed.tensors.iter().map(|t| (t.name.as_str(), t.to)).collect();
    for tensor in &mut tensors {
        tensor.delta_bytes = bytes.get(tensor.name.as_str()).copied().unwrap_or_default();
    }
    let (written, new_bytes) = (packed.written, packed.read);
    Ok(Made { written, base_state: before, state: after, new_bytes, tensors })
}

/// The tensors that have another name in the base: names in the new checkpoint, and in the base.
fn renamed(
    base: &Checkpoint,
    new: &Checkpoint,
    map: &[(String, String)],
) -> Result<BTreeMap<String, String>, Error> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (old, is) in map {
        let wrong = |problem| {
            let (old, new) = (old.clone(), is.clone());
            Err(DeltaProblem::Map { old, new, problem }.of(base.path()))
        };
        let stars = [old, is].map(|name| name.matches('*').count());
        if stars[0] != stars[1] || stars[0] > 1 {
            return wrong("both names have one `*`, or none");
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        match (old.split_once('*'), is.split_once('*')) {
            (Some((before, after)), Some((prefix, suffix))) => {
                for (name, _) in base.tensors() {
                    let middle = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                    let to = middle.map(|middle| format!("{prefix}{middle}{suffix}"));
                    pairs.extend(to.filter(|to| new.tensor(to).is_some()).map(|to| (to, name.to_owned())));
                }
            }
            _ if base.tensor(old).is_none() => return wrong("the base has no tensor of the first name"),
            _ if new.tensor(is).is_none() => {
                return wrong("the new checkpoint has no tensor of the second name");
            }
            _ => pairs.push((is.clone(), old.clone())),
        }
        if pairs.is_empty() {
            return wrong(
                "no tensor of the base has a name like the first that becomes one of the new checkpoint",
            );
        }
        for (to, from) in pairs {
            if all.insert(to, from).is_some() {
                return wrong("another `--map` gives a tensor of the new checkpoint already");
            }
        }
    }
    all.retain(|to, from| to != from);
    Ok(all)
}
