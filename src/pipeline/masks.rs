//! Which places of the tensors to be pruned keep their value: from the comparison, and
//! then from the selection.
//!
//! A bit a weight is a thirty-second of an F32 checkpoint: too much to hold for a large one, so they go
//! through a [`Spool`].

use std::path::Path;

use super::blocks::Block;
use super::spool::Spool;
use super::task::{Tasks, TensorTask};
use crate::bits;
use crate::checkpoint::CheckpointError;
use crate::tensor::Matrix;

/// The bitmasks of a whole checkpoint.
#[derive(Debug)]
pub(super) struct Masks {
    spool: Spool,
    /// By the tensors' places in name order.
    tensors: Vec<TensorMask>,
    /// The blocks of the tensors to be pruned, each with the values kept before it in its tensor.
    blocks: Vec<(Block, usize)>,
}

/// The mask of one tensor; empty where it is not to be pruned.
#[derive(Clone, Copy, Debug, Default)]
struct TensorMask {
    /// Where it begins in the spool.
    start: u64,
    /// Its bytes.
    length: u64,
    /// Values kept.
    stored: usize,
    /// Where the bits of its changed weights begin, where it is to be pruned by more than what the comparison
    /// finds asleep, and its initial values are known.
    changed: Option<u64>,
}

impl Masks {
    /// Room for the masks of these tasks, beside this output.
    pub fn new(output: &Path, tasks: &Tasks<'_>) -> Result<Self, CheckpointError> {
        let mut end = 0;
        let mut room = |task: &TensorTask<'_>| {
            let mut mask = TensorMask { start: end, ..TensorMask::default() };
            if task.decision.is_some() {
                mask.length = task.matrix.mask_bytes() as u64;
                end += mask.length;
                if !task.pruned_by_comparison() && task.initial.is_some() {
                    mask.changed = Some(end);
                    end += mask.length;
                }
            }
            mask
        };
        let tensors = (0..tasks.tensors()).map(|n| tasks.get(n).map(&mut room).unwrap_or_default()).collect();
        Ok(Self { spool: Spool::beside(output)?, tensors, blocks: Vec::new() })
    }

    /// Values kept in each tensor, in name order; of interest for those to be pruned.
    pub fn stored(&self) -> Vec<usize> {
        self.tensors.iter().map(|mask| mask.stored).collect()
    }

    /// Values kept in one.
    pub fn stored_of(&self, tensor: usize) -> usize {
        self.tensors[tensor].stored
    }

    /// The blocks that have a mask, each with the values kept before it in its tensor: in order
    /// once all are decided.
    pub fn blocks(&self) -> &[(Block, usize)] {
        &self.blocks
    }

    /// Reads the bits of a block, its rows each padded to a byte.
    pub fn read(&self, block: &Block, matrix: Matrix, mask: &mut Vec<u8>) -> Result<(), CheckpointError> {
        self.read_at(self.tensors[block.tensor].start, block, matrix, mask)
    }

    /// The same of its changed weights; false where the comparison has left none.
    pub fn read_changed(
        &self,
        block: &Block,
        matrix: Matrix,
        changed: &mut Vec<u8>,
    ) -> Result<bool, CheckpointError> {
        match self.tensors[block.tensor].changed {
            Some(start) => self.read_at(start, block, matrix, changed).map(|()| true),
            None => Ok(false),
        }
    }

    fn read_at(
        &self,
        start: u64,
        block: &Block,
        matrix: Matrix,
        mask: &mut Vec<u8>,
    ) -> Result<(), CheckpointError> {
        let places = block.mask_bytes(matrix);
        mask.resize(places.len(), 0);
        self.spool.read(start + places.start as u64, mask)
    }

    /// Reads the bits of one row of a tensor.
    pub fn read_row(
        &self,
        tensor: usize,
        matrix: Matrix,
        row: usize,
        mask: &mut Vec<u8>,
    ) -> Result<(), CheckpointError> {
        let width = matrix.mask_row_bytes();
        mask.resize(width, 0);
        self.spool.read(self.tensors[tensor].start + (row * width) as u64, mask)
    }

    /// Writes the bits of a block, padded as [`Self::read`] gives them.
    pub fn write(&self, block: &Block, matrix: Matrix, mask: &[u8]) -> Result<(), CheckpointError> {
        let at = self.tensors[block.tensor].start + block.mask_bytes(matrix).start as u64;
        self.spool.write(at, mask)
    }

    /// Writes the bits of its changed weights, where they will be asked for.
    pub fn write_changed(
        &self,
        block: &Block,
        matrix: Matrix,
        changed: &[u8],
    ) -> Result<(), CheckpointError> {
        match self.tensors[block.tensor].changed {
            Some(start) => self.spool.write(start + block.mask_bytes(matrix).start as u64, changed),
            None => Ok(()),
        }
    }

    /// Writes the mask of a block from the bits of the places that stay, without regard to rows, and says how
    /// many do. `mask` is scratch space.
    pub fn put(
        &self,
        block: &Block,
        matrix: Matrix,
        stays: &[u8],
        mask: &mut Vec<u8>,
    ) -> Result<usize, CheckpointError> {
        mask.resize(block.mask_bytes(matrix).len(), 0);
        bits::split_rows(stays, block.columns(matrix), mask);
        self.write(block, matrix, mask)?;
        Ok(bits::count(mask) as usize)
    }

    /// Forgets which places of these tensors stay.
    pub fn forget(&mut self, is_one: impl Fn(usize) -> bool) {
        self.blocks.retain(|(block, _)| !is_one(block.tensor));
        self.tensors.iter_mut().enumerate().filter(|(n, _)| is_one(*n)).for_each(|(_, mask)| mask.stored = 0);
    }

    /// Notes how many places of a tensor's next block stay.
    pub fn note(&mut self, block: Block, stored: usize) {
        let before = &mut self.tensors[block.tensor].stored;
        self.blocks.push((block, *before));
        *before += stored;
    }

    /// Puts the blocks in the order of storage, whichever was decided first.
    pub fn sort(&mut self) {
        self.blocks.sort_by_key(|(block, _)| (block.tensor, block.start));
    }

    /// Gives tensor `to` the places of `from`, which has its shape.
    pub fn copy(&mut self, from: usize, to: usize) -> Result<(), CheckpointError> {
        const PIECE: u64 = 1 << 20;
        let blocks: Vec<_> = self.blocks.iter().filter(|(block, _)| block.tensor == from).copied().collect();
        self.blocks.extend(blocks.into_iter().map(|(block, before)| (Block { tensor: to, ..block }, before)));
        self.tensors[to].stored = self.tensors[from].stored;
        let (source, target) = (self.tensors[from], self.tensors[to]);
        let mut piece = Vec::new();
        for at in (0..source.length).step_by(PIECE as usize) {
            piece.resize(PIECE.min(source.length - at) as usize, 0);
            self.spool.read(source.start + at, &mut piece)?;
            self.spool.write(target.start + at, &piece)?;
        }
        Ok(())
    }

    /// SHA-256 of all of them.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        self.spool.digest()
    }
}
