//! What a config is for, and what it begins with.

use super::Inference;
use super::render::{Surroundings, count, yaml};

/// What a starting config is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The whole job of a model trained from the seed: write what it starts from, compare, leave out what sleeps.
    #[default]
    Sleeping,
    /// Pruning by magnitude, for which no initial value need be known.
    Magnitude,
    /// What fine-tuning changed in a base checkpoint, by its path from the config's folder.
    Finetune {
        /// The path.
        base: String,
    },
    /// Only the initial checkpoint.
    Init,
}

impl Purpose {
    /// Whether initial values are drawn, and the initial checkpoint is written.
    pub(super) fn draws(&self) -> bool {
        matches!(self, Self::Sleeping | Self::Init)
    }

    /// Whether there is a trained checkpoint to look at.
    pub(super) fn prunes(&self) -> bool {
        *self != Self::Init
    }

    /// The comment that the config begins with.
    pub(super) fn head(&self, inference: &Inference<'_>, around: &Surroundings) -> Vec<String> {
        let weights: usize = inference.tensors.iter().map(|(_, shape)| shape.elements()).sum();
        let about = format!(
            "{}: {} with {}.",
            yaml(&around.checkpoint),
            count(inference.tensors.len(), "floating-point tensor"),
            count(weights, "weight"),
        );
        let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        match self {
            Self::Magnitude => {
                let mut lines = vec![format!("Pruning by magnitude of {about}")];
                lines.extend(text(&[
                    "",
                    "To edit: `target`, and the rules of `prune` that keep tensors. No initial value is asked for, so there is",
                    "no seed, and nothing is compared.",
                ]));
                lines
            }
            Self::Finetune { .. } => {
                let mut lines = vec![format!("What fine-tuning changed in {about}")];
                lines.extend(text(&[
                    "",
                    "Every tensor started as the one of its name in the base, so nothing is drawn and there is no seed.",
                    "`cdi-prune restore --base BASE` needs the same base again.",
                ]));
                lines
            }
            Self::Sleeping | Self::Init => {
                let mut lines = vec![format!("A starting point for {about}")];
                lines.push("Names and shapes tell what a tensor is, not how it started: every `init` below is a guess, here".to_owned());
                lines.push(format!("{}.", inference.family.guess()));
                lines.push(String::new());
                lines.extend(match (around.seed, self) {
                    (Some(_), _) => text(&[
                        "The checkpoint is an initial one that cdi-prune wrote. The config that wrote it is the better one to go on with:",
                        "rules that are guessed need not make the same values. `init: {from: FILE}` in every rule does.",
                    ]),
                    (None, Self::Init) => text(&[
                        "To edit: `seed`, and `rules` where the model is to start otherwise. `cdi-prune init` writes the checkpoint.",
                    ]),
                    (None, _) => text(&[
                        "To edit: `seed` and `rules`, so that they make the values that training starts from (`cdi-prune init` writes them; a",
                        "model that started from another file needs `init: {from: FILE}`), and `trained.path`, the checkpoint after training.",
                    ]),
                });
                lines
            }
        }
    }
}
