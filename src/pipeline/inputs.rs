//! What the files are for that a run reads.

use std::fmt;

/// What a file that is read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputKind {
    /// The config.
    Config,
    /// The checkpoint whose tensors are to be initialised.
    Like,
    /// The trained checkpoint.
    Trained,
    /// A checkpoint that initial values are taken from.
    Base,
    /// Scores to prune by.
    Scores,
    /// A small file beside the trained checkpoint.
    Beside,
}

impl InputKind {
    /// As manifests call it.
    pub fn role(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Like => "model.like",
            Self::Trained => "trained.path",
            Self::Base => "base",
            Self::Scores => "scores",
            Self::Beside => "beside",
        }
    }
}

/// As it is called in messages.
impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "the config",
            Self::Like => "`model.like`",
            Self::Trained => "`trained.path`",
            Self::Base => "a checkpoint that `init: {from}` names",
            Self::Scores => "the scores of `prune`",
            Self::Beside => "a file beside `trained.path`",
        })
    }
}
