//! The settings of the search for the smallest file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::pruning::PruneSettings;
use crate::codec::Over;
use crate::prune::Target;
use crate::tune::{Better, Lines, Part, PointSteps, TensorStep, TunePoint};

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
    /// The command that confirms the result, if there is one.
    pub confirm: Option<Vec<String>>,
    /// Number of commands that run at the same time; at least 1.
    pub jobs: usize,
    /// What is searched.
    pub search: TuneSearch,
    /// Maximum number of evaluations, including the original; at least 2. `None` for no limit.
    pub max_evaluations: Option<u64>,
    /// Folder for candidates, and for the results of earlier evaluations.
    pub cache: PathBuf,
}

/// What is searched.
#[derive(Clone, Debug, PartialEq)]
pub enum TuneSearch {
    /// How many weights are pruned.
    Sparsity {
        /// Candidates in order; at least one.
        recipes: Vec<Recipe>,
        /// The sparsities to try, for each recipe.
        lines: Lines,
    },
    /// The lengths of the steps to which values are rounded, where the settings leave them open.
    Steps(Box<PruneSettings>),
}

/// One way to prune, whose sparsity is searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The settings at the sparsity 0.
    low: PruneSettings,
    /// The settings at the sparsity 1. The decisions that differ are varied.
    high: PruneSettings,
}

impl TuneSettings {
    /// The most commands that may run at the same time.
    pub const MOST_JOBS: u32 = 64;
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
        TunePoint { target_sparsity, ..point(&self.low) }
    }
}

/// The settings for tensors without a rule, as a point without measurements.
fn point(prune: &PruneSettings) -> TunePoint {
    let PruneSettings { decision, fill, keep, .. } = prune;
    let word = |word: String| if *keep { TunePoint::NOT_PRUNED.to_owned() } else { word };
    TunePoint {
        criterion: word(decision.criterion.to_string()),
        structure: word(decision.structure.to_string()),
        scope: word(decision.scope.name().to_owned()),
        fill: word(fill.name().to_owned()),
        target_sparsity: None,
        sparsity: 0.0,
        bytes: 0,
        metric: 0.0,
        drop: 0.0,
        within: false,
        steps: None,
    }
}

impl PruneSettings {
    /// These settings as a point without measurements. If steps were chosen for tensors, the
    /// point has all of them.
    pub fn point(&self, part: Part) -> TunePoint {
        let lengths = || self.tuned.values().map(|(step, _)| *step);
        let one = |(name, (step, over)): (&String, &(f64, Over))| TensorStep {
            name: name.clone(),
            step: *step,
            over: over.name().to_owned(),
        };
        let steps = PointSteps {
            part,
            shortest: lengths().fold(f64::INFINITY, f64::min),
            longest: lengths().fold(0.0, f64::max),
            tensors: self.tuned.iter().map(one).collect(),
        };
        TunePoint { steps: (!self.tuned.is_empty()).then_some(steps), ..point(self) }
    }

    /// These settings with the steps of a point; `None` if the point does not have them.
    pub fn with_steps(&self, point: &TunePoint) -> Option<Self> {
        let over = |name: &str| Over::WORDS.iter().find(|(word, _)| *word == name).map(|(_, over)| *over);
        let one = |step: &TensorStep| Some((step.name.clone(), (step.step, over(&step.over)?)));
        let tuned: BTreeMap<_, _> = point.steps.as_ref()?.tensors.iter().map(one).collect::<Option<_>>()?;
        (!tuned.is_empty()).then(|| Self { tuned, ..self.clone() })
    }
}
