//! What a config is for.

/// What a starting config is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The whole job of a model trained from the seed: write what it starts from, compare,
    /// leave out what sleeps.
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
}
