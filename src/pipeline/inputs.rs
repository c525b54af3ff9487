//! The roles of the files that a run reads.

use std::fmt;

/// Role of an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputKind {
    /// The config.
    Config,
    /// The checkpoint with the tensors to initialise.
    Like,
    /// The trained checkpoint.
    Trained,
    /// A checkpoint with initial values.
    Base,
    /// Scores for pruning.
    Scores,
    /// Second moments of layers' inputs, for rounding.
    Calibration,
    /// A small file next to the trained checkpoint.
    Beside,
}

impl InputKind {
    /// Name in manifests.
    pub fn role(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Like => "model.like",
            Self::Trained => "trained.path",
            Self::Base => "base",
            Self::Scores => "scores",
            Self::Calibration => "calibration",
            Self::Beside => "beside",
        }
    }
}

/// Name in messages.
impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "the config",
            Self::Like => "`model.like`",
            Self::Trained => "`trained.path`",
            Self::Base => "a checkpoint that `init: {from}` names",
            Self::Scores => "the scores of `prune`",
            Self::Calibration => "the calibration of `prune.values`",
            Self::Beside => "a file beside `trained.path`",
        })
    }
}
