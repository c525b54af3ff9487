//! Checkpoints on disk: a file, an index with shards, or a folder with either.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "object-store")]
use super::distant_file::DistantFile;
use super::error::{CheckpointError, ErrorKind};
use super::file_name::FileName;
use super::find::{Found, in_folder};
use super::foreign::Foreign;
use super::index::Index;
use super::local::LocalFile;
use super::mmap::MappedFile;
use super::options::OpenOptions;
#[cfg(feature = "object-store")]
use super::reader::BEGINNING;
use super::reader::{Checkpoint, Place};
use crate::place;
use crate::prelude::*;

/// The target of a shard that is a link out of the folder.
pub fn leads_out(folder: &Path, shard: &str) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // A missing shard is not an error here, but opening it is.
    let real = fs::canonicalize(folder.join(shard)).ok()?;
    let inside = fs::canonicalize(folder).is_ok_and(|folder| real.parent() == Some(&folder));
    (!inside).then_some(real)
}

/// Refuses shards that are links out of their folder. The error has `path`, which names the shards.
fn check_links<'s>(
    path: &Path,
    folder: &Path,
    mut shards: impl Iterator<Item = &'s String>,
) -> Result<(), CheckpointError> {
    match shards.find_map(|shard| Some((shard, leads_out(folder, shard)?))) {
        Some((shard, to)) => {
            Err(CheckpointError::new(path, ErrorKind::ShardLink { shard: shard.clone(), to }))
        }
        None => Ok(()),
    }
}

/// Whether there is a folder at `path`. In a store, that is what names begin with that is no name itself.
fn is_folder(path: &Path) -> io::Result<bool> {
    if !place::is_distant(path) {
        return Ok(fs::metadata(path)?.is_dir());
    }
    if !place::ends_in_slash(path) {
        match place::size(path) {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
    }
    if place::list(path)?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such object"));
    }
    Ok(true)
}

/// Opens these files one after the other. Those in a store are found and begun to be read
/// all at the same time.
fn files(
    paths: Vec<FileName>,
    options: OpenOptions,
) -> Box<dyn Iterator<Item = Result<MappedFile, CheckpointError>>> {
    if !paths.first().is_some_and(|path| place::is_distant(path)) {
        let open = move |path: FileName| MappedFile::open(Box::new(LocalFile::open(&path)?), options.mmap);
        return Box::new(paths.into_iter().map(open));
    }
    #[cfg(feature = "object-store")]
    {
        let open = |found: Result<DistantFile, CheckpointError>| {
            let file = MappedFile::open(Box::new(found?), options.mmap)?;
            file.read_beginning(BEGINNING);
            Ok(file)
        };
        let opened: Vec<_> = DistantFile::find_all(&paths).into_iter().map(open).collect();
        Box::new(opened.into_iter())
    }
    #[cfg(not(feature = "object-store"))]
    Box::new(paths.into_iter().map(|path| Err(CheckpointError::io(&path, "open")(place::no_stores()))))
}

impl Checkpoint {
    /// Opens a `.safetensors` file, a `*.safetensors.index.json` with its shards, or a folder with one of
    /// these or with all shards of a set without an index. An index takes precedence over other files, unless
    /// they are another variant of it. Only headers are read.
    ///
    /// With the feature `object-store`, the path may be a URL `s3://BUCKET/KEY`, `gs://BUCKET/KEY` or
    /// `az://CONTAINER/KEY`. The bytes of tensors are then read when they are needed, see [`catch`].
    ///
    /// [`catch`]: super::catch
    ///
    /// # Errors
    /// Any [`ErrorKind`]. If the path does not exist, `ErrorKind::Io` with `NotFound`.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Like [`Self::open`], with these options.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with(path: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        let file = if is_folder(path).map_err(CheckpointError::io(path, "open"))? {
            match in_folder(path)? {
                Found::File(file) => file,
                Found::Shards(shards) => return Self::open_shards(path, &shards, options),
            }
        } else {
            path.to_owned()
        };
        if file.extension().is_some_and(|e| e == "json") {
            Self::open_index(path, &file, options)
        } else {
            Self::open_file(path, &file, options)
        }
    }

    fn open_file(path: &Path, file: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        let file = files(vec![file.into()], options).next().expect("one for each")?;
        Self::of_file(path.into(), file)
    }

    fn open_index(path: &Path, index_file: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        let text =
            place::read(index_file, options.index_bytes).map_err(CheckpointError::io(index_file, "read"))?;
        let folder = index_file.parent().unwrap_or(Path::new(""));
        let wrong = |kind| CheckpointError::new(index_file, kind);
        let index = Index::parse(&text, folder, options.follow_links).map_err(|kind| {
            let foreign = Foreign::of(&text).filter(|foreign| *foreign != Foreign::Json);
            match (kind, foreign) {
                (ErrorKind::BadIndex(_), Some(foreign)) => wrong(ErrorKind::Foreign(foreign)),
                (kind, _) => wrong(kind),
            }
        })?;
        let mut whole = Self { index: Some(index_file.to_owned()), ..Self::empty(path.into()) };
        let mut shards: Vec<u32> = (0..index.shards.len() as u32).collect();
        shards.sort_unstable_by_key(|n| &index.shards[*n as usize]);
        let paths = shards.iter().map(|n| folder.join(&*index.shards[*n as usize]).into()).collect();
        for (n, opened) in shards.into_iter().zip(files(paths, options)) {
            let shard = &*index.shards[n as usize];
            let one = Self::of_file(path.into(), opened?)?;
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

    /// Opens all shards of a folder that has no index.
    fn open_shards(folder: &Path, shards: &[String], options: OpenOptions) -> Result<Self, CheckpointError> {
        if !options.follow_links {
            check_links(folder, folder, shards.iter())?;
        }
        let mut whole = Self::empty(folder.into());
        let paths = shards.iter().map(|shard| folder.join(shard).into()).collect();
        for (shard, opened) in shards.iter().zip(files(paths, options)) {
            let one = Self::of_file(folder.into(), opened?)?;
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
}
