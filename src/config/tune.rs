//! The settings of the search for the smallest file.

use std::path::PathBuf;
use std::time::Duration;

use super::pruning::PruneSettings;
use crate::prune::Target;
use crate::tune::{Better, Lines, TunePoint};

/// How the smallest file within an accuracy budget is searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneSettings {
    /// The evaluation command: program and arguments, `{checkpoint}` in at least one of them.
    pub command: Vec<String>,
    /// Which metrics are better.
    pub better: Better,
    /// Most that the metric may be worse than the original's, in its units; not negative.
    pub max_drop: f64,
    /// Most time of each call.
    pub timeout: Duration,
    /// What is tried, in order: one at least.
    pub recipes: Vec<Recipe>,
    /// The sparsities that are tried; a line for each recipe.
    pub lines: Lines,
    /// Most checkpoints that are evaluated, the original included; 2 at least. `None` for no limit.
    pub max_evaluations: Option<u64>,
    /// A folder for checkpoints on their way to the command, and for what it said of earlier ones.
    pub cache: PathBuf,
}

/// One way to prune, of which the sparsity is searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The settings at the sparsity 0.
    low: PruneSettings,
    /// Those at the sparsity 1: the decisions that differ are those to be varied.
    high: PruneSettings,
}

impl Recipe {
    /// From the same settings made with the targets 0 and 1.
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

    /// What is decided about tensors that no rule is about, as a point at which nothing is measured yet.
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
