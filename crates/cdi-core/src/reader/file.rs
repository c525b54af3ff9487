//! Pruned files. They are validated completely when they are opened, except for entropy-coded blocks.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
#[cfg(feature = "std")]
use std::path::Path;

use safetensors::Dtype;

use super::error::{OpenError, PrunedProblem};
use super::stored::{PartsSeen, Stored};
#[cfg(feature = "std")]
use crate::checkpoint::OpenOptions;
use crate::checkpoint::{Checkpoint, TensorRef};
use crate::prelude::*;
use crate::sparse::{Delta, Kind};
use crate::tensor::Shape;
use crate::workers::{Alone, Workers};

/// A checkpoint, pruned or not, whose tensors are read like ordinary dense ones.
#[derive(Debug)]
pub struct PrunedReader {
    pub(super) checkpoint: Checkpoint,
    pub(super) base: Option<Checkpoint>,
    pub(super) limits: Limits,
    pub(super) seed: u64,
    pub(super) tensors: BTreeMap<String, Stored>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) kind: Option<Kind>,
    pub(super) delta: Option<Delta>,
    /// Whether it was opened without the base that it needs.
    pub(super) is_link: bool,
}

/// Limits of a reader. A file of a few hundred bytes can describe a tensor of any size if all of its weights
/// are pruned, so the caller sets how much memory restoring it may take.
///
/// ```
/// use cdi_core::reader::Limits;
/// // A device with 64 MiB to spare.
/// let limits = Limits { bytes: 64 << 20, ..Limits::default() };
/// assert_eq!(limits.elements, 1 << 40);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of elements of an encoded tensor. Opening a file with a larger one is an error.
    pub elements: u64,
    /// Maximum number of bytes allocated for one tensor. This applies to all of its values in
    /// [`PrunedReader::read_to_vec`], and to initial values that can only be drawn all at once (orthogonal
    /// schemes), 8 bytes each. If the latter exceed it, opening the file is an error.
    pub bytes: u64,
}

impl Limits {
    /// No limits, for files that this program has just written.
    pub const NONE: Self = Self { elements: u64::MAX, bytes: u64::MAX };
}

impl Default for Limits {
    /// 2^40 elements, 4 GiB.
    fn default() -> Self {
        Self { elements: 1 << 40, bytes: 4 << 30 }
    }
}

impl PrunedReader {
    /// Opens and validates a pruned file or a set of shards. Ordinary checkpoints can be opened too. `base`
    /// is the checkpoint that provides initial values, if a tensor needs one.
    ///
    /// # Errors
    /// [`OpenError`]: the file cannot be read, is invalid, or needs another base.
    #[cfg(feature = "std")]
    pub fn open(path: &Path, base: Option<&Path>) -> Result<Self, OpenError> {
        Self::open_within(path, base, Limits::default())
    }

    /// Like [`Self::open`], with other limits than [`Limits::default`].
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    #[cfg(feature = "std")]
    pub fn open_within(path: &Path, base: Option<&Path>, limits: Limits) -> Result<Self, OpenError> {
        Self::open_on(&Alone, path, base, limits, OpenOptions::default())
    }

    /// Like [`Self::open`], but divides the checks among workers and opens the files with these options.
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    #[cfg(feature = "std")]
    pub fn open_on(
        workers: &impl Workers,
        path: &Path,
        base: Option<&Path>,
        limits: Limits,
        options: OpenOptions,
    ) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint::open_with(path, options)?;
        let base = base.map(|base| Checkpoint::open_with(base, options)).transpose()?;
        Self::new(checkpoint, base, limits, workers, false)
    }

    /// Opens a delta of a chain, without its base. What it needs of that is not checked; its tensors are
    /// read with [`ReadBlocks::link`](super::decode::ReadBlocks::link).
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    #[cfg(feature = "std")]
    #[doc(hidden)]
    pub fn open_link(
        workers: &impl Workers,
        path: &Path,
        limits: Limits,
        options: OpenOptions,
    ) -> Result<Self, OpenError> {
        Self::new(Checkpoint::open_with(path, options)?, None, limits, workers, true)
    }

    /// Like [`Self::open`], for a single file in memory: a `Vec<u8>`, or a `&'static [u8]`, which is not
    /// copied. Errors call the file `in memory` and its base `base in memory`.
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    pub fn from_bytes(
        file: impl Into<Cow<'static, [u8]>>,
        base: Option<Cow<'static, [u8]>>,
    ) -> Result<Self, OpenError> {
        Self::from_bytes_within(file, base, Limits::default())
    }

    /// Like `from_bytes`, with other limits than [`Limits::default`].
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    pub fn from_bytes_within(
        file: impl Into<Cow<'static, [u8]>>,
        base: Option<Cow<'static, [u8]>>,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint::from_bytes("in memory", file.into())?;
        let base = base.map(|base| Checkpoint::from_bytes("base in memory", base));
        Self::new(checkpoint, base.transpose()?, limits, &Alone, false)
    }

    fn new(
        checkpoint: Checkpoint,
        base: Option<Checkpoint>,
        limits: Limits,
        workers: &impl Workers,
        is_link: bool,
    ) -> Result<Self, OpenError> {
        let path = checkpoint.name().clone();
        let wrong = |problem| OpenError::Pruned { path: path.clone(), problem };
        let mut file = Self {
            checkpoint,
            base,
            limits,
            seed: 0,
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
            kind: None,
            delta: None,
            is_link,
        };
        let mut parts = PartsSeen::default();
        let (descriptions, bases) = file.read_metadata().map_err(wrong)?;
        file.check_shared(&descriptions).map_err(wrong)?;
        file.check_state(&descriptions, workers).map_err(wrong)?;
        for description in descriptions {
            file.add(description, &mut parts, workers).map_err(|e| e.at(&path))?;
        }
        file.check_bases(&bases).map_err(|e| e.at(&path))?;
        for (name, _) in file.checkpoint.tensors() {
            if !parts.names.contains(name) && file.tensors.insert(name.to_owned(), Stored::Whole).is_some() {
                return Err(wrong(PrunedProblem::Twice(name.to_owned())));
            }
        }
        Ok(file)
    }

    /// Whether the file's metadata describes it as pruned, or as a delta.
    pub fn is_pruned(&self) -> bool {
        matches!(self.kind, Some(Kind::Pruned | Kind::Delta))
    }

    /// Between which checkpoints a delta is; `None` if the file is not a delta.
    #[doc(hidden)]
    pub fn delta(&self) -> Option<&Delta> {
        self.delta.as_ref()
    }

    /// Whether the file's metadata describes it as an initial checkpoint.
    pub fn is_initial(&self) -> bool {
        self.kind == Some(Kind::Initial)
    }

    /// The path with which the checkpoint was opened.
    #[cfg(feature = "std")]
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// All files that are read: those of the checkpoint and those of its base.
    #[cfg(feature = "std")]
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.checkpoint.files().chain(self.base.iter().flat_map(Checkpoint::files))
    }

    /// The `__metadata__` of the trained checkpoint.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names, types and shapes of the dense tensors, in name order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Dtype, &Shape)> {
        self.tensors.iter().map(|(name, stored)| {
            let (dtype, shape) = self.form(name, stored);
            (name.as_str(), dtype, shape)
        })
    }

    /// Type and shape of the dense tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<(Dtype, &Shape)> {
        self.tensors.get(name).map(|stored| self.form(name, stored))
    }

    fn form<'a>(&'a self, name: &str, stored: &'a Stored) -> (Dtype, &'a Shape) {
        match stored {
            Stored::InBase(dtype, shape) => (*dtype, shape),
            Stored::Whole => {
                let tensor = self.whole(name);
                (tensor.dtype, tensor.shape)
            }
            Stored::Encoded(encoded) => (encoded.dtype.dtype(), &encoded.shape),
            Stored::Coded(coded) => (coded.dtype, &coded.shape),
        }
    }

    /// A tensor that is stored unencoded, in the file or in its base. The names cannot clash: no part of a
    /// tensor in the file has the name of one in the base.
    pub(super) fn whole(&self, name: &str) -> TensorRef<'_> {
        let file = match (self.tensors.get(name), &self.base) {
            (Some(Stored::InBase(..)), Some(base)) => base,
            _ => &self.checkpoint,
        };
        file.tensor(name).expect("found when the file was opened")
    }
}
