//! The command line, as clap reads it.

use std::path::PathBuf;

use super::matrix::MatrixArgs;
use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

/// More threads than any machine that this runs on can use.
pub const MOST_THREADS: u16 = 1024;

/// What the short help of every command says of the global options.
pub const GLOBAL_OPTIONS: &str = "\
Global: --threads N, --quiet, --no-progress, --color WHEN, --set KEY=VALUE, --no-mmap, --follow-links, --log-format FORMAT. `--help` explains them, and has examples.";

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

#[derive(Debug, Args)]
pub struct Global {
    /// Number of threads, 1024 at the most [default: one per core]; never changes a result
    #[arg(long, global = true, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_THREADS)))]
    pub threads: Option<u16>,
    /// Print errors only
    #[arg(long, short, global = true, hide_short_help = true)]
    pub quiet: bool,
    /// Show no progress bar (there is none anyway where standard error is no terminal)
    #[arg(long, global = true, hide_short_help = true)]
    pub no_progress: bool,
    /// When to colour the tables
    #[arg(long, global = true, value_name = "WHEN", hide_short_help = true, default_value = "auto")]
    pub color: ColorChoice,
    /// Override one key of the config, e.g. `analyze.threshold=1e-4`; may repeat
    #[arg(long = "set", global = true, hide_short_help = true, value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Read input files into memory in place of mapping them: for files that others may write to meanwhile. Memory grows with
    /// them
    #[arg(long, global = true, hide_short_help = true)]
    pub no_mmap: bool,
    /// Read shards that are links out of their index's folder, as in caches of downloaded models
    #[arg(long, global = true, hide_short_help = true)]
    pub follow_links: bool,
    /// How diagnostics on standard error are written
    #[arg(long, global = true, value_name = "FORMAT", hide_short_help = true, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
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
