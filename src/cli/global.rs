//! The options that every command has.

use clap::{Args, ColorChoice, ValueEnum};

/// More threads than any machine that this runs on can use.
pub const MOST_THREADS: u16 = 1024;

/// What the short help of every command says of the global options.
pub const GLOBAL_OPTIONS: &str = "\
Global: --threads N, --quiet, --no-progress, --color WHEN, --set KEY=VALUE, --no-mmap, --follow-links, --log-format FORMAT. `--help` explains them, and has examples.";

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
