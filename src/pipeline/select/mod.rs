//! Selection of the weights to prune, if they are not simply the sleeping ones.
//!
//! The selection consists of passes over the ranked weights: one for a histogram of scores, one to examine
//! the scores near the end of the selection (sometimes after another histogram), and one for the masks. If
//! the criterion uses initial values, each pass generates them. The weights are never sorted or copied as a
//! whole; only one score per group of a structure is kept.

mod bar;
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
use crate::config::{InitSource, KeyPath, PruneSettings};
use crate::prune::{Criterion, Decision, Groups, Lane, Scope, Structure, Target, natural_order};
use crate::sparse::Fill;
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

/// Determines the masks of all tensors that are not decided by the comparison, whatever they were before.
/// `codes` and `limit` are as in [`Sizes`].
///
/// # Errors
/// Scores that are not finite, a size that cannot be reached, and errors of the temporary file.
pub fn select(
    resolved: &Resolved<'_>,
    tasks: &Tasks<'_>,
    prune: &PruneSettings,
    (codes, limit): (&dyn Codes, Option<u64>),
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let jobs = selecting(resolved, tasks)?;
    // Jobs are in the order of their tensors, of which there may be very many.
    masks.forget(|n| jobs.binary_search_by_key(&n, |job| job.task.n).is_ok());
    // No progress bar if there is nothing to select.
    let bytes: u64 = jobs.iter().map(reads).sum();
    let whole = (!jobs.is_empty()).then(|| bar::OneBar::begin("select", bytes, progress));
    let progress = whole.as_ref().map_or(progress, |whole| whole as &dyn Progress);
    let (jobs, copies) = ties::split(jobs, resolved, &prune.tied)?;
    let tensors = |jobs: &[Selecting<'_>]| jobs.iter().map(|job| job.task.n).collect::<Vec<_>>();
    let (last, first): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.decision.counts_bytes());
    for jobs in pools(first) {
        decide(&jobs, None, masks, progress)?;
        ties::follow(&copies, &tensors(&jobs), masks)?;
    }
    // A target size applies to the whole file, so everything else must be decided first. The config allows
    // only one ranking with a target size.
    for jobs in pools(last) {
        let sized = (&*jobs, &*copies);
        let mut sizes = Sizes::new(resolved, tasks, prune, sized, masks.stored(), (codes, limit))?;
        decide(&jobs, Some(&mut sizes), masks, progress)?;
        ties::follow(&copies, &tensors(&jobs), masks)?;
    }
    masks.sort();
    whole.iter().for_each(bar::OneBar::finish);
    Ok(())
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

fn decide(
    jobs: &[Selecting<'_>],
    sizes: Option<&mut Sizes<'_>>,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Decision { structure, scope, target, .. } = jobs[0].decision;
    match (structure, scope) {
        (Structure::OfM { n, m, along, .. }, _) => n_of_m::keep(jobs, (*n, *m, *along), masks, progress),
        (Structure::Unstructured, _) if *target == Target::Threshold => {
            unstructured::within(jobs, masks, progress)
        }
        (Structure::Unstructured, Scope::Row) => rows::rows(jobs, masks, progress),
        (Structure::Unstructured, Scope::Tensor) => unstructured::by_tensor(jobs, sizes, masks, progress),
        (Structure::Unstructured, Scope::Global) => unstructured::global(jobs, sizes, masks, progress),
        _ => groups::groups(jobs, sizes, masks, progress),
    }
}
