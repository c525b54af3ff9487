//! The exclusive right of one run to write an output, and what an earlier run left there.

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

/// The locked journal of an output. Dropping it removes the journal and the temporary files. Files of a
/// killed run that can be resumed stay until another run begins.
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
    /// Whether the journal must outlive this run, because what it describes could not be completed.
    keep: bool,
    /// The notes of the run before.
    before: Notes,
}

impl Claim {
    /// Claims the output that this file belongs to. If a killed run was about to commit there, its commit is
    /// completed first, in all its folders.
    ///
    /// # Errors
    /// [`super::ErrorKind::InUse`] if another run has claimed it, [`super::ErrorKind::BadHelper`] if the
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

    /// Whether an earlier run left something to complete or discard.
    pub fn left_behind(path: &Path) -> bool {
        journal_of(path).symlink_metadata().is_ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Path of the journal.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// The run's id; set once it has begun.
    pub fn run(&self) -> String {
        self.state().run.clone()
    }

    /// Starts this run's notes. With a key, finished shards of a run with the same key can be reused.
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

    /// What a killed run with the same key noted about a shard.
    pub fn finished(&self, name: &str) -> Option<Shard> {
        self.state().before.shards.get(name).cloned()
    }

    /// Appends a line to the journal.
    pub fn note(&self, line: &Line) -> io::Result<()> {
        append(&self.state().file, line)
    }

    /// Waits until the notes are on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.state().file.sync_all()
    }

    /// Empties the journal, so that no later run acts on it.
    pub fn forget(&self) {
        let _ = self.state().file.set_len(0);
    }
}

impl State {
    /// The temporary files of finished shards beside `path`.
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

/// Claims by the path of their journal, for runs with several outputs.
#[derive(Debug, Default)]
pub(super) struct Claims {
    taken: BTreeMap<PathBuf, Arc<Claim>>,
    /// Files that must not be replaced when an unfinished run is completed.
    pub inputs: Inputs,
}

impl Claims {
    /// The claim of the output that a file belongs to. Claims it if necessary.
    pub fn of(&mut self, path: &Path) -> Result<Arc<Claim>, CheckpointError> {
        if let Some(claim) = self.taken.get(&journal_of(path)) {
            return Ok(claim.clone());
        }
        let claim = Arc::new(Claim::take(path, &self.inputs)?);
        self.add(&claim);
        Ok(claim)
    }

    /// Adds a claim.
    pub fn add(&mut self, claim: &Arc<Claim>) {
        self.taken.entry(claim.at().to_owned()).or_insert_with(|| claim.clone());
    }

    /// The claims of outputs that are being written.
    pub fn begun(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.taken.values().filter(|claim| claim.state().begun)
    }
}

/// Removes the temporary files of dead runs for the output of this journal, except those in `keep`. The
/// caller holds the claim, so every run that owns such files is dead.
fn sweep(journal: &Path, keep: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder_of(journal)).into_iter().flatten().flatten() {
        let at = journal.with_file_name(entry.file_name());
        if is_temporary_of(&entry.file_name(), journal) && !keep.contains(&at) {
            let _ = fs::remove_file(&at);
        }
    }
}

/// A random id. The system's random numbers come from the keys of the standard library's hasher.
fn new_run() -> String {
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(), half())
}
