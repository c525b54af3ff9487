//! Checkpoints as they are written: into temporary files beside their destination, at any position, by any thread,
//! then synced and renamed. Until [`CheckpointWriter::commit`] nothing of them is visible, and nothing that was there
//! is harmed.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::{CheckpointError, ErrorKind};
use super::paths::{check_space, create_parent};
use super::positioned::write_all_at;
use super::resume::Finishes;
use super::set::OutputSet;
use super::shards::{divide, lay_out};
use super::spec::{Group, total};
use super::staged::{Staged, sweep, through_link};

/// A checkpoint being written.
#[derive(Debug)]
pub struct CheckpointWriter {
    output: PathBuf,
    files: Vec<Staged>,
    /// Which files need no writing: a killed run has finished them.
    done: Vec<bool>,
    finishes: Option<Finishes>,
    slots: HashMap<String, Slot>,
    index: Option<String>,
    bytes: u64,
}

/// Where a tensor's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    file: usize,
    start: u64,
    length: u64,
}

impl CheckpointWriter {
    /// Opens the files for these tensors, with their headers and full lengths. One file at `output`; or, where
    /// `max_shard_size` bytes of data are exceeded, shards `NAME-00001-of-0000N.safetensors` beside an index
    /// `NAME.safetensors.index.json`. `metadata` gives the `__metadata__` of the file that holds these groups.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`], [`ErrorKind::NoSpace`], [`ErrorKind::Io`], and [`ErrorKind::DuplicateOutput`] for two tensors of
    /// one name.
    pub fn create(
        output: &Path,
        groups: &[Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
    ) -> Result<Self, CheckpointError> {
        Self::resume(output, groups, max_shard_size, metadata, || Ok::<_, CheckpointError>(None))
    }

    /// As [`Self::create`]; but shards that a killed run has finished are taken over where their digests are right and
    /// that run had the same key: one that tells apart whatever decides about the bytes. Without a key none are.
    ///
    /// # Errors
    /// Those of [`Self::create`] and of `key`, which is asked where there are shards.
    pub fn resume<E: From<CheckpointError>>(
        output: &Path,
        groups: &[Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
        key: impl FnOnce() -> Result<Option<String>, E>,
    ) -> Result<Self, E> {
        let output = through_link(output);
        let shards = divide(groups, max_shard_size);
        let key = if shards.len() > 1 { key()? } else { None };
        create_parent(&output)?;
        let mut finishes = key.map(|key| Finishes::open(&output, &key)).transpose()?;
        let keep: Vec<&str> = finishes.iter().flat_map(Finishes::names).collect();
        sweep(&output, &stem(&output), &keep);
        let total = total(shards.iter().map(|groups| lay_out(groups, &metadata(groups)).length));
        let mut writer = Self {
            files: Vec::new(),
            done: Vec::new(),
            finishes: None,
            slots: HashMap::new(),
            index: None,
            bytes: 0,
            output,
        };
        let mut weight_map = BTreeMap::new();
        for (n, groups) in shards.iter().enumerate() {
            let path = if shards.len() == 1 {
                writer.output.clone()
            } else {
                shard_path(&writer.output, n, shards.len())
            };
            let layout = lay_out(groups, &metadata(groups));
            let staged = Staged::take_over(&path)?;
            let done = match &mut finishes {
                Some(finishes) => finishes.proves(&staged)?,
                None => false,
            };
            if !done {
                staged.empty()?;
                if n == 0 {
                    check_space(&path, total)?;
                }
                staged.file().set_len(layout.length).map_err(CheckpointError::io(&path, "create"))?;
                write_all_at(staged.file(), &layout.header, 0)
                    .map_err(CheckpointError::io(&path, "write"))?;
            }
            writer.done.push(done);
            let shard_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for (name, start, length) in layout.places {
                if name == "__metadata__" {
                    return Err(CheckpointError::new(&writer.output, ErrorKind::ReservedName).into());
                }
                if writer.slots.insert(name.to_owned(), Slot { file: n, start, length }).is_some() {
                    let kind = ErrorKind::DuplicateOutput(name.to_owned());
                    return Err(CheckpointError::new(&writer.output, kind).into());
                }
                if shards.len() > 1 {
                    weight_map.insert(name.to_owned(), shard_name.clone());
                }
            }
            writer.bytes += layout.length;
            writer.files.push(staged);
        }
        if shards.len() > 1 {
            writer.index = Some(index_json(groups, weight_map));
        }
        writer.finishes = finishes;
        Ok(writer)
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The file that a tensor goes into, counted from 0; `None` where it stands there already, from a killed run.
    ///
    /// # Panics
    /// If no tensor of this name was announced.
    pub fn file_of(&self, name: &str) -> Option<usize> {
        let file = self.slots[name].file;
        (!self.done[file]).then_some(file)
    }

    /// Says that file number `file` is complete, so that a run after a killed one need not write it again.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    ///
    /// # Panics
    /// If there is no such file.
    pub fn finish(&mut self, file: usize) -> Result<(), CheckpointError> {
        match &mut self.finishes {
            Some(finishes) if !self.done[file] => finishes.finish(&self.files[file]),
            _ => Ok(()),
        }
    }

    /// The slot of a tensor that was announced to [`CheckpointWriter::create`].
    ///
    /// # Panics
    /// If no tensor of this name was.
    pub fn slot(&self, name: &str) -> Slot {
        self.slots[name]
    }

    /// Writes a part of a tensor at this offset in its data. Any order, any thread.
    ///
    /// # Panics
    /// If the part would leave the tensor.
    pub fn write_at(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        assert!(offset + bytes.len() as u64 <= slot.length, "a write beyond its tensor");
        let staged = &self.files[slot.file];
        write_all_at(staged.file(), bytes, slot.start + offset)
            .map_err(CheckpointError::io(staged.path(), "write"))
    }

    /// Every path that [`CheckpointWriter::commit`] will replace or remove: the files, and the single file and the index
    /// that an earlier run may have left under the same name.
    pub fn touches(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        if self.index.is_some() {
            paths.push(self.output.clone());
        }
        paths.push(index_path(&self.output));
        paths
    }

    /// Bytes of all files together, headers included, an index not.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the files visible, the index last. Returns them.
    ///
    /// # Errors
    /// Those of [`OutputSet::commit`].
    pub fn commit(self) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut set = OutputSet::default();
        self.stage(&mut set)?;
        set.commit()
    }

    /// Adds the files to a set, the index last. Returns them.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::InUse`] of the index.
    pub fn stage(self, set: &mut OutputSet) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut written: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        for file in self.files {
            set.add(file);
        }
        if let Some(finishes) = self.finishes {
            set.hold(finishes);
        }
        let index_path = index_path(&self.output);
        // The other form of the same output, left from an earlier run, would be read in place of this one.
        match self.index {
            Some(json) => {
                set.add_text(&index_path, &json)?;
                written.push(index_path);
                set.remove(self.output);
            }
            None => set.remove(index_path),
        }
        Ok(written)
    }
}

/// Bytes of the files, headers included and an index not, that [`CheckpointWriter::create`] would make of these.
pub fn checkpoint_bytes(
    groups: &[Group],
    max_shard_size: Option<u64>,
    metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
) -> u64 {
    total(divide(groups, max_shard_size).iter().map(|groups| lay_out(groups, &metadata(groups)).length))
}

/// Writes a small text file atomically, its folder made where it is missing.
pub fn write_text(path: &Path, text: &str) -> Result<(), CheckpointError> {
    write_stream(path, |file| file.write_all(text.as_bytes()))
}

/// Writes a file atomically with what `write` puts into it, its folder made where it is missing.
pub fn write_stream(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let staged = Staged::create(path)?;
    let mut buffered = io::BufWriter::new(staged.file());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(CheckpointError::io(path, "write"))?;
    drop(buffered);
    let mut set = OutputSet::default();
    set.add(staged);
    set.commit().map(drop)
}

/// `model.safetensors` → `model`.
fn stem(output: &Path) -> String {
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_suffix(".safetensors").map(str::to_owned).unwrap_or(name)
}

fn shard_path(output: &Path, n: usize, of: usize) -> PathBuf {
    output.with_file_name(format!("{}-{:05}-of-{of:05}.safetensors", stem(output), n + 1))
}

/// Where the index of a sharded checkpoint of this name lies: `model.safetensors.index.json`.
pub fn index_path(output: &Path) -> PathBuf {
    output.with_file_name(format!("{}.safetensors.index.json", stem(output)))
}

/// What a checkpoint that was written to `output` is opened by: in shards it has an index.
pub fn entry_path(output: &Path) -> PathBuf {
    let index = index_path(output);
    if index.exists() { index } else { output.to_owned() }
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
