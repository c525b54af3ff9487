//! Temporary storage between passes, for the bitmasks of a whole checkpoint or for the
//! blocks of coded tensors.
//!
//! One bit per weight is a thirty-second of an F32 checkpoint. For a large one, this is too much for
//! memory, so the masks are kept in an unnamed temporary file next to the output. The system keeps it in
//! the page cache if it can.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::digest;
use crate::store::{create_parent, folder_of};

/// A temporary file. Any thread can read and write it at any position. It is deleted when dropped.
#[derive(Debug)]
pub struct Spool {
    file: File,
    folder: PathBuf,
}

impl Spool {
    /// A spool in the folder of this output.
    pub fn beside(output: &Path) -> Result<Self, CheckpointError> {
        create_parent(output)?;
        let folder = folder_of(output).to_owned();
        let file = tempfile::tempfile_in(&folder)
            .map_err(CheckpointError::io(&folder, "create a temporary file here"))?;
        Ok(Self { file, folder })
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
