//! The commands that do the stages of a config, and what they say.

use std::path::Path;
use std::time::Instant;

use cdi_prune::config::Settings;
use cdi_prune::manifest::Manifest;
use cdi_prune::pipeline::{self, Outcome, Resolved, Stages, Written};
use cdi_prune::report::{
    Report, Severity, annotation, gate_annotation, gate_words, removed_words, start_words, tune_headline,
    tune_words, warnings,
};
use cdi_prune::text::{counted, percentage, printable, thousands};

use super::args::{Stage, StageFormat};
use super::failure::Result;
use super::global::Global;
use super::out::{self, print, shown};
use super::progress::Bar;
use super::tables;

/// `force` runs even where the manifest proves that it has been done.
pub fn stages(config: &Path, stages: Stages, force: bool, args: Option<&Stage>, global: &Global) -> Result {
    let settings = Settings::load(config, &global.overrides)?;
    pipeline::overrides_are_read(&settings, stages)?;
    let resolved = match stages {
        Stages::Init => Resolved::for_init(&settings, global.open_options())?,
        _ => Resolved::with(&settings, global.open_options())?,
    };
    let github = args.is_some_and(|args| args.format == StageFormat::Github);
    if let (false, Some(path)) = (force, &settings.manifest)
        && let Some(manifest) = pipeline::done_before(&resolved)?
    {
        return say_done(path, &manifest, github, global);
    }
    let outcome = pipeline::run(&resolved, stages, &Bar::of(global), say_initial(global))?;
    let (format, full) = args.map_or((StageFormat::Table, false), |args| (args.format, args.full));
    say_finished(&outcome, (format, full, false), global)
}

/// Says that the initial checkpoint is written, as soon as it is.
pub fn say_initial(global: &Global) -> impl FnMut(&Outcome) {
    let (begun, mut said) = (Instant::now(), false);
    move |outcome| {
        if let (Some(initial), false) = (&outcome.initial, said) {
            let _ = say_written("initial checkpoint", initial, begun, global);
            said = true;
        }
    }
}

/// Says what was done, unless `silent`, and ends as the gates do.
pub fn say_finished(
    outcome: &Outcome,
    (format, full, silent): (StageFormat, bool, bool),
    global: &Global,
) -> Result {
    let github = format == StageFormat::Github;
    if !global.quiet && !silent {
        say_outcome(outcome, full, github, global)?;
    }
    if let (true, Some(report)) = (github, &outcome.report) {
        annotations(report, global.quiet).iter().try_for_each(|line| print(line))?;
    }
    out::log_gates(outcome.report.as_ref().map_or(&[], |report| &report.gates));
    Ok(outcome.check_gates()?)
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
            "{}: {}{}, {} bytes, {} % of the trained file's {}.",
            outcome.report.as_ref().map_or("Pruned file", Report::file_words),
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
        n => format!(" with {}", counted(n as u64, "small file")),
    }
}

pub fn say_written(what: &str, written: &Written, begun: Instant, global: &Global) -> Result {
    if !global.quiet {
        let files: Vec<String> = written.files.iter().map(|f| shown(f)).collect();
        tracing::info!(
            "{what}: {}{}, {}, {} bytes, {:.2} s",
            files.join(", "),
            with_files(written),
            counted(written.tensors as u64, "tensor"),
            thousands(written.bytes),
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Says that by its manifest there is nothing to do, and holds its gates up again.
fn say_done(path: &Path, manifest: &Manifest, github: bool, global: &Global) -> Result {
    if !global.quiet {
        print(&format!(
            "Nothing to do: according to {}, this config has produced these {} from these inputs, and they are \
             unchanged. Use `--force` to run anyway.",
            shown(path),
            counted(manifest.outputs.len() as u64, "output")
        ))?;
    }
    if github {
        let gates = manifest.gates.iter().filter(|result| !global.quiet || !result.passed);
        gates.map(gate_annotation).try_for_each(|line| print(&line))?;
    }
    out::log_gates(&manifest.gates);
    Ok(pipeline::check_gates(&manifest.gates)?)
}
