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

use crate::prelude::*;

/// The bytes of a whole file.
#[derive(Debug)]
pub struct Content(Inner);

#[derive(Debug)]
enum Inner {
    #[cfg(feature = "std")]
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
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

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            #[cfg(feature = "std")]
            Inner::Mapped(map) => map,
            Inner::Memory(bytes) => bytes,
        }
    }

    /// Whether the bytes are mapped.
    #[cfg(feature = "std")]
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self.0, Inner::Mapped(_))
    }

    /// Releases the memory of a range of bytes.
    #[cfg(all(unix, feature = "std"))]
    pub(super) fn release(&self, range: Range<usize>) {
        let Inner::Mapped(map) = &self.0 else { return };
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
