//! The command line, as clap reads it.

use crate::place;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cdi_prune::text::printable;
use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::delta::{ApplyArgs, DeltaArgs, SquashArgs};
use super::failure::{Failure, Result};
use super::global::{Format, GLOBAL_OPTIONS, Global, parse_size};
use super::matrix::MatrixArgs;
use super::out;
use super::part_args::{MergeArgs, PartArgs, parse_parts};

const EXAMPLES_AND_EXIT_CODES: &str = "\
Examples:
  cdi-prune new model.safetensors -o model.yaml
  cdi-prune plan model.yaml
  cdi-prune run model.yaml
  cdi-prune restore out/model/pruned.safetensors -o dense.safetensors
  cdi-prune inspect s3://bucket/model/

Paths of checkpoints, configs, reports and manifests may be URLs: s3://, gs://, az://, file://.

Exit codes:
  0  success
  1  a stage failed (input, output or data)
  2  wrong usage or config
  3  the trained checkpoint does not exist yet; the initial checkpoint has been written
  4  a gate failed; all outputs have been written";

/// Write deterministic initial checkpoints, report what training changed, and write pruned safetensors files
/// whose missing weights are regenerated from the seed.
#[derive(Debug, Parser)]
#[command(name = "cdi-prune", version, after_long_help = EXAMPLES_AND_EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// How gates and warnings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StageFormat {
    Table,
    Github,
}

/// How a comparison of reports is printed or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    Table,
    Markdown,
    Json,
}

/// What a starting config is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// A model trained from a seed: initial checkpoint, analysis, pruned file without the sleeping weights
    Sleeping,
    /// Pruning by magnitude, without initial values
    Magnitude,
    /// A model fine-tuned from `--base`
    Finetune,
    /// Only the initial checkpoint
    Init,
}

#[derive(Debug, Args)]
pub struct Config {
    /// Config file in YAML
    pub config: PathBuf,
}

/// The arguments of a command that prints the analysis.
#[derive(Debug, Args)]
pub struct Stage {
    #[command(flatten)]
    pub config: Config,
    /// How to print gates and warnings: below the table, or as GitHub Actions annotations
    #[arg(long, default_value = "table")]
    pub format: StageFormat,
    /// Show every tensor and every column. By default, more than 40 tensors are grouped by the patterns of
    /// their names, and columns that do not fit are left out
    #[arg(long)]
    pub full: bool,
    /// Show what would be done, like `plan`, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The arguments of `run`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("in_parts").args(["part", "parts"]).multiple(true)))]
pub struct Run {
    #[command(flatten)]
    pub stage: Stage,
    /// Run even if the manifest proves that the outputs are up to date
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub parts: PartArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every stage in the config: init, analyze, prune, then check the gates
    #[command(after_long_help = "\
Examples:
  cdi-prune run model.yaml
  cdi-prune run model.yaml --set analyze.threshold=1e-4 --set prune.fill=init
  cdi-prune run model.yaml --format github
  cdi-prune run model.yaml --part 3/16

Before training, this writes the initial checkpoint and ends with exit code 3. Train from that checkpoint, \
then run the command again. With a manifest in the config, an up-to-date run is skipped.

With --part, one of several processes does its share of the next step; `cdi-prune merge` merges the parts.")]
    Run(Run),
    /// Merge the parts of a run that several processes have done
    #[command(after_long_help = "\
Examples:
  cdi-prune plan model.yaml --parts 16
  for i in $(seq 16); do cdi-prune run model.yaml --part $i/16; done
  cdi-prune merge model.yaml --parts 16
  cdi-prune merge model.yaml --parts 16 --format json

A run in parts has steps, which `plan --parts` lists: all parts of a step are run, then merged, then all parts are \
run again for the next step. The last merge writes the same files as `cdi-prune run` on one machine, bit for bit, and \
ends with the same exit codes. A part may be run again at any time.")]
    Merge(MergeArgs),
    /// Write the initial checkpoint
    #[command(after_long_help = "Example:\n  cdi-prune init model.yaml --set init.output=start.safetensors")]
    Init(Config),
    /// Compare the trained checkpoint with its initial values, print a table and write the reports
    #[command(after_long_help = "\
Examples:
  cdi-prune analyze model.yaml
  cdi-prune analyze model.yaml --set analyze.threshold=auto --set analyze.decay=auto
  cdi-prune analyze model.yaml --set 'analyze.threshold={ulps: 1}' --full")]
    Analyze(Stage),
    /// Write the pruned checkpoint
    #[command(after_long_help = "\
Examples:
  cdi-prune prune model.yaml --set prune.fill=init --set prune.format=bitmask
  cdi-prune prune model.yaml --set 'prune.values={exact: true}'

With `values: {exact: true}` and no key that says what is pruned, nothing is: the whole checkpoint is coded \
without loss.")]
    Prune(Stage),
    /// Show every tensor with its rule, layer id, initialiser, action and size, without reading any weights
    #[command(after_long_help = "\
Examples:
  cdi-prune plan model.yaml
  cdi-prune plan model.yaml --format json
  cdi-prune plan search.yaml --time
  cdi-prune plan model.yaml --parts 16")]
    Plan {
        #[command(flatten)]
        config: Config,
        /// Output format
        #[arg(long, default_value = "table")]
        format: Format,
        /// Show every column, even if the table is wider than the terminal
        #[arg(long)]
        full: bool,
        /// Show how a run would be divided into this many parts, and its steps
        #[arg(long, value_name = "N", value_parser = parse_parts, conflicts_with_all = ["full", "time"])]
        parts: Option<usize>,
        /// Try one candidate of the config's search (`tune`) and say how long it takes. This reads weights
        /// and runs the evaluation command once
        #[arg(long)]
        time: bool,
    },
    /// Pack a whole checkpoint without loss; `unpack` gives it back bit for bit
    #[command(after_long_help = "\
Examples:
  cdi-prune pack model.safetensors -o model.packed.safetensors
  cdi-prune pack finetuned.safetensors --base base.safetensors -o finetuned.packed.safetensors
  cdi-prune pack trained.safetensors --config model.yaml -o trained.packed.safetensors
  cdi-prune unpack finetuned.packed.safetensors --base base.safetensors -o finetuned.safetensors

With --base or --config, each tensor is stored as its differences to the initial values if that takes fewer \
bytes. Tensors that would not become smaller are stored unchanged.")]
    Pack {
        /// Checkpoint to pack: a .safetensors file, a shard index, or a folder with either
        checkpoint: PathBuf,
        /// Packed file to write
        #[arg(long, short)]
        output: PathBuf,
        /// Checkpoint that the model was fine-tuned from; `unpack` needs it too
        #[arg(long, conflicts_with = "config")]
        base: Option<PathBuf>,
        /// Config with the rules and the seed of the initial values; `unpack` needs only the packed file
        #[arg(long)]
        config: Option<PathBuf>,
        /// Split the output into shards of at most this size, e.g. 5GB or 500MiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_shard_size: Option<u64>,
    },
    /// Unpack what `pack` wrote: the checkpoint, bit for bit
    #[command(after_long_help = "\
Examples:
  cdi-prune unpack model.packed.safetensors -o model.safetensors
  cdi-prune unpack finetuned.packed.safetensors --base base.safetensors -o finetuned.safetensors
  cdi-prune unpack packed-model/ -o model/")]
    Unpack {
        /// Packed file, its shard index, or a folder with either
        file: PathBuf,
        /// Checkpoint to write. A folder also receives the small files beside the packed one; end its name
        /// with a slash if it does not exist yet
        #[arg(long, short)]
        output: PathBuf,
        /// Checkpoint that the file was packed with, if it was packed with `--base`
        #[arg(long)]
        base: Option<PathBuf>,
        /// Split the output into shards of at most this size, e.g. 5GB or 500MiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_shard_size: Option<u64>,
        /// Memory limit for initial values that can only be drawn all at once (orthogonal), e.g. 8GiB
        /// [default: 4GiB]
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_memory: Option<u64>,
    },
    /// Convert a pruned or packed file back to an ordinary dense checkpoint
    #[command(after_long_help = "\
Examples:
  cdi-prune restore pruned.safetensors -o dense.safetensors
  cdi-prune restore pruned-model/ -o model/
  cdi-prune restore pruned.safetensors.index.json -o dense.safetensors --max-shard-size 5GB
  cdi-prune restore finetuned.safetensors -o dense.safetensors --base base.safetensors")]
    Restore {
        /// Pruned or packed file, its shard index, or a folder with either
        file: PathBuf,
        /// Dense checkpoint to write. A folder also receives the small files beside the pruned checkpoint;
        /// end its name with a slash if it does not exist yet
        #[arg(long, short)]
        output: PathBuf,
        /// Checkpoint that the initial values come from (`init: {from: …}`)
        #[arg(long)]
        base: Option<PathBuf>,
        /// Split the output into shards of at most this size, e.g. 5GB or 500MiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_shard_size: Option<u64>,
        /// Memory limit for initial values that can only be drawn all at once (orthogonal), e.g. 8GiB
        /// [default: 4GiB]
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_memory: Option<u64>,
    },
    /// Write what changed from one checkpoint to the next; `apply` makes the next one of it
    #[command(after_long_help = "\
Examples:
  cdi-prune delta v1.safetensors v2.safetensors -o v1-v2.safetensors
  cdi-prune delta base-model/ finetuned/ -o finetuned.delta.safetensors
  cdi-prune delta old.safetensors new.safetensors -o d.safetensors --map 'encoder.*=model.encoder.*'
  cdi-prune delta v1/ v2/ -o weight_v000002 --form xor-zstd
  cdi-prune apply v1.safetensors v1-v2.safetensors -o v2.safetensors

The delta is lossless. Tensors are found by name, in whatever files they are: those that changed are coded as \
differences, those that are equal are not in the delta, and new ones are whole. A tensor with one longer dimension \
is coded as differences and new values. The delta knows the state (a digest of all tensors) of both checkpoints.")]
    Delta(DeltaArgs),
    /// Apply deltas to the checkpoint that they were made from
    #[command(after_long_help = "\
Examples:
  cdi-prune apply v1.safetensors v1-v2.safetensors -o v2.safetensors
  cdi-prune apply v1/ v1-v2.safetensors v2-v3.safetensors -o v3/
  cdi-prune apply model/ v1-v2.safetensors --in-place
  cdi-prune apply model/ v1-v2.safetensors --dry-run
  cdi-prune apply v1/ weight_v000002 weight_v000003 -o v3/

Several deltas are applied in one pass. Another base, another order, a missing delta, and a delta that was applied \
already are refused, and nothing becomes visible unless the result has the state that the last delta names.")]
    Apply(ApplyArgs),
    /// Make one delta of several
    #[command(after_long_help = "\
Examples:
  cdi-prune squash v1-v2.safetensors v2-v3.safetensors -o v1-v3.safetensors
  cdi-prune squash v1-v2.safetensors v2-v3.safetensors -o v1-v3.safetensors --base v1.safetensors

Without the base, the differences of a tensor that several deltas change are kept, one over the other: such a delta \
has about as many bytes as all of them. With the base, which needs room for a temporary checkpoint, they become one \
difference.")]
    Squash(SquashArgs),
    /// List the tensors of a checkpoint: name, type, shape, bytes and share of zeros
    #[command(after_long_help = "\
Examples:
  cdi-prune inspect model.safetensors
  cdi-prune inspect folder/ --format json
  cdi-prune inspect model.packed.safetensors

Coded tensors also show their bits per weight, and what their values are stored as differences to: nothing, \
their initial values or their values in the base checkpoint, times a factor.")]
    Inspect {
        /// A .safetensors file, a shard index, or a folder with either
        file: PathBuf,
        /// Output format
        #[arg(long, default_value = "table")]
        format: Format,
        /// Show every column, even if the table is wider than the terminal
        #[arg(long)]
        full: bool,
    },
    /// Generate one matrix, show a corner of it and check its statistics
    #[command(after_long_help = super::matrix::EXAMPLES)]
    Matrix(Box<MatrixArgs>),
    /// Print a starting config, inferred from the names, shapes and types of a checkpoint's tensors
    #[command(after_long_help = "\
Examples:
  cdi-prune new model.safetensors
  cdi-prune new runs/last/ -o configs/model.yaml
  cdi-prune new model.safetensors > model.yaml && cdi-prune plan model.yaml
  cdi-prune new finetuned/ --base base/ -o finetuned.yaml
  cdi-prune new model.safetensors --for magnitude -o small.yaml

Use the trained checkpoint, or a saved copy of the untrained model. The initialisers are guesses: check the \
config and edit it. Paths in the config are relative to its folder.")]
    New {
        /// A .safetensors file, a shard index, or a folder with either
        checkpoint: PathBuf,
        /// Write the config to this file instead of printing it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace an existing output file
        #[arg(long, requires = "output")]
        force: bool,
        /// Purpose of the config [default: sleeping, or finetune with `--base`]
        #[arg(long = "for", value_name = "PURPOSE")]
        purpose: Option<Purpose>,
        /// Checkpoint that fine-tuning started from, which provides the initial value of every tensor
        #[arg(long)]
        base: Option<PathBuf>,
    },
    /// Show what changed between two reports, e.g. of two training steps or two recipes
    #[command(after_long_help = "\
Examples:
  cdi-prune compare step1000.json step2000.json
  cdi-prune compare adamw.json sgd.json --format markdown >> \"$GITHUB_STEP_SUMMARY\"
  cdi-prune compare step1000.json step2000.json --format json -o progress.json

The reports are JSON files, written with `analyze.report.json` in the config.")]
    Compare {
        /// Earlier report, or the one to compare with
        old: PathBuf,
        /// Later report
        new: PathBuf,
        /// Output format
        #[arg(long, default_value = "table")]
        format: CompareFormat,
        /// Write the comparison to this file instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Show every tensor and every column. By default, more than 40 tensors are grouped by the patterns
        /// of their names, and columns that do not fit are left out
        #[arg(long)]
        full: bool,
    },
    /// Print the JSON Schema of the config or of the report
    #[command(after_long_help = "\
Examples:
  cdi-prune schema > cdi-prune.schema.json
  cdi-prune schema --report > cdi-prune-report.schema.json")]
    Schema {
        /// Print the schema of the JSON report
        #[arg(long)]
        report: bool,
    },
    /// Print a completion script for a shell
    #[command(after_long_help = "Example:\n  cdi-prune completions bash > /etc/bash_completion.d/cdi-prune")]
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Check the files of a run against its manifest, and repeat the run to compare the results; or check
    /// that deltas make one checkpoint of another
    #[command(after_long_help = "\
Examples:
  cdi-prune verify out/manifest.json
  cdi-prune verify out/manifest.json --sample 100
  cdi-prune verify v1.safetensors v1-v2.safetensors v2.safetensors

Hashes the outputs, and the inputs that still exist. If all inputs exist, it repeats the whole run and \
compares every byte of the outputs. Ends with exit code 1 at the first difference.")]
    Verify {
        /// Manifest of the run, or a base checkpoint
        #[arg(value_name = "MANIFEST")]
        manifest: PathBuf,
        /// With a base checkpoint: the deltas in their order, and the checkpoint that they should give
        #[arg(value_name = "DELTA… NEW", conflicts_with = "sample")]
        chain: Vec<PathBuf>,
        /// Hash nothing; check only sizes and N rows, evenly spaced over the pruned tensors
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        sample: Option<u64>,
    },
}

impl Command {
    /// The name of a command that reads no config.
    pub fn without_config(&self) -> Option<&'static str> {
        match self {
            Self::Run(_) | Self::Merge(_) | Self::Init(_) | Self::Analyze(_) | Self::Prune(_) => None,
            Self::Plan { .. } => None,
            Self::Pack { config: Some(_), .. } => None,
            Self::Pack { .. } => Some("pack"),
            Self::Unpack { .. } => Some("unpack"),
            Self::Restore { .. } => Some("restore"),
            Self::Delta(_) => Some("delta"),
            Self::Apply(_) => Some("apply"),
            Self::Squash(_) => Some("squash"),
            Self::Inspect { .. } => Some("inspect"),
            Self::Matrix(_) => Some("matrix"),
            Self::New { .. } => Some("new"),
            Self::Compare { .. } => Some("compare"),
            Self::Schema { .. } => Some("schema"),
            Self::Completions { .. } => Some("completions"),
            Self::Verify { .. } => Some("verify"),
        }
    }
}

/// A path given as `file:///PATH`, also as `--option=file:///PATH`, as the path.
fn without_url(argument: &OsString) -> OsString {
    let (option, value) = match argument.to_str() {
        Some(text) if text.starts_with("file:/") => ("", text),
        Some(text) => match text.split_once("=file:/") {
            Some((option, _)) if option.starts_with("--") => text.split_at(option.len() + 1),
            _ => return argument.clone(),
        },
        None => return argument.clone(),
    };
    let mut plain = OsString::from(option);
    plain.push(&*place::plain(Path::new(value)));
    plain
}

/// The command line. A wrong one is an error like any other where JSON is asked for; else
/// clap says it in its way.
pub fn parse(arguments: &[OsString]) -> Result<Cli> {
    let asked = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    if arguments.windows(2).any(asked) || arguments.iter().any(|a| a == "--log-format=json") {
        out::in_json();
    }
    let mut command =
        Cli::command().after_help(GLOBAL_OPTIONS).mut_subcommands(|c| c.after_help(GLOBAL_OPTIONS));
    let matches = command.try_get_matches_from_mut(arguments.iter().map(without_url));
    let error = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => return Ok(cli),
        Err(error) => error.format(&mut command),
    };
    let shown: Vec<String> = arguments.iter().map(|a| printable(&a.to_string_lossy())).collect();
    let odd = shown.iter().zip(arguments).any(|(shown, argument)| argument != shown.as_str());
    if !error.use_stderr() || (!out::is_json() && !odd) {
        error.exit();
    }
    // What clap quotes of the command line, it quotes as it is: so it gets to see it as it is shown.
    let text = match command.try_get_matches_from_mut(&shown) {
        Err(error) if odd => error.render().to_string(),
        _ if odd => printable(&error.render().to_string()),
        _ => error.render().to_string(),
    };
    let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned();
    Err(Failure { message, code: 2 })
}
