//! Temporary storage between passes, for the bitmasks of a whole checkpoint or for the
//! blocks of coded tensors.
//!
//! One bit per weight is a thirty-second of an F32 checkpoint. For a large one, this is too much for
//! memory, so the masks are kept in an unnamed temporary file next to the output. The system keeps it in
//! the page cache if it can. A part of a run keeps what it needs later in a file with a name.
//!
//! The first bytes stay in memory: tensors of a few weights would take longer to write and to read, one call
//! of the system for each, than to prune.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, TempPath};

use crate::checkpoint::CheckpointError;
use crate::digest;
use crate::place;
use crate::store::{create_parent, folder_of};

/// Bytes that stay in memory, in segments that threads need not wait for if they write elsewhere.
const FRONT: u64 = 8 << 20;
const SEGMENT: u64 = 1 << 16;

/// A temporary file. Any thread can read and write it at any position. It is deleted when dropped, unless it
/// was kept.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// The beginning of the content, in segments up to their last byte that was written. Empty if all
    /// of it is in the file.
    front: Vec<Mutex<Vec<u8>>>,
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
        Ok(Self { file, front: front(), folder, name: None })
    }

    /// A spool in this folder, which can be kept.
    pub fn within(folder: &Path) -> Result<Self, CheckpointError> {
        let file = NamedTempFile::new_in(folder)
            .map_err(CheckpointError::io(folder, "create a temporary file here"))?;
        let (file, name) = file.into_parts();
        Ok(Self { file, front: front(), folder: folder.to_owned(), name: Some(name) })
    }

    /// One that was kept, to be read only.
    pub fn kept(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::io(path, "open"))?;
        Ok(Self { file, front: Vec::new(), folder: folder_of(path).to_owned(), name: None })
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
        const PIECE: u64 = 1 << 20;
        let mut piece = Vec::new();
        let end = other.end()?;
        for at in (0..end).step_by(PIECE as usize) {
            piece.resize(PIECE.min(end - at) as usize, 0);
            other.read(at, &mut piece)?;
            self.write(at, &piece)?;
        }
        Ok(())
    }

    /// Writes bytes at this position.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        let mut rest = bytes;
        self.each_segment(at, bytes.len(), |mut segment, start, len| {
            let (now, later) = rest.split_at(len);
            if segment.len() < start + len {
                segment.resize(start + len, 0);
            }
            segment[start..start + len].copy_from_slice(now);
            rest = later;
        });
        self.write_file(at + (bytes.len() - rest.len()) as u64, rest)
    }

    /// Reads bytes from this position, all of which were written.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        let mut read = 0;
        self.each_segment(at, bytes.len(), |segment, start, len| {
            // What was not written before something that was is zero, as in a file.
            let out = &mut bytes[read..read + len];
            let there = segment.get(start..).unwrap_or_default();
            let there = &there[..there.len().min(len)];
            out[..there.len()].copy_from_slice(there);
            out[there.len()..].fill(0);
            read += len;
        });
        if read == bytes.len() {
            return Ok(());
        }
        crate::store::read_exact_at(&self.file, &mut bytes[read..], at + read as u64)
            .map_err(CheckpointError::io(&self.folder, "read a temporary file here"))
    }

    /// SHA-256 of everything written.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        // The file gets what is in memory. It stays there too.
        for (n, segment) in self.front.iter().enumerate() {
            self.write_file(n as u64 * SEGMENT, &lock(segment))?;
        }
        let mut file = &self.file;
        let read = file.rewind().and_then(|()| digest::of_reader(file));
        let (sha256, _) = read.map_err(CheckpointError::io(&self.folder, "read a temporary file here"))?;
        Ok(sha256)
    }

    /// Calls `each` with the segments in memory that these bytes lie in: where they begin there, and how many
    /// they are.
    fn each_segment(&self, at: u64, len: usize, mut each: impl FnMut(MutexGuard<'_, Vec<u8>>, usize, usize)) {
        let (mut at, end) = (at, at + len as u64);
        while at < end
            && let Some(segment) = self.front.get((at / SEGMENT) as usize)
        {
            let start = at % SEGMENT;
            let len = (SEGMENT - start).min(end - at);
            each(lock(segment), start as usize, len as usize);
            at += len;
        }
    }

    fn write_file(&self, at: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        if bytes.is_empty() {
            return Ok(());
        }
        crate::store::write_all_at(&self.file, bytes, at)
            .map_err(CheckpointError::io(&self.folder, "write a temporary file here"))
    }

    /// Where the content ends.
    fn end(&self) -> Result<u64, CheckpointError> {
        let read = CheckpointError::io(&self.folder, "read a temporary file here");
        let of_file = self.file.metadata().map_err(read)?.len();
        let ends = self.front.iter().enumerate().map(|(n, segment)| match lock(segment).len() as u64 {
            0 => 0,
            len => n as u64 * SEGMENT + len,
        });
        Ok(ends.fold(of_file, u64::max))
    }
}

/// Segments in which nothing is written.
fn front() -> Vec<Mutex<Vec<u8>>> {
    (0..FRONT / SEGMENT).map(|_| Mutex::default()).collect()
}

fn lock(segment: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    segment.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from one position to the next.
    fn content(at: u64, len: usize) -> Vec<u8> {
        (at..at + len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect()
    }

    #[test]
    fn what_is_written_in_memory_and_behind_it_is_read_digested_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::within(folder.path()).unwrap();
        let len = (FRONT + 3 * SEGMENT / 2) as usize;
        // Backwards, in pieces that begin and end anywhere, some of them across the ends of segments and of
        // what is in memory.
        let starts: Vec<usize> = (0..len).step_by(100_003).collect();
        for start in starts.iter().rev() {
            let piece = content(*start as u64, 100_003.min(len - start));
            spool.write(*start as u64, &piece).unwrap();
        }
        let expected = content(0, len);
        let read = |spool: &Spool| {
            let mut all = vec![1; len];
            for (n, part) in all.chunks_mut(70_001).enumerate() {
                spool.read(70_001 * n as u64, part).unwrap();
            }
            all
        };
        assert!(read(&spool) == expected);
        let path = folder.path().join("kept");
        let sha256 = spool.keep(&path).unwrap();
        assert_eq!(sha256, digest::of_reader(&expected[..]).unwrap().0);
        assert!(std::fs::read(&path).unwrap() == expected);
        // It can still be read, and so can the file, which another takes over.
        assert!(read(&spool) == expected);
        let kept = Spool::kept(&path).unwrap();
        assert!(read(&kept) == expected);
        let copy = Spool::within(folder.path()).unwrap();
        copy.copy_from(&kept).unwrap();
        assert!(read(&copy) == expected);
        assert_eq!(copy.digest().unwrap(), sha256);
    }

    #[test]
    fn small_content_is_never_written_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::within(folder.path()).unwrap();
        spool.write(5, b"abc").unwrap();
        spool.write(SEGMENT - 1, b"xy").unwrap();
        assert_eq!(spool.file.metadata().unwrap().len(), 0);
        let mut read = [9; 10];
        spool.read(0, &mut read).unwrap();
        assert_eq!(&read, b"\0\0\0\0\0abc\0\0");
        assert_eq!(spool.end().unwrap(), SEGMENT + 1);
    }
}
