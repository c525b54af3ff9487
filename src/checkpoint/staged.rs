//! One output on its way: written under a temporary name beside its destination, which nobody sees until it is renamed.
//!
//! The temporary file of `NAME` is called `.NAME.cdi-prune-tmp`, always, and is locked while its run lives. So a second run
//! on the same output is refused, and what a killed run left is found and used again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{CheckpointError, ErrorKind};
use super::paths::{create_parent, folder_of};
use super::unfinished::hold;

/// An output that is being written. Dropped before it got its name, it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    named: bool,
}

impl Staged {
    /// Begins an empty file that is to be called `path`. Its folder is made where it is missing; a symbolic link is
    /// written through.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] where another run has begun the same file; [`ErrorKind::Io`].
    pub fn create(path: &Path) -> Result<Self, CheckpointError> {
        let staged = Self::take_over(path)?;
        staged.empty()?;
        Ok(staged)
    }

    /// As [`Self::create`], with whatever a killed run has left in it.
    pub(super) fn take_over(path: &Path) -> Result<Self, CheckpointError> {
        create_parent(path)?;
        let path = through_link(path);
        if path.is_dir() {
            return Err(CheckpointError::io(&path, "write")(io::ErrorKind::IsADirectory.into()));
        }
        let temporary = beside(&path, TEMPORARY);
        let file = {
            let mut unfinished = hold();
            let file = lock(&temporary, &path)?;
            unfinished.insert(temporary.clone());
            file
        };
        let staged = Self { path, temporary, file, named: false };
        // A run that was killed between two steps may have left something.
        let _ = fs::remove_file(beside(&staged.path, OLD));
        Ok(staged)
    }

    /// Begins again.
    pub(super) fn empty(&self) -> Result<(), CheckpointError> {
        self.file.set_len(0).map_err(CheckpointError::io(&self.path, "create"))
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is now.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// To write into.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it has its name.
    pub(super) fn named(&self) -> bool {
        self.named
    }

    /// Waits until its bytes are safe.
    pub fn sync(&self) -> Result<(), CheckpointError> {
        self.file.sync_all().map_err(CheckpointError::io(&self.path, "finish"))
    }

    /// Gives it its name, in place of what was there.
    pub(super) fn rename(&mut self, unfinished: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)?;
        unfinished.remove(&self.temporary);
        self.named = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.named {
            let mut unfinished = hold();
            let _ = fs::remove_file(&self.temporary);
            unfinished.remove(&self.temporary);
        }
    }
}

/// Ending of the name of a file that is being written.
const TEMPORARY: &str = "cdi-prune-tmp";
/// Of what stood in its place, while it is being replaced.
pub(super) const OLD: &str = "cdi-prune-old";

/// `.NAME.ending`, beside `path`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Whether these are the temporary and the final name of one output.
pub(super) fn is_temporary_of(temporary: &Path, path: &Path) -> bool {
    temporary == beside(path, TEMPORARY)
}

/// Removes temporary files of dead runs from an output's folder: those whose names begin with `stem`, but those of the
/// files that are to be kept.
pub(super) fn sweep(path: &Path, stem: &str, keep: &[&str]) {
    let path = through_link(path);
    let (start, end) = (format!(".{stem}"), format!(".{TEMPORARY}"));
    for entry in fs::read_dir(folder_of(&path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| name.starts_with(&start) && name.ends_with(&end)) {
            continue;
        }
        let at = entry.path();
        if keep.iter().any(|keep| at == beside(&at.with_file_name(keep), TEMPORARY)) {
            continue;
        }
        // Whoever lives holds the lock.
        if let Ok(file) = File::open(&at)
            && file.try_lock().is_ok()
            && same_file(&file, &at)
        {
            let _ = fs::remove_file(&at);
        }
    }
}

/// Opens and locks a file that only one run may have, made where it is missing. `path` is the output that it is about.
pub(super) fn lock(at: &Path, path: &Path) -> Result<File, CheckpointError> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(at)
            .map_err(CheckpointError::io(path, "create"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::new(path, ErrorKind::InUse(holder(&file))));
            }
            // A file system without locks: the name alone has to do.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(CheckpointError::io(path, "lock")(error)),
        }
        // Another run may have renamed or removed it between opening and locking.
        if same_file(&file, at) {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

/// The process that holds the lock, where the system tells.
fn holder(file: &File) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = format!(":{}", file.metadata().ok()?.ino());
        // `1: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF`
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let line = locks.lines().find(|line| line.split_whitespace().any(|word| word.ends_with(&inode)))?;
        line.split_whitespace().nth(4)?.parse().ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}

/// A link is written through, not replaced, even one that leads to nothing yet. Any other path stays as its user wrote it.
pub fn through_link(path: &Path) -> PathBuf {
    let mut at = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        match fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return at,
        }
    }
    path.to_owned()
}
