//! Repeats the run, and compares the results with the manifest.

use std::path::{Path, PathBuf};

use super::differ::{counts_differ, gates_differ, names_differ, pruned_differs};
use super::sample::check_rows;
use super::verified::{DERIVED, Depth};
use crate::checkpoint::{CheckpointError, OpenOptions};
use crate::config::{OutputKind, PruneSettings, Recipe, Settings, TuneSearch, TuneSettings};
use crate::manifest::Manifest;
use crate::pipeline::error::{Error, VerifyProblem};
use crate::pipeline::manifest::{CONFIG_VERSION, input_paths, outputs, seen_from, tensors};
use crate::pipeline::outputs::RunOutputs;
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::Resolved;
use crate::pipeline::run::{Stages, stage};
use crate::pipeline::team::Team;
use crate::report::{Report, read};
use crate::store::{Destination, Unfinished, entry_path, through_link};
use crate::tune::TuneReport;

/// A run, as described by its manifest.
pub(super) struct Listed<'a> {
    pub manifest: &'a Manifest,
    /// The path of the manifest, and its folder with links resolved.
    pub path: &'a Path,
    pub folder: &'a Path,
    /// How the checkpoints are opened.
    pub options: OpenOptions,
}

impl Listed<'_> {
    fn wrong(&self, problem: VerifyProblem) -> Error {
        Error::Verify { path: self.path.to_owned(), problem: Box::new(problem) }
    }

    /// Repeats the run if its inputs exist; with `sample`, only this many rows.
    pub fn derive(
        &self,
        (sample, missing): (Option<u64>, bool),
        progress: &dyn Progress,
        unchecked: &mut Vec<String>,
    ) -> Result<Depth, Error> {
        let mut not_done = |what: &str, why| {
            if sample.is_none() {
                unchecked.push(what.to_owned());
            }
            Ok(Depth::No { why })
        };
        let Some(config) = self.manifest.inputs.first().filter(|entry| entry.role == "config") else {
            return Err(self.wrong(VerifyProblem::Inputs));
        };
        let config = self.path.with_file_name("").join(&config.path);
        if config.symlink_metadata().is_err() {
            return not_done(&format!("seed and overrides; {DERIVED}"), "the config does not exist");
        }
        let settings = self.settings(&config)?;
        if missing {
            return match self.has_all_inputs(&settings) {
                true => Err(self.wrong(VerifyProblem::Inputs)),
                false => not_done(DERIVED, "some inputs do not exist"),
            };
        }
        let (mut anew, mut tuned) = (settings.clone(), None);
        if let Some(tune) = &settings.tune {
            let Some((prune, found)) = chosen(&settings, tune, self.manifest, self.folder)? else {
                let why = "the choice of `tune` depends on the evaluation command, and there is no JSON report to read it \
                           from";
                return not_done(DERIVED, why);
            };
            unchecked.push("the metrics from the command of `tune`, and therefore its choice".to_owned());
            (anew.prune, tuned) = (Some(prune), Some(found));
        }
        // The new outputs are written to a temporary folder, which is deleted afterwards.
        let scratch = tempfile::tempdir()
            .map_err(CheckpointError::io(&std::env::temp_dir(), "create a folder here"))?;
        let _unfinished = Unfinished::new(scratch.path());
        // The real paths of the outputs distinguish them from the small files next to the trained checkpoint.
        let small = Resolved::with(&settings, self.options)?.small_files().to_vec();
        let homes = redirect(&mut anew, scratch.path());
        let resolved = Resolved::with(&anew, self.options)?.with_small_files(small);
        if !self.lists_inputs(&resolved)? {
            return Err(self.wrong(VerifyProblem::Inputs));
        }
        let written = settings.prune.as_ref().map(|prune| entry_path(&prune.output));
        if let Some(rows) = sample {
            return some_rows(&resolved, written.as_deref(), rows, progress);
        }
        let (outcome, set) = stage(
            &resolved,
            Stages::All,
            (&Team::alone(), Box::new(Destination::default()), tuned),
            progress,
            &mut |_| {},
        )?;
        outcome.check_start()?;
        let gates = self.compare_counts(outcome.report.as_ref())?;
        self.compare_outputs(set, (scratch.path(), &homes), (&anew, written.as_deref()))?;
        Ok(Depth::Whole { tensors: self.manifest.tensors.len(), gates })
    }

    /// Compares the counts of tensors and the results of gates with those in the manifest. Returns
    /// the number of gates.
    fn compare_counts(&self, report: Option<&Report>) -> Result<usize, Error> {
        let counts = report.map(tensors).unwrap_or_default();
        let gates = report.map_or(&[][..], |report| &report.gates);
        let difference = counts_differ(counts, &self.manifest.tensors);
        match difference.or_else(|| gates_differ(gates, &self.manifest.gates)) {
            Some(problem) => Err(self.wrong(problem)),
            None => Ok(gates.len()),
        }
    }

    /// The config, which must be the one in the manifest.
    fn settings(&self, config: &Path) -> Result<Settings, Error> {
        let manifest = self.manifest;
        let settings = Settings::load(config, &manifest.overrides)?;
        if settings.config_sha256 != manifest.config_sha256 {
            let (expected, got) = (manifest.config_sha256.clone(), settings.config_sha256);
            return Err(self.wrong(VerifyProblem::Config { expected, got }));
        }
        for (key, expected, got) in [
            ("seed", settings.seed, manifest.seed),
            ("config_version", CONFIG_VERSION.into(), manifest.config_version.into()),
        ] {
            if expected != got {
                return Err(self.wrong(VerifyProblem::Number { key, expected, got }));
            }
        }
        Ok(settings)
    }

    /// Whether every input of the config exists. A missing file in the manifest is then only
    /// listed under another name.
    fn has_all_inputs(&self, settings: &Settings) -> bool {
        Resolved::with(settings, self.options).is_ok_and(|resolved| {
            let trained = resolved.trained.is_some() || settings.trained.is_none();
            trained && self.lists_inputs(&resolved).is_ok()
        })
    }

    /// Whether the manifest lists the inputs of the config.
    fn lists_inputs(&self, resolved: &Resolved<'_>) -> Result<bool, Error> {
        if resolved.trained.is_some() && resolved.settings.prune.is_some() {
            resolved.open_files_of_pruning()?;
        }
        let expected = input_paths(resolved, self.folder)?;
        let listed = self.manifest.inputs.iter().map(|entry| (entry.role.as_str(), &entry.path));
        Ok(expected.iter().map(|(role, path)| (*role, path)).eq(listed))
    }

    /// Compares the new outputs with those in the manifest. `scratch` contains the folders
    /// of `homes`, by number.
    fn compare_outputs(
        &self,
        set: RunOutputs,
        (scratch, homes): (&Path, &[PathBuf]),
        (anew, written): (&Settings, Option<&Path>),
    ) -> Result<(), Error> {
        let place = |file: &Path| {
            let inner = file.strip_prefix(scratch).unwrap_or(file);
            let mut parts = inner.components();
            let number = parts.next().and_then(|number| number.as_os_str().to_str()?.parse::<usize>().ok());
            let home = number.and_then(|n| homes.get(n)).map(PathBuf::as_path).unwrap_or(Path::new(""));
            through_link(&home.join(parts.as_path()))
        };
        let (made, listed) = (outputs(&set, self.folder, place)?, &self.manifest.outputs);
        if let Some(problem) = names_differ(&made, listed) {
            return Err(self.wrong(problem));
        }
        let Some((made, _)) = made.iter().zip(listed).find(|(made, listed)| made != listed) else {
            return Ok(());
        };
        let file = self.path.with_file_name("").join(&made.path);
        if let (Some(written), Some(prune), "prune.output") = (written, &anew.prune, made.role.as_str()) {
            set.commit()?;
            let made = entry_path(&prune.output);
            let problem = pruned_differs(&made, written, anew.base(), self.options)?;
            return Err(self.wrong(problem.unwrap_or(VerifyProblem::Bytes(file))));
        }
        Err(self.wrong(VerifyProblem::Output(file)))
    }
}

/// Restores and compares rows of the pruned checkpoint, if there is one.
fn some_rows(
    resolved: &Resolved<'_>,
    written: Option<&Path>,
    rows: u64,
    progress: &dyn Progress,
) -> Result<Depth, Error> {
    let (Some(written), Some(_)) = (written, &resolved.trained) else {
        let why = "there is no pruned checkpoint, and `--sample` checks nothing else";
        return Ok(Depth::No { why });
    };
    let rows = check_rows(resolved, written, resolved.settings.base(), rows, progress)?;
    Ok(Depth::Rows { rows })
}

/// The result of `tune` in the JSON report of the run; `None` if there is none.
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
    let prune = match &tune.search {
        TuneSearch::Steps(settings) => settings.with_steps(best),
        TuneSearch::Sparsity { recipes, .. } => {
            let same = |recipe: &&Recipe| recipe.point(best.target_sparsity).words() == best.words();
            let recipe = recipes.iter().find(same);
            recipe.map(|recipe| recipe.at(best.target_sparsity.unwrap_or_default()))
        }
    };
    Ok(prune.map(|prune| (prune, found.clone())))
}

/// Redirects every output to a folder below `scratch`. The name of the folder is the index of the original
/// folder in the returned list.
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
