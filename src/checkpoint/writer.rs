//! Checkpoints as they are written: into temporary files beside their destination, at any position, by any thread,
//! then synced and renamed. Until [`CheckpointWriter::commit`] nothing of them is visible, and nothing that was there
//! is harmed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use serde::Serialize;

use super::error::{CheckpointError, ErrorKind};
use super::paths::create_parent;
use super::positioned::write_all_at;
use super::shards::{Group, divide, lay_out};

/// A checkpoint being written.
#[derive(Debug)]
pub struct CheckpointWriter {
    output: PathBuf,
    files: Vec<OutFile>,
    slots: HashMap<String, Slot>,
    index: Option<String>,
    bytes: u64,
}

#[derive(Debug)]
struct OutFile {
    path: PathBuf,
    file: AtomicWriteFile,
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
    /// [`ErrorKind::Io`], and [`ErrorKind::DuplicateOutput`] for two tensors of one name.
    pub fn create(
        output: &Path,
        groups: &[Group],
        max_shard_size: Option<u64>,
        metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
    ) -> Result<Self, CheckpointError> {
        create_parent(output)?;
        let output = through_link(output);
        let shards = divide(groups, max_shard_size);
        let mut writer = Self { files: Vec::new(), slots: HashMap::new(), index: None, bytes: 0, output };
        let mut weight_map = BTreeMap::new();
        for (n, groups) in shards.iter().enumerate() {
            let path = if shards.len() == 1 {
                writer.output.clone()
            } else {
                shard_path(&writer.output, n, shards.len())
            };
            let layout = lay_out(groups, &metadata(groups));
            let file = AtomicWriteFile::open(&path).map_err(CheckpointError::io(&path, "create"))?;
            file.as_file().set_len(layout.length).map_err(CheckpointError::io(&path, "create"))?;
            write_all_at(file.as_file(), &layout.header, 0).map_err(CheckpointError::io(&path, "write"))?;
            let shard_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for (name, start, length) in layout.places {
                if writer.slots.insert(name.to_owned(), Slot { file: n, start, length }).is_some() {
                    let kind = ErrorKind::DuplicateOutput(name.to_owned());
                    return Err(CheckpointError::new(&writer.output, kind));
                }
                if shards.len() > 1 {
                    weight_map.insert(name.to_owned(), shard_name.clone());
                }
            }
            writer.bytes += layout.length;
            writer.files.push(OutFile { path, file });
        }
        if shards.len() > 1 {
            writer.index = Some(index_json(groups, weight_map));
        }
        Ok(writer)
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
        let OutFile { path, file } = &self.files[slot.file];
        write_all_at(file.as_file(), bytes, slot.start + offset).map_err(CheckpointError::io(path, "write"))
    }

    /// Every path that [`CheckpointWriter::commit`] will replace or remove: the files, and the single file and the index
    /// that an earlier run may have left under the same name.
    pub fn touches(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.files.iter().map(|file| file.path.clone()).collect();
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

    /// Syncs every file and gives it its name, the index last. Returns the files written.
    pub fn commit(self) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut written = Vec::new();
        for OutFile { path, file } in self.files {
            file.commit().map_err(CheckpointError::io(&path, "finish"))?;
            written.push(path);
        }
        let index_path = index_path(&self.output);
        // The other form of the same output, left from an earlier run, would be read in place of this one.
        let stale = match self.index {
            Some(json) => {
                write_text(&index_path, &json)?;
                written.push(index_path);
                self.output
            }
            None => index_path,
        };
        match fs::remove_file(&stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CheckpointError::io(&stale, "remove")(error))
            }
            _ => Ok(written),
        }
    }
}

/// Bytes of the files, headers included and an index not, that [`CheckpointWriter::create`] would make of these.
pub fn checkpoint_bytes(
    groups: &[Group],
    max_shard_size: Option<u64>,
    metadata: impl Fn(&[Group]) -> BTreeMap<String, String>,
) -> u64 {
    divide(groups, max_shard_size).iter().map(|groups| lay_out(groups, &metadata(groups)).length).sum()
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
    create_parent(path)?;
    let path = &through_link(path);
    let mut file = AtomicWriteFile::open(path).map_err(CheckpointError::io(path, "create"))?;
    let mut buffered = io::BufWriter::new(&mut file);
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(CheckpointError::io(path, "write"))?;
    drop(buffered);
    file.commit().map_err(CheckpointError::io(path, "finish"))
}

/// A link is written through, not replaced. Any other path stays as its user wrote it.
fn through_link(path: &Path) -> PathBuf {
    if path.is_symlink() {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    } else {
        path.to_owned()
    }
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
    let total_size = groups.iter().map(Group::bytes).sum();
    let index = Index { metadata: Metadata { total_size }, weight_map };
    let mut json = serde_json::to_string_pretty(&index).expect("strings and integers always serialise");
    json.push('\n');
    json
}
