//! The findings of one block when its weights are compared with their initial values.

use serde::{Deserialize, Serialize};

use super::blocks::Block;
use super::task::TensorTask;
use crate::analysis::exact::bytes;
use crate::analysis::{DeltaStats, FineCounts, Gathering, Moments, Tally, census};
use crate::encoder::PIECE;

/// Findings of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockFindings {
    /// Counts and sums; without known initial values, only zeros, NaN and infinities.
    pub stats: DeltaStats,
    /// Sums over the trained weights and the initial values.
    pub moments: Moments,
    /// The distribution of |delta|.
    pub counts: FineCounts,
    /// The changed weights: one bit per element, without padding of rows. Empty without known initial values.
    #[serde(with = "bytes")]
    pub changed: Vec<u8>,
    /// Zeros whose sign differs from that of the initial value, in the same form; empty if there are none, or
    /// if they are not requested.
    #[serde(with = "bytes")]
    pub signed_zeros: Vec<u8>,
}

impl BlockFindings {
    /// Whether its form matches this block of the task.
    pub fn fits(&self, task: &TensorTask<'_>, block: &Block) -> bool {
        let fits = |bits: &[u8]| {
            bits.len() == block.len.div_ceil(8)
                && (block.len.is_multiple_of(8) || bits[bits.len() - 1] >> (block.len % 8) == 0)
        };
        let known = task.initial.is_some();
        self.stats.total == block.len as u64
            && self.stats.changed <= self.stats.total
            && if known { fits(&self.changed) } else { self.changed.is_empty() }
            && (self.signed_zeros.is_empty() || fits(&self.signed_zeros))
    }
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    gathering: Gathering,
    trained: Vec<f64>,
    initial: Vec<f64>,
}

impl BlockFindings {
    /// Generates the initial values of a block and compares them, piece by piece. `signed_zeros` requests the
    /// zeros whose sign has changed.
    pub fn find(&mut self, task: &TensorTask<'_>, block: &Block, signed_zeros: bool, buffers: &mut Buffers) {
        self.changed.clear();
        self.signed_zeros.clear();
        match task.initial {
            Some(_) => self.compare(task, block, signed_zeros, buffers),
            None => self.count(task, block, buffers),
        }
    }

    fn compare(&mut self, task: &TensorTask<'_>, block: &Block, signed_zeros: bool, buffers: &mut Buffers) {
        let Buffers { gathering, trained, initial } = buffers;
        let (size, comparison) = (task.dtype.size(), task.comparison());
        let piece = task.piece(block.len);
        trained.resize(piece, 0.0);
        initial.resize(piece, 0.0);
        self.changed.resize(block.len.div_ceil(8), 0);
        gathering.clear();
        let mut tally = Tally::default();
        let data = task.values(block);
        let changed = self.changed.chunks_mut(piece.div_ceil(8));
        for ((n, bytes), changed) in data.bytes().chunks(piece * size).enumerate().zip(changed) {
            let len = bytes.len() / size;
            let initial = &mut initial[..len];
            task.fill(block.start + n * piece, initial);
            let zeros = tally.add(&comparison, bytes, initial, changed);
            gathering.add(task.dtype, bytes, initial, tally.is_finite());
            if signed_zeros && zeros > 0 {
                let trained = &mut trained[..len];
                task.dtype.decode(bytes, trained);
                mark_signed_zeros(trained, initial, n * piece, block.len, &mut self.signed_zeros);
            }
        }
        self.stats = tally.stats();
        self.moments = gathering.moments();
        std::mem::swap(&mut self.counts, &mut gathering.counts);
    }

    /// Zeros, NaN and infinities of a tensor whose initial values are unknown.
    fn count(&mut self, task: &TensorTask<'_>, block: &Block, buffers: &mut Buffers) {
        let size = task.dtype.size();
        self.stats = DeltaStats::default();
        self.moments = Moments::default();
        buffers.trained.resize(PIECE, 0.0);
        for bytes in task.values(block).bytes().chunks(PIECE * size) {
            let trained = &mut buffers.trained[..bytes.len() / size];
            task.dtype.decode(bytes, trained);
            self.stats.merge(&census(trained));
        }
    }
}

/// A zero whose sign differs from that of its initial value has not changed, but its bits differ. Such zeros
/// are kept, so that a file restored at threshold 0 equals the trained one bit for bit. This sets their bits,
/// for weights from element `start` of `len` on, and allocates the bits when the first one is found.
fn mark_signed_zeros(trained: &[f64], initial: &[f64], start: usize, len: usize, bits: &mut Vec<u8>) {
    for (n, (w, w0)) in trained.iter().zip(initial).enumerate() {
        if *w == 0.0 && *w0 == 0.0 && w.to_bits() != w0.to_bits() {
            bits.resize(len.div_ceil(8), 0);
            bits[(start + n) / 8] |= 1 << ((start + n) % 8);
        }
    }
}
