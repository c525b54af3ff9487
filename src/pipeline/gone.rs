//! The effect of pruning: how many of the pruned weights training had changed, and their share of the norm.

use serde::{Deserialize, Serialize};

use super::blocks::{self, Block};
use super::error::Error;
use super::masks::Masks;
use super::progress::Progress;
use super::task::{Tasks, TensorTask};
use crate::bits;
use crate::checkpoint::CheckpointError;

/// The pruned weights of one tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Gone {
    /// Pruned weights that training had changed; `None` if initial values are unknown.
    pub changed: Option<u64>,
    /// Sum of the squares of the finite pruned weights.
    pub squares: f64,
    /// Sum of the squares of all finite weights.
    pub all_squares: f64,
}

/// As in the comparison: element `n` is added to lane `n % LANES`, and the lanes are added up in order.
const LANES: usize = 8;

#[derive(Default)]
struct Scratch {
    values: Vec<f64>,
    mask: Vec<u8>,
    changed: Vec<u8>,
}

/// Measures the effect for every tensor, in name order, in one more pass over the weights of pruned tensors.
/// For tensors that are not pruned, it is zero.
pub(super) fn gone(tasks: &Tasks<'_>, masks: &Masks, progress: &dyn Progress) -> Result<Vec<Gone>, Error> {
    let work: Vec<Block> = masks.blocks().iter().map(|(block, _)| *block).collect();
    let reads = |block: &Block| tasks[block].reads_with(block, false);
    progress.begin("weigh", work.iter().map(|block| reads(block).bytes).sum());
    let found = blocks::for_each(&work, progress, reads, Scratch::default, |scratch, block| {
        weigh(&tasks[block], block, masks, scratch)
    })?;
    progress.end();
    let known = |n: usize| tasks.get(n).is_some_and(|task| task.initial.is_some());
    let nothing = |n: usize| Gone { changed: known(n).then_some(0), ..Gone::default() };
    let mut all: Vec<Gone> = (0..tasks.tensors()).map(nothing).collect();
    for (block, found) in work.iter().zip(found) {
        let all = &mut all[block.tensor];
        all.changed = all.changed.map(|changed| changed + found.changed.unwrap_or(0));
        all.squares += found.squares;
        all.all_squares += found.all_squares;
    }
    Ok(all)
}

fn weigh(
    task: &TensorTask<'_>,
    block: &Block,
    masks: &Masks,
    scratch: &mut Scratch,
) -> Result<Gone, CheckpointError> {
    let Scratch { values, mask, changed } = scratch;
    masks.read(block, task.matrix, mask)?;
    let mut gone = Gone::default();
    if masks.read_changed(block, task.matrix, changed)? {
        changed.iter_mut().zip(&*mask).for_each(|(changed, stays)| *changed &= !stays);
        gone.changed = Some(bits::count(changed));
    }
    values.resize(block.len, 0.0);
    task.dtype.decode(task.values(block).bytes(), values);
    let width = block.columns(task.matrix);
    let (mut pruned, mut all) = ([0.0; LANES], [0.0; LANES]);
    for (row, mask) in values.chunks(width).zip(mask.chunks(width.div_ceil(8))) {
        for (values, stays) in row.chunks(LANES).zip(mask) {
            for (lane, value) in values.iter().enumerate() {
                let square = if value.is_finite() { value * value } else { 0.0 };
                all[lane] += square;
                pruned[lane] += if stays >> lane & 1 == 1 { 0.0 } else { square };
            }
        }
    }
    let sum = |lanes: [f64; LANES]| lanes.iter().fold(0.0, |sum, x| sum + x);
    (gone.squares, gone.all_squares) = (sum(pruned), sum(all));
    Ok(gone)
}
