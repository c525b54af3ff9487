//! A checkpoint as one set of tensors: from a file, an index with shards, a folder with either,
//! or bytes in memory.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
#[cfg(feature = "std")]
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::by_name::by_name;
use super::error::{CheckpointError, ErrorKind};
use super::file_name::FileName;
use super::foreign::Foreign;
use super::header::{Header, TensorInfo};
use super::mmap::{Mapped, MappedFile, release};
use super::source::{Identity, MemoryFile, Source};
use crate::prelude::*;
use crate::tensor::{FloatDtype, Shape};

/// A mapped checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    pub(super) path: FileName,
    #[cfg(feature = "std")]
    pub(super) index: Option<PathBuf>,
    pub(super) files: Vec<MappedFile>,
    pub(super) metadata: Vec<BTreeMap<String, String>>,
    pub(super) tensors: BTreeMap<String, Place>,
}

#[derive(Debug)]
pub(super) struct Place {
    pub file: usize,
    pub info: TensorInfo,
}

/// A tensor of a mapped checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a Shape,
    /// Its bytes in the file: little-endian, row-major.
    pub data: Mapped<'a>,
}

impl<'a> TensorRef<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.data.bytes()
    }

    /// The element type, if it is a floating-point type that weights can have.
    pub fn float(&self) -> Option<FloatDtype> {
        FloatDtype::of(self.dtype)
    }
}

/// Number of bytes in which other formats are recognised: the longest file name of an archive, and more. Most
/// headers are shorter, too.
pub(super) const BEGINNING: usize = 1 << 17;

/// A name without the dot-separated components for which `goes` is true. The last component always stays.
pub fn without_components(name: &str, goes: impl Fn(&str) -> bool) -> String {
    let Some((modules, own)) = name.rsplit_once('.') else { return name.to_owned() };
    let kept = modules.split('.').filter(|part| !goes(part));
    kept.chain([own]).collect::<Vec<_>>().join(".")
}

impl Checkpoint {
    /// Opens one `.safetensors` file from bytes in memory. Messages call it `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Header`].
    pub fn from_bytes(name: impl Into<FileName>, bytes: Cow<'static, [u8]>) -> Result<Self, CheckpointError> {
        let name = name.into();
        Self::of_source(name.clone(), Box::new(MemoryFile::new(name, bytes)), false)
    }

    /// Opens one `.safetensors` file from any source: mapped if that is possible and `mmap` allows it.
    ///
    /// # Errors
    /// The errors of the source; [`ErrorKind::Header`], [`ErrorKind::Foreign`].
    pub fn from_source(source: impl Source + 'static, mmap: bool) -> Result<Self, CheckpointError> {
        Self::of_source(source.name().clone(), Box::new(source), mmap)
    }

    /// A checkpoint without tensors.
    pub(super) fn empty(path: FileName) -> Self {
        Self {
            path,
            #[cfg(feature = "std")]
            index: None,
            files: Vec::new(),
            metadata: Vec::new(),
            tensors: BTreeMap::new(),
        }
    }

    fn of_source(path: FileName, source: Box<dyn Source>, mmap: bool) -> Result<Self, CheckpointError> {
        Self::of_file(path, MappedFile::open(source, mmap)?)
    }

    /// A checkpoint with this path or name that consists of this file.
    pub(super) fn of_file(path: FileName, file: MappedFile) -> Result<Self, CheckpointError> {
        let beginning = file.part(0..file.len().min(BEGINNING))?;
        let wrong = |error| {
            let kind = Foreign::of(beginning).map_or(ErrorKind::Header(error), ErrorKind::Foreign);
            CheckpointError::new(file.name().clone(), kind)
        };
        let end = Header::bytes_of(beginning, file.len()).map_err(wrong)?;
        let header = Header::parse_beginning(file.part(0..end)?, file.len()).map_err(wrong)?;
        // The header is not needed again, and may be a large part of the memory in use.
        let data = header.tensors.values().map(|tensor| tensor.bytes.start).min();
        release([Mapped::new(&file, 0..data.unwrap_or(file.len()))]);
        let tensors = by_name(header.tensors.into_iter().map(|(name, info)| (name, Place { file: 0, info })));
        Ok(Self { files: vec![file], metadata: vec![header.metadata], tensors, ..Self::empty(path) })
    }

    /// Removes these prefixes from the tensors' names, repeatedly while one of them matches (wrappers nest).
    /// Afterwards, tensors have the shorter names.
    ///
    /// # Errors
    /// [`ErrorKind::SameNameStripped`] if two names become equal.
    pub fn strip_prefixes(&mut self, prefixes: &[String]) -> Result<(), CheckpointError> {
        let prefixes = || prefixes.iter().filter(|prefix| !prefix.is_empty());
        if prefixes().next().is_none() {
            return Ok(());
        }
        self.rename("strip_prefix", |name| {
            let mut short = name;
            while let Some(rest) = prefixes().find_map(|prefix| short.strip_prefix(prefix.as_str())) {
                short = rest;
            }
            short.to_owned()
        })
    }

    /// Removes these dot-separated components from the tensors' names. The last component, the tensor's own
    /// name, always stays. Afterwards, tensors have the shorter names.
    ///
    /// # Errors
    /// [`ErrorKind::SameNameStripped`] if two names become equal.
    pub fn strip_components(&mut self, components: &[String]) -> Result<(), CheckpointError> {
        if components.is_empty() {
            return Ok(());
        }
        self.rename("strip", |name| without_components(name, |part| components.iter().any(|c| c == part)))
    }

    fn rename(&mut self, key: &'static str, short: impl Fn(&str) -> String) -> Result<(), CheckpointError> {
        let mut original: BTreeMap<String, String> = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        for (name, place) in core::mem::take(&mut self.tensors) {
            let short = short(&name);
            if let Some(first) = original.insert(short.clone(), name.clone()) {
                let kind = ErrorKind::SameNameStripped { first, second: name, name: short, key };
                return Err(CheckpointError::new(self.path.clone(), kind));
            }
            tensors.insert(short, place);
        }
        self.tensors = tensors;
        Ok(())
    }

    /// The path with which it was opened, or the name given to its bytes in memory.
    pub fn name(&self) -> &FileName {
        &self.path
    }

    /// The path with which it was opened.
    #[cfg(feature = "std")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All files of the checkpoint, the index last.
    #[cfg(feature = "std")]
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(MappedFile::path).chain(self.index.as_deref())
    }

    /// The identities of the files with tensors, except those that have no path.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.files.iter().filter_map(MappedFile::identity)
    }

    /// The files with tensors.
    #[cfg(feature = "std")]
    pub fn shards(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(MappedFile::path)
    }

    /// The index, if the checkpoint has one.
    #[cfg(feature = "std")]
    pub fn index(&self) -> Option<&Path> {
        self.index.as_deref()
    }

    /// All bytes of file number `n` of [`Self::shards`].
    ///
    /// # Panics
    /// If there is no such file.
    pub fn whole_file(&self, n: usize) -> Mapped<'_> {
        let file = &self.files[n];
        Mapped::new(file, 0..file.len())
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

    /// Which file of [`Self::shards`] has the tensor of this name.
    #[doc(hidden)]
    pub fn file_of(&self, name: &str) -> Option<usize> {
        self.tensors.get(name).map(|place| place.file)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    fn at<'a>(&'a self, place: &'a Place) -> TensorRef<'a> {
        let TensorInfo { dtype, shape, bytes } = &place.info;
        // The range fits: the header was checked against the length of this mapping.
        TensorRef { dtype: *dtype, shape, data: Mapped::new(&self.files[place.file], bytes.clone()) }
    }
}
