//! The settings of pruning.

use std::path::PathBuf;

use crate::prune::{Activation, Decision};
use crate::rules::RuleSet;
use crate::sparse::{Fill, Format};
use crate::tensor::FloatDtype;

/// How the trained checkpoint is pruned, its type kept.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneSettings {
    /// The pruned checkpoint.
    pub output: PathBuf,
    /// Whether the small files beside the trained checkpoint go beside it.
    pub folder: bool,
    /// What a pruned place becomes; default zero, of the criterion nearest the nearer value.
    pub fill: Fill,
    /// Whether initial values are filled in even where the trained checkpoint does not seem to
    /// have started from them.
    pub any_start: bool,
    /// The type of the values written of pruned tensors; `None` for the trained one's.
    pub dtype: Option<FloatDtype>,
    /// How tensors are stored; default auto.
    pub format: FormatChoice,
    /// Whether tensors that are kept are coded too, where others may be; default true.
    pub code_kept: bool,
    /// Most bytes of a shard; `None` writes one file whatever its size.
    pub max_shard_size: Option<u64>,
    /// What decides about tensors whose rule says nothing else.
    pub decision: Decision,
    /// What differs for some tensors.
    pub rules: RuleSet<PruneRule>,
    /// Chains of layers to take useless units out of; empty where none are.
    pub chains: Vec<Chain>,
    /// Names of tensors that are copies of each other, two at least; others are found by their bytes.
    pub tied: Vec<Vec<String>>,
}

/// Layers that read each other and nothing else reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Their names, without `.weight`: two at least.
    pub layers: Vec<String>,
    /// What stands between two of them, where that is known.
    pub activation: Option<Activation>,
}

impl PruneSettings {
    /// What decides about a tensor, `None` where a rule keeps it.
    pub fn decision(&self, name: &str) -> Option<&Decision> {
        match self.rules.find(name) {
            Some(found) if found.value.keep => None,
            Some(found) => Some(&found.value.decision),
            None => Some(&self.decision),
        }
    }
}

impl FormatChoice {
    /// Whether tensors may be coded.
    pub fn codes(self) -> bool {
        matches!(self, Self::Auto | Self::Fixed(Format::Coded))
    }
}

/// How tensors are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormatChoice {
    /// Per tensor, the smallest of all.
    #[default]
    Auto,
    /// Per tensor, the smallest of those that other programs read: dense, bitmask and csr.
    Sparse,
    /// All alike.
    Fixed(Format),
}

/// What differs for the tensors that a rule matches.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneRule {
    /// The rule's patterns as written.
    pub text: Vec<String>,
    /// Whether the tensors pass through byte for byte.
    pub keep: bool,
    /// What decides about them otherwise.
    pub decision: Decision,
    /// Whether it is fine that the rule matches nothing.
    pub optional: bool,
}
