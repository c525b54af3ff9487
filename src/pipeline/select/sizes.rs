//! Predicts the size of the pruned file without writing it.

use super::pass::Selecting;
use super::ties::Copy;
use crate::config::PruneSettings;
use crate::pipeline::error::Error;
use crate::pipeline::plan::{Codes, FilePlan};
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::Tasks;
use crate::prune::Target;

/// Predicts the size of the file from the number of pruned weights of the tensors that share a target size.
pub(super) struct Sizes<'s> {
    /// Maximum bytes.
    limit: u64,
    prune: &'s PruneSettings,
    plan: FilePlan<'s>,
    /// Number of values that stay in every tensor.
    stored: Vec<usize>,
    /// For each job, the tensor with its copies, and its number of elements.
    tensors: Vec<(Vec<usize>, usize)>,
}

impl<'s> Sizes<'s> {
    /// `stored` is the number of values that stay in the other tensors; `limit` is the maximum size in bytes,
    /// if it differs from that of the config.
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

    /// Bytes of the file with this many weights of each job pruned.
    fn with(&mut self, pruned: &[u64]) -> Result<u64, Error> {
        for ((all, elements), pruned) in self.tensors.iter().zip(pruned) {
            all.iter().for_each(|n| self.stored[*n] = elements - *pruned as usize);
        }
        self.plan.bytes(&self.stored)
    }

    /// Whether the file is small enough then.
    pub fn fits(&mut self, pruned: &[u64]) -> Result<bool, Error> {
        Ok(self.with(pruned)? <= self.limit)
    }

    /// Refuses a limit that cannot be reached even if everything that may be pruned is pruned.
    pub fn require(&mut self, pruned: &[u64]) -> Result<(), Error> {
        let least = self.with(pruned)?;
        if least <= self.limit {
            return Ok(());
        }
        Err(Error::TooLarge { output: self.prune.output.clone(), limit: self.limit, least })
    }
}
