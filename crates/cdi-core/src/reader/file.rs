//! Pruned files, which are validated completely when they are opened.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "std")]
use std::path::Path;

use safetensors::Dtype;

use super::coded::Coded;
use super::error::{OpenError, PrunedProblem};
use crate::checkpoint::{Checkpoint, TensorRef};
use crate::init::Generator;
use crate::prelude::*;
use crate::sparse::{Kind, PrunedTensor};
use crate::tensor::{FloatDtype, Shape};
use crate::workers::{Alone, Workers};

/// A checkpoint, pruned or not, whose tensors can be read as ordinary dense ones.
#[derive(Debug)]
pub struct PrunedReader {
    pub(super) checkpoint: Checkpoint,
    pub(super) base: Option<Checkpoint>,
    pub(super) limits: Limits,
    pub(super) seed: u64,
    pub(super) tensors: BTreeMap<String, Stored>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) kind: Option<Kind>,
}

#[derive(Debug)]
pub(super) enum Stored {
    /// As it is in the file.
    Whole,
    /// In parts.
    Encoded {
        description: Box<PrunedTensor>,
        dtype: FloatDtype,
        shape: Shape,
        /// Names of the parts, in the order of the encoding's suffixes.
        parts: Vec<String>,
        /// Stored values before each block of a bitmask; those of rows and columns are sought in them.
        before: Vec<usize>,
        /// Draws the values of pruned places, where they are drawn.
        drawn: Option<Generator>,
    },
    /// Entropy-coded.
    Coded(Box<Coded>),
}

/// What a reader refuses to go beyond. A file of some hundred bytes can describe any tensor all of whose weights are
/// pruned: what it takes to restore that is for the caller to say.
///
/// ```
/// use cdi_core::reader::Limits;
/// // A device with 64 MiB to spare.
/// let limits = Limits { bytes: 64 << 20, ..Limits::default() };
/// assert_eq!(limits.elements, 1 << 40);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most elements of an encoded tensor; one with more is an error when the file is opened.
    pub elements: u64,
    /// The most bytes that are allocated for one tensor: by [`PrunedReader::read_to_vec`] for all of its values, and for
    /// initial values that can only be drawn all at once (orthogonal schemes), 8 bytes each. The latter are refused when the
    /// file is opened.
    pub bytes: u64,
}

impl Limits {
    /// None at all, for files whose making stands beside them.
    pub const NONE: Self = Self { elements: u64::MAX, bytes: u64::MAX };
}

impl Default for Limits {
    /// 2^40 elements, 4 GiB.
    fn default() -> Self {
        Self { elements: 1 << 40, bytes: 4 << 30 }
    }
}

impl PrunedReader {
    /// Opens and validates a pruned file or sharded set; an ordinary checkpoint opens too, as what it is. `base` is the
    /// checkpoint that initial values were taken from, where a tensor needs one.
    ///
    /// # Errors
    /// [`OpenError`]: a file that cannot be read, is not sound, or needs another base.
    #[cfg(feature = "std")]
    pub fn open(path: &Path, base: Option<&Path>) -> Result<Self, OpenError> {
        Self::open_within(path, base, Limits::default())
    }

    /// The same within other limits than [`Limits::default`].
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    #[cfg(feature = "std")]
    pub fn open_within(path: &Path, base: Option<&Path>, limits: Limits) -> Result<Self, OpenError> {
        Self::open_on(&Alone, path, base, limits)
    }

    /// The same, the checks shared among workers.
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    #[cfg(feature = "std")]
    pub fn open_on(
        workers: &impl Workers,
        path: &Path,
        base: Option<&Path>,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint::open(path)?;
        Self::new(checkpoint, base.map(Checkpoint::open).transpose()?, limits, workers)
    }

    /// The same of one file whose bytes are in memory: a `Vec<u8>`, or a `&'static [u8]`, of which no copy is made. Errors
    /// call it `in memory`, and its base `base in memory`.
    ///
    /// # Errors
    /// [`OpenError`], as for [`Self::open`].
    pub fn from_bytes(
        file: impl Into<Cow<'static, [u8]>>,
        base: Option<Cow<'static, [u8]>>,
    ) -> Result<Self, OpenError> {
        Self::from_bytes_within(file, base, Limits::default())
    }

    /// The same within other limits than [`Limits::default`].
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
        Self::new(checkpoint, base.transpose()?, limits, &Alone)
    }

    fn new(
        checkpoint: Checkpoint,
        base: Option<Checkpoint>,
        limits: Limits,
        workers: &impl Workers,
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
        };
        let mut parts = BTreeSet::new();
        for description in file.read_metadata().map_err(wrong)? {
            file.add(description, &mut parts, workers).map_err(|e| e.at(&path))?;
        }
        for (name, _) in file.checkpoint.tensors() {
            if !parts.contains(name) && file.tensors.insert(name.to_owned(), Stored::Whole).is_some() {
                return Err(wrong(PrunedProblem::Twice(name.to_owned())));
            }
        }
        Ok(file)
    }

    /// Whether the file describes itself as pruned.
    pub fn is_pruned(&self) -> bool {
        self.kind == Some(Kind::Pruned)
    }

    /// Whether the file describes itself as an initial checkpoint.
    pub fn is_initial(&self) -> bool {
        self.kind == Some(Kind::Initial)
    }

    /// The path that it was opened by.
    #[cfg(feature = "std")]
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Every file that is read.
    #[cfg(feature = "std")]
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.checkpoint.files().chain(self.base.iter().flat_map(Checkpoint::files))
    }

    /// The `__metadata__` that the trained checkpoint had.
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

    /// Type and shape of the dense tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<(Dtype, &Shape)> {
        self.tensors.get(name).map(|stored| self.form(name, stored))
    }

    fn form<'a>(&'a self, name: &str, stored: &'a Stored) -> (Dtype, &'a Shape) {
        match stored {
            Stored::Whole => {
                let tensor = self.whole(name);
                (tensor.dtype, tensor.shape)
            }
            Stored::Encoded { dtype, shape, .. } => (dtype.dtype(), shape),
            Stored::Coded(coded) => (coded.dtype.dtype(), &coded.shape),
        }
    }

    /// A tensor that stands in the file as it is.
    pub(super) fn whole(&self, name: &str) -> TensorRef<'_> {
        self.checkpoint.tensor(name).expect("found when the file was opened")
    }
}
