//! Passes over the ranked weights.

use super::scorer::{Buffers, Scorer};
use crate::pipeline::blocks::{self, Block};
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::progress::Progress;
use crate::pipeline::task::TensorTask;
use crate::prune::{Decision, Target, gradient, share_of};

/// A tensor to select weights from.
pub(super) struct Selecting<'a> {
    pub task: &'a TensorTask<'a>,
    pub decision: &'a Decision,
    /// Its index among the tensors with the same target, in natural order of names, and the number of these.
    pub depth: (usize, usize),
    pub scorer: Scorer<'a>,
}

impl Selecting<'_> {
    pub fn elements(&self) -> u64 {
        self.task.elements() as u64
    }

    /// How many of `units` are pruned, if that is a fixed number.
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

/// Buffers of a thread.
#[derive(Default)]
pub(super) struct Scratch {
    pub buffers: Buffers,
    pub keys: Vec<u64>,
    pub some: Vec<u64>,
    pub scores: Vec<f64>,
    pub column: Vec<f64>,
    pub order: Vec<(u64, usize)>,
    /// Bits of the weights that stay, without padding of rows.
    pub stays: Vec<u8>,
    pub mask: Vec<u8>,
}

/// A block of a job.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Its index among the items.
    pub at: usize,
    /// The index of the tensor among the jobs.
    pub job: usize,
    /// Its index among the blocks of the tensor.
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

/// Processes items on all threads; the results are in the order of the items.
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

/// Records how many weights of each block stay.
pub(super) fn note(masks: &mut Masks, items: &[Item], stored: &[usize]) {
    for (item, stored) in items.iter().zip(stored) {
        masks.note(item.block, *stored);
    }
}
