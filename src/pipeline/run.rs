//! The stages of a config in their order.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::compare::compare;
use super::error::Error;
use super::gates::{check_gates, passed};
use super::gone::gone;
use super::heatmap::heat_maps;
use super::initialise::{Written, initialise};
use super::manifest::add_manifest;
use super::outputs::check_distinct;
use super::progress::Progress;
use super::prune::{Pruned, check_compressed, check_part_names, prune};
use super::resolve::Resolved;
use super::select::{check_decisions, select};
use super::start::Told;
use super::summarise::{Findings, summarise};
use super::survey::judge;
use super::tune::{files as tune_files, tune};
use crate::analysis::HeatMap;
use crate::checkpoint::CheckpointError;
use crate::config::{ReportPaths, Settings};
use crate::manifest::Manifest;
use crate::report::{self, Report};
use crate::store::{OutputSet, folder_of, index_path};
use crate::tune::TuneReport;

/// Which stages to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Every one that the config names.
    All,
    /// Only `init`.
    Init,
    /// Only `analyze`.
    Analyze,
    /// Only `prune`.
    Prune,
}

/// What the stages did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The initial checkpoint.
    pub initial: Option<Written>,
    /// The comparison, and what pruning did where it was asked for.
    pub report: Option<Report>,
    /// Report files written.
    pub report_files: Vec<PathBuf>,
    /// The pruned checkpoint.
    pub pruned: Option<Pruned>,
    /// Bytes of the trained checkpoint's files, an index not counted.
    pub trained_bytes: u64,
    /// Why nothing was pruned though it was asked for: the trained checkpoint, and what tells that it did not start from the
    /// values that pruned places would have been filled with.
    pub other_start: Option<(PathBuf, String)>,
}

impl Outcome {
    /// Whether pruning was done where it was asked for.
    ///
    /// # Errors
    /// [`Error::OtherStart`] where it was not.
    pub fn check_start(&self) -> Result<(), Error> {
        match self.other_start.clone() {
            Some((path, words)) => Err(Error::OtherStart { path, words }),
            None => Ok(()),
        }
    }

    /// Whether everything was done, and every gate passed that the stages gave something to measure for.
    ///
    /// # Errors
    /// [`Error::OtherStart`]; [`Error::Gates`], with those that failed.
    pub fn check_gates(&self) -> Result<(), Error> {
        self.check_start()?;
        self.report.as_ref().map_or(Ok(()), |report| passed(&report.gates))
    }
}

/// Runs the stages. `done` is told of each one as soon as it is finished, so that a later failure does not hide it.
/// Gates are measured, and in the report; whether they passed, and whether all was done, [`Outcome::check_gates`] says.
///
/// # Errors
/// [`Error`]; [`Error::TrainedMissing`] after the initial checkpoint has been written.
pub fn run(
    resolved: &Resolved<'_>,
    stages: Stages,
    progress: &dyn Progress,
    mut done: impl FnMut(&Outcome),
) -> Result<Outcome, Error> {
    let (outcome, mut set) = stage(resolved, stages, None, progress, &mut done)?;
    write_manifest(resolved, stages, &outcome, &mut set)?;
    set.commit()?;
    done(&outcome);
    Ok(outcome)
}

/// Runs the stages, and leaves the outputs to be committed. A search that has been done is not done again: `tuned` is what it
/// found, and pruning is as it chose.
pub(super) fn stage(
    resolved: &Resolved<'_>,
    stages: Stages,
    tuned: Option<TuneReport>,
    progress: &dyn Progress,
    done: &mut dyn FnMut(&Outcome),
) -> Result<(Outcome, OutputSet), Error> {
    let settings = resolved.settings;
    check_sections(settings, stages)?;
    let pruning = settings.prune.as_ref().filter(|_| matches!(stages, Stages::All | Stages::Prune));
    if let Some(prune) = pruning.filter(|prune| !prune.folder && prune.output.is_dir()) {
        return Err(Error::OutputFolder { path: prune.output.clone() });
    }
    let checked = pruning.filter(|_| resolved.trained.is_some());
    if let Some(pruning) = checked {
        check_compressed(resolved)?;
        check_decisions(resolved, pruning)?;
    }
    check_distinct(resolved.inputs(), outputs(resolved))?;
    if let Some(pruning) = checked {
        check_part_names(resolved, pruning)?;
    }
    let analyze = stages == Stages::Analyze || (stages == Stages::All && settings.analyze_named);
    let init = stages == Stages::Init || (stages == Stages::All && settings.init.is_some());
    let mut set = open_set(resolved, stages)?;
    let mut outcome = Outcome::default();
    if init {
        outcome.initial = Some(initialise(resolved, &mut set, progress)?);
    }
    if !analyze && pruning.is_none() {
        return Ok((outcome, set));
    }
    if init {
        // Training is to begin from it: nothing else is to be waited for.
        if resolved.trained.is_none() {
            std::mem::take(&mut set).commit()?;
        }
        done(&outcome);
    }
    match &settings.tune {
        Some(wanted) if pruning.is_some() => {
            let (prune, found) = tune(resolved, wanted, progress)?;
            let settings = Settings { prune: Some(prune), ..settings.clone() };
            finish(&Resolved::new(&settings)?, analyze, true, Some(found), &mut set, progress, &mut outcome)?;
        }
        _ => finish(resolved, analyze, pruning.is_some(), tuned, &mut set, progress, &mut outcome)?,
    }
    Ok((outcome, set))
}

/// A whole run has a manifest, where the config names one.
fn write_manifest(
    resolved: &Resolved<'_>,
    stages: Stages,
    outcome: &Outcome,
    set: &mut OutputSet,
) -> Result<(), Error> {
    match &resolved.settings.manifest {
        // Of a run that has left something undone there is none: it would not be done the next time either.
        Some(path) if stages == Stages::All && outcome.other_start.is_none() => {
            add_manifest(resolved, path, outcome, set)
        }
        _ => Ok(()),
    }
}

/// What an earlier run did, once whatever a killed run has left half done is finished, and where its manifest proves that [`run`] with [`Stages::All`] would do the same again: the same
/// version, config and inputs, and outputs that are as they were written.
///
/// # Errors
/// Inputs that cannot be read, and what cannot be finished.
pub fn done_before(resolved: &Resolved<'_>) -> Result<Option<Manifest>, Error> {
    let settings = resolved.settings;
    let Some(path) = &settings.manifest else { return Ok(None) };
    if resolved.trained.is_some() && settings.prune.is_some() {
        resolved.open_scores()?;
    }
    let outputs = outputs(resolved);
    check_distinct(resolved.inputs(), outputs.clone())?;
    recover(resolved, &outputs)?;
    super::manifest::done_before(resolved, path)
}

/// Finishes, or forgets, what killed runs left half done with any of these outputs.
fn recover(resolved: &Resolved<'_>, outputs: &[(String, Cow<'_, Path>)]) -> Result<(), CheckpointError> {
    let inputs = resolved.inputs().into_iter().map(|(_, path)| path);
    OutputSet::recover(outputs.iter().map(|(_, path)| path.as_ref()), inputs)
}

/// The set of the outputs that the stages will write, once nothing is half done with any of them.
fn open_set(resolved: &Resolved<'_>, stages: Stages) -> Result<OutputSet, CheckpointError> {
    let outputs = outputs(resolved);
    recover(resolved, &outputs)?;
    let wanted = |key: &str| match stages {
        Stages::All => key.starts_with('`'),
        Stages::Init => key == "`init.output`",
        Stages::Analyze => key.starts_with("`analyze."),
        Stages::Prune => key == "`prune.output`",
    };
    match outputs.iter().find(|(key, _)| wanted(key)) {
        Some((_, path)) => OutputSet::open(path, resolved.inputs().into_iter().map(|(_, path)| path)),
        None => Ok(OutputSet::default()),
    }
}

/// Compares, and prunes and reports where that is wanted.
fn finish(
    resolved: &Resolved<'_>,
    analyze: bool,
    prunes: bool,
    tuned: Option<TuneReport>,
    set: &mut OutputSet,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let settings = resolved.settings;
    let pruning = settings.prune.as_ref().filter(|_| prunes);
    let (checkpoint, tensors) = resolved.trained()?;
    let stage = if analyze { "analyze" } else { "compare" };
    let judgement = judge(resolved, progress)?;
    let mut compared = compare(resolved, &judgement, pruning.map(|p| p.fill), stage, progress)?;
    outcome.trained_bytes =
        (0..checkpoint.shards().count()).map(|n| checkpoint.whole_file(n).bytes().len() as u64).sum();
    let told = Told::new(resolved, &compared)?;
    let mut taken = Vec::new();
    let forbidden = pruning.and_then(|pruning| told.forbids(pruning));
    outcome.other_start = forbidden.map(|words| (checkpoint.path().to_owned(), words));
    let pruning = pruning.filter(|_| outcome.other_start.is_none());
    if let (Some(pruning), Some(masks)) = (pruning, &mut compared.masks) {
        select(resolved, &judgement, pruning, masks, progress)?;
        taken = gone(resolved, masks, progress)?;
        outcome.pruned = Some(prune(resolved, &judgement, pruning, masks, set, progress)?);
    }
    let found = Findings {
        judgement: &judgement,
        compared: &compared,
        told,
        pruned: outcome.pruned.as_ref().map(|pruned| (pruned, taken.as_slice())),
        trained_bytes: outcome.trained_bytes,
    };
    let mut report = summarise(settings, tensors, found);
    let metric_drop = tuned.as_ref().and_then(|tuned| tuned.points.get(tuned.winner)).map(|best| best.drop);
    report.tune = tuned;
    let output_bytes = outcome.pruned.as_ref().map(|pruned| pruned.written.bytes);
    report.removed = outcome.pruned.iter().flat_map(|pruned| pruned.removed.clone()).collect();
    report.gates = check_gates(&settings.gates, &report, output_bytes, metric_drop);
    if analyze {
        let paths = &settings.analyze.report;
        let drawn = paths.html.is_some() || paths.svg.is_some();
        let maps = if drawn { heat_maps(resolved, &judgement, progress)? } else { Vec::new() };
        outcome.report_files = write_reports(&report, &maps, settings, set)?;
    }
    outcome.report = Some(report);
    Ok(())
}

/// A stage asked for by its own command must be in the config.
fn check_sections(settings: &Settings, stages: Stages) -> Result<(), Error> {
    let missing =
        |command, key| Err(Error::NoSection { file: settings.source.file().to_owned(), command, key });
    let (analyzes, prunes) = match stages {
        Stages::Init => return Ok(()),
        Stages::All => (settings.analyze_named, settings.prune.is_some()),
        Stages::Analyze => (true, false),
        Stages::Prune => (false, true),
    };
    if prunes && settings.prune.is_none() {
        return missing("prune", "prune");
    }
    if (analyzes || prunes) && settings.trained.is_none() {
        return missing(if analyzes { "analyze" } else { "prune" }, "trained");
    }
    if stages == Stages::All && settings.init.is_none() && !analyzes && !prunes {
        return missing("run", "init");
    }
    Ok(())
}

/// Everything that the config would write or remove, with the key that names it.
pub(super) fn outputs<'s>(resolved: &Resolved<'s>) -> Vec<(String, Cow<'s, Path>)> {
    let settings = resolved.settings;
    let ReportPaths { json, csv, markdown, html, svg } = &settings.analyze.report;
    let keys = [
        ("`init.output`", settings.init.as_ref().map(|i| &i.output)),
        ("`prune.output`", settings.prune.as_ref().map(|p| &p.output)),
        ("`analyze.report.json`", json.as_ref()),
        ("`analyze.report.csv`", csv.as_ref()),
        ("`analyze.report.markdown`", markdown.as_ref()),
        ("`analyze.report.html`", html.as_ref()),
        ("`analyze.report.svg`", svg.as_ref()),
        ("`manifest`", settings.manifest.as_ref()),
    ];
    let mut outputs = Vec::new();
    if let Some(tune) = &settings.tune {
        outputs.push(("`tune.cache`".to_owned(), Cow::from(tune.cache.as_path())));
        let files = tune_files(tune).into_iter();
        outputs.extend(files.map(|file| ("a file in `tune.cache`".to_owned(), Cow::from(file))));
    }
    for (key, path) in keys {
        let Some(path) = path else { continue };
        outputs.push((key.to_owned(), Cow::from(path.as_path())));
        // A checkpoint in one file displaces the index of an earlier one in shards.
        if key.ends_with(".output`") {
            outputs.push((format!("the index of {key}"), Cow::from(index_path(path))));
        }
    }
    if let Some(prune) = &settings.prune {
        let folder = folder_of(&prune.output);
        let files = resolved.small_names_out().into_iter().map(|name| folder.join(name));
        outputs.extend(files.map(|file| ("a file of `prune.output`".to_owned(), Cow::from(file))));
    }
    if let Some(folder) = svg {
        let maps = report::heat_map_names(resolved.trained.iter().flatten().map(|(name, _)| name.as_str()));
        let files = report::FIXED_NAMES.into_iter().map(str::to_owned).chain(maps);
        outputs.extend(
            files.map(|file| ("a file of `analyze.report.svg`".to_owned(), Cow::from(folder.join(file)))),
        );
    }
    outputs
}

/// The files written; of plots, which are many, their folder.
fn write_reports(
    report: &Report,
    maps: &[Option<HeatMap>],
    settings: &Settings,
    set: &mut OutputSet,
) -> Result<Vec<PathBuf>, CheckpointError> {
    let paths = &settings.analyze.report;
    let mut written = Vec::new();
    if let Some(path) = &paths.json {
        set.add_with(path, |file| report::write_json(report, file))?;
        written.push(path.clone());
    }
    let mut write = |path: &Option<PathBuf>, export: &dyn Fn(&Report) -> String| match path {
        Some(path) => set.add_text(path, &export(report)).map(|()| written.push(path.clone())),
        None => Ok(()),
    };
    let name = settings.source.file().file_name().unwrap_or_default().to_string_lossy();
    write(&paths.csv, &report::csv)?;
    write(&paths.markdown, &report::markdown)?;
    write(&paths.html, &|report| report::html(report, maps, &name))?;
    if let Some(folder) = &paths.svg {
        let names = report::heat_map_names(report.tensors.iter().map(|t| t.name.as_str()));
        for (file, text) in report::svg_files(report, maps, &names) {
            set.add_text(&folder.join(file), &text)?;
        }
        written.push(folder.clone());
    }
    Ok(written)
}
