//! Runs in parts: the commands that do a part, merge the parts, and show how a run is divided.

use std::path::Path;

use cdi_prune::config::Settings;
use cdi_prune::pipeline::{self, Merged, PartDone, PartsOptions, Resolved, Step};
use serde::Serialize;

use super::args::StageFormat;
use super::failure::{Failure, Result};
use super::global::{Format, Global};
use super::out::{print, print_json};
use super::part_args::{MergeArgs, MergeFormat, PartArgs};
use super::progress::Bar;
use super::stages::{say_finished, say_initial};
use super::tables;

fn shown((name, number): Step) -> String {
    format!("step {number} (`{name}`)")
}

/// Does a part of the next step.
pub fn part(config: &Path, args: &PartArgs, global: &Global) -> Result {
    let seat = args.seat(|name| std::env::var(name).ok());
    let (number, parts) = seat.map_err(|message| Failure { message, code: 2 })?;
    let settings = Settings::load(config, &global.overrides)?;
    pipeline::overrides_are_read(&settings, pipeline::Stages::All)?;
    let resolved = Resolved::with(&settings, global.open_options())?;
    let options = PartsOptions { parts, folder: args.parts_folder.as_deref() };
    let done = pipeline::run_part(&resolved, number, options, &Bar::of(global))?;
    if global.quiet {
        return Ok(());
    }
    let part = format!("part {number} of {parts}");
    print(&match done {
        PartDone::Step { step, again: false } => {
            format!("{}: {part} is done.", capitalised(&shown(step)))
        }
        PartDone::Step { step, again: true } => format!(
            "{}: {part} was done before. It goes on when all parts are done and merged: `cdi-prune merge`.",
            capitalised(&shown(step))
        ),
        PartDone::Finished => "Nothing to do: the run is finished, and its outputs are there.".to_owned(),
    })
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

/// What `merge --format json` prints.
#[derive(Serialize)]
struct MergeJson {
    finished: bool,
    merged: Option<&'static str>,
    next: Option<&'static str>,
}

/// Merges the parts of the steps that are complete.
pub fn merge(args: &MergeArgs, global: &Global) -> Result {
    let settings = Settings::load(&args.config, &global.overrides)?;
    pipeline::overrides_are_read(&settings, pipeline::Stages::All)?;
    let resolved = Resolved::with(&settings, global.open_options())?;
    let options = PartsOptions { parts: args.parts, folder: args.parts_folder.as_deref() };
    let json = args.format == MergeFormat::Json;
    let merged = pipeline::merge(&resolved, options, &Bar::of(global), say_initial(global))?;
    if json {
        let (merged, next) = match &merged {
            Merged::Step { step, next } => (Some(step.0), Some(next.0)),
            _ => (None, None),
        };
        print_json(&MergeJson { finished: next.is_none(), merged, next })?;
    }
    match merged {
        Merged::Finished(outcome) => {
            let format =
                if args.format == MergeFormat::Github { StageFormat::Github } else { StageFormat::Table };
            say_finished(&outcome, (format, args.full, json), global)
        }
        _ if json || global.quiet => Ok(()),
        Merged::Step { step, next } => print(&format!(
            "{} is merged. Run all {} parts again for {}.",
            capitalised(&shown(step)),
            args.parts,
            shown(next)
        )),
        Merged::Before => print("Nothing to do: the run is finished, and its outputs are there."),
    }
}

/// Shows how a run would be divided.
pub fn plan(config: &Path, parts: usize, format: Format, global: &Global) -> Result {
    let settings = Settings::load(config, &global.overrides)?;
    let resolved = Resolved::with(&settings, global.open_options())?;
    let plan = pipeline::plan_parts(&resolved, parts)?;
    match format {
        Format::Table => print(&tables::parts(&plan, global.color)),
        Format::Json => print_json(&plan),
    }
}
