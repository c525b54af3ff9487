//! What a selection is done with, and its last step.

use std::collections::BTreeSet;

use super::pass::Selecting;
use super::ties::{Copy, follow};
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::pipeline::task::Tasks;
use crate::pipeline::team::{Changes, Team, names};

/// What a selection is done with.
#[derive(Clone, Copy)]
pub(super) struct Deciding<'d> {
    pub team: &'d Team,
    pub tasks: &'d Tasks<'d>,
    pub copies: &'d [Copy],
    pub progress: &'d dyn Progress,
}

/// Writes the masks of the jobs for which the function is true, which is given their indexes.
type Mark<'a> = Box<
    dyn FnOnce(&[Selecting<'a>], &mut Masks, &dyn Fn(usize) -> bool, &dyn Progress) -> Result<(), Error> + 'a,
>;

/// The last step of a selection, once all that it needs to know of other tensors is known.
pub(in crate::pipeline) struct Marking<'a> {
    jobs: Vec<Selecting<'a>>,
    copies: Vec<Copy>,
    mark: Mark<'a>,
}

impl<'a> Marking<'a> {
    /// Of these jobs.
    pub(super) fn new(jobs: Vec<Selecting<'a>>, copies: &[Copy], mark: Mark<'a>) -> Self {
        let is_one = |copy: &&Copy| jobs.iter().any(|job| job.task.n == copy.of);
        let copies = copies.iter().filter(is_one).copied().collect();
        Self { jobs, copies, mark }
    }

    /// Writes the masks of those tensors that `owns` names, whatever they were before, and
    /// their copies follow.
    pub fn mark(
        self,
        owns: impl Fn(&str) -> bool,
        masks: &mut Masks,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Self { jobs, copies, mark } = self;
        let tasks = jobs.iter().map(|job| job.task);
        let own: BTreeSet<usize> = tasks.filter(|task| owns(task.name)).map(|task| task.n).collect();
        let copied = copies.iter().filter(|copy| own.contains(&copy.of)).map(|copy| copy.n);
        let all: BTreeSet<usize> = own.iter().copied().chain(copied).collect();
        masks.forget(|n| all.contains(&n));
        mark(&jobs, masks, &|job| own.contains(&jobs[job].task.n), progress)?;
        follow(&copies, |n| own.contains(&n), masks)?;
        masks.sort();
        Ok(())
    }

    /// As a step of its own.
    pub(super) fn step(self, deciding: &Deciding<'_>, masks: &mut Masks) -> Result<(), Error> {
        let Deciding { team, tasks, progress, .. } = *deciding;
        let of_masks = (masks, tasks, Changes::Masks);
        let own = |masks: &mut Masks| self.mark(|name| team.owns(name), masks, progress);
        team.step_of_masks(names::MARK, of_masks, own).map(drop)
    }
}
