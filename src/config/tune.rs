//! The settings of the search for the smallest file.

use std::path::PathBuf;
use std::time::Duration;

use super::pruning::PruneSettings;
use crate::prune::Target;
use crate::tune::{Better, Lines, TunePoint};

/// The search for the smallest file within an accuracy budget.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneSettings {
    /// The evaluation command: program and arguments, `{checkpoint}` in at least one of them.
    pub command: Vec<String>,
    /// Which metrics are better.
    pub better: Better,
    /// How much worse than the original the metric may be, in its units; not negative.
    pub max_drop: f64,
    /// Time limit per call.
    pub timeout: Duration,
    /// Candidates in order; at least one.
    pub recipes: Vec<Recipe>,
    /// The sparsities to try, for each recipe.
    pub lines: Lines,
    /// Maximum number of evaluations, including the original; at least 2. `None` for no limit.
    pub max_evaluations: Option<u64>,
    /// Folder for candidates, and for the results of earlier evaluations.
    pub cache: PathBuf,
}

/// One way to prune, whose sparsity is searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The settings at the sparsity 0.
    low: PruneSettings,
    /// The settings at the sparsity 1. The decisions that differ are varied.
    high: PruneSettings,
}

impl Recipe {
    /// From the settings resolved with the targets 0 and 1.
    pub(super) fn new(low: PruneSettings, high: PruneSettings) -> Self {
        Self { low, high }
    }

    /// Whether anything depends on the sparsity.
    pub fn is_ranged(&self) -> bool {
        self.low != self.high
    }

    /// The settings at this sparsity, 0 … 1.
    pub fn at(&self, sparsity: f64) -> PruneSettings {
        let mut settings = self.low.clone();
        let set = |target: &mut Target, high: &Target| {
            if target != high {
                *target = Target::Sparsity(vec![sparsity]);
            }
        };
        set(&mut settings.decision.target, &self.high.decision.target);
        settings.rules.for_each_mut(|n, rule| {
            set(&mut rule.decision.target, &self.high.rules.rules()[n].value.decision.target);
        });
        settings
    }

    /// The settings for tensors without a rule, as a point without measurements.
    pub fn point(&self, target_sparsity: Option<f64>) -> TunePoint {
        let decision = &self.low.decision;
        TunePoint {
            criterion: decision.criterion.to_string(),
            structure: decision.structure.to_string(),
            scope: decision.scope.name().to_owned(),
            fill: self.low.fill.name().to_owned(),
            target_sparsity,
            sparsity: 0.0,
            bytes: 0,
            metric: 0.0,
            drop: 0.0,
            within: false,
        }
    }
}
