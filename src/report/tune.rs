//! What the search for the smallest file found, in words and rows.

use super::{Report, share};
use crate::text::{counted, percentage, printable, significant, thousands};
use crate::tune::{Confirmation, Confirmed, TensorStep, TunePoint, TuneReport, front};

/// What a tuned run comes to, in one sentence.
pub fn tune_headline(tune: &TuneReport) -> Option<String> {
    let best = tune.points.get(tune.winner)?;
    let confirmed = confirmed(tune).map(|(found, original)| {
        format!(
            " On other data it is {}, {} the original's {}.",
            number(found.metric),
            worse(found.drop),
            number(original)
        )
    });
    let text = format!(
        "The tuned file has {} bytes, {} % of the original {}; its metric is {}, {} the original's {}.",
        thousands(best.bytes),
        percentage(100.0 * best.bytes as f64 / tune.original_bytes.max(1) as f64),
        thousands(tune.original_bytes),
        number(best.metric),
        worse(best.drop),
        number(tune.original_metric),
    );
    Some(text + &confirmed.unwrap_or_default())
}

/// What the confirming command measured of the file that was written, and of the original.
fn confirmed(tune: &TuneReport) -> Option<(&Confirmed, f64)> {
    let found = tune.confirmation.as_ref()?;
    Some((found.points.last()?, found.original_metric))
}

/// The winner in one line.
pub fn tune_words(tune: &TuneReport) -> String {
    let tried = tune.points.len() as u64;
    let ended = if tune.complete { "" } else { "; `max_evaluations` ended the search" };
    let Some(best) = tune.points.get(tune.winner) else { return String::new() };
    let refused = tune.confirmation.as_ref().map_or(0, |found| found.points.len().saturating_sub(1));
    let confirmed = match (&tune.confirmation, refused) {
        (None, _) => String::new(),
        (Some(_), 0) => ", as other data confirm".to_owned(),
        (Some(_), refused) => {
            format!(", after {} that other data did not confirm", counted(refused as u64, "smaller file"))
        }
    };
    format!(
        "{}: metric {}, {} the original's {} (at most {} worse). The smallest of {} tried that is within the \
         limit{confirmed}{ended}.",
        printable(&best.words()),
        number(best.metric),
        worse(best.drop),
        number(tune.original_metric),
        number(tune.max_drop),
        thousands(tried),
    )
}

fn worse(drop: f64) -> String {
    match drop {
        0.0 => "equal to".to_owned(),
        drop if drop < 0.0 => format!("{} better than", number(-drop)),
        drop => format!("{} worse than", number(drop)),
    }
}

/// Six digits at most.
pub(super) fn number(x: f64) -> String {
    significant(x, 6)
}

/// The titles of the columns, and which of them hold numbers.
pub(super) fn columns(tune: &TuneReport) -> Vec<(&'static str, bool)> {
    let pruning =
        [("criterion", false), ("scope", false), ("structure", false), ("fill", false), ("sparsity", true)];
    let steps = [("steps", false), ("length", false)];
    let measured = [("bytes", true), ("metric", true), ("worse by", true), ("result", false)];
    let (has_steps, prunes) = what_varies(tune);
    let steps = steps.into_iter().filter(|_| has_steps);
    steps.chain(pruning.into_iter().filter(|_| prunes)).chain(measured).collect()
}

/// Whether points have steps, and whether they are pruned.
fn what_varies(tune: &TuneReport) -> (bool, bool) {
    let has_steps = tune.points.iter().any(|point| point.steps.is_some());
    (has_steps, !has_steps || tune.points.iter().any(TunePoint::prunes))
}

/// A point as a row of a table with [`columns`].
pub(super) fn cells(tune: &TuneReport, place: usize) -> Vec<String> {
    let point = &tune.points[place];
    let refused = |found: &Confirmation| found.points.iter().any(|one| one.point == place && !one.within);
    let verdict = match point.within {
        true if place == tune.winner => "written",
        true if tune.confirmation.as_ref().is_some_and(refused) => "not confirmed",
        true => "within",
        false => "too far",
    };
    let (has_steps, prunes) = what_varies(tune);
    let mut cells = Vec::new();
    if has_steps {
        let steps = point.steps.as_ref();
        cells.extend(
            steps.map_or_else(Default::default, |steps| [steps.part.words().to_owned(), steps.lengths()]),
        );
    }
    if prunes {
        let [criterion, scope, structure, fill] =
            [&point.criterion, &point.scope, &point.structure, &point.fill].map(String::clone);
        cells.extend([criterion, scope, structure, fill, number(point.sparsity)]);
    }
    let measured = [thousands(point.bytes), number(point.metric), number(point.drop), verdict.to_owned()];
    cells.extend(measured);
    cells
}

/// The places of the points that a table shows: all of a search for a sparsity, by recipe; of a search for
/// steps, which has hundreds, those that nothing beats in both size and drop, and those that a command
/// refused to confirm.
pub(super) fn shown(tune: &TuneReport) -> Vec<usize> {
    if !what_varies(tune).0 {
        return by_recipe(tune).into_iter().flat_map(|(_, places)| places).collect();
    }
    let mut shown = front(&tune.points);
    shown.extend(tune.confirmation.iter().flat_map(|found| &found.points).map(|one| one.point));
    shown.push(tune.winner);
    shown.sort_by_key(|place| (tune.points.get(*place).map(|point| point.bytes), *place));
    shown.dedup();
    shown
}

/// How the table relates to the points, in words; empty if it has all of them.
pub(super) fn shown_words(tune: &TuneReport) -> String {
    if !what_varies(tune).0 {
        return String::new();
    }
    format!(
        "Of the {} tried, those that no other beats in both size and metric:",
        thousands(tune.points.len() as u64)
    )
}

/// The titles of the columns of [`steps`], and which of them hold numbers.
pub(super) const STEP_COLUMNS: [(&str, bool); 5] =
    [("tensor", false), ("step", true), ("over", false), ("at start", true), ("std of change / std", true)];

/// The steps of the file that was written, by tensor: length, start, the share of weights that return to it,
/// and how far training has spread the weights from their initial values, relative to their own spread. Far
/// below 1, the initial values save much; near 1, hardly anything.
pub(super) fn steps(report: &Report) -> Vec<[String; 5]> {
    let best = report.tune.as_ref().and_then(|tune| tune.points.get(tune.winner)?.steps.as_ref());
    let none = || "-".to_owned();
    let row = |one: &TensorStep| {
        let tensor = report.tensors.iter().find(|tensor| tensor.name == one.name);
        let at_start = tensor.and_then(|t| Some((t.rounding?.at_start, t.total_weights)));
        let at_start = at_start.map(|(count, of)| format!("{} %", percentage(100.0 * share(count, of))));
        let spread = tensor.and_then(|t| Some(t.changes.rms_delta? / t.drift.std?)).filter(|x| x.is_finite());
        [
            one.name.clone(),
            one.step.to_string(),
            one.over.clone(),
            at_start.unwrap_or_else(none),
            spread.map_or_else(none, |spread| significant(spread, 3)),
        ]
    };
    best.map(|steps| steps.tensors.iter().map(row).collect()).unwrap_or_default()
}

/// The places of the points of each recipe, recipes in the order of the search, points by sparsity.
pub(super) fn by_recipe(tune: &TuneReport) -> Vec<(String, Vec<usize>)> {
    let mut recipes: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, point) in tune.points.iter().enumerate() {
        let recipe = point.recipe();
        match recipes.iter_mut().find(|(known, _)| *known == recipe) {
            Some((_, places)) => places.push(place),
            None => recipes.push((recipe, vec![place])),
        }
    }
    for (_, places) in &mut recipes {
        places.sort_by(|a, b| tune.points[*a].sparsity.total_cmp(&tune.points[*b].sparsity));
    }
    recipes
}
