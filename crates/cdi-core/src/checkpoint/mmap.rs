//! Memory-mapped input, and input that is already in memory.
//!
//! Touched pages of a mapped file count as the program's memory until they are released. Code that reads a
//! large file releases the parts that it has finished ([`release`]), so memory use does not depend on the
//! size of the file.

use alloc::borrow::Cow;
use core::ops::Range;
#[cfg(feature = "std")]
use std::io::Read;
#[cfg(feature = "std")]
use std::path::Path;

#[cfg(feature = "std")]
use memmap2::Mmap;

#[cfg(feature = "std")]
use super::error::CheckpointError;
use super::file_name::FileName;
#[cfg(feature = "std")]
use super::mapped_ranges::{forget, note};
#[cfg(feature = "std")]
use super::options::OpenOptions;
use crate::prelude::*;
#[cfg(feature = "std")]
use crate::regular_file;

/// A file mapped read-only, or read into memory.
#[derive(Debug)]
pub struct MappedFile {
    name: FileName,
    content: Content,
    /// Where it is noted for a signal handler.
    #[cfg(feature = "std")]
    noted: Option<usize>,
}

#[derive(Debug)]
enum Content {
    #[cfg(feature = "std")]
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
}

impl MappedFile {
    /// Maps the file, or reads it into memory where the options say so. An empty file, which cannot be mapped,
    /// is an empty slice.
    ///
    /// # Errors
    /// [`super::ErrorKind::Io`]; for anything but a regular file too, as a pipe or a device has no end.
    #[cfg(feature = "std")]
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        let mut file = regular_file::open(path).map_err(CheckpointError::io(path, "open"))?;
        let content = if file.limit() == 0 || !options.mmap {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(CheckpointError::io(path, "read"))?;
            Content::Memory(bytes.into())
        } else {
            // SAFETY: a mapping is sound as long as nobody shortens or rewrites the file while it lives. This
            // tool never writes into a file that it has mapped (outputs are new files, renamed when finished,
            // and an output that is also an input is refused). Other programs could: no library can rule that
            // out on a shared file system, and every reader of safetensors that maps files relies on the
            // same. The program ends with a message where a file becomes shorter (SIGBUS), and has
            // `--no-mmap` for files that others write to.
            Content::Mapped(unsafe { Mmap::map(file.get_ref()) }.map_err(CheckpointError::io(path, "map"))?)
        };
        let noted = if let Content::Mapped(map) = &content { note(path, map) } else { None };
        Ok(Self { name: path.into(), content, noted })
    }

    /// A file that these bytes are, called `name` in messages.
    pub fn in_memory(name: impl Into<FileName>, bytes: Cow<'static, [u8]>) -> Self {
        Self {
            name: name.into(),
            content: Content::Memory(bytes),
            #[cfg(feature = "std")]
            noted: None,
        }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            #[cfg(feature = "std")]
            Content::Mapped(map) => map,
            Content::Memory(bytes) => bytes,
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// Where the file is.
    #[cfg(feature = "std")]
    pub fn path(&self) -> &Path {
        &self.name
    }

    #[cfg(all(unix, feature = "std"))]
    fn release(&self, range: Range<usize>) {
        let Content::Mapped(map) = &self.content else { return };
        // SAFETY: the mapping is of a file and read-only, so that a page given back holds the same bytes when
        // it is touched again. A refusal is no harm: the advice is about memory, not about content.
        let _ = unsafe {
            map.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                range.start,
                range.end - range.start,
            )
        };
    }

    #[cfg(not(all(unix, feature = "std")))]
    fn release(&self, _range: Range<usize>) {}
}

#[cfg(feature = "std")]
impl Drop for MappedFile {
    fn drop(&mut self) {
        self.noted.into_iter().for_each(forget);
    }
}

/// A part of a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a> {
    file: &'a MappedFile,
    start: usize,
    end: usize,
}

impl<'a> Mapped<'a> {
    /// These bytes of the file.
    ///
    /// # Panics
    /// If the file is shorter.
    pub(super) fn new(file: &'a MappedFile, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= file.bytes().len(), "a part beyond its file");
        Self { file, start: range.start, end: range.end }
    }

    /// The bytes: touching them is what reads them from the file.
    pub fn bytes(self) -> &'a [u8] {
        &self.file.bytes()[self.start..self.end]
    }

    /// A part of the part.
    ///
    /// # Panics
    /// If the part is shorter.
    pub fn part(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.end - self.start, "a part beyond its whole");
        Self::new(self.file, self.start + range.start..self.start + range.end)
    }

    /// Cut into parts of this many bytes, the last one perhaps shorter.
    pub fn chunks(self, bytes: usize) -> impl Iterator<Item = Self> {
        let len = self.end - self.start;
        (0..len).step_by(bytes).map(move |at| self.part(at..len.min(at + bytes)))
    }
}

/// Gives the memory of these parts back. They stay readable: touching them reads the file again.
pub fn release<'a>(parts: impl IntoIterator<Item = Mapped<'a>>) {
    /// A multiple of every page size. Neighbours share pages, so parts this close are given back together.
    const PAGES: usize = 1 << 16;
    let mut ranges: Vec<(&MappedFile, Range<usize>)> = parts
        .into_iter()
        .map(|part| {
            let end = part.end.next_multiple_of(PAGES).min(part.file.bytes().len());
            (part.file, part.start / PAGES * PAGES..end)
        })
        .collect();
    ranges.sort_unstable_by_key(|(file, range)| (core::ptr::from_ref(*file), range.start));
    let mut ranges = ranges.into_iter();
    let Some((mut file, mut range)) = ranges.next() else { return };
    for (next_file, next) in ranges {
        if core::ptr::eq(next_file, file) && next.start <= range.end {
            range.end = range.end.max(next.end);
        } else {
            file.release(core::mem::replace(&mut range, next));
            file = next_file;
        }
    }
    file.release(range);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_parts_read_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        let files = paths.map(|path| {
            std::fs::write(&path, &content).unwrap();
            MappedFile::open(&path, OpenOptions::default()).unwrap()
        });
        let parts: Vec<Mapped<'_>> = files
            .iter()
            .flat_map(|file| [0..10, 70_000..70_001, 300_000..1_000_000, 5..5].map(|r| Mapped::new(file, r)))
            .collect();
        for _ in 0..2 {
            assert!(parts[2].bytes() == &content[300_000..]);
            assert!(parts[5].part(0..1).bytes() == &content[70_000..70_001]);
            release(parts.iter().copied());
        }
        assert!(files.iter().all(|file| file.bytes() == content));
        release([]);
    }
}
