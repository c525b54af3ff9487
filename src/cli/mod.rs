//! The program: what its commands print, and which exit code an error has.

mod args;
mod matrix;
mod new;
pub mod out;
mod pack;
mod progress;
mod signals;
mod tables;

use std::path::{Component, Path};
use std::time::Instant;

use anyhow::Context;
use args::{Cli, Command, CompareFormat, Format, Global, LogFormat, MOST_THREADS, Stage, StageFormat};
use cdi_prune::checkpoint::CheckpointError;
use cdi_prune::config::{self, Settings};
use cdi_prune::dispatch::InstructionSet;
use cdi_prune::manifest::Manifest;
use cdi_prune::pipeline::{self, Error, Outcome, Resolved, Stages, Written};
use cdi_prune::report::text::{percentage, printable, removed_words, thousands};
use cdi_prune::report::{
    Report, Severity, annotation, comparison_json, comparison_markdown, gate_annotation, gate_words,
    start_words, tune_headline, tune_words, warnings,
};
use clap::{ColorChoice, CommandFactory};
use out::{print, print_json};
use progress::Bar;

/// An error on its way out.
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: anyhow::Error = error.into();
        let code = match error.downcast_ref::<Error>() {
            Some(error) => error.exit_code(),
            None if error.is::<config::ConfigError>() => 2,
            None if error.downcast_ref::<CheckpointError>().is_some_and(CheckpointError::is_usage) => 2,
            None => 1,
        };
        Self { message: out::message(&error), code }
    }
}

type Result<T = ()> = std::result::Result<T, Failure>;

/// Parses the command line and does what it says.
pub fn main() -> Result {
    let cli = out::parse()?;
    out::start_log(&cli.global);
    signals::watch().context("cannot watch for signals")?;
    if cli.global.follow_links {
        cdi_prune::checkpoint::follow_links();
    }
    if cli.global.no_mmap {
        cdi_prune::checkpoint::read_into_memory();
    }
    InstructionSet::choose().map_err(|message| Failure { message: printable(&message), code: 2 })?;
    start_threads(cli.global.threads)?;
    if let (Some(command), Some(set)) = (cli.command.without_config(), cli.global.overrides.first()) {
        let message =
            format!("--set {}: this does nothing: `{command}` reads no config; leave it out", printable(set));
        return Err(Failure { message, code: 2 });
    }
    match &cli.command {
        Command::Run(c) => stages(&c.stage.config.config, Stages::All, c.force, Some(&c.stage), &cli.global),
        Command::Init(c) => stages(&c.config, Stages::Init, true, None, &cli.global),
        Command::Analyze(c) => stages(&c.config.config, Stages::Analyze, true, Some(c), &cli.global),
        Command::Prune(c) => stages(&c.config.config, Stages::Prune, true, Some(c), &cli.global),
        Command::Plan { config, format, full } => plan(&config.config, *format, *full, &cli.global),
        Command::Pack { checkpoint, output, base, config, max_shard_size } => {
            let start = (base.as_deref(), config.as_deref());
            pack::pack(checkpoint, start, output, *max_shard_size, &cli.global)
        }
        Command::Restore { file, output, base, max_shard_size, max_memory } => {
            let begun = Instant::now();
            let (base, bar) = (base.as_deref(), bar(&cli.global));
            let written = pipeline::restore(file, output, base, *max_shard_size, *max_memory, &bar)?;
            say_written("restored", &written, begun, &cli.global)
        }
        Command::Inspect { file, format, full } => {
            let inventory = pipeline::inspect(file, &bar(&cli.global))?;
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
        Command::Verify { manifest, sample } => {
            let found = pipeline::verify(manifest, *sample, &bar(&cli.global))?;
            if cli.global.quiet { Ok(()) } else { print(&found.words()) }
        }
        Command::Matrix(args) => matrix::run(args, &cli.global),
    }
}

/// Starts the threads now: one that cannot start is an error here, and would be a panic later.
fn start_threads(wanted: Option<u16>) -> Result {
    let variable = || std::env::var("RAYON_NUM_THREADS").ok()?.parse::<usize>().ok().filter(|n| *n > 0);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = wanted.map_or_else(|| variable().unwrap_or_else(cores), usize::from);
    let threads = threads.min(MOST_THREADS.into());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|error| {
        let message = format!("cannot start {threads} threads: {error}; give fewer with `--threads`");
        Failure { message, code: 1 }
    })
}

/// Says that by its manifest there is nothing to do, and holds its gates up again.
fn say_done(path: &Path, manifest: &Manifest, github: bool, global: &Global) -> Result {
    if !global.quiet {
        print(&format!(
            "Nothing to do: by {} these inputs have given these {} outputs, which are as they were written. \
             `--force` runs anyway.",
            shown(path),
            manifest.outputs.len()
        ))?;
    }
    if github {
        let gates = manifest.gates.iter().filter(|result| !global.quiet || !result.passed);
        gates.map(gate_annotation).try_for_each(|line| print(&line))?;
    }
    out::log_gates(&manifest.gates);
    Ok(pipeline::check_gates(&manifest.gates)?)
}

fn bar(global: &Global) -> Bar {
    Bar::new(!global.quiet && !global.no_progress && global.log_format == LogFormat::Text)
}

/// `force` runs even where the manifest proves that it has been done.
fn stages(config: &Path, stages: Stages, force: bool, args: Option<&Stage>, global: &Global) -> Result {
    let settings = Settings::load(config, &global.overrides)?;
    pipeline::overrides_are_read(&settings, stages)?;
    let resolved = match stages {
        Stages::Init => Resolved::for_init(&settings)?,
        _ => Resolved::new(&settings)?,
    };
    let github = args.is_some_and(|args| args.format == StageFormat::Github);
    if let (false, Some(path)) = (force, &settings.manifest)
        && let Some(manifest) = pipeline::done_before(&resolved)?
    {
        return say_done(path, &manifest, github, global);
    }
    let begun = Instant::now();
    let mut initial_said = false;
    let outcome = pipeline::run(&resolved, stages, &bar(global), |outcome| {
        if let (Some(initial), false) = (&outcome.initial, initial_said) {
            let _ = say_written("initial checkpoint", initial, begun, global);
            initial_said = true;
        }
    })?;
    if !global.quiet {
        say_outcome(&outcome, args.is_some_and(|args| args.full), github, global)?;
    }
    if let (true, Some(report)) = (github, &outcome.report) {
        annotations(report, global.quiet).iter().try_for_each(|line| print(line))?;
    }
    out::log_gates(outcome.report.as_ref().map_or(&[], |report| &report.gates));
    Ok(outcome.check_gates()?)
}

/// A path as a person would write it: `configs/../out/a` is `out/a`. For the eye only: beyond a link it may not be the
/// same file.
fn shown(path: &Path) -> String {
    let mut short = std::path::PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir
            && matches!(short.components().next_back(), Some(Component::Normal(_)))
        {
            short.pop();
        } else {
            short.push(part);
        }
    }
    printable(&short.display().to_string())
}

/// A line for each warning and gate; of those that failed only where no other is wanted.
fn annotations(report: &Report, quiet: bool) -> Vec<String> {
    let warnings = start_words(report).into_iter().chain(warnings(report)).filter(|_| !quiet);
    let gates = report.gates.iter().filter(|result| !quiet || !result.passed);
    warnings
        .map(|warning| annotation(Severity::Warning, "cdi-prune", &warning))
        .chain(gates.map(gate_annotation))
        .collect()
}

fn say_outcome(outcome: &Outcome, full: bool, github: bool, global: &Global) -> Result {
    if let Some(report) = &outcome.report {
        if let Some(tuned) = report.tune.as_ref().and_then(tune_headline) {
            print(&tuned)?;
        }
        print(&tables::report(report, full, global.color))?;
    }
    for file in &outcome.report_files {
        tracing::info!("report: {}", shown(file));
    }
    if let Some(tune) = outcome.report.as_ref().and_then(|report| report.tune.as_ref()) {
        print(&format!("Tuned: {}", tune_words(tune)))?;
    }
    if let Some(pruned) = &outcome.pruned {
        let (bytes, before) = (pruned.written.bytes, outcome.trained_bytes);
        let files: Vec<String> = pruned.written.files.iter().map(|f| shown(f)).collect();
        print(&format!(
            "Pruned file: {}{}, {} bytes, {} % of the trained file's {}.",
            files.join(", "),
            with_files(&pruned.written),
            thousands(bytes),
            percentage(100.0 * bytes as f64 / before.max(1) as f64),
            thousands(before),
        ))?;
    }
    if let Some(undivided) = outcome.pruned.as_ref().map(|pruned| &pruned.undivided).filter(|u| !u.is_empty())
    {
        print(&tables::undivided(undivided))?;
    }
    for removed in outcome.report.iter().flat_map(|report| &report.removed) {
        print(&format!("Removed: {}.", removed_words(removed, printable)))?;
    }
    for result in outcome.report.iter().filter(|_| !github).flat_map(|report| &report.gates) {
        let word = if result.passed { "passed" } else { "FAILED" };
        print(&format!("Gate {word}: {}.", gate_words(result)))?;
    }
    Ok(())
}

/// How many small files went with the weights.
fn with_files(written: &Written) -> String {
    match written.beside.len() {
        0 => String::new(),
        1 => " with 1 small file".to_owned(),
        n => format!(" with {n} small files"),
    }
}

fn say_written(what: &str, written: &Written, begun: Instant, global: &Global) -> Result {
    if !global.quiet {
        let files: Vec<String> = written.files.iter().map(|f| shown(f)).collect();
        tracing::info!(
            "{what}: {}{}, {} tensors, {} bytes, {:.2} s",
            files.join(", "),
            with_files(written),
            written.tensors,
            thousands(written.bytes),
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn plan(config: &Path, format: Format, full: bool, global: &Global) -> Result {
    let settings = Settings::load(config, &global.overrides)?;
    let rows = pipeline::listing(&Resolved::new(&settings)?);
    match format {
        Format::Table => print(&tables::plan(&rows, settings.tune.as_ref(), full, global.color)),
        Format::Json => print_json(&rows),
    }
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
