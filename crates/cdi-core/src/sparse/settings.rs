//! Config settings for the storage of pruned tensors.

use serde::{Deserialize, Serialize};

/// What a pruned place becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// `+0.0`.
    #[default]
    Zero,
    /// Its initial value times the decay factor, regenerated from the seed when the file is restored.
    Init,
    /// Whichever of the two is nearer to the weight.
    Nearest,
}

/// The encoding of a tensor in a pruned file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The whole tensor under its own name.
    Dense,
    /// One bit per element and the stored values: `sparse-bitmask` of compressed-tensors.
    Bitmask,
    /// Compressed sparse rows.
    Csr,
    /// Every value entropy-coded.
    Coded,
    /// Not stored in the file: the tensor of the same name in its base.
    Base,
}

impl Fill {
    /// The name used in configs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Init => "init",
            Self::Nearest => "nearest",
        }
    }
}

impl Format {
    /// Whether a tensor in this format is coded, or only in the base.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::Coded | Self::Base)
    }

    /// The name used in configs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Bitmask => "bitmask",
            Self::Csr => "csr",
            Self::Coded => "coded",
            Self::Base => "base",
        }
    }
}
