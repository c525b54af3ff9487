//! What the search for the smallest file found, in words and rows.

use crate::text::{percentage, printable, significant, thousands};
use crate::tune::TuneReport;

/// What a tuned run comes to, in one sentence.
pub fn tune_headline(tune: &TuneReport) -> Option<String> {
    let best = tune.points.get(tune.winner)?;
    Some(format!(
        "The tuned file has {} bytes, {} % of the original {}; its metric is {}, {} the original's {}.",
        thousands(best.bytes),
        percentage(100.0 * best.bytes as f64 / tune.original_bytes.max(1) as f64),
        thousands(tune.original_bytes),
        number(best.metric),
        worse(best.drop),
        number(tune.original_metric),
    ))
}

/// The winner in one line.
pub fn tune_words(tune: &TuneReport) -> String {
    let tried = tune.points.len() as u64;
    let ended = if tune.complete { "" } else { "; `max_evaluations` ended the search" };
    let Some(best) = tune.points.get(tune.winner) else { return String::new() };
    format!(
        "{}: metric {}, {} the original's {} (at most {} worse). The smallest of {} tried that is within the \
         limit{ended}.",
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

/// The titles of the columns of [`cells`], and which of them hold numbers.
pub(super) const COLUMNS: [(&str, bool); 9] = [
    ("criterion", false),
    ("scope", false),
    ("structure", false),
    ("fill", false),
    ("sparsity", true),
    ("bytes", true),
    ("metric", true),
    ("worse by", true),
    ("result", false),
];

/// A point as a row of a table.
pub(super) fn cells(tune: &TuneReport, place: usize) -> [String; 9] {
    let point = &tune.points[place];
    let verdict = match point.within {
        true if place == tune.winner => "written",
        true => "within",
        false => "too far",
    };
    [
        point.criterion.clone(),
        point.scope.clone(),
        point.structure.clone(),
        point.fill.clone(),
        number(point.sparsity),
        thousands(point.bytes),
        number(point.metric),
        number(point.drop),
        verdict.to_owned(),
    ]
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
