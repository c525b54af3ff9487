//! The tensors of a pruned, packed or ordinary checkpoint in pieces, which threads restore independently.

use cdi_core::internal::{Decoder, ReadBlocks};

use super::blocks::{self, Block, Reads};
use super::copy::PIECE;
use super::error::Error;
use super::progress::Progress;
use crate::checkpoint::Mapped;
use crate::reader::{PrunedProblem, PrunedReader};

/// A run of a tensor's bytes.
pub(super) struct Piece<'a> {
    name: &'a str,
    /// Its first byte, within the tensor.
    pub at: u64,
    /// How many bytes it has.
    pub len: usize,
    from: From<'a>,
}

enum From<'a> {
    Stored(Mapped<'a>),
    Encoded(Block),
}

/// The pieces of a tensor, in order.
///
/// # Panics
/// If there is no such tensor.
pub(super) fn pieces<'a>(file: &'a PrunedReader, name: &'a str) -> Box<dyn Iterator<Item = Piece<'a>> + 'a> {
    if !file.is_encoded(name) {
        let cut = file.stored(name).data.chunks(PIECE).enumerate();
        return Box::new(cut.map(move |(n, data)| {
            let (at, len) = ((n * PIECE) as u64, data.len());
            Piece { name, at, len, from: From::Stored(data) }
        }));
    }
    let (dtype, shape) = file.tensor(name).expect("it is there");
    let size = dtype.bitsize() / 8;
    Box::new(blocks::cut(0, shape.matrix()).map(move |block| {
        let (at, len) = ((block.start * size) as u64, block.len * size);
        Piece { name, at, len, from: From::Encoded(block) }
    }))
}

/// Restores the pieces on all threads. `work` gets the bytes of each, what the list has beside it, and
/// scratch space of its thread.
///
/// # Errors
/// [`Error::Pruned`] if a block cannot be decoded, [`Error::Cancelled`], and the errors of `work`.
pub(super) fn for_each<T: Sync, S: Send>(
    file: &PrunedReader,
    pieces: &[(Piece<'_>, T)],
    progress: &dyn Progress,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, &Piece<'_>, &T, &[u8]) -> Result<(), Error> + Sync + Send,
) -> Result<(), Error> {
    let damaged = |name: &str, error| Error::Pruned {
        path: file.path().to_owned(),
        problem: PrunedProblem::Code { tensor: name.to_owned(), error },
    };
    blocks::for_each(
        pieces,
        progress,
        |(piece, _)| match &piece.from {
            From::Stored(data) => Reads::of(*data),
            From::Encoded(block) => file.reads(piece.name, block),
        },
        || (Decoder::default(), scratch()),
        |(decoder, scratch), (piece, beside)| match &piece.from {
            From::Stored(data) => work(scratch, piece, beside, data.bytes()),
            From::Encoded(block) => {
                let bytes = file.read_block(piece.name, block, decoder);
                work(scratch, piece, beside, bytes.map_err(|error| damaged(piece.name, error))?)
            }
        },
    )?;
    Ok(())
}
