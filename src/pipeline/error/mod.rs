//! The errors that can stop a command, and their exit codes.

mod block;
mod calibration;
mod delta;
mod mismatch;
mod parts;
mod rules;
mod scores;
mod verify;
mod words;

use std::path::{Path, PathBuf};

pub use block::BlockProblem;
pub use calibration::CalibrationProblem;
pub use delta::DeltaProblem;
pub use mismatch::Mismatch;
pub use parts::{PartsProblem, PhaseEnd, Step};
pub use rules::{ChainProblem, RuleProblem};
pub use scores::ScoresProblem;
pub use verify::VerifyProblem;

use crate::checkpoint::{CheckpointError, catch};
use crate::config::ConfigError;
use crate::gates::GateResult;
use crate::reader::{BaseProblem, OpenError, PrunedProblem, RowsError};
use crate::report::ReadError;
use crate::store::Form;
use crate::tune::{CacheError, Confirmed, EvaluationError, TunePoint, quoted};
use crate::workers::Stopped;
use words::{gates_failed, in_parts, not_confirmed, nothing_within, trained_missing};

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The caller cancelled the command through its progress callbacks.
    #[error("cancelled; the outputs are as they were")]
    Cancelled,
    /// A tensor that cannot be read as it was asked for.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The requested stage has no section in the config.
    #[error("{}: `{command}` needs the key `{key}`, which the config does not have", .file.display())]
    NoSection {
        /// Path of the config.
        file: PathBuf,
        /// The requested command.
        command: &'static str,
        /// The missing key.
        key: &'static str,
    },
    /// An output is also an input, or another output.
    #[error(
        "{first} and {second} are the same file ({}): an output must not replace an input or another output; give \
         one of them another path",
        .path.display()
    )]
    SameFile {
        /// One of the two paths, in words.
        first: String,
        /// The other path, in words.
        second: String,
        /// Their common path.
        path: PathBuf,
    },
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file is not a valid report.
    #[error(transparent)]
    Report(#[from] ReadError),
    /// The result fails some gates. All outputs were written.
    #[error("{}", gates_failed(.failed, *.of))]
    Gates {
        /// The gates that failed.
        failed: Vec<GateResult>,
        /// Number of gates that were measured.
        of: usize,
    },
    /// The evaluation command of `tune` gave no metric.
    #[error(transparent)]
    Evaluation(#[from] Box<EvaluationError>),
    /// The measurements that `tune` keeps between runs cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The metric drops too far for every file that `tune` tried.
    #[error("{}: {}", .file.display(), nothing_within(*.max_drop, *.original, .nearest.as_deref()))]
    NothingWithin {
        /// Path of the config.
        file: PathBuf,
        /// The allowed drop of the metric.
        max_drop: f64,
        /// The metric of the original.
        original: f64,
        /// The point with the smallest drop.
        nearest: Option<Box<TunePoint>>,
    },
    /// What `tune` found within the limit is not by the command that confirms it.
    #[error("{}: {}", .file.display(), not_confirmed(*.max_drop, *.original, *.tried, .nearest.as_deref()))]
    NotConfirmed {
        /// Path of the config.
        file: PathBuf,
        /// The allowed drop of the metric.
        max_drop: f64,
        /// Number of files that the command measured.
        tried: usize,
        /// The metric of the original.
        original: f64,
        /// The file with the smallest drop.
        nearest: Option<Box<(TunePoint, Confirmed)>>,
    },
    /// The metric of `tune` is the same for every checkpoint.
    #[error(
        "{}: `tune.command` printed {metric} for each of {tried} checkpoints, from the original to one whose weights \
         are hardly more than their starting points; check that it evaluates the file `{{checkpoint}}`, and that \
         training changed its metric",
        .file.display()
    )]
    SameMetric {
        /// Path of the config.
        file: PathBuf,
        /// The metric.
        metric: f64,
        /// Number of checkpoints.
        tried: usize,
    },
    /// Pruned weights would get initial values, but the trained checkpoint did not start from those.
    #[error(
        "{}: {words}; `prune.fill: init` would restore values that the weights never had, so nothing was \
         pruned; set `prune.any_start: true` to prune anyway",
        .path.display()
    )]
    OtherStart {
        /// The trained checkpoint.
        path: PathBuf,
        /// The evidence, in words.
        words: String,
    },
    /// There is no trained checkpoint yet.
    #[error("{}", trained_missing(.path, .initial))]
    TrainedMissing {
        /// Where the trained checkpoint should be.
        path: PathBuf,
        /// The initial checkpoint, if the config names one.
        initial: Option<PathBuf>,
    },
    /// The trained checkpoint does not fit the model.
    #[error(transparent)]
    Mismatch(#[from] Box<Mismatch>),
    /// A tensor of a base checkpoint cannot provide initial values.
    #[error("{}: tensor `{tensor}`, which provides initial values, {problem}", .path.display())]
    Base {
        /// The base checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: BaseProblem,
    },
    /// A tensor of a file of scores cannot provide scores.
    #[error("{}: tensor `{tensor}`, which provides scores, {problem}", .path.display())]
    Scores {
        /// The file of scores.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with its scores.
        problem: Box<ScoresProblem>,
    },
    /// A tensor of a file of second moments cannot be used.
    #[error("{}: tensor `{tensor}`, for rounding, {problem}", .path.display())]
    Calibration {
        /// The file of second moments.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: Box<CalibrationProblem>,
    },
    /// No pruning makes the file small enough.
    #[error(
        "{}: even with everything pruned that can be pruned, the file would have {least} bytes, more than \
         the {limit} of `prune.target`; raise the target, or keep fewer tensors",
        .output.display()
    )]
    TooLarge {
        /// Path of the pruned file.
        output: PathBuf,
        /// The allowed size in bytes.
        limit: u64,
        /// The smallest possible size in bytes.
        least: u64,
    },
    /// A trained checkpoint is expected, but the file is pruned.
    #[error(
        "{}: this is a pruned file of cdi-prune, not a trained checkpoint; convert it with `cdi-prune \
         restore {} -o dense.safetensors`",
        .path.display(), quoted(.path.as_os_str())
    )]
    AlreadyPruned {
        /// The file.
        path: PathBuf,
    },
    /// A packed file is expected, but this is an ordinary checkpoint.
    #[error(
        "{}: not a packed file but an ordinary checkpoint, so there is nothing to unpack; `cdi-prune pack {} \
         -o packed.safetensors` packs it",
        .path.display(), quoted(.path.as_os_str())
    )]
    NotPacked {
        /// The file.
        path: PathBuf,
    },
    /// A packed file is expected, but this is an initial checkpoint.
    #[error(
        "{}: not a packed file but an initial checkpoint of cdi-prune, which is dense already: use it as it is",
        .path.display()
    )]
    InitialNotPacked {
        /// The file.
        path: PathBuf,
    },
    /// A packed file is expected, but this is a pruned file.
    #[error(
        "{}: this is a pruned file of cdi-prune, not a packed one; convert it with `cdi-prune restore {} -o \
         dense.safetensors`",
        .path.display(), quoted(.path.as_os_str())
    )]
    PrunedNotPacked {
        /// The file.
        path: PathBuf,
    },
    /// A file must be written, but the path is a folder.
    #[error(
        "{}: `prune.output` is a folder; give the path of a file, or end it with a slash to write the \
         checkpoint and the small files of its model into the folder",
        .path.display()
    )]
    OutputFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The checkpoint stores compressed weights in parts, which would be mistaken for weights.
    #[error("{}: {}", .path.display(), in_parts(.stem, .parts, .form, *.more, *.pruning))]
    InParts {
        /// The checkpoint.
        path: PathBuf,
        /// The common beginning of the names of the first weight's parts.
        stem: String,
        /// The names of its parts.
        parts: Vec<String>,
        /// The compressed form.
        form: &'static Form,
        /// Number of other weights that are stored in parts.
        more: usize,
        /// Whether the command is pruning; otherwise it is inferring a config.
        pruning: bool,
    },
    /// A config cannot be inferred, because the checkpoint has no weights.
    #[error(
        "{}: none of its {tensors} tensors is F64, F32, F16 or BF16, so there is nothing to initialise, compare or prune",
        .path.display()
    )]
    NoWeights {
        /// The checkpoint.
        path: PathBuf,
        /// Number of its tensors.
        tensors: usize,
    },
    /// The base has nothing in common with the checkpoint.
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
    /// The path cannot be written in a config.
    #[error("{}: this path is not UTF-8, so a config cannot contain it; rename the file", .path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// The checkpoint has a tensor with the name that an encoding needs for a part of another tensor.
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
        /// The tensor that already has that name.
        part: String,
    },
    /// Something differs from the manifest.
    #[error("{}: {problem}", .path.display())]
    Verify {
        /// The manifest, or the file that was checked.
        path: PathBuf,
        /// What differs.
        problem: Box<VerifyProblem>,
    },
    /// Block results cannot be merged.
    #[error(transparent)]
    Block(#[from] BlockProblem),
    /// A part of a run cannot be used, or parts are missing.
    #[error("{}: {problem}", .path.display())]
    Parts {
        /// The file of the part, or the folder of all parts.
        path: PathBuf,
        /// What is wrong.
        problem: Box<PartsProblem>,
    },
    /// The run goes on in other processes. Only within a run in parts, which ends with it.
    #[error("the share of this process is done")]
    Phase(PhaseEnd),
    /// A delta cannot be made or applied.
    #[error("{}: {problem}", .path.display())]
    Delta {
        /// The delta, or the checkpoint that it would be made from.
        path: PathBuf,
        /// What is wrong.
        problem: Box<DeltaProblem>,
    },
    /// There is not enough memory.
    #[error("tensor `{tensor}`: there is no memory for its {bytes} bytes")]
    NoMemory {
        /// The tensor.
        tensor: String,
        /// Its bytes.
        bytes: u64,
    },
    /// The file to restore is not a valid pruned file.
    #[error("{}: {problem}", .path.display())]
    Pruned {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: PrunedProblem,
    },
}

impl DeltaProblem {
    /// Of this file.
    pub(super) fn of(self, path: &Path) -> Error {
        Error::Delta { path: path.to_owned(), problem: Box::new(self) }
    }
}

impl PartsProblem {
    /// Of this file or folder.
    pub(super) fn of(self, path: &Path) -> Error {
        Error::Parts { path: path.to_owned(), problem: Box::new(self) }
    }
}

/// Does the work of a function that other programs call. If bytes in a store cannot be read where no function
/// says so, the work ends, and this returns the error.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch(work)?
}

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Self::Cancelled
    }
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
    /// The exit code of the process: 1 if a stage failed, 2 for a bad config or bad usage, 3 if there is no
    /// trained checkpoint yet, 4 if a gate failed.
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
