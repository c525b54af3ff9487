//! The command `unpack`: restores the checkpoint that `pack` packed.

use std::path::Path;

use cdi_core::internal::ReadBlocks;

use super::error::{Error, caught};
use super::outcome::Written;
use super::progress::Progress;
use super::restore::{RestoreOptions, open, restore_file};
use crate::checkpoint::Checkpoint;
use crate::codec::{Head, Model};
use crate::sparse::{FileMetadata, Fill, Kind};

/// The result of unpacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The checkpoint.
    pub written: Written,
    /// Number of tensors that were rounded to steps before they were coded.
    pub rounded: usize,
    /// Number of tensors that were pruned before they were coded.
    pub pruned: usize,
}

/// Restores the checkpoint from which [`super::pack`] made a file, like [`super::restore`], but accepts only
/// packed files. A file that was pruned to zeros or rounded, and whose tensors are all coded, looks like one;
/// the result tells them apart. It cannot tell whether values were cast, or units removed.
///
/// # Errors
/// [`Error::NotPacked`], and the errors of [`super::restore`].
pub fn unpack(
    input: &Path,
    output: &Path,
    options: RestoreOptions<'_>,
    progress: &dyn Progress,
) -> Result<Unpacked, Error> {
    caught(|| {
        let checkpoint = Checkpoint::open_with(input, options.open)?;
        // An unreadable description is not reported here; [`restore`] does that.
        let described = checkpoint.metadata().iter().find_map(|metadata| FileMetadata::find(metadata)?.ok());
        let path = || input.to_owned();
        match described.as_ref().map(|described| described.kind) {
            None => return Err(Error::NotPacked { path: path() }),
            Some(Kind::Initial) => return Err(Error::InitialNotPacked { path: path() }),
            Some(Kind::Pruned | Kind::Delta) => {}
        }
        let packed = |tensor: &crate::sparse::PrunedTensor| {
            tensor.format.is_packed() && tensor.fill == Fill::Zero && tensor.trained_dtype.is_none()
        };
        if described.is_some_and(|described| !described.tensors.iter().all(packed)) {
            return Err(Error::PrunedNotPacked { path: path() });
        }
        let file = open(input, options)?;
        let heads = || file.tensors().filter_map(|(name, ..)| file.head(name));
        let rounded = heads().filter(|head| matches!(head.model(), Model::Steps { .. })).count();
        let pruned = heads().filter(|head| Head::marks_pruned(head)).count();
        let written = restore_file(&file, input, output, options, progress)?;
        Ok(Unpacked { written, rounded, pruned })
    })
}
