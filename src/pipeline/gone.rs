//! What pruning takes away: how many of the pruned places training had changed, and how much of the tensor's norm they are.

use super::blocks::{self, Block, Reads};
use super::compare::Masks;
use super::error::Error;
use super::origin::Action;
use super::progress::Progress;
use super::resolve::Resolved;
use crate::bits;
use crate::checkpoint::Mapped;
use crate::config::InitSource;
use crate::tensor::{FloatDtype, Matrix};

/// What goes of one tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gone {
    /// Pruned places whose weight has changed; `None` where initial values are not known.
    pub changed: Option<u64>,
    /// Sum of the squares of the pruned places' finite weights.
    pub squares: f64,
    /// The same of all weights.
    pub all_squares: f64,
}

struct Job<'a> {
    matrix: Matrix,
    dtype: FloatDtype,
    trained: Mapped<'a>,
    mask_at: u64,
    /// Where the bits of changed weights begin, where a changed one may be pruned.
    changed_at: Option<u64>,
}

/// As in the comparison: element `n` in lane `n % LANES`, lanes added up in their order.
const LANES: usize = 8;

#[derive(Default)]
struct Scratch {
    values: Vec<f64>,
    mask: Vec<u8>,
    changed: Vec<u8>,
}

/// Finds out about every tensor that is pruned, in one more pass over its weights.
pub(super) fn gone(
    resolved: &Resolved<'_>,
    masks: &Masks,
    progress: &dyn Progress,
) -> Result<Vec<Gone>, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let mut jobs = Vec::with_capacity(tensors.len());
    let mut all = Vec::with_capacity(tensors.len());
    for (n, (tensor, (_, data))) in tensors.values().zip(checkpoint.tensors()).enumerate() {
        let known = tensor.origin.as_ref().is_some_and(|origin| origin.source != InitSource::None);
        all.push(Gone { changed: known.then_some(0), ..Gone::default() });
        let (Action::Prune, Some(dtype)) = (tensor.action, FloatDtype::of(tensor.dtype)) else {
            jobs.push(None);
            continue;
        };
        jobs.push(Some(Job {
            matrix: tensor.shape.matrix(),
            dtype,
            trained: data.data,
            mask_at: masks.starts[n],
            changed_at: masks.changed[n],
        }));
    }
    let work: Vec<Block> = masks.blocks.iter().map(|(block, _)| *block).collect();
    let part = |block: &Block| {
        jobs[block.tensor].as_ref().map(|job| job.trained.part(block.bytes(job.dtype.size())))
    };
    progress.begin("weigh", work.iter().filter_map(|block| Some(part(block)?.bytes().len() as u64)).sum());
    let found = blocks::for_each(
        &work,
        progress,
        |block| part(block).map(Reads::of).unwrap_or_default(),
        Scratch::default,
        |scratch, block| match &jobs[block.tensor] {
            Some(job) => job.weigh(block, masks, scratch),
            None => Ok(Gone::default()),
        },
    )?;
    progress.end();
    for (block, found) in work.iter().zip(found) {
        let all = &mut all[block.tensor];
        all.changed = all.changed.map(|changed| changed + found.changed.unwrap_or(0));
        all.squares += found.squares;
        all.all_squares += found.all_squares;
    }
    Ok(all)
}

impl Job<'_> {
    fn weigh(&self, block: &Block, masks: &Masks, scratch: &mut Scratch) -> Result<Gone, Error> {
        let Scratch { values, mask, changed } = scratch;
        let places = block.mask_bytes(self.matrix);
        mask.resize(places.len(), 0);
        masks.spool.read(self.mask_at + places.start as u64, mask)?;
        let mut gone = Gone::default();
        if let Some(at) = self.changed_at {
            changed.resize(places.len(), 0);
            masks.spool.read(at + places.start as u64, changed)?;
            changed.iter_mut().zip(&*mask).for_each(|(changed, stays)| *changed &= !stays);
            gone.changed = Some(bits::count(changed));
        }
        values.resize(block.len, 0.0);
        self.dtype.decode(self.trained.part(block.bytes(self.dtype.size())).bytes(), values);
        let width = block.columns(self.matrix);
        let (mut pruned, mut all) = ([0.0; LANES], [0.0; LANES]);
        for (row, mask) in values.chunks(width).zip(mask.chunks(width.div_ceil(8))) {
            for (values, stays) in row.chunks(LANES).zip(mask) {
                for (lane, value) in values.iter().enumerate() {
                    let square = if value.is_finite() { value * value } else { 0.0 };
                    all[lane] += square;
                    pruned[lane] += if stays >> lane & 1 == 1 { 0.0 } else { square };
                }
            }
        }
        let sum = |lanes: [f64; LANES]| lanes.iter().fold(0.0, |sum, x| sum + x);
        (gone.squares, gone.all_squares) = (sum(pruned), sum(all));
        Ok(gone)
    }
}
