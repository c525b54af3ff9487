//! Files that are read, and ranges of them.

use core::ops::Range;
#[cfg(feature = "std")]
use std::path::Path;

use super::content::Content;
use super::error::CheckpointError;
use super::file_name::FileName;
#[cfg(feature = "std")]
use super::mapped_ranges::{forget, note};
use super::source::{Identity, Source};
use super::unreadable::give_up;
use crate::prelude::*;

/// A file mapped read-only, or read into memory.
#[derive(Debug)]
pub struct MappedFile {
    name: FileName,
    identity: Option<Identity>,
    content: Content,
    /// Its slot in the table for signal handlers.
    #[cfg(feature = "std")]
    noted: Option<usize>,
}

impl MappedFile {
    /// Opens a whole file: mapped if that is possible and `mmap` allows it, otherwise read into memory.
    ///
    /// # Errors
    /// The errors of the source.
    pub fn open(source: Box<dyn Source>, mmap: bool) -> Result<Self, CheckpointError> {
        let (name, identity) = (source.name().clone(), source.identity());
        let content = source.into_content(mmap)?;
        #[cfg(feature = "std")]
        let noted = content.mapped().and_then(|bytes| note(&name, bytes));
        Ok(Self {
            name,
            identity,
            content,
            #[cfg(feature = "std")]
            noted,
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// A range of its bytes.
    ///
    /// # Errors
    /// [`super::ErrorKind::Io`] if they are in a store and cannot be read.
    ///
    /// # Panics
    /// If the file is shorter.
    pub fn part(&self, range: Range<usize>) -> Result<&[u8], CheckpointError> {
        self.content.part(range)
    }

    /// Begins to read this many bytes, if it is in a store.
    #[cfg(feature = "object-store")]
    pub(super) fn read_beginning(&self, bytes: usize) {
        self.content.read_ahead(0..self.len().min(bytes));
    }

    /// What a store calls this version of the file.
    #[cfg(feature = "std")]
    pub fn tag(&self) -> Option<&str> {
        self.content.tag()
    }

    /// The name of the file in messages.
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// The identity of the file; `None` if it has no path.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The path of the file.
    #[cfg(feature = "std")]
    pub fn path(&self) -> &Path {
        &self.name
    }
}

#[cfg(feature = "std")]
impl Drop for MappedFile {
    fn drop(&mut self) {
        self.noted.into_iter().for_each(forget);
    }
}

/// A range of a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a> {
    file: &'a MappedFile,
    start: usize,
    end: usize,
}

impl<'a> Mapped<'a> {
    /// This range of the file.
    ///
    /// # Panics
    /// If the file is shorter.
    pub(super) fn new(file: &'a MappedFile, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= file.len(), "a part beyond its file");
        Self { file, start: range.start, end: range.end }
    }

    /// The bytes. They are read from the file when they are touched, and from a store now. An error in that
    /// unwinds, see [`catch`](super::catch).
    pub fn bytes(self) -> &'a [u8] {
        self.file.part(self.start..self.end).unwrap_or_else(|error| give_up(error))
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether there are no bytes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes are in a store, so that reading ahead saves time.
    pub fn is_distant(self) -> bool {
        self.file.content.is_distant()
    }

    /// What a store calls this version of the file.
    #[cfg(feature = "std")]
    pub fn tag(self) -> Option<&'a str> {
        self.file.tag()
    }

    /// A part of this range. `range` is relative to its beginning.
    ///
    /// # Panics
    /// If this range is shorter.
    pub fn part(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.len(), "a part beyond its whole");
        Self::new(self.file, self.start + range.start..self.start + range.end)
    }

    /// Divides the range into parts of this many bytes. The last one may be shorter.
    pub fn chunks(self, bytes: usize) -> impl Iterator<Item = Self> {
        let len = self.len();
        (0..len).step_by(bytes).map(move |at| self.part(at..len.min(at + bytes)))
    }
}

/// Releases the memory of these parts. They can still be read: touching them reads the file again.
pub fn release<'a>(parts: impl IntoIterator<Item = Mapped<'a>>) {
    each_range(parts, |file, range| file.content.release(range));
}

/// Begins to read from stores what will be needed soon, neighbouring parts together. Does not wait.
pub fn read_ahead<'a>(parts: impl IntoIterator<Item = Mapped<'a>>) {
    each_range(parts.into_iter().filter(|part| part.is_distant()), |file, range| {
        file.content.read_ahead(range)
    });
}

/// Gives the ranges of files in which these parts are.
fn each_range<'a>(
    parts: impl IntoIterator<Item = Mapped<'a>>,
    mut each: impl FnMut(&'a MappedFile, Range<usize>),
) {
    /// A multiple of every page size. Neighbouring parts share pages, so parts this close together
    /// are taken together.
    const PAGES: usize = 1 << 16;
    let mut ranges: Vec<(&MappedFile, Range<usize>)> = parts
        .into_iter()
        .map(|part| {
            let end = part.end.next_multiple_of(PAGES).min(part.file.len());
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
            each(file, core::mem::replace(&mut range, next));
            file = next_file;
        }
    }
    each(file, range);
}

#[cfg(test)]
mod tests {
    use super::super::local::LocalFile;
    use super::*;

    #[test]
    fn released_parts_read_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        let files = paths.map(|path| {
            std::fs::write(&path, &content).unwrap();
            MappedFile::open(Box::new(LocalFile::open(&path).unwrap()), true).unwrap()
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
        assert!(files.iter().all(|file| file.part(0..file.len()).unwrap() == content));
        release([]);
    }
}
