//! The result of a comparison in words, and warnings.

use super::{Difference, Figures, ReportComparison, TensorComparison, totals};
use crate::report::condition::threshold;
use crate::text::{counted_are, percentage, printable, shape, significant, thousands};

/// How a tensor's name is written.
type Name = fn(&str) -> String;

/// The comparison in one line.
pub fn verdict(comparison: &ReportComparison) -> String {
    if comparison.tensors.is_empty() {
        return "No tensor is in both reports.".to_owned();
    }
    let all = totals(comparison);
    let (Some(old), Some(new)) = all.sleeping else {
        return "No tensor was compared with initial values in both reports.".to_owned();
    };
    let tensors = match comparison.tensors.len() {
        1 => "the tensor in both reports".to_owned(),
        n => format!("{n} tensors in both reports"),
    };
    let (old, new) = (percentage(old), percentage(new));
    let Some(awakened) = all.awakened else {
        return format!(
            "{old} % of the weights slept, now {new} %, but by different thresholds or decay factors: the \
             counts cannot be compared."
        );
    };
    if is_same(comparison) {
        return format!("Nothing changed in {tensors}: {new} % of the weights sleep.");
    }
    let awake = match awakened {
        0 => "As many weights are awake as before".to_owned(),
        n => {
            let more = if n > 0 { "more weight" } else { "fewer weight" };
            format!("{} awake than before", counted_are(n.unsigned_abs(), more))
        }
    };
    let mean = all.mean_delta.map(|x| format!("; mean |delta| is {} times as large", significant(x, 3)));
    format!("{awake}: {old} % slept, now {new} %{}.", mean.unwrap_or_default())
}

/// Whether every figure is the same.
fn is_same(comparison: &ReportComparison) -> bool {
    let onlys = comparison.only_in_old.len() + comparison.only_in_new.len();
    let same = |t: &TensorComparison| {
        t.differs.is_empty() && t.old == Figures { threshold: t.old.threshold, ..t.new.clone() }
    };
    onlys == 0 && comparison.tensors.iter().all(same)
}

/// What to know before trusting the comparison, for a terminal; nothing where the reports fit together.
pub fn warnings(comparison: &ReportComparison) -> Vec<String> {
    warnings_with(comparison, printable)
}

pub(in crate::report) fn warnings_with(comparison: &ReportComparison, name: Name) -> Vec<String> {
    let ReportComparison { old, new, only_in_old, only_in_new, .. } = comparison;
    let mut warnings = Vec::new();
    if old.noise_version != new.noise_version {
        warnings.push(format!(
            "Noise versions differ, {} and {}, so the initial weights differ.",
            old.noise_version, new.noise_version
        ));
    }
    if old.seed != new.seed {
        warnings.push(format!(
            "Seeds differ, {} and {}, so the initial weights differ: these are two runs, not two steps of \
             one run.",
            old.seed, new.seed
        ));
    }
    let mut differ = |what, text: &str, form: &dyn Fn(&Figures) -> String| {
        // Where the weights themselves told threshold and factor, the counts still mean the same.
        let counts = matches!(what, Difference::Threshold | Difference::Decay);
        let bad =
            comparison.tensors.iter().filter(|t| t.differs.contains(&what) && !(counts && t.comparable));
        let bad: Vec<&TensorComparison> = bad.filter(|t| !counts || !t.is_uncounted()).collect();
        if !bad.is_empty() {
            let word = |t: &TensorComparison| match (form(&t.old), form(&t.new)) {
                (old, new) if old.is_empty() && new.is_empty() => String::new(),
                (old, new) => format!(" ({old}, now {new})"),
            };
            let names: Vec<String> = bad.iter().map(|t| name(&t.name) + &word(t)).collect();
            warnings.push(format!("{text}: {}.", list(&names)));
        }
    };
    let decay = |f: &Figures| f.decay.map_or("none".to_owned(), |s| significant(s, 6));
    differ(Difference::Shape, "Shapes differ, so their values are not compared", &|f| shape(&f.shape));
    differ(Difference::Dtype, "Types differ", &|f| name(&f.dtype));
    differ(Difference::Init, "Initial values differ", &|_| String::new());
    differ(
        Difference::Threshold,
        "Thresholds differ, so the counts of sleeping weights cannot be compared",
        &|f| f.threshold.map_or("none".to_owned(), threshold),
    );
    differ(
        Difference::Decay,
        "Decay factors differ, so the counts of sleeping weights cannot be compared",
        &decay,
    );
    for (names, which) in [(only_in_old, "old"), (only_in_new, "new")] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|n| name(n)).collect();
            warnings.push(format!("Only in the {which} report: {}.", list(&names)));
        }
    }
    let not_finite = |figures: fn(&TensorComparison) -> &Figures| -> u64 {
        comparison.tensors.iter().map(|t| figures(t).not_finite.unwrap_or(0)).sum()
    };
    let (old, new) = (not_finite(|t| &t.old), not_finite(|t| &t.new));
    if old + new > 0 {
        warnings.push(format!("NaN or infinite weights: {}, now {}.", thousands(old), thousands(new)));
    }
    warnings
}

/// The first of them, and how many more there are.
fn list(items: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        text.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    text
}
