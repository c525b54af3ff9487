//! The settings of pruning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::values::{StepLength, Steps, Values};
use crate::codec::Over;
use crate::prune::{Activation, Decision};
use crate::rules::RuleSet;
use crate::sparse::{Fill, Format};
use crate::tensor::FloatDtype;

/// How the trained checkpoint is pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneSettings {
    /// The pruned checkpoint.
    pub output: PathBuf,
    /// Whether the small files next to the trained checkpoint are copied to the folder of the output.
    pub folder: bool,
    /// Value of a pruned weight. Default: zero; for the criterion nearest, the nearer value.
    pub fill: Fill,
    /// Whether initial values are filled in even if the trained checkpoint does not seem to
    /// have started from them.
    pub any_start: bool,
    /// Type of the values written for pruned tensors; `None` to keep that of the trained checkpoint.
    pub dtype: Option<FloatDtype>,
    /// Storage format; default auto.
    pub format: FormatChoice,
    /// Whether tensors that are not pruned may be coded too, with a format that codes; default true.
    pub code_kept: bool,
    /// How values are coded; `None` if the config does not say.
    pub values: Option<Values>,
    /// The steps that a search chose for some tensors, in place of what `values` says.
    pub tuned: BTreeMap<String, (f64, Over)>,
    /// Maximum bytes per shard; `None` for one file of any size.
    pub max_shard_size: Option<u64>,
    /// Whether nothing is pruned, because the config, with all its rules, says only how values are coded.
    pub keep: bool,
    /// Settings for tensors without a rule.
    pub decision: Decision,
    /// Settings for some tensors.
    pub rules: RuleSet<PruneRule>,
    /// Chains of layers from which useless units are removed; empty if none are.
    pub chains: Vec<Chain>,
    /// Groups of at least two names of tensors that are copies of each other. Other copies are
    /// found by their bytes.
    pub tied: Vec<Vec<String>>,
}

/// Layers that read only each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Their names, without `.weight`; at least two.
    pub layers: Vec<String>,
    /// The activation between two of them, if it is known.
    pub activation: Option<Activation>,
}

impl PruneSettings {
    /// The settings for a tensor; `None` if it is kept.
    pub fn decision(&self, name: &str) -> Option<&Decision> {
        if self.keep {
            return None;
        }
        match self.rules.find(name) {
            Some(found) if found.value.keep => None,
            Some(found) => Some(&found.value.decision),
            None => Some(&self.decision),
        }
    }
}

impl PruneSettings {
    /// How the values of a tensor are rounded; `None` if they are not.
    pub fn steps(&self, name: &str) -> Option<Steps> {
        let steps = self.given_steps(name)?.clone();
        Some(match self.tuned.get(name) {
            Some((step, over)) => Steps { step: StepLength::Length(*step), over: *over, ..steps },
            None => steps,
        })
    }

    /// What the config says about it.
    fn given_steps(&self, name: &str) -> Option<&Steps> {
        let rule = self.rules.find(name).map(|found| found.value);
        if rule.is_some_and(|rule| rule.keep) {
            return None;
        }
        rule.and_then(|rule| rule.values.as_ref()).or(self.values.as_ref())?.steps()
    }

    /// The files with second moments of layers' inputs, each once.
    pub fn calibrations(&self) -> BTreeSet<&Path> {
        let of_rules = self.rules.rules().iter().filter_map(|rule| rule.value.values.as_ref());
        let steps = of_rules.chain(&self.values).filter_map(Values::steps);
        steps.filter_map(|steps| steps.calibration.as_deref()).collect()
    }
}

impl FormatChoice {
    /// Whether tensors may be coded.
    pub fn codes(self) -> bool {
        matches!(self, Self::Auto | Self::Fixed(Format::Coded))
    }
}

/// Storage format of tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormatChoice {
    /// The smallest format for each tensor.
    #[default]
    Auto,
    /// The smallest for each tensor of those that other programs read: dense, bitmask and csr.
    Sparse,
    /// The same format for all.
    Fixed(Format),
}

/// Settings for the tensors that a rule matches.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneRule {
    /// The rule's patterns as written.
    pub text: Vec<String>,
    /// Whether the tensors are copied byte for byte.
    pub keep: bool,
    /// The settings otherwise.
    pub decision: Decision,
    /// How their values are coded, if the rule says so.
    pub values: Option<Values>,
    /// Whether the rule may match nothing.
    pub optional: bool,
}
