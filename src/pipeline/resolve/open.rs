//! The checkpoints that a config names.

use std::io;
use std::path::Path;

use crate::checkpoint::{Checkpoint, CheckpointError, ErrorKind, OpenOptions};
use crate::config::Settings;
use crate::pipeline::error::Error;
use crate::sparse::{FileMetadata, Kind};

/// The trained checkpoint, `None` if its path does not exist.
pub(super) fn open_trained(settings: &Settings, options: OpenOptions) -> Result<Option<Checkpoint>, Error> {
    let Some(trained) = &settings.trained else { return Ok(None) };
    let mut checkpoint = match Checkpoint::open_with(&trained.path, options) {
        Ok(checkpoint) => checkpoint,
        Err(error) if is_absent(&error, &trained.path) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    refuse_pruned(&checkpoint)?;
    checkpoint.strip_components(&trained.strip)?;
    checkpoint.strip_prefixes(&trained.strip_prefix)?;
    Ok(Some(checkpoint))
}

/// Refuses a pruned or packed file: its tensors are parts of other tensors.
pub(in crate::pipeline) fn refuse_pruned(checkpoint: &Checkpoint) -> Result<(), Error> {
    let pruned = |metadata| {
        matches!(
            FileMetadata::find(metadata),
            Some(Ok(FileMetadata { kind: Kind::Pruned | Kind::Delta, .. }))
        )
    };
    if checkpoint.metadata().iter().any(pruned) {
        return Err(Error::AlreadyPruned { path: checkpoint.path().to_owned() });
    }
    Ok(())
}

/// Whether the path itself does not exist, rather than a shard that an index lists.
fn is_absent(error: &CheckpointError, path: &Path) -> bool {
    let ErrorKind::Io { error: io_error, .. } = &error.kind else { return false };
    io_error.kind() == io::ErrorKind::NotFound && *error.path == *path
}
