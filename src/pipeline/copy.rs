//! Tensors that are copied byte for byte.

use super::blocks::{self, Reads};
use super::error::Error;
use super::progress::Progress;
use crate::checkpoint::Mapped;
use crate::store::{CheckpointWriter, Failed, Gathered, Slot};

/// Bytes per piece, a multiple of every element size.
pub(super) const PIECE: usize = 1 << 18;

/// Copies the data of tensors to their positions.
pub(super) fn copy<'d>(
    data: impl Iterator<Item = (Slot, Mapped<'d>)>,
    writer: &CheckpointWriter<'_>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let cut = |(slot, data): (Slot, Mapped<'d>)| {
        data.chunks(PIECE).enumerate().map(move |(n, piece)| (slot, (n * PIECE) as u64, piece))
    };
    let pieces: Vec<(Slot, u64, Mapped<'_>)> = data.flat_map(cut).collect();
    let failed = Failed::default();
    blocks::for_each(
        &pieces,
        progress,
        |(_, _, piece)| Reads::of(*piece),
        || Gathered::new(writer, &failed),
        |out, (slot, at, piece)| out.write_at(*slot, *at, piece.bytes()),
    )?;
    Ok(failed.check()?)
}
