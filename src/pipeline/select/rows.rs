//! Single weights, ranked within each row of the matrix view.

use super::super::blocks::BLOCK_ELEMENTS;
use super::super::compare::Masks;
use super::super::error::Error;
use super::super::progress::Progress;
use super::pool::{end, mark};
use super::{Item, Job, Scratch, items, note, pass, write};
use crate::prune::Limits;

/// Each row by itself.
pub(super) fn rows(jobs: &[Job<'_>], masks: &mut Masks, progress: &dyn Progress) -> Result<(), Error> {
    let is_short = |job: &Job<'_>| job.scorer.matrix.cols <= BLOCK_ELEMENTS;
    let short = items(jobs.iter().enumerate().filter(|(_, job)| is_short(job)));
    let (spool, starts) = (&masks.spool, &masks.starts);
    let stored = pass(jobs, &short, progress, |scratch, item| {
        let (job, block) = (&jobs[item.job], &item.block);
        let cols = job.scorer.matrix.cols;
        let count = job.count(cols as u64);
        let Scratch { buffers, keys, some, stays, mask, .. } = scratch;
        keys.clear();
        job.scorer.keys(block.start, block.len, buffers, |piece| keys.extend_from_slice(piece))?;
        stays.clear();
        stays.resize(block.len.div_ceil(8), 0);
        for (row, keys) in keys.chunks(cols).enumerate() {
            let mut limits = Limits::smallest(keys, count, some);
            for (column, key) in keys.iter().enumerate() {
                let place = row * cols + column;
                stays[place / 8] |= u8::from(!limits.goes(*key)) << (place % 8);
            }
        }
        Ok(write(spool, starts, job.scorer.matrix, block, stays, mask)?)
    })?;
    note(masks, &short, &stored);
    for (n, job) in jobs.iter().enumerate().filter(|(_, job)| !is_short(job)) {
        let cols = job.scorer.matrix.cols;
        let count = job.count(cols as u64);
        // Longer rows are cut into parts, each row alike.
        for row in items([(n, job)]).chunks(cols.div_ceil(BLOCK_ELEMENTS)) {
            let parts: Vec<Item> = row.iter().enumerate().map(|(at, item)| Item { at, ..*item }).collect();
            let cut = end(jobs, &parts, &[], 1, &mut |pruned| Ok(pruned[0] >= count), progress)?;
            mark(jobs, &parts, &[], &cut, masks, progress)?;
        }
    }
    Ok(())
}
