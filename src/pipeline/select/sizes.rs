//! How large the pruned file will be, without writing it.

use super::pass::Selecting;
use super::ties::Copy;
use crate::config::PruneSettings;
use crate::pipeline::error::Error;
use crate::pipeline::plan::{Codes, FilePlan};
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::Tasks;
use crate::prune::Target;

/// Predicts the size of the file from what is pruned of the tensors that its size is to decide about.
pub(super) struct Sizes<'s> {
    /// Most bytes.
    limit: u64,
    prune: &'s PruneSettings,
    plan: FilePlan<'s>,
    /// Values that stay, of every tensor.
    stored: Vec<usize>,
    /// Of each job, the tensor with its copies, and its elements.
    tensors: Vec<(Vec<usize>, usize)>,
}

impl<'s> Sizes<'s> {
    /// `stored` says how many values stay of the other tensors; `limit`, most bytes, where that is not what
    /// the config says.
    pub fn new(
        resolved: &'s Resolved<'_>,
        tasks: &'s Tasks<'s>,
        prune: &'s PruneSettings,
        (jobs, copies): (&[Selecting<'_>], &[Copy]),
        stored: Vec<usize>,
        (codes, limit): (&'s dyn Codes, Option<u64>),
    ) -> Result<Self, Error> {
        let limit = limit.unwrap_or(match jobs[0].decision.target {
            Target::Bytes(limit) => limit,
            _ => u64::MAX,
        });
        let all = |job: &Selecting<'_>| {
            let copies = copies.iter().filter(|copy| copy.of == job.task.n).map(|copy| copy.n);
            (std::iter::once(job.task.n).chain(copies).collect(), job.task.shape.elements())
        };
        let tensors = jobs.iter().map(all).collect();
        Ok(Self { limit, prune, plan: FilePlan::new(resolved, tasks, prune, None, codes)?, stored, tensors })
    }

    /// Bytes of the file with so many places of each job pruned.
    fn with(&mut self, pruned: &[u64]) -> Result<u64, Error> {
        for ((all, elements), pruned) in self.tensors.iter().zip(pruned) {
            all.iter().for_each(|n| self.stored[*n] = elements - *pruned as usize);
        }
        self.plan.bytes(&self.stored)
    }

    /// Whether the file is then small enough.
    pub fn fits(&mut self, pruned: &[u64]) -> Result<bool, Error> {
        Ok(self.with(pruned)? <= self.limit)
    }

    /// Refuses a limit that is not kept when so much is pruned, which is all that may be.
    pub fn require(&mut self, pruned: &[u64]) -> Result<(), Error> {
        let least = self.with(pruned)?;
        if least <= self.limit {
            return Ok(());
        }
        Err(Error::TooLarge { output: self.prune.output.clone(), limit: self.limit, least })
    }
}
