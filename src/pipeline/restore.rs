//! The command `restore`: a pruned file back into an ordinary dense checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::blocks::{self, Block, Reads};
use super::error::Error;
use super::initialise::Written;
use super::outputs::{check_distinct, check_writer};
use super::progress::Progress;
use crate::checkpoint::{CheckpointWriter, Group, Mapped, Slot, TensorSpec};
use crate::reader::{Decoder, PrunedProblem, PrunedReader};

/// Bytes of an unencoded tensor that are copied at once.
const PIECE: usize = 1 << 18;

enum Piece<'a> {
    Copy { slot: Slot, at: usize, from: Mapped<'a> },
    Decode { slot: Slot, name: &'a str, block: Block, size: usize },
}

/// Writes the dense checkpoint that a pruned file stands for.
///
/// # Errors
/// [`Error::Pruned`] if it is not a sound pruned file, [`Error::SameFile`] if `output` is one of the inputs.
pub fn restore(
    input: &Path,
    output: &Path,
    base: Option<&Path>,
    max_shard_size: Option<u64>,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    let file = PrunedReader::open(input, base)?;
    if !file.is_pruned() {
        let problem = if file.is_initial() { PrunedProblem::Initial } else { PrunedProblem::NotPruned };
        return Err(Error::Pruned { path: input.to_owned(), problem });
    }
    let inputs = || file.files().map(|path| ("the file to restore or its base".to_owned(), path));
    check_distinct(inputs(), [("the output".to_owned(), output.into())])?;

    let groups: Vec<Group> = file
        .tensors()
        .map(|(name, dtype, shape)| {
            Group::single(TensorSpec { name: name.to_owned(), dtype, shape: shape.clone() })
        })
        .collect();
    let metadata: BTreeMap<String, String> = file.metadata().clone();
    let writer = CheckpointWriter::create(output, &groups, max_shard_size, |_| metadata.clone())?;
    check_writer(inputs(), &writer, "the output")?;
    let mut pieces = Vec::new();
    for (name, dtype, shape) in file.tensors() {
        let slot = writer.slot(name);
        if file.is_encoded(name) {
            let size = dtype.bitsize() / 8;
            let cut = blocks::cut(0, shape.matrix());
            pieces.extend(cut.map(|block| Piece::Decode { slot, name, block, size }));
        } else {
            let cut = file.whole(name).data.chunks(PIECE).enumerate();
            pieces.extend(cut.map(|(n, from)| Piece::Copy { slot, at: n * PIECE, from }));
        }
    }
    progress.begin("restore", groups.iter().map(Group::bytes).sum());
    blocks::for_each(
        &pieces,
        progress,
        |piece| match piece {
            Piece::Copy { from, .. } => Reads::of(*from),
            Piece::Decode { name, block, .. } => file.reads(name, block),
        },
        Decoder::default,
        |decoder, piece| match piece {
            Piece::Copy { slot, at, from } => writer.write_at(*slot, *at as u64, from.bytes()),
            Piece::Decode { slot, name, block, size } => {
                let bytes = file.read_block(name, block, decoder);
                writer.write_at(*slot, (block.start * size) as u64, bytes)
            }
        },
    )?;
    progress.end();
    let (tensors, bytes) = (groups.len(), writer.bytes());
    Ok(Written { files: writer.commit()?, tensors, bytes })
}
