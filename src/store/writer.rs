//! Writes checkpoints into temporary files beside their destination, at any position and from any thread,
//! then syncs and renames them. Before [`CheckpointWriter::commit`], nothing of them is visible, and existing
//! files are not touched.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::group::{Group, total};
use super::key::with_headers;
use super::names::{index_path, shard_path};
use super::part::{Pieces, copy_ranges};
use super::set::OutputSet;
use super::shards::{FileLayout, divide, lay_out};
use super::sink::Draft;
use crate::checkpoint::{CheckpointError, ErrorKind};

/// A checkpoint being written.
#[derive(Debug)]
pub struct CheckpointWriter<'g> {
    output: PathBuf,
    files: Vec<Box<dyn Draft>>,
    /// Which files need not be written, because a killed run has finished them.
    done: Vec<bool>,
    /// Existing files of the same output when this one was begun.
    earlier: Vec<PathBuf>,
    /// The set in which its files are committed, unless it belongs to the set of a run.
    set: Option<OutputSet>,
    /// Whether files are finished as soon as they are complete: noted in the journal, so that a later run can
    /// resume, or sent away.
    finishes: bool,
    /// The positions of tensors by their names, which are those in the groups.
    slots: HashMap<&'g str, Slot>,
    index: Option<String>,
    bytes: u64,
}

/// The position of a tensor's data in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    file: usize,
    start: u64,
    length: u64,
}

impl Slot {
    /// The file, and the position in it, of this part of the tensor's data.
    ///
    /// # Panics
    /// If it extends beyond the tensor.
    pub(super) fn place(&self, offset: u64, len: usize) -> (usize, u64) {
        assert!(offset + len as u64 <= self.length, "a write beyond its tensor");
        (self.file, self.start + offset)
    }
}

impl<'g> CheckpointWriter<'g> {
    /// Creates the files for these tensors, with their headers and full lengths. If there are more than
    /// `max_shard_size` bytes of data, they are shards `NAME-00001-of-0000N.safetensors` beside an index
    /// `NAME.safetensors.index.json`; otherwise one file at `output`. `metadata` returns the `__metadata__`
    /// of the file with the given groups.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`], [`ErrorKind::NoSpace`], [`ErrorKind::Io`]; [`ErrorKind::DuplicateOutput`] if two
    /// tensors have the same name.
    pub fn create(
        output: &Path,
        groups: &'g [Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
    ) -> Result<Self, CheckpointError> {
        let mut set = OutputSet::default();
        let no_key = || Ok::<_, CheckpointError>(None);
        let writer = Self::resume(&mut set, output, groups, max_shard_size, metadata, no_key)?;
        Ok(Self { set: Some(set), ..writer })
    }

    /// Like [`Self::create`], for a run with this set. Shards that a killed run has finished are reused if
    /// that run had the same key and their digests and headers still match. `key` returns a digest of
    /// whatever determines the bytes besides the headers. Without a key, no shards are reused.
    ///
    /// # Errors
    /// Those of [`Self::create`] and of `key`, which is called only if there are shards.
    pub fn resume<E: From<CheckpointError>>(
        set: &mut OutputSet,
        output: &Path,
        groups: &'g [Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
        key: impl FnOnce() -> Result<Option<String>, E>,
    ) -> Result<Self, E> {
        let shards = divide(groups, max_shard_size);
        let layouts: Vec<FileLayout<'g>> =
            shards.iter().map(|groups| lay_out(groups, &metadata(groups))).collect();
        let files: Vec<(&[u8], u64)> = layouts.iter().map(|file| (&*file.header, file.length)).collect();
        let distant = set.sink().is_distant(output);
        let resumes = shards.len() > 1 && !distant;
        let key = if resumes { key()?.map(|key| with_headers(&key, &files)) } else { None };
        let output = set.sink().begin(output, key.as_deref())?;
        let total = total(layouts.iter().map(|layout| layout.length));
        let mut writer = Self {
            files: Vec::new(),
            done: Vec::new(),
            earlier: set.sink().forms(&output),
            set: None,
            finishes: key.is_some() || distant,
            slots: HashMap::new(),
            index: None,
            bytes: total,
            output,
        };
        let mut weight_map = BTreeMap::new();
        for (n, layout) in layouts.into_iter().enumerate() {
            let path = if shards.len() == 1 {
                writer.output.clone()
            } else {
                shard_path(&writer.output, n, shards.len())
            };
            let FileLayout { header, length, places } = layout;
            let resumes = key.is_some() || set.sink().has_finished();
            let resumed = if resumes { set.sink().resume(&path, length, &header)? } else { None };
            writer.done.push(resumed.is_some());
            let draft = match resumed {
                Some(draft) => draft,
                None => begin(set, &path, (&header, length), if n == 0 { total } else { 0 })?,
            };
            writer.files.push(draft);
            drop(header);
            let shard_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for (name, start, length) in places.iter() {
                writer.give_place(name, Slot { file: n, start, length })?;
                if shards.len() > 1 {
                    weight_map.insert(name.to_owned(), shard_name.clone());
                }
            }
        }
        if shards.len() > 1 {
            writer.index = Some(index_json(groups, weight_map));
        }
        Ok(writer)
    }

    /// Records the position of a tensor's data.
    fn give_place(&mut self, name: &'g str, slot: Slot) -> Result<(), CheckpointError> {
        let kind = if name == "__metadata__" {
            ErrorKind::ReservedName
        } else if self.slots.insert(name, slot).is_some() {
            ErrorKind::DuplicateOutput(name.to_owned())
        } else {
            return Ok(());
        };
        Err(CheckpointError::new(&self.output, kind))
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The index, from 0, of the file that a tensor is written to; `None` if a killed run
    /// has already written it.
    ///
    /// # Panics
    /// If no tensor of this name was announced.
    pub fn file_of(&self, name: &str) -> Option<usize> {
        self.file_at(self.slot(name))
    }

    /// The same for the slot of a tensor.
    pub(crate) fn file_at(&self, slot: Slot) -> Option<usize> {
        (!self.done[slot.file]).then_some(slot.file)
    }

    /// Marks file number `file` as complete, so that a later run need not write it again
    /// if this one is killed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    ///
    /// # Panics
    /// If there is no such file.
    fn finish(&self, file: usize) -> Result<(), CheckpointError> {
        if !self.finishes || self.done[file] {
            return Ok(());
        }
        self.files[file].finish()
    }

    /// For each of `parts` parts, what it writes of each file, in the order of the files. `part_of` says
    /// whose a group is; the tensors of all groups were announced.
    pub fn pieces(
        &self,
        groups: &[Group],
        parts: usize,
        part_of: impl Fn(&str) -> usize,
    ) -> Vec<Vec<Pieces>> {
        let mut pieces = vec![vec![Pieces::default(); self.files.len()]; parts];
        // The part that writes everything so far of a file.
        let mut writes_all: Vec<Option<Option<usize>>> = vec![None; self.files.len()];
        for group in groups {
            let part = part_of(&group.name);
            for slot in group.tensors.iter().map(|tensor| self.slots[&*tensor.name]) {
                let alone = writes_all[slot.file].get_or_insert(Some(part));
                *alone = alone.filter(|other| *other == part);
                if slot.length > 0 {
                    pieces[part][slot.file].ranges.push(slot.start..slot.start + slot.length);
                }
            }
        }
        for (file, part) in writes_all.into_iter().enumerate() {
            if let Some(Some(part)) = part {
                pieces[part][file].whole = true;
            }
        }
        for Pieces { ranges, .. } in pieces.iter_mut().flatten() {
            ranges.sort_by_key(|range| range.start);
            ranges.dedup_by(|next, last| {
                let adjacent = last.end == next.start;
                if adjacent {
                    last.end = next.end;
                }
                adjacent
            });
        }
        pieces
    }

    /// Number of file with this name, unless it is finished.
    fn unfinished(&self, name: &str) -> Option<usize> {
        let mut files = self.files.iter();
        let file = files.position(|file| file.path().file_name().is_some_and(|own| own == name));
        file.filter(|file| !self.done[*file])
    }

    /// Copies what a part wrote of a file that is not there as a whole, from its file `from`, where it is
    /// at the same positions. Returns the SHA-256 of its bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn copy_part(
        &self,
        name: &str,
        pieces: &[Pieces],
        from: &Path,
    ) -> Result<Option<String>, CheckpointError> {
        let Some(file) = self.unfinished(name) else { return Ok(None) };
        let sha256 = copy_ranges(from, &pieces[file].ranges, &*self.files[file]);
        sha256.map(Some).map_err(CheckpointError::io(from, "copy"))
    }

    /// Calls `write` with the number of each file, in order. Files that are written are marked as complete by
    /// any thread while later ones are written, so that a later run need not write them again if this one is
    /// killed.
    ///
    /// # Errors
    /// That of the first file that could not be written, otherwise that of the first one that could not be
    /// finished.
    pub fn each_file<E: From<CheckpointError>>(
        &self,
        mut write: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if rayon::current_num_threads() < 2 {
            return (0..self.files.len()).try_for_each(|file| {
                write(file)?;
                self.finish(file).map_err(E::from)
            });
        }
        let failed: Mutex<BTreeMap<usize, CheckpointError>> = Mutex::default();
        let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        rayon::in_place_scope(|scope| {
            (0..self.files.len()).try_for_each(|file| {
                write(file).map_err(Some)?;
                scope.spawn(move |_| {
                    if let Err(error) = self.finish(file) {
                        lock().insert(file, error);
                    }
                });
                // Nothing more is written if it could not be committed.
                if lock().is_empty() { Ok(()) } else { Err(None) }
            })
        })
        .or_else(|error: Option<E>| error.map_or(Ok(()), Err))?;
        lock().pop_first().map_or(Ok(()), |(_, error)| Err(error.into()))
    }

    /// The slot of a tensor that was announced to [`CheckpointWriter::create`].
    ///
    /// # Panics
    /// If no tensor of this name was announced.
    pub fn slot(&self, name: &str) -> Slot {
        self.slots[name]
    }

    /// Writes a part of a tensor at this byte offset in its data, in any order and from any thread.
    ///
    /// # Panics
    /// If the part extends beyond the tensor.
    pub fn write_at(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        let (file, at) = slot.place(offset, bytes.len());
        self.write_file(file, at, bytes)
    }

    /// Writes bytes at this position of a file.
    pub(super) fn write_file(&self, file: usize, at: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        let draft = &self.files[file];
        draft.write_at(at, bytes).map_err(CheckpointError::io(draft.path(), "write"))
    }

    /// Every path that [`CheckpointWriter::commit`] will replace or remove: the files, an index, and files
    /// that an earlier run left of the same output in another form.
    pub fn touches(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        let mut others = vec![self.output.clone(), index_path(&self.output)];
        others.extend(self.earlier.iter().cloned());
        for path in others {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// Total size of all files in bytes, including headers but not an index.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the files visible, the index last. Returns their paths.
    ///
    /// # Errors
    /// Those of [`OutputSet::commit`].
    pub fn commit(mut self) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut set = self.set.take().unwrap_or_default();
        self.stage(&mut set)?;
        set.commit()
    }

    /// Adds the files to the set that this was begun with, the index last. Returns their paths.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::InUse`] for the index.
    pub fn stage(self, set: &mut OutputSet) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut written: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        for file in self.files {
            set.add(file);
        }
        if let Some(json) = self.index {
            let path = index_path(&self.output);
            set.add_text(&path, &json)?;
            written.push(path);
        }
        // A file of another form, left by an earlier run, would be read in place of this output.
        let forms = set.sink().forms(&self.output);
        forms.into_iter().filter(|path| !written.contains(path)).for_each(|path| set.remove(path));
        Ok(written)
    }
}

/// Creates a file with its header, at full length. Before the first one, checks that there is `room` for all.
fn begin(
    set: &mut OutputSet,
    path: &Path,
    (header, length): (&[u8], u64),
    room: u64,
) -> Result<Box<dyn Draft>, CheckpointError> {
    let draft = set.sink().create(path, length, room)?;
    draft.write_at(0, header).map_err(CheckpointError::io(path, "write"))?;
    Ok(draft)
}

/// Total size in bytes of the files that [`CheckpointWriter::create`] would create from these groups,
/// including headers but not an index.
pub fn checkpoint_bytes(
    groups: &[Group],
    max_shard_size: Option<u64>,
    metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
) -> u64 {
    total(divide(groups, max_shard_size).iter().map(|groups| lay_out(groups, &metadata(groups)).length))
}

/// Writes a small text file atomically. Creates its folder if necessary.
pub fn write_text(path: &Path, text: &str) -> Result<(), CheckpointError> {
    write_stream(path, |file| file.write_all(text.as_bytes()))
}

/// Writes a file atomically with what `write` puts into it. Creates its folder if necessary.
pub fn write_stream(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let mut set = OutputSet::default();
    set.add_with(path, write)?;
    set.commit().map(drop)
}

fn index_json(groups: &[Group], weight_map: BTreeMap<String, String>) -> String {
    #[derive(Serialize)]
    struct Metadata {
        total_size: u64,
    }
    #[derive(Serialize)]
    struct Index {
        metadata: Metadata,
        weight_map: BTreeMap<String, String>,
    }
    let total_size = total(groups.iter().map(Group::bytes));
    let index = Index { metadata: Metadata { total_size }, weight_map };
    let mut json = serde_json::to_string_pretty(&index).expect("strings and integers always serialise");
    json.push('\n');
    json
}
