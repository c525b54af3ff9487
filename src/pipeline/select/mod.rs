//! Selection of the weights to prune, if they are not simply the sleeping ones.
//!
//! The selection consists of passes over the ranked weights: one for a histogram of scores, one to examine
//! the scores near the end of the selection (sometimes after another histogram), and one for the masks. If
//! the criterion uses initial values, each pass generates them. The weights are never sorted or copied as a
//! whole; only one score per group of a structure is kept.

mod bar;
mod deciding;
mod groups;
mod n_of_m;
mod pass;
mod rows;
mod scorer;
mod sizes;
mod ties;
mod unstructured;

use super::blocks;
use super::error::{Error, RuleProblem};
use super::masks::Masks;
use super::origin::{Action, Tensor};
use super::plan::Codes;
use super::progress::Progress;
use super::remove::check_chains;
use super::resolve::Resolved;
use super::task::Tasks;
use super::team::Team;
use crate::config::{InitSource, KeyPath, PruneSettings};
use crate::prune::{Criterion, Decision, Groups, Lane, Scope, Structure, Target, natural_order};
use crate::sparse::Fill;
use deciding::Deciding;
pub(super) use deciding::Marking;
use pass::Selecting;
use scorer::check_scores;
pub(super) use scorer::{Buffers as ScoreBuffers, Scorer};
use sizes::Sizes;

/// Refuses settings that do not fit the tensors, before anything is written.
///
/// # Errors
/// [`RuleProblem`]s, with their position in the config; scores that are missing or do not fit.
pub fn check_decisions(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    resolved.open_files_of_pruning()?;
    let (_, tensors) = resolved.trained()?;
    for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.action == Action::Prune) {
        let Some(decision) = prune.decision(name) else { continue };
        check_tensor(resolved, prune, name, tensor, decision)?;
    }
    ties::check(resolved, prune)?;
    check_chains(resolved, prune)
}

fn check_tensor(
    resolved: &Resolved<'_>,
    prune: &PruneSettings,
    name: &str,
    tensor: &Tensor,
    decision: &Decision,
) -> Result<(), Error> {
    let root = KeyPath::root().key("prune");
    let own =
        prune.rules.find(name).filter(|found| found.value.decision.structure != prune.decision.structure);
    let structure = match own {
        Some(found) => root.key("rules").index(found.rule).key("structure"),
        None => root.key("structure"),
    };
    let tensor_name = name.to_owned();
    if let Structure::OfM { m, along, .. } = decision.structure {
        match Lane::new(along, &tensor.shape, tensor.layout()) {
            Some(Lane { size, .. }) if size.is_multiple_of(m) => {}
            Some(Lane { size, what, .. }) => {
                let problem = RuleProblem::Neighbours { tensor: tensor_name, size, what, m };
                return Err(resolved.wrong(&structure, problem));
            }
            None => {
                let problem = RuleProblem::Apart { tensor: tensor_name, layout: tensor.layout() };
                return Err(resolved.wrong(&structure, problem));
            }
        }
    }
    let grouped = matches!(decision.structure, Structure::Filters | Structure::Channels);
    if grouped && Groups::new(decision.structure, &tensor.shape, tensor.layout()).is_none() {
        let problem = RuleProblem::NoChannels { tensor: tensor_name, shape: tensor.shape.clone() };
        return Err(resolved.wrong(&structure, problem));
    }
    let unknown = tensor.origin.as_ref().is_some_and(|origin| origin.source == InitSource::None);
    if unknown && prune.fill != Fill::Zero {
        return Err(resolved.wrong(&root.key("fill"), RuleProblem::NoFill { tensor: tensor_name }));
    }
    match &decision.criterion {
        Criterion::Scores(path) => check_scores(resolved, path, name, &tensor.shape, tensor.layout()),
        _ => Ok(()),
    }
}

/// Determines the masks of the tensors whose selection looks at one tensor at a time, of those that `owns`
/// names, whatever they were before.
///
/// # Errors
/// Scores that are not finite, and errors of the temporary file.
pub fn select_alone(
    resolved: &Resolved<'_>,
    (tasks, owns): (&Tasks<'_>, &dyn Fn(&str) -> bool),
    prune: &PruneSettings,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut decisions =
        tasks.iter().filter(|task| !task.pruned_by_comparison()).filter_map(|task| task.decision);
    if decisions.all(Decision::needs_other_tensors) {
        return Ok(());
    }
    let (mut pools, copies) = split(resolved, tasks, prune)?;
    pools.retain(|pool| !pool[0].decision.needs_other_tensors());
    for pool in &mut pools {
        pool.retain(|job| owns(job.task.name));
    }
    pools.retain(|pool| !pool.is_empty());
    let whole = one_bar(&pools, progress);
    let progress = whole.as_ref().map_or(progress, |whole| whole as &dyn Progress);
    for jobs in pools {
        let team = Team::alone();
        let deciding = Deciding { team: &team, tasks, copies: &copies, progress };
        decide(jobs, None, &deciding)?.mark(|_| true, masks, progress)?;
    }
    whole.iter().for_each(bar::OneBar::finish);
    Ok(())
}

/// Determines the masks of the tensors whose selection looks at several tensors or at the size of
/// the file, whatever they were before. All other masks must be determined. `codes` and `limit` are
/// as in [`Sizes`]. Several processes have not written the last masks then, which needs no step of
/// its own: the result does it.
///
/// # Errors
/// Scores that are not finite, a size that cannot be reached, and errors of the temporary file.
pub fn select_together<'a>(
    resolved: &'a Resolved<'_>,
    tasks: &'a Tasks<'a>,
    prune: &'a PruneSettings,
    (codes, limit): (&dyn Codes, Option<u64>),
    team: &Team,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<Option<Marking<'a>>, Error> {
    if !tasks.iter().filter_map(|task| task.decision).any(Decision::needs_other_tensors) {
        return Ok(None);
    }
    let (mut pools, copies) = split(resolved, tasks, prune)?;
    pools.retain(|pool| pool[0].decision.needs_other_tensors());
    // A target size applies to the whole file, so everything else must be decided first. The config allows
    // only one ranking with a target size.
    pools.sort_by_key(|pool| pool[0].decision.counts_bytes());
    let whole = one_bar(&pools, progress);
    let progress = whole.as_ref().map_or(progress, |whole| whole as &dyn Progress);
    let deciding = Deciding { team, tasks, copies: &copies, progress };
    let mut left = pools.len();
    let mut last = None;
    for jobs in pools {
        let counts = jobs[0].decision.counts_bytes();
        let sized = || {
            let stored = masks.stored();
            Sizes::new(resolved, tasks, prune, (&*jobs, &*copies), stored, (codes, limit))
        };
        let mut sizes = counts.then(sized).transpose()?;
        let marking = decide(jobs, sizes.as_mut(), &deciding)?;
        left -= 1;
        match team.is_alone() || left > 0 {
            true => marking.step(&deciding, masks)?,
            false => last = Some(marking),
        }
    }
    whole.iter().for_each(bar::OneBar::finish);
    Ok(last)
}

/// The tensors to select from, in groups that are ranked or at least processed together, and their copies.
fn split<'a>(
    resolved: &'a Resolved<'_>,
    tasks: &'a Tasks<'_>,
    prune: &PruneSettings,
) -> Result<(Vec<Vec<Selecting<'a>>>, Vec<ties::Copy>), Error> {
    let (jobs, copies) = ties::split(selecting(resolved, tasks)?, resolved, &prune.tied)?;
    let (last, first): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.decision.counts_bytes());
    Ok((pools(first).into_iter().chain(pools(last)).collect(), copies))
}

/// A progress bar for a whole selection; none if there is nothing to select.
fn one_bar<'p>(pools: &[Vec<Selecting<'_>>], progress: &'p dyn Progress) -> Option<bar::OneBar<'p>> {
    let bytes: u64 = pools.iter().flatten().map(reads).sum();
    (!pools.is_empty()).then(|| bar::OneBar::begin("select", bytes, progress))
}

/// The number of bytes that the passes over a job read, as far as it is known in advance.
fn reads(job: &Selecting<'_>) -> u64 {
    let Decision { structure, scope, target, floor, ceiling, .. } = job.decision;
    let is_small = job.elements() <= blocks::BLOCK_ELEMENTS as u64;
    let sized = matches!(target, Target::Bytes(_));
    let passes = match (structure, scope) {
        (Structure::OfM { .. }, _) => 1,
        (Structure::Unstructured, _) if *target == Target::Threshold => 1,
        (Structure::Unstructured, Scope::Row) if job.task.matrix.cols <= blocks::BLOCK_ELEMENTS => 1,
        (Structure::Unstructured, Scope::Tensor) if is_small => 1 + u64::from(sized),
        (Structure::Unstructured, Scope::Tensor | Scope::Row) => 3 + u64::from(sized),
        (Structure::Unstructured, Scope::Global) => {
            3 + 2 * u64::from(*floor > 0.0) + 2 * u64::from(*ceiling < 1.0)
        }
        _ => 2,
    };
    let of_one: u64 = job.task.blocks().map(|block| job.scorer.reads(&block).bytes).sum();
    passes.saturating_mul(of_one)
}

/// The tensors to select from, in name order.
fn selecting<'a>(resolved: &'a Resolved<'_>, tasks: &'a Tasks<'_>) -> Result<Vec<Selecting<'a>>, Error> {
    let mut all = Vec::new();
    for task in tasks.iter().filter(|task| !task.pruned_by_comparison()) {
        let Some(decision) = task.decision else { continue };
        let scorer = Scorer::new(resolved, task, decision)?;
        all.push(Selecting { task, decision, depth: (0, 1), scorer });
    }
    Ok(all)
}

/// Groups the jobs that are ranked, or at least processed, together, and determines the depth of each tensor.
fn pools(jobs: Vec<Selecting<'_>>) -> Vec<Vec<Selecting<'_>>> {
    let mut pools: Vec<Vec<Selecting<'_>>> = Vec::new();
    for job in jobs {
        match pools.iter_mut().find(|pool| pool[0].decision.shares_pool(job.decision)) {
            Some(pool) => pool.push(job),
            None => pools.push(vec![job]),
        }
    }
    for pool in &mut pools {
        let mut order: Vec<usize> = (0..pool.len()).collect();
        order.sort_by(|a, b| natural_order(pool[*a].task.name, pool[*b].task.name));
        for (at, job) in order.into_iter().enumerate() {
            pool[job].depth = (at, pool.len());
        }
    }
    pools
}

fn decide<'a>(
    jobs: Vec<Selecting<'a>>,
    sizes: Option<&mut Sizes<'_>>,
    deciding: &Deciding<'_>,
) -> Result<Marking<'a>, Error> {
    let Decision { structure, scope, target, .. } = jobs[0].decision;
    let copies = deciding.copies;
    Ok(match (structure, scope) {
        (Structure::OfM { n, m, along, .. }, _) => {
            let of = (*n, *m, *along);
            let mark = move |jobs: &[_], masks: &mut _, _: &dyn Fn(_) -> _, progress: &dyn Progress| {
                n_of_m::keep(jobs, of, masks, progress)
            };
            Marking::new(jobs, copies, Box::new(mark))
        }
        (Structure::Unstructured, _) if *target == Target::Threshold => Marking::new(
            jobs,
            copies,
            Box::new(|jobs, masks, _, progress| unstructured::within(jobs, masks, progress)),
        ),
        (Structure::Unstructured, Scope::Row) => {
            Marking::new(jobs, copies, Box::new(|jobs, masks, _, progress| rows::rows(jobs, masks, progress)))
        }
        (Structure::Unstructured, Scope::Tensor) => unstructured::by_tensor(jobs, sizes, deciding)?,
        (Structure::Unstructured, Scope::Global) => unstructured::global(jobs, sizes, deciding)?,
        _ => groups::groups(jobs, sizes, deciding)?,
    })
}
