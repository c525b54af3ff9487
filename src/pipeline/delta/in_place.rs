//! `apply` to the files of the base: those that change are replaced, all together.
//!
//! A new file is complete under a temporary name before it gets the name of the old one, so a single file is
//! the old version or the new one at any time. Several files cannot get their names at once. Meanwhile, the
//! index has another name, so that no loader finds a mixture; if the program is killed then, the next call
//! completes the update or gives the index its name back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cdi_core::internal::checkpoint::UPDATING;
use serde_json::{Map, Value};

use super::chain::FormOf;
use super::making::{Applied, Making, applied, groups};
use crate::checkpoint::{CheckpointError, METADATA_KEY};
use crate::pipeline::error::{DeltaProblem, Error};
use crate::pipeline::outputs::check_distinct;
use crate::pipeline::progress::Progress;
use crate::place;
use crate::store::{CheckpointWriter, Group, OutputSet, folder_of};

fn aside(index: &Path) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push(UPDATING);
    name.into()
}

/// Completes or undoes what a killed call has begun.
pub(super) fn recover(base: &Path, deltas: &[PathBuf]) -> Result<(), Error> {
    if place::is_distant(base) {
        let what = "objects in a store cannot be updated in place; give an output with -o";
        let error = io::Error::new(io::ErrorKind::Unsupported, what);
        return Err(CheckpointError::io(base, "update")(error).into());
    }
    let folder = if base.is_dir() { base } else { folder_of(base) };
    let mut files = Vec::new();
    let mut indexes = Vec::new();
    // A base that is not there is an error of opening it.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(index) = name.strip_suffix(UPDATING) {
            indexes.push(folder.join(index));
        }
        if name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") {
            files.push(path);
        }
    }
    files.extend(indexes.iter().cloned());
    OutputSet::recover(files.iter().map(PathBuf::as_path), deltas.iter().map(PathBuf::as_path))?;
    for index in indexes {
        let aside = aside(&index);
        let done = if index.exists() { fs::remove_file(&aside) } else { fs::rename(&aside, &index) };
        match done {
            // Another call has done it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CheckpointError::io(&aside, "finish")(error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Replaces the files of the base that change.
pub(super) fn replace(base: &Path, made: &dyn Making, progress: &dyn Progress) -> Result<Applied, Error> {
    let refuse = |why: String| Err(DeltaProblem::InPlace(why).of(base));
    let old = made.base();
    if old.path() != base {
        let full = old.path().display();
        return refuse(format!(
            "{full} is a full version, with which the chain begins anew; write it to another folder with `-o`"
        ));
    }
    let paths: Vec<&Path> = old.shards().collect();
    let inputs = || made.inputs().into_iter().map(|path| ("a delta", path));
    check_distinct(inputs(), paths.iter().chain(&old.index()).map(|path| ("a file of the base", *path)))?;
    for path in paths.iter().chain(&old.index()) {
        if path.is_symlink() {
            return refuse(format!("{} is a link; give the folder that it leads to", path.display()));
        }
    }
    let files = divided(made);
    if old.index().is_none() && paths.len() > 1 {
        let why = "the checkpoint has several files and no index, which would show that they are being replaced; write \
                   the new version to another folder with `-o`";
        return refuse(why.to_owned());
    }
    let mut before: Vec<Vec<&str>> = vec![Vec::new(); paths.len()];
    for (name, _) in old.tensors() {
        before[old.file_of(name).expect("one of its names")].push(name);
    }
    let stays = |n: usize| {
        let same = |(after, before): (&(&str, FormOf<'_>), &&str)| {
            after.0 == *before && made.in_base(after.0) == Some(after.0)
        };
        files[n].len() == before[n].len() && files[n].iter().zip(&before[n]).all(same)
    };
    let changing: Vec<usize> = (0..paths.len()).filter(|n| !stays(*n)).collect();
    let anchor = old.index().unwrap_or(paths[0]);
    let mut set = OutputSet::open(anchor, inputs().map(|(_, path)| path))?;
    let groups: Vec<Vec<Group>> = changing.iter().map(|n| groups(files[*n].iter().copied())).collect();
    let mut writers: BTreeMap<usize, CheckpointWriter<'_>> = BTreeMap::new();
    for (n, groups) in changing.iter().zip(&groups) {
        let mut metadata = old.metadata()[*n].clone();
        metadata.remove(METADATA_KEY);
        let metadata = |_: &[Group]| metadata.clone();
        let key = || Ok::<_, Error>(None);
        writers.insert(*n, CheckpointWriter::resume(&mut set, paths[*n], groups, None, metadata, key)?);
    }
    let home: BTreeMap<&str, usize> = files
        .iter()
        .enumerate()
        .flat_map(|(n, tensors)| tensors.iter().map(move |(name, _)| (*name, n)))
        .collect();
    let place = |name: &str| {
        let writer = writers.get(&home[name])?;
        Some((writer, writer.slot(name)))
    };
    let same = made.make(&place, progress)?;
    let bytes = writers.values().map(CheckpointWriter::bytes).sum();
    let mut written = Vec::new();
    for writer in writers.into_values() {
        written.extend(writer.stage(&mut set)?);
    }
    if let Some(index) = old.index() {
        let text = new_index(index, &paths, &home, made)?;
        if changing.len() > 1 || text.as_deref() != fs::read_to_string(index).ok().as_deref() {
            let text = text.unwrap_or_default();
            set.add_text(index, &text)?;
            written.push(index.to_owned());
        }
    }
    let hidden = old.index().filter(|_| written.len() > 1);
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(CheckpointError::io(from, "rename"));
    if let Some(index) = hidden {
        rename(index, &aside(index))?;
    }
    if let Err(error) = set.commit() {
        if let Some(index) = hidden.filter(|index| !index.exists()) {
            rename(&aside(index), index)?;
        }
        return Err(error.into());
    }
    if let Some(index) = hidden {
        // A remainder, which the next call would remove.
        let _ = fs::remove_file(aside(index));
    }
    Ok(applied(made, same, written, bytes, Vec::new()))
}

/// The tensors of the new checkpoint for each file of the base: where the tensor is that they come from, and
/// otherwise in the last file.
fn divided(made: &dyn Making) -> Vec<Vec<(&str, FormOf<'_>)>> {
    let count = made.base().shards().count();
    let mut files = vec![Vec::new(); count];
    for (name, form) in made.tensors() {
        let file = made.base().file_of(made.source(name)).unwrap_or(count - 1);
        files[file].push((name, form));
    }
    files
}

/// The index with the new places and sizes of tensors, and whatever else the old one says.
fn new_index(
    index: &Path,
    paths: &[&Path],
    home: &BTreeMap<&str, usize>,
    made: &dyn Making,
) -> Result<Option<String>, Error> {
    let text = fs::read_to_string(index).map_err(CheckpointError::io(index, "read"))?;
    let mut json: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(json) = json.as_object_mut() else { return Ok(None) };
    let name = |n: usize| paths[n].file_name().unwrap_or_default().to_string_lossy().into_owned();
    let places: Map<String, Value> =
        home.iter().map(|(tensor, n)| ((*tensor).to_owned(), Value::from(name(*n)))).collect();
    let old_bytes: u64 = made.base().tensors().map(|(_, tensor)| tensor.data.len() as u64).sum();
    if json.get("weight_map").and_then(Value::as_object) == Some(&places) && old_bytes == made.tensor_bytes()
    {
        return Ok(Some(text));
    }
    json.insert("weight_map".to_owned(), Value::Object(places));
    let metadata = json.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("total_size".to_owned(), made.tensor_bytes().into());
    }
    let json = serde_json::to_string_pretty(&json).expect("JSON that was read");
    Ok(Some(json + "\n"))
}
