//! Checkpoints as they are written: into temporary files beside their destination, at any position, by any
//! thread, then synced and renamed. Until [`CheckpointWriter::commit`] nothing of them is visible, and
//! nothing that was there is harmed.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::claim::Claim;
use super::group::{Group, total};
use super::journal::{Line, Shard};
use super::names::{forms, index_path, shard_path};
use super::paths::{check_output, check_space, create_parent, through_link};
use super::positioned::{read_exact_at, write_all_at};
use super::set::OutputSet;
use super::shards::{FileLayout, divide, lay_out};
use super::staged::Staged;
use crate::checkpoint::{CheckpointError, ErrorKind};
use crate::digest;

/// A checkpoint being written.
#[derive(Debug)]
pub struct CheckpointWriter {
    output: PathBuf,
    files: Vec<Staged>,
    /// Which files need no writing: a killed run has finished them.
    done: Vec<bool>,
    claim: Arc<Claim>,
    /// Whether finished files are noted, for a run after a killed one.
    noted: bool,
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
    /// Opens the files for these tensors, with their headers and full lengths. One file at `output`; or,
    /// where `max_shard_size` bytes of data are exceeded, shards `NAME-00001-of-0000N.safetensors`
    /// beside an index `NAME.safetensors.index.json`. `metadata` gives the `__metadata__` of the file
    /// that holds these groups.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`], [`ErrorKind::NoSpace`], [`ErrorKind::Io`], and [`ErrorKind::DuplicateOutput`]
    /// for two tensors of one name.
    pub fn create(
        output: &Path,
        groups: &[Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
    ) -> Result<Self, CheckpointError> {
        let mut set = OutputSet::default();
        Self::resume(&mut set, output, groups, max_shard_size, metadata, || Ok::<_, CheckpointError>(None))
    }

    /// As [`Self::create`], for a run that has this set; but shards that a killed run has finished are taken
    /// over where that run had the same key, and they have the digests that it noted and the headers that
    /// they would be given now. `key` gives a digest of whatever decides about the bytes besides the headers.
    /// Without a key none are taken over.
    ///
    /// # Errors
    /// Those of [`Self::create`] and of `key`, which is asked where there are shards.
    pub fn resume<E: From<CheckpointError>>(
        set: &mut OutputSet,
        output: &Path,
        groups: &[Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
        key: impl FnOnce() -> Result<Option<String>, E>,
    ) -> Result<Self, E> {
        check_output(output)?;
        let output = through_link(output);
        let shards = divide(groups, max_shard_size);
        let layouts: Vec<FileLayout<'_>> =
            shards.iter().map(|groups| lay_out(groups, &metadata(groups))).collect();
        let key = if shards.len() > 1 { key()?.map(|key| whole_key(&key, &layouts)) } else { None };
        create_parent(&output)?;
        let claim = set.claim(&index_path(&output))?;
        claim.begin(key.as_deref())?;
        let total = total(layouts.iter().map(|layout| layout.length));
        let mut writer = Self {
            files: Vec::new(),
            done: Vec::new(),
            noted: key.is_some(),
            claim,
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
            let adopted = if writer.noted { writer.adopt(&path, &layout)? } else { None };
            writer.done.push(adopted.is_some());
            let staged = match adopted {
                Some(staged) => staged,
                None => begin(set, &path, &layout, (n == 0).then_some(total))?,
            };
            writer.files.push(staged);
            let shard_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for (name, start, length) in layout.places {
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

    /// Notes where a tensor's bytes go.
    fn give_place(&mut self, name: &str, slot: Slot) -> Result<(), CheckpointError> {
        let kind = if name == "__metadata__" {
            ErrorKind::ReservedName
        } else if self.slots.insert(name.to_owned(), slot).is_some() {
            ErrorKind::DuplicateOutput(name.to_owned())
        } else {
            return Ok(());
        };
        Err(CheckpointError::new(&self.output, kind))
    }

    /// The shard that a killed run has finished, if it is the very one that would be written.
    fn adopt(&self, path: &Path, layout: &FileLayout<'_>) -> Result<Option<Staged>, CheckpointError> {
        let Some(shard) = self.claim.finished(&name(path)).filter(|shard| shard.size == layout.length) else {
            return Ok(None);
        };
        let Some(staged) = Staged::adopt(self.claim.clone(), path, layout.length) else { return Ok(None) };
        let mut header = vec![0; layout.header.len()];
        let read = read_exact_at(staged.file(), &mut header, 0).and_then(|()| hash(&staged));
        let (sha256, size) = read.map_err(CheckpointError::io(path, "read back"))?;
        if header != layout.header || (sha256, size) != (shard.sha256.clone(), shard.size) {
            return Ok(None);
        }
        self.claim.note(&Line::Shard(shard)).map_err(CheckpointError::io(path, "finish"))?;
        Ok(Some(staged))
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The file that a tensor goes into, counted from 0; `None` where it stands there
    /// already, from a killed run.
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
    pub fn finish(&self, file: usize) -> Result<(), CheckpointError> {
        if !self.noted || self.done[file] {
            return Ok(());
        }
        let staged = &self.files[file];
        staged.sync()?;
        let noted = hash(staged).and_then(|(sha256, size)| {
            self.claim.note(&Line::Shard(Shard { name: name(staged.path()), size, sha256 }))?;
            self.claim.sync()
        });
        noted.map_err(CheckpointError::io(staged.path(), "finish"))
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

    /// Every path that [`CheckpointWriter::commit`] will replace or remove: the files, an index, and what an
    /// earlier run has left of the same output in another form.
    pub fn touches(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        let mut others = vec![self.output.clone(), index_path(&self.output)];
        others.extend(forms(&self.output));
        for path in others {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
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
        if let Some(json) = self.index {
            let path = index_path(&self.output);
            set.add_text(&path, &json)?;
            written.push(path);
        }
        // Another form of the same output, left from an earlier run, would be read in place of this one.
        forms(&self.output)
            .into_iter()
            .filter(|path| !written.contains(path))
            .for_each(|path| set.remove(path));
        Ok(written)
    }
}

/// A new file with its header, at full length. The first one tells whether there is `space` for all.
fn begin(
    set: &mut OutputSet,
    path: &Path,
    layout: &FileLayout<'_>,
    space: Option<u64>,
) -> Result<Staged, CheckpointError> {
    let staged = set.create(path)?;
    if let Some(total) = space {
        check_space(path, total)?;
    }
    staged.file().set_len(layout.length).map_err(CheckpointError::io(path, "create"))?;
    write_all_at(staged.file(), &layout.header, 0).map_err(CheckpointError::io(path, "write"))?;
    Ok(staged)
}

/// The key of shards with these headers.
fn whole_key(key: &str, layouts: &[FileLayout<'_>]) -> String {
    let lengths: Vec<[u8; 16]> = layouts
        .iter()
        .map(|layout| (u128::from(layout.length) << 64 | layout.header.len() as u128).to_le_bytes())
        .collect();
    let headers = layouts.iter().zip(&lengths).flat_map(|(layout, length)| [&length[..], &layout.header]);
    digest::of_pieces([key.as_bytes()].into_iter().chain(headers))
}

fn name(shard: &Path) -> String {
    shard.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn hash(shard: &Staged) -> io::Result<(String, u64)> {
    let mut file = shard.file();
    file.rewind()?;
    digest::of_reader(file)
}

/// Bytes of the files, headers included and an index not, that [`CheckpointWriter::create`]
/// would make of these.
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
    let mut set = OutputSet::default();
    let staged = set.create(path)?;
    let mut buffered = io::BufWriter::new(staged.file());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(CheckpointError::io(path, "write"))?;
    drop(buffered);
    set.add(staged);
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
