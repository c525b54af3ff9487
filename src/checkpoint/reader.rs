//! A checkpoint as one set of tensors, whether it is a file, an index with shards, or a folder with either.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::Dtype;

use super::error::{CheckpointError, ErrorKind};
use super::header::{Header, TensorInfo};
use super::index::Index;
use super::mmap::{Mapped, MappedFile, release};
use crate::regular;
use crate::tensor::{FloatDtype, Shape};

/// A mapped checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    index: Option<PathBuf>,
    files: Vec<MappedFile>,
    metadata: Vec<BTreeMap<String, String>>,
    tensors: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    file: usize,
    info: TensorInfo,
}

/// A tensor of a mapped checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a Shape,
    /// Where its bytes are: little-endian, row-major.
    pub data: Mapped<'a>,
}

impl<'a> TensorRef<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.data.bytes()
    }

    /// The element type where it is one that weights are compared in.
    pub fn float(&self) -> Option<FloatDtype> {
        FloatDtype::of(self.dtype)
    }
}

static FOLLOW_LINKS: AtomicBool = AtomicBool::new(false);

/// Has shards be read that are links out of their index's folder, as caches of downloaded models have them.
pub fn follow_links() {
    FOLLOW_LINKS.store(true, Ordering::Relaxed);
}

/// The most bytes of an index: some four million tensors.
const LONGEST_INDEX: u64 = 1 << 29;

impl Checkpoint {
    /// Opens a `.safetensors` file, a `*.safetensors.index.json` with its shards, or a folder that holds either (an
    /// index wins over single files). Reads headers only.
    ///
    /// # Errors
    /// Whatever [`ErrorKind`] lists; a path that does not exist is `ErrorKind::Io` with `NotFound`.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = fs::metadata(path).map_err(CheckpointError::io(path, "open"))?;
        let file = if metadata.is_dir() { in_folder(path)? } else { path.to_owned() };
        if file.extension().is_some_and(|e| e == "json") {
            Self::open_index(path, &file)
        } else {
            Self::open_file(path, &file)
        }
    }

    /// One `.safetensors` file whose bytes are in memory, called `path` in messages.
    ///
    /// # Errors
    /// [`ErrorKind::Header`].
    pub fn from_bytes(path: &Path, bytes: Cow<'static, [u8]>) -> Result<Self, CheckpointError> {
        Self::of_file(path, MappedFile::in_memory(path, bytes))
    }

    fn open_file(path: &Path, file: &Path) -> Result<Self, CheckpointError> {
        Self::of_file(path, MappedFile::open(file)?)
    }

    fn of_file(path: &Path, file: MappedFile) -> Result<Self, CheckpointError> {
        let header = Header::parse(file.bytes()).map_err(|e| CheckpointError::new(file.path(), e))?;
        // The header is not needed again, and may be a large part of what memory holds.
        let data = header.tensors.values().map(|tensor| tensor.bytes.start).min();
        release([Mapped::new(&file, 0..data.unwrap_or(file.bytes().len()))]);
        let tensors =
            header.tensors.into_iter().map(|(name, info)| (name, Place { file: 0, info })).collect();
        Ok(Self {
            path: path.to_owned(),
            index: None,
            files: vec![file],
            metadata: vec![header.metadata],
            tensors,
        })
    }

    fn open_index(path: &Path, index_file: &Path) -> Result<Self, CheckpointError> {
        let text =
            regular::read(index_file, LONGEST_INDEX).map_err(CheckpointError::io(index_file, "read"))?;
        let folder = index_file.parent().unwrap_or(Path::new(""));
        let wrong = |kind| CheckpointError::new(index_file, kind);
        let index = Index::parse(&text, folder, FOLLOW_LINKS.load(Ordering::Relaxed)).map_err(wrong)?;
        let mut whole = Self {
            path: path.to_owned(),
            index: Some(index_file.to_owned()),
            files: Vec::new(),
            metadata: Vec::new(),
            tensors: BTreeMap::new(),
        };
        let mut shards: Vec<u32> = (0..index.shards.len() as u32).collect();
        shards.sort_unstable_by_key(|n| &index.shards[*n as usize]);
        for n in shards {
            let shard = &*index.shards[n as usize];
            let one = Self::open_file(path, &folder.join(shard))?;
            let file = whole.files.len();
            whole.files.extend(one.files);
            whole.metadata.extend(one.metadata);
            for (name, place) in one.tensors {
                if index.tensors.get(name.as_str()) != Some(&n) {
                    return Err(wrong(ErrorKind::NotInIndex { tensor: name, shard: shard.to_owned() }));
                }
                whole.tensors.insert(name, Place { file, ..place });
            }
        }
        let absent = index.tensors.iter().filter(|(name, _)| !whole.tensors.contains_key(&***name));
        if let Some((tensor, n)) = absent.min() {
            let shard = index.shards[*n as usize].clone().into_owned();
            return Err(wrong(ErrorKind::NotInShard { tensor: tensor.clone().into_owned(), shard }));
        }
        Ok(whole)
    }

    /// Takes the prefixes off the tensors' names, as often as one of them fits (wrappers nest). Names are from then
    /// on the stripped ones.
    ///
    /// # Errors
    /// [`ErrorKind::SameNameStripped`] if two names become one.
    pub fn strip_prefixes(&mut self, prefixes: &[String]) -> Result<(), CheckpointError> {
        let mut original: BTreeMap<String, String> = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        for (name, place) in std::mem::take(&mut self.tensors) {
            let mut short = name.as_str();
            while let Some(rest) =
                prefixes.iter().filter(|p| !p.is_empty()).find_map(|p| short.strip_prefix(p.as_str()))
            {
                short = rest;
            }
            let short = short.to_owned();
            if let Some(first) = original.insert(short.clone(), name.clone()) {
                let kind = ErrorKind::SameNameStripped { first, second: name, name: short };
                return Err(CheckpointError::new(&self.path, kind));
            }
            tensors.insert(short, place);
        }
        self.tensors = tensors;
        Ok(())
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file that it consists of, its index last.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(MappedFile::path).chain(self.index.as_deref())
    }

    /// The files with tensors.
    pub fn shards(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(MappedFile::path)
    }

    /// The index of a sharded one.
    pub fn index(&self) -> Option<&Path> {
        self.index.as_deref()
    }

    /// All bytes of file number `n` of [`Self::shards`].
    ///
    /// # Panics
    /// If there is no such file.
    pub fn whole_file(&self, n: usize) -> Mapped<'_> {
        let file = &self.files[n];
        Mapped::new(file, 0..file.bytes().len())
    }

    /// The `__metadata__` of each file.
    pub fn metadata(&self) -> &[BTreeMap<String, String>] {
        &self.metadata
    }

    /// The tensors in name order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, TensorRef<'_>)> {
        self.tensors.iter().map(|(name, place)| (name.as_str(), self.at(place)))
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<TensorRef<'_>> {
        self.tensors.get(name).map(|place| self.at(place))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor at all.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    fn at<'a>(&'a self, place: &'a Place) -> TensorRef<'a> {
        let TensorInfo { dtype, shape, bytes } = &place.info;
        // The header was checked against the length of this very mapping.
        TensorRef { dtype: *dtype, shape, data: Mapped::new(&self.files[place.file], bytes.clone()) }
    }
}

/// The index, or else the one safetensors file, of a folder.
fn in_folder(folder: &Path) -> Result<PathBuf, CheckpointError> {
    let (mut indexes, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(CheckpointError::io(folder, "list"))? {
        let entry = entry.map_err(CheckpointError::io(folder, "list"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors.index.json") {
            indexes.push(name);
        } else if name.ends_with(".safetensors") {
            files.push(name);
        }
    }
    let mut found = if indexes.is_empty() { files } else { indexes };
    found.sort();
    match found.as_slice() {
        [one] => Ok(folder.join(one)),
        [] => Err(CheckpointError::new(folder, ErrorKind::EmptyFolder)),
        _ => Err(CheckpointError::new(folder, ErrorKind::AmbiguousFolder(found))),
    }
}
