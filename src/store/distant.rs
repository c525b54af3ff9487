//! Outputs in an object store.
//!
//! Each is written to a temporary file without a name, because tensors are written in any order. As soon as
//! it is complete, it is sent in parts, which nobody sees, and the temporary file goes. The commit makes the
//! objects visible: shards first, what refers to them last. A store cannot replace several objects at once,
//! so an index that will be replaced, or that would hide a checkpoint in one file, is removed before:
//! meanwhile, nobody reads shards of two checkpoints together.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cdi_objects::{Before, Location, RANGE, Upload, put, remove};
use sha2::{Digest, Sha256};

use super::cleanup::hold;
use super::names::{self, index_path, is_index, is_shard};
use super::sink::{Appending, Draft, Sink};
use super::staged::open_expected;
use super::{check_name, read_exact_at, write_all_at};
use crate::checkpoint::{CheckpointError, ErrorKind, Identity};
use crate::digest;

/// Objects in stores. Nobody has the exclusive right to write one; where the store can compare, what another
/// run has written meanwhile is not replaced.
#[derive(Debug, Default)]
pub struct DistantSink {
    /// What was at the places of outputs that are not shards when this run began.
    before: BTreeMap<PathBuf, Before>,
}

fn location(path: &Path) -> Location {
    Location::of(path).expect("a path in a store")
}

impl DistantSink {
    /// Notes what is at this path now.
    fn look(&mut self, path: &Path) -> Result<(), CheckpointError> {
        if !self.before.contains_key(path) {
            let before = Before::now(&location(path)).map_err(CheckpointError::io(path, "look for"))?;
            self.before.insert(path.to_owned(), before);
        }
        Ok(())
    }

    fn draft(&mut self, path: &Path, state: State) -> Result<Box<dyn Draft>, CheckpointError> {
        check_name(path)?;
        if location(path).key.is_empty() {
            return Err(CheckpointError::new(path, ErrorKind::NoFile("a bucket")));
        }
        if !is_shard(path) {
            self.look(path)?;
        }
        Ok(Box::new(DistantDraft { path: path.to_owned(), state: Mutex::new(state) }))
    }

    /// A draft that is this file of this machine.
    pub fn take_over(
        &mut self,
        path: &Path,
        from: &Path,
        expected: (u64, &[u8]),
    ) -> Result<Box<dyn Draft>, CheckpointError> {
        let file = open_expected(from, expected)?;
        self.draft(path, State::Open(Arc::new(file)))
    }
}

impl Sink for DistantSink {
    fn claim(
        &mut self,
        _anchor: Option<&Path>,
        _outputs: &[&Path],
        _inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn begin(&mut self, output: &Path, _key: Option<&str>) -> Result<PathBuf, CheckpointError> {
        // Before anything is computed, so that a missing bucket or right is known at once.
        self.look(output)?;
        self.look(&index_path(output))?;
        Ok(output.to_owned())
    }

    fn create(&mut self, path: &Path, length: u64, _room: u64) -> Result<Box<dyn Draft>, CheckpointError> {
        self.draft(path, State::Empty { length, header: Vec::new() })
    }

    fn forms(&self, output: &Path) -> Vec<PathBuf> {
        names::forms(output)
    }

    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError> {
        let own = |draft: Box<dyn Draft>| {
            *(draft as Box<dyn Any>).downcast::<DistantDraft>().expect("drafts of this kind of sink")
        };
        let drafts: Vec<DistantDraft> = drafts.into_iter().map(own).collect();
        // All that can take long, or fail for want of rights, comes before anything is visible.
        drafts.iter().try_for_each(Draft::finish)?;
        // A signal that ends the process waits from here on.
        let _unfinished = hold();
        let (shards, others): (Vec<_>, Vec<_>) = drafts.into_iter().partition(|draft| is_shard(&draft.path));
        let replaced =
            others.iter().map(|draft| &draft.path).filter(|path| is_index(path) && !shards.is_empty());
        for index in replaced.chain(stale.iter().filter(|path| is_index(path))) {
            if self.before.get(index) != Some(&Before::Nothing) {
                remove(&location(index)).map_err(CheckpointError::io(index, "remove"))?;
                self.before.insert(index.clone(), Before::Nothing);
            }
        }
        for DistantDraft { path, state } in shards.into_iter().chain(others) {
            let before = self.before.get(&path).unwrap_or(&Before::Anything);
            state
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .publish(&location(&path), before)
                .map_err(CheckpointError::io(&path, "send"))?;
        }
        for path in stale.iter().filter(|path| !is_index(path)) {
            remove(&location(path)).map_err(CheckpointError::io(path, "remove"))?;
        }
        Ok(())
    }
}

/// Whether a draft is one of [`DistantSink`].
pub(super) fn is_of_store(draft: &dyn Draft) -> bool {
    (draft as &dyn Any).is::<DistantDraft>()
}

/// An object that is being written.
#[derive(Debug)]
struct DistantDraft {
    path: PathBuf,
    state: Mutex<State>,
}

/// How far it is.
#[derive(Debug)]
enum State {
    /// Nothing but its header was written. Of a thousand shards, most wait like this.
    Empty { length: u64, header: Vec<u8> },
    /// In a file.
    Open(Arc<File>),
    /// Small enough for one request.
    Small { bytes: Vec<u8>, sha256: String },
    /// Sent in parts.
    Sent { upload: Upload, size: u64, sha256: String },
}

/// An error of the temporary file, which is in another place than the path in messages.
fn of_temporary(error: io::Error) -> io::Error {
    let folder = std::env::temp_dir();
    let message = format!(
        "{error} (in {}, where outputs are kept until they are sent; choose another folder with TMPDIR)",
        folder.display()
    );
    io::Error::new(error.kind(), message)
}

impl State {
    /// The file, which is created now if there is none.
    fn file(&mut self) -> io::Result<Arc<File>> {
        match self {
            Self::Empty { length, header } => {
                let file = Arc::new(tempfile::tempfile().map_err(of_temporary)?);
                file.set_len(*length).map_err(of_temporary)?;
                write_all_at(&file, header, 0).map_err(of_temporary)?;
                *self = Self::Open(file.clone());
                Ok(file)
            }
            Self::Open(file) => Ok(file.clone()),
            Self::Small { .. } | Self::Sent { .. } => Err(io::Error::other("it was sent already")),
        }
    }

    /// Sends what was written, unless that is done.
    fn send(&mut self, to: &Location) -> io::Result<()> {
        if matches!(self, Self::Small { .. } | Self::Sent { .. }) {
            return Ok(());
        }
        let file = self.file()?;
        let size = file.metadata()?.len();
        let mut sha256 = Sha256::new();
        let mut read = |at: u64, bytes: &mut [u8]| {
            read_exact_at(&file, bytes, at).map_err(of_temporary)?;
            sha256.update(&*bytes);
            Ok(())
        };
        if size <= RANGE {
            let mut bytes = vec![0; size as usize];
            read(0, &mut bytes)?;
            *self = Self::Small { bytes, sha256: digest::hex(sha256) };
        } else {
            let upload = Upload::send(to, size, read)?;
            *self = Self::Sent { upload, size, sha256: digest::hex(sha256) };
        }
        Ok(())
    }

    /// Makes what was sent visible.
    fn publish(self, to: &Location, before: &Before) -> io::Result<()> {
        match self {
            Self::Small { bytes, .. } => put(to, bytes, before),
            Self::Sent { upload, .. } => {
                // Stores do not compare when parts become an object, so another run's work is seen up to
                // here.
                if *before != Before::Anything && Before::now(to)? != *before {
                    return Err(cdi_objects::replaced());
                }
                upload.complete()
            }
            Self::Empty { .. } | Self::Open(_) => unreachable!("everything was sent"),
        }
    }
}

impl DistantDraft {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft for DistantDraft {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> io::Result<u64> {
        match &*self.lock() {
            State::Empty { length, header } => Ok((*length).max(header.len() as u64)),
            State::Open(file) => Ok(file.metadata()?.len()),
            State::Small { bytes, .. } => Ok(bytes.len() as u64),
            State::Sent { size, .. } => Ok(*size),
        }
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.lock().file()?;
        read_exact_at(&file, bytes, offset).map_err(of_temporary)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if let State::Empty { header, .. } = &mut *state
            && offset == 0
            && header.is_empty()
        {
            *header = bytes.to_owned();
            return Ok(());
        }
        let file = state.file()?;
        drop(state);
        write_all_at(&file, bytes, offset).map_err(of_temporary)
    }

    /// Sends it, or keeps it in memory if it is small.
    fn finish(&self) -> Result<(), CheckpointError> {
        self.lock().send(&location(&self.path)).map_err(CheckpointError::io(&self.path, "send"))
    }

    fn stream(&self) -> Box<dyn Write + '_> {
        Box::new(Appending::to(self))
    }

    fn known_sha256(&self) -> Option<String> {
        match &*self.lock() {
            State::Small { sha256, .. } | State::Sent { sha256, .. } => Some(sha256.clone()),
            State::Empty { .. } | State::Open(_) => None,
        }
    }
}
