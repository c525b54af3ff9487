//! The options that every command has.

use cdi_prune::checkpoint::OpenOptions;
use clap::{Args, ColorChoice, ValueEnum};

/// More threads than any machine that this runs on can use.
pub const MOST_THREADS: u16 = 1024;

/// What the short help of every command says of the global options.
pub const GLOBAL_OPTIONS: &str = "\
Global: --threads N, --quiet, --no-progress, --color WHEN, --set KEY=VALUE, --no-mmap, --follow-links, \
--log-format FORMAT. Use `--help` for details and examples.";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Number of threads, at most 1024; does not affect the results [default: one per core]
    #[arg(
        long,
        global = true,
        value_name = "N",
        hide_short_help = true,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_THREADS))
    )]
    pub threads: Option<u16>,
    /// Print only errors
    #[arg(long, short, global = true, hide_short_help = true)]
    pub quiet: bool,
    /// Hide the progress bar (it appears only if standard error is a terminal)
    #[arg(long, global = true, hide_short_help = true)]
    pub no_progress: bool,
    /// When to use colour in tables
    #[arg(long, global = true, value_name = "WHEN", hide_short_help = true, default_value = "auto")]
    pub color: ColorChoice,
    /// Override a key of the config, e.g. `analyze.threshold=1e-4`; repeatable
    #[arg(long = "set", global = true, hide_short_help = true, value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Read input files into memory instead of mapping them, if other programs may change them. Memory use
    /// grows with the files
    #[arg(long, global = true, hide_short_help = true)]
    pub no_mmap: bool,
    /// Allow shards that are links out of their index's folder, as in caches of downloaded models
    #[arg(long, global = true, hide_short_help = true)]
    pub follow_links: bool,
    /// Format of the diagnostics on standard error
    #[arg(long, global = true, value_name = "FORMAT", hide_short_help = true, default_value = "text")]
    pub log_format: LogFormat,
}

impl Global {
    /// How checkpoints are opened.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions::default().mmap(!self.no_mmap).follow_links(self.follow_links)
    }
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

/// A number of bytes, with a unit if it has one.
pub fn parse_size(text: &str) -> Result<u64, String> {
    cdi_prune::config::parse_size(text).map_err(|e| e.to_string())
}
