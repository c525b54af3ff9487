//! Temporary files of this process, which are removed if a signal ends it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::names::JOURNAL;

static PATHS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Locks the set of temporary files. While the lock is held, [`abandon`] cannot end the process.
pub(super) fn hold() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PATHS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file or folder that is removed if the process ends before this value is dropped.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Registers a path.
    pub fn new(path: &Path) -> Self {
        hold().insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        hold().remove(&self.0);
    }
}

/// Removes every temporary file of this process, and takes its uploads back, just before it ends. From then
/// on no output gets its final name, and threads that would begin or commit an output block for ever. A
/// commit in progress is completed first.
pub fn abandon() {
    let paths = hold();
    // Journals last: with them, the next run finds what could not be removed.
    let (journals, others): (Vec<_>, Vec<_>) =
        paths.iter().partition(|path| path.as_os_str().as_encoded_bytes().ends_with(JOURNAL.as_bytes()));
    for path in others.into_iter().chain(journals) {
        if fs::remove_file(path).is_err() {
            let _ = fs::remove_dir_all(path);
        }
    }
    #[cfg(feature = "object-store")]
    cdi_objects::abandon();
    std::mem::forget(paths);
}
