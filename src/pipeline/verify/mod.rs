//! The command `verify`: checks the outputs of a run against its manifest and, if the inputs exist, repeats
//! the run.

mod differ;
mod sample;
mod verified;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::{Error, VerifyProblem};
use super::manifest::{CONFIG_VERSION, LONGEST, folder_seen, input_paths, outputs, seen_from, tensors};
use super::progress::Progress;
use super::resolve::Resolved;
use super::run::{Stages, stage};
use crate::checkpoint::CheckpointError;
use crate::config::{OutputKind, PruneSettings, Recipe, Settings, TuneSettings};
use crate::manifest::{FileEntry, Manifest};
use crate::regular_file;
use crate::report::read;
use crate::store::{Unfinished, entry_path, stale_beside, through_link};
use crate::tune::TuneReport;
use differ::{compare_file, counts_differ, gates_differ, names_differ, pruned_differs};
use sample::check_rows;
use verified::DERIVED;
pub use verified::{Depth, Verified};

/// Checks a manifest: that it is whole, that the files are those that it lists, and, with the inputs at hand, that they give
/// everything that it says. With `sample`, no file is hashed, and this many rows of the pruned checkpoint are compared.
///
/// # Errors
/// [`Error::Verify`] at the first difference, and those of the stages where a stage cannot be done any more.
pub fn verify(manifest: &Path, sample: Option<u64>, progress: &dyn Progress) -> Result<Verified, Error> {
    let wrong = |problem| Error::Verify { path: manifest.to_owned(), problem: Box::new(problem) };
    let text = regular_file::read(manifest, LONGEST).map_err(CheckpointError::io(manifest, "read"))?;
    let found = Manifest::parse(&text).map_err(|problem| wrong(VerifyProblem::Manifest(problem)))?;
    if !found.is_intact(&text) {
        return Err(wrong(VerifyProblem::Altered));
    }
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
    let depth = derive(&found, manifest, &folder, (sample, !missing.is_empty()), progress, &mut unchecked)?;
    Ok(Verified {
        outputs: found.outputs.len(),
        bytes: found.outputs.iter().map(|entry| entry.size).sum(),
        hashed: sample.is_none(),
        inputs_missing: missing.iter().map(|entry| place(entry).display().to_string()).collect(),
        depth,
        unchecked,
    })
}

/// Does the run again, and holds what it gives against the manifest.
fn derive(
    manifest: &Manifest,
    path: &Path,
    folder: &Path,
    (sample, missing): (Option<u64>, bool),
    progress: &dyn Progress,
    unchecked: &mut Vec<String>,
) -> Result<Depth, Error> {
    let wrong = |problem| Error::Verify { path: path.to_owned(), problem: Box::new(problem) };
    let Some(config) = manifest.inputs.first().filter(|entry| entry.role == "config") else {
        return Err(wrong(VerifyProblem::Inputs));
    };
    let mut not_done = |what: &str, why| {
        if sample.is_none() {
            unchecked.push(what.to_owned());
        }
        Ok(Depth::No { why })
    };
    let config = path.with_file_name("").join(&config.path);
    if config.symlink_metadata().is_err() {
        return not_done(&format!("seed and overrides; {DERIVED}"), "the config does not exist");
    }
    let settings = Settings::load(&config, &manifest.overrides)?;
    if settings.config_sha256 != manifest.config_sha256 {
        let (expected, got) = (manifest.config_sha256.clone(), settings.config_sha256);
        return Err(wrong(VerifyProblem::Config { expected, got }));
    }
    for (key, expected, got) in [
        ("seed", settings.seed, manifest.seed),
        ("config_version", CONFIG_VERSION.into(), manifest.config_version.into()),
    ] {
        if expected != got {
            return Err(wrong(VerifyProblem::Number { key, expected, got }));
        }
    }
    // The files that the config names tell whether one is missing, or only another name is listed.
    let listed = |resolved: &Resolved<'_>| -> Result<bool, Error> {
        if resolved.trained.is_some() && resolved.settings.prune.is_some() {
            resolved.open_scores()?;
        }
        let expected = input_paths(resolved, folder)?;
        let listed = manifest.inputs.iter().map(|entry| (entry.role.as_str(), &entry.path));
        Ok(expected.iter().map(|(role, path)| (*role, path)).eq(listed))
    };
    if missing {
        let all_there = Resolved::new(&settings).is_ok_and(|resolved| {
            (resolved.trained.is_some() || settings.trained.is_none()) && listed(&resolved).is_ok()
        });
        if all_there {
            return Err(wrong(VerifyProblem::Inputs));
        }
        return not_done(DERIVED, "some inputs do not exist");
    }
    let (mut anew, mut tuned) = (settings.clone(), None);
    if let Some(tune) = &settings.tune {
        let Some((prune, found)) = chosen(&settings, tune, manifest, folder)? else {
            return not_done(
                DERIVED,
                "the choice of `tune` depends on the evaluation command, and there is no JSON report to read it \
                 from",
            );
        };
        unchecked.push("the metrics from the command of `tune`, and therefore its choice".to_owned());
        (anew.prune, tuned) = (Some(prune), Some(found));
    }
    // Nothing is written where the run wrote; what is made anew is gone with its folder.
    let scratch =
        tempfile::tempdir().map_err(CheckpointError::io(&std::env::temp_dir(), "create a folder here"))?;
    let _unfinished = Unfinished::new(scratch.path());
    // What lies beside the trained checkpoint is told from this run's own outputs by where these really are.
    let small = Resolved::new(&settings)?.small_files().to_vec();
    let moved = redirect(&mut anew, scratch.path());
    let resolved = Resolved::new(&anew)?.with_small_files(small);
    if !listed(&resolved)? {
        return Err(wrong(VerifyProblem::Inputs));
    }
    let base = settings.base();
    let written = settings.prune.as_ref().map(|prune| entry_path(&prune.output));
    if let Some(rows) = sample {
        let (Some(written), Some(_)) = (&written, &resolved.trained) else {
            return Ok(Depth::No {
                why: "there is no pruned checkpoint, and `--sample` checks nothing else",
            });
        };
        return check_rows(&resolved, written, base, rows, progress).map(|rows| Depth::Rows { rows });
    }
    let (outcome, set) = stage(&resolved, Stages::All, tuned, progress, &mut |_| {})?;
    outcome.check_start()?;
    let (counts, gates) = match &outcome.report {
        Some(report) => (tensors(report), report.gates.as_slice()),
        None => Default::default(),
    };
    let difference = counts_differ(counts, &manifest.tensors)
        .or_else(|| gates_differ(gates, &manifest.gates))
        .map_or(Ok(()), |problem| Err(wrong(problem)));
    difference?;
    let place = |file: &Path| {
        let inner = file.strip_prefix(scratch.path()).unwrap_or(file);
        let mut parts = inner.components();
        let number = parts.next().and_then(|number| number.as_os_str().to_str()?.parse::<usize>().ok());
        let home = number.and_then(|n| moved.get(n)).map(PathBuf::as_path).unwrap_or(Path::new(""));
        through_link(&home.join(parts.as_path()))
    };
    let made = outputs(&set, folder, place)?;
    if let Some(problem) = names_differ(&made, &manifest.outputs) {
        return Err(wrong(problem));
    }
    if let Some((made, _)) = made.iter().zip(&manifest.outputs).find(|(made, listed)| made != listed) {
        let file = path.with_file_name("").join(&made.path);
        let mut problem = None;
        if let (Some(written), Some(prune), "prune.output") = (&written, &anew.prune, made.role.as_str()) {
            set.commit()?;
            problem = pruned_differs(&entry_path(&prune.output), written, base)?;
            problem = problem.or(Some(VerifyProblem::Bytes(file.clone())));
        }
        return Err(wrong(problem.unwrap_or(VerifyProblem::Output(file))));
    }
    Ok(Depth::Whole { tensors: manifest.tensors.len(), gates: gates.len() })
}

/// What `tune` chose and found, as the run's JSON report says; `None` where there is none.
fn chosen(
    settings: &Settings,
    tune: &TuneSettings,
    manifest: &Manifest,
    folder: &Path,
) -> Result<Option<(PruneSettings, TuneReport)>, Error> {
    let Some(json) = settings.analyze.report.json.as_ref().filter(|_| settings.analyze_named) else {
        return Ok(None);
    };
    let name = seen_from(folder, &through_link(json))?;
    if !manifest.outputs.iter().any(|entry| entry.path == name) {
        return Ok(None);
    }
    let Some(found) = read(json)?.tune else { return Ok(None) };
    let Some(best) = found.points.get(found.winner) else { return Ok(None) };
    let same = |recipe: &&Recipe| recipe.point(best.target_sparsity).words() == best.words();
    let recipe = tune.recipes.iter().find(same);
    Ok(recipe
        .map(|recipe| recipe.at(best.target_sparsity.unwrap_or_default()))
        .map(|prune| (prune, found.clone())))
}

/// Has every output written into a folder of its own below `scratch`, named by a number: the place in the list of the folders
/// that they belong into.
fn redirect(settings: &mut Settings, scratch: &Path) -> Vec<PathBuf> {
    let mut homes = Vec::new();
    (settings.tune, settings.manifest) = (None, None);
    for kind in OutputKind::ALL {
        let Some(path) = settings.output_mut(kind) else { continue };
        let place = scratch.join(homes.len().to_string());
        homes.push(path.with_file_name(""));
        *path = place.join(path.file_name().unwrap_or_default());
    }
    homes
}
