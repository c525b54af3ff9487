//! Memory-mapped input: the only place of the checkpoint code with `unsafe` in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::error::CheckpointError;

/// A file mapped read-only.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps the file. An empty file, which cannot be mapped, is an empty slice.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::io(path, "open"))?;
        let metadata = file.metadata().map_err(CheckpointError::io(path, "open"))?;
        let map = if metadata.len() == 0 {
            None
        } else {
            // SAFETY: a mapping is sound as long as nobody shortens or rewrites the file while it lives. This tool
            // never writes into a file that it has mapped (outputs are new files, renamed when finished, and an output
            // that is also an input is refused). Other programs could: no library can rule that out on a shared
            // file system, and every reader of safetensors that maps files relies on the same.
            Some(unsafe { Mmap::map(&file) }.map_err(CheckpointError::io(path, "map"))?)
        };
        Ok(Self { path: path.to_owned(), map })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
