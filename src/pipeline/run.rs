//! Runs the stages of a config.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calibrate::calibrate;
use super::compare::{ComparedTensor, compare, for_every_tensor};
use super::error::{Error, caught};
use super::fit::{CodedPart, code_at_once, digests_of_bases, select_and_code};
use super::gates::check_gates;
use super::heatmap::{draw, heat_maps};
use super::initialise::initialise;
use super::kept::Kept;
use super::manifest::{self, KnownInputs, add_manifest, hash_some_inputs, know_inputs};
use super::masks::Masks;
use super::origin::Action;
use super::outcome::Outcome;
use super::outputs::{Part, RunOutputs, check_outputs};
use super::progress::{Progress, Silent};
use super::prune::{check_compressed, check_part_names, prune};
use super::resolve::Resolved;
use super::select::{check_decisions, select_alone};
use super::start::Told;
use super::summarise::{Findings, summarise, trained_bytes};
use super::team::{Changes, Team, names};
use super::tune;
use crate::analysis::{Cell, HeatMap};
use crate::checkpoint::{CheckpointError, OpenOptions};
use crate::config::{OutputKind, ReportForm, Settings};
use crate::manifest::Manifest;
use crate::place;
use crate::report::{self, Report};
use crate::sparse::Fill;
use crate::store::{Destination, Sink};
use crate::tune::TuneReport;

/// Which stages to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// All stages in the config.
    All,
    /// Only `init`.
    Init,
    /// Only `analyze`.
    Analyze,
    /// Only `prune`.
    Prune,
}

/// Runs the stages. `done` is called as soon as a stage is finished, so that a later failure does not hide
/// its result. The report contains the results of the gates; [`Outcome::check_gates`] checks them.
///
/// # Errors
/// [`Error`]; [`Error::TrainedMissing`] after the initial checkpoint has been written.
pub fn run(
    resolved: &Resolved<'_>,
    stages: Stages,
    progress: &dyn Progress,
    done: impl FnMut(&Outcome),
) -> Result<Outcome, Error> {
    run_into(Box::new(Destination::default()), resolved, stages, progress, done)
}

/// As [`run`], with the outputs in another place than their paths say. Two things are still local: what
/// `tune` has evaluated, in the folder that the config names, and temporary bits in the folder of the pruned
/// checkpoint, in a file without a name.
///
/// # Errors
/// As [`run`].
pub fn run_into(
    sink: Box<dyn Sink>,
    resolved: &Resolved<'_>,
    stages: Stages,
    progress: &dyn Progress,
    mut done: impl FnMut(&Outcome),
) -> Result<Outcome, Error> {
    caught(|| run_as(&Team::alone(), sink, resolved, stages, progress, &mut done))
}

/// As [`run_into`], for one process of several. In those that do a part, and in one that merges before the
/// last step, this ends with [`Error::Phase`].
pub(super) fn run_as(
    team: &Team,
    sink: Box<dyn Sink>,
    resolved: &Resolved<'_>,
    stages: Stages,
    progress: &dyn Progress,
    done: &mut dyn FnMut(&Outcome),
) -> Result<Outcome, Error> {
    let (outcome, mut set) = stage(resolved, stages, (team, sink, None), progress, done)?;
    if team.only_looks() {
        return Ok(outcome);
    }
    write_manifest(resolved, stages, &outcome, &mut set)?;
    set.commit()?;
    done(&outcome);
    Ok(outcome)
}

/// Runs the stages without committing the outputs. `tuned` is the result of a search, if there is one;
/// pruning then uses the settings that it chose.
pub(super) fn stage(
    resolved: &Resolved<'_>,
    stages: Stages,
    (team, sink, tuned): (&Team, Box<dyn Sink>, Option<TuneReport>),
    progress: &dyn Progress,
    done: &mut dyn FnMut(&Outcome),
) -> Result<(Outcome, RunOutputs), Error> {
    let settings = resolved.settings;
    check_sections(settings, stages)?;
    let pruning = settings.prune.as_ref().filter(|_| matches!(stages, Stages::All | Stages::Prune));
    if let Some(prune) = pruning.filter(|prune| !prune.folder && place::is_folder(&prune.output)) {
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
    let mut set = open_set(resolved, stages, team.sink(sink))?;
    let mut outcome = Outcome::default();
    if init {
        outcome.initial = Some(initialise(resolved, (&mut set, team), progress)?);
    }
    if !analyze && pruning.is_none() {
        return Ok((outcome, set));
    }
    if init {
        // Training can start from it, so it does not wait for the other outputs.
        if resolved.trained.is_none() && !team.only_looks() {
            std::mem::take(&mut set).commit()?;
        }
        done(&outcome);
    }
    match &settings.tune {
        Some(wanted) if pruning.is_some() => {
            let (options, kept) = (resolved.options(), Arc::default());
            let (prune, found) = tune::tune(resolved, wanted, &only_prunes(options, &kept), progress)?;
            let settings = Settings { prune: Some(prune), ..settings.clone() };
            let resolved = Resolved::with(&settings, options)?.with_kept(&kept);
            let to_do = (analyze, true, Some(found));
            finish(&resolved, to_do, (team, &mut set), progress, &mut outcome)?;
        }
        _ => {
            let to_do = (analyze, pruning.is_some(), tuned);
            finish(resolved, to_do, (team, &mut set), progress, &mut outcome)?;
        }
    }
    Ok((outcome, set))
}

/// How a search writes a candidate.
fn only_prunes(options: OpenOptions, kept: &Arc<Kept>) -> impl Fn(&Settings) -> Result<Outcome, Error> {
    move |settings| run(&Resolved::with(settings, options)?.with_kept(kept), Stages::Prune, &Silent, |_| {})
}

/// How long one candidate of the search takes on this machine: it is written and restored in a temporary
/// folder near the search's cache, and evaluated. `None` if the config does not search.
///
/// # Errors
/// [`Error`], if a candidate cannot be written or evaluated.
pub fn time_candidate(resolved: &Resolved<'_>, progress: &dyn Progress) -> Result<Option<Duration>, Error> {
    caught(|| {
        let kept = Arc::default();
        let prune = only_prunes(resolved.options(), &kept);
        let time = |wanted| tune::time_candidate(resolved, wanted, &prune, progress);
        resolved.settings.tune.as_ref().map(time).transpose()
    })
}

/// A run of all stages writes a manifest, if the config has one.
fn write_manifest(
    resolved: &Resolved<'_>,
    stages: Stages,
    outcome: &Outcome,
    set: &mut RunOutputs,
) -> Result<(), Error> {
    match &resolved.settings.manifest {
        // An incomplete run writes none, because the next run would be skipped.
        Some(path) if stages == Stages::All && outcome.other_start.is_none() => {
            add_manifest(resolved, path, outcome, set)
        }
        _ => Ok(()),
    }
}

/// The result of an earlier run, if its manifest proves that [`run`] with [`Stages::All`] would give the
/// same: same version, config and inputs, and outputs as they were written. Before that, outputs of a
/// killed run are finished.
///
/// # Errors
/// If inputs cannot be read, or outputs of a killed run cannot be finished.
pub fn done_before(resolved: &Resolved<'_>) -> Result<Option<Manifest>, Error> {
    caught(|| {
        let settings = resolved.settings;
        let Some(path) = &settings.manifest else { return Ok(None) };
        if resolved.trained.is_some() && settings.prune.is_some() {
            resolved.open_files_of_pruning()?;
        }
        let outputs = resolved.outputs();
        check_outputs(resolved.inputs(), &outputs)?;
        RunOutputs::open(Box::new(Destination::default()), None, &outputs, resolved.identities())?;
        manifest::done_before(resolved, path)
    })
}

/// The set of the outputs that the stages will write, once nothing is half done with any of them.
fn open_set(
    resolved: &Resolved<'_>,
    stages: Stages,
    sink: Box<dyn Sink>,
) -> Result<RunOutputs, CheckpointError> {
    let outputs = resolved.outputs();
    let wanted = |kind: OutputKind| match stages {
        Stages::All => true,
        Stages::Init => kind == OutputKind::Initial,
        Stages::Analyze => matches!(kind, OutputKind::Report(_)),
        Stages::Prune => kind == OutputKind::Pruned,
    };
    // The output that takes longest is claimed first, so that of two runs with it, only one starts.
    let order = |kind: OutputKind| (kind != OutputKind::TuneCache && !kind.is_checkpoint(), kind);
    let named = outputs.iter().filter(|output| output.part == Part::Whole && wanted(output.kind));
    let anchor = named.min_by_key(|output| order(output.kind)).map(|output| output.path.as_ref());
    RunOutputs::open(sink, anchor, &outputs, resolved.identities())
}

/// What a process finds in the first pass over all weights.
#[derive(Default, Serialize, Deserialize)]
struct First {
    compared: Vec<(usize, ComparedTensor)>,
    /// SHA-256 of the data that pruned weights are restored from, by the name of the tensor.
    bases: BTreeMap<String, String>,
    inputs: KnownInputs,
    /// The cells of heat maps, by the index of the tensor.
    cells: BTreeMap<usize, Vec<Cell>>,
    /// The units to remove and the codes, if nothing else decides about them.
    coded: Option<CodedPart>,
}

/// Compares; prunes and reports if requested.
fn finish(
    resolved: &Resolved<'_>,
    (analyze, prunes, tuned): (bool, bool, Option<TuneReport>),
    (team, set): (&Team, &mut RunOutputs),
    progress: &dyn Progress,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let settings = resolved.settings;
    let pruning = settings.prune.as_ref().filter(|_| prunes);
    let (checkpoint, tensors) = resolved.trained()?;
    let stage = if analyze { "analyze" } else { "compare" };
    let calibrated = calibrate(resolved, team, progress)?;
    let tasks = &calibrated.tasks;
    let owns = |name: &str| team.owns(name);
    let spool = pruning.map(|pruning| team.spool(&pruning.output)).transpose()?;
    let mut masks = spool.map(|spool| Masks::new(spool, tasks, owns));
    let fill = pruning.map_or(Fill::Zero, |pruning| pruning.fill);
    let paths = &settings.analyze.report;
    let is_drawn = analyze && (paths.html.is_some() || paths.svg.is_some());
    let select_own = |pruning, masks: &mut Masks| {
        resolved.open_files_of_pruning()?;
        select_alone(resolved, (tasks, &owns), pruning, masks, progress)
    };
    let first = |mut masks: Option<&mut Masks>| {
        let compared = compare(tasks, owns, masks.as_deref_mut(), fill, stage, progress)?;
        let mut first = First { compared, ..First::default() };
        // Alone, all this is done where it turns out to be needed.
        if team.is_alone() {
            return Ok(first);
        }
        if let (Some(pruning), Some(masks)) = (pruning, masks) {
            select_own(pruning, masks)?;
            let pruned = tensors.iter().filter(|(name, t)| t.action == Action::Prune && owns(name));
            first.bases = digests_of_bases(resolved, pruned.map(|(name, _)| name.as_str()))?;
            first.coded = code_at_once(resolved, tasks, pruning, team, masks, progress)?;
        }
        if settings.manifest.is_some() {
            first.inputs = hash_some_inputs(resolved, |n| team.takes(n))?;
        }
        if is_drawn {
            first.cells = draw(tasks, owns, progress)?;
        }
        Ok(first)
    };
    let found = match &mut masks {
        None => team.step(names::COMPARE, || first(None))?,
        Some(masks) => {
            let of_masks = (masks, tasks, Changes::Masks);
            team.step_of_masks(names::COMPARE, of_masks, |masks| first(Some(masks)))?
        }
    };
    let mut compared = Vec::new();
    let (mut cells, mut coded) = (BTreeMap::new(), Vec::new());
    for part in found {
        compared.push(part.compared);
        resolved.know_base_digests(part.bases);
        know_inputs(resolved, part.inputs);
        cells.extend(part.cells);
        coded.extend(part.coded);
    }
    let compared = for_every_tensor(tasks, compared.into_iter().flatten());
    outcome.trained_bytes = trained_bytes(checkpoint);
    let told = Told::new(resolved, &compared)?;
    let mut taken = Vec::new();
    let forbidden = pruning.and_then(|pruning| told.forbids(pruning));
    outcome.other_start = forbidden.map(|words| (checkpoint.path().to_owned(), words));
    let pruning = pruning.filter(|_| outcome.other_start.is_none());
    if let (Some(pruning), Some(masks)) = (pruning, &mut masks) {
        if team.is_alone() {
            select_own(pruning, masks)?;
        }
        let selected = select_and_code(resolved, tasks, pruning, (team, coded), masks, progress)?;
        let (pruned, gone) = prune(resolved, tasks, pruning, (masks, selected), (set, team), progress)?;
        (outcome.pruned, taken) = (Some(pruned), gone);
    }
    // What the report does not need makes room for it.
    drop(masks);
    let (calibrations, evidence) = (tasks.calibrations(), calibrated.evidence);
    let tasks = Some(calibrated.tasks).filter(|_| is_drawn);
    let found = Findings {
        calibrations,
        evidence,
        compared,
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
        if let (Some(tasks), true) = (&tasks, team.is_alone()) {
            cells = draw(tasks, owns, progress)?;
        }
        let maps = tasks.as_ref().map_or_else(Vec::new, |tasks| heat_maps(tasks, cells));
        outcome.report_files = write_reports(&report, &maps, settings, set)?;
    }
    outcome.report = Some(report);
    Ok(())
}

/// A stage that is requested by its own command must be in the config.
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

/// The files written; for plots, of which there are many, their folder.
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
