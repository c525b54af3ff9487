//! What a search has tried, as it stands in the report.

use serde::{Deserialize, Serialize};

use super::Better;
use crate::text::significant;

/// Result of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TuneReport {
    /// The evaluation command in the config.
    pub command: Vec<String>,
    /// Whether higher or lower metrics are better.
    pub better: Better,
    /// Most that the metric may be worse than the original's, in its units.
    pub max_drop: f64,
    /// The metric of the trained checkpoint.
    pub original_metric: f64,
    /// Bytes of the trained checkpoint when written without pruning.
    pub original_bytes: u64,
    /// Whether the search was completed; otherwise `max_evaluations` ended it.
    pub complete: bool,
    /// All points tried, in search order.
    pub points: Vec<TunePoint>,
    /// Index in `points`, from 0, of the point that was written.
    pub winner: usize,
    /// What another command measured on data that the search did not see; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
}

/// The measurements of `tune.confirm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Confirmation {
    /// The command in the config.
    pub command: Vec<String>,
    /// The metric of the trained checkpoint.
    pub original_metric: f64,
    /// The points that it measured, from the smallest file; but the one that was written is last.
    pub points: Vec<Confirmed>,
}

/// A point that another command measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Confirmed {
    /// Index in the points of the search, from 0.
    pub point: usize,
    /// The number that the command printed.
    pub metric: f64,
    /// How much worse than the original this is; negative if better.
    pub drop: f64,
    /// Whether this is within `max_drop`.
    pub within: bool,
}

/// A pruned checkpoint that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TunePoint {
    /// Ranking criterion.
    pub criterion: String,
    /// Structure of the pruned weights.
    pub structure: String,
    /// Scope of the ranking.
    pub scope: String,
    /// Value of pruned weights.
    pub fill: String,
    /// Target sparsity, 0 … 1; null if the structure determines it.
    pub target_sparsity: Option<f64>,
    /// Share of pruned weights in all floating-point weights, 0 … 1.
    pub sparsity: f64,
    /// Bytes of the pruned checkpoint.
    pub bytes: u64,
    /// The number that the command printed.
    pub metric: f64,
    /// How much worse than the original this is; negative if better.
    pub drop: f64,
    /// Whether this is within `max_drop`.
    pub within: bool,
    /// How values are rounded; absent if the search is for a sparsity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<PointSteps>,
}

/// The lengths of steps to which a point's values are rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PointSteps {
    /// The part of the search.
    pub part: Part,
    /// The shortest step that the search gave to a tensor.
    pub shortest: f64,
    /// The longest.
    pub longest: f64,
    /// The step of each tensor, in name order, for the point that was written and those that are not beaten
    /// in both size and drop; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorStep>,
}

/// A part of the search for steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// One length for all tensors, counted as the config says.
    Common,
    /// One length for all tensors, counted from zero.
    CommonFromZero,
    /// In proportion to the root mean square of each tensor.
    Proportional,
    /// One tensor, or a few, changed at a time.
    Each,
}

/// The step of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TensorStep {
    /// Name of the tensor.
    pub name: String,
    /// Length of a step, in the units of the weights.
    pub step: f64,
    /// From where steps are counted, as in the config: `auto`, `init` or `zero`.
    pub over: String,
}

impl Part {
    /// In words: `one step for all tensors`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Common => "one step for all tensors",
            Self::CommonFromZero => "one step for all tensors, from zero",
            Self::Proportional => "steps in proportion to the weights",
            Self::Each => "a step for each tensor",
        }
    }
}

impl PointSteps {
    /// The lengths: `0.139`, or `0.0585 to 1.58`.
    pub fn lengths(&self) -> String {
        let [shortest, longest] = [self.shortest, self.longest].map(|step| significant(step, 3));
        if shortest == longest { shortest } else { format!("{shortest} to {longest}") }
    }
}

impl TunePoint {
    /// Whether something is pruned, by a criterion and a structure.
    pub fn prunes(&self) -> bool {
        self.criterion != Self::NOT_PRUNED
    }

    /// In place of a criterion, structure, scope and fill if nothing is pruned.
    pub const NOT_PRUNED: &str = "none";

    /// What all points of one line have in common: `magnitude, global, unstructured, fill zero`, or
    /// `one step for all tensors`.
    pub fn recipe(&self) -> String {
        let rounding = self.steps.as_ref().map(|steps| steps.part.words());
        let Self { criterion, scope, structure, fill, .. } = self;
        let pruning = self.prunes().then(|| format!("{criterion}, {scope}, {structure}, fill {fill}"));
        rounding.map(str::to_owned).into_iter().chain(pruning).collect::<Vec<_>>().join(", ")
    }

    /// Recipe and sparsity or lengths of steps: `magnitude, global, unstructured, fill zero, sparsity 0.5`,
    /// `a step for each tensor: 0.0585 to 1.58`.
    pub fn words(&self) -> String {
        let lengths = self.steps.as_ref().map(|steps| format!(": {}", steps.lengths()));
        let sparsity = self.target_sparsity.map(|s| format!(", sparsity {}", significant(s, 6)));
        self.recipe() + &lengths.or(sparsity).unwrap_or_default()
    }
}

/// The index of the smallest point within the allowed drop. Ties go to the point with the smaller
/// drop, then to the first.
pub fn winner(points: &[TunePoint]) -> Option<usize> {
    let within = points.iter().enumerate().filter(|(_, point)| point.within);
    within
        .min_by(|(_, a), (_, b)| a.bytes.cmp(&b.bytes).then(a.drop.total_cmp(&b.drop)))
        .map(|(place, _)| place)
}

/// The indices of the points that no other beats in both size and drop, from the smallest file to the
/// largest. Of equal points, the first.
pub fn front(points: &[TunePoint]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let key = |n: &usize| (points[*n].bytes, points[*n].drop);
    order.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)).then(a.cmp(b)));
    let mut least = f64::INFINITY;
    order.retain(|n| {
        let is_better = points[*n].drop < least;
        least = least.min(points[*n].drop);
        is_better
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bytes: u64, drop: f64, within: bool) -> TunePoint {
        TunePoint {
            criterion: String::new(),
            structure: String::new(),
            scope: String::new(),
            fill: String::new(),
            target_sparsity: None,
            sparsity: 0.0,
            bytes,
            metric: 0.0,
            drop,
            within,
            steps: None,
        }
    }

    #[test]
    fn the_smallest_within_wins() {
        let points = [
            point(5, 0.0, true),
            point(3, 0.2, true),
            point(1, 0.9, false),
            point(3, 0.1, true),
            point(3, 0.1, true),
        ];
        assert_eq!(winner(&points), Some(3));
        assert_eq!(winner(&points[2..3]), None);
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let points = [
            point(5, 0.0, true),
            point(3, 0.2, true),
            point(1, 0.9, false),
            point(3, 0.1, true),
            point(3, 0.1, true),
            point(4, 0.1, true),
            point(6, 0.0, true),
            point(9, -0.1, true),
        ];
        assert_eq!(front(&points), [2, 3, 0, 7]);
        assert_eq!(front(&[]), [0; 0]);
    }

    #[test]
    fn points_in_words() {
        let mut of_steps = point(1, 0.0, true);
        of_steps.criterion = TunePoint::NOT_PRUNED.to_owned();
        let steps =
            |shortest, longest| Some(PointSteps { part: Part::Each, shortest, longest, tensors: Vec::new() });
        of_steps.steps = steps(0.0585, 1.58);
        assert_eq!(of_steps.words(), "a step for each tensor: 0.0585 to 1.58");
        of_steps.steps = steps(0.5, 0.5);
        assert_eq!(of_steps.words(), "a step for each tensor: 0.5");
        let [criterion, scope, structure, fill] = ["magnitude", "global", "2:4", "zero"].map(str::to_owned);
        let of_both = TunePoint { criterion, scope, structure, fill, ..of_steps };
        assert_eq!(of_both.words(), "a step for each tensor, magnitude, global, 2:4, fill zero: 0.5");
    }
}
