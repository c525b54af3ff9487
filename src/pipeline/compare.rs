//! The one pass over a trained checkpoint: every weight beside its regenerated initial value, for the report and, where
//! pruning follows, for its masks.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::blocks::{self, Block, Reads};
use super::encoder::{self, PIECE};
use super::error::Error;
use super::masks::MaskSpool;
use super::origin::Action;
use super::progress::Progress;
use super::resolve::Resolved;
use super::survey::Judgement;
use crate::analysis::{
    AwakeColumns, AwakeUnits, Comparison, DeltaSpread, DeltaStats, FineCounts, Gathering, Moments,
    SleepingRows, SleepingUnits, Tally, TensorCounts, census,
};
use crate::bits;
use crate::checkpoint::{CheckpointError, Mapped};
use crate::init::Initial;
use crate::prune::Decision;
use crate::sparse::Fill;
use crate::tensor::{Axes, FloatDtype, Layout, Matrix, Shape};

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
    /// Outputs and inputs whose every weight sleeps, by the tensor's layout; `None` of vectors.
    pub sleeping_units: Option<SleepingUnits>,
    /// Sums over the weights then (without decay) and now.
    pub moments: Moments,
    /// How |delta| is distributed.
    pub spread: DeltaSpread,
}

/// Which places of the tensors to be pruned keep their value: from the comparison, and then from the selection.
#[derive(Debug)]
pub struct Masks {
    pub(super) spool: MaskSpool,
    /// Where each tensor's bitmask begins in the spool.
    pub(super) starts: Vec<u64>,
    /// How many bytes it has.
    pub(super) lengths: Vec<u64>,
    /// Values kept in each tensor; of interest for those to be pruned.
    pub(super) stored: Vec<usize>,
    /// Where the bits of each tensor's changed weights begin there, where it is to be pruned by more than what the comparison
    /// finds asleep, and its initial values are known.
    pub(super) changed: Vec<Option<u64>>,
    /// The blocks of the tensors to be pruned, each with the values kept before it in its tensor.
    pub(super) blocks: Vec<(Block, usize)>,
}

struct Job<'a> {
    shape: Shape,
    matrix: Matrix,
    dtype: FloatDtype,
    trained: Mapped<'a>,
    initial: Option<Initial<'a>>,
    /// Where the initial values are read from, if they are.
    from: Option<(Mapped<'a>, FloatDtype)>,
    comparison: Comparison,
    decay: f64,
    layout: Layout,
    columns: AwakeColumns,
    /// Outputs and inputs, where they are no rows and columns.
    units: Option<AwakeUnits>,
    /// Counts of |delta| and their largest of the blocks done so far, where there are several, and how many are to come.
    counts: Mutex<(Option<(TensorCounts, f64)>, usize)>,
    /// What they came to.
    spread: OnceLock<DeltaSpread>,
    /// Start of its mask in the spool, where it is to be pruned by what is found here.
    mask_at: Option<u64>,
    /// Start of the bits of its changed weights there, where it is to be pruned by something else.
    changed_at: Option<u64>,
}

#[derive(Default)]
struct BlockResult {
    stats: DeltaStats,
    moments: Moments,
    sleeping_rows: u64,
    stored: usize,
}

impl Job<'_> {
    fn reads(&self, block: &Block) -> Reads<'_> {
        let trained = self.trained.part(block.bytes(self.dtype.size()));
        let initial = self.from.map(|(from, dtype)| from.part(block.bytes(dtype.size())));
        let whole = self.initial.as_ref().and_then(Initial::whole);
        Reads { mapped: [Some(trained), initial, None, None], whole, ..Reads::of(trained) }
    }

    /// Adds a block's counts of |delta|; what all came to is told as soon as the last block is there, so that the counts
    /// of few tensors take memory at once. They add up to the same in any order.
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
}

#[derive(Default)]
struct Scratch {
    gathering: Gathering,
    trained: Vec<f64>,
    initial: Vec<f64>,
    /// One bit an element, without regard to rows.
    changed: Vec<u8>,
    signed_zeros: Vec<u8>,
    /// The same by rows, each padded to a byte.
    mask: Vec<u8>,
    columns: Vec<u8>,
}

/// Compares the trained checkpoint with its initial values. With `masks_for`, the places that `fill` may replace are
/// found in the same pass where they are those within the threshold.
///
/// # Errors
/// [`Error::TrainedMissing`] where there is none yet; whatever the temporary file of masks meets.
pub fn compare(
    resolved: &Resolved<'_>,
    judgement: &Judgement,
    masks_for: Option<Fill>,
    stage: &'static str,
    progress: &dyn Progress,
) -> Result<Compared, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
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
        // What is decided otherwise has its masks from the selection.
        let here = pruned && decides(resolved, name);
        let mask_at = here.then_some(mask_end);
        mask_end += if pruned { matrix.mask_bytes() as u64 } else { 0 };
        total_bytes += data.bytes().len() as u64;
        let before = work.len();
        work.extend(blocks::cut(n, matrix));
        let decided = &judgement.tensors[n];
        let initial = resolved.initial(name, tensor);
        let changed_at = (pruned && !here && initial.is_some()).then(|| {
            let start = mask_end;
            mask_end += matrix.mask_bytes() as u64;
            start
        });
        let layout = tensor.layout();
        let axes = Axes::new(&tensor.shape, layout);
        jobs.push(Some(Job {
            shape: tensor.shape.clone(),
            matrix,
            dtype,
            trained: data.data,
            initial,
            from: resolved.initial_data(name, tensor),
            comparison: Comparison::new(decided.threshold, decided.decay, dtype),
            decay: decided.decay,
            layout,
            columns: AwakeColumns::new(&tensor.shape),
            units: matches!(layout, Layout::Roles(_)).then(|| AwakeUnits::new(axes)),
            counts: Mutex::new((None, work.len() - before)),
            spread: OnceLock::new(),
            mask_at,
            changed_at,
        }));
    }
    let spool = match (masks_for, &resolved.settings.prune) {
        (Some(_), Some(prune)) => Some(MaskSpool::beside(&prune.output)?),
        _ => None,
    };
    let fill = masks_for.unwrap_or_default();
    progress.begin(stage, total_bytes);
    let results = blocks::for_each(
        &work,
        progress,
        |block| jobs[block.tensor].as_ref().map(|job| job.reads(block)).unwrap_or_default(),
        Scratch::default,
        |scratch, block| match &jobs[block.tensor] {
            Some(job) => compare_block(job, block, fill, spool.as_ref(), scratch),
            None => Ok(BlockResult::default()),
        },
    )?;
    progress.end();
    Ok(merge(&jobs, &work, &results, spool, starts))
}

/// Whether the places to be pruned are those that the comparison finds asleep.
fn decides(resolved: &Resolved<'_>, name: &str) -> bool {
    let prune = resolved.settings.prune.as_ref();
    prune.and_then(|prune| prune.decision(name)).is_some_and(Decision::is_threshold_of_weights)
}

fn compare_block(
    job: &Job<'_>,
    block: &Block,
    fill: Fill,
    spool: Option<&MaskSpool>,
    scratch: &mut Scratch,
) -> Result<BlockResult, CheckpointError> {
    let Some(initial) = &job.initial else {
        return Ok(BlockResult { stats: count(job, block, scratch), ..BlockResult::default() });
    };
    let (spool, whole_spool) = (spool.zip(job.mask_at), spool);
    let signed_zeros = spool.is_some() && fill != Fill::Zero;
    let stats = measure(job, block, initial, signed_zeros, scratch);
    job.count(&scratch.gathering.counts, stats.max);
    let moments = scratch.gathering.moments();

    let Scratch { changed, signed_zeros, mask, columns, .. } = scratch;
    let places = block.mask_bytes(job.matrix);
    let width = block.columns(job.matrix);
    mask.resize(places.len(), 0);
    bits::split_rows(changed, width, mask);
    job.columns.wake(block.column(job.matrix) / 8, mask, width.div_ceil(8), columns);
    if let Some(units) = &job.units {
        units.wake(block.start, block.len, changed);
    }
    let sleeping_rows = if block.whole_rows(job.matrix) {
        mask.chunks(width.div_ceil(8)).filter(|row| row.iter().all(|byte| *byte == 0)).count() as u64
    } else {
        0
    };
    if let Some((spool, start)) = whole_spool.zip(job.changed_at) {
        spool.write(start + places.start as u64, mask)?;
    }
    let mut stored = 0;
    if let Some((spool, start)) = spool {
        if !signed_zeros.is_empty() {
            for (changed, signed_zero) in changed.iter_mut().zip(signed_zeros) {
                *changed |= *signed_zero;
            }
            bits::split_rows(changed, width, mask);
        }
        stored = bits::count(mask) as usize;
        spool.write(start + places.start as u64, mask)?;
    }
    Ok(BlockResult { stats, moments, sleeping_rows, stored })
}

/// Regenerates and compares a block piece by piece. Leaves the changed places in `scratch.changed` and, where
/// `signed_zeros` asks for them, those of other zeros than their initial ones in `scratch.signed_zeros`, which stays
/// empty if there is none.
fn measure(
    job: &Job<'_>,
    block: &Block,
    source: &Initial<'_>,
    signed_zeros: bool,
    scratch: &mut Scratch,
) -> DeltaStats {
    let size = job.dtype.size();
    let piece = encoder::piece(source, block.len);
    scratch.trained.resize(piece, 0.0);
    scratch.initial.resize(piece, 0.0);
    scratch.changed.resize(block.len.div_ceil(8), 0);
    scratch.signed_zeros.clear();
    scratch.gathering.clear();
    let mut tally = Tally::default();
    let data = job.trained.part(block.bytes(size));
    let changed = scratch.changed.chunks_mut(piece.div_ceil(8));
    for ((n, bytes), changed) in data.bytes().chunks(piece * size).enumerate().zip(changed) {
        let len = bytes.len() / size;
        let initial = &mut scratch.initial[..len];
        source.fill(block.start + n * piece, Some(job.dtype), initial);
        let zeros = tally.add(&job.comparison, bytes, initial, changed);
        scratch.gathering.add(job.dtype, bytes, initial, tally.is_finite());
        if signed_zeros && zeros > 0 {
            let trained = &mut scratch.trained[..len];
            job.dtype.decode(bytes, trained);
            mark_signed_zeros(trained, initial, n * piece, block.len, &mut scratch.signed_zeros);
        }
    }
    tally.stats()
}

/// A zero of the other sign than its initial value is no change, but its bits are others: keeping it is what makes a
/// file restored at threshold 0 equal the trained one bit for bit. Sets the bits of such places, which begin at element
/// `start` of `len`, and makes room for the bits when there is a first one.
fn mark_signed_zeros(trained: &[f64], initial: &[f64], start: usize, len: usize, bits: &mut Vec<u8>) {
    for (n, (w, w0)) in trained.iter().zip(initial).enumerate() {
        if *w == 0.0 && *w0 == 0.0 && w.to_bits() != w0.to_bits() {
            bits.resize(len.div_ceil(8), 0);
            bits[(start + n) / 8] |= 1 << ((start + n) % 8);
        }
    }
}

/// Zeros and numbers that are not finite, of a tensor whose initial values are not known.
fn count(job: &Job<'_>, block: &Block, scratch: &mut Scratch) -> DeltaStats {
    let size = job.dtype.size();
    let mut stats = DeltaStats::default();
    scratch.trained.resize(PIECE, 0.0);
    for bytes in job.trained.part(block.bytes(size)).bytes().chunks(PIECE * size) {
        let trained = &mut scratch.trained[..bytes.len() / size];
        job.dtype.decode(bytes, trained);
        stats.merge(&census(trained));
    }
    stats
}

/// Outputs and inputs that sleep whole; `None` of vectors.
fn sleeping_units(job: &Job<'_>, sleeping_rows: u64, sleeping_columns: u64) -> Option<SleepingUnits> {
    let axes = Axes::new(&job.shape, job.layout);
    if let Some(units) = &job.units {
        return (!axes.is_vector).then(|| units.sleeping());
    }
    let found =
        job.columns.sleeping_outputs_and_inputs(&job.shape, job.layout, sleeping_rows, sleeping_columns);
    found.map(|(outputs, inputs)| SleepingUnits {
        outputs,
        inputs,
        crossed: outputs * inputs * axes.kernel as u64,
    })
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
        tensors[n].moments.merge(&result.moments);
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
            tensor.sleeping_units = sleeping_units(job, tensor.sleeping_rows, tensor.sleeping_columns);
            tensor.moments = tensor.moments.without_decay(job.decay);
            tensor.spread = job.spread.get().cloned().unwrap_or_default();
        }
    }
    let changed = jobs.iter().map(|job| job.as_ref().and_then(|job| job.changed_at)).collect();
    let lengths =
        jobs.iter().map(|job| job.as_ref().map_or(0, |job| job.matrix.mask_bytes() as u64)).collect();
    let masks = spool.map(|spool| Masks { spool, starts, lengths, stored, changed, blocks });
    Compared { tensors, masks }
}
