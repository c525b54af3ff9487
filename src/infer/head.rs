//! The comment that a config begins with.

use super::inference::Inference;
use super::purpose::Purpose;
use super::surroundings::Surroundings;
use super::yaml::yaml;
use crate::text::counted;

/// The comment that the config begins with.
pub(super) fn head(inference: &Inference<'_>, around: &Surroundings) -> Vec<String> {
    let weights: usize = inference.tensors.iter().map(|(_, shape)| shape.elements()).sum();
    let about = format!(
        "{}: {} with {}.",
        yaml(&around.checkpoint),
        counted(inference.tensors.len() as u64, "floating-point tensor"),
        counted(weights as u64, "weight"),
    );
    let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    match &around.purpose {
        Purpose::Magnitude => {
            let mut lines = vec![format!("Pruning by magnitude of {about}")];
            lines.extend(text(&[
                "",
                "To edit: `target`, and the rules of `prune` that keep tensors. No initial value is asked for, so there is",
                "no seed, and nothing is compared.",
            ]));
            lines
        }
        Purpose::Finetune { .. } => {
            let mut lines = vec![format!("What fine-tuning changed in {about}")];
            lines.extend(text(&[
                "",
                "Every tensor started as the one of its name in the base, so nothing is drawn and there is no seed.",
                "`cdi-prune restore --base BASE` needs the same base again.",
            ]));
            lines
        }
        Purpose::Sleeping | Purpose::Init => {
            let mut lines = vec![format!("A starting point for {about}")];
            lines.push("Names and shapes tell what a tensor is, not how it started: every `init` below is a guess, here".to_owned());
            lines.push(format!("{}.", inference.family.guess()));
            lines.push(String::new());
            lines.extend(match (around.seed, &around.purpose) {
                (Some(_), _) => text(&[
                    "The checkpoint is an initial one that cdi-prune wrote. The config that wrote it is the better one to go on with:",
                    "rules that are guessed need not make the same values. `init: {from: FILE}` in every rule does.",
                ]),
                (None, Purpose::Init) => text(&[
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
