//! Temporary files of this process: a signal that ends it has them removed first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::names::JOURNAL;

static PATHS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The temporary files. While this is held, no signal ends the process through [`abandon`].
pub(super) fn hold() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PATHS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file or folder that is to be removed if the process ends before this is dropped.
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

/// Removes every temporary file of this process, for a process that ends at once: from now on no output
/// gets its name, and whoever would begin or finish one waits for ever. Outputs that are just getting their
/// names get them all first.
pub fn abandon() {
    let paths = hold();
    // Journals last: by them the next run would find what could not be removed.
    let (journals, others): (Vec<_>, Vec<_>) =
        paths.iter().partition(|path| path.as_os_str().as_encoded_bytes().ends_with(JOURNAL.as_bytes()));
    for path in others.into_iter().chain(journals) {
        if fs::remove_file(path).is_err() {
            let _ = fs::remove_dir_all(path);
        }
    }
    std::mem::forget(paths);
}
