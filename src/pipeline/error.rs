//! Everything that can stop a command, and the exit code that says so.

use std::fmt::Write as _;
use std::path::PathBuf;

use safetensors::Dtype;

use super::verify_problem::VerifyProblem;
use super::{gates, tune};
use crate::checkpoint::CheckpointError;
use crate::config::{ConfigError, LayerError};
use crate::gates::GateResult;
use crate::init::{ShapeMismatch, SliceError};
use crate::reader::{BaseProblem, OpenError, PrunedProblem};
use crate::report::ReadError;
use crate::store::Form;
use crate::tensor::{Layout, LayoutMismatch, Shape};
use crate::tune::{CacheError, EvaluationError, TunePoint, quoted};

/// Why a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    #[error("{}", gates::failed(.failed, *.of))]
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
    #[error("{}: {}", .file.display(), tune::nothing_within(*.max_drop, *.original, .nearest.as_deref()))]
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
        "{}: {words}; `prune.fill: init` would fill in values that were never there, so nothing was pruned: \
         `prune.any_start: true` has it done all the same",
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
    #[error("{}: tensor `{tensor}`, which initial values are taken from, {problem}", .path.display())]
    Base {
        /// The base checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: BaseProblem,
    },
    /// A tensor of a file of scores that cannot serve.
    #[error("{}: tensor `{tensor}`, whose scores pruning goes by, {problem}", .path.display())]
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
        "{}: the pruned file would have {least} bytes with everything pruned that may be, more than the {limit} of \
         `prune.target`; raise them, or let fewer tensors be kept",
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
        "{}: this is a pruned file of cdi-prune, not a trained checkpoint; `cdi-prune restore {} -o \
         dense.safetensors` makes an ordinary checkpoint of it",
        .path.display(), quoted(.path.as_os_str())
    )]
    AlreadyPruned {
        /// The file.
        path: PathBuf,
    },
    /// A folder where a file is to be written.
    #[error(
        "{}: `prune.output` is a folder; name a file, or end it with a slash: then the checkpoint is written into it, with \
         the small files of its model",
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
        "{}: none of its tensors has the name and shape of one of {}: it is the base of another model, or names differ",
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
    #[error("{}: a config is UTF-8 text, which this path is not; give the file another name", .path.display())]
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
    /// A file to restore that is not a sound pruned file.
    #[error("{}: {problem}", .path.display())]
    Pruned {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: PrunedProblem,
    },
}

/// What the rules get wrong about the tensors at hand; reported at the rule's place in the config.
#[derive(Debug, thiserror::Error)]
pub enum RuleProblem {
    /// Tensors of the model that no rule is about.
    #[error("no rule matches {} of the model (add one, `init: none` if no initial value is wanted)", list(.tensors))]
    Unmatched {
        /// Their names.
        tensors: Vec<String>,
    },
    /// A layer id that cannot be computed from a name.
    #[error("tensor `{tensor}`: {error}")]
    Layer {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: LayerError,
    },
    /// A scheme that cannot make a tensor of this shape.
    #[error("tensor `{tensor}`: {error}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: ShapeMismatch,
    },
    /// Slices that are not those of the tensor.
    #[error("tensor `{tensor}`: {error}")]
    Slices {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: SliceError,
    },
    /// `fan_in_of` leads nowhere.
    #[error("tensor `{tensor}`: `fan_in_of` leads to `{weight}`, and there is no such tensor")]
    NoWeight {
        /// The tensor to initialise.
        tensor: String,
        /// The one that is missing.
        weight: String,
    },
    /// Neighbours that groups of m do not fill.
    #[error(
        "tensor `{tensor}` has {size} {what}, which groups of {m} do not divide; add `where_divisible: true` to leave such \
         tensors as they are, give it another structure, or keep it, by a rule of `prune.rules`"
    )]
    Neighbours {
        /// The tensor.
        tensor: String,
        /// How many neighbours it has.
        size: usize,
        /// What they are.
        what: &'static str,
        /// Neighbours of a group.
        m: usize,
    },
    /// Inputs and kernel places that are not side by side.
    #[error(
        "tensor `{tensor}` has its outputs between inputs and kernel, by its layout {layout}, and `along: inputs` takes both \
         together; take `along: input_channels`"
    )]
    Apart {
        /// The tensor.
        tensor: String,
        /// Its layout.
        layout: Layout,
    },
    /// Tensors that are named as tied and are not.
    #[error("`{first}` and `{second}` are named as tied, but {why}; take them out of `prune.tied`")]
    Tied {
        /// The first of the names.
        first: String,
        /// Another one.
        second: String,
        /// Why they are not.
        why: &'static str,
    },
    /// Roles that are not those of a tensor's dimensions.
    #[error("tensor `{tensor}`: {error}; give it a rule of its own with another `layout`")]
    Roles {
        /// The tensor.
        tensor: String,
        /// How they differ.
        error: LayoutMismatch,
    },
    /// A tensor without filters and channels.
    #[error(
        "tensor `{tensor}` of shape {shape} has no filters or channels, which take two dimensions; give it another \
         structure, or keep it, by a rule of `prune.rules`"
    )]
    NoChannels {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
    },
    /// More columns than the encoding can number.
    #[error(
        "tensor `{tensor}` has {columns} columns, and `format: csr` can number 2147483648 at the most; take another \
         format, or keep it by a rule of `prune.rules`"
    )]
    TooWide {
        /// The tensor.
        tensor: String,
        /// Its columns.
        columns: usize,
    },
    /// Layers that form no chain.
    #[error("layer `{layer}` of the chain {problem}")]
    Chain {
        /// The layer.
        layer: String,
        /// Why it has no place there.
        problem: ChainProblem,
    },
    /// Pruned places that would take values nobody knows.
    #[error(
        "tensor `{tensor}` has `init: none`, so there is no initial value for its pruned places; take `fill: zero`, \
         or keep it by a rule of `prune.rules`"
    )]
    NoFill {
        /// The tensor.
        tensor: String,
    },
    /// Two tensors that would start with the same noise.
    #[error(
        "tensors `{first}` and `{second}` both have layer id {layer}, so they would start with the same noise; give \
         them different ids, or set `shared: true` on their rules if that is meant"
    )]
    SameLayer {
        /// One tensor.
        first: String,
        /// The other.
        second: String,
        /// Their id.
        layer: u64,
    },
}

/// Why a layer has no place in a chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainProblem {
    /// It is not in the checkpoint.
    #[error("has no tensor `{0}` in the trained checkpoint")]
    NoWeight(String),
    /// Its weight is no floating-point tensor.
    #[error("has a weight of type {0}, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// A vector that is no batch norm of the layer before it.
    #[error(
        "has a weight of shape {0}, expected a weight of outputs by inputs, or a batch norm behind such a layer, with weight, \
         bias, running_mean and running_var for each of its units"
    )]
    NoNorm(Shape),
    /// A weight whose rows are no outputs.
    #[error("has a weight of shape {0} and layout {1}, expected out_in, where rows are outputs")]
    Layout(Shape, Layout),
    /// Columns that are not those of the units before.
    #[error("has {columns} columns, expected a multiple of the {units} units of the layer before it")]
    Units {
        /// Columns of its weight.
        columns: usize,
        /// Units of the layer before.
        units: usize,
    },
    /// A bias that is not one number a unit.
    #[error("has a bias of shape {got}, expected {units} floating-point numbers")]
    Bias {
        /// Units of the layer.
        units: usize,
        /// Shape of the bias.
        got: Shape,
    },
    /// Nothing that it could pass units to.
    #[error("stands alone: the chain needs two layers that are no batch norms")]
    Alone,
}

/// Why the scores of a tensor cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ScoresProblem {
    /// There are none.
    #[error("is missing there")]
    Missing,
    /// They are no floating-point numbers.
    #[error("is {0} there, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// As many as neither weights nor input channels.
    #[error("has shape {got} there, expected {expected}{}", for_channels(.channels, *.experts))]
    Shape {
        /// Shape of the tensor.
        expected: Shape,
        /// Its input channels, where it has some.
        channels: Option<usize>,
        /// Its experts.
        experts: usize,
        /// Shape there.
        got: Shape,
    },
    /// A score that cannot be ranked.
    #[error("has the score {score} at place {place}, expected finite numbers")]
    NotFinite {
        /// The place, in storage order.
        place: usize,
        /// The score.
        score: f64,
    },
    /// A number that no norm can be.
    #[error("has the norm {norm} for input channel {place}, expected finite numbers that are not negative")]
    NotANorm {
        /// The channel.
        place: usize,
        /// The number.
        norm: f64,
    },
}

fn for_channels(channels: &Option<usize>, experts: usize) -> String {
    match channels {
        None => String::new(),
        Some(n) if experts == 1 => {
            format!(" for a score per weight, or [{n}] for a norm per input channel")
        }
        Some(n) => format!(
            " for a score per weight, or [{n}] or [{experts}, {n}] for a norm per input channel, of all experts or of each"
        ),
    }
}

/// How the trained checkpoint differs from the model and the rules: everything at once.
#[derive(Debug, Default)]
pub struct Mismatch {
    /// The trained checkpoint.
    pub path: PathBuf,
    /// Floating-point tensors of it that no rule matches.
    pub unmatched: Vec<String>,
    /// Tensors of the model that it lacks.
    pub missing: Vec<String>,
    /// `name: has …, expected …`: tensors of another shape or kind than the model's.
    pub different: Vec<String>,
    /// Names of wrappers in its tensors' names, without which some would be those that the config knows.
    pub wrappers: Vec<&'static str>,
}

impl Mismatch {
    /// Whether there is nothing to complain of.
    pub fn is_empty(&self) -> bool {
        self.unmatched.is_empty() && self.missing.is_empty() && self.different.is_empty()
    }
}

impl std::error::Error for Mismatch {}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if !self.unmatched.is_empty() {
            parts.push(format!(
                "no rule matches {} (add one, `init: none` if the initial value is not known)",
                list(&self.unmatched)
            ));
        }
        if !self.missing.is_empty() {
            parts.push(format!("missing there, though the model has them: {}", list(&self.missing)));
        }
        if !self.different.is_empty() {
            parts.push(self.different.join("; "));
        }
        write!(
            f,
            "{}: the trained checkpoint does not fit the config: {}",
            self.path.display(),
            parts.join("; ")
        )?;
        if !self.wrappers.is_empty() {
            let wrappers = self.wrappers.join(", ");
            write!(
                f,
                "; names there have those of wrappers in them: `trained.strip: [{wrappers}]` takes them out"
            )?;
        }
        Ok(())
    }
}

/// Names in backticks, the first hundred of them.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 100;
    let mut text = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

fn in_parts(stem: &str, parts: &[String], form: &Form, more: usize, pruning: bool) -> String {
    let more = if more > 0 { format!(" (and {more} more like it)") } else { String::new() };
    let keep = if pruning {
        "; to prune only what else is there, keep the parts by a rule of `prune.rules`"
    } else {
        ""
    };
    format!(
        "`{stem}`{more} is compressed as {}, in the parts {}, which are no weights to compare or prune; {}{keep}",
        form.name,
        list(parts),
        form.way_out
    )
}

fn trained_missing(path: &std::path::Path, initial: &Option<PathBuf>) -> String {
    let path = path.display();
    match initial {
        Some(initial) => format!(
            "{path}: there is no trained checkpoint yet. Train the model from the initial checkpoint {}, save it as \
             {path}, then run this again",
            initial.display()
        ),
        None => format!(
            "{path}: there is no trained checkpoint yet. Train the model, save it there, then run this again"
        ),
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
    /// The process's exit code: 1 a stage failed, 2 bad config or usage, 3 no trained checkpoint yet, 4 a gate failed.
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
