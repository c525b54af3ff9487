//! A local output under its temporary name beside its destination. It is not visible until it is renamed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claim::Claim;
use super::cleanup::hold;
use super::helper;
use super::journal::{Line, Shard};
use super::names::{self, OLD, TEMPORARY};
use super::paths::{check_output, through_link};
use super::sink::{Draft, hash};
use super::{read_exact_at, write_all_at};
use crate::checkpoint::CheckpointError;

/// An output that is being written. Dropping it before it is renamed leaves nothing behind.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    named: bool,
    earlier: Earlier,
    claim: Arc<Claim>,
    /// Its SHA-256, once it is complete.
    sha256: Mutex<Option<String>>,
}

/// What happened to the old file at an output's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// There was no old file.
    None,
    /// It has been given a second name.
    Aside,
    /// It could not be given a second name.
    Replaced,
}

impl Staged {
    /// Creates an empty file that will be called `path`. Its output must be claimed and begun.
    /// Symbolic links are followed.
    pub(super) fn create(claim: Arc<Claim>, path: &Path) -> Result<Self, CheckpointError> {
        check_output(path)?;
        let path = through_link(path);
        if path.is_dir() {
            return Err(CheckpointError::io(&path, "write")(io::ErrorKind::IsADirectory.into()));
        }
        let temporary = names::helper(&path, &claim.run(), TEMPORARY);
        let file = {
            let mut unfinished = hold();
            let file = helper::create(&temporary).map_err(CheckpointError::io(&path, "create"))?;
            unfinished.insert(temporary.clone());
            file
        };
        Ok(Self::new(path, temporary, file, claim))
    }

    fn new(path: PathBuf, temporary: PathBuf, file: File, claim: Arc<Claim>) -> Self {
        let (earlier, sha256) = (Earlier::None, Mutex::default());
        Self { path, temporary, file, named: false, earlier, claim, sha256 }
    }

    /// What is known of its SHA-256.
    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.sha256.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a file that a killed run has finished, if it matches that run's note, has this size in
    /// bytes and begins with this header. The note is written again.
    pub(super) fn adopt(
        claim: Arc<Claim>,
        path: &Path,
        size: u64,
        header: &[u8],
    ) -> Result<Option<Self>, CheckpointError> {
        let shard = claim.finished(&name(path)).filter(|shard| shard.size == size);
        let Some(shard) = shard else { return Ok(None) };
        let Some(staged) = Self::left(claim, path, size) else { return Ok(None) };
        let mut found = vec![0; header.len()];
        let read = read_exact_at(&staged.file, &mut found, 0).and_then(|()| hash(&staged));
        if read.map_err(CheckpointError::io(path, "read back"))? != (shard.sha256.clone(), shard.size)
            || found != header
        {
            return Ok(None);
        }
        *staged.known() = Some(shard.sha256.clone());
        staged.claim.note(&Line::Shard(shard)).map_err(CheckpointError::io(path, "finish"))?;
        Ok(Some(staged))
    }

    /// Takes over a finished file: as a second name of it if that can be, otherwise as a copy.
    pub(super) fn take_over(
        claim: Arc<Claim>,
        path: &Path,
        from: &Path,
        expected: (u64, &[u8]),
    ) -> Result<Self, CheckpointError> {
        let file = open_expected(from, expected)?;
        check_output(path)?;
        let path = through_link(path);
        let temporary = names::helper(&path, &claim.run(), TEMPORARY);
        let mut unfinished = hold();
        // A file that was taken over before has two names already, one of which may be the output's; to give
        // a file a name that it has does nothing.
        let linked = !has_other_names(&file) && fs::hard_link(from, &temporary).is_ok();
        unfinished.insert(temporary.clone());
        if !linked {
            fs::copy(from, &temporary).map_err(CheckpointError::io(&path, "create"))?;
        }
        let file = File::options().read(true).write(true).open(&temporary);
        let file = file.map_err(CheckpointError::io(&path, "create"))?;
        drop(unfinished);
        Ok(Self::new(path, temporary, file, claim))
    }

    /// What a killed run left under the temporary name, if it has this size in bytes.
    fn left(claim: Arc<Claim>, path: &Path, size: u64) -> Option<Self> {
        let path = path.to_owned();
        let temporary = names::helper(&path, &claim.run(), TEMPORARY);
        let mut unfinished = hold();
        let file = helper::open(&temporary, size).ok()?.ok()?;
        if file.metadata().ok()?.len() != size {
            return None;
        }
        unfinished.insert(temporary.clone());
        drop(unfinished);
        Some(Self::new(path, temporary, file, claim))
    }

    /// Sets the final length in bytes.
    pub(super) fn set_length(&self, length: u64) -> Result<(), CheckpointError> {
        self.file.set_len(length).map_err(CheckpointError::io(&self.path, "create"))
    }

    /// The claim of its output.
    pub(super) fn claim(&self) -> &Arc<Claim> {
        &self.claim
    }

    /// Waits until its bytes are on disk.
    pub(super) fn sync(&self) -> Result<(), CheckpointError> {
        self.file.sync_all().map_err(CheckpointError::io(&self.path, "finish"))
    }

    fn old(&self) -> PathBuf {
        names::helper(&self.path, &self.claim.run(), OLD)
    }

    /// Gives the old file a second name, so that the output is never missing.
    pub(super) fn put_aside(&mut self) {
        self.earlier = put_aside(&self.path, &self.old());
    }

    /// Renames it to its final name, replacing what was there.
    pub(super) fn rename(&mut self, unfinished: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        // Something else may have been put there while this file was written.
        check_output(&self.path).map_err(io::Error::other)?;
        fs::rename(&self.temporary, &self.path)?;
        unfinished.remove(&self.temporary);
        self.named = true;
        Ok(())
    }

    /// Undoes the rename: takes the final name away and puts the old file back. Returns whether that
    /// was possible. The new file gets its temporary name back before it loses its final name, so that all
    /// files in the journal exist if the process is killed in between.
    pub(super) fn put_back(&mut self, unfinished: &mut BTreeSet<PathBuf>) -> bool {
        let done = match (self.named, self.earlier) {
            (false, _) => {
                let _ = fs::remove_file(self.old());
                return true;
            }
            (true, Earlier::Replaced) => false,
            (true, Earlier::None) => fs::rename(&self.path, &self.temporary).is_ok(),
            (true, Earlier::Aside) => {
                let _ = fs::hard_link(&self.path, &self.temporary);
                fs::rename(self.old(), &self.path).is_ok()
            }
        };
        if done {
            unfinished.insert(self.temporary.clone());
            self.named = false;
        }
        done
    }

    /// Removes the second name of the old file, which is no longer needed.
    pub(super) fn forget_old(&self) {
        if self.earlier == Earlier::Aside {
            let _ = fs::remove_file(self.old());
        }
    }
}

/// Whether a file has several names, as far as the system tells.
fn has_other_names(file: &File) -> bool {
    #[cfg(unix)]
    let several = {
        use std::os::unix::fs::MetadataExt;
        file.metadata().is_ok_and(|metadata| metadata.nlink() > 1)
    };
    #[cfg(not(unix))]
    let several = true;
    several
}

/// Gives a file a second name.
pub(super) fn put_aside(path: &Path, old: &Path) -> Earlier {
    match fs::hard_link(path, old) {
        Ok(()) => Earlier::Aside,
        Err(_) if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) => {
            Earlier::None
        }
        Err(_) => Earlier::Replaced,
    }
}

impl Draft for Staged {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, bytes, offset)
    }

    fn known_sha256(&self) -> Option<String> {
        self.known().clone()
    }

    fn finish(&self) -> Result<(), CheckpointError> {
        self.sync()?;
        let noted = hash(self).and_then(|(sha256, size)| {
            *self.known() = Some(sha256.clone());
            self.claim.note(&Line::Shard(Shard { name: name(&self.path), size, sha256 }))?;
            self.claim.sync()
        });
        noted.map_err(CheckpointError::io(&self.path, "finish"))
    }

    fn stream(&self) -> Box<dyn Write + '_> {
        Box::new(&self.file)
    }
}

/// Opens a file to take over, which must have this size in bytes and begin with this header.
pub(super) fn open_expected(from: &Path, (size, header): (u64, &[u8])) -> Result<File, CheckpointError> {
    let open = || {
        let file = File::open(from)?;
        let mut found = vec![0; header.len()];
        read_exact_at(&file, &mut found, 0)?;
        if found != header || file.metadata()?.len() != size {
            return Err(io::Error::other("it is not the file that was expected"));
        }
        Ok(file)
    };
    open().map_err(CheckpointError::io(from, "take over"))
}

/// The name of a shard in the journal.
fn name(shard: &Path) -> String {
    shard.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
