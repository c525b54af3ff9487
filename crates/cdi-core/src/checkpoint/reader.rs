//! A checkpoint as one set of tensors: a file, an index with shards, a folder with either, or bytes in
//! memory.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
#[cfg(feature = "std")]
use std::path::{Path, PathBuf};

use safetensors::Dtype;

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

impl Checkpoint {
    /// One `.safetensors` file whose bytes are in memory, called `name` in messages.
    ///
    /// # Errors
    /// [`ErrorKind::Header`].
    pub fn from_bytes(name: impl Into<FileName>, bytes: Cow<'static, [u8]>) -> Result<Self, CheckpointError> {
        let name = name.into();
        Self::of_source(name.clone(), Box::new(MemoryFile::new(name, bytes)), false)
    }

    /// One `.safetensors` file, wherever it is, mapped where that can be and `mmap` allows it.
    ///
    /// # Errors
    /// Those of the source; [`ErrorKind::Header`], [`ErrorKind::Foreign`].
    pub fn from_source(source: impl Source + 'static, mmap: bool) -> Result<Self, CheckpointError> {
        Self::of_source(source.name().clone(), Box::new(source), mmap)
    }

    /// Without any tensor yet.
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

    /// A checkpoint of this path or name, which is one file.
    pub(super) fn of_source(
        path: FileName,
        source: Box<dyn Source>,
        mmap: bool,
    ) -> Result<Self, CheckpointError> {
        let file = MappedFile::open(source, mmap)?;
        let header = Header::parse(file.bytes()).map_err(|error| {
            let kind = Foreign::of(file.bytes()).map_or(ErrorKind::Header(error), ErrorKind::Foreign);
            CheckpointError::new(file.name().clone(), kind)
        })?;
        // The header is not needed again, and may be a large part of what memory holds.
        let data = header.tensors.values().map(|tensor| tensor.bytes.start).min();
        release([Mapped::new(&file, 0..data.unwrap_or(file.bytes().len()))]);
        let tensors =
            header.tensors.into_iter().map(|(name, info)| (name, Place { file: 0, info })).collect();
        Ok(Self { files: vec![file], metadata: vec![header.metadata], tensors, ..Self::empty(path) })
    }

    /// Takes the prefixes off the tensors' names, as often as one of them fits (wrappers nest). Names are
    /// from then on the stripped ones.
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

    /// Takes these components, what stands between two dots, out of the tensors' names, wherever they stand
    /// in them but at the end, where a tensor has its own name. Names are from then on those without.
    ///
    /// # Errors
    /// [`ErrorKind::SameNameStripped`] if two names become one.
    pub fn strip_components(&mut self, components: &[String]) -> Result<(), CheckpointError> {
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

    /// The path that it was opened by, or the name of the bytes that it is.
    pub fn name(&self) -> &FileName {
        &self.path
    }

    /// The path that it was opened by.
    #[cfg(feature = "std")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file that it consists of, its index last.
    #[cfg(feature = "std")]
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(MappedFile::path).chain(self.index.as_deref())
    }

    /// What tells the files with tensors from others, for those that a path leads to.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.files.iter().filter_map(MappedFile::identity)
    }

    /// The files with tensors.
    #[cfg(feature = "std")]
    pub fn shards(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(MappedFile::path)
    }

    /// The index of a sharded one.
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
