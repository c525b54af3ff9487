//! The one pass over a trained checkpoint: every weight beside its regenerated initial value, for the report and, where
//! pruning follows, for its masks.

use super::blocks::{self, Block};
use super::error::Error;
use super::masks::MaskSpool;
use super::progress::Progress;
use super::resolve::{Action, Resolved};
use crate::analysis::{AwakeColumns, Comparison, DeltaStats, SleepingRows, census};
use crate::checkpoint::CheckpointError;
use crate::init::Initial;
use crate::sparse::{Fill, bitmask};
use crate::tensor::{FloatDtype, Matrix};

/// What the comparison found, tensors in name order.
#[derive(Debug)]
pub struct Compared {
    /// One for every tensor of the trained checkpoint.
    pub tensors: Vec<ComparedTensor>,
    /// Where pruning follows: which places keep their value.
    pub masks: Option<Masks>,
}

/// What the comparison found of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedTensor {
    /// Counts and sums; of a tensor without known initial values only the census, of other types nothing.
    pub stats: DeltaStats,
    /// Whether it was compared.
    pub compared: bool,
    /// Rows whose every weight sleeps.
    pub sleeping_rows: u64,
    /// Columns whose every weight sleeps.
    pub sleeping_columns: u64,
}

/// Which places of the tensors to be pruned keep their value.
#[derive(Debug)]
pub struct Masks {
    pub(super) spool: MaskSpool,
    /// Where each tensor's bitmask begins in the spool.
    pub(super) starts: Vec<u64>,
    /// Values kept in each tensor; of interest for those to be pruned.
    pub(super) stored: Vec<usize>,
    /// The blocks of the tensors to be pruned, each with the values kept before it in its tensor.
    pub(super) blocks: Vec<(Block, usize)>,
}

struct Job<'a> {
    matrix: Matrix,
    dtype: FloatDtype,
    bytes: &'a [u8],
    initial: Option<Initial<'a>>,
    comparison: Comparison,
    columns: AwakeColumns,
    /// Start of its mask in the spool, where it is to be pruned.
    mask_at: Option<u64>,
}

#[derive(Default)]
struct BlockResult {
    stats: DeltaStats,
    sleeping_rows: u64,
    stored: usize,
}

#[derive(Default)]
struct Scratch {
    trained: Vec<f64>,
    initial: Vec<f64>,
    changed: Vec<u8>,
    mask: Vec<u8>,
}

/// Compares the trained checkpoint with its initial values. With `masks_for`, the places that `fill` may replace are
/// found in the same pass.
///
/// # Errors
/// [`Error::TrainedMissing`] where there is none yet; whatever the temporary file of masks meets.
pub fn compare(
    resolved: &Resolved<'_>,
    masks_for: Option<Fill>,
    stage: &'static str,
    progress: &dyn Progress,
) -> Result<Compared, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let settings = resolved.settings;
    let mut jobs: Vec<Option<Job<'_>>> = Vec::with_capacity(tensors.len());
    let mut work: Vec<Block> = Vec::new();
    let (mut total_bytes, mut mask_end) = (0u64, 0u64);
    let mut starts = Vec::with_capacity(tensors.len());
    for (n, ((name, tensor), (_, data))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
        starts.push(mask_end);
        let Some(dtype) = FloatDtype::of(tensor.dtype) else {
            jobs.push(None);
            continue;
        };
        let matrix = tensor.shape.matrix();
        let pruned = masks_for.is_some() && tensor.action == Action::Prune;
        let mask_at = pruned.then_some(mask_end);
        mask_end += if pruned { matrix.mask_bytes() as u64 } else { 0 };
        total_bytes += data.bytes.len() as u64;
        work.extend(blocks::cut(n, matrix));
        jobs.push(Some(Job {
            matrix,
            dtype,
            bytes: data.bytes,
            initial: resolved.initial(name, tensor),
            comparison: Comparison::new(settings.analyze.threshold, settings.analyze.decay, dtype),
            columns: AwakeColumns::new(matrix),
            mask_at,
        }));
    }
    let spool = match (masks_for, &settings.prune) {
        (Some(_), Some(prune)) => Some(MaskSpool::beside(&prune.output)?),
        _ => None,
    };
    let fill = masks_for.unwrap_or_default();
    progress.begin(stage, total_bytes);
    let results = blocks::for_each(
        &work,
        progress,
        |block| jobs[block.tensor].as_ref().map_or(0, |job| (block.len * job.dtype.size()) as u64),
        Scratch::default,
        |scratch, block| match &jobs[block.tensor] {
            Some(job) => compare_block(job, block, fill, spool.as_ref(), scratch),
            None => Ok(BlockResult::default()),
        },
    )?;
    progress.end();
    Ok(merge(&jobs, &work, &results, spool, starts))
}

fn compare_block(
    job: &Job<'_>,
    block: &Block,
    fill: Fill,
    spool: Option<&MaskSpool>,
    scratch: &mut Scratch,
) -> Result<BlockResult, CheckpointError> {
    let Scratch { trained, initial, changed, mask } = scratch;
    trained.resize(block.len, 0.0);
    job.dtype.decode(&job.bytes[block.bytes(job.dtype.size())], trained);
    let Some(source) = &job.initial else {
        return Ok(BlockResult { stats: census(trained), ..BlockResult::default() });
    };
    initial.resize(block.len, 0.0);
    changed.resize(block.len, 0);
    source.fill(block.start, job.dtype, initial);
    let stats = job.comparison.compare(trained, initial, changed);

    let places = block.mask_bytes(job.matrix);
    mask.resize(places.len(), 0);
    let columns = block.columns(job.matrix);
    pack(changed, columns, mask);
    for line in mask.chunks(columns.div_ceil(8)) {
        job.columns.wake(block.column(job.matrix) / 8, line);
    }
    let sleeping_rows = if block.whole_rows(job.matrix) {
        changed.chunks(columns).filter(|row| !row.contains(&1)).count() as u64
    } else {
        0
    };
    let mut stored = 0;
    if let (Some(spool), Some(start)) = (spool, job.mask_at) {
        if fill == Fill::Init && keep_signed_zeros(trained, initial, changed) {
            pack(changed, columns, mask);
        }
        stored = bitmask::count(mask);
        spool.write(start + places.start as u64, mask)?;
    }
    Ok(BlockResult { stats, sleeping_rows, stored })
}

/// A zero of the other sign than its initial value is no change, but its bits are others: keeping it is what makes a
/// file restored at threshold 0 equal the trained one bit for bit. Says whether there was one.
fn keep_signed_zeros(trained: &[f64], initial: &[f64], keep: &mut [u8]) -> bool {
    let mut found = false;
    for ((w, w0), keep) in trained.iter().zip(initial).zip(keep) {
        if *w == 0.0 && *w0 == 0.0 && w.to_bits() != w0.to_bits() {
            *keep = 1;
            found = true;
        }
    }
    found
}

fn pack(flags: &[u8], columns: usize, mask: &mut [u8]) {
    for (flags, mask) in flags.chunks(columns).zip(mask.chunks_mut(columns.div_ceil(8))) {
        bitmask::pack_row(flags, mask);
    }
}

/// Adds the blocks up, in their order.
fn merge(
    jobs: &[Option<Job<'_>>],
    work: &[Block],
    results: &[BlockResult],
    spool: Option<MaskSpool>,
    starts: Vec<u64>,
) -> Compared {
    let mut tensors = vec![ComparedTensor::default(); jobs.len()];
    let mut rows: Vec<SleepingRows> =
        std::iter::repeat_with(SleepingRows::default).take(jobs.len()).collect();
    let mut stored = vec![0; jobs.len()];
    let mut blocks = Vec::new();
    for (block, result) in work.iter().zip(results) {
        let n = block.tensor;
        let Some(job) = &jobs[n] else { continue };
        tensors[n].stats.merge(&result.stats);
        if block.whole_rows(job.matrix) {
            rows[n].whole(result.sleeping_rows);
        } else {
            rows[n].part(job.matrix, block.len, result.stats.changed);
        }
        if job.mask_at.is_some() {
            blocks.push((*block, stored[n]));
            stored[n] += result.stored;
        }
    }
    for ((tensor, job), rows) in tensors.iter_mut().zip(jobs).zip(rows) {
        let Some(job) = job else { continue };
        if job.initial.is_some() {
            tensor.compared = true;
            tensor.sleeping_rows = if job.matrix.cols == 0 { 0 } else { rows.count() };
            tensor.sleeping_columns = job.columns.sleeping(job.matrix, tensor.stats.sleeping());
        }
    }
    Compared { tensors, masks: spool.map(|spool| Masks { spool, starts, stored, blocks }) }
}
