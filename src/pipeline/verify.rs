//! The command `verify`: what a run wrote, held against its manifest and, where the inputs are at hand, made anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::Error;
use super::manifest::{LONGEST, folder_seen, hashed, input_paths, seen_from, tensors};
use super::progress::Progress;
use super::resolve::Resolved;
use super::run::{Stages, run};
use super::sample::check_rows;
use super::tune::with_prune;
use super::verify_problem::VerifyProblem;
use crate::checkpoint::{CheckpointError, Unfinished, entry_path, stale_beside};
use crate::config::Settings;
use crate::manifest::{FileEntry, Manifest};
use crate::reader::{Limits, PrunedReader};
use crate::regular;
use crate::report::text::thousands;
use crate::tensor::FloatDtype;

/// What was checked, and found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Outputs.
    pub outputs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether files were hashed; else only their sizes were looked at.
    pub hashed: bool,
    /// Inputs that are not there any more.
    pub inputs_missing: Vec<String>,
    /// How far the pruned checkpoint was held against what it should be.
    pub pruned: Depth,
}

/// How far the pruned checkpoint was held against the trained one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Made anew, the same bytes.
    Whole {
        /// Tensors of the trained checkpoint.
        tensors: usize,
    },
    /// Some rows were restored, and every weight in them was what it should be.
    Rows {
        /// How many rows.
        rows: u64,
    },
    /// Not at all.
    No {
        /// Why.
        why: &'static str,
    },
}

impl Verified {
    /// In words.
    pub fn words(&self) -> String {
        let (outputs, bytes) = (self.outputs, thousands(self.bytes));
        let how = if self.hashed { "have the SHA-256" } else { "have the sizes" };
        let mut text = format!("All {outputs} outputs, {bytes} bytes, {how} that the manifest says.");
        if !self.inputs_missing.is_empty() {
            text += &format!("\nInputs that are not at hand: {}.", self.inputs_missing.join(", "));
        }
        text += &match &self.pruned {
            Depth::Whole { tensors } => format!(
                "\nThe pruned checkpoint was made anew from the inputs: the same bytes, and the same counts of {} tensors.",
                thousands(*tensors as u64)
            ),
            Depth::Rows { rows } => format!(
                "\nOf the pruned checkpoint {} rows were restored and compared with the trained ones; nothing was hashed.",
                thousands(*rows)
            ),
            Depth::No { why } => format!("\nThe pruned checkpoint was not made anew: {why}."),
        };
        text
    }
}

/// Checks a manifest. With `sample`, no file is hashed, and this many rows of the pruned checkpoint are compared.
///
/// # Errors
/// [`Error::Verify`] at the first difference, and those of the stages where a stage cannot be done any more.
pub fn verify(manifest: &Path, sample: Option<u64>, progress: &dyn Progress) -> Result<Verified, Error> {
    let wrong = |problem| Error::Verify { path: manifest.to_owned(), problem: Box::new(problem) };
    let text = regular::read(manifest, LONGEST).map_err(CheckpointError::io(manifest, "read"))?;
    let found = Manifest::parse(&text).map_err(|problem| wrong(VerifyProblem::Manifest(problem)))?;
    let folder = folder_seen(manifest)?;
    let place = |entry: &FileEntry| manifest.with_file_name("").join(&entry.path);
    let check = |entry: &FileEntry, what: &'static str| {
        let path = place(entry);
        let problem = match compare_file(&path, entry, sample.is_none()) {
            Ok(None) => return Ok(()),
            Ok(Some(problem)) => problem,
            Err(error) => VerifyProblem::Unreadable(error),
        };
        Err(wrong(VerifyProblem::File { what, path, problem: Box::new(problem) }))
    };
    found.outputs.par_iter().map(|entry| check(entry, "output")).collect::<Result<(), Error>>()?;
    let outputs: Vec<PathBuf> = found.outputs.iter().map(place).collect();
    if let Some(stale) = stale_beside(&outputs).into_iter().next() {
        return Err(wrong(VerifyProblem::Stale(stale)));
    }
    let (there, missing): (Vec<_>, Vec<_>) =
        found.inputs.iter().partition(|entry| place(entry).symlink_metadata().is_ok());
    there.par_iter().map(|entry| check(entry, "input")).collect::<Result<(), Error>>()?;
    let inputs_missing: Vec<String> =
        missing.iter().map(|entry| place(entry).display().to_string()).collect();
    let pruned = if inputs_missing.is_empty() {
        derive(&found, manifest, &folder, sample, progress)?
    } else {
        Depth::No { why: "not all inputs are at hand" }
    };
    Ok(Verified {
        outputs: found.outputs.len(),
        bytes: found.outputs.iter().map(|entry| entry.size).sum(),
        hashed: sample.is_none(),
        inputs_missing,
        pruned,
    })
}

/// What is wrong with a file, if something is.
fn compare_file(path: &Path, entry: &FileEntry, hash: bool) -> io::Result<Option<VerifyProblem>> {
    let length = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(VerifyProblem::Missing)),
        metadata => metadata?.len(),
    };
    if length != entry.size {
        return Ok(Some(VerifyProblem::Size { expected: entry.size, got: length }));
    }
    if hash {
        let (got, _) = hashed(path)?;
        if got != entry.sha256 {
            return Ok(Some(VerifyProblem::Digest { expected: entry.sha256.clone(), got }));
        }
    }
    Ok(None)
}

/// Holds the pruned checkpoint against the trained one.
fn derive(
    manifest: &Manifest,
    path: &Path,
    folder: &Path,
    sample: Option<u64>,
    progress: &dyn Progress,
) -> Result<Depth, Error> {
    let wrong = |problem| Error::Verify { path: path.to_owned(), problem: Box::new(problem) };
    let Some(config) = manifest.inputs.iter().find(|entry| entry.role == "config") else {
        return Ok(Depth::No { why: "the manifest lists no config" });
    };
    let settings = Settings::load(&path.with_file_name("").join(&config.path), &manifest.overrides)?;
    if settings.config_sha256 != manifest.config_sha256 {
        let (expected, got) = (manifest.config_sha256.clone(), settings.config_sha256);
        return Err(wrong(VerifyProblem::Config { expected, got }));
    }
    if settings.tune.is_some() {
        return Ok(Depth::No { why: "what `tune` chose hangs on the evaluation command" });
    }
    let Some(prune) = settings.prune.clone() else { return Ok(Depth::No { why: "there is none" }) };
    // Nothing is written where the run wrote; what is made anew is gone with its folder.
    let scratch =
        tempfile::tempdir().map_err(CheckpointError::io(&std::env::temp_dir(), "make a folder in"))?;
    let _unfinished = Unfinished::new(scratch.path());
    let mut anew = with_prune(&settings, prune.clone());
    if let Some(prune) = &mut anew.prune {
        prune.output = scratch.path().join(prune.output.file_name().unwrap_or_default());
        // The small files beside it have been hashed, where they came from and where they went.
        prune.folder = false;
    }
    let resolved = Resolved::new(&anew)?;
    if resolved.trained.is_none() {
        return Ok(Depth::No { why: "there was no trained checkpoint" });
    }
    resolved.open_scores()?;
    let base = settings.base();
    // The manifest may name fewer inputs than the config does.
    let listed = |(role, path): &(&str, String)| {
        manifest.inputs.iter().any(|entry| (entry.role.as_str(), &entry.path) == (*role, path))
    };
    if sample.is_none() && !input_paths(&resolved, folder)?.iter().all(listed) {
        return Err(wrong(VerifyProblem::Inputs));
    }
    let written = entry_path(&prune.output);
    if let Some(rows) = sample {
        return check_rows(&resolved, &written, base, rows, progress).map(|rows| Depth::Rows { rows });
    }
    let outcome = run(&resolved, Stages::Prune, progress, |_| {})?;
    outcome.check_start()?;
    if let Some(report) = &outcome.report {
        let anew = tensors(report);
        let differs = anew.iter().zip(&manifest.tensors).find(|(anew, listed)| anew != listed);
        if let Some((anew, listed)) = differs {
            let (expected, got) = (anew.clone(), listed.clone());
            return Err(wrong(VerifyProblem::Counts { expected, got }));
        }
        if anew.len() != manifest.tensors.len() {
            let (expected, got) = (anew.len(), manifest.tensors.len());
            return Err(wrong(VerifyProblem::Tensors { expected, got }));
        }
    }
    let made: Vec<PathBuf> = outcome.pruned.map(|pruned| pruned.written.files).unwrap_or_default();
    for file in &made {
        let there = prune.output.with_file_name(file.file_name().unwrap_or_default());
        let (anew, _) = hashed(file).map_err(CheckpointError::io(file, "read"))?;
        // A file that is listed has been hashed.
        let name = seen_from(folder, &there)?;
        let other = match manifest.outputs.iter().find(|entry| entry.path == name) {
            Some(entry) => entry.sha256.clone(),
            None => hashed(&there).map_err(CheckpointError::io(&there, "read"))?.0,
        };
        if anew != other {
            let anew = entry_path(&scratch.path().join(prune.output.file_name().unwrap_or_default()));
            return Err(wrong(difference(&anew, &written, base)?.unwrap_or(VerifyProblem::Bytes(there))));
        }
    }
    Ok(Depth::Whole { tensors: manifest.tensors.len() })
}

/// The first weight in which two pruned checkpoints differ once they are restored.
fn difference(anew: &Path, written: &Path, base: Option<&Path>) -> Result<Option<VerifyProblem>, Error> {
    let open = |path| PrunedReader::open_within(path, base, Limits::NONE);
    let (anew, other) = (open(anew)?, open(written)?);
    for (name, dtype, shape) in anew.tensors() {
        let Some((got_dtype, got_shape)) = other.tensor(name) else {
            return Ok(Some(VerifyProblem::TensorMissing(name.to_owned())));
        };
        if (got_dtype, got_shape) != (dtype, shape) {
            let (expected, got) = (format!("{dtype} {shape}"), format!("{got_dtype} {got_shape}"));
            return Ok(Some(VerifyProblem::Form { tensor: name.to_owned(), expected, got }));
        }
        let Some(float) = FloatDtype::of(dtype) else {
            // Stands in both as it is; its rows may begin within a byte.
            let (a, b) = (anew.whole(name).bytes(), other.whole(name).bytes());
            if let Some(byte) = a.iter().zip(b).position(|(a, b)| a != b) {
                let row = byte * shape.matrix().rows / a.len();
                return Ok(Some(VerifyProblem::Row { tensor: name.to_owned(), row }));
            }
            continue;
        };
        let matrix = shape.matrix();
        let row_bytes = matrix.cols * float.size();
        let (mut a, mut b) = (vec![0; row_bytes], vec![0; row_bytes]);
        for row in 0..matrix.rows {
            let rows = |file: &PrunedReader, out: &mut [u8]| {
                let read = file.read_rows(name, row..row + 1, out);
                read.err().map(VerifyProblem::Rows)
            };
            if let Some(problem) = rows(&anew, &mut a).or_else(|| rows(&other, &mut b)) {
                return Ok(Some(problem));
            }
            if a == b {
                continue;
            }
            return Ok(first_weight(name, row, float, &a, &b));
        }
    }
    Ok(None)
}

/// The first weight of a row in which two restored rows differ.
pub(super) fn first_weight(
    tensor: &str,
    row: usize,
    dtype: FloatDtype,
    expected: &[u8],
    got: &[u8],
) -> Option<VerifyProblem> {
    let size = dtype.size();
    let column = expected.chunks(size).zip(got.chunks(size)).position(|(a, b)| a != b)?;
    let value = |bytes: &[u8]| {
        let mut value = [0.0];
        dtype.decode(&bytes[column * size..(column + 1) * size], &mut value);
        value[0]
    };
    let (expected, got) = (value(expected), value(got));
    Some(VerifyProblem::Weight { tensor: tensor.to_owned(), row, column, expected, got })
}
