//! Warnings on a report before its model is trusted or used, one short line each.

use std::collections::BTreeMap;

use super::model::{Report, ReportTensor};
use super::started::{of_tensor, std_tells};
use crate::infer::no_weight;
use crate::sparse::Fill;
use crate::tensor::Shape;
use crate::text::{counted, percentage, printable, significant, thousands};

/// A standard deviation below this share of the initial one tells of a layer that vanishes, one above the
/// inverse of a layer that explodes.
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
        metadata(report),
        started_elsewhere(report, name),
        vanishing(report, name),
        exploding(report, name),
        all_zero(report, name),
        zeroed(report, name),
        overflowed(report, name),
        rounded(report, name),
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

/// The trained file's own word on its seed.
pub(super) fn metadata(report: &Report) -> Option<String> {
    let start = report.start.as_ref()?;
    let seed = start.file_seed.map(|seed| format!("seed {seed} (the config has {})", report.seed));
    let version = start
        .file_noise_version
        .map(|version| format!("noise version {version} (this tool uses {})", report.noise_version));
    let said: Vec<String> = seed.into_iter().chain(version).collect();
    (!said.is_empty()).then(|| format!("The trained checkpoint's metadata has {}.", said.join(" and ")))
}

/// Tensors that started elsewhere among others that started here.
pub(super) fn started_elsewhere(report: &Report, name: Name) -> Option<String> {
    let start = report.start.as_ref()?;
    let bad = tensors(report, |t| t.started_here == Some(false));
    (start.started_here == Some(true) && !bad.is_empty()).then(|| {
        format!(
            "Some tensors do not seem to have started from these initial values, although others did: {}. \
             Check their layer ids and init.",
            list(&bad, name, of_tensor)
        )
    })
}

fn vanishing(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.drift.std_ratio.is_some_and(|x| x < VANISHING) && std_tells(report, t));
    let names = list(&bad, name, ratio);
    (!bad.is_empty()).then(|| {
        format!("Vanishing: the standard deviation fell below a tenth of the initial one in {names}.")
    })
}

fn exploding(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.drift.std_ratio.is_some_and(|x| x > EXPLODING) && std_tells(report, t));
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
        |t: &ReportTensor| if t.changes.max_delta == Some(0.0) { " (as initialised)" } else { "" }.to_owned();
    (!bad.is_empty()).then(|| format!("Every weight is zero in {}.", list(&bad, name, as_it_started)))
}

/// What was set to zero by one criterion.
#[derive(Default)]
struct Zeroed {
    weights: u64,
    /// Those that training had changed, of those of which that is known.
    changed: u64,
    known: u64,
    /// Those that sleep outside of inputs and outputs that sleep whole, at most; and whether it may be fewer.
    scattered: u64,
    at_most: bool,
}

impl Zeroed {
    fn add(&mut self, tensor: &ReportTensor, pruned: u64) {
        self.weights += pruned;
        let Some(changed) = tensor.pruned_changed_weights else { return };
        self.changed += changed;
        self.known += pruned;
        // Where only some of the sleeping weights went, nothing says which.
        let asleep = pruned - changed.min(pruned);
        let scattered = tensor.sleeping_scattered.unwrap_or(0);
        let all = Some(asleep) == tensor.changes.sleeping_weights;
        self.scattered += scattered.min(asleep);
        self.at_most |= !all && scattered > 0 && asleep > 0;
    }

    /// `26,011 of them changed by training`.
    fn changed_words(&self) -> String {
        let changed = match self.changed {
            0 => "none".to_owned(),
            n if n == self.known => "all".to_owned(),
            n => thousands(n),
        };
        match self.known {
            0 => "and it is unknown which of them training changed".to_owned(),
            known if known == self.weights => format!("{changed} of them changed by training"),
            known => {
                format!("{changed} of the {} with known initial values changed by training", thousands(known))
            }
        }
    }
}

/// Zeroing a weight is free where nothing reads it: in an input that was always 0, in a row that was never
/// looked up. What else was set to zero has to be said: by which criterion, what training had made of it,
/// and how much it was.
pub(super) fn zeroed(report: &Report, name: Name) -> Option<String> {
    if report.fill != Some(Fill::Zero) {
        return None;
    }
    let mut by: Vec<(&str, Zeroed)> = Vec::new();
    for tensor in &report.tensors {
        let Some(pruned @ 1..) = tensor.pruned_weights else { continue };
        let criterion = tensor.criterion.as_deref().unwrap_or("sleeping");
        let place = by.iter().position(|(other, _)| *other == criterion).unwrap_or_else(|| {
            by.push((criterion, Zeroed::default()));
            by.len() - 1
        });
        by[place].1.add(tensor, pruned);
    }
    let of = |count: fn(&Zeroed) -> u64| -> u64 { by.iter().map(|(_, zeroed)| count(zeroed)).sum() };
    let scattered = of(|zeroed| zeroed.scattered);
    // What slept, and all of it where nothing reads it, went for free.
    if scattered + of(|zeroed| zeroed.changed + zeroed.weights - zeroed.known) == 0 {
        return None;
    }
    let part = |(criterion, zeroed): &(&str, Zeroed)| {
        format!("{} by {}, {}", counted(zeroed.weights, "weight"), name(criterion), zeroed.changed_words())
    };
    let parts: Vec<String> = by.iter().map(part).collect();
    let share = report.totals.pruned_norm_share.map(|share| {
        format!("; this removes {} % of the squared norm of the pruned tensors", percentage(100.0 * share))
    });
    let scattered = match scattered {
        0 => ". Measure the model.".to_owned(),
        n => format!(
            ". {}{} sleep{} outside inputs and outputs whose weights all sleep, so something may read {}. \
             Measure the model, or use `fill: init`.",
            if by.iter().any(|(_, zeroed)| zeroed.at_most) { "Up to " } else { "" },
            thousands(n),
            if n == 1 { "s" } else { "" },
            if n == 1 { "it" } else { "them" },
        ),
    };
    Some(format!("Set to zero: {}{}{scattered}", parts.join("; "), share.unwrap_or_default()))
}

/// Values beyond the range of the type that they were written in.
fn overflowed(report: &Report, name: Name) -> Option<String> {
    let bad = tensors(report, |t| t.overflowed_weights.unwrap_or(0) > 0);
    let count = |t: &ReportTensor| format!(" ({})", thousands(t.overflowed_weights.unwrap_or(0)));
    let total: u64 = bad.iter().filter_map(|t| t.overflowed_weights).sum();
    (total > 0).then(|| {
        format!(
            "Overflow: {} became infinite in the type written, in {}. Use a wider `prune.dtype`.",
            counted(total, "finite weight"),
            list(&bad, name, count),
        )
    })
}

/// What rounding to steps has changed, which no other number shows.
fn rounded(report: &Report, name: Name) -> Option<String> {
    let error = |t: &ReportTensor| t.rounding.map_or(0.0, |rounding| rounding.error);
    let rounded = tensors(report, |t| t.rounding.is_some());
    let most = rounded.iter().copied().max_by(|a, b| error(a).total_cmp(&error(b)))?;
    let at_start = rounded.iter().filter_map(|t| t.rounding).map(|rounding| rounding.at_start).sum();
    Some(format!(
        "Rounded to steps: {}; {} to an initial value or zero. The rounding error is at most {} % of the weights \
         (root mean squares, in {}). Restored weights differ from the trained ones, so evaluate the restored file \
         before you use it.",
        counted(rounded.len() as u64, "tensor"),
        counted(at_start, "weight"),
        percentage(100.0 * error(most)),
        name(&most.name),
    ))
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
            "Pruned, although by name or size they do not look like weights: {}. To keep them, add a rule to \
             `prune.rules`.",
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
