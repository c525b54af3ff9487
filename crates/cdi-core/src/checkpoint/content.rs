//! The bytes of a file: mapped, or in memory.
//!
//! Pages of a mapped file that were touched count as the program's memory until they are released. Code that
//! reads a large file releases the parts that it has finished ([`super::release`]), so memory use does not
//! depend on the size of the file.

use alloc::borrow::Cow;
use core::ops::Range;
#[cfg(feature = "std")]
use std::fs::File;
#[cfg(feature = "std")]
use std::io;

#[cfg(feature = "std")]
use memmap2::Mmap;

#[cfg(feature = "object-store")]
use super::distant::Distant;
use super::error::CheckpointError;
use super::unreadable::give_up;
use crate::prelude::*;

/// The bytes of a whole file.
#[derive(Debug)]
pub struct Content(Inner);

#[derive(Debug)]
enum Inner {
    #[cfg(feature = "std")]
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
    /// An object in a store, as far as it was read.
    #[cfg(feature = "object-store")]
    Distant(Distant),
}

impl From<Cow<'static, [u8]>> for Content {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        Self(Inner::Memory(bytes))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Inner::Memory(bytes.into()))
    }
}

#[cfg(feature = "object-store")]
impl From<Distant> for Content {
    fn from(distant: Distant) -> Self {
        Self(Inner::Distant(distant))
    }
}

impl Content {
    /// Maps a file, which must not be empty.
    #[cfg(feature = "std")]
    pub(super) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a mapping is sound as long as nobody shortens or rewrites the file while it lives. This
        // tool never writes to a file that it has mapped: outputs are new files, renamed when finished, and
        // an output that is also an input is refused. Other programs could write to it. No library can
        // prevent that on a shared file system, and every safetensors reader that maps files relies on the
        // same. If a file becomes shorter (SIGBUS), the program ends with a message. It has `--no-mmap` for
        // files to which others write.
        unsafe { Mmap::map(file) }.map(|map| Self(Inner::Mapped(map)))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            #[cfg(feature = "std")]
            Inner::Mapped(map) => map.len(),
            Inner::Memory(bytes) => bytes.len(),
            #[cfg(feature = "object-store")]
            Inner::Distant(distant) => distant.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A range of the bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](super::ErrorKind::Io) if they are in a store and cannot be read.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub fn part(&self, range: Range<usize>) -> Result<&[u8], CheckpointError> {
        match &self.0 {
            #[cfg(feature = "std")]
            Inner::Mapped(map) => Ok(&map[range]),
            Inner::Memory(bytes) => Ok(&bytes[range]),
            #[cfg(feature = "object-store")]
            Inner::Distant(distant) => distant.part(range),
        }
    }

    /// All bytes. Those in a store are read now; an error in that unwinds, see [`catch`](super::catch).
    pub fn bytes(&self) -> &[u8] {
        self.part(0..self.len()).unwrap_or_else(|error| give_up(error))
    }

    /// Whether the bytes are in a store.
    pub(super) fn is_distant(&self) -> bool {
        #[cfg(feature = "object-store")]
        if let Inner::Distant(_) = &self.0 {
            return true;
        }
        false
    }

    /// Begins to read a range that will be needed soon, if the bytes are in a store.
    pub(super) fn read_ahead(&self, range: Range<usize>) {
        #[cfg(feature = "object-store")]
        if let Inner::Distant(distant) = &self.0 {
            return distant.read_ahead(range);
        }
        let _ = range;
    }

    /// What a store calls this version of the bytes.
    #[cfg(feature = "std")]
    pub(super) fn tag(&self) -> Option<&str> {
        #[cfg(feature = "object-store")]
        if let Inner::Distant(distant) = &self.0 {
            return distant.tag();
        }
        None
    }

    /// The bytes, if they are those of a mapped file.
    #[cfg(feature = "std")]
    pub(super) fn mapped(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Mapped(map) => Some(map),
            _ => None,
        }
    }

    /// Releases the memory of a range of bytes.
    #[cfg(all(unix, feature = "std"))]
    pub(super) fn release(&self, range: Range<usize>) {
        let map = match &self.0 {
            Inner::Mapped(map) => map,
            #[cfg(feature = "object-store")]
            Inner::Distant(distant) => match distant.map() {
                Some(map) => map,
                None => return,
            },
            Inner::Memory(_) => return,
        };
        // SAFETY: the mapping is read-only and backed by a file, so a released page has the same bytes when
        // it is touched again. A failure is harmless: the advice concerns memory, not content.
        let _ = unsafe {
            map.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                range.start,
                range.end - range.start,
            )
        };
    }

    #[cfg(not(all(unix, feature = "std")))]
    pub(super) fn release(&self, _range: Range<usize>) {}
}
