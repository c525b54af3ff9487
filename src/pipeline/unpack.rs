//! The command `unpack`: restores the checkpoint that `pack` packed.

use std::path::Path;

use super::error::Error;
use super::outcome::Written;
use super::progress::Progress;
use super::restore::restore;
use crate::checkpoint::{Checkpoint, OpenOptions};
use crate::sparse::{FileMetadata, Fill, Kind};

/// Restores the checkpoint from which [`super::pack`] made a file, like [`restore`], but
/// accepts only packed files.
///
/// # Errors
/// [`Error::NotPacked`], and the errors of [`restore`].
pub fn unpack(
    input: &Path,
    output: &Path,
    base: Option<&Path>,
    max_shard_size: Option<u64>,
    max_memory: Option<u64>,
    options: OpenOptions,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    let checkpoint = Checkpoint::open_with(input, options)?;
    // An unreadable description is not reported here; [`restore`] does that.
    let described = checkpoint.metadata().iter().find_map(|metadata| FileMetadata::find(metadata)?.ok());
    let path = || input.to_owned();
    match described.as_ref().map(|described| described.kind) {
        None => return Err(Error::NotPacked { path: path() }),
        Some(Kind::Initial) => return Err(Error::InitialNotPacked { path: path() }),
        Some(Kind::Pruned) => {}
    }
    let packed = |tensor: &crate::sparse::PrunedTensor| {
        tensor.format.is_packed() && tensor.fill == Fill::Zero && tensor.trained_dtype.is_none()
    };
    if described.is_some_and(|described| !described.tensors.iter().all(packed)) {
        return Err(Error::PrunedNotPacked { path: path() });
    }
    restore(input, output, base, max_shard_size, max_memory, options, progress)
}
