//! Bitmasks of the weights that keep their value, in tensors to be pruned: first from the comparison,
//! then from the selection.
//!
//! One bit per weight is a thirty-second of an F32 checkpoint. For a large one, this is too much for memory,
//! so the masks are kept in a [`Spool`].

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::blocks::Block;
use super::error::{Error, PartsProblem};
use super::spool::Spool;
use super::task::{Tasks, TensorTask};
use crate::bits;
use crate::checkpoint::CheckpointError;
use crate::tensor::Matrix;

/// The bitmasks of a whole checkpoint.
#[derive(Debug)]
pub(super) struct Masks {
    spool: Spool,
    /// By the index of the tensor in name order.
    tensors: Vec<TensorMask>,
    /// The blocks of the tensors to be pruned, each with the number of values kept before it in its tensor.
    blocks: Vec<(Block, usize)>,
}

/// The mask of one tensor; empty if it is not to be pruned.
#[derive(Clone, Copy, Debug, Default)]
struct TensorMask {
    /// Its position in the spool.
    start: u64,
    /// Its size in bytes.
    length: u64,
    /// Number of values kept.
    stored: usize,
    /// Whether that is decided.
    decided: bool,
    /// Position in the spool of the bits of its changed weights. Present if its initial values are known and
    /// the pruned weights are not simply the sleeping ones.
    changed: Option<u64>,
}

/// What a part of a run says of the masks that it keeps in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedMasks {
    /// SHA-256 of the file.
    pub sha256: String,
    /// The decided tensors by their index, each with its number of values kept.
    pub stored: Vec<(usize, usize)>,
}

impl Masks {
    /// Masks for those of these tasks that `owns` names, in this spool.
    pub fn new(spool: Spool, tasks: &Tasks<'_>, owns: impl Fn(&str) -> bool) -> Self {
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
        let own = |n: usize| tasks.get(n).filter(|task| owns(task.name));
        let tensors = (0..tasks.tensors()).map(|n| own(n).map(&mut room).unwrap_or_default()).collect();
        Self { spool, tensors, blocks: Vec::new() }
    }

    /// Keeps the masks in a file of this name.
    ///
    /// # Errors
    /// Errors of writing it.
    pub fn save(&mut self, path: &Path) -> Result<SavedMasks, Error> {
        let sha256 = self.spool.keep(path)?;
        let decided = self.tensors.iter().enumerate().filter(|(_, mask)| mask.decided && mask.length > 0);
        Ok(SavedMasks { sha256, stored: decided.map(|(n, mask)| (n, mask.stored)).collect() })
    }

    /// Takes over what another process of the same part has saved.
    ///
    /// # Errors
    /// [`PartsProblem::Kept`] if it is not what was saved, and is removed; errors of reading it.
    pub fn load(&mut self, path: &Path, saved: &SavedMasks, tasks: &Tasks<'_>) -> Result<(), Error> {
        let damaged = || {
            let _ = fs::remove_file(path);
            PartsProblem::Kept.of(path)
        };
        let file = Spool::kept(path)?;
        if file.digest()? != saved.sha256 {
            return Err(damaged());
        }
        self.spool.copy_from(&file)?;
        self.blocks.clear();
        let mut mask = Vec::new();
        for (n, stored) in &saved.stored {
            let task = tasks.get(*n).filter(|_| self.tensors[*n].length > 0).ok_or_else(damaged)?;
            self.tensors[*n].stored = 0;
            for block in task.blocks() {
                self.read(&block, task.matrix, &mut mask)?;
                self.note(block, bits::count(&mask) as usize);
            }
            if self.tensors[*n].stored != *stored {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// Takes in how many values stay in tensors whose masks another process has.
    pub fn tell(&mut self, stored: &[(usize, usize)]) {
        for (n, stored) in stored {
            if let Some(mask) = self.tensors.get_mut(*n) {
                mask.stored = *stored;
            }
        }
    }

    /// Number of values kept in each tensor, in name order; meaningful for tensors to be pruned.
    pub fn stored(&self) -> Vec<usize> {
        self.tensors.iter().map(|mask| mask.stored).collect()
    }

    /// Number of values kept in one tensor.
    pub fn stored_of(&self, tensor: usize) -> usize {
        self.tensors[tensor].stored
    }

    /// The blocks that have a mask, each with the number of values kept before it in its tensor. They are in
    /// order once all are decided.
    pub fn blocks(&self) -> &[(Block, usize)] {
        &self.blocks
    }

    /// Reads the bits of a block, its rows each padded to a byte.
    pub fn read(&self, block: &Block, matrix: Matrix, mask: &mut Vec<u8>) -> Result<(), CheckpointError> {
        self.read_at(self.tensors[block.tensor].start, block, matrix, mask)
    }

    /// Reads the bits of the changed weights of a block; returns false if they were not kept.
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

    /// Writes the bits of a block, padded as in [`Self::read`].
    pub fn write(&self, block: &Block, matrix: Matrix, mask: &[u8]) -> Result<(), CheckpointError> {
        let at = self.tensors[block.tensor].start + block.mask_bytes(matrix).start as u64;
        self.spool.write(at, mask)
    }

    /// Writes the bits of the changed weights of a block, if they will be needed.
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

    /// Writes the mask of a block from the bits of the weights that stay, without padding of rows. Returns
    /// how many stay. `mask` is scratch space.
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

    /// Forgets the masks of these tensors.
    pub fn forget(&mut self, is_one: impl Fn(usize) -> bool) {
        self.blocks.retain(|(block, _)| !is_one(block.tensor));
        let forgotten = self.tensors.iter_mut().enumerate().filter(|(n, _)| is_one(*n));
        forgotten.for_each(|(_, mask)| (mask.stored, mask.decided) = (0, false));
    }

    /// Records how many weights of a tensor's next block stay.
    pub fn note(&mut self, block: Block, stored: usize) {
        let mask = &mut self.tensors[block.tensor];
        self.blocks.push((block, mask.stored));
        mask.stored += stored;
        mask.decided = true;
    }

    /// Sorts the blocks into storage order.
    pub fn sort(&mut self) {
        self.blocks.sort_by_key(|(block, _)| (block.tensor, block.start));
    }

    /// Copies the mask of tensor `from` to tensor `to`, which has the same shape.
    pub fn copy(&mut self, from: usize, to: usize) -> Result<(), CheckpointError> {
        const PIECE: u64 = 1 << 20;
        let blocks: Vec<_> = self.blocks.iter().filter(|(block, _)| block.tensor == from).copied().collect();
        self.blocks.extend(blocks.into_iter().map(|(block, before)| (Block { tensor: to, ..block }, before)));
        self.tensors[to].stored = self.tensors[from].stored;
        self.tensors[to].decided = true;
        let (source, target) = (self.tensors[from], self.tensors[to]);
        let mut piece = Vec::new();
        for at in (0..source.length).step_by(PIECE as usize) {
            piece.resize(PIECE.min(source.length - at) as usize, 0);
            self.spool.read(source.start + at, &mut piece)?;
            self.spool.write(target.start + at, &piece)?;
        }
        Ok(())
    }

    /// SHA-256 of all masks.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        self.spool.digest()
    }
}
