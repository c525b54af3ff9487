//! What a person should know about a report before trusting or using its model, one short line each.

use std::collections::BTreeMap;

use super::model::{Report, ReportTensor};
use super::text::{printable, significant, thousands};
use crate::infer::no_weight;
use crate::sparse::Fill;
use crate::tensor::Shape;

/// A standard deviation below this share of the initial one tells of a layer that vanishes, one above the inverse of a
/// layer that explodes.
const VANISHING: f64 = 0.1;
const EXPLODING: f64 = 10.0;

/// Whether a layer with this `std_ratio` vanishes or explodes.
pub fn is_alarming(std_ratio: f64) -> bool {
    !(VANISHING..=EXPLODING).contains(&std_ratio)
}

/// How a tensor's name is written.
type Name = fn(&str) -> String;

/// The warnings on a report, for a terminal; none where all is well.
pub fn warnings(report: &Report) -> Vec<String> {
    warnings_with(report, printable)
}

pub(super) fn warnings_with(report: &Report, name: Name) -> Vec<String> {
    let found = [
        not_finite(report, name),
        vanishing(report, name),
        exploding(report, name),
        all_zero(report, name),
        zeroed(report),
        overflowed(report, name),
        no_weights(report, name),
    ];
    found.into_iter().flatten().collect()
}

fn not_finite(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.not_finite.unwrap_or(0) > 0);
    let count = |share: fn(&ReportTensor) -> Option<f64>| -> u64 {
        bad.iter().map(|t| (share(t).unwrap_or(0.0) * t.total_weights as f64).round() as u64).sum()
    };
    let kinds = [(count(|t| t.nan_share), "NaN"), (count(|t| t.infinite_share), "infinite")];
    let kinds: Vec<String> =
        kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{} {kind}", thousands(*n))).collect();
    (!bad.is_empty()).then(|| format!("{} in {}.", kinds.join(" and "), list(&bad, name, |_| String::new())))
}

fn vanishing(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.drift.std_ratio.is_some_and(|x| x < VANISHING));
    let names = list(&bad, name, ratio);
    (!bad.is_empty()).then(|| {
        format!("Vanishing: the standard deviation fell below a tenth of the initial one in {names}.")
    })
}

fn exploding(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.drift.std_ratio.is_some_and(|x| x > EXPLODING));
    let names = list(&bad, name, ratio);
    (!bad.is_empty()).then(|| {
        format!("Exploding: the standard deviation grew to more than ten times the initial one in {names}.")
    })
}

fn ratio(tensor: &ReportTensor) -> String {
    tensor.drift.std_ratio.map(|x| format!(" (x {})", significant(x, 2))).unwrap_or_default()
}

fn all_zero(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.total_weights > 0 && t.zeros == Some(t.total_weights));
    let as_it_started =
        |t: &ReportTensor| if t.changes.max_delta == Some(0.0) { " (as it started)" } else { "" }.to_owned();
    (!bad.is_empty()).then(|| format!("Every weight is zero in {}.", list(&bad, name, as_it_started)))
}

/// Zeroing a weight is free where nothing reads it: in an input that was always 0, in a row that was never looked up.
fn zeroed(report: &Report) -> Option<String> {
    if report.fill != Some(Fill::Zero) {
        return None;
    }
    let scattered = |t: &ReportTensor| match t.pruned_weights {
        Some(1..) => t.sleeping_scattered.unwrap_or(0),
        _ => 0,
    };
    let count: u64 = report.tensors.iter().map(scattered).sum();
    let pruned = report.totals.pruned_weights.unwrap_or(0);
    (count > 0).then(|| {
        format!(
            "Set to zero: {} sleeping weights, {} of them outside inputs and outputs that sleep whole, where something \
             may read them: measure the model, or take `fill: init`.",
            thousands(pruned),
            if count == pruned { "all".to_owned() } else { thousands(count) },
        )
    })
}

/// Values beyond the range of the type that they were written in.
fn overflowed(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.overflowed_weights.unwrap_or(0) > 0);
    let count = |t: &ReportTensor| format!(" ({})", thousands(t.overflowed_weights.unwrap_or(0)));
    let total: u64 = bad.iter().filter_map(|t| t.overflowed_weights).sum();
    (total > 0).then(|| {
        format!(
            "Beyond the range of the type written: {} finite weights became infinite in {}; take a wider `prune.dtype`.",
            thousands(total),
            list(&bad, name, count),
        )
    })
}

/// What is pruned though it is no weight. Giving back what sleeps changes nothing.
fn no_weights(report: &Report, name: Name) -> Option<String> {
    let shapes: Vec<Option<Shape>> =
        report.tensors.iter().map(|t| Shape::new(t.shape.clone()).ok()).collect();
    let all: BTreeMap<&str, &Shape> = report
        .tensors
        .iter()
        .zip(&shapes)
        .filter_map(|(t, shape)| Some((t.name.as_str(), shape.as_ref()?)))
        .collect();
    let why = |t: &ReportTensor| no_weight(&t.name, all.get(t.name.as_str())?, &all);
    let lost = |t: &ReportTensor| {
        let pruned = t.pruned_weights.unwrap_or(0);
        pruned > 0 && (report.fill != Some(Fill::Init) || pruned > t.changes.sleeping_weights.unwrap_or(0))
    };
    let bad = tensors(report, |t| lost(t) && why(t).is_some());
    let word = |t: &ReportTensor| why(t).map(|why| format!(" ({why})")).unwrap_or_default();
    (!bad.is_empty()).then(|| {
        format!(
            "Pruned, though by name or size no weights: {}; keep them, by a rule of `prune.rules`.",
            list(&bad, name, word)
        )
    })
}

fn tensors(report: &Report, bad: impl Fn(&ReportTensor) -> bool) -> Vec<&ReportTensor> {
    report.tensors.iter().filter(|t| bad(t)).collect()
}

/// The first names, each with a word on it.
fn list(tensors: &[&ReportTensor], name: Name, word: impl Fn(&ReportTensor) -> String) -> String {
    const SHOWN: usize = 3;
    let mut text = tensors
        .iter()
        .take(SHOWN)
        .map(|t| format!("{}{}", name(&t.name), word(t)))
        .collect::<Vec<_>>()
        .join(", ");
    if tensors.len() > SHOWN {
        text.push_str(&format!(" and {} more", tensors.len() - SHOWN));
    }
    text
}
