//! Passes over the weights that are ranked.

use super::scorer::{Buffers, Scorer};
use crate::pipeline::blocks::{self, Block};
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::pipeline::task::TensorTask;
use crate::prune::{Decision, Target, gradient, share_of};

/// A tensor whose places are to be selected.
pub(super) struct Selecting<'a> {
    pub task: &'a TensorTask<'a>,
    pub decision: &'a Decision,
    /// Its place among those that share its target, by names as people count, and how many these are.
    pub depth: (usize, usize),
    pub scorer: Scorer<'a>,
}

impl Selecting<'_> {
    pub fn elements(&self) -> u64 {
        self.task.elements() as u64
    }

    /// How many of `units` go, where a number says so.
    pub fn count(&self, units: u64) -> u64 {
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
pub(super) struct Scratch {
    pub buffers: Buffers,
    pub keys: Vec<u64>,
    pub some: Vec<u64>,
    pub scores: Vec<f64>,
    pub column: Vec<f64>,
    pub order: Vec<(u64, usize)>,
    /// Bits of the places that stay, without regard to rows.
    pub stays: Vec<u8>,
    pub mask: Vec<u8>,
}

/// A block of a tensor to be selected in.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Its place among the items at hand.
    pub at: usize,
    /// The tensor's place among the jobs at hand.
    pub job: usize,
    /// Its place among the tensor's blocks.
    pub local: usize,
    pub block: Block,
}

/// The blocks of these jobs, in order.
pub(super) fn items<'j, 'a: 'j>(jobs: impl IntoIterator<Item = (usize, &'j Selecting<'a>)>) -> Vec<Item> {
    let mut items = Vec::new();
    for (job, at_hand) in jobs {
        for (local, block) in at_hand.task.blocks().enumerate() {
            items.push(Item { at: items.len(), job, local, block });
        }
    }
    items
}

/// Goes through items on all threads; the results are in the items' order.
pub(super) fn pass<R: Send>(
    jobs: &[Selecting<'_>],
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

/// Notes how many places of each block stay.
pub(super) fn note(masks: &mut Masks, items: &[Item], stored: &[usize]) {
    for (item, stored) in items.iter().zip(stored) {
        masks.note(item.block, *stored);
    }
}
