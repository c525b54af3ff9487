//! All errors that can stop a command, and their exit codes.

mod block;
mod mismatch;
mod rules;
mod scores;
mod verify;
mod words;

use std::path::PathBuf;

pub use block::BlockProblem;
pub use mismatch::Mismatch;
pub use rules::{ChainProblem, RuleProblem};
pub use scores::ScoresProblem;
pub use verify::VerifyProblem;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::gates::GateResult;
use crate::reader::{BaseProblem, OpenError, PrunedProblem};
use crate::report::ReadError;
use crate::store::Form;
use crate::tune::{CacheError, EvaluationError, TunePoint, quoted};
use words::{gates_failed, in_parts, nothing_within, trained_missing};

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Whoever watches the progress wanted no more of it.
    #[error("cancelled; the outputs are as they were")]
    Cancelled,
    /// A stage asked for by name that the config says nothing about.
    #[error("{}: `{command}` needs the key `{key}`, which the config does not have", .file.display())]
    NoSection {
        /// The config.
        file: PathBuf,
        /// What was asked for.
        command: &'static str,
        /// The missing key.
        key: &'static str,
    },
    /// An output that is an input, or another output.
    #[error(
        "{first} and {second} are the same file ({}): an output must not replace an input or another output; give \
         one of them another path",
        .path.display()
    )]
    SameFile {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint that cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file that is no report.
    #[error(transparent)]
    Report(#[from] ReadError),
    /// Gates that the result does not pass; everything was written.
    #[error("{}", gates_failed(.failed, *.of))]
    Gates {
        /// Those that failed.
        failed: Vec<GateResult>,
        /// How many were measured.
        of: usize,
    },
    /// The evaluation command of `tune` gave no metric.
    #[error(transparent)]
    Evaluation(#[from] Box<EvaluationError>),
    /// What `tune` keeps between runs cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Every file that `tune` tried drops too far.
    #[error("{}: {}", .file.display(), nothing_within(*.max_drop, *.original, .nearest.as_deref()))]
    NothingWithin {
        /// The config.
        file: PathBuf,
        /// Most that the metric may be worse.
        max_drop: f64,
        /// The original's metric.
        original: f64,
        /// The point that drops least.
        nearest: Option<Box<TunePoint>>,
    },
    /// Initial values as a fill that the trained checkpoint did not start from.
    #[error(
        "{}: {words}; `prune.fill: init` would restore values that the weights never had, so nothing was \
         pruned; set `prune.any_start: true` to prune anyway",
        .path.display()
    )]
    OtherStart {
        /// The trained checkpoint.
        path: PathBuf,
        /// What tells it.
        words: String,
    },
    /// Training has not happened yet.
    #[error("{}", trained_missing(.path, .initial))]
    TrainedMissing {
        /// Where the trained checkpoint should be.
        path: PathBuf,
        /// The initial checkpoint, if the config names one.
        initial: Option<PathBuf>,
    },
    /// The trained checkpoint is not the model's.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A tensor of a base checkpoint that cannot serve as initial value.
    #[error("{}: tensor `{tensor}`, which provides initial values, {problem}", .path.display())]
    Base {
        /// The base checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: BaseProblem,
    },
    /// A tensor of a file of scores that cannot serve.
    #[error("{}: tensor `{tensor}`, which provides scores, {problem}", .path.display())]
    Scores {
        /// The file of scores.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with its scores.
        problem: Box<ScoresProblem>,
    },
    /// A size that no pruning reaches.
    #[error(
        "{}: even with everything pruned that can be pruned, the file would have {least} bytes, more than \
         the {limit} of `prune.target`; raise the target, or keep fewer tensors",
        .output.display()
    )]
    TooLarge {
        /// The pruned file.
        output: PathBuf,
        /// Most bytes that it may have.
        limit: u64,
        /// Least bytes that it can have.
        least: u64,
    },
    /// A pruned file where a trained one is expected.
    #[error(
        "{}: this is a pruned file of cdi-prune, not a trained checkpoint; convert it with `cdi-prune \
         restore {} -o dense.safetensors`",
        .path.display(), quoted(.path.as_os_str())
    )]
    AlreadyPruned {
        /// The file.
        path: PathBuf,
    },
    /// An ordinary checkpoint where a packed one is expected.
    #[error(
        "{}: not a packed file but an ordinary checkpoint, so there is nothing to unpack; `cdi-prune pack {} \
         -o packed.safetensors` packs it",
        .path.display(), quoted(.path.as_os_str())
    )]
    NotPacked {
        /// The file.
        path: PathBuf,
    },
    /// An initial checkpoint where a packed one is expected.
    #[error(
        "{}: not a packed file but an initial checkpoint of cdi-prune, which is dense already: use it as it is",
        .path.display()
    )]
    InitialNotPacked {
        /// The file.
        path: PathBuf,
    },
    /// A pruned file where a packed one is expected.
    #[error(
        "{}: this is a pruned file of cdi-prune, not a packed one; convert it with `cdi-prune restore {} -o \
         dense.safetensors`",
        .path.display(), quoted(.path.as_os_str())
    )]
    PrunedNotPacked {
        /// The file.
        path: PathBuf,
    },
    /// A folder where a file is to be written.
    #[error(
        "{}: `prune.output` is a folder; give the path of a file, or end it with a slash to write the \
         checkpoint and the small files of its model into the folder",
        .path.display()
    )]
    OutputFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Parts of compressed weights that would be taken for weights.
    #[error("{}: {}", .path.display(), in_parts(.stem, .parts, .form, *.more, *.pruning))]
    InParts {
        /// The checkpoint.
        path: PathBuf,
        /// What the names of the first one's parts begin with.
        stem: String,
        /// Its parts.
        parts: Vec<String>,
        /// Their form.
        form: &'static Form,
        /// How many other weights stand there in parts.
        more: usize,
        /// Whether they would be pruned, rather than have a config inferred from them.
        pruning: bool,
    },
    /// A checkpoint to infer a config from that has no weights.
    #[error(
        "{}: none of its {tensors} tensors is F64, F32, F16 or BF16, so there is nothing to initialise, compare or prune",
        .path.display()
    )]
    NoWeights {
        /// The checkpoint.
        path: PathBuf,
        /// How many tensors it has.
        tensors: usize,
    },
    /// A base that has nothing to do with the checkpoint.
    #[error(
        "{}: none of its tensors has the name and shape of a tensor in {}: this is the base of another \
         model, or the names differ",
        .base.display(),
        .path.display()
    )]
    NothingOfBase {
        /// The checkpoint.
        path: PathBuf,
        /// The base.
        base: PathBuf,
    },
    /// A path that no config can name.
    #[error("{}: this path is not UTF-8, so a config cannot contain it; rename the file", .path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A tensor of the name that an encoding would give to another.
    #[error(
        "{}: tensor `{part}` has the name that a part of the encoded tensor `{tensor}` would have; set `format: dense` \
         or a prune rule with `keep: true` for `{tensor}`",
        .path.display()
    )]
    PartName {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor to be encoded.
        tensor: String,
        /// The tensor in the way.
        part: String,
    },
    /// Something that is not as a manifest says.
    #[error("{}: {problem}", .path.display())]
    Verify {
        /// The manifest, or the file that was looked into.
        path: PathBuf,
        /// What it is.
        problem: Box<VerifyProblem>,
    },
    /// Results of blocks that cannot be merged.
    #[error(transparent)]
    Block(#[from] BlockProblem),
    /// A file to restore that is not a sound pruned file.
    #[error("{}: {problem}", .path.display())]
    Pruned {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: PrunedProblem,
    },
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Checkpoint(error) => Self::Checkpoint(error),
            OpenError::Pruned { path, problem } => Self::Pruned { path: path.into(), problem },
            OpenError::Base { path, tensor, problem } => Self::Base { path: path.into(), tensor, problem },
        }
    }
}

impl Error {
    /// The process's exit code: 1 a stage failed, 2 bad config or usage, 3 no trained checkpoint
    /// yet, 4 a gate failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NoSection { .. } | Self::SameFile { .. } | Self::OutputFolder { .. } => 2,
            Self::Checkpoint(error) if error.is_usage() => 2,
            Self::TrainedMissing { .. } => 3,
            Self::Gates { .. } => 4,
            _ => 1,
        }
    }
}
