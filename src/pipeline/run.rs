//! The stages of a config in their order.

use std::path::PathBuf;

use super::calibrate::calibrate;
use super::compare::compare;
use super::error::Error;
use super::fit::select_and_code;
use super::gates::check_gates;
use super::gone::gone;
use super::heatmap::heat_maps;
use super::initialise::initialise;
use super::manifest::{self, add_manifest};
use super::masks::Masks;
use super::outcome::Outcome;
use super::outputs::{Output, Part, RunOutputs, check_outputs};
use super::progress::{Progress, Silent};
use super::prune::{check_compressed, check_part_names, prune};
use super::resolve::Resolved;
use super::select::check_decisions;
use super::start::Told;
use super::summarise::{Findings, summarise, trained_bytes};
use super::tune::tune;
use crate::analysis::HeatMap;
use crate::checkpoint::CheckpointError;
use crate::config::{OutputKind, ReportForm, Settings};
use crate::manifest::Manifest;
use crate::report::{self, Report};
use crate::sparse::Fill;
use crate::store::OutputSet;
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

/// Runs the stages. `done` is told of each one as soon as it is finished, so that a later failure does not
/// hide it. Gates are measured, and in the report; whether they passed, and whether all was done,
/// [`Outcome::check_gates`] says.
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

/// Runs the stages, and leaves the outputs to be committed. A search that has been done is not done again:
/// `tuned` is what it found, and pruning is as it chose.
pub(super) fn stage(
    resolved: &Resolved<'_>,
    stages: Stages,
    tuned: Option<TuneReport>,
    progress: &dyn Progress,
    done: &mut dyn FnMut(&Outcome),
) -> Result<(Outcome, RunOutputs), Error> {
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
    check_outputs(resolved.inputs(), &resolved.outputs())?;
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
            let candidate =
                |settings: &Settings| run(&Resolved::new(settings)?, Stages::Prune, &Silent, |_| {});
            let (prune, found) = tune(resolved, wanted, &candidate, progress)?;
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
    set: &mut RunOutputs,
) -> Result<(), Error> {
    match &resolved.settings.manifest {
        // Of a run that has left something undone there is none: it would not be done the next time either.
        Some(path) if stages == Stages::All && outcome.other_start.is_none() => {
            add_manifest(resolved, path, outcome, set)
        }
        _ => Ok(()),
    }
}

/// What an earlier run did, where its manifest proves that [`run`] with [`Stages::All`] would do the same
/// again: the same version, config and inputs, and outputs that are as they were written. Whatever a killed
/// run has left half done is finished first.
///
/// # Errors
/// Inputs that cannot be read, and what cannot be finished.
pub fn done_before(resolved: &Resolved<'_>) -> Result<Option<Manifest>, Error> {
    let settings = resolved.settings;
    let Some(path) = &settings.manifest else { return Ok(None) };
    if resolved.trained.is_some() && settings.prune.is_some() {
        resolved.open_scores()?;
    }
    let outputs = resolved.outputs();
    check_outputs(resolved.inputs(), &outputs)?;
    recover(resolved, &outputs)?;
    manifest::done_before(resolved, path)
}

/// Finishes, or forgets, what killed runs left half done with any of these outputs.
fn recover(resolved: &Resolved<'_>, outputs: &[Output<'_>]) -> Result<(), CheckpointError> {
    let inputs = resolved.inputs().into_iter().map(|(_, path)| path);
    OutputSet::recover(outputs.iter().map(|output| output.path.as_ref()), inputs)
}

/// The set of the outputs that the stages will write, once nothing is half done with any of them.
fn open_set(resolved: &Resolved<'_>, stages: Stages) -> Result<RunOutputs, CheckpointError> {
    let outputs = resolved.outputs();
    recover(resolved, &outputs)?;
    let wanted = |kind: OutputKind| match stages {
        Stages::All => true,
        Stages::Init => kind == OutputKind::Initial,
        Stages::Analyze => matches!(kind, OutputKind::Report(_)),
        Stages::Prune => kind == OutputKind::Pruned,
    };
    // What takes longest to make comes first: two runs that have it must not both begin.
    let order = |kind: OutputKind| (kind != OutputKind::TuneCache && !kind.is_checkpoint(), kind);
    let named = outputs.iter().filter(|output| output.part == Part::Whole && wanted(output.kind));
    match named.min_by_key(|output| order(output.kind)) {
        Some(first) => RunOutputs::open(&first.path, resolved.inputs().into_iter().map(|(_, path)| path)),
        None => Ok(RunOutputs::default()),
    }
}

/// Compares, and prunes and reports where that is wanted.
fn finish(
    resolved: &Resolved<'_>,
    analyze: bool,
    prunes: bool,
    tuned: Option<TuneReport>,
    set: &mut RunOutputs,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let settings = resolved.settings;
    let pruning = settings.prune.as_ref().filter(|_| prunes);
    let (checkpoint, tensors) = resolved.trained()?;
    let stage = if analyze { "analyze" } else { "compare" };
    let calibrated = calibrate(resolved, progress)?;
    let tasks = &calibrated.tasks;
    let mut masks = pruning.map(|pruning| Masks::new(&pruning.output, tasks)).transpose()?;
    let fill = pruning.map_or(Fill::Zero, |pruning| pruning.fill);
    let compared = compare(tasks, masks.as_mut(), fill, stage, progress)?;
    outcome.trained_bytes = trained_bytes(checkpoint);
    let told = Told::new(resolved, &compared)?;
    let mut taken = Vec::new();
    let forbidden = pruning.and_then(|pruning| told.forbids(pruning));
    outcome.other_start = forbidden.map(|words| (checkpoint.path().to_owned(), words));
    let pruning = pruning.filter(|_| outcome.other_start.is_none());
    if let (Some(pruning), Some(masks)) = (pruning, &mut masks) {
        let selected = select_and_code(resolved, tasks, pruning, masks, progress)?;
        taken = gone(tasks, masks, progress)?;
        outcome.pruned = Some(prune(resolved, tasks, pruning, (masks, selected), set, progress)?);
    }
    let found = Findings {
        calibrated: &calibrated,
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
        let maps = if drawn { heat_maps(tasks, progress)? } else { Vec::new() };
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

/// The files written; of plots, which are many, their folder.
fn write_reports(
    report: &Report,
    maps: &[Option<HeatMap>],
    settings: &Settings,
    set: &mut RunOutputs,
) -> Result<Vec<PathBuf>, CheckpointError> {
    let config = settings.source.file().file_name().unwrap_or_default().to_string_lossy();
    let mut written = Vec::new();
    for (kind, path) in settings.outputs() {
        let OutputKind::Report(form) = kind else { continue };
        set.add(kind, |set| match form {
            ReportForm::Json => set.add_with(path, |file| report::write_json(report, file)).map(drop),
            ReportForm::Csv => set.add_text(path, &report::csv(report)),
            ReportForm::Markdown => set.add_text(path, &report::markdown(report)),
            ReportForm::Html => set.add_text(path, &report::html(report, maps, &config)),
            ReportForm::Svg => {
                let names = report::heat_map_names(report.tensors.iter().map(|t| t.name.as_str()));
                let files = report::svg_files(report, maps, &names);
                files.into_iter().try_for_each(|(file, text)| set.add_text(&path.join(file), &text))
            }
        })?;
        written.push(path.to_owned());
    }
    Ok(written)
}
