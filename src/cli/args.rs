//! The command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use cdi_prune::text::printable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::failure::{Failure, Result};
use super::global::{Format, GLOBAL_OPTIONS, Global};
use super::matrix::MatrixArgs;
use super::out;

const EXIT_CODES: &str = "\
Exit codes:
  0  all done
  1  a stage failed (input, output, data)
  2  bad usage or bad config
  3  the trained checkpoint does not exist yet; what comes before it has been written
  4  a gate failed";

/// Deterministic initial checkpoints, an honest analysis of what training changed, and pruned safetensors whose
/// left-out weights are regenerated from the seed.
#[derive(Debug, Parser)]
#[command(name = "cdi-prune", version, after_long_help = EXIT_CODES, max_term_width = 110)]
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
    /// A model trained from a seed: its initial checkpoint, what training changed, and what sleeps left out
    Sleeping,
    /// Pruning by magnitude, without initial values
    Magnitude,
    /// A model fine-tuned from `--base`
    Finetune,
    /// The initial checkpoint alone
    Init,
}

#[derive(Debug, Args)]
pub struct Config {
    /// The config, in YAML
    pub config: PathBuf,
}

/// The arguments of a command that prints the analysis.
#[derive(Debug, Args)]
pub struct Stage {
    #[command(flatten)]
    pub config: Config,
    /// How to print gates and warnings: after the table, or as annotations for GitHub Actions
    #[arg(long, default_value = "table")]
    pub format: StageFormat,
    /// List every tensor in every column, however many and wide; else more than 40 are grouped by the pattern of their names
    #[arg(long)]
    pub full: bool,
}

/// The arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub stage: Stage,
    /// Run even where the manifest proves that the outputs are there already
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every stage that the config names: init, analyze, prune, then the gates
    #[command(after_long_help = "\
Examples:
  cdi-prune run model.yaml
  cdi-prune run model.yaml --set analyze.threshold=1e-4 --set prune.fill=init
  cdi-prune run model.yaml --format github

Before training, this writes the initial checkpoint and ends with exit code 3. Train from it, then run it again. Where the
config names a manifest and nothing has changed since, there is nothing to do.")]
    Run(Run),
    /// Write the initial checkpoint
    #[command(after_long_help = "Example:\n  cdi-prune init model.yaml --set init.output=start.safetensors")]
    Init(Config),
    /// Compare the trained checkpoint with its initial values, print the table, write the reports
    #[command(after_long_help = "\
Examples:
  cdi-prune analyze model.yaml
  cdi-prune analyze model.yaml --set analyze.threshold=auto --set analyze.decay=auto
  cdi-prune analyze model.yaml --set 'analyze.threshold={ulps: 1}' --full")]
    Analyze(Stage),
    /// Write the pruned checkpoint
    #[command(
        after_long_help = "Example:\n  cdi-prune prune model.yaml --set prune.fill=init --set prune.format=bitmask"
    )]
    Prune(Stage),
    /// Show every tensor with its rule, layer id, initialisation, action and size; touches no data
    #[command(
        after_long_help = "Examples:\n  cdi-prune plan model.yaml\n  cdi-prune plan model.yaml --format json"
    )]
    Plan {
        #[command(flatten)]
        config: Config,
        /// How to print it
        #[arg(long, default_value = "table")]
        format: Format,
        /// Show every column, however wide that is
        #[arg(long)]
        full: bool,
    },
    /// Write a whole checkpoint, coded without loss; `restore` gives it back to the bit
    #[command(after_help = "\
Examples:
  cdi-prune pack model.safetensors -o model.packed.safetensors
  cdi-prune pack finetuned.safetensors --base base.safetensors -o finetuned.packed.safetensors
  cdi-prune pack trained.safetensors --config model.yaml -o trained.packed.safetensors
  cdi-prune restore finetuned.packed.safetensors --base base.safetensors -o finetuned.safetensors

With --base or --config each tensor is stored as the differences to its initial values, where that takes
fewer bytes. What does not become smaller stays as it is.")]
    Pack {
        /// The checkpoint: a .safetensors file, a shard index, or a folder that holds either
        checkpoint: PathBuf,
        /// The packed file to write
        #[arg(long, short)]
        output: PathBuf,
        /// The checkpoint that it was fine-tuned from; `restore` needs it again
        #[arg(long, conflicts_with = "config")]
        base: Option<PathBuf>,
        /// The config whose rules and seed made its initial values; `restore` needs nothing but the packed file
        #[arg(long)]
        config: Option<PathBuf>,
        /// Write shards of at most this size, e.g. 5GB or 500MiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_shard_size: Option<u64>,
    },
    /// Turn a pruned file back into an ordinary dense checkpoint
    #[command(after_long_help = "\
Examples:
  cdi-prune restore pruned.safetensors -o dense.safetensors
  cdi-prune restore pruned-model/ -o model/
  cdi-prune restore pruned.safetensors.index.json -o dense.safetensors --max-shard-size 5GB
  cdi-prune restore finetuned.safetensors -o dense.safetensors --base base.safetensors")]
    Restore {
        /// The pruned file, its shard index, or a folder that holds either
        file: PathBuf,
        /// The dense checkpoint to write; a folder, with a slash at its end if it is not there yet, gets the small files beside
        /// the pruned one too
        #[arg(long, short)]
        output: PathBuf,
        /// The checkpoint that initial values were taken from (`init: {from: …}`)
        #[arg(long)]
        base: Option<PathBuf>,
        /// Write shards of at most this size, e.g. 5GB or 500MiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_shard_size: Option<u64>,
        /// The most memory for initial values that can only be drawn all at once (orthogonal ones), e.g. 8GiB [default: 4GiB]
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_memory: Option<u64>,
    },
    /// List the tensors of any checkpoint: name, type, shape, bytes, share of zeros
    #[command(
        after_long_help = "Examples:\n  cdi-prune inspect model.safetensors\n  cdi-prune inspect folder/ --format json"
    )]
    Inspect {
        /// A .safetensors file, a shard index, or a folder that holds either
        file: PathBuf,
        /// How to print it
        #[arg(long, default_value = "table")]
        format: Format,
        /// Show every column, however wide that is
        #[arg(long)]
        full: bool,
    },
    /// Look at one generated matrix: a corner of it, and whether its figures are as its mode should have them
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

The checkpoint is the trained one, or what the untrained model was saved as. How its tensors
started is a guess: read the config, and edit it. Its paths are relative to its own folder.")]
    New {
        /// A .safetensors file, a shard index, or a folder that holds either
        checkpoint: PathBuf,
        /// Write it here instead of printing it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace the output if it exists
        #[arg(long, requires = "output")]
        force: bool,
        /// What the config is for [default: sleeping, or finetune with `--base`]
        #[arg(long = "for", value_name = "PURPOSE")]
        purpose: Option<Purpose>,
        /// The checkpoint that fine-tuning started from: every tensor starts as it is there
        #[arg(long)]
        base: Option<PathBuf>,
    },
    /// Show what changed between two reports: of one training at two steps, or of two recipes
    #[command(after_long_help = "\
Examples:
  cdi-prune compare step1000.json step2000.json
  cdi-prune compare adamw.json sgd.json --format markdown >> \"$GITHUB_STEP_SUMMARY\"
  cdi-prune compare step1000.json step2000.json --format json -o progress.json

Reports are the JSON files that `analyze.report.json` names.")]
    Compare {
        /// The earlier report, or the one to compare with
        old: PathBuf,
        /// The later report
        new: PathBuf,
        /// How to print or write it
        #[arg(long, default_value = "table")]
        format: CompareFormat,
        /// Write it to this file instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// List every tensor in every column, however many and wide; else more than 40 are grouped by the pattern of their
        /// names
        #[arg(long)]
        full: bool,
    },
    /// Print the JSON Schema of the config, or of the report
    #[command(after_long_help = "\
Examples:
  cdi-prune schema > cdi-prune.schema.json
  cdi-prune schema --report > cdi-prune-report.schema.json")]
    Schema {
        /// That of the JSON report
        #[arg(long)]
        report: bool,
    },
    /// Print a completion script for a shell
    #[command(after_long_help = "Example:\n  cdi-prune completions bash > /etc/bash_completion.d/cdi-prune")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Check every file that a run wrote against its manifest, and the pruned checkpoint against what was trained
    #[command(after_long_help = "\
Examples:
  cdi-prune verify out/manifest.json
  cdi-prune verify out/manifest.json --sample 100

Hashes the outputs, and the inputs that are still there. With all inputs at hand it finds anew which weights go, and compares
every weight of the pruned checkpoint with the one that it should be. Ends with exit code 1 at the first difference.")]
    Verify {
        /// The manifest
        manifest: PathBuf,
        /// Hash nothing: check sizes, and this many blocks of the pruned checkpoint, evenly spaced
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        sample: Option<u64>,
    },
}

impl Command {
    /// The name of a command that reads no config.
    pub fn without_config(&self) -> Option<&'static str> {
        match self {
            Self::Run(_) | Self::Init(_) | Self::Analyze(_) | Self::Prune(_) | Self::Plan { .. } => None,
            Self::Pack { config: Some(_), .. } => None,
            Self::Pack { .. } => Some("pack"),
            Self::Restore { .. } => Some("restore"),
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

fn parse_size(text: &str) -> Result<u64, String> {
    cdi_prune::config::parse_size(text).map_err(|e| e.to_string())
}

/// The command line. A wrong one is an error like any other where JSON is asked for; else clap says it in its way.
pub fn parse() -> Result<Cli> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let asked = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    if arguments.windows(2).any(asked) || arguments.iter().any(|a| a == "--log-format=json") {
        out::in_json();
    }
    let mut command =
        Cli::command().after_help(GLOBAL_OPTIONS).mut_subcommands(|c| c.after_help(GLOBAL_OPTIONS));
    let matches = command.try_get_matches_from_mut(&arguments);
    let error = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => return Ok(cli),
        Err(error) => error.format(&mut command),
    };
    let shown: Vec<String> = arguments.iter().map(|a| printable(&a.to_string_lossy())).collect();
    let odd = shown.iter().zip(&arguments).any(|(shown, argument)| argument != shown.as_str());
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
