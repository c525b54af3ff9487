//! What can be wrong with a delta, or with what it is applied to.

use std::path::PathBuf;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaProblem {
    /// The file is something else.
    #[error(
        "it is not a delta: make one with `cdi-prune delta BASE NEW -o DELTA`; `restore` reads other files"
    )]
    NotADelta,
    /// The base is another version.
    #[error("it applies to the state {expected}, but {} has the state {got}; {hint}", .base.display())]
    OtherBase {
        /// The checkpoint that was given.
        base: PathBuf,
        /// The state over which the delta was made.
        expected: String,
        /// The state found.
        got: String,
        /// What is probably the reason.
        hint: String,
    },
    /// The deltas are no chain.
    #[error("it applies to the state {expected}, but {} gives the state {got}; {hint}", .previous.display())]
    Link {
        /// The delta before it.
        previous: PathBuf,
        /// The state over which this one was made.
        expected: String,
        /// The state that the other one gives.
        got: String,
        /// What is probably the reason.
        hint: String,
    },
    /// The checkpoint before it lacks a tensor, or has it with another type or shape.
    #[error(
        "the checkpoint that it applies to has no fitting tensor `{tensor}`: it is another version, or the delta is \
         damaged"
    )]
    Needs {
        /// Name of the tensor there.
        tensor: String,
    },
    /// The result is not what the delta says.
    #[error("it gives the state {expected}, but applying it gave {got}: it is damaged; nothing was written")]
    Result {
        /// The state in the delta.
        expected: String,
        /// The state found.
        got: String,
    },
    /// A checkpoint is not what the deltas give.
    #[error("it has the state {got}, but the deltas give {expected}: it is another version")]
    Other {
        /// The state that the deltas give.
        expected: String,
        /// The state found.
        got: String,
    },
    /// A name that `--map` cannot change.
    #[error("--map {old}={new}: {problem}")]
    Map {
        /// Name in the base.
        old: String,
        /// Name in the new checkpoint.
        new: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Deltas that cannot be one without their base.
    #[error(
        "tensor `{tensor}` gets another type or shape here, after a delta before this one: without the \
         base, the two cannot become one; give it with `--base FILE`"
    )]
    SquashNeedsBase {
        /// The tensor.
        tensor: String,
    },
    /// A folder of a version is not as the convention wants it.
    #[error("{0}")]
    Version(String),
    /// A tensor of a version cannot be made.
    #[error("tensor `{tensor}`: {problem}")]
    VersionTensor {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// The base cannot be replaced in place.
    #[error("--in-place: {0}")]
    InPlace(String),
}

impl DeltaProblem {
    /// The tensor that it is about, if it is about one.
    pub fn tensor(&self) -> Option<&String> {
        match self {
            Self::Needs { tensor }
            | Self::SquashNeedsBase { tensor }
            | Self::VersionTensor { tensor, .. } => Some(tensor),
            _ => None,
        }
    }
}
