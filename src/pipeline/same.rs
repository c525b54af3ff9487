//! Comparison of tensors byte by byte.

use crate::checkpoint::{TensorRef, release};

/// Bytes per piece, a multiple of every element size.
const PIECE: usize = 1 << 20;

/// Whether two tensors of the same type and shape have the same bytes.
pub(super) fn same_bytes(a: &TensorRef<'_>, b: &TensorRef<'_>) -> bool {
    let mut pieces = a.data.chunks(PIECE).zip(b.data.chunks(PIECE));
    a.data.len() == b.data.len()
        && pieces.all(|(a, b)| {
            let same = a.bytes() == b.bytes();
            release([a, b]);
            same
        })
}

/// Whether a tensor is constant, as in a skeleton, or empty.
pub(super) fn is_constant(tensor: &TensorRef<'_>) -> bool {
    let size = (tensor.dtype.bitsize() / 8).max(1);
    let first = tensor.bytes().get(..size);
    tensor.data.chunks(PIECE).all(|piece| {
        let constant = piece.bytes().chunks_exact(size).all(|element| Some(element) == first);
        release([piece]);
        constant
    })
}
