//! The program: the output of its commands, and the exit codes of errors.

mod args;
mod delta;
mod failure;
mod global;
mod matrix;
mod new;
pub mod out;
mod pack;
mod part_args;
mod parts;
mod progress;
mod signals;
mod stages;
mod tables;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use cdi_core::internal::dispatch::InstructionSet;
use cdi_prune::checkpoint::catch;
use cdi_prune::config::{self, Settings};
use cdi_prune::pipeline::{self, Resolved, RestoreOptions, Stages};
use cdi_prune::report::{comparison_json, comparison_markdown};
use cdi_prune::text::printable;
use cdi_prune::workers::PoolError;
use clap::{ColorChoice, CommandFactory};

use args::{Cli, Command, CompareFormat, Run};
use failure::{Failure, Result};
use global::{Format, Global, MOST_THREADS};
use out::{print, print_json, shown};
use progress::Bar;
use stages::{say_written, stages};

/// The program, with its name and its arguments: does what they say, prints errors, and returns the exit
/// code.
#[must_use]
pub fn program(arguments: Vec<OsString>) -> ExitCode {
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::say(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// Parses the command line and does what it says.
fn run(arguments: &[OsString]) -> Result {
    let cli = args::parse(arguments)?;
    start(&cli.global)?;
    let result = catch(|| command(&cli)).unwrap_or_else(|error| Err(pipeline::Error::from(error).into()));
    signals::over();
    result
}

fn command(cli: &Cli) -> Result {
    if let (Some(command), Some(set)) = (cli.command.without_config(), cli.global.overrides.first()) {
        let message = format!(
            "--set {}: this has no effect: `{command}` reads no config; leave it out",
            printable(set)
        );
        return Err(Failure { message, code: 2 });
    }
    match &cli.command {
        Command::Run(Run { stage: c, .. }) | Command::Analyze(c) | Command::Prune(c) if c.dry_run => {
            plan(&c.config.config, (Format::Table, c.full), false, &cli.global)
        }
        Command::Run(c) if c.parts.is_part() => parts::part(&c.stage.config.config, &c.parts, &cli.global),
        Command::Merge(args) => parts::merge(args, &cli.global),
        Command::Run(c) => stages(&c.stage.config.config, Stages::All, c.force, Some(&c.stage), &cli.global),
        Command::Init(c) => stages(&c.config, Stages::Init, true, None, &cli.global),
        Command::Analyze(c) => stages(&c.config.config, Stages::Analyze, true, Some(c), &cli.global),
        Command::Prune(c) => stages(&c.config.config, Stages::Prune, true, Some(c), &cli.global),
        Command::Plan { config, format, parts: Some(parts), .. } => {
            parts::plan(&config.config, *parts, *format, &cli.global)
        }
        Command::Plan { config, format, full, time, .. } => {
            plan(&config.config, (*format, *full), *time, &cli.global)
        }
        Command::Pack { checkpoint, output, base, config, max_shard_size } => {
            let start = (base.as_deref(), config.as_deref());
            pack::pack(checkpoint, start, output, *max_shard_size, &cli.global)
        }
        Command::Unpack { file, output, base, max_shard_size, max_memory }
        | Command::Restore { file, output, base, max_shard_size, max_memory } => {
            let options = RestoreOptions {
                base: base.as_deref(),
                max_shard_size: *max_shard_size,
                max_memory: *max_memory,
                open: cli.global.open_options(),
            };
            let (begun, bar) = (Instant::now(), Bar::of(&cli.global));
            if matches!(cli.command, Command::Restore { .. }) {
                let written = pipeline::restore(file, output, options, &bar)?;
                return say_written("restored", &written, begun, &cli.global);
            }
            let unpacked = pipeline::unpack(file, output, options, &bar)?;
            say_written("unpacked", &unpacked.written, begun, &cli.global)?;
            pack::say_losses(&unpacked, output);
            Ok(())
        }
        Command::Delta(args) => delta::delta(args, &cli.global),
        Command::Apply(args) => delta::apply(args, &cli.global),
        Command::Squash(args) => delta::squash(args, &cli.global),
        Command::Inspect { file, format, full } => {
            let inventory = pipeline::inspect(file, cli.global.open_options(), &Bar::of(&cli.global))?;
            match format {
                Format::Table => print(&tables::inventory(&inventory, *full, cli.global.color)),
                Format::Json => print_json(&inventory),
            }
        }
        Command::New { checkpoint, output, force, purpose, base } => {
            let purpose = new::purpose(*purpose, base.as_deref())?;
            new::new(checkpoint, output.as_deref(), *force, &purpose, &cli.global)
        }
        Command::Compare { old, new, format, output, full } => {
            compare(old, new, output.as_deref(), (*format, *full), &cli.global)
        }
        Command::Schema { report } => {
            let schema = if *report { cdi_prune::report::schema() } else { config::schema() };
            print_json(&schema)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "cdi-prune", &mut script);
            print(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Verify { manifest: base, chain, .. } if !chain.is_empty() => {
            let Some((new, deltas)) = chain.split_last().filter(|(_, deltas)| !deltas.is_empty()) else {
                let message = "verify: expected a manifest, or BASE DELTA… NEW".to_owned();
                return Err(Failure { message, code: 2 });
            };
            delta::verify(base, deltas, new, &cli.global)
        }
        Command::Verify { manifest, sample, .. } => {
            let found =
                pipeline::verify(manifest, *sample, cli.global.open_options(), &Bar::of(&cli.global))?;
            if cli.global.quiet { Ok(()) } else { print(&found.words()) }
        }
        Command::Matrix(args) => matrix::run(args, &cli.global),
    }
}

/// What comes before every command.
fn start(global: &Global) -> Result {
    out::start_log(global);
    signals::watch().context("cannot watch for signals")?;
    InstructionSet::choose().map_err(|message| Failure { message: printable(&message), code: 2 })?;
    start_threads(global.threads)
}

/// Starts the program's threads now: one that cannot start is an error here, and would be a panic later. They
/// are the global ones, so that the main thread goes from stage to stage itself.
fn start_threads(wanted: Option<u16>) -> Result {
    let variable = || std::env::var("RAYON_NUM_THREADS").ok()?.parse::<usize>().ok().filter(|n| *n > 0);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = wanted.map_or_else(|| variable().unwrap_or_else(cores), usize::from);
    let threads = threads.min(MOST_THREADS.into());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|error| {
        let error = PoolError { threads, reason: error.to_string() };
        Failure { message: format!("{error}; use fewer with `--threads`"), code: 1 }
    })
}

fn plan(config: &Path, (format, full): (Format, bool), time: bool, global: &Global) -> Result {
    let settings = Settings::load(config, &global.overrides)?;
    let resolved = Resolved::with(&settings, global.open_options())?;
    let rows = pipeline::listing(&resolved);
    match format {
        Format::Table => print(&tables::plan(&rows, settings.tune.as_ref(), full, global.color))?,
        Format::Json => print_json(&rows)?,
    }
    if time {
        let taken = pipeline::time_candidate(&resolved, &Bar::of(global))?;
        tracing::info!("{}", tables::time(settings.tune.as_ref().zip(taken)));
    }
    Ok(())
}

fn compare(
    old: &Path,
    new: &Path,
    output: Option<&Path>,
    (format, full): (CompareFormat, bool),
    global: &Global,
) -> Result {
    let form = |comparison: &_, color| match format {
        CompareFormat::Table => tables::comparison(comparison, full, color) + "\n",
        CompareFormat::Markdown => comparison_markdown(comparison),
        CompareFormat::Json => comparison_json(comparison),
    };
    // A file is no terminal, whatever standard output is.
    let in_file = if global.color == ColorChoice::Always { ColorChoice::Always } else { ColorChoice::Never };
    let comparison = pipeline::compare_reports(old, new, output, |comparison| form(comparison, in_file))?;
    match output {
        None if format == CompareFormat::Json => {
            out::print_json_text(form(&comparison, global.color).trim_end())
        }
        None => print(form(&comparison, global.color).trim_end()),
        Some(path) => {
            tracing::info!("comparison: {}", shown(path));
            Ok(())
        }
    }
}
