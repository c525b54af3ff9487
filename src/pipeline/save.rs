//! Tensors in memory, written to an ordinary checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::copy::PIECE;
use super::error::Error;
use super::outcome::Written;
use super::progress::Progress;
use crate::checkpoint::TensorSpec;
use crate::reader::RowsError;
use crate::store::{CheckpointWriter, Group, OutputSet, total};

/// Writes a checkpoint, which becomes visible when it is complete: in one file, or in shards of at most
/// `max_shard_size` bytes. Each tensor comes with its little-endian bytes.
///
/// # Errors
/// [`Error::Rows`] if a tensor does not have the bytes of its type and shape, [`Error::Cancelled`],
/// and errors of writing.
pub fn save(
    output: &Path,
    tensors: Vec<(TensorSpec, &[u8])>,
    metadata: BTreeMap<String, String>,
    max_shard_size: Option<u64>,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    for (spec, bytes) in &tensors {
        let expected = spec.shape.bytes(spec.dtype.bitsize()).unwrap_or_default();
        if bytes.len() != expected {
            let (tensor, got) = (spec.name.clone(), bytes.len());
            return Err(RowsError::Length { tensor, expected, got }.into());
        }
    }
    let mut set = OutputSet::open(output, [])?;
    let (specs, data): (Vec<TensorSpec>, Vec<&[u8]>) = tensors.into_iter().unzip();
    let groups: Vec<Group> = specs.into_iter().map(Group::single).collect();
    let metadata = |_: &[Group]| metadata.clone();
    let no_key = || Ok::<_, Error>(None);
    let writer = CheckpointWriter::resume(&mut set, output, &groups, max_shard_size, metadata, no_key)?;
    progress.begin("save", total(groups.iter().map(Group::bytes)));
    for (group, bytes) in groups.iter().zip(data) {
        let slot = writer.slot(&group.name);
        for (n, piece) in bytes.chunks(PIECE).enumerate() {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            writer.write_at(slot, (n * PIECE) as u64, piece)?;
            progress.advance(piece.len() as u64);
        }
    }
    progress.end();
    let (tensors, bytes) = (groups.len(), writer.bytes());
    let files = writer.stage(&mut set)?;
    set.commit()?;
    Ok(Written { files, tensors, bytes, beside: Vec::new() })
}
