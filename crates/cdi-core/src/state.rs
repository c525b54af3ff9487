//! The state of a checkpoint: a digest of its tensors, whatever files they are in.
//!
//! The bytes of a tensor are cut into the blocks that are coded (`blocks::cut`; a tensor whose elements are
//! not whole bytes is read as one row of bytes), so that a block can be digested while it is in the cache, by
//! any thread. `docs/deltas.md` specifies the digest.

use core::ops::Range;

use blake3::Hasher;
use safetensors::Dtype;

use crate::blocks::{self, Reads};
use crate::checkpoint::{Checkpoint, TensorRef};
use crate::prelude::*;
use crate::tensor::{Matrix, Shape};
use crate::workers::Workers;

/// BLAKE3 of a block's bytes, or of the digests of a tensor's blocks.
pub type Digest = [u8; 32];

/// How many blocks are digested before their digests are combined.
const AT_ONCE: usize = 1 << 16;

// SHA-256 took half of the time of applying a delta, with the processor's instructions for it.
/// Of a block.
pub fn of_block(bytes: &[u8]) -> Digest {
    *blake3::hash(bytes).as_bytes()
}

/// The byte ranges of the blocks of a tensor, in order.
pub fn ranges(dtype: Dtype, shape: &Shape) -> impl Iterator<Item = Range<usize>> + use<> {
    let bits = dtype.bitsize();
    let whole = bits.is_multiple_of(8);
    let bytes = Matrix { rows: 1, cols: shape.bytes(bits).unwrap_or_default() };
    let (matrix, size) = if whole { (shape.matrix(), bits / 8) } else { (bytes, 1) };
    blocks::cut(0, matrix).map(move |block| block.bytes(size))
}

/// The digest of a tensor, from those of its blocks in order.
#[derive(Debug, Default)]
pub struct TensorDigest(Hasher);

impl TensorDigest {
    /// Adds the digest of the next block.
    pub fn add(&mut self, block: &Digest) {
        self.0.update(block);
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        *self.0.finalize().as_bytes()
    }
}

/// Of a tensor with these blocks.
impl<'a> FromIterator<&'a Digest> for TensorDigest {
    fn from_iter<I: IntoIterator<Item = &'a Digest>>(blocks: I) -> Self {
        let mut found = Self::default();
        blocks.into_iter().for_each(|block| found.add(block));
        found
    }
}

/// The digest of the tensors that were added to it, in name order.
#[derive(Debug, Default)]
pub struct State(Hasher);

impl State {
    /// Adds a tensor with its digest.
    pub fn add(&mut self, name: &str, dtype: Dtype, shape: &Shape, digest: &Digest) {
        let number = |n: usize| (n as u64).to_le_bytes();
        let dtype = dtype.to_string();
        for text in [name, &dtype] {
            self.0.update(&number(text.len()));
            self.0.update(text.as_bytes());
        }
        self.0.update(&number(shape.rank()));
        for dim in shape.dims() {
            self.0.update(&number(*dim));
        }
        self.0.update(digest);
    }

    /// The state, in hexadecimal.
    pub fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    /// The state of a checkpoint. `advance` receives the bytes that are done; once it returns true, the work
    /// ends early, and the result is `None`.
    pub fn of(
        checkpoint: &Checkpoint,
        workers: &impl Workers,
        advance: impl Fn(u64) -> bool + Sync + Send,
    ) -> Option<String> {
        let mut state = Self::default();
        let mut all = checkpoint.tensors().peekable();
        while all.peek().is_some() {
            // Some tensors at a time: at least one.
            let (mut some, mut items) = (Vec::new(), Vec::new());
            while let Some((name, tensor)) = all.next_if(|_| items.len() < AT_ONCE) {
                let first = items.len();
                items.extend(ranges(tensor.dtype, tensor.shape).map(|range| tensor.data.part(range)));
                some.push((name, tensor, first..items.len()));
            }
            let digests = blocks::for_each(
                workers,
                &items,
                |_| {},
                |part| Reads::of(*part),
                || (),
                |(), part| {
                    if advance(part.len() as u64) { Err(()) } else { Ok(of_block(part.bytes())) }
                },
            );
            let digests = digests.ok()?;
            for (name, TensorRef { dtype, shape, .. }, blocks) in some {
                let digest = digests[blocks].iter().collect::<TensorDigest>().finish();
                state.add(name, dtype, shape, &digest);
            }
        }
        Some(state.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Alone;

    /// From Python: `d = lambda b: blake3.blake3(b).digest()`; `n = lambda n: struct.pack("<Q", n)`; `t =
    /// lambda name, dtype, dims, blocks: n(len(name)) + name + n(len(dtype)) + dtype + n(len(dims)) +
    /// b"".join(map(n, dims)) + d(b"".join(map(d, blocks)))`; `d(t(b"a", b"U8", [2, 40000], [bytes([1]) *
    /// 40000, bytes([1]) * 40000]) + t(b"b", b"F4", [3, 2], [bytes(3)]))`.
    #[test]
    fn states_are_those_of_the_specification() {
        let header = concat!(
            r#"{"a":{"dtype":"U8","shape":[2,40000],"data_offsets":[0,80000]},"#,
            r#""b":{"dtype":"F4","shape":[3,2],"data_offsets":[80000,80003]}}"#
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend([1; 80_000]);
        bytes.extend([0; 3]);
        let checkpoint = Checkpoint::from_bytes("in memory", bytes.into()).unwrap();
        let state = State::of(&checkpoint, &Alone, |_| false).unwrap();
        assert_eq!(state, "fb5e314a8487feda9e13c75da3bc52eb260b10ef358cf7058f7e6bfd78d60510");
        assert_eq!(State::of(&checkpoint, &Alone, |_| true), None);
    }
}
