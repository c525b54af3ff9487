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
    match &around.purpose {
        Purpose::Magnitude => {
            let mut lines = vec![format!("Pruning by magnitude of {about}")];
            lines.extend(text(&[
                "",
                "Edit `target`, and the rules of `prune` that keep tensors. No initial values are needed, so \
                 there is",
                "no seed, and nothing is compared.",
            ]));
            lines
        }
        Purpose::Finetune { .. } => {
            let mut lines = vec![format!("What fine-tuning changed in {about}")];
            lines.extend(text(&[
                "",
                "Every tensor starts as the tensor with its name in the base, so nothing is drawn and there \
                 is no seed.",
                "`cdi-prune restore --base BASE` needs the same base.",
            ]));
            lines
        }
        Purpose::Sleeping | Purpose::Init => guessed(&about, inference, around),
    }
}

/// Where every initialiser is a guess.
fn guessed(about: &str, inference: &Inference<'_>, around: &Surroundings) -> Vec<String> {
    let what: &[&str] = match (around.seed, &around.purpose) {
        (Some(_), _) => &[
            "The checkpoint is an initial checkpoint written by cdi-prune. Use the config that wrote it if you can:",
            "guessed rules may generate other values. `init: {from: FILE}` in every rule gives the same values.",
        ],
        (None, Purpose::Init) => {
            &["Edit `seed`, and `rules` for other initialisers. `cdi-prune init` writes the checkpoint."]
        }
        (None, _) => &[
            "Edit `seed` and `rules` to generate the values that training starts from (`cdi-prune init` writes \
             them; use",
            "`init: {from: FILE}` for a model that started from another file), and `trained.path`, the \
             checkpoint after training.",
        ],
    };
    let mut lines = vec![
        format!("A starting config for {about}"),
        "Names and shapes show what a tensor is, not how it was initialised. Every `init` below is a guess:"
            .to_owned(),
        format!("{}.", inference.family.guess()),
        String::new(),
    ];
    lines.extend(text(what));
    lines
}

fn text(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}
