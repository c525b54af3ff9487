//! The right to write an output, which one run at a time has, and what the run before it has left there.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cleanup::hold;
use super::finish::{Inputs, finish};
use super::helper::{lock, same_file};
use super::journal::{Line, Notes, Shard, append, begin};
use super::names::{TEMPORARY, folder_of, helper, is_temporary_of, journal_of};
use super::paths::create_parent;
use crate::checkpoint::CheckpointError;

/// An output's journal, locked. Dropped, it is gone, and the temporary files with it; but what a killed run
/// has left to go on from stays until another begins.
#[derive(Debug)]
pub(super) struct Claim {
    at: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    run: String,
    begun: bool,
    /// Whether it must outlive this run: what it says could not be done.
    keep: bool,
    /// What the run before has noted.
    before: Notes,
}

impl Claim {
    /// Claims the output that this file belongs to. Whatever a killed run was about to finish there is
    /// finished first, in all its folders.
    ///
    /// # Errors
    /// [`super::ErrorKind::InUse`] where another run has it, [`super::ErrorKind::BadHelper`] where the
    /// journal is something else, [`super::ErrorKind::Io`].
    pub fn take(path: &Path, inputs: &Inputs) -> Result<Self, CheckpointError> {
        create_parent(path)?;
        Self::take_at(journal_of(path), path, inputs)
    }

    fn take_at(at: PathBuf, path: &Path, inputs: &Inputs) -> Result<Self, CheckpointError> {
        let (mut state, made) = {
            let mut unfinished = hold();
            let (file, made) = lock(&at, path)?;
            let before = Notes::read(&file).map_err(CheckpointError::io(&at, "read"))?;
            if before.shards.is_empty() && before.naming.is_none() && before.files.is_none() {
                unfinished.insert(at.clone());
            }
            (State { file, run: String::new(), begun: false, keep: true, before }, made)
        };
        if !made {
            let claim = |other: &Path| Self::take_at(other.to_owned(), other, inputs).map(drop);
            finish(&at, &state.file, &state.before, inputs, &claim)?;
            if state.before.naming.is_some() || state.before.files.is_some() {
                state.before = Notes::default();
            }
            sweep(&at, &state.resumable(path));
        }
        state.keep = false;
        Ok(Self { at, state: Mutex::new(state) })
    }

    /// Whether there is something to be finished or forgotten.
    pub fn left_behind(path: &Path) -> bool {
        journal_of(path).symlink_metadata().is_ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its journal is.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// The run's id, once it has begun.
    pub fn run(&self) -> String {
        self.state().run.clone()
    }

    /// Begins the run's own notes. With a key, shards that were finished under the same
    /// one can be taken over.
    pub fn begin(&self, key: Option<&str>) -> Result<(), CheckpointError> {
        let mut state = self.state();
        let io = |error| CheckpointError::io(&self.at, "write")(error);
        if state.begun && key.is_none() {
            return Ok(());
        }
        if !state.begun {
            let same = key == Some(state.before.key.as_str()) && !state.before.shards.is_empty();
            state.run = if same { state.before.run.clone() } else { new_run() };
            if !same && !state.before.shards.is_empty() {
                state.before.shards.clear();
                sweep(&self.at, &BTreeSet::new());
            }
            let mut unfinished = hold();
            unfinished.insert(self.at.clone());
            unfinished.extend(state.resumable(&self.at));
            drop(unfinished);
            state.begun = true;
            begin(&state.file, &state.run).map_err(io)?;
        }
        match key {
            Some(key) => append(&state.file, &Line::Key(key.to_owned())).map_err(io),
            None => Ok(()),
        }
    }

    /// What was noted about a shard by a killed run of the same key.
    pub fn finished(&self, name: &str) -> Option<Shard> {
        self.state().before.shards.get(name).cloned()
    }

    /// Notes something.
    pub fn note(&self, line: &Line) -> io::Result<()> {
        append(&self.state().file, line)
    }

    /// Waits until the notes are safe.
    pub fn sync(&self) -> io::Result<()> {
        self.state().file.sync_all()
    }

    /// Nothing of what is noted is to be done any more.
    pub fn forget(&self) {
        let _ = self.state().file.set_len(0);
    }
}

impl State {
    /// The temporary files of finished shards, beside `path`.
    fn resumable(&self, path: &Path) -> BTreeSet<PathBuf> {
        let Notes { run, shards, .. } = &self.before;
        shards.keys().map(|name| helper(&path.with_file_name(name), run, TEMPORARY)).collect()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let at = &self.at;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut unfinished = hold();
        let left = !state.begun && !state.before.shards.is_empty();
        if !state.keep && !left {
            if !state.before.shards.is_empty() {
                sweep(at, &BTreeSet::new());
            }
            if same_file(&state.file, at) {
                let _ = fs::remove_file(at);
            }
        }
        unfinished.remove(at);
        for temporary in state.resumable(at) {
            unfinished.remove(&temporary);
        }
    }
}

/// Claims by their journals, for outputs that are several files.
#[derive(Debug, Default)]
pub(super) struct Claims {
    taken: BTreeMap<PathBuf, Arc<Claim>>,
    /// What no unfinished run may have replaced.
    pub inputs: Inputs,
}

impl Claims {
    /// The claim of the output that a file belongs to.
    pub fn of(&mut self, path: &Path) -> Result<Arc<Claim>, CheckpointError> {
        if let Some(claim) = self.taken.get(&journal_of(path)) {
            return Ok(claim.clone());
        }
        let claim = Arc::new(Claim::take(path, &self.inputs)?);
        self.add(&claim);
        Ok(claim)
    }

    /// Has this one too.
    pub fn add(&mut self, claim: &Arc<Claim>) {
        self.taken.entry(claim.at().to_owned()).or_insert_with(|| claim.clone());
    }

    /// Those of outputs that are being written.
    pub fn begun(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.taken.values().filter(|claim| claim.state().begun)
    }
}

/// Removes temporary files of dead runs, of the output that has this journal, but those that are to be kept.
/// Whoever calls this has the claim, so no run lives that has any.
fn sweep(journal: &Path, keep: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder_of(journal)).into_iter().flatten().flatten() {
        let at = journal.with_file_name(entry.file_name());
        if is_temporary_of(&entry.file_name(), journal) && !keep.contains(&at) {
            let _ = fs::remove_file(&at);
        }
    }
}

/// A random id: the system's random numbers are the key of each hash.
fn new_run() -> String {
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(), half())
}
