//! The stage `tune`: writes pruned files, restores them, and evaluates them with the user's command, until
//! the smallest one that keeps the accuracy is found.

mod points;
mod steps;
mod trials;

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::Error;
use super::outcome::Outcome;
use super::progress::Progress;
use super::prune::check_part_names;
use super::resolve::Resolved;
use super::select::check_decisions;
use crate::checkpoint::CheckpointError;
use crate::config::{FormatChoice, PruneRule, PruneSettings, Recipe, Settings, TuneSearch, TuneSettings};
use crate::rules::{Pattern, Rule, RuleSet};
use crate::sparse::Format;
use crate::text::{significant, thousands};
use crate::tune::{Lines, TuneReport, search};
use points::Points;
use trials::{Candidate, Trials, with_prune};

/// Runs the search. Returns the settings to prune with, and a report of the search. `prune` must only prune,
/// whatever else its settings request.
///
/// # Errors
/// [`Error::Evaluation`] if a command gives no metric, [`Error::NothingWithin`] if every file loses too much
/// accuracy, [`Error::NotConfirmed`] if all that are within the limit lose too much by `tune.confirm`,
/// [`Error::SameMetric`] if the metric does not depend on the checkpoint, and errors of comparing, pruning
/// and restoring.
pub(super) fn tune(
    resolved: &Resolved<'_>,
    tune: &TuneSettings,
    prune: &dyn Fn(&Settings) -> Result<Outcome, Error>,
    progress: &dyn Progress,
) -> Result<(PruneSettings, TuneReport), Error> {
    resolved.trained()?;
    let starts = starts(&tune.search);
    check_candidates(resolved, &starts)?;
    let mut trials = Trials::new(resolved, tune, prune, progress)?;
    let untouched = Candidate { prune: untouched(&starts[0]), what: "the original".to_owned() };
    // The least limit is 2, so the original is always evaluated.
    let original = trials.evaluate(std::slice::from_ref(&untouched))?[0];
    progress.note(&format!(
        "tune: the original: {} bytes, metric {}",
        thousands(original.bytes),
        significant(original.metric, 6)
    ));
    let mut points = Points::new(resolved.settings, tune, original, progress);
    let complete = match &tune.search {
        TuneSearch::Sparsity { recipes, lines } => sparsity((recipes, lines), &mut trials, &mut points)?,
        TuneSearch::Steps(settings) => steps::search(resolved, settings, &mut trials, &mut points)?,
    };
    let (prune, report) = points.finish(complete, &mut trials, untouched)?;
    trials.clean()?;
    Ok((prune, report))
}

/// How long a candidate of the search takes here: it is written, restored, and evaluated by `tune.command`.
/// Writes only to a temporary folder, near the cache, where a search would have room too.
///
/// # Errors
/// Those of [`tune`] that come before the search.
pub(super) fn time_candidate(
    resolved: &Resolved<'_>,
    tune: &TuneSettings,
    prune: &dyn Fn(&Settings) -> Result<Outcome, Error>,
    progress: &dyn Progress,
) -> Result<Duration, Error> {
    resolved.trained()?;
    check_candidates(resolved, &starts(&tune.search))?;
    let folder = tune.cache.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let place = tempfile::tempdir_in(folder).map_err(CheckpointError::io(folder, "create a folder in"))?;
    let tune = TuneSettings { cache: place.path().to_owned(), jobs: 1, ..tune.clone() };
    let prune_with = match &tune.search {
        TuneSearch::Sparsity { recipes, lines } => recipes[0].at((lines.low + lines.high) / 2.0),
        TuneSearch::Steps(settings) => steps::a_candidate(resolved, settings)?,
    };
    let begun = Instant::now();
    let candidate = Candidate { prune: prune_with, what: "a candidate".to_owned() };
    Trials::new(resolved, &tune, prune, progress)?.evaluate(&[candidate])?;
    Ok(begun.elapsed())
}

/// Searches for sparsities. Returns whether the search was completed.
fn sparsity(
    (recipes, lines): (&[Recipe], &Lines),
    trials: &mut Trials<'_>,
    points: &mut Points<'_>,
) -> Result<bool, Error> {
    search(lines, |asked| {
        let tried = asked.iter().map(|(line, sparsity)| {
            let recipe = &recipes[*line];
            (recipe.at(sparsity.unwrap_or_default()), recipe.point(*sparsity))
        });
        let found = points.evaluate(trials, tried.collect())?;
        Ok::<_, Error>(found.iter().map(|point| point.within).collect())
    })
}

/// The settings from which a search starts, at least one: of every recipe, or those whose steps are open.
fn starts(search: &TuneSearch) -> Vec<PruneSettings> {
    match search {
        TuneSearch::Sparsity { recipes, lines } => {
            recipes.iter().map(|recipe| recipe.at(lines.low)).collect()
        }
        TuneSearch::Steps(settings) => vec![(**settings).clone()],
    }
}

/// Finds settings with which no file can be written, before the first evaluation.
fn check_candidates(resolved: &Resolved<'_>, starts: &[PruneSettings]) -> Result<(), Error> {
    for prune in starts {
        let settings = with_prune(resolved.settings, prune.clone());
        let resolved = Resolved::with(&settings, resolved.options())?;
        if let Some(pruning) = &settings.prune {
            check_decisions(&resolved, pruning)?;
            check_part_names(&resolved, pruning)?;
        }
    }
    Ok(())
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
        values: None,
        rules: RuleSet::new(vec![Rule { patterns, value: keep }]),
        ..prune.clone()
    }
}
