//! Selection: which places of a trained checkpoint's tensors go, where that is more than the comparison found asleep.
//!
//! Passes over the weights that are ranked, with a criterion that looks at initial values regenerating them each time:
//! one for a histogram of scores, one to look at those near the end of the selection (now and then another histogram
//! before that), one for the masks. Nothing is sorted as a whole, and no second copy of anything is held but one score
//! per group of a structure.

mod bar;
mod few;
mod groups;
mod pool;
mod rows;
mod scorer;
mod sizes;
mod ties;

use super::blocks::{self, Block};
use super::compare::Masks;
use super::error::{Error, RuleProblem};
use super::masks::MaskSpool;
use super::origin::{Action, Tensor};
use super::progress::Progress;
use super::remove::check_chains;
use super::resolve::Resolved;
use super::survey::Judgement;
use crate::bits;
use crate::checkpoint::CheckpointError;
use crate::config::{InitSource, KeyPath, PruneSettings};
use crate::prune::{
    Criterion, Decision, Groups, Lane, Scope, Structure, Target, gradient, natural_order, share_of,
};
use crate::sparse::Fill;
use crate::tensor::{FloatDtype, Layout, Matrix, Shape};
use scorer::{Buffers, Scorer, check_scores};
use sizes::Sizes;

/// A tensor whose places are to be selected.
struct Job<'a> {
    /// Its place among the checkpoint's tensors.
    n: usize,
    name: &'a str,
    shape: &'a Shape,
    layout: Layout,
    decision: &'a Decision,
    /// Its place among those that share its target, by names as people count, and how many these are.
    depth: (usize, usize),
    scorer: Scorer<'a>,
}

impl Job<'_> {
    fn elements(&self) -> u64 {
        self.shape.elements() as u64
    }

    /// How many of `units` go, where a number says so.
    fn count(&self, units: u64) -> u64 {
        match &self.decision.target {
            Target::Sparsity(values) => {
                let (at, of) = self.depth;
                share_of(gradient(values, at, of), units)
            }
            Target::Keep(keep) => units.saturating_sub(*keep),
            Target::Threshold | Target::Bytes(_) => 0,
        }
    }
}

/// What one thread needs.
#[derive(Default)]
struct Scratch {
    buffers: Buffers,
    keys: Vec<u64>,
    some: Vec<u64>,
    scores: Vec<f64>,
    column: Vec<f64>,
    order: Vec<(u64, usize)>,
    /// Bits of the places that stay, without regard to rows.
    stays: Vec<u8>,
    mask: Vec<u8>,
}

/// A block of a tensor to be selected in.
#[derive(Clone, Copy)]
struct Item {
    /// Its place among the items at hand.
    at: usize,
    /// The tensor's place among the jobs at hand.
    job: usize,
    /// Its place among the tensor's blocks.
    local: usize,
    block: Block,
}

/// The blocks of these jobs, in order.
fn items<'j, 'a: 'j>(jobs: impl IntoIterator<Item = (usize, &'j Job<'a>)>) -> Vec<Item> {
    let mut items = Vec::new();
    for (job, at_hand) in jobs {
        for (local, block) in blocks::cut(at_hand.n, at_hand.shape.matrix()).enumerate() {
            items.push(Item { at: items.len(), job, local, block });
        }
    }
    items
}

/// Goes through items on all threads; the results are in the items' order.
fn pass<R: Send>(
    jobs: &[Job<'_>],
    items: &[Item],
    progress: &dyn Progress,
    work: impl Fn(&mut Scratch, &Item) -> Result<R, Error> + Sync + Send,
) -> Result<Vec<R>, Error> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let reads = |item: &Item| jobs[item.job].scorer.reads(&item.block);
    blocks::for_each(items, progress, reads, Scratch::default, work)
}

/// Writes the mask of a block from the bits of its places, and says how many stay.
fn write(
    spool: &MaskSpool,
    starts: &[u64],
    matrix: Matrix,
    block: &Block,
    stays: &[u8],
    mask: &mut Vec<u8>,
) -> Result<usize, CheckpointError> {
    let places = block.mask_bytes(matrix);
    mask.resize(places.len(), 0);
    bits::split_rows(stays, block.columns(matrix), mask);
    spool.write(starts[block.tensor] + places.start as u64, mask)?;
    Ok(bits::count(mask) as usize)
}

/// Notes how many places of each block stay.
fn note(masks: &mut Masks, items: &[Item], stored: &[usize]) {
    for (item, stored) in items.iter().zip(stored) {
        let before = &mut masks.stored[item.block.tensor];
        masks.blocks.push((item.block, *before));
        *before += stored;
    }
}

/// Refuses what the tensors at hand do not allow, before anything is written.
///
/// # Errors
/// [`RuleProblem`]s at their place in the config; scores that are missing or do not fit.
pub fn check_decisions(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    resolved.open_scores()?;
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
        Criterion::Scores(path) => check_scores(resolved, path, name, tensor),
        _ => Ok(()),
    }
}

/// Finds the masks of all tensors whose places the comparison has not decided about.
///
/// # Errors
/// Scores that are no numbers, a size that cannot be reached, and whatever the temporary file meets.
pub fn select(
    resolved: &Resolved<'_>,
    judgement: &Judgement,
    prune: &PruneSettings,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let jobs = jobs(resolved, judgement, prune)?;
    // No bar where there is nothing to select.
    let bytes: u64 = jobs.iter().map(reads).sum();
    let whole = (!jobs.is_empty()).then(|| bar::Whole::begin("select", bytes, progress));
    let progress = whole.as_ref().map_or(progress, |whole| whole as &dyn Progress);
    let (jobs, copies) = ties::split(jobs, resolved, &prune.tied)?;
    let tensors = |jobs: &[Job<'_>]| jobs.iter().map(|job| job.n).collect::<Vec<_>>();
    let (last, first): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.decision.counts_bytes());
    for jobs in pools(first) {
        decide(&jobs, None, masks, progress)?;
        ties::follow(&copies, &tensors(&jobs), masks)?;
    }
    // A size is that of the whole file, so that all else must be known before. The config allows one ranking for it.
    for jobs in pools(last) {
        let mut sizes = Sizes::new(resolved, judgement, prune, (&jobs, &copies), masks.stored.clone())?;
        decide(&jobs, Some(&mut sizes), masks, progress)?;
        ties::follow(&copies, &tensors(&jobs), masks)?;
    }
    masks.blocks.sort_by_key(|(block, _)| (block.tensor, block.start));
    whole.iter().for_each(bar::Whole::finish);
    Ok(())
}

/// What the passes over a job read, as far as that is known before the first one.
fn reads(job: &Job<'_>) -> u64 {
    let Decision { structure, scope, target, floor, ceiling, .. } = job.decision;
    let is_small = job.elements() <= blocks::BLOCK_ELEMENTS as u64;
    let sized = matches!(target, Target::Bytes(_));
    let passes = match (structure, scope) {
        (Structure::OfM { .. }, _) => 1,
        (Structure::Unstructured, _) if *target == Target::Threshold => 1,
        (Structure::Unstructured, Scope::Row) if job.scorer.matrix.cols <= blocks::BLOCK_ELEMENTS => 1,
        (Structure::Unstructured, Scope::Tensor) if is_small => 1 + u64::from(sized),
        (Structure::Unstructured, Scope::Tensor | Scope::Row) => 3 + u64::from(sized),
        (Structure::Unstructured, Scope::Global) => {
            3 + 2 * u64::from(*floor > 0.0) + 2 * u64::from(*ceiling < 1.0)
        }
        _ => 2,
    };
    let of_one: u64 =
        blocks::cut(job.n, job.shape.matrix()).map(|block| job.scorer.reads(&block).bytes).sum();
    passes.saturating_mul(of_one)
}

/// The tensors to be selected in, in name order.
fn jobs<'a>(
    resolved: &'a Resolved<'_>,
    judgement: &Judgement,
    prune: &'a PruneSettings,
) -> Result<Vec<Job<'a>>, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let mut jobs = Vec::new();
    for (n, ((name, tensor), (_, data))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
        let (Action::Prune, Some(dtype)) = (tensor.action, FloatDtype::of(tensor.dtype)) else { continue };
        let Some(decision) = prune.decision(name).filter(|d| !d.is_threshold_of_weights()) else { continue };
        let scorer = Scorer::new(resolved, name, tensor, data.data, dtype, &judgement.tensors[n], decision)?;
        let layout = tensor.layout();
        jobs.push(Job { n, name, shape: &tensor.shape, layout, decision, depth: (0, 1), scorer });
    }
    Ok(jobs)
}

/// Puts together what is ranked, or at least worked on, together, and finds each tensor's depth among the others.
fn pools(jobs: Vec<Job<'_>>) -> Vec<Vec<Job<'_>>> {
    let mut pools: Vec<Vec<Job<'_>>> = Vec::new();
    for job in jobs {
        match pools.iter_mut().find(|pool| pool[0].decision.shares_pool(job.decision)) {
            Some(pool) => pool.push(job),
            None => pools.push(vec![job]),
        }
    }
    for pool in &mut pools {
        let mut order: Vec<usize> = (0..pool.len()).collect();
        order.sort_by(|a, b| natural_order(pool[*a].name, pool[*b].name));
        for (at, job) in order.into_iter().enumerate() {
            pool[job].depth = (at, pool.len());
        }
    }
    pools
}

fn decide(
    jobs: &[Job<'_>],
    sizes: Option<&mut Sizes<'_>>,
    masks: &mut Masks,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Decision { structure, scope, target, .. } = jobs[0].decision;
    match (structure, scope) {
        (Structure::OfM { n, m, along, .. }, _) => few::keep(jobs, (*n, *m, *along), masks, progress),
        (Structure::Unstructured, _) if *target == Target::Threshold => pool::within(jobs, masks, progress),
        (Structure::Unstructured, Scope::Row) => rows::rows(jobs, masks, progress),
        (Structure::Unstructured, Scope::Tensor) => pool::by_tensor(jobs, sizes, masks, progress),
        (Structure::Unstructured, Scope::Global) => pool::global(jobs, sizes, masks, progress),
        _ => groups::groups(jobs, sizes, masks, progress),
    }
}
