//! The results in words. Everything here is plain text; a page must escape it.

use super::started::std_tells;
use super::tune::tune_headline;
use super::verdict::Standing;
use super::{Report, ReportTensor, warnings};
use crate::analysis::{Evidence, HeatMap};
use crate::tensor::{Layout, Role};
use crate::text::page::{factor, percent, real};
use crate::text::{counted, counted_are, shortened, thousands};

/// A sentence of the verdict.
pub(super) struct Finding {
    /// Whether it is bad news.
    pub warns: bool,
    /// A word or two on what it is about.
    pub about: &'static str,
    pub text: String,
}

/// The verdict in one sentence; of a tuned run the file that was chosen.
pub(super) fn headline(report: &Report) -> String {
    report.tune.as_ref().and_then(tune_headline).unwrap_or_else(|| sleeping(report))
}

/// How much sleeps, in one sentence.
fn sleeping(report: &Report) -> String {
    let totals = &report.totals;
    match Standing::of(report) {
        Standing::NothingCompared => "Nothing was compared: no rule gives an initial value.".to_owned(),
        Standing::Elsewhere(_) => {
            "This checkpoint does not seem to have started from these initial values.".to_owned()
        }
        Standing::Sleeping => {
            let share = percent(totals.changes.sleeping_percentage.unwrap_or(0.0));
            format!("{share} of the weights are sleeping.")
        }
        Standing::Undecided => "No weight can be called sleeping.".to_owned(),
        Standing::Awake => {
            let compared = counted(totals.compared_weights, "weight");
            format!("No weight is sleeping: training changed every one of {compared}.")
        }
    }
}

/// What stands below it.
pub(super) fn subline(report: &Report) -> String {
    let text = below(report);
    if report.tune.is_some() { format!("{} {text}", sleeping(report)).trim_end().to_owned() } else { text }
}

fn below(report: &Report) -> String {
    let totals = &report.totals;
    let (asleep, compared) = (totals.changes.sleeping_weights.unwrap_or(0), totals.compared_weights);
    let of = || format!("{} of {}", thousands(asleep), counted(compared, "weight"));
    match Standing::of(report) {
        Standing::NothingCompared | Standing::Awake => String::new(),
        Standing::Elsewhere(elsewhere) if asleep == 0 => elsewhere,
        Standing::Elsewhere(elsewhere) => {
            format!("{elsewhere} {} are within the threshold of them.", of())
        }
        Standing::Undecided => {
            "No group of untouched weights stands out from the others; the evidence below shows why."
                .to_owned()
        }
        Standing::Sleeping => {
            let decays = report.tensors.iter().any(|t| t.decay.is_some_and(|decay| decay != 1.0));
            let start =
                if decays { "their initial value times the decay factor" } else { "their initial value" };
            format!(
                "{} are still at {start}, within the threshold; training changed the other {}.",
                of(),
                thousands(compared - asleep)
            )
        }
    }
}

/// What else there is to say, the most telling first.
pub(super) fn findings(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |warns, about, text| found.push(Finding { warns, about, text });
    let totals = &report.totals;
    if let Some(n @ 1..) = totals.not_finite {
        let worst = largest(report, |t| t.not_finite.unwrap_or(0));
        say(
            true,
            "Not finite",
            format!("{} NaN or infinite, most of them in {}.", counted_are(n, "weight"), names(&worst)),
        );
    }
    if let Some(text) = warnings::metadata(report) {
        say(true, "Metadata", text);
    }
    if let Some(text) = warnings::started_elsewhere(report, |name| shortened(name, 60)) {
        say(true, "Other start", text);
    }
    where_asleep(report, &mut say);
    dead_lines(report, &mut say);
    drifts(report, &mut say);
    if let Some(n @ 1..) = totals.zeros {
        let share = percent(100.0 * super::share(n, totals.total_weights));
        say(
            false,
            "Zero",
            format!("{} exactly 0 in the trained checkpoint ({share}).", counted_are(n, "weight")),
        );
    }
    let pruned = totals.pruned_weights.filter(|_| !report.is_packed());
    if let (Some(pruned), Some(sparsity)) = (pruned, totals.sparsity) {
        let of = counted(totals.total_weights, "weight");
        say(
            false,
            "Pruned",
            format!("{} of {of}: sparsity {}.", thousands(pruned), percent(100.0 * sparsity)),
        );
    }
    if let (Some(bytes), Some(share), Some(of)) =
        (totals.pruned_bytes, totals.pruned_bytes_share, totals.trained_bytes)
    {
        let (bytes, of) = (thousands(bytes), thousands(of));
        say(
            false,
            report.file_words(),
            format!("{bytes} bytes, {} of the trained file's {of}.", percent(100.0 * share)),
        );
    }
    if let Some(text) = warnings::zeroed(report, str::to_owned) {
        say(true, "Zeroed", text);
    }
    if totals.changes.sleeping_weights.unwrap_or(0) > 0 {
        let text = "A sleeping weight still holds its initial value, and the network may rely on it. Setting \
                    it to zero is free only where nothing reads it, such as a dead input; restoring its \
                    initial value is free at threshold 0.";
        say(false, "Note", text.to_owned());
    }
    found
}

/// Up to three tensors with the most of something, the largest first.
fn largest(report: &Report, of: impl Fn(&ReportTensor) -> u64) -> Vec<&ReportTensor> {
    let mut found: Vec<&ReportTensor> = report.tensors.iter().filter(|t| of(t) > 0).collect();
    found.sort_by_key(|t| std::cmp::Reverse(of(t)));
    found.truncate(3);
    found
}

fn name(tensor: &ReportTensor) -> String {
    shortened(&tensor.name, 60)
}

fn names(tensors: &[&ReportTensor]) -> String {
    tensors.iter().map(|t| name(t)).collect::<Vec<_>>().join(", ")
}

fn where_asleep(report: &Report, say: &mut impl FnMut(bool, &'static str, String)) {
    let all = report.totals.changes.sleeping_weights.unwrap_or(0);
    let count = |t: &ReportTensor| t.changes.sleeping_weights.unwrap_or(0);
    let with_some = report.tensors.iter().filter(|t| count(t) > 0).count();
    let most = largest(report, count);
    match most.as_slice() {
        [] => {}
        [one] => say(false, "Where", format!("All of them are in {}.", name(one))),
        several => {
            let parts: Vec<String> = several
                .iter()
                .map(|t| format!("{} ({})", name(t), percent(100.0 * super::share(count(t), all))))
                .collect();
            let all = counted(with_some as u64, "tensor");
            let text = format!("In {all}, most of them in {}.", parts.join(", "));
            say(false, "Where", text);
        }
    }
}

/// Inputs and outputs that no gradient reached.
fn dead_lines(report: &Report, say: &mut impl FnMut(bool, &'static str, String)) {
    for (about, what, of) in [
        ("Dead inputs", "input", (|t| t.sleeping_inputs) as fn(&ReportTensor) -> Option<u64>),
        ("Sleeping outputs", "output", |t| t.sleeping_outputs),
    ] {
        let worst = largest(report, |t| of(t).unwrap_or(0));
        if worst.is_empty() {
            continue;
        }
        let parts: Vec<String> =
            worst.iter().map(|t| format!("{} of {}", counted(of(t).unwrap_or(0), what), name(t))).collect();
        say(false, about, format!("{}: none of their weights ever moved.", parts.join(", ")));
    }
}

/// Tensors whose spread has left its order of magnitude.
fn drifts(report: &Report, say: &mut impl FnMut(bool, &'static str, String)) {
    let ratio = |t: &ReportTensor| t.drift.std_ratio;
    let out: Vec<&ReportTensor> = report
        .tensors
        .iter()
        .filter(|t| ratio(t).is_some_and(super::is_alarming) && std_tells(report, t))
        .collect();
    for (about, verb, picked) in [
        ("Exploding", "grown", out.iter().filter(|t| ratio(t) > Some(1.0)).collect::<Vec<_>>()),
        ("Vanishing", "shrunk", out.iter().filter(|t| ratio(t) <= Some(1.0)).collect()),
    ] {
        let parts: Vec<String> = picked
            .iter()
            .take(3)
            .map(|t| format!("{} ({} times the initial one)", name(t), real(ratio(t).unwrap_or(0.0))))
            .collect();
        if !parts.is_empty() {
            let all = counted(picked.len() as u64, "tensor");
            let text = format!(
                "The standard deviation of {all} has {verb} more than tenfold: {}.",
                parts.join(", ")
            );
            say(true, about, text);
        }
    }
}

/// Why there is, or is not, a threshold, from one piece of evidence.
pub(super) fn explain(evidence: &Evidence) -> Vec<String> {
    let Evidence { dtype, weights, sleeping, live_expected, peak, valley, .. } = evidence;
    let decay = factor(evidence.decay);
    let start = if evidence.decay == 1.0 {
        "their initial value".to_owned()
    } else {
        format!("{decay} × their initial value")
    };
    let looked = counted(*weights, "weight");
    let narrow = is_narrow(evidence);
    if !evidence.found {
        return why_not(evidence);
    }
    let mut said = Vec::new();
    let tensors = counted(evidence.tensors, "tensor");
    let own = if evidence.tensors == 1 { "supports this on its own" } else { "support this on their own" };
    said.push(format!(
        "{} of {looked} of type {dtype} are at {start}; {tensors} {own}.",
        thousands(*sleeping)
    ));
    let chance = if *live_expected < 1.0 {
        "less than one".to_owned()
    } else {
        format!("about {}", thousands(live_expected.round() as u64))
    };
    if narrow {
        said.push(format!(
            "By chance, {chance} of them would be live weights: as many as have a neighbouring value."
        ));
    } else if evidence.decay == 1.0 {
        said.push(format!("Live weights alone would account for {chance}."));
    } else {
        said.push(format!(
            "The fullest bin contains {}, the valley next to the peak {}; live weights alone would account \
             for {chance} below the threshold.",
            thousands(*peak),
            thousands(*valley)
        ));
        said.push(
            "The peak consists of weights without gradient: weight decay multiplied all of them by the same \
             factor, and rounding spread them slightly."
                .to_owned(),
        );
    }
    if let Some(precision) = evidence.expected_precision().filter(|_| !narrow) {
        said.push(format!(
            "Therefore, {} of the sleeping weights are truly untouched.",
            percent(100.0 * precision)
        ));
    }
    said
}

/// Why no threshold was found.
fn why_not(evidence: &Evidence) -> Vec<String> {
    let near = if is_narrow(evidence) {
        "The values next to the initial value are as frequent as the initial value itself"
    } else {
        "From right to left, the bars fall tenfold per decade, as for live weights, and there is no peak near 0"
    };
    let looked = counted(evidence.weights, "weight");
    vec![
        format!("Among {looked} of type {}, none stand out as untouched.", evidence.dtype),
        format!(
            "{near}. Therefore the threshold is none: a manual threshold would include live weights that \
             are close by chance."
        ),
    ]
}

fn is_narrow(evidence: &Evidence) -> bool {
    matches!(evidence.dtype.as_str(), "f16" | "bf16")
}

/// What the rows and columns of a tensor's matrix are called.
fn lines(tensor: &ReportTensor, layout: Layout) -> (&'static str, String) {
    let words = |rows, columns: &str| (rows, columns.to_owned());
    match (tensor.shape.len(), layout) {
        (0 | 1, _) => words("row", "element"),
        (2, Layout::OutIn) => words("output", "input"),
        (2, Layout::InOut) => words("input", "output"),
        (_, Layout::OutIn) => words("output", "input × kernel place"),
        (_, Layout::InOut) => words("kernel row", "kernel place × input × output"),
        (_, Layout::Roles(roles)) => {
            let word = |role: &Role| match role {
                Role::Expert => "expert",
                Role::Out => "output",
                Role::In => "input",
                Role::Kernel => "kernel place",
            };
            let names: Vec<&str> = roles.list().iter().map(word).collect();
            (names[0], names[1..].join(" × "))
        }
    }
}

/// What the rows of a map show.
pub(super) fn rows_shown(tensor: &ReportTensor, map: &HeatMap) -> String {
    let (rows, _) = lines(tensor, map.layout);
    let (shown, all) = (map.grid.rows, map.grid.matrix.rows);
    if shown == all {
        counted(all as u64, rows)
    } else {
        format!("{shown} of {}, evenly spaced", counted(all as u64, rows))
    }
}

/// What the columns of a map show.
pub(super) fn columns_shown(tensor: &ReportTensor, map: &HeatMap) -> String {
    let (_, columns) = lines(tensor, map.layout);
    let (shown, all) = (map.grid.columns, map.grid.matrix.cols);
    let words = counted(all as u64, &columns);
    match (all / shown, all.is_multiple_of(shown)) {
        (1, true) => words,
        (n, true) => format!("{words}, {n} to a cell"),
        (n, false) => format!("{words}, {n} or {} to a cell", n + 1),
    }
}
