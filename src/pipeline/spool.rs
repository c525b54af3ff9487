//! Bitmasks of a whole checkpoint on their way from the comparison to the encoder.
//!
//! A bit a weight is a thirty-second of an F32 checkpoint: too much to hold for a large one, so they go
//! through an unnamed temporary file beside the output, which the system keeps in its page cache when it can.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::digest;
use crate::store::{create_parent, folder_of};

/// A temporary file of bits, written and read at any position by any thread, gone when dropped.
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

    /// Writes bits at this byte.
    pub fn write(&self, at: u64, mask: &[u8]) -> Result<(), CheckpointError> {
        crate::store::write_all_at(&self.file, mask, at)
            .map_err(CheckpointError::io(&self.folder, "write a temporary file here"))
    }

    /// Reads bits from this byte on.
    pub fn read(&self, at: u64, mask: &mut [u8]) -> Result<(), CheckpointError> {
        crate::store::read_exact_at(&self.file, mask, at)
            .map_err(CheckpointError::io(&self.folder, "read a temporary file here"))
    }

    /// SHA-256 of all that was written.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        let mut file = &self.file;
        let read = file.rewind().and_then(|()| digest::of_reader(file));
        let (sha256, _) = read.map_err(CheckpointError::io(&self.folder, "read a temporary file here"))?;
        Ok(sha256)
    }
}
