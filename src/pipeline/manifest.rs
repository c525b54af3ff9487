//! The manifest of a run: written last, and read first to check whether there is anything to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::Error;
use super::inputs::InputKind;
use super::outcome::Outcome;
use super::outputs::RunOutputs;
use super::resolve::Resolved;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{OutputKind, ReportForm, Settings};
use crate::digest;
use crate::manifest::{FileEntry, Manifest, TensorEntry, VERSION, relative};
use crate::noise::NOISE_VERSION;
use crate::place;
use crate::report::{FIXED_NAMES, Report};
use crate::store::{Decided, Draft, README, folder_of, hash, index_path, stale_beside, through_link};

/// Version of the config format.
pub(super) const CONFIG_VERSION: u32 = 1;

/// Maximum size of a manifest in bytes.
pub(super) const LONGEST: u64 = 1 << 30;

/// The folder that paths in a manifest are relative to, with links resolved.
pub(super) fn folder_seen(manifest: &Path) -> Result<PathBuf, CheckpointError> {
    let folder = folder_of(manifest);
    place::canonical(folder).map_err(CheckpointError::io(folder, "find"))
}

/// `path` relative to `folder`. The file itself may be a link; its name is kept.
pub(super) fn seen_from(folder: &Path, path: &Path) -> Result<String, CheckpointError> {
    let parent = folder_seen(path)?;
    Ok(relative(&parent.join(path.file_name().unwrap_or_default()), folder))
}

/// The hashed data of an input: exactly the bytes that the stages read.
enum Bytes<'a> {
    Text(&'a str),
    Mapped(&'a Checkpoint, usize),
    Small(&'a [u8]),
    File(&'a Path),
}

impl Bytes<'_> {
    /// What a store calls this version of them.
    fn tag(&self) -> Option<&str> {
        match self {
            Self::Mapped(checkpoint, n) => checkpoint.whole_file(*n).tag(),
            Self::Text(_) | Self::Small(_) | Self::File(_) => None,
        }
    }
}

/// Every file that the run read, with its digest.
pub(super) fn inputs(resolved: &Resolved<'_>, folder: &Path) -> Result<Vec<FileEntry>, Error> {
    hash_inputs(resolved, folder, |_| true)
}

/// SHA-256 and bytes of input files, by their index among all of them: those for which `takes` is true.
pub(super) fn hash_some_inputs(
    resolved: &Resolved<'_>,
    takes: impl Fn(usize) -> bool,
) -> Result<KnownInputs, Error> {
    let files = input_files(resolved);
    let own: Vec<(usize, &Input<'_>)> = files.iter().enumerate().filter(|(n, _)| takes(*n)).collect();
    own.par_iter().map(|(n, input)| Ok((*n, hash_input(input)?))).collect()
}

/// Takes in digests that other processes have computed.
pub(super) fn know_inputs(resolved: &Resolved<'_>, known: KnownInputs) {
    let files = input_files(resolved);
    for (n, digest) in known {
        if let Some((kind, path, _)) = files.get(n) {
            resolved.know_input_digest(kind.role(), path, digest);
        }
    }
}

/// Takes in the digests of objects in stores that are the same as when the manifest was written.
fn know_tagged(resolved: &Resolved<'_>, manifest: &Manifest, folder: &Path) {
    for (kind, path, bytes) in input_files(resolved) {
        let Bytes::Mapped(checkpoint, n) = bytes else { continue };
        let data = checkpoint.whole_file(n);
        let (Some(tag), Ok(seen)) = (data.tag(), seen_from(folder, path)) else { continue };
        let same = |entry: &&FileEntry| {
            entry.path == seen && entry.size == data.len() as u64 && entry.etag.as_deref() == Some(tag)
        };
        if let Some(entry) = manifest.inputs.iter().find(same) {
            resolved.know_input_digest(kind.role(), path, (entry.sha256.clone(), entry.size));
        }
    }
}

/// SHA-256 and bytes of input files, by their index among all of them.
pub(super) type KnownInputs = BTreeMap<usize, (String, u64)>;

/// The role, path and hashed data of each file.
type Input<'a> = (InputKind, &'a Path, Bytes<'a>);

fn input_files<'a>(resolved: &'a Resolved<'_>) -> Vec<Input<'a>> {
    let source = &resolved.settings.source;
    let mut found = vec![(InputKind::Config, source.file(), Bytes::Text(source.text()))];
    for (kind, checkpoint) in resolved.checkpoints() {
        let shards = checkpoint.shards();
        found.extend(shards.enumerate().map(|(n, path)| (kind, path, Bytes::Mapped(checkpoint, n))));
        found.extend(checkpoint.index().map(|path| (kind, path, Bytes::File(path))));
    }
    found.extend(resolved.small_files().iter().map(|file| {
        let bytes = if file.name == README { Bytes::File(&file.path) } else { Bytes::Small(&file.bytes) };
        (InputKind::Beside, file.path.as_path(), bytes)
    }));
    found
}

/// The role of every file that the run read, and its path relative to `folder`.
pub(super) fn input_paths(
    resolved: &Resolved<'_>,
    folder: &Path,
) -> Result<Vec<(&'static str, String)>, CheckpointError> {
    let seen = |(kind, path, _): Input<'_>| Ok((kind.role(), seen_from(folder, path)?));
    input_files(resolved).into_iter().map(seen).collect()
}

fn hash_inputs(
    resolved: &Resolved<'_>,
    folder: &Path,
    wanted: impl Fn(InputKind) -> bool,
) -> Result<Vec<FileEntry>, Error> {
    let mut found = input_files(resolved);
    found.retain(|(kind, ..)| *kind == InputKind::Config || wanted(*kind));
    let entry = |input: &Input<'_>| {
        let (kind, path, _) = input;
        let (sha256, size) = resolved.input_digest(kind.role(), path, || hash_input(input))?;
        let etag = input.2.tag().map(str::to_owned);
        Ok(FileEntry { role: kind.role().to_owned(), path: seen_from(folder, path)?, size, sha256, etag })
    };
    found.par_iter().map(entry).collect()
}

fn hash_input((_, _, bytes): &Input<'_>) -> Result<(String, u64), CheckpointError> {
    Ok(match bytes {
        Bytes::Text(text) => (digest::of_pieces([text.as_bytes()]), text.len() as u64),
        Bytes::Small(bytes) => (digest::of_pieces([*bytes]), bytes.len() as u64),
        Bytes::Mapped(checkpoint, n) => {
            let data = checkpoint.whole_file(*n);
            (digest::of_mapped(data), data.len() as u64)
        }
        Bytes::File(path) => digest::of_file(path).map_err(CheckpointError::io(path, "read"))?,
    })
}

fn output(
    kind: OutputKind,
    draft: &dyn Draft,
    place: &Path,
    folder: &Path,
) -> Result<FileEntry, CheckpointError> {
    let (sha256, size) = hash(draft).map_err(CheckpointError::io(draft.path(), "read back"))?;
    Ok(FileEntry { role: role(kind).to_owned(), path: seen_from(folder, place)?, size, sha256, etag: None })
}

/// The name of an output in manifests.
fn role(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Initial => "init.output",
        OutputKind::Pruned => "prune.output",
        OutputKind::Report(_) => "analyze.report",
        OutputKind::TuneCache => "tune.cache",
        OutputKind::Manifest => "manifest",
    }
}

/// Every file of the set, in order, with its digest. `place` returns the path of each.
pub(super) fn outputs(
    set: &RunOutputs,
    folder: &Path,
    place: impl Fn(&Path) -> PathBuf + Sync,
) -> Result<Vec<FileEntry>, CheckpointError> {
    let entry =
        |(kind, draft): &(OutputKind, &dyn Draft)| output(*kind, *draft, &place(draft.path()), folder);
    set.files().par_iter().map(entry).collect()
}

/// Adds a manifest of all files in the set, and of the inputs, to the set.
pub(super) fn add_manifest(
    resolved: &Resolved<'_>,
    path: &Path,
    outcome: &Outcome,
    set: &mut RunOutputs,
) -> Result<(), Error> {
    crate::store::create_parent(path)?;
    let folder = folder_seen(path)?;
    let settings = resolved.settings;
    let report = outcome.report.as_ref();
    let manifest = Manifest {
        version: VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        noise_version: NOISE_VERSION,
        config_version: CONFIG_VERSION,
        config_sha256: settings.config_sha256.clone(),
        overrides: settings.source.overrides().map(str::to_owned).collect(),
        seed: settings.seed,
        inputs: inputs(resolved, &folder)?,
        outputs: outputs(set, &folder, Path::to_owned)?,
        gates: report.map(|report| report.gates.clone()).unwrap_or_default(),
        tensors: report.map(tensors).unwrap_or_default(),
        manifest_sha256: None,
    };
    set.add(OutputKind::Manifest, |set| set.add_text(path, &manifest.text()))?;
    Ok(())
}

/// A key for outputs of this run: everything that determines their bytes, except the headers of the files and
/// the `decisions`. Only inputs with these roles are included.
pub(super) fn key(
    resolved: &Resolved<'_>,
    wanted: impl Fn(InputKind) -> bool,
    decisions: &str,
) -> Result<String, Error> {
    let inputs = hash_inputs(resolved, Path::new(""), wanted)?;
    Ok(decided(resolved.settings).key(inputs.iter().map(FileEntry::decides), decisions))
}

/// What a run with these settings goes by.
fn decided(settings: &Settings) -> Decided<'_> {
    Decided::now(&settings.config_sha256, settings.seed)
}

/// The counts of each tensor.
pub(super) fn tensors(report: &Report) -> Vec<TensorEntry> {
    let entry = |t: &crate::report::ReportTensor| TensorEntry {
        name: t.name.clone(),
        total_weights: t.total_weights,
        changed_weights: t.changes.changed_weights,
        sleeping_weights: t.changes.sleeping_weights,
        pruned_weights: t.pruned_weights,
    };
    report.tensors.iter().map(entry).collect()
}

/// The manifest, if it proves that the outputs are up to date: same tool, config and inputs, and every
/// output as it was written.
pub(super) fn done_before(resolved: &Resolved<'_>, path: &Path) -> Result<Option<Manifest>, Error> {
    let Ok(text) = place::read(path, LONGEST) else { return Ok(None) };
    let Ok(manifest) = Manifest::parse(&text) else { return Ok(None) };
    let settings = resolved.settings;
    let same = manifest.decided() == decided(settings)
        && manifest.config_version == CONFIG_VERSION
        && manifest.overrides.iter().map(String::as_str).eq(settings.source.overrides())
        // With its digest: no bit of it is another.
        && manifest.text().as_bytes() == text;
    if !same {
        return Ok(None);
    }
    let folder = folder_seen(path)?;
    // Sizes first, because a changed file usually has another size.
    let path_of = |entry: &FileEntry| place::join(&folder, Path::new(&entry.path));
    let there = |entry: &FileEntry| place::size(&path_of(entry)).is_ok_and(|size| size == entry.size);
    // Remains of another form of an output would be read instead of it. Writing the output again removes
    // them.
    let outputs: Vec<PathBuf> = manifest.outputs.iter().map(path_of).collect();
    if !stale_beside(&outputs).is_empty() {
        return Ok(None);
    }
    if !lists_outputs(settings, &manifest, &folder) || !manifest.outputs.iter().all(there) {
        return Ok(None);
    }
    know_tagged(resolved, &manifest, &folder);
    // The same bytes, and the same files.
    let inputs = inputs(resolved, &folder)?;
    let paths = |inputs: &[FileEntry]| inputs.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
    if decided(settings).key(inputs.iter().map(FileEntry::decides), "") != manifest.key()
        || paths(&inputs) != paths(&manifest.inputs)
    {
        return Ok(None);
    }
    let proven = |entry: &FileEntry| {
        digest::of_file(&path_of(entry)).is_ok_and(|found| found == (entry.sha256.clone(), entry.size))
    };
    Ok(manifest.outputs.par_iter().all(proven).then_some(manifest))
}

/// Whether the manifest lists every output of the config, as a file or as the index of its shards, some plots
/// if there are any, and no file twice.
fn lists_outputs(settings: &Settings, manifest: &Manifest, folder: &Path) -> bool {
    let paths: BTreeSet<&str> = manifest.outputs.iter().map(|entry| entry.path.as_str()).collect();
    if paths.len() != manifest.outputs.len() {
        return false;
    }
    let listed = |(kind, path): (OutputKind, &Path)| {
        let path = match kind {
            // The cache of the search, and the manifest itself.
            OutputKind::TuneCache | OutputKind::Manifest => return true,
            OutputKind::Report(ReportForm::Svg) => path.join(FIXED_NAMES[0]),
            _ => path.to_owned(),
        };
        let names = [&path, &index_path(&path)].map(|path| {
            let path = through_link(path);
            // Without its folder, the file does not exist.
            seen_from(folder, &path).ok()
        });
        let is_it = |entry: &FileEntry| entry.role == role(kind) && names.contains(&Some(entry.path.clone()));
        manifest.outputs.iter().any(is_it)
    };
    settings.outputs().all(listed)
}
