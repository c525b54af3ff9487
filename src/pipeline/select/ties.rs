//! Tied tensors: copies of a tensor in the same checkpoint, such as a head with the weights of the embedding.
//! They lose the same weights, and count once when tensors are ranked together.

use std::collections::HashMap;

use super::pass::Selecting;
use crate::config::{KeyPath, PruneSettings};
use crate::pipeline::error::{Error, RuleProblem};
use crate::pipeline::masks::Masks;
use crate::pipeline::origin::Action;
use crate::pipeline::resolve::Resolved;
use crate::pipeline::same::{is_constant, same_bytes};

/// A tensor that gets the mask of another; both are indexes of tensors in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub n: usize,
    pub of: usize,
}

/// Number of bytes after which tensors that differ usually do.
const BEGINNING: usize = 64;

/// Removes the copies from the jobs: of tensors with the same type, shape, decision and bytes, all but the
/// first in name order. Constant tensors do not count as copies, unless the config calls them tied.
pub(super) fn split<'a>(
    jobs: Vec<Selecting<'a>>,
    resolved: &Resolved<'_>,
    told: &[Vec<String>],
) -> Result<(Vec<Selecting<'a>>, Vec<Copy>), Error> {
    let (checkpoint, _) = resolved.trained()?;
    let mut firsts: HashMap<(&[u8], &[usize]), Vec<usize>> = HashMap::new();
    let (mut kept, mut copies) = (Vec::<Selecting<'a>>::new(), Vec::new());
    for job in jobs {
        let Some(tensor) = checkpoint.tensor(job.task.name) else { continue };
        let named = |other: &Selecting<'_>| {
            told.iter().any(|names| {
                [job.task.name, other.task.name].iter().all(|name| names.iter().any(|n| n == name))
            })
        };
        let bytes = tensor.bytes();
        let key = (&bytes[..bytes.len().min(BEGINNING)], tensor.shape.dims());
        let alike = firsts.entry(key).or_default();
        let first = alike.iter().copied().find(|at| {
            let other = &kept[*at];
            let Some(first) = checkpoint.tensor(other.task.name) else { return false };
            first.dtype == tensor.dtype
                && other.decision == job.decision
                && (named(other) || (same_bytes(&first, &tensor) && !is_constant(&tensor)))
        });
        match first {
            Some(at) => copies.push(Copy { n: job.task.n, of: kept[at].task.n }),
            None => {
                alike.push(kept.len());
                kept.push(job);
            }
        }
    }
    Ok((kept, copies))
}

/// Copies the masks of the tensors that are decided to their copies.
pub(super) fn follow(
    copies: &[Copy],
    is_decided: impl Fn(usize) -> bool,
    masks: &mut Masks,
) -> Result<(), Error> {
    for Copy { n, of } in copies.iter().filter(|copy| is_decided(copy.of)) {
        masks.copy(*of, *n)?;
    }
    Ok(())
}

/// Refuses tensors that the config calls tied although they are not.
pub(super) fn check(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    for (i, names) in prune.tied.iter().enumerate() {
        let key = KeyPath::root().key("prune").key("tied").index(i);
        for (at, name) in names.iter().enumerate() {
            let wrong = |why: &'static str| {
                let problem = RuleProblem::Tied { first: names[0].clone(), second: name.clone(), why };
                Err(resolved.wrong(&key.index(at), problem))
            };
            let (Some(first), Some(tensor)) = (checkpoint.tensor(&names[0]), checkpoint.tensor(name)) else {
                return wrong("are not both in the trained checkpoint");
            };
            if first.dtype != tensor.dtype || first.shape != tensor.shape {
                return wrong("do not have one type and shape");
            }
            let is_pruned = |name: &String| tensors[name].action == Action::Prune;
            if prune.decision(&names[0]) != prune.decision(name) || is_pruned(&names[0]) != is_pruned(name) {
                return wrong("are pruned by different rules, or one of them is kept");
            }
            if at > 0 && !same_bytes(&first, &tensor) {
                return wrong("do not have the same bytes");
            }
        }
    }
    Ok(())
}
