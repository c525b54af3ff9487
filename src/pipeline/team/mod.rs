//! One run, shared by several processes: each does a part of every step, and one merges the parts.
//!
//! A run in parts is the same program as a run alone. Where all weights are passed over, it calls
//! [`Team::step`] with a closure that does this for the tensors that this process owns, and goes on with the
//! results of all processes. Alone, that is the one result of the closure. In a part, the program goes
//! through the steps that are merged with their results from disk, does its share of the first one that is
//! not, writes the result, and ends. The process that merges owns no tensor: it goes through the steps with
//! the results of all parts, as far as they are there, and at last does what comes after the last step.
//!
//! So every process computes every decision from the same results, and sums over the weights of a tensor are
//! added up within one process, in the same order as alone.

mod cut;
mod file;
mod seat;
mod steps;

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, PartsProblem, PhaseEnd, Step};
use super::masks::{Masks, SavedMasks};
use super::outputs::RunOutputs;
use super::resolve::Resolved;
use super::spool::Spool;
use super::task::Tasks;
use crate::checkpoint::CheckpointError;
use crate::place;
use crate::store::{
    CheckpointWriter, Group, MergeSink, PartFiles, PartWritten, Sink, WholeFiles, entry_path,
};
pub use cut::{Cut, PartSize};
pub(super) use seat::CODES;
use seat::{Seat, Told};
pub use steps::{names, steps_of};

/// The processes of a run, as one of them sees them.
pub(super) struct Team {
    role: Role,
    /// Number of steps so far.
    step: Cell<usize>,
    /// The last step that is merged.
    merged: Cell<Option<Step>>,
    /// The masks as this part left them after the last step that changed them.
    masks: RefCell<Option<(PathBuf, SavedMasks)>>,
}

enum Role {
    Alone,
    Part { seat: Seat, number: usize, files: PartFiles },
    Merge { seat: Seat, whole: WholeFiles, only_looks: Cell<bool> },
}

/// Whether a step changes the masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    Masks,
    Nothing,
}

impl Team {
    /// One process that does everything.
    pub fn alone() -> Self {
        Self::new(Role::Alone)
    }

    /// The process that does part number `number`, from 1, of this many.
    pub fn part(
        resolved: &Resolved<'_>,
        (number, parts): (usize, usize),
        folder: &Path,
    ) -> Result<Self, Error> {
        let seat = Seat::new(resolved, parts, folder)?;
        fs::create_dir_all(&seat.folder).map_err(CheckpointError::io(&seat.folder, "create"))?;
        let files = PartFiles::within(&seat.folder);
        Ok(Self::new(Role::Part { seat, number, files }))
    }

    /// The process that merges this many parts.
    pub fn merge(resolved: &Resolved<'_>, parts: usize, folder: &Path) -> Result<Self, Error> {
        let seat = Seat::new(resolved, parts, folder)?;
        let (whole, only_looks) = (WholeFiles::default(), Cell::new(true));
        Ok(Self::new(Role::Merge { seat, whole, only_looks }))
    }

    fn new(role: Role) -> Self {
        Self { role, step: Cell::new(0), merged: Cell::new(None), masks: RefCell::default() }
    }

    fn seat(&self) -> Option<&Seat> {
        match &self.role {
            Role::Alone => None,
            Role::Part { seat, .. } | Role::Merge { seat, .. } => Some(seat),
        }
    }

    /// Whether one process does everything.
    pub fn is_alone(&self) -> bool {
        matches!(self.role, Role::Alone)
    }

    /// Whether this process only looks how far the parts have come, and writes no output.
    pub fn only_looks(&self) -> bool {
        matches!(&self.role, Role::Merge { only_looks, .. } if only_looks.get())
    }

    /// Begins anew, to write the outputs.
    pub fn stop_looking(&self) {
        self.step.set(0);
        if let Role::Merge { only_looks, .. } = &self.role {
            only_looks.set(false);
        }
    }

    /// Whether this process does the passes over this tensor.
    pub fn owns(&self, name: &str) -> bool {
        match &self.role {
            Role::Alone => true,
            Role::Part { seat, number, .. } => seat.cut.part_of(name) + 1 == *number,
            Role::Merge { .. } => false,
        }
    }

    /// The part that does this tensor, from 0.
    pub fn part_of(&self, name: &str) -> usize {
        self.seat().map_or(0, |seat| seat.cut.part_of(name))
    }

    /// Whether this process does item number `n` of a list that has nothing to do with tensors.
    pub fn takes(&self, n: usize) -> bool {
        match &self.role {
            Role::Alone => true,
            Role::Part { seat, number, .. } => n % seat.origin.parts + 1 == *number,
            Role::Merge { .. } => false,
        }
    }

    /// The sink of this process; that of a run alone is `alone`.
    pub fn sink(&self, alone: Box<dyn Sink>) -> Box<dyn Sink> {
        match &self.role {
            Role::Alone => alone,
            Role::Part { files, .. } => Box::new(files.sink()),
            Role::Merge { whole, .. } => Box::new(MergeSink::new(whole.clone())),
        }
    }

    /// A temporary file for what a step computes: beside this output, or where this part can keep it.
    pub fn spool(&self, output: &Path) -> Result<Spool, CheckpointError> {
        match &self.role {
            Role::Part { seat, .. } => Spool::within(&seat.folder),
            _ => Spool::beside(output),
        }
    }

    /// A step without masks.
    pub fn step<P: Serialize + DeserializeOwned>(
        &self,
        name: &'static str,
        own: impl FnOnce() -> Result<P, Error>,
    ) -> Result<Vec<P>, Error> {
        self.next((name, None), |_| own())
    }

    /// A step that reads masks, or changes them. Where its closure is not called, the masks still know how
    /// many values of every tensor stay.
    pub fn step_of_masks<P: Serialize + DeserializeOwned>(
        &self,
        name: &'static str,
        (masks, tasks, changes): (&mut Masks, &Tasks<'_>, Changes),
        own: impl FnOnce(&mut Masks) -> Result<P, Error>,
    ) -> Result<Vec<P>, Error> {
        let own = |masks: Option<&mut Masks>| own(masks.expect("given with the step"));
        self.next((name, Some((masks, tasks, changes))), own)
    }

    /// Results for items, in their order: each process does those of the tensors that it owns.
    pub fn share<'n, T: Copy, R: Serialize + DeserializeOwned>(
        &self,
        name: &'static str,
        items: &[T],
        tensor: impl Fn(&T) -> &'n str,
        work: impl FnOnce(&[T]) -> Result<Vec<R>, Error>,
    ) -> Result<Vec<R>, Error> {
        if self.is_alone() {
            return work(items);
        }
        let own = || {
            let own: Vec<T> = items.iter().filter(|item| self.owns(tensor(item))).copied().collect();
            work(&own)
        };
        let results = self.step(name, own)?;
        Ok(self.in_order(items, tensor, results))
    }

    /// The results of all parts for their items, in the order of the items.
    pub fn in_order<'n, T, R>(
        &self,
        items: &[T],
        tensor: impl Fn(&T) -> &'n str,
        results: Vec<Vec<R>>,
    ) -> Vec<R> {
        let mut results: Vec<_> = results.into_iter().map(Vec::into_iter).collect();
        items.iter().filter_map(|item| results[self.part_of(tensor(item))].next()).collect()
    }

    /// The next step, with the masks that it reads or changes.
    fn next<P: Serialize + DeserializeOwned>(
        &self,
        (name, masks): (&'static str, Option<(&mut Masks, &Tasks<'_>, Changes)>),
        own: impl FnOnce(Option<&mut Masks>) -> Result<P, Error>,
    ) -> Result<Vec<P>, Error> {
        self.step.set(self.step.get() + 1);
        let step: Step = (name, self.step.get());
        let told: Vec<Told<P>> = match &self.role {
            Role::Alone => return Ok(vec![own(masks.map(|(masks, ..)| masks))?]),
            Role::Part { seat, number, .. } if !seat.is_merged(step) => {
                let again = matches!(seat.read::<P>(step, *number), Ok(Some(_)));
                if !again {
                    self.do_part(seat, *number, step, masks, own)?;
                }
                return Err(Error::Phase(PhaseEnd::Part { step, again }));
            }
            Role::Part { seat, number, .. } => {
                let told = seat.read_all(step)?;
                // What it kept for later steps is lost, and computed again.
                if seat.has_lost(&told[*number - 1], step, *number) {
                    self.do_part(seat, *number, step, masks, own)?;
                    return Err(Error::Phase(PhaseEnd::Part { step, again: false }));
                }
                told
            }
            Role::Merge { seat, .. } => {
                if !seat.is_merged(step) {
                    self.merge_step(seat, step)?;
                }
                let told = seat.read_all(step)?;
                if !seat.is_merged(step) {
                    seat.mark(step)?;
                }
                self.merged.set(Some(step));
                told
            }
        };
        let mut results = Vec::with_capacity(told.len());
        let mut masks = masks.map(|(masks, ..)| masks);
        for (n, told) in told.into_iter().enumerate() {
            if let (Some(masks), Some(saved)) = (&mut masks, &told.masks) {
                masks.tell(&saved.stored);
            }
            if let (Role::Part { seat, number, .. }, Some(saved)) = (&self.role, told.masks)
                && *number == n + 1
            {
                *self.masks.borrow_mut() = Some((seat.state(step, *number, "masks"), saved));
            }
            results.push(told.results);
        }
        Ok(results)
    }

    /// Does the own part of a step, and writes its results.
    fn do_part<P: Serialize>(
        &self,
        seat: &Seat,
        number: usize,
        step: Step,
        masks: Option<(&mut Masks, &Tasks<'_>, Changes)>,
        own: impl FnOnce(Option<&mut Masks>) -> Result<P, Error>,
    ) -> Result<(), Error> {
        let (results, masks) = match masks {
            None => (own(None)?, None),
            Some((masks, tasks, changes)) => {
                if let Some((path, saved)) = &*self.masks.borrow() {
                    masks.load(path, saved, tasks)?;
                }
                let results = own(Some(&mut *masks))?;
                let path = seat.state(step, number, "masks");
                let changed = changes == Changes::Masks;
                (results, changed.then(|| masks.save(&path)).transpose()?)
            }
        };
        let kept = [CODES].into_iter().filter(|what| seat.state(step, number, what).exists());
        let kept = kept.map(str::to_owned).collect();
        file::write(&seat.part(step, number), seat.place(step, number), &Told { results, masks, kept })
    }

    /// Checks that the parts of a step are there, before any is read. If none is, those of the step before
    /// are merged, now or before.
    fn merge_step(&self, seat: &Seat, step: Step) -> Result<(), Error> {
        let of = seat.origin.parts;
        let missing: Vec<usize> = (1..=of).filter(|n| !seat.part(step, *n).exists()).collect();
        match self.merged.get() {
            _ if missing.is_empty() => Ok(()),
            Some(merged) if missing.len() == of => {
                Err(Error::Phase(PhaseEnd::Merged { step: merged, next: step }))
            }
            _ => Err(PartsProblem::Missing { step, missing, of }.of(&seat.folder)),
        }
    }

    /// Where this part keeps something else than masks of the last step.
    pub fn state(&self, name: &'static str, what: &str) -> Option<PathBuf> {
        match &self.role {
            Role::Part { seat, number, .. } => Some(seat.state((name, self.step.get()), *number, what)),
            _ => None,
        }
    }

    /// Names the files that a part has written through this writer: its share of the groups.
    pub fn keep_files(
        &self,
        name: &'static str,
        writer: &CheckpointWriter<'_>,
        groups: &[Group],
    ) -> Result<Vec<PartWritten>, Error> {
        let Role::Part { seat, number, files } = &self.role else { return Ok(Vec::new()) };
        let pieces = writer.pieces(groups, seat.origin.parts, |group| seat.cut.part_of(group));
        Ok(files.keep((&Seat::prefix((name, self.step.get())), *number), &pieces[*number - 1])?)
    }

    /// A writer with what all parts have written: `begin` begins it, in this set. `None` in a process that
    /// does not write outputs. A file that is not what its part has written is an error, after which the
    /// part can be done again.
    pub fn assemble<'g>(
        &self,
        name: &'static str,
        set: &mut RunOutputs,
        groups: &[Group],
        written: &[&[PartWritten]],
        begin: impl FnOnce(&mut RunOutputs) -> Result<CheckpointWriter<'g>, Error>,
    ) -> Result<Option<CheckpointWriter<'g>>, Error> {
        let Role::Merge { seat, whole, .. } = &self.role else { return Ok(None) };
        if self.only_looks() {
            return Ok(None);
        }
        let prefix = Seat::prefix((name, self.step.get()));
        let all: Vec<(usize, &PartWritten, PathBuf)> = written
            .iter()
            .enumerate()
            .flat_map(|(part, files)| files.iter().map(move |file| (part, file)))
            .map(|(part, file)| (part, file, seat.folder.join(file.file_name(&prefix, part + 1))))
            .collect();
        let step = (name, self.step.get());
        let shard = |part: usize, path: &Path| {
            // What stands for it being done goes, so that it is done again.
            let _ = fs::remove_file(seat.at(step, "merged"));
            let _ = fs::remove_file(seat.part(step, part + 1));
            PartsProblem::Shard { part: part + 1 }.of(path)
        };
        all.par_iter().filter(|(_, file, _)| file.whole).try_for_each(|(part, file, path)| {
            let is_it = PartFiles::hash(path).is_ok_and(|sha256| sha256 == file.sha256);
            if is_it { Ok(()) } else { Err(shard(*part, path)) }
        })?;
        let whole_files = all.iter().filter(|(_, file, _)| file.whole);
        *whole.lock().unwrap_or_else(PoisonError::into_inner) =
            whole_files.map(|(_, file, path)| (file.name.clone(), path.clone())).collect();
        let writer = begin(set)?;
        let pieces = writer.pieces(groups, seat.origin.parts, |group| seat.cut.part_of(group));
        all.par_iter().filter(|(_, file, _)| !file.whole).try_for_each(|(part, file, path)| {
            let copied = writer.copy_part(&file.name, &pieces[*part], path);
            let is_it = copied.is_ok_and(|sha256| sha256.is_none_or(|sha256| sha256 == file.sha256));
            if is_it { Ok(()) } else { Err(shard(*part, path)) }
        })?;
        Ok(Some(writer))
    }

    /// Notes that the run is finished, and removes what the parts have written.
    pub fn finish(&self) -> Result<(), Error> {
        let Role::Merge { seat, .. } = &self.role else { return Ok(()) };
        seat.note(&seat.finished())?;
        for entry in fs::read_dir(&seat.folder).into_iter().flatten().flatten() {
            if entry.path() != seat.finished() {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Whether a run of the same config and inputs was finished, and its outputs are still there.
    pub fn is_finished(&self, resolved: &Resolved<'_>) -> bool {
        let Some(seat) = self.seat() else { return false };
        seat.is_noted(&seat.finished())
            && resolved.settings.outputs().all(|(_, path)| place::exists(&entry_path(path)))
    }
}

/// The folder in which the parts of a run exchange what they find, unless another is given: hidden,
/// beside the first output.
pub(super) fn folder_of_parts(resolved: &Resolved<'_>) -> PathBuf {
    let settings = resolved.settings;
    let checkpoints = settings.outputs().filter(|(kind, _)| kind.is_checkpoint()).last();
    let output = checkpoints.or_else(|| settings.outputs().next()).map(|(_, path)| path);
    let output = output.unwrap_or_else(|| settings.source.file());
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.cdi-prune-parts"))
}
