//! The rows of a comparison that people look at, and its totals.

use serde::Serialize;

use super::super::group::groups;
use super::{Figures, ReportComparison, TensorComparison, difference, ratio};

/// One tensor, several of a kind, or all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// The tensor's name; of several, their pattern.
    pub name: String,
    /// How many tensors these are.
    pub tensors: usize,
    /// Their weights in the new report.
    pub weights: u64,
    /// Share of sleeping weights, 0 … 100: in the old report and in the new one.
    #[serde(rename = "sleeping_percentage")]
    pub sleeping: (Option<f64>, Option<f64>),
    /// How many more weights are awake; `None` where counts cannot be compared in some of the tensors.
    pub awakened: Option<i64>,
    /// Mean |delta|, new over old.
    pub mean_delta: Option<f64>,
    /// Largest |delta|, new over old.
    pub max_delta: Option<f64>,
    /// Standard deviation, new over old; of several tensors the one farthest from 1.
    pub std: Option<f64>,
    /// The factor on the initial values, if it is one: in the old report and in the new one.
    pub decay: (Option<f64>, Option<f64>),
}

impl ComparisonRow {
    /// The name, with the number of tensors behind a pattern.
    pub fn title(&self) -> String {
        if self.tensors == 1 { self.name.clone() } else { format!("{} ({})", self.name, self.tensors) }
    }

    fn of(name: String, tensors: &[&TensorComparison]) -> Self {
        let alike = || tensors.iter().copied().filter(|t| t.old.shape == t.new.shape);
        let (old, new) = (Sums::of(alike().map(|t| &t.old)), Sums::of(alike().map(|t| &t.new)));
        // A tensor's own figures rather than sums of one, which round.
        let only = if let [only] = tensors { Some(*only) } else { None };
        let counted = alike().any(|t| !t.is_uncounted()) && alike().all(|t| t.comparable || t.is_uncounted());
        Self {
            name,
            tensors: tensors.len(),
            weights: tensors.iter().map(|t| t.new.total_weights).sum(),
            sleeping: match only {
                Some(t) => (t.old.sleeping_percentage, t.new.sleeping_percentage),
                None => (old.share(), new.share()),
            },
            awakened: counted.then(|| difference(old.sleeping, new.sleeping)),
            mean_delta: only.map_or_else(|| ratio(old.mean(), new.mean()), |t| t.ratio.mean_delta),
            max_delta: only.map_or_else(|| ratio(old.max, new.max), |t| t.ratio.max_delta),
            std: alike().filter_map(|t| t.ratio.std).max_by(|a, b| a.max(1.0 / a).total_cmp(&b.max(1.0 / b))),
            decay: (same(tensors.iter().map(|t| t.old.decay)), same(tensors.iter().map(|t| t.new.decay))),
        }
    }
}

/// Sums over tensors.
#[derive(Default)]
struct Sums {
    compared: u64,
    sleeping: u64,
    finite: f64,
    deltas: f64,
    max: Option<f64>,
}

impl Sums {
    fn of<'a>(figures: impl Iterator<Item = &'a Figures>) -> Self {
        let mut sums = Self::default();
        for f in figures {
            let Some(sleeping) = f.sleeping_weights else { continue };
            sums.compared = sums.compared.saturating_add(f.total_weights);
            sums.sleeping = sums.sleeping.saturating_add(sleeping);
            let finite = f.total_weights.saturating_sub(f.not_finite.unwrap_or(0)) as f64;
            if let Some(mean) = f.mean_delta {
                sums.finite += finite;
                sums.deltas += mean * finite;
            }
            sums.max = sums.max.into_iter().chain(f.max_delta).max_by(f64::total_cmp);
        }
        sums
    }

    fn share(&self) -> Option<f64> {
        (self.compared > 0).then(|| 100.0 * crate::report::share(self.sleeping, self.compared))
    }

    fn mean(&self) -> Option<f64> {
        (self.finite > 0.0).then(|| self.deltas / self.finite)
    }
}

fn same(mut values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let first = values.next()??;
    values.all(|value| value == Some(first)).then_some(first)
}

/// The rows in name order, grouped as those of a report.
pub fn rows(comparison: &ReportComparison, full: bool) -> Vec<ComparisonRow> {
    let names: Vec<&str> = comparison.tensors.iter().map(|t| t.name.as_str()).collect();
    groups(&names, full)
        .into_iter()
        .map(|(name, members)| {
            let tensors: Vec<&TensorComparison> = members.iter().map(|n| &comparison.tensors[*n]).collect();
            ComparisonRow::of(name, &tensors)
        })
        .collect()
}

/// Whether any tensor has a decay factor other than 1, in either report.
pub fn decayed(comparison: &ReportComparison) -> bool {
    let factors = comparison.tensors.iter().flat_map(|t| [t.old.decay, t.new.decay]);
    factors.flatten().any(|factor| factor != 1.0)
}

/// All tensors of both reports together, where the shape is the same.
pub fn totals(comparison: &ReportComparison) -> ComparisonRow {
    let all: Vec<&TensorComparison> = comparison.tensors.iter().collect();
    ComparisonRow { std: None, ..ComparisonRow::of("total".to_owned(), &all) }
}
