//! The comparison: one pass over a trained checkpoint that compares every weight with its initial value, for
//! the report and for the masks of pruning.

use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::blocks::{self, Block};
use super::error::Error;
use super::findings::{BlockFindings, Buffers};
use super::masks::Masks;
use super::progress::Progress;
use super::task::{ByTensor, Tasks, TensorTask};
use crate::analysis::{
    AwakeColumns, AwakeUnits, DeltaSpread, DeltaStats, FineCounts, Moments, SleepingRows, SleepingUnits,
    TensorCounts,
};
use crate::bits;
use crate::checkpoint::CheckpointError;
use crate::sparse::Fill;
use crate::tensor::Layout;

/// Result of the comparison for one tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ComparedTensor {
    /// Counts and sums; without known initial values, only zeros, NaN and infinities;
    /// nothing for other types.
    pub stats: DeltaStats,
    /// Whether the tensor was compared.
    pub compared: bool,
    /// Number of rows in which every weight sleeps.
    pub sleeping_rows: u64,
    /// Number of columns in which every weight sleeps.
    pub sleeping_columns: u64,
    /// Outputs and inputs in which every weight sleeps, by the layout of the tensor; `None` for vectors.
    pub sleeping_units: Option<SleepingUnits>,
    /// Sums over the trained weights and the initial values (without decay).
    pub moments: Moments,
    /// The distribution of |delta|.
    pub spread: DeltaSpread,
}

/// Compares those tensors of the trained checkpoint that `owns` names with their initial values. The results
/// are in name order, with the index of each tensor. With `masks`, if the weights within the threshold are to
/// be pruned, the same pass determines which of them `fill` may replace.
///
/// # Errors
/// Errors of the temporary file of masks.
pub(super) fn compare(
    tasks: &Tasks<'_>,
    owns: impl Fn(&str) -> bool,
    mut masks: Option<&mut Masks>,
    fill: Fill,
    stage: &'static str,
    progress: &dyn Progress,
) -> Result<Vec<(usize, ComparedTensor)>, Error> {
    let totals = tasks.filter_map(|task| owns(task.name).then(|| Total::new(task)));
    let work: Vec<Block> = totals.iter().flat_map(|total| total.task.blocks()).collect();
    progress.begin(stage, totals.iter().map(|total| total.task.trained.len() as u64).sum());
    let shared = masks.as_deref();
    let found = blocks::for_each(
        &work,
        progress,
        |block| tasks[block].reads(block),
        Scratch::default,
        |Scratch { buffers, result, rows }, block| {
            let total = &totals[block];
            let prunes = shared.is_some() && total.task.pruned_by_comparison();
            result.find(total.task, block, prunes && fill != Fill::Zero, buffers);
            total.take(block, result, shared, rows)
        },
    )?;
    progress.end();
    let compared = merge(totals, &work, &found).enumerate();
    let compared = compared.filter_map(|(n, compared)| Some((n, compared?))).collect();
    if let Some(masks) = &mut masks {
        for (block, ordered) in work.iter().zip(&found) {
            if tasks[block].pruned_by_comparison() {
                masks.note(*block, ordered.stored);
            }
        }
    }
    Ok(compared)
}

/// The results for every tensor, in name order, of which `found` has those that are compared.
pub(super) fn for_every_tensor(
    tasks: &Tasks<'_>,
    found: impl IntoIterator<Item = (usize, ComparedTensor)>,
) -> Vec<ComparedTensor> {
    let mut all = vec![ComparedTensor::default(); tasks.tensors()];
    for (n, compared) in found {
        if let Some(place) = all.get_mut(n) {
            *place = compared;
        }
    }
    all
}

#[derive(Default)]
struct Scratch {
    buffers: Buffers,
    result: BlockFindings,
    rows: Rows,
}

/// Bits of rows, each padded to a byte.
#[derive(Debug, Default)]
pub(super) struct Rows {
    mask: Vec<u8>,
    columns: Vec<u8>,
}

/// Accumulates the results of the blocks of one tensor.
pub(super) struct Total<'a> {
    pub task: &'a TensorTask<'a>,
    columns: AwakeColumns,
    /// Outputs and inputs, if they are not rows and columns.
    units: Option<AwakeUnits>,
    /// Counts of |delta|, and the largest, of the blocks so far if there are several, and the number
    /// of remaining blocks.
    counts: Mutex<(Option<(TensorCounts, f64)>, usize)>,
    /// The resulting distribution.
    spread: OnceLock<DeltaSpread>,
}

/// The part of a block's results that must be merged in block order.
pub(super) struct Ordered {
    stats: DeltaStats,
    moments: Moments,
    sleeping_rows: u64,
    stored: usize,
}

impl<'a> Total<'a> {
    pub fn new(task: &'a TensorTask<'a>) -> Self {
        Self {
            task,
            columns: AwakeColumns::new(task.shape),
            units: matches!(task.layout, Layout::Roles(_)).then(|| AwakeUnits::new(task.axes())),
            counts: Mutex::new((None, task.blocks().count())),
            spread: OnceLock::new(),
        }
    }

    /// Adds the results of a block, in any order. Returns the part that must be merged in block order.
    pub fn take(
        &self,
        block: &Block,
        found: &BlockFindings,
        masks: Option<&Masks>,
        rows: &mut Rows,
    ) -> Result<Ordered, CheckpointError> {
        let BlockFindings { stats, moments, counts, changed, signed_zeros } = found;
        let mut ordered = Ordered { stats: *stats, moments: *moments, sleeping_rows: 0, stored: 0 };
        if self.task.initial.is_none() {
            return Ok(ordered);
        }
        self.count(counts, stats.max);
        let Rows { mask, columns } = rows;
        let matrix = self.task.matrix;
        let width = block.columns(matrix);
        mask.resize(block.mask_bytes(matrix).len(), 0);
        bits::split_rows(changed, width, mask);
        self.columns.wake(block.column(matrix) / 8, mask, width.div_ceil(8), columns);
        if let Some(units) = &self.units {
            units.wake(block.start, block.len, changed);
        }
        if block.whole_rows(matrix) {
            let sleeping = |row: &&[u8]| row.iter().all(|byte| *byte == 0);
            ordered.sleeping_rows = mask.chunks(width.div_ceil(8)).filter(sleeping).count() as u64;
        }
        let Some(masks) = masks else { return Ok(ordered) };
        masks.write_changed(block, matrix, mask)?;
        if self.task.pruned_by_comparison() {
            if !signed_zeros.is_empty() {
                let stays: Vec<u8> = changed.iter().zip(signed_zeros).map(|(a, b)| a | b).collect();
                bits::split_rows(&stays, width, mask);
            }
            ordered.stored = bits::count(mask) as usize;
            masks.write(block, matrix, mask)?;
        }
        Ok(ordered)
    }

    /// Adds a block's counts of |delta|, in any order. They are evaluated as soon as the last block is added,
    /// so that only few tensors have counts in memory at a time.
    fn count(&self, counts: &FineCounts, max: f64) {
        let mut guard = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (so_far, to_come) = &mut *guard;
        *to_come -= 1;
        let spread = match (so_far.as_mut(), *to_come) {
            (None, 0) => counts.spread(max),
            (None, _) => {
                let mut all = TensorCounts::default();
                all.merge(counts);
                *so_far = Some((all, max));
                return;
            }
            (Some((all, largest)), to_come) => {
                all.merge(counts);
                *largest = largest.max(max);
                if to_come > 0 {
                    return;
                }
                all.spread(*largest)
            }
        };
        *so_far = None;
        let _ = self.spread.set(spread);
    }

    /// The result, including the part that was merged in order.
    fn finish(self, sums: &Sums) -> ComparedTensor {
        let Sums { stats, moments, rows } = sums;
        let matrix = self.task.matrix;
        if self.task.initial.is_none() {
            return ComparedTensor { stats: *stats, moments: *moments, ..ComparedTensor::default() };
        }
        let sleeping_rows = if matrix.cols == 0 { 0 } else { rows.count() };
        let sleeping_columns = self.columns.sleeping(matrix, stats.sleeping());
        ComparedTensor {
            stats: *stats,
            compared: true,
            sleeping_rows,
            sleeping_columns,
            sleeping_units: self.sleeping_units(sleeping_rows, sleeping_columns),
            moments: moments.without_decay(self.task.calibration.decay),
            spread: self.spread.into_inner().unwrap_or_default(),
        }
    }

    /// Outputs and inputs in which every weight sleeps; `None` for vectors.
    fn sleeping_units(&self, sleeping_rows: u64, sleeping_columns: u64) -> Option<SleepingUnits> {
        let axes = self.task.axes();
        if let Some(units) = &self.units {
            return (!axes.is_vector).then(|| units.sleeping());
        }
        let TensorTask { shape, layout, .. } = self.task;
        let found = self.columns.sleeping_outputs_and_inputs(shape, *layout, sleeping_rows, sleeping_columns);
        found.map(|(outputs, inputs)| SleepingUnits {
            outputs,
            inputs,
            crossed: outputs * inputs * axes.kernel as u64,
        })
    }
}

/// Results that are merged in block order.
#[derive(Default)]
struct Sums {
    stats: DeltaStats,
    moments: Moments,
    rows: SleepingRows,
}

/// Merges the results of the blocks in order. Gives those of every tensor, in name order.
pub(super) fn merge<'a>(
    totals: ByTensor<Total<'a>>,
    work: &'a [Block],
    found: &'a [Ordered],
) -> impl Iterator<Item = Option<ComparedTensor>> {
    let mut blocks = work.iter().zip(found).peekable();
    totals.into_iter().enumerate().map(move |(n, total)| {
        let total = total?;
        let matrix = total.task.matrix;
        let mut sums = Sums::default();
        while let Some((block, found)) = blocks.next_if(|(block, _)| block.tensor == n) {
            sums.stats.merge(&found.stats);
            sums.moments.merge(&found.moments);
            if block.whole_rows(matrix) {
                sums.rows.whole(found.sleeping_rows);
            } else {
                sums.rows.part(matrix, block.len, found.stats.changed);
            }
        }
        Some(total.finish(&sums))
    })
}
