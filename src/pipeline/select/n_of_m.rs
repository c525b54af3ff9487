//! `n` of every `m` neighbours.

use super::pass::{Scratch, Selecting, items, note, pass};
use super::scorer::Buffers;
use super::scorer::Scorer;
use crate::pipeline::blocks::Block;
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::prune::{Along, Lane, keep_largest, keep_largest_of};

/// Keeps the `n` largest scores of every `m` neighbours, in one pass.
pub(super) fn keep(
    jobs: &[Selecting<'_>],
    (n, m, along): (usize, usize, Along),
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let lane = |job: &Selecting<'_>| {
        Lane::new(along, job.task.shape, job.task.layout).expect("checked before reading").stride
    };
    let strides: Vec<usize> = jobs.iter().map(lane).collect();
    let items = items(jobs.iter().enumerate());
    let stored = pass(jobs, &items, progress, |scratch, item| {
        let (scorer, block) = (&jobs[item.job].scorer, &item.block);
        let Scratch { buffers, scores, column, order, stays, mask, .. } = scratch;
        stays.clear();
        stays.resize(block.len.div_ceil(8), 0);
        // The weights of the block that stay; neighbours outside the block are examined too.
        let stay = |place: usize, keep: bool, stays: &mut Vec<u8>| {
            let place = place.wrapping_sub(block.start);
            if keep && place < block.len {
                stays[place / 8] |= 1 << (place % 8);
            }
        };
        let whole = block.start % m == 0 && block.len % m == 0;
        match strides[item.job] {
            0 | 1 if whole && matches!(m, 2 | 4 | 8) => {
                scores.clear();
                scorer.scores(block.start, block.len, buffers, |piece, _| scores.extend_from_slice(piece))?;
                match m {
                    2 => keep_largest_of::<2>(scores, n, stays),
                    4 => keep_largest_of::<4>(scores, n, stays),
                    _ => keep_largest_of::<8>(scores, n, stays),
                }
            }
            0 | 1 => {
                // A part of a long row may begin and end within a group, whose other weights are then
                // examined too. Rows consist of whole groups, so groups can be counted from the first
                // element of the tensor.
                let start = block.start / m * m;
                let end = (block.start + block.len).next_multiple_of(m);
                scores.clear();
                scorer.scores(start, end - start, buffers, |piece, _| scores.extend_from_slice(piece))?;
                for (group, scores) in scores.chunks(m).enumerate() {
                    keep_largest(scores, n, order, |at, keep| stay(start + group * m + at, keep, stays));
                }
            }
            stride => {
                for part in slabs(block, stride, m) {
                    let Slabs { first, width, .. } = part;
                    gather(scorer, &part, (stride, m), buffers, scores)?;
                    // The scores of neighbours are one width apart.
                    for (slab, scores) in scores.chunks(m * width).enumerate() {
                        for lane in 0..width {
                            column.clear();
                            column.extend((0..m).map(|at| scores[at * width + lane]));
                            let place = first + slab * m * stride + lane;
                            keep_largest(column, n, order, |at, keep| {
                                stay(place + at * stride, keep, stays);
                            });
                        }
                    }
                }
            }
        }
        Ok(masks.put(block, jobs[item.job].task.matrix, stays, mask)?)
    })?;
    note(masks, &items, &stored);
    Ok(())
}

/// Groups of neighbours that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slabs {
    /// First element of the first group.
    first: usize,
    /// Number of adjacent groups.
    width: usize,
    /// Number of slabs; all but the first are whole.
    count: usize,
}

/// Neighbours at distance `stride` lie in slabs of `m * stride` elements, which follow each other from
/// the first element of the tensor on. The groups of a slab begin at its first `stride` elements.
/// Returns the slabs that a block touches: whole slabs if they are no larger than the block, else only
/// the groups that it needs.
fn slabs(block: &Block, stride: usize, m: usize) -> Vec<Slabs> {
    let (slab, end) = (m * stride, block.start + block.len);
    let whole = |n: usize| n / slab * slab;
    if slab <= block.len {
        let first = whole(block.start);
        return vec![Slabs { first, width: stride, count: (end - first).div_ceil(slab) }];
    }
    let mut found = Vec::new();
    let mut at = block.start;
    while at < end {
        let (first, until) = (whole(at), (whole(at) + slab).min(end));
        let lane = (at - first) % stride;
        if lane + (until - at) <= stride {
            found.push(Slabs { first: first + lane, width: until - at, count: 1 });
        } else {
            found.push(Slabs { first, width: stride, count: 1 });
        }
        at = until;
    }
    found
}

/// The scores of groups: for each slab, first those of the first members, then those of the
/// second members, and so on.
fn gather(
    scorer: &Scorer<'_>,
    slabs: &Slabs,
    (stride, m): (usize, usize),
    buffers: &mut Buffers,
    scores: &mut Vec<f64>,
) -> Result<(), Error> {
    scores.clear();
    let Slabs { first, width, count } = *slabs;
    let mut add = |start, len| scorer.scores(start, len, buffers, |piece, _| scores.extend_from_slice(piece));
    if width == stride {
        return add(first, count * m * stride);
    }
    (0..m).try_for_each(|at| add(first + at * stride, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_need_whole_slabs_or_the_groups_that_they_touch() {
        let of = |start, len, stride, m| {
            let found = slabs(&Block { tensor: 0, start, len }, stride, m);
            found.into_iter().map(|Slabs { first, width, count }| (first, width, count)).collect::<Vec<_>>()
        };
        // Kernels of 9, four channels: 36 places.
        assert_eq!(of(30, 50, 9, 4), [(0, 9, 3)]);
        // Two rows of 100 outputs of the second slab.
        assert_eq!(of(500, 200, 100, 4), [(400, 100, 1)]);
        // Three rows of which the first is another slab's.
        assert_eq!(of(300, 300, 100, 4), [(0, 100, 1), (400, 100, 1)]);
        // A part of one row.
        assert_eq!(of(530, 60, 100, 4), [(430, 60, 1)]);
    }
}
