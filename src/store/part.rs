//! Outputs that several processes write: the files of each part, and the sink of the process that puts
//! them together.
//!
//! A part writes into files of its own. Where all tensors of a file are its own, it writes the whole file,
//! which is later taken over as it is. Of other files it writes its ranges at their final positions, into a
//! sparse file from which they are copied.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::destination::Destination;
use super::sink::{Draft, Sink};
use super::{read_exact_at, write_all_at};
use crate::checkpoint::{CheckpointError, Identity};
use crate::digest;

/// Bytes that are copied or hashed at once.
const PIECE: usize = 1 << 20;

/// What a part writes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Whether it is everything but the header.
    pub whole: bool,
    /// The bytes, in order and apart from each other.
    pub ranges: Vec<Range<u64>>,
}

/// A file that a part has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartWritten {
    /// The name of the output file.
    pub name: String,
    /// Whether this is the whole file; otherwise only the part's ranges of it.
    pub whole: bool,
    /// SHA-256 of the file, or of the ranges in their order.
    pub sha256: String,
}

impl PartWritten {
    /// The name of the file in the folder of the parts: `prefix` tells what step wrote it, and `part` is the
    /// number of the part, from 1.
    pub fn file_name(&self, prefix: &str, part: usize) -> String {
        let whole = format!("{prefix}.{}", self.name);
        if self.whole { whole } else { format!("{whole}.part-{part:05}") }
    }
}

/// The files of one part, in a folder. Clones share them.
#[derive(Clone, Debug)]
pub struct PartFiles {
    folder: PathBuf,
    files: Arc<Mutex<Vec<Arc<PartFile>>>>,
}

impl PartFiles {
    /// In this folder, which exists.
    pub fn within(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: Arc::default() }
    }

    /// SHA-256 of a file that [`Self::keep`] has named.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn hash(path: &Path) -> io::Result<String> {
        digest::of_reader(std::fs::File::open(path)?).map(|(sha256, _)| sha256)
    }

    /// A sink that writes them.
    pub fn sink(&self) -> PartSink {
        PartSink { files: self.clone() }
    }

    /// Gives the files that were written their names ([`PartWritten::file_name`]), once they are safe on
    /// disk. `pieces` says what was written of each, in the order in which they were created.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn keep(
        &self,
        (prefix, part): (&str, usize),
        pieces: &[Pieces],
    ) -> Result<Vec<PartWritten>, CheckpointError> {
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        let kept =
            |(file, pieces): (&Arc<PartFile>, &Pieces)| file.keep(&self.folder, (prefix, part), pieces);
        let all: Vec<(&Arc<PartFile>, &Pieces)> = files.iter().zip(pieces).collect();
        let kept: Vec<Option<PartWritten>> = all.into_par_iter().map(kept).collect::<Result<_, _>>()?;
        Ok(kept.into_iter().flatten().collect())
    }
}

/// The sink of a part. It claims nothing, and commits nothing: the process that puts the parts together does.
#[derive(Debug)]
pub struct PartSink {
    files: PartFiles,
}

impl Sink for PartSink {
    fn claim(
        &mut self,
        _anchor: Option<&Path>,
        _outputs: &[&Path],
        _inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn begin(&mut self, output: &Path, _key: Option<&str>) -> Result<PathBuf, CheckpointError> {
        Ok(output.to_owned())
    }

    fn create(&mut self, path: &Path, length: u64, _room: u64) -> Result<Box<dyn Draft>, CheckpointError> {
        let file = Arc::new(PartFile {
            path: path.to_owned(),
            folder: self.files.folder.clone(),
            length,
            header: OnceLock::new(),
            file: OnceLock::new(),
        });
        self.files.files.lock().unwrap_or_else(PoisonError::into_inner).push(file.clone());
        Ok(Box::new(PartDraft(file)))
    }

    fn forms(&self, _output: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    fn commit(&mut self, _drafts: Vec<Box<dyn Draft>>, _stale: Vec<PathBuf>) -> Result<(), CheckpointError> {
        Ok(())
    }
}

/// A file of a part. It is created on disk when its first tensor is written.
#[derive(Debug)]
struct PartFile {
    path: PathBuf,
    folder: PathBuf,
    length: u64,
    header: OnceLock<Vec<u8>>,
    file: OnceLock<io::Result<NamedTempFile>>,
}

impl PartFile {
    fn file(&self) -> io::Result<&NamedTempFile> {
        let create = || {
            let file = NamedTempFile::new_in(&self.folder)?;
            file.as_file().set_len(self.length)?;
            Ok(file)
        };
        let again = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        self.file.get_or_init(create).as_ref().map_err(again)
    }

    fn keep(
        &self,
        folder: &Path,
        (prefix, part): (&str, usize),
        pieces: &Pieces,
    ) -> Result<Option<PartWritten>, CheckpointError> {
        let all = 0..self.length;
        let whole = std::slice::from_ref(&all);
        let done = || {
            if self.file.get().is_none() {
                return Ok(None);
            }
            let file = self.file()?;
            if pieces.whole {
                write_all_at(file.as_file(), self.header.get().map_or(&[], Vec::as_slice), 0)?;
            }
            file.as_file().sync_all()?;
            let ranges = if pieces.whole { whole } else { &pieces.ranges };
            let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let sha256 = each_piece(file.as_file(), ranges, |_, _| Ok(()))?;
            let written = PartWritten { name, whole: pieces.whole, sha256 };
            std::fs::rename(file.path(), folder.join(written.file_name(prefix, part)))?;
            Ok(Some(written))
        };
        done().map_err(CheckpointError::io(&self.path, "write"))
    }
}

/// Reads these ranges in order, and calls `each` with the position and the bytes of each piece. Returns the
/// SHA-256 of all of them.
fn each_piece(
    file: &std::fs::File,
    ranges: &[Range<u64>],
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<String> {
    let (mut sha256, mut piece) = (Sha256::new(), vec![0; PIECE]);
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let bytes = &mut piece[..(range.end - at).min(PIECE as u64) as usize];
            read_exact_at(file, bytes, at)?;
            sha256.update(&*bytes);
            each(at, bytes)?;
            at += bytes.len() as u64;
        }
    }
    Ok(digest::hex(sha256))
}

/// Copies ranges of a file to the same positions of a draft. Returns the SHA-256 of their bytes.
pub(super) fn copy_ranges(from: &Path, ranges: &[Range<u64>], to: &dyn Draft) -> io::Result<String> {
    let file = std::fs::File::open(from)?;
    each_piece(&file, ranges, |at, bytes| to.write_at(at, bytes))
}

/// A draft of a part.
#[derive(Debug)]
struct PartDraft(Arc<PartFile>);

impl Draft for PartDraft {
    fn path(&self) -> &Path {
        &self.0.path
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.length)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_exact_at(self.0.file()?.as_file(), bytes, offset)
    }

    /// What is written at the beginning of a checkpoint's file is its header, which comes first.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset == 0 && self.0.header.set(bytes.to_owned()).is_ok() {
            return Ok(());
        }
        write_all_at(self.0.file()?.as_file(), bytes, offset)
    }

    fn finish(&self) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn stream(&self) -> Box<dyn Write + '_> {
        Box::new(io::sink())
    }
}

/// Whole files that parts have written, by the names of the output files. Clones share them.
pub type WholeFiles = Arc<Mutex<BTreeMap<String, PathBuf>>>;

/// The sink of the process that puts parts together. Some of the files are there already.
#[derive(Debug, Default)]
pub struct MergeSink {
    destination: Destination,
    whole: WholeFiles,
}

impl MergeSink {
    /// With these files to take over. They can be named later.
    pub fn new(whole: WholeFiles) -> Self {
        Self { destination: Destination::default(), whole }
    }
}

impl Sink for MergeSink {
    fn claim(
        &mut self,
        anchor: Option<&Path>,
        outputs: &[&Path],
        inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError> {
        self.destination.claim(anchor, outputs, inputs)
    }

    fn begin(&mut self, output: &Path, _key: Option<&str>) -> Result<PathBuf, CheckpointError> {
        self.destination.begin(output, None)
    }

    fn create(&mut self, path: &Path, length: u64, room: u64) -> Result<Box<dyn Draft>, CheckpointError> {
        self.destination.create(path, length, room)
    }

    fn has_finished(&self) -> bool {
        true
    }

    fn is_distant(&self, output: &Path) -> bool {
        self.destination.is_distant(output)
    }

    /// Takes over a whole file of a part.
    fn resume(
        &mut self,
        path: &Path,
        length: u64,
        header: &[u8],
    ) -> Result<Option<Box<dyn Draft>>, CheckpointError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let from = self.whole.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        from.map(|from| self.destination.take_over(path, &from, (length, header))).transpose()
    }

    fn forms(&self, output: &Path) -> Vec<PathBuf> {
        self.destination.forms(output)
    }

    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError> {
        self.destination.commit(drafts, stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_are_taken_over_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("parts");
        std::fs::create_dir(&parts).unwrap();
        let output = folder.path().join("model.safetensors");

        let files = PartFiles::within(&parts);
        let mut sink = files.sink();
        let draft = sink.create(&output, 12, 0).unwrap();
        // Another one, of which this part writes nothing.
        sink.create(&folder.path().join("other.safetensors"), 12, 0).unwrap().write_at(0, b"head").unwrap();
        draft.write_at(0, b"head").unwrap();
        draft.write_at(8, b"tail").unwrap();
        let whole = Pieces { whole: true, ranges: vec![4..8, 8..12] };
        let written = files.keep(("2-write", 7), &[whole, Pieces::default()]).unwrap();
        // printf 'head\0\0\0\0tail' | sha256sum
        let sha256 = "aa8bcd5b3b09657e44b119ddfd5328b02c1dbf143d18905510672c91a4123536";
        assert_eq!((written.len(), &*written[0].name, written[0].whole), (1, "model.safetensors", true));
        assert_eq!(written[0].sha256, sha256);
        let from = parts.join("2-write.model.safetensors");
        assert_eq!(std::fs::read(&from).unwrap(), b"head\0\0\0\0tail");

        // Each of these finds what a merge left that died after its commit: the output is the part's file.
        for _ in 0..3 {
            let named = BTreeMap::from([("model.safetensors".to_owned(), from.clone())]);
            let mut sink = MergeSink::new(Arc::new(Mutex::new(named)));
            sink.claim(Some(&output), &[&output], BTreeSet::new()).unwrap();
            sink.begin(&output, None).unwrap();
            let draft = sink.resume(&output, 12, b"head").unwrap().unwrap();
            sink.commit(vec![draft], Vec::new()).unwrap();
            assert_eq!(std::fs::read(&output).unwrap(), b"head\0\0\0\0tail");
            assert_eq!(std::fs::read(&from).unwrap(), b"head\0\0\0\0tail");
            let names: BTreeSet<_> =
                folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, BTreeSet::from(["model.safetensors".into(), "parts".into()]));
        }
        // Another length, or another header.
        let named = BTreeMap::from([("model.safetensors".to_owned(), from)]);
        let mut sink = MergeSink::new(Arc::new(Mutex::new(named)));
        assert!(sink.resume(&output, 13, b"head").is_err());
        assert!(sink.resume(&output, 12, b"tail").is_err());
        assert!(sink.resume(&folder.path().join("third.safetensors"), 12, b"head").unwrap().is_none());
    }
}
