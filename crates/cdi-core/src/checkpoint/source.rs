//! Where the files of a checkpoint come from.
//!
//! Headers are parsed, and tensors are read, from what a [`Source`] gives. A file on a disk is one
//! ([`LocalFile`](super::LocalFile)), bytes in memory are another ([`MemoryFile`]); an object in a
//! store could be a third.

use alloc::borrow::Cow;
use core::fmt;
#[cfg(feature = "std")]
use std::path::PathBuf;

use super::content::Content;
use super::error::CheckpointError;
use super::file_name::FileName;
use crate::prelude::*;

/// A file to read, as long as it was when the source was made.
///
/// What it guarantees: the same bytes at the same offset, however often they are read. Where others may
/// change the file meanwhile, an implementation either notices and gives an error, or says in its own
/// documentation what happens.
pub trait Source: fmt::Debug + Send + Sync {
    /// What messages call it.
    fn name(&self) -> &FileName;

    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Fills `bytes` with those from `offset` on, all of them. They end at [`Self::size`] at the latest.
    ///
    /// # Errors
    /// [`CheckpointError`] of what refused.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError>;

    /// What this file has in common with any other way to it, and with no other file. `None` for what no path
    /// leads to: nothing that is written can take its place.
    fn identity(&self) -> Option<Identity>;

    /// The whole of it: mapped where that can be and `mmap` allows it, or in memory. Read piece by piece
    /// ([`Self::read_at`]) where an implementation has no better way.
    ///
    /// # Errors
    /// [`CheckpointError`] of what refused.
    fn into_content(self: Box<Self>, mmap: bool) -> Result<Content, CheckpointError> {
        let _ = mmap;
        let mut bytes = vec![0; self.size() as usize];
        for (n, piece) in bytes.chunks_mut(PIECE).enumerate() {
            self.read_at((n * PIECE) as u64, piece)?;
        }
        Ok(bytes.into())
    }
}

/// Bytes that are read at once.
const PIECE: usize = 8 << 20;

/// What tells a file from others, by whatever name it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Identity {
    /// An existing local file's device and inode: the same through hard links and symbolic links.
    #[cfg(feature = "std")]
    Inode(u64, u64),
    /// The absolute local path, links resolved as far as it exists.
    #[cfg(feature = "std")]
    Path(PathBuf),
}

/// A file whose bytes are in memory. They are not copied.
#[derive(Debug)]
pub struct MemoryFile {
    name: FileName,
    bytes: Cow<'static, [u8]>,
}

impl MemoryFile {
    /// The file that these bytes are, called `name` in messages.
    pub fn new(name: impl Into<FileName>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

impl Source for MemoryFile {
    fn name(&self) -> &FileName {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn identity(&self) -> Option<Identity> {
        None
    }

    fn into_content(self: Box<Self>, _mmap: bool) -> Result<Content, CheckpointError> {
        Ok(self.bytes.into())
    }
}
