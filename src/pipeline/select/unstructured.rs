//! Single weights, ranked within a tensor or across tensors.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::deciding::{Deciding, Marking};
use super::pass::{Item, Scratch, Selecting, items, note, pass};
use super::scorer::Buffers;
use super::sizes::Sizes;
use crate::pipeline::blocks::BLOCK_ELEMENTS;
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::pipeline::team::{Team, names};
use crate::prune::{
    BlockBoundary, Boundary, Enough, InQuestion, NEVER, Narrowing, Step, Ties, first_enough, key, share_of,
};

/// Maximum number of candidates that are examined one by one.
const FEW: u64 = 1 << 20;
/// Number of bins of histograms, as a power of two: of one histogram, and of all classes together.
const BITS: u32 = 19;
const ALL_BITS: u32 = 20;

/// Floor and ceiling of a tensor's sparsity as boundaries: weights that are always pruned, and
/// weights that may be.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Bounds {
    always: Option<Boundary>,
    at_most: Option<Boundary>,
}

/// Prunes all weights within the threshold: their score is 0, that of the others 1.
pub(super) fn within(
    jobs: &[Selecting<'_>],
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let items = items(jobs.iter().enumerate());
    mark(jobs, &items, &[], &Boundary::below(key(0.5)), masks, progress)
}

/// Ranks each tensor separately.
pub(super) fn by_tensor<'a>(
    jobs: Vec<Selecting<'a>>,
    sizes: Option<&mut Sizes<'_>>,
    deciding: &Deciding<'_>,
) -> Result<Marking<'a>, Error> {
    let counts: Vec<u64> = match sizes {
        None => jobs.iter().map(|job| job.count(job.elements())).collect(),
        Some(sizes) => shares(&jobs, sizes, deciding)?,
    };
    let mark = move |jobs: &[_], masks: &mut _, owns: &dyn Fn(_) -> _, progress: &dyn Progress| {
        mark_each(jobs, &counts, owns, masks, progress)
    };
    Ok(Marking::new(jobs, deciding.copies, Box::new(mark)))
}

/// Prunes this many of the first weights of each tensor, of those jobs that `owns` names.
fn mark_each(
    jobs: &[Selecting<'_>],
    counts: &[u64],
    owns: &dyn Fn(usize) -> bool,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let own = || jobs.iter().enumerate().filter(|(n, _)| owns(*n));
    let is_small = |job: &Selecting<'_>| job.elements() <= BLOCK_ELEMENTS as u64;
    let small = items(own().filter(|(_, job)| is_small(job)));
    let stored = pass(jobs, &small, progress, |scratch, item| {
        let scorer = &jobs[item.job].scorer;
        let Scratch { buffers, keys, some, stays, mask, .. } = scratch;
        keys.clear();
        scorer.keys(item.block.start, item.block.len, buffers, |piece| keys.extend_from_slice(piece))?;
        let mut boundary = BlockBoundary::smallest(keys, counts[item.job], some);
        stays.clear();
        stays.resize(keys.len().div_ceil(8), 0);
        boundary.mark(keys, stays);
        Ok(masks.put(&item.block, jobs[item.job].task.matrix, stays, mask)?)
    })?;
    note(masks, &small, &stored);
    for (n, job) in own().filter(|(_, job)| !is_small(job)) {
        let items = items([(n, job)]);
        let boundary = end_of_one(jobs, &items, counts[n], progress)?;
        mark(jobs, &items, &[], &boundary, masks, progress)?;
    }
    Ok(())
}

/// Ranks all tensors together.
pub(super) fn global<'a>(
    jobs: Vec<Selecting<'a>>,
    sizes: Option<&mut Sizes<'_>>,
    deciding: &Deciding<'_>,
) -> Result<Marking<'a>, Error> {
    let bounds = bounds(&jobs, deciding)?;
    let items = items(jobs.iter().enumerate());
    let (team, progress) = (deciding.team, deciding.progress);
    let boundary = match sizes {
        None => {
            let count = jobs[0].count(jobs.iter().map(Selecting::elements).sum());
            end(&jobs, &items, &bounds, 1, &mut |pruned| Ok(pruned[0] >= count), (team, progress))?
        }
        Some(sizes) => {
            // The last state before it turned out that everything must be pruned.
            let mut last = Vec::new();
            let mut fits = |pruned: &[u64]| {
                last = pruned.to_vec();
                sizes.fits(pruned)
            };
            let boundary = end(&jobs, &items, &bounds, jobs.len(), &mut fits, (team, progress))?;
            if boundary == Boundary::EVERYTHING {
                sizes.require(&last)?;
            }
            boundary
        }
    };
    let mark = move |jobs: &[_], masks: &mut _, owns: &dyn Fn(_) -> _, progress: &dyn Progress| {
        let own: Vec<Item> = items.iter().filter(|item| owns(item.job)).copied().collect();
        mark(jobs, &own, &bounds, &boundary, masks, progress)
    };
    Ok(Marking::new(jobs, deciding.copies, Box::new(mark)))
}

/// The bounds of each tensor; none at all if no tensor has any.
fn bounds(jobs: &[Selecting<'_>], deciding: &Deciding<'_>) -> Result<Vec<Bounds>, Error> {
    let has_any = |job: &Selecting<'_>| job.decision.floor > 0.0 || job.decision.ceiling < 1.0;
    if !jobs.iter().any(has_any) {
        return Ok(Vec::new());
    }
    let numbers: Vec<usize> = (0..jobs.len()).collect();
    deciding.team.share(
        names::BOUND,
        &numbers,
        |n| jobs[*n].task.name,
        |own| {
            let of_job = |n: &usize| {
                let job = &jobs[*n];
                let first = |x: f64| {
                    let (items, count) = (items([(*n, job)]), share_of(x, job.elements()));
                    end_of_one(jobs, &items, count, deciding.progress)
                };
                let (floor, ceiling) = (job.decision.floor, job.decision.ceiling);
                Ok(Bounds {
                    always: (floor > 0.0).then(|| first(floor)).transpose()?,
                    at_most: (ceiling < 1.0).then(|| first(ceiling)).transpose()?,
                })
            };
            own.iter().map(of_job).collect()
        },
    )
}

/// How many weights of each tensor to prune, the same share of each, so that the file has the target size.
fn shares(jobs: &[Selecting<'_>], sizes: &mut Sizes<'_>, deciding: &Deciding<'_>) -> Result<Vec<u64>, Error> {
    let items = items(jobs.iter().enumerate());
    let name = |item: &Item| jobs[item.job].task.name;
    let found = deciding.team.share(names::SCORE, &items, name, |own| {
        pass(jobs, own, deciding.progress, |scratch, item| {
            let mut may = 0;
            jobs[item.job].scorer.keys(item.block.start, item.block.len, &mut scratch.buffers, |keys| {
                may += keys.iter().filter(|key| **key != NEVER).count() as u64;
            })?;
            Ok(may)
        })
    })?;
    let mut may = vec![0; jobs.len()];
    items.iter().zip(found).for_each(|(item, n)| may[item.job] += n);
    let total: u64 = jobs.iter().map(Selecting::elements).sum();
    let counts = |of_all: u64| -> Vec<u64> {
        let x = of_all as f64 / total.max(1) as f64;
        jobs.iter().zip(&may).map(|(job, may)| share_of(x, job.elements()).min(*may)).collect()
    };
    let of_all = first_enough(total, &mut |n| sizes.fits(&counts(n)))?;
    sizes.require(&counts(of_all))?;
    Ok(counts(of_all))
}

/// Calls `each` with the keys of an item. With bounds, weights that are always pruned have key 0, and those
/// that may not be pruned have [`NEVER`].
fn keys(
    jobs: &[Selecting<'_>],
    item: &Item,
    bounds: &[Bounds],
    scratch: &mut Buffers,
    mut each: impl FnMut(&[u64]),
) -> Result<(), Error> {
    let bounds = bounds.get(item.job);
    let of_block = |boundary: Option<&Option<Boundary>>| Some(boundary?.as_ref()?.of_block(item.local));
    let mut always = of_block(bounds.map(|bounds| &bounds.always));
    let mut at_most = of_block(bounds.map(|bounds| &bounds.at_most));
    jobs[item.job].scorer.keys(item.block.start, item.block.len, scratch, |keys| {
        if always.is_some() || at_most.is_some() {
            for key in keys.iter_mut() {
                let goes = always.as_mut().is_some_and(|boundary| boundary.goes(*key));
                let may = at_most.as_mut().is_none_or(|boundary| boundary.goes(*key));
                *key = if goes {
                    0
                } else if may {
                    *key
                } else {
                    NEVER
                };
            }
        }
        each(keys);
    })
}

/// The end of a selection of this many weights of one tensor, or of a part of it.
pub(super) fn end_of_one(
    jobs: &[Selecting<'_>],
    items: &[Item],
    count: u64,
    progress: &dyn Progress,
) -> Result<Boundary, Error> {
    end(jobs, items, &[], 1, &mut |pruned| Ok(pruned[0] >= count), (&Team::alone(), progress))
}

/// Finds the end of the selection: after the smallest keys that are enough. If there are several classes,
/// there is one for each job.
fn end(
    jobs: &[Selecting<'_>],
    items: &[Item],
    bounds: &[Bounds],
    classes: usize,
    enough: Enough<'_, Error>,
    (team, progress): (&Team, &dyn Progress),
) -> Result<Boundary, Error> {
    let units: usize = items.iter().map(|item| item.block.len).sum();
    // Few enough bins compared with the weights that they take no time compared with the pass.
    let bits = (units / 16).max(1).ilog2().clamp(10, BITS);
    let mut narrowing =
        Narrowing::new(classes, bits.min(ALL_BITS.saturating_sub(classes.ilog2() + 1).max(1)));
    let class = |job: usize| if classes == 1 { 0 } else { job };
    let job_of = |block: usize| class(items[block].job);
    let name = |item: &Item| jobs[item.job].task.name;
    let mut first = true;
    loop {
        let (histogram, found) = {
            let step = if first { names::SCORE } else { names::NARROW };
            let counted = |own: &[Item]| histogram(jobs, own, bounds, &narrowing, classes, !first, progress);
            count(team, step, items, name, classes * narrowing.bins(), counted)?
        };
        // Many keys in one narrow bin are often all equal.
        let mut all = InQuestion::default();
        found.iter().for_each(|known| all.merge(known));
        if !first && all.is_one_key() {
            narrowing.tighten(&all);
            let counts: Vec<u64> = found.iter().map(|known| known.count).collect();
            return narrowing.finish(Ties::Counts(&counts), job_of, enough);
        }
        first = false;
        let among = match narrowing.narrow(&histogram, enough)? {
            Step::Nothing => return Ok(Boundary::NOTHING),
            Step::Everything => return Ok(Boundary::EVERYTHING),
            Step::Among(among) => among,
        };
        if among <= FEW {
            let found = team.share(names::NARROW, items, name, |own| {
                pass(jobs, own, progress, |scratch, item| {
                    let mut found = Vec::new();
                    keys(jobs, item, bounds, &mut scratch.buffers, |keys| {
                        narrowing.collect(keys, &mut found);
                    })?;
                    Ok(found)
                })
            })?;
            return narrowing.finish(Ties::Keys(&found), job_of, enough);
        }
    }
}

/// A histogram of all classes, and what is known of the undecided keys of each item.
type Counted = (Vec<[u64; 2]>, Vec<InQuestion>);

/// The same in a form to be sent: the bins that are not empty.
type CountedPart = (Vec<(u32, u64)>, Vec<InQuestion>);

/// The histogram of all items, with this many bins, which each process counts for its own.
fn count<'j>(
    team: &Team,
    step: &'static str,
    items: &[Item],
    name: impl Fn(&Item) -> &'j str,
    bins: usize,
    counted: impl Fn(&[Item]) -> Result<Counted, Error>,
) -> Result<Counted, Error> {
    if team.is_alone() {
        return counted(items);
    }
    let told: Vec<CountedPart> = team.step(step, || {
        let own: Vec<Item> = items.iter().filter(|item| team.owns(name(item))).copied().collect();
        let (histogram, found) = counted(&own)?;
        let counts = histogram.iter().map(|[even, odd]| even + odd).enumerate();
        Ok((counts.filter(|(_, n)| *n > 0).map(|(bin, n)| (bin as u32, n)).collect(), found))
    })?;
    let mut histogram = vec![[0; 2]; bins];
    let mut found = Vec::with_capacity(told.len());
    for (counts, known) in told {
        for (bin, n) in counts {
            if let Some(sum) = histogram.get_mut(bin as usize) {
                sum[0] += n;
            }
        }
        found.push(known);
    }
    Ok((histogram, team.in_order(items, name, found)))
}

/// Counts the keys of all items in one histogram per class, one after the other. With `survey`, also
/// summarises the undecided keys of each item.
fn histogram(
    jobs: &[Selecting<'_>],
    items: &[Item],
    bounds: &[Bounds],
    narrowing: &Narrowing,
    classes: usize,
    survey: bool,
    progress: &dyn Progress,
) -> Result<(Vec<[u64; 2]>, Vec<InQuestion>), Error> {
    let bins = narrowing.bins();
    let empty = || vec![[0; 2]; classes * bins];
    // One histogram per thread: counts can be added in any order.
    let free: Mutex<Vec<Vec<[u64; 2]>>> = Mutex::default();
    let lock = || free.lock().unwrap_or_else(PoisonError::into_inner);
    let found = pass(jobs, items, progress, |scratch, item| {
        let taken = lock().pop();
        let mut histogram = taken.unwrap_or_else(empty);
        let class = if classes == 1 { 0 } else { item.job };
        let of_class = &mut histogram[class * bins..][..bins];
        let mut known = InQuestion::default();
        let done = keys(jobs, item, bounds, &mut scratch.buffers, |keys| {
            narrowing.count(keys, of_class);
            if survey {
                narrowing.survey(keys, &mut known);
            }
        });
        lock().push(histogram);
        done.map(|()| known)
    })?;
    let mut all = free.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    let mut histogram = all.next().unwrap_or_else(empty);
    for other in all {
        for (sum, other) in histogram.iter_mut().zip(other) {
            sum[0] += other[0];
            sum[1] += other[1];
        }
    }
    Ok((histogram, found))
}

/// Writes the masks of items, in which the weights before the boundary are pruned.
pub(super) fn mark(
    jobs: &[Selecting<'_>],
    items: &[Item],
    bounds: &[Bounds],
    boundary: &Boundary,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let stored = pass(jobs, items, progress, |scratch, item| {
        let Scratch { buffers, stays, mask, .. } = scratch;
        stays.clear();
        stays.resize(item.block.len.div_ceil(8), 0);
        let mut own = boundary.of_block(item.at);
        let mut done = 0;
        keys(jobs, item, bounds, buffers, |keys| {
            own.mark(keys, &mut stays[done / 8..]);
            done += keys.len();
        })?;
        Ok(masks.put(&item.block, jobs[item.job].task.matrix, stays, mask)?)
    })?;
    note(masks, items, &stored);
    Ok(())
}
