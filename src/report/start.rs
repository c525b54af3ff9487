//! Whether the checkpoint started from the initial values at hand, and how it is said.

use serde::{Deserialize, Serialize};

use crate::analysis::StartCosine;
use crate::text::counted;

/// Whether a checkpoint started from the given initial values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Start {
    /// Whether it did; false if it seems not to have; null if undetermined.
    pub started_here: Option<bool>,
    /// The tensor that shows this, if one does so more clearly than all together.
    pub tensor: Option<String>,
    /// Cosine of weights and initial values after subtracting each mean: that of this tensor, or the mean
    /// over all tensors, weighted by their number of weights; null if no tensor provides evidence.
    pub cosine: Option<f64>,
    /// The largest cosine that chance produces except about once in several hundred times.
    pub chance: Option<f64>,
    /// The smallest cosine that is not chance.
    pub significant: Option<f64>,
    /// Number of weights that these values cover.
    pub weights: u64,
    /// Seed in the trained file's own metadata, if it differs from the config's.
    pub file_seed: Option<u64>,
    /// Noise version there, if it differs from this tool's.
    pub file_noise_version: Option<u32>,
}

impl Start {
    /// From what was found.
    pub fn new(found: Option<(StartCosine, Option<String>)>) -> Self {
        let Some((told, tensor)) = found else { return Self::default() };
        Self {
            started_here: told.here(),
            tensor,
            cosine: Some(told.cosine),
            chance: Some(told.chance),
            significant: Some(told.significant),
            weights: told.weights,
            ..Self::default()
        }
    }

    /// What is said of a checkpoint that does not seem to have started here, without capital and full stop.
    pub fn words(&self) -> Option<String> {
        let (Some(false), Some(cosine)) = (self.started_here, self.cosine) else { return None };
        let chance = self.chance.filter(|chance| cosine < *chance).or(self.significant)?;
        Some(format!(
            "this checkpoint does not seem to have started from these initial values ({}): check seed, layer \
             ids and init",
            against_chance(cosine, chance, self.weights)
        ))
    }
}

/// `cosine 0.0004 over 65,536 weights; chance allows 0.012`: two digits of what chance allows, and one
/// place more of the cosine.
pub(super) fn against_chance(cosine: f64, chance: f64, weights: u64) -> String {
    let exponent = format!("{chance:.1e}").split_once('e').and_then(|(_, e)| e.parse::<i32>().ok());
    let places = usize::try_from(1 - exponent.unwrap_or(0)).unwrap_or(1);
    let text = format!("{cosine:.*}", places + 1);
    let zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    let text = if zero { text.trim_start_matches('-') } else { &text };
    format!("cosine {text} over {}; chance allows {chance:.places$}", counted(weights, "weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_that_tell() {
        let words = |cosine, chance| against_chance(cosine, chance, 65_536);
        assert_eq!(words(0.000_44, 0.011_718), "cosine 0.0004 over 65,536 weights; chance allows 0.012");
        assert_eq!(words(-0.000_01, 0.1), "cosine 0.000 over 65,536 weights; chance allows 0.10");
        assert_eq!(words(-0.012_3, 0.2), "cosine -0.012 over 65,536 weights; chance allows 0.20");
        assert_eq!(words(1.24e-5, 9.96e-5), "cosine 0.000012 over 65,536 weights; chance allows 0.00010");
    }

    #[test]
    fn only_another_start_is_spoken_of() {
        let start = |started_here| Start {
            started_here,
            cosine: Some(0.0004),
            chance: Some(0.0117),
            weights: 65_536,
            ..Start::default()
        };
        let near = Start { cosine: Some(0.0123), significant: Some(0.0196), ..start(Some(false)) };
        assert!(near.words().unwrap().contains("(cosine 0.0123 over 65,536 weights; chance allows 0.020)"));
        assert_eq!([None, Some(true)].map(|here| start(here).words()), [None, None]);
        assert_eq!(
            start(Some(false)).words().unwrap(),
            "this checkpoint does not seem to have started from these initial values (cosine 0.0004 over \
             65,536 weights; chance allows 0.012): check seed, layer ids and init"
        );
    }
}
