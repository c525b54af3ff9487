//! Tensors of a checkpoint, restored to memory.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::error::{Error, caught};
use super::pieces::{self, Piece, pieces};
use super::progress::Progress;
use super::restore::RestoreOptions;
use crate::reader::{Limits, PrunedReader, RowsError};
use crate::workers::Threads;

/// Opens any checkpoint that [`super::restore`] or [`super::unpack`] would restore, or that is dense already.
/// Its checks are divided among all threads.
///
/// # Errors
/// It cannot be read, is invalid, or needs another base.
pub fn open(path: &Path, options: RestoreOptions<'_>) -> Result<PrunedReader, Error> {
    caught(|| {
        let defaults = Limits::default();
        let limits = Limits { bytes: options.max_memory.unwrap_or(defaults.bytes), ..defaults };
        Ok(PrunedReader::open_on(&Threads, path, options.base, limits, options.open)?)
    })
}

/// Restores these tensors on all threads, each into a slice as long as the tensor has bytes, with the bits
/// that [`super::restore`] would write.
///
/// # Errors
/// [`Error::Rows`] if there is no such tensor or a slice has another length; nothing was restored then.
/// [`Error::Pruned`] if a block cannot be decoded, [`Error::Cancelled`].
pub fn load(
    file: &PrunedReader,
    tensors: Vec<(&str, &mut [u8])>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    caught(|| {
        for (name, out) in &tensors {
            check(file, name, out.len())?;
        }
        progress.begin("load", tensors.iter().map(|(_, out)| out.len() as u64).sum());
        let mut all: Vec<(Piece<'_>, Mutex<&mut [u8]>)> = Vec::new();
        for (name, mut out) in tensors {
            for piece in pieces(file, name) {
                let (now, later) = out.split_at_mut(piece.len);
                all.push((piece, Mutex::new(now)));
                out = later;
            }
        }
        // Each piece has one thread, which therefore never waits for another.
        pieces::for_each(
            file,
            &all,
            progress,
            || (),
            |(), _, out, bytes| {
                out.lock().unwrap_or_else(PoisonError::into_inner).copy_from_slice(bytes);
                Ok(())
            },
        )?;
        progress.end();
        Ok(())
    })
}

fn check(file: &PrunedReader, name: &str, got: usize) -> Result<(), Error> {
    let (dtype, shape) = file.tensor(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
    let expected = shape.bytes(dtype.bitsize()).unwrap_or_default();
    if got != expected {
        return Err(RowsError::Length { tensor: name.to_owned(), expected, got }.into());
    }
    Ok(())
}
