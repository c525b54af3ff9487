//! Single weights, ranked within each row, that is, among the weights of one output.

use std::ops::Range;

use super::pass::{Item, Scratch, Selecting, items, note, pass};
use super::unstructured::{end_of_one, mark};
use crate::pipeline::blocks::{self, BLOCK_ELEMENTS, Block};
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::prune::{BlockBoundary, Groups};
use crate::tensor::{Axes, Role};

/// Ranks each row separately.
pub(super) fn rows(jobs: &[Selecting<'_>], masks: &mut Masks, progress: &dyn Progress) -> Result<(), Error> {
    let are_rows = |job: &Selecting<'_>| job.task.axes().are_rows_outputs();
    let is_short = |job: &Selecting<'_>| job.task.matrix.cols <= BLOCK_ELEMENTS;
    let short = items(jobs.iter().enumerate().filter(|(_, job)| are_rows(job) && is_short(job)));
    let stored = pass(jobs, &short, progress, |scratch, item| {
        let (job, block) = (&jobs[item.job], &item.block);
        let cols = job.task.matrix.cols;
        let count = job.count(cols as u64);
        let Scratch { buffers, keys, some, stays, mask, .. } = scratch;
        keys.clear();
        job.scorer.keys(block.start, block.len, buffers, |piece| keys.extend_from_slice(piece))?;
        stays.clear();
        stays.resize(block.len.div_ceil(8), 0);
        for (row, keys) in keys.chunks(cols).enumerate() {
            let mut boundary = BlockBoundary::smallest(keys, count, some);
            for (column, key) in keys.iter().enumerate() {
                let place = row * cols + column;
                stays[place / 8] |= u8::from(!boundary.goes(*key)) << (place % 8);
            }
        }
        Ok(masks.put(block, job.task.matrix, stays, mask)?)
    })?;
    note(masks, &short, &stored);
    for (n, job) in jobs.iter().enumerate().filter(|(_, job)| !are_rows(job)) {
        apart(n, job, jobs, masks, progress)?;
    }
    for (n, job) in jobs.iter().enumerate().filter(|(_, job)| are_rows(job) && !is_short(job)) {
        let cols = job.task.matrix.cols;
        let count = job.count(cols as u64);
        // Longer rows are divided into parts, all in the same way.
        for row in items([(n, job)]).chunks(cols.div_ceil(BLOCK_ELEMENTS)) {
            let parts: Vec<Item> = row.iter().enumerate().map(|(at, item)| Item { at, ..*item }).collect();
            let boundary = end_of_one(jobs, &parts, count, progress)?;
            mark(jobs, &parts, &[], &boundary, masks, progress)?;
        }
    }
    Ok(())
}

/// Number of keys per thread, and the minimum number of elements to read in one piece,
/// which may need more keys.
const KEYS: usize = 1 << 18;
const RUN: usize = 64;
const MOST_KEYS: usize = 1 << 22;

/// Ranks each output separately if outputs are not the rows of the matrix view.
///
/// First, for some outputs at a time, it determines the last weight of each output that is pruned, by key and
/// then by position; then the masks, in storage order.
fn apart(
    n: usize,
    job: &Selecting<'_>,
    jobs: &[Selecting<'_>],
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    if job.task.shape.elements() == 0 {
        return Ok(());
    }
    let ends = Outputs::of(job).ends(progress)?;
    let rows = Groups::along(&job.task.axes(), &[Role::Expert, Role::Out]);
    let items = items([(n, job)]);
    let stored = pass(jobs, &items, progress, |scratch, item| {
        let block = &item.block;
        let Scratch { buffers, keys, stays, mask, .. } = scratch;
        keys.clear();
        job.scorer.keys(block.start, block.len, buffers, |piece| keys.extend_from_slice(piece))?;
        stays.clear();
        stays.resize(block.len.div_ceil(8), 0);
        let mut at = 0;
        rows.runs(block.start, block.len, |row, run| {
            for place in at..at + run {
                let goes = ends[row].is_some_and(|end| (keys[place], block.start + place) <= end);
                stays[place / 8] |= u8::from(!goes) << (place % 8);
            }
            at += run;
        });
        Ok(masks.put(block, job.task.matrix, stays, mask)?)
    })?;
    note(masks, &items, &stored);
    Ok(())
}

/// The outputs of a tensor, whose weights are not adjacent.
struct Outputs<'a> {
    job: &'a Selecting<'a>,
    axes: Axes,
    /// Number of weights per output, and the distance between neighbouring ones.
    row: usize,
    stride: usize,
    /// How many weights of each output are pruned.
    count: u64,
}

/// Key and position of the last weight of an output that is pruned.
type End = Option<(u64, usize)>;

impl<'a> Outputs<'a> {
    fn of(job: &'a Selecting<'_>) -> Self {
        let axes = job.task.axes();
        let row = axes.inputs * axes.kernel;
        Self { job, axes, row, stride: axes.stride(Role::Out), count: job.count(row as u64) }
    }

    /// The ends for all outputs, expert by expert.
    fn ends(&self, progress: &dyn Progress) -> Result<Vec<End>, Error> {
        let Self { axes, row, .. } = self;
        let batch = (KEYS / row).max((RUN / self.stride).min(MOST_KEYS / row)).clamp(1, axes.outputs);
        // Some outputs of one expert.
        let parts: Vec<(usize, Range<usize>)> = (0..axes.experts)
            .flat_map(|x| (0..axes.outputs).step_by(batch).map(move |from| (x, from)))
            .map(|(x, from)| (x, from..(from + batch).min(axes.outputs)))
            .collect();
        let reads = |(x, outputs): &(usize, Range<usize>)| {
            // Progress counts the bytes of each page once, although the weights are spread over the expert.
            let (start, len) = (x * axes.elements_of_one() + outputs.start * row, outputs.len() * row);
            self.job.scorer.reads(&Block { tensor: self.job.task.n, start, len })
        };
        progress.begin("select", parts.iter().map(|part| reads(part).bytes).sum());
        let ends = blocks::for_each(&parts, progress, reads, Scratch::default, |scratch, (x, outputs)| {
            self.ends_of(*x, outputs.clone(), scratch)
        })?;
        progress.end();
        Ok(ends.into_iter().flatten().collect())
    }

    /// The ends for some outputs of expert `x`.
    fn ends_of(&self, x: usize, outputs: Range<usize>, scratch: &mut Scratch) -> Result<Vec<End>, Error> {
        let Scratch { buffers, keys, some, .. } = scratch;
        let Self { axes, row, stride, .. } = *self;
        let first = x * axes.elements_of_one();
        // Output by output, each in storage order.
        keys.clear();
        keys.resize(outputs.len() * row, 0);
        let period = stride * axes.outputs;
        for turn in 0..axes.elements_of_one() / period {
            let start = first + turn * period + outputs.start * stride;
            let mut at = 0;
            self.job.scorer.keys(start, outputs.len() * stride, buffers, |piece| {
                for key in piece.iter() {
                    keys[at / stride * row + turn * stride + at % stride] = *key;
                    at += 1;
                }
            })?;
        }
        let last = |(output, keys): (usize, &[u64])| {
            let mut boundary = BlockBoundary::smallest(keys, self.count, some);
            let goes = keys.iter().enumerate().filter(|(_, key)| boundary.goes(**key));
            let (key, at) = goes.map(|(at, key)| (*key, at)).max()?;
            let place = first + at / stride * period + output * stride + at % stride;
            Some((key, place))
        };
        Ok(outputs.zip(keys.chunks(row)).map(last).collect())
    }
}
