//! A checkpoint as one set of tensors, whether it is a file, an index with shards, or a folder with either.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::Dtype;

use super::error::{CheckpointError, ErrorKind};
use super::find::{Found, in_folder};
use super::foreign::Foreign;
use super::header::{Header, TensorInfo};
use super::index::Index;
use super::mmap::{Mapped, MappedFile, release};
use crate::regular_file;
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

/// A name without the components that are wrapped around others: all but the last may go.
pub fn without_components(name: &str, goes: impl Fn(&str) -> bool) -> String {
    let Some((modules, own)) = name.rsplit_once('.') else { return name.to_owned() };
    let kept = modules.split('.').filter(|part| !goes(part));
    kept.chain([own]).collect::<Vec<_>>().join(".")
}

static FOLLOW_LINKS: AtomicBool = AtomicBool::new(false);

/// Has shards be read that are links out of their index's folder, as caches of downloaded models have them.
pub fn follow_links() {
    FOLLOW_LINKS.store(true, Ordering::Relaxed);
}

/// Where a shard leads that is a link out of the folder.
pub fn leads_out(folder: &Path, shard: &str) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // What is not there at all is another error.
    let real = fs::canonicalize(folder.join(shard)).ok()?;
    let inside = fs::canonicalize(folder).is_ok_and(|folder| real.parent() == Some(&folder));
    (!inside).then_some(real)
}

/// Refuses shards that are links out of their folder; `path` is what names them.
fn check_links<'s>(
    path: &Path,
    folder: &Path,
    mut shards: impl Iterator<Item = &'s String>,
) -> Result<(), CheckpointError> {
    let out = shards.find_map(|shard| Some((shard, leads_out(folder, shard)?)));
    match out.filter(|_| !follows_links()) {
        Some((shard, to)) => {
            Err(CheckpointError::new(path, ErrorKind::ShardLink { shard: shard.clone(), to }))
        }
        None => Ok(()),
    }
}

/// Whether links out of a folder are followed.
pub fn follows_links() -> bool {
    FOLLOW_LINKS.load(Ordering::Relaxed)
}

/// The most bytes of an index: some four million tensors.
const LONGEST_INDEX: u64 = 1 << 29;

impl Checkpoint {
    /// Opens a `.safetensors` file, a `*.safetensors.index.json` with its shards, or a folder that holds either, or all
    /// shards without an index (an index wins over files that are no variant of it). Reads headers only.
    ///
    /// # Errors
    /// Whatever [`ErrorKind`] lists; a path that does not exist is `ErrorKind::Io` with `NotFound`.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = fs::metadata(path).map_err(CheckpointError::io(path, "open"))?;
        let file = if metadata.is_dir() {
            match in_folder(path)? {
                Found::File(file) => file,
                Found::Shards(shards) => return Self::open_shards(path, &shards),
            }
        } else {
            path.to_owned()
        };
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
        let header = Header::parse(file.bytes()).map_err(|error| {
            let kind = Foreign::of(file.bytes()).map_or(ErrorKind::Header(error), ErrorKind::Foreign);
            CheckpointError::new(file.path(), kind)
        })?;
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
            regular_file::read(index_file, LONGEST_INDEX).map_err(CheckpointError::io(index_file, "read"))?;
        let folder = index_file.parent().unwrap_or(Path::new(""));
        let wrong = |kind| CheckpointError::new(index_file, kind);
        let index = Index::parse(&text, folder, follows_links()).map_err(|kind| {
            let foreign = Foreign::of(&text).filter(|foreign| *foreign != Foreign::Json);
            match (kind, foreign) {
                (ErrorKind::BadIndex(_), Some(foreign)) => wrong(ErrorKind::Foreign(foreign)),
                (kind, _) => wrong(kind),
            }
        })?;
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

    /// All of a folder's shards, which no index is about.
    fn open_shards(folder: &Path, shards: &[String]) -> Result<Self, CheckpointError> {
        check_links(folder, folder, shards.iter())?;
        let mut whole = Self {
            path: folder.to_owned(),
            index: None,
            files: Vec::new(),
            metadata: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for shard in shards {
            let one = Self::open_file(folder, &folder.join(shard))?;
            let file = whole.files.len();
            whole.files.extend(one.files);
            whole.metadata.extend(one.metadata);
            for (name, place) in one.tensors {
                if let Some(first) = whole.tensors.insert(name.clone(), Place { file, ..place }) {
                    let (first, second) = (shards[first.file].clone(), shard.clone());
                    let kind = ErrorKind::InTwoShards { tensor: name, first, second };
                    return Err(CheckpointError::new(folder, kind));
                }
            }
        }
        Ok(whole)
    }

    /// Takes the prefixes off the tensors' names, as often as one of them fits (wrappers nest). Names are from then
    /// on the stripped ones.
    ///
    /// # Errors
    /// [`ErrorKind::SameNameStripped`] if two names become one.
    pub fn strip_prefixes(&mut self, prefixes: &[String]) -> Result<(), CheckpointError> {
        self.rename("strip_prefix", |name| {
            let mut short = name;
            while let Some(rest) =
                prefixes.iter().filter(|p| !p.is_empty()).find_map(|p| short.strip_prefix(p.as_str()))
            {
                short = rest;
            }
            short.to_owned()
        })
    }

    /// Takes these components, what stands between two dots, out of the tensors' names, wherever they stand in them but
    /// at the end, where a tensor has its own name. Names are from then on those without.
    ///
    /// # Errors
    /// [`ErrorKind::SameNameStripped`] if two names become one.
    pub fn strip_components(&mut self, components: &[String]) -> Result<(), CheckpointError> {
        self.rename("strip", |name| without_components(name, |part| components.iter().any(|c| c == part)))
    }

    fn rename(&mut self, key: &'static str, short: impl Fn(&str) -> String) -> Result<(), CheckpointError> {
        let mut original: BTreeMap<String, String> = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        for (name, place) in std::mem::take(&mut self.tensors) {
            let short = short(&name);
            if let Some(first) = original.insert(short.clone(), name.clone()) {
                let kind = ErrorKind::SameNameStripped { first, second: name, name: short, key };
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
