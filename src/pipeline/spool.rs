//! Temporary storage between passes, for the bitmasks of a whole checkpoint or for the
//! blocks of coded tensors.
//!
//! One bit per weight is a thirty-second of an F32 checkpoint. For a large one, this is too much for
//! memory, so the masks are kept in an unnamed temporary file next to the output. The system keeps it in
//! the page cache if it can. A part of a run keeps what it needs later in a file with a name.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::checkpoint::CheckpointError;
use crate::digest;
use crate::place;
use crate::store::{create_parent, folder_of};

/// A temporary file. Any thread can read and write it at any position. It is deleted when dropped, unless it
/// was kept.
#[derive(Debug)]
pub struct Spool {
    file: File,
    folder: PathBuf,
    /// Its temporary name, if it can be kept.
    name: Option<TempPath>,
}

impl Spool {
    /// A spool in the folder of this output.
    pub fn beside(output: &Path) -> Result<Self, CheckpointError> {
        create_parent(output)?;
        // That of temporary files, if the output is in a store.
        let distant = place::is_distant(output).then(std::env::temp_dir);
        let folder = distant.unwrap_or_else(|| folder_of(output).to_owned());
        let file = tempfile::tempfile_in(&folder)
            .map_err(CheckpointError::io(&folder, "create a temporary file here"))?;
        Ok(Self { file, folder, name: None })
    }

    /// A spool in this folder, which can be kept.
    pub fn within(folder: &Path) -> Result<Self, CheckpointError> {
        let file = NamedTempFile::new_in(folder)
            .map_err(CheckpointError::io(folder, "create a temporary file here"))?;
        let (file, name) = file.into_parts();
        Ok(Self { file, folder: folder.to_owned(), name: Some(name) })
    }

    /// One that was kept, to be read only.
    pub fn kept(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::io(path, "open"))?;
        Ok(Self { file, folder: folder_of(path).to_owned(), name: None })
    }

    /// Gives it this name for good, once it is safe on disk. It can still be read. Returns the SHA-256 of
    /// its content.
    ///
    /// # Panics
    /// If it was not created by [`Self::within`], or was kept before.
    pub fn keep(&mut self, path: &Path) -> Result<String, CheckpointError> {
        let sha256 = self.digest()?;
        self.file.sync_all().map_err(CheckpointError::io(path, "write"))?;
        let name = self.name.take().expect("a spool with a name");
        name.persist(path).map_err(|error| CheckpointError::io(path, "write")(error.error))?;
        Ok(sha256)
    }

    /// Writes all of another spool's content over its own beginning.
    pub fn copy_from(&self, other: &Self) -> Result<(), CheckpointError> {
        let mut from = &other.file;
        let mut to = &self.file;
        let copied = from.rewind().and_then(|()| to.rewind()).and_then(|()| io::copy(&mut from, &mut to));
        copied.map(drop).map_err(CheckpointError::io(&self.folder, "copy a temporary file here"))
    }

    /// Writes bytes at this position.
    pub fn write(&self, at: u64, mask: &[u8]) -> Result<(), CheckpointError> {
        crate::store::write_all_at(&self.file, mask, at)
            .map_err(CheckpointError::io(&self.folder, "write a temporary file here"))
    }

    /// Reads bytes from this position.
    pub fn read(&self, at: u64, mask: &mut [u8]) -> Result<(), CheckpointError> {
        crate::store::read_exact_at(&self.file, mask, at)
            .map_err(CheckpointError::io(&self.folder, "read a temporary file here"))
    }

    /// SHA-256 of everything written.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        let mut file = &self.file;
        let read = file.rewind().and_then(|()| digest::of_reader(file));
        let (sha256, _) = read.map_err(CheckpointError::io(&self.folder, "read a temporary file here"))?;
        Ok(sha256)
    }
}
