//! `n` of every `m` consecutive columns.

use super::super::compare::Masks;
use super::super::error::Error;
use super::super::progress::Progress;
use super::{Job, Scratch, items, note, pass, write};
use crate::prune::keep_largest;

/// Keeps the `n` largest scores of every `m` columns, in one pass.
pub(super) fn keep(
    jobs: &[Job<'_>],
    n: usize,
    m: usize,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let items = items(jobs.iter().enumerate());
    let (spool, starts) = (&masks.spool, &masks.starts);
    let stored = pass(jobs, &items, progress, |scratch, item| {
        let (scorer, block) = (&jobs[item.job].scorer, &item.block);
        let Scratch { buffers, scores, order, stays, mask, .. } = scratch;
        // A part of a long row may begin and end within a group, whose other places are then looked at too. Rows are
        // whole groups, so that counting from the tensor's first place finds them.
        let start = block.start / m * m;
        let end = (block.start + block.len).next_multiple_of(m);
        scores.clear();
        scorer.scores(start, end - start, buffers, |piece, _| scores.extend_from_slice(piece))?;
        stays.clear();
        stays.resize(block.len.div_ceil(8), 0);
        for (group, scores) in scores.chunks(m).enumerate() {
            keep_largest(scores, n, order, |at, keep| {
                let place = (start + group * m + at).wrapping_sub(block.start);
                if keep && place < block.len {
                    stays[place / 8] |= 1 << (place % 8);
                }
            });
        }
        Ok(write(spool, starts, scorer.matrix, block, stays, mask)?)
    })?;
    note(masks, &items, &stored);
    Ok(())
}
