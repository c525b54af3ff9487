//! A run in parts: each process does one part of a step, and one merges them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::{Error, PartsProblem, PhaseEnd, Step, caught};
use super::outcome::Outcome;
use super::progress::Progress;
use super::resolve::Resolved;
use super::run::{Stages, run_as};
use super::team::{Cut, PartSize, Team, folder_of_parts, steps_of};
use crate::place;
use crate::store::Destination;

/// How a run is divided.
#[derive(Clone, Copy, Debug)]
pub struct PartsOptions<'a> {
    /// Number of parts, at least 1.
    pub parts: usize,
    /// The folder in which all processes of the run exchange what they find. `None` for a hidden folder
    /// beside the first output.
    pub folder: Option<&'a Path>,
}

impl PartsOptions<'_> {
    fn folder(&self, resolved: &Resolved<'_>) -> Result<PathBuf, Error> {
        let folder = self.folder.map_or_else(|| folder_of_parts(resolved), Path::to_owned);
        if place::is_distant(&folder) {
            return Err(PartsProblem::InStore.of(&folder));
        }
        Ok(folder)
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartDone {
    /// Its share of this step is done; `again` if it had been done before.
    Step {
        /// The step.
        step: Step,
        /// Whether nothing was left to do.
        again: bool,
    },
    /// The run was finished before, and its outputs are there.
    Finished,
}

/// What became of a merge.
#[derive(Debug)]
pub enum Merged {
    /// A step is merged, and all parts are to be run again, for the next one.
    Step {
        /// The last merged step.
        step: Step,
        /// The next one.
        next: Step,
    },
    /// The run is finished.
    Finished(Box<Outcome>),
    /// The run was finished before, and its outputs are there.
    Before,
}

/// How a run would be divided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartsPlan {
    /// The steps: all parts of one must be done and merged before those of the next one.
    pub steps: Vec<&'static str>,
    /// Whether there may be more steps of the last kind but one, which depends on the values.
    pub may_be_more: bool,
    /// The parts.
    pub parts: Vec<PartSize>,
}

/// Does part number `number`, from 1, of the first step that is not merged. A part may be done again, by
/// several processes at once, and after a process was killed: the result is the same.
///
/// # Errors
/// Those of [`super::run`]; [`Error::Parts`] if parts of an earlier step are damaged, or made by another
/// version, with another config or from other inputs.
pub fn run_part(
    resolved: &Resolved<'_>,
    number: usize,
    options: PartsOptions<'_>,
    progress: &dyn Progress,
) -> Result<PartDone, Error> {
    caught(|| {
        let team = Team::part(resolved, (number, options.parts), &options.folder(resolved)?)?;
        if team.is_finished(resolved) {
            return Ok(PartDone::Finished);
        }
        let sink = Box::new(Destination::default());
        match run_as(&team, sink, resolved, Stages::All, progress, &mut |_| {}) {
            Err(Error::Phase(PhaseEnd::Part { step, again })) => Ok(PartDone::Step { step, again }),
            Err(error) => Err(error),
            // A config without a pass over weights has no steps.
            Ok(_) => Ok(PartDone::Finished),
        }
    })
}

/// Merges the parts of the steps that are complete. After the last step, the run is finished as by
/// [`super::run`]: the outputs become visible, all together, with the bytes that they would have alone.
///
/// # Errors
/// As [`run_part`]; [`Error::Parts`] if parts are missing.
pub fn merge(
    resolved: &Resolved<'_>,
    options: PartsOptions<'_>,
    progress: &dyn Progress,
    mut done: impl FnMut(&Outcome),
) -> Result<Merged, Error> {
    caught(|| {
        let team = Team::merge(resolved, options.parts, &options.folder(resolved)?)?;
        if team.is_finished(resolved) {
            return Ok(Merged::Before);
        }
        let go = |done: &mut dyn FnMut(&Outcome)| {
            let sink = Box::new(Destination::default());
            run_as(&team, sink, resolved, Stages::All, progress, done)
        };
        // First, how far the parts have come; outputs are written once all steps are done.
        match go(&mut |_| {}) {
            Err(Error::Phase(PhaseEnd::Merged { step, next })) => return Ok(Merged::Step { step, next }),
            Ok(_) | Err(Error::TrainedMissing { .. }) => {}
            Err(error) => return Err(error),
        }
        team.stop_looking();
        let outcome = go(&mut done);
        if matches!(outcome, Ok(_) | Err(Error::TrainedMissing { .. })) {
            team.finish()?;
        }
        Ok(Merged::Finished(Box::new(outcome?)))
    })
}

/// How a run would be divided into this many parts, and its steps.
///
/// # Errors
/// [`Error::Parts`] if the config cannot be run in parts.
pub fn plan_parts(resolved: &Resolved<'_>, parts: usize) -> Result<PartsPlan, Error> {
    caught(|| {
        let (steps, may_be_more) = steps_of(resolved)?;
        Ok(PartsPlan { steps, may_be_more, parts: Cut::new(resolved, parts)?.parts().to_vec() })
    })
}
