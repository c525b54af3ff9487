//! Finds the checkpoint in a folder: an index with its shards, shards without an index, or a single file.

use alloc::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::{CheckpointError, ErrorKind};
use super::foreign::Foreign;
use crate::place;
use crate::prelude::*;

/// What is appended to the name of an index while the files that it lists are being replaced.
pub const UPDATING: &str = ".cdi-prune-update";

/// A checkpoint found in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One file: an index or a `.safetensors` file.
    File(PathBuf),
    /// All shards of a set that has no index, in order.
    Shards(Vec<String>),
}

/// The shards `STEM-nnnnn-of-nnnnn.safetensors` with the same stem and total.
#[derive(Debug, Default)]
struct Set {
    width: usize,
    numbers: BTreeMap<usize, String>,
}

/// The stem of `model.safetensors.index.json`, or of `model.safetensors.index.fp16.json`, as transformers and
/// diffusers name variants.
fn index_stem(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".json")?;
    if let Some(stem) = stem.strip_suffix(".safetensors.index") {
        return Some(stem.to_owned());
    }
    let (stem, variant) = stem.split_once(".safetensors.index.")?;
    (!variant.is_empty() && !variant.contains('.')).then(|| format!("{stem}.{variant}"))
}

/// Stem, number, total and number of digits of `model-00001-of-00003`.
fn shard(stem: &str) -> Option<(&str, usize, usize, usize)> {
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (4..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(total) || stem.is_empty() {
        return None;
    }
    Some((stem, number.parse().ok()?, total.parse().ok()?, number.len()))
}

/// The part of a stem before the variant: `model` of `model.fp16`.
fn family(stem: &str) -> &str {
    stem.split_once('.').map_or(stem, |(family, _)| family)
}

/// Finds the only checkpoint of a folder. An index takes precedence over single files, unless they are
/// another variant of it.
pub(super) fn in_folder(folder: &Path) -> Result<Found, CheckpointError> {
    let mut names = BTreeSet::new();
    for name in place::list(folder).map_err(CheckpointError::io(folder, "list"))? {
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(UPDATING) {
            return Err(CheckpointError::new(folder, ErrorKind::Updating(name)));
        }
        // macOS stores attributes of `NAME` in `._NAME` on file systems that have no place for them.
        if !name.starts_with("._") {
            names.insert(name);
        }
    }
    let indexes: Vec<(&str, String)> =
        names.iter().filter_map(|name| Some((name.as_str(), index_stem(name)?))).collect();
    let mut files = Vec::new();
    let mut sets: BTreeMap<(&str, usize), Set> = BTreeMap::new();
    for name in &names {
        let Some(stem) = name.strip_suffix(".safetensors") else { continue };
        match shard(stem) {
            Some((stem, number, total, width)) => {
                let set = sets.entry((stem, total)).or_default();
                set.width = width;
                set.numbers.insert(number, name.clone());
            }
            None => files.push((name.as_str(), stem)),
        }
    }
    let others = |ours: &str| {
        let is_variant = |stem: &str| stem != ours && family(stem) == family(ours);
        files
            .iter()
            .filter(|(_, stem)| is_variant(stem))
            .map(|(name, _)| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let mut found: Vec<String> = indexes.iter().map(|(name, _)| (*name).to_owned()).collect();
    match &indexes[..] {
        [] => {
            found.extend(files.iter().map(|(name, _)| (*name).to_owned()));
            found.extend(sets.keys().map(|(stem, total)| format!("{stem}-*-of-{total:05}.safetensors")));
        }
        [(_, stem)] => found.extend(others(stem)),
        _ => {}
    }
    found.sort();
    let wrong = |kind| Err(CheckpointError::new(folder, kind));
    match (&found[..], sets.into_iter().next()) {
        ([], _) => wrong(ErrorKind::EmptyFolder(nearest_to_one(&names))),
        ([_], Some(((stem, total), set))) if indexes.is_empty() && files.is_empty() => {
            whole(folder, stem, total, set)
        }
        ([one], _) => Ok(Found::File(folder.join(one))),
        _ => wrong(ErrorKind::AmbiguousFolder(found)),
    }
}

/// The set, if none of its shards is missing.
fn whole(folder: &Path, stem: &str, total: usize, set: Set) -> Result<Found, CheckpointError> {
    let missing: Vec<usize> = (1..=total).filter(|n| !set.numbers.contains_key(n)).collect();
    let beyond = set.numbers.keys().any(|n| *n == 0 || *n > total);
    if missing.is_empty() && !beyond {
        return Ok(Found::Shards(set.numbers.into_values().collect()));
    }
    let Set { width, numbers } = set;
    let name = |n: &usize| format!("{stem}-{n:0width$}-of-{total:0width$}.safetensors");
    let kind = ErrorKind::ShardsMissing {
        found: numbers.len(),
        total,
        missing: missing.iter().take(SHOWN).map(name).collect(),
        more: missing.len().saturating_sub(SHOWN),
    };
    Err(CheckpointError::new(folder, kind))
}

/// Maximum number of missing shards that an error names.
const SHOWN: usize = 10;

/// In a folder without a checkpoint, a file that holds weights in another format.
fn nearest_to_one(names: &BTreeSet<String>) -> Option<(String, Foreign)> {
    if let Some(name) = names.iter().find(|name| name.ends_with(".distcp")) {
        return Some((name.clone(), Foreign::Distributed));
    }
    names.iter().find_map(|name| Some((name.clone(), Foreign::by_name(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indexes_and_shards() {
        assert_eq!(index_stem("model.safetensors.index.json").as_deref(), Some("model"));
        assert_eq!(index_stem("a.fp16.safetensors.index.json").as_deref(), Some("a.fp16"));
        assert_eq!(index_stem("a.safetensors.index.fp16.json").as_deref(), Some("a.fp16"));
        assert_eq!(index_stem("pytorch_model.bin.index.json"), None);
        assert_eq!(shard("model-00001-of-00003"), Some(("model", 1, 3, 5)));
        assert_eq!(shard("a-b.fp16-0002-of-0003"), Some(("a-b.fp16", 2, 3, 4)));
        assert_eq!(
            (shard("model-1-of-3"), shard("two-of-a-kind"), shard("-00001-of-00001")),
            (None, None, None)
        );
    }
}
