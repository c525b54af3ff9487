//! Where the files of a checkpoint come from.
//!
//! Headers and tensors are read from a [`Source`]. A file on disk is a source
//! ([`LocalFile`](super::LocalFile)), and so are bytes in memory ([`MemoryFile`]). Other sources are
//! possible, such as an object in a store.

use alloc::borrow::Cow;
use core::fmt;
#[cfg(feature = "std")]
use std::path::PathBuf;

use super::content::Content;
use super::error::CheckpointError;
use super::file_name::FileName;
use crate::prelude::*;

/// A file to read, with the length that it had when the source was created.
///
/// A source guarantees the same bytes at the same offset, however often they are read. If others may
/// change the file in the meantime, an implementation either detects this and returns an error, or
/// documents what happens.
///
/// ```
/// use cdi_core::checkpoint::{Checkpoint, MemoryFile, Source};
///
/// let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let values = [0.5f32, -1.0].map(f32::to_le_bytes).concat();
/// let file = [&(header.len() as u64).to_le_bytes()[..], header, &values].concat();
///
/// let source = MemoryFile::new("weights", file);
/// let mut last = [0; 4];
/// source.read_at(source.size() - 4, &mut last)?;
/// assert_eq!(f32::from_le_bytes(last), -1.0);
///
/// let checkpoint = Checkpoint::from_source(source, false)?;
/// assert_eq!(checkpoint.tensor("w").unwrap().bytes(), values);
/// # Ok::<(), cdi_core::checkpoint::CheckpointError>(())
/// ```
pub trait Source: fmt::Debug + Send + Sync {
    /// The name of the file in messages.
    fn name(&self) -> &FileName;

    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Fills `bytes` with the file's bytes from `offset` on. They must not extend beyond [`Self::size`].
    ///
    /// # Errors
    /// [`CheckpointError`] if reading fails.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError>;

    /// A value that is the same however the file is reached, and differs from that of every other file.
    /// `None` if the file has no path, so that no output can replace it.
    fn identity(&self) -> Option<Identity>;

    /// The whole content: mapped if that is possible and `mmap` allows it, otherwise read into memory. By
    /// default, it is read piece by piece with [`Self::read_at`].
    ///
    /// # Errors
    /// [`CheckpointError`] if mapping or reading fails.
    fn into_content(self: Box<Self>, mmap: bool) -> Result<Content, CheckpointError> {
        let _ = mmap;
        let mut bytes = vec![0; self.size() as usize];
        for (n, piece) in bytes.chunks_mut(PIECE).enumerate() {
            self.read_at((n * PIECE) as u64, piece)?;
        }
        Ok(bytes.into())
    }
}

/// Number of bytes that are read at once.
const PIECE: usize = 8 << 20;

/// Identifies a file, however it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Identity {
    /// Device and inode of an existing local file: the same through hard links and symbolic links.
    #[cfg(feature = "std")]
    Inode(u64, u64),
    /// The absolute local path, with links resolved in the part that exists, or the URL of
    /// an object in a store.
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
    /// A file with these bytes. Messages call it `name`.
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
