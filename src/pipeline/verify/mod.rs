//! The command `verify`: checks the outputs of a run against its manifest and, if the inputs exist, repeats
//! the run.

mod again;
mod differ;
mod sample;
mod verified;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::{Error, VerifyProblem, caught};
use super::manifest::{LONGEST, folder_seen};
use super::progress::Progress;
use crate::checkpoint::{CheckpointError, OpenOptions};
use crate::manifest::{FileEntry, Manifest};
use crate::place;
use crate::store::stale_beside;
use again::Listed;
use differ::compare_file;
pub use verified::{Depth, Verified};

/// Checks a manifest: that it is complete, that the files are those that it lists, and, if the inputs exist,
/// that they give the listed results. With `sample`, no file is hashed, and this many rows of the pruned
/// checkpoint are compared.
///
/// # Errors
/// [`Error::Verify`] at the first difference, and errors of the stages if a stage can no longer be run.
pub fn verify(
    manifest: &Path,
    sample: Option<u64>,
    options: OpenOptions,
    progress: &dyn Progress,
) -> Result<Verified, Error> {
    caught(|| {
        let wrong = |problem| Error::Verify { path: manifest.to_owned(), problem: Box::new(problem) };
        let text = place::read(manifest, LONGEST).map_err(CheckpointError::io(manifest, "read"))?;
        let found = Manifest::parse(&text).map_err(|problem| wrong(VerifyProblem::Manifest(problem)))?;
        if !found.is_intact(&text) {
            return Err(wrong(VerifyProblem::Altered));
        }
        let folder = folder_seen(manifest)?;
        let beside = manifest.with_file_name("");
        let place_of = |entry: &FileEntry| place::join(&beside, Path::new(&entry.path));
        let check = |entry: &FileEntry, what: &'static str| {
            let path = place_of(entry);
            let problem = match compare_file(&path, entry, sample.is_none()) {
                Ok(None) => return Ok(()),
                Ok(Some(problem)) => problem,
                Err(error) => VerifyProblem::Unreadable(error),
            };
            Err(wrong(VerifyProblem::File { what, path, problem: Box::new(problem) }))
        };
        found.outputs.par_iter().map(|entry| check(entry, "output")).collect::<Result<(), Error>>()?;
        let outputs: Vec<PathBuf> = found.outputs.iter().map(place_of).collect();
        if let Some(stale) = stale_beside(&outputs).into_iter().next() {
            return Err(wrong(VerifyProblem::Stale(stale)));
        }
        let (there, missing): (Vec<_>, Vec<_>) =
            found.inputs.iter().partition(|entry| place::exists(&place_of(entry)));
        there.par_iter().map(|entry| check(entry, "input")).collect::<Result<(), Error>>()?;
        let mut unchecked = Vec::new();
        if found.manifest_sha256.is_none() {
            unchecked.push("the manifest's own digest, because earlier versions did not write it".to_owned());
        }
        if found.tool_version != env!("CARGO_PKG_VERSION") {
            let (its, this) = (&found.tool_version, env!("CARGO_PKG_VERSION"));
            unchecked.push(format!("whether version {its}, and not {this}, made it"));
        }
        if sample.is_some() {
            unchecked.push("digests; gates; counts of tensors; which outputs there should be".to_owned());
        }
        let listed = Listed { manifest: &found, path: manifest, folder: &folder, options };
        let depth = listed.derive((sample, !missing.is_empty()), progress, &mut unchecked)?;
        Ok(Verified {
            outputs: found.outputs.len(),
            bytes: found.outputs.iter().map(|entry| entry.size).sum(),
            hashed: sample.is_none(),
            inputs_missing: missing.iter().map(|entry| place_of(entry).display().to_string()).collect(),
            depth,
            unchecked,
        })
    })
}
