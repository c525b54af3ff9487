//! The stage `tune`: writes pruned files, restores them, and evaluates them with the user's command, until
//! the smallest one that keeps the accuracy is found.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::outcome::Outcome;
use super::outputs::TuneFiles;
use super::progress::{Progress, Silent};
use super::prune::check_part_names;
use super::resolve::Resolved;
use super::restore::restore;
use super::select::check_decisions;
use crate::checkpoint::{CheckpointError, OpenOptions};
use crate::config::{
    AnalyzeSettings, FormatChoice, PruneRule, PruneSettings, ReportPaths, Settings, TuneSettings,
};
use crate::digest;
use crate::gates::Gates;
use crate::rules::{Pattern, Rule, RuleSet};
use crate::sparse::Format;
use crate::store::{Unfinished, entry_path, forms};
use crate::text::{significant, thousands};
use crate::tune::{Cache, TunePoint, TuneReport, evaluate, search, winner};

/// Runs the search. Returns the settings to prune with, and a report of the search. `prune` must only prune,
/// whatever else its settings request.
///
/// # Errors
/// [`Error::Evaluation`] if the command gives no metric, [`Error::NothingWithin`] if every file loses too
/// much accuracy, and errors of comparing, pruning and restoring.
pub(super) fn tune(
    resolved: &Resolved<'_>,
    tune: &TuneSettings,
    prune: &dyn Fn(&Settings) -> Result<Outcome, Error>,
    progress: &dyn Progress,
) -> Result<(PruneSettings, TuneReport), Error> {
    resolved.trained()?;
    check_recipes(resolved, tune)?;
    let mut trials = Trials::new(resolved, tune, prune, progress)?;
    let original = trials.file(untouched(&tune.recipes[0].at(tune.lines.low)), "the original")?;
    let Some(original_metric) = original.metric else { return Err(trials.nothing_within(0.0, &[])) };
    progress.note(&format!(
        "tune: the original: {} bytes, metric {}",
        thousands(original.bytes),
        significant(original_metric, 6)
    ));
    let mut points: Vec<TunePoint> = Vec::new();
    let mut places = Vec::new();
    let complete = search(&tune.lines, |line, sparsity| {
        let recipe = &tune.recipes[line];
        let mut point = recipe.point(sparsity);
        let what = point.words();
        let made = trials.file(recipe.at(sparsity.unwrap_or_default()), &what)?;
        let Some(metric) = made.metric else { return Ok(None) };
        point.metric = metric;
        point.drop = tune.better.drop(original_metric, metric);
        point.within = point.drop <= tune.max_drop;
        (point.bytes, point.sparsity) = (made.bytes, made.sparsity);
        progress.note(&format!(
            "tune: {what}: {} bytes, metric {}, {}",
            thousands(point.bytes),
            significant(metric, 6),
            if point.within { "within" } else { "too far" }
        ));
        let within = point.within;
        points.push(point);
        places.push((line, sparsity));
        Ok::<_, Error>(Some(within))
    })?;
    let Some(best) = winner(&points) else { return Err(trials.nothing_within(original_metric, &points)) };
    trials.clean()?;
    let (line, sparsity) = places[best];
    let report = TuneReport {
        command: tune.command.clone(),
        better: tune.better,
        max_drop: tune.max_drop,
        original_metric,
        original_bytes: original.bytes,
        complete,
        points,
        winner: best,
    };
    Ok((tune.recipes[line].at(sparsity.unwrap_or_default()), report))
}

/// Finds settings with which no file can be written, before the first evaluation.
fn check_recipes(resolved: &Resolved<'_>, tune: &TuneSettings) -> Result<(), Error> {
    for recipe in &tune.recipes {
        let settings = with_prune(resolved.settings, recipe.at(tune.lines.low));
        let resolved = Resolved::with(&settings, resolved.options())?;
        if let Some(pruning) = &settings.prune {
            check_decisions(&resolved, pruning)?;
            check_part_names(&resolved, pruning)?;
        }
    }
    Ok(())
}

/// The settings with different pruning, and without the other stages.
pub(super) fn with_prune(settings: &Settings, prune: PruneSettings) -> Settings {
    Settings {
        init: None,
        analyze_named: false,
        analyze: AnalyzeSettings { report: ReportPaths::default(), ..settings.analyze.clone() },
        prune: Some(prune),
        tune: None,
        gates: Gates::default(),
        manifest: None,
        ..settings.clone()
    }
}

/// Settings that keep every tensor. The result is the trained checkpoint, in the form of a candidate.
fn untouched(prune: &PruneSettings) -> PruneSettings {
    let text = vec!["**".to_owned()];
    let patterns = text.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect();
    let decision = prune.decision.clone();
    let keep = PruneRule { text, keep: true, decision, values: None, optional: true };
    PruneSettings {
        format: FormatChoice::Fixed(Format::Dense),
        chains: Vec::new(),
        rules: RuleSet::new(vec![Rule { patterns, value: keep }]),
        ..prune.clone()
    }
}

/// The files for the command.
struct Trials<'a> {
    settings: &'a Settings,
    options: OpenOptions,
    tune: &'a TuneSettings,
    prune: &'a dyn Fn(&Settings) -> Result<Outcome, Error>,
    progress: &'a dyn Progress,
    /// Absolute, because the command runs in another folder.
    files: TuneFiles,
    config_folder: PathBuf,
    base: Option<PathBuf>,
    cache: Cache,
    /// SHA-256 of every file that was evaluated, in this run or an earlier one.
    evaluated: BTreeSet<String>,
}

/// A candidate, and its metric; `None` if the limit of evaluations is reached.
struct Made {
    bytes: u64,
    sparsity: f64,
    metric: Option<f64>,
}

impl<'a> Trials<'a> {
    fn new(
        resolved: &Resolved<'a>,
        tune: &'a TuneSettings,
        prune: &'a dyn Fn(&Settings) -> Result<Outcome, Error>,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let settings = resolved.settings;
        let absolute = |path: &Path, doing| {
            std::path::absolute(path).map_err(CheckpointError::io(path, doing)).map_err(Error::from)
        };
        let folder = absolute(&tune.cache, "find the folder")?;
        fs::create_dir_all(&folder).map_err(CheckpointError::io(&folder, "create the folder"))?;
        let config = absolute(settings.source.file(), "find the folder")?;
        let base = settings.base().map(Path::to_owned);
        let files = TuneFiles::of(&folder);
        let cache = Cache::open(&files.metrics)?;
        let trials = Self {
            settings,
            options: resolved.options(),
            tune,
            prune,
            progress,
            config_folder: config.parent().unwrap_or(&config).to_owned(),
            files,
            base,
            cache,
            evaluated: BTreeSet::new(),
        };
        trials.clean()?;
        Ok(trials)
    }

    /// Writes the file, restores it as a device would, and evaluates it, unless it has been evaluated before.
    fn file(&mut self, mut prune: PruneSettings, what: &str) -> Result<Made, Error> {
        let TuneFiles { pruned, restored, .. } = self.files.clone();
        let _unfinished = [&pruned, &restored].map(|path| Unfinished::new(path));
        prune.output.clone_from(&pruned);
        prune.folder = false;
        let settings = with_prune(self.settings, prune);
        let outcome = (self.prune)(&settings)?;
        outcome.check_start()?;
        let written = outcome.pruned.map(|pruned| pruned.written);
        let bytes = written.as_ref().map(|written| written.bytes).unwrap_or_default();
        let sparsity = outcome.report.and_then(|report| report.totals.sparsity).unwrap_or_default();
        let (file, base, options) = (entry_path(&pruned), self.base.as_deref(), self.options);
        restore(&file, &restored, base, None, Some(u64::MAX), options, &Silent)?;
        let (sha256, _) = fs::File::open(&restored)
            .and_then(digest::of_reader)
            .map_err(CheckpointError::io(&restored, "read"))?;
        if !self.evaluated.contains(&sha256) {
            if self.tune.max_evaluations.is_some_and(|most| self.evaluated.len() as u64 >= most) {
                return Ok(Made { bytes, sparsity, metric: None });
            }
            self.evaluated.insert(sha256.clone());
        }
        let command = &self.tune.command;
        let metric = match self.cache.get(command, &sha256) {
            Some(metric) => metric,
            None => {
                self.progress.note(&format!("tune: evaluating {what}, {} bytes", thousands(bytes)));
                // If the command fails, the file stays, so that the command can be run by hand.
                let metric =
                    evaluate(command, &restored, &self.config_folder, self.tune.timeout).map_err(Box::new)?;
                self.cache.put(command, &sha256, metric)?;
                metric
            }
        };
        self.clean()?;
        Ok(Made { bytes, sparsity, metric: Some(metric) })
    }

    /// Removes the files of a candidate of this or an earlier run, in any form.
    fn clean(&self) -> Result<(), Error> {
        let TuneFiles { pruned, restored, .. } = &self.files;
        [pruned, restored].into_iter().flat_map(|path| forms(path)).try_for_each(|path| remove(&path))
    }

    fn nothing_within(&self, original: f64, points: &[TunePoint]) -> Error {
        let nearest = points.iter().min_by(|a, b| a.drop.total_cmp(&b.drop));
        Error::NothingWithin {
            file: self.settings.source.file().to_owned(),
            max_drop: self.tune.max_drop,
            original,
            nearest: nearest.cloned().map(Box::new),
        }
    }
}

/// Removes a file, if it exists.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::io(path, "remove")(error).into())
        }
        _ => Ok(()),
    }
}
