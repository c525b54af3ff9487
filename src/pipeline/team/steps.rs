//! The steps of a run in parts.

use crate::config::Settings;
use crate::pipeline::error::{Error, PartsProblem};
use crate::pipeline::origin::{Action, Tensor};
use crate::pipeline::resolve::Resolved;
use crate::prune::{Decision, Scope, Structure};
use crate::tensor::FloatDtype;

/// Their names.
pub mod names {
    /// A sample of the weights, for `auto`.
    pub const SAMPLE: &str = "sample";
    /// The comparison, and every selection within one tensor.
    pub const COMPARE: &str = "compare";
    /// Floors and ceilings of tensors that are ranked together.
    pub const BOUND: &str = "bound";
    /// The scores of weights or groups that are ranked together.
    pub const SCORE: &str = "score";
    /// The scores around the end of the selection.
    pub const NARROW: &str = "narrow";
    /// The masks of tensors that are ranked together.
    pub const MARK: &str = "mark";
    /// Expected sizes of coded tensors.
    pub const EXPECT: &str = "expect";
    /// The units that are removed, and the codes.
    pub const CODE: &str = "code";
    /// The files of the initial checkpoint.
    pub const INIT: &str = "init";
    /// The files of the pruned checkpoint.
    pub const WRITE: &str = "write";
}

/// The steps of a run of this config, as far as they are known in advance: where many scores are equal,
/// or the size of a file with codes is given, there may be more of those before the last one. The
/// second result says so.
///
/// # Errors
/// [`PartsProblem::Tune`].
pub fn steps_of(resolved: &Resolved<'_>) -> Result<(Vec<&'static str>, bool), Error> {
    let settings = resolved.settings;
    refuse_tune(settings)?;
    let mut steps = Vec::new();
    let mut may_be_more = false;
    if settings.init.is_some() && settings.model.is_some() {
        steps.push(names::INIT);
    }
    let Some(tensors) = &resolved.trained else { return Ok((steps, false)) };
    let pruning = settings.prune.as_ref();
    if !settings.analyze_named && pruning.is_none() {
        return Ok((steps, false));
    }
    let asks = |(name, tensor): &(&String, &Tensor)| {
        let known = FloatDtype::of(tensor.dtype).is_some() && resolved.initial(name, tensor).is_some();
        known && (resolved.decay(tensor).is_none() || settings.analyze.threshold.is_none())
    };
    if tensors.iter().any(|tensor| asks(&tensor)) {
        steps.push(names::SAMPLE);
    }
    steps.push(names::COMPARE);
    if let Some(prune) = pruning {
        let is_bounded = |decision: &Decision| decision.floor > 0.0 || decision.ceiling < 1.0;
        // One decision of each ranking, and whether any of its tensors has bounds.
        let mut pools: Vec<(&Decision, bool)> = Vec::new();
        let pruned = tensors.iter().filter(|(_, tensor)| tensor.action == Action::Prune);
        for decision in pruned.filter_map(|(name, _)| prune.decision(name)) {
            if !decision.needs_other_tensors() {
                continue;
            }
            match pools.iter_mut().find(|(pool, _)| pool.shares_pool(decision)) {
                Some((_, bounded)) => *bounded |= is_bounded(decision),
                None => pools.push((decision, is_bounded(decision))),
            }
        }
        let codes = prune.format.codes();
        if codes && pools.iter().any(|(pool, _)| pool.counts_bytes()) {
            steps.push(names::EXPECT);
            may_be_more = true;
        }
        let is_coded = codes || !prune.chains.is_empty();
        let count = pools.len();
        // A target in bytes comes last, when everything else is decided.
        pools.sort_by_key(|(pool, _)| pool.counts_bytes());
        for (n, (pool, bounded)) in pools.iter().enumerate() {
            if (pool.structure, pool.scope) == (Structure::Unstructured, Scope::Global) {
                if *bounded {
                    steps.push(names::BOUND);
                }
                steps.extend([names::SCORE, names::NARROW]);
                may_be_more = true;
            } else {
                steps.push(names::SCORE);
            }
            // The last masks are written on the way.
            if n + 1 < count || !is_coded {
                steps.push(names::MARK);
            }
        }
        if is_coded && count > 0 {
            steps.push(names::CODE);
        }
        steps.push(names::WRITE);
    }
    Ok((steps, may_be_more))
}

/// A search is one process's.
pub(super) fn refuse_tune(settings: &Settings) -> Result<(), Error> {
    match settings.tune {
        None => Ok(()),
        Some(_) => Err(PartsProblem::Tune.of(settings.source.file())),
    }
}
