//! Rows, columns, filters, channels and blocks: groups of weights that are pruned together, ranked by the
//! sums of their scores.
//!
//! One score per group is kept in memory, in the order of the tensor names and then of the groups.

use super::deciding::{Deciding, Marking};
use super::pass::{Item, Scratch, Selecting, items, note, pass};
use super::sizes::Sizes;
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::pipeline::team::names;
use crate::prune::{Groups, NEVER, Scope, Target, first_enough, key, share_of};

/// Number of blocks whose sums are in memory at a time: enough for any number of threads.
const AT_ONCE: usize = 64;

/// The groups of a tensor.
struct Grouped {
    groups: Groups,
    keys: Vec<u64>,
    goes: Vec<bool>,
}

impl Grouped {
    fn new(job: &Selecting<'_>, keys: Vec<u64>) -> Self {
        let goes = vec![false; keys.len()];
        Self { groups: groups_of(job), keys, goes }
    }
}

fn groups_of(job: &Selecting<'_>) -> Groups {
    Groups::new(job.decision.structure, job.task.shape, job.task.layout)
        .expect("checked before anything was read")
}

/// A group in a ranking: its key, the index of its tensor among the jobs, and its number.
type Ranked = (u64, usize, usize);

/// Ranks the groups of each tensor separately, or those of all tensors together.
pub(super) fn groups<'a>(
    jobs: Vec<Selecting<'a>>,
    sizes: Option<&mut Sizes<'_>>,
    deciding: &Deciding<'_>,
) -> Result<Marking<'a>, Error> {
    let numbers: Vec<usize> = (0..jobs.len()).collect();
    let keys = deciding.team.share(
        names::SCORE,
        &numbers,
        |n| jobs[*n].task.name,
        |own| own.iter().map(|n| measure(&jobs, *n, deciding.progress)).collect(),
    )?;
    let mut grouped: Vec<Grouped> =
        jobs.iter().zip(keys).map(|(job, keys)| Grouped::new(job, keys)).collect();
    let decision = jobs[0].decision;
    if decision.target == Target::Threshold {
        // The score is the number of weights beyond the threshold.
        for Grouped { keys, goes, .. } in &mut grouped {
            goes.iter_mut().zip(keys).for_each(|(goes, group)| *goes = *group < key(0.5));
        }
    } else if decision.scope == Scope::Global {
        bound(&jobs, &mut grouped);
        let ranking = ranking(&grouped, 0..jobs.len());
        let all: usize = grouped.iter().map(|tensor| tensor.keys.len()).sum();
        let count = match sizes {
            None => jobs[0].count(all as u64) as usize,
            Some(sizes) => {
                let always = ranking.partition_point(|(key, ..)| *key == 0);
                let with = |count: u64| pruned(&grouped, &ranking[..always.max(count as usize)]);
                let most = ranking.len() as u64;
                let count = first_enough(most, &mut |count| sizes.fits(&with(count)))?;
                sizes.require(&with(count))?;
                count as usize
            }
        };
        mark_first(&mut grouped, &ranking, count);
    } else {
        by_tensor(&jobs, &mut grouped, sizes)?;
    }
    let mark = move |jobs: &[_], masks: &mut _, owns: &dyn Fn(_) -> _, progress: &dyn Progress| {
        put(jobs, &grouped, owns, masks, progress)
    };
    Ok(Marking::new(jobs, deciding.copies, Box::new(mark)))
}

fn by_tensor(
    jobs: &[Selecting<'_>],
    grouped: &mut [Grouped],
    sizes: Option<&mut Sizes<'_>>,
) -> Result<(), Error> {
    let rankings: Vec<Vec<Ranked>> = (0..jobs.len()).map(|n| ranking(grouped, n..n + 1)).collect();
    let counts: Vec<u64> = match sizes {
        None => jobs.iter().zip(grouped.iter()).map(|(job, of)| job.count(of.keys.len() as u64)).collect(),
        Some(sizes) => {
            let total: usize = grouped.iter().map(|tensor| tensor.keys.len()).sum();
            let counts = |of_all: u64| -> Vec<u64> {
                let x = of_all as f64 / total.max(1) as f64;
                grouped.iter().map(|tensor| share_of(x, tensor.keys.len() as u64)).collect()
            };
            let with = |of_all: u64| -> Vec<u64> {
                let one = |(ranking, count): (&Vec<Ranked>, u64)| {
                    pruned(grouped, &ranking[..(count as usize).min(ranking.len())])
                };
                let each = rankings.iter().zip(counts(of_all)).map(one);
                each.fold(vec![0; grouped.len()], |sum, one| {
                    sum.iter().zip(one).map(|(a, b)| a + b).collect()
                })
            };
            let of_all = first_enough(total as u64, &mut |n| sizes.fits(&with(n)))?;
            sizes.require(&with(of_all))?;
            counts(of_all)
        }
    };
    for (ranking, count) in rankings.iter().zip(counts) {
        mark_first(grouped, ranking, count as usize);
    }
    Ok(())
}

/// The keys of a tensor's groups, from the sums of their scores: within a block in storage order, then over
/// the blocks in order.
fn measure(jobs: &[Selecting<'_>], n: usize, progress: &dyn Progress) -> Result<Vec<u64>, Error> {
    let job = &jobs[n];
    let groups = groups_of(job);
    let mut sums = vec![0.0; groups.count()];
    for items in items([(n, job)]).chunks(AT_ONCE) {
        let parts = pass(jobs, items, progress, |scratch, item| {
            let block = &item.block;
            let touched = groups.touched(block.start, block.len);
            let mut sums = vec![0.0; touched.len()];
            let mut at = block.start;
            job.scorer.scores(block.start, block.len, &mut scratch.buffers, |scores, _| {
                let mut rest = scores;
                groups.runs(at, scores.len(), |group, run| {
                    let (now, later) = rest.split_at(run);
                    now.iter().for_each(|score| sums[group - touched.start] += score);
                    rest = later;
                });
                at += scores.len();
            })?;
            Ok((touched, sums))
        })?;
        for (touched, part) in parts {
            sums[touched].iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
    }
    Ok(sums.into_iter().map(key).collect())
}

/// The groups of some tensors that may be pruned, in the order in which they are pruned.
fn ranking(grouped: &[Grouped], tensors: std::ops::Range<usize>) -> Vec<Ranked> {
    let mut ranking: Vec<Ranked> = tensors
        .flat_map(|n| grouped[n].keys.iter().enumerate().map(move |(group, key)| (*key, n, group)))
        .filter(|(key, ..)| *key != NEVER)
        .collect();
    ranking.sort_unstable();
    ranking
}

/// Moves the groups that are pruned because of a tensor's floor to the front, and removes
/// those beyond its ceiling.
fn bound(jobs: &[Selecting<'_>], grouped: &mut [Grouped]) {
    for (n, job) in jobs.iter().enumerate() {
        let (floor, ceiling) = (job.decision.floor, job.decision.ceiling);
        if floor == 0.0 && ceiling == 1.0 {
            continue;
        }
        let of = grouped[n].keys.len() as u64;
        let (always, at_most) = (share_of(floor, of) as usize, share_of(ceiling, of) as usize);
        for (rank, (_, _, group)) in ranking(grouped, n..n + 1).into_iter().enumerate() {
            if rank < always {
                grouped[n].keys[group] = 0;
            } else if rank >= at_most {
                grouped[n].keys[group] = NEVER;
            }
        }
    }
}

/// Number of weights of each tensor in these groups.
fn pruned(grouped: &[Grouped], groups: &[Ranked]) -> Vec<u64> {
    let mut pruned = vec![0; grouped.len()];
    for (_, n, group) in groups {
        pruned[*n] += grouped[*n].groups.members(*group) as u64;
    }
    pruned
}

/// Marks the first groups of a ranking, and always those that a floor has moved to the front.
fn mark_first(grouped: &mut [Grouped], ranking: &[Ranked], count: usize) {
    let always = ranking.partition_point(|(key, ..)| *key == 0);
    for (_, n, group) in &ranking[..count.max(always).min(ranking.len())] {
        grouped[*n].goes[*group] = true;
    }
}

/// Writes the masks of the jobs that `owns` names.
fn put(
    jobs: &[Selecting<'_>],
    grouped: &[Grouped],
    owns: &dyn Fn(usize) -> bool,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let items: Vec<Item> = items(jobs.iter().enumerate().filter(|(n, _)| owns(*n)));
    let stored = pass(jobs, &items, progress, |scratch, item| {
        let (block, Grouped { groups, goes, .. }) = (&item.block, &grouped[item.job]);
        let Scratch { stays, mask, .. } = scratch;
        stays.clear();
        stays.resize(block.len.div_ceil(8), 0);
        let mut at = 0;
        groups.runs(block.start, block.len, |group, run| {
            if !goes[group] {
                (at..at + run).for_each(|place| stays[place / 8] |= 1 << (place % 8));
            }
            at += run;
        });
        Ok(masks.put(block, jobs[item.job].task.matrix, stays, mask)?)
    })?;
    note(masks, &items, &stored);
    Ok(())
}
