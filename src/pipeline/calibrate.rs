//! Settings that are inferred from the weights before they are compared: the decay factor of weights
//! without gradient, and the threshold for sleeping weights. For a large checkpoint, an even sample of
//! the weights is used.

use super::blocks::{self, Block};
use super::error::Error;
use super::origin::Tensor;
use super::progress::Progress;
use super::resolve::Resolved;
use super::task::{Tasks, TensorTask};
use super::team::{Team, names};
use crate::analysis::{Calibration, Evidence, Pair, Sampled, decide};
use crate::noise::hash::hash64;

/// The tensors of a trained checkpoint, with all settings that must be known before the comparison.
#[derive(Debug)]
pub(super) struct Calibrated<'a> {
    pub tasks: Tasks<'a>,
    /// The evidence for settings that were inferred from the weights.
    pub evidence: Vec<Evidence>,
}

/// Size of the sample in weights, and its minimum for each tensor. Among half a million weights, a hundred
/// sleeping ones can be distinguished from live ones.
const SAMPLE: usize = 1 << 19;
const LEAST_OF_TENSOR: usize = 1 << 13;
/// Length of a piece of the sample: long enough to be generated quickly, short enough to be spread evenly.
const PIECE: usize = 1 << 10;

/// Determines decay factor and threshold of every tensor, from the config or from the weights.
///
/// # Errors
/// [`Error::TrainedMissing`] if there is no trained checkpoint yet.
pub(super) fn calibrate<'a>(
    resolved: &'a Resolved<'_>,
    team: &Team,
    progress: &dyn Progress,
) -> Result<Calibrated<'a>, Error> {
    let mut tasks = Tasks::new(resolved)?;
    let (_, tensors) = resolved.trained()?;
    let threshold = resolved.settings.analyze.threshold;
    let asked = |(n, tensor): (usize, &Tensor)| {
        tasks.get(n)?.initial.as_ref()?;
        let decay = resolved.decay(tensor);
        (decay.is_none() || threshold.is_none()).then_some((n, decay))
    };
    let of_decay: Vec<(usize, Option<f64>)> = tensors.values().enumerate().filter_map(asked).collect();
    if of_decay.is_empty() {
        return Ok(Calibrated { tasks, evidence: Vec::new() });
    }
    let (decided, evidence) = decide(&sample(&tasks, &of_decay, team, progress)?);
    let mut found = of_decay.iter().map(|(n, _)| *n).zip(decided).peekable();
    for task in tasks.iter_mut() {
        if let Some((_, found)) = found.next_if(|(n, _)| *n == task.n) {
            task.calibration = Calibration { threshold: threshold.unwrap_or(found.threshold), ..found };
        }
    }
    Ok(Calibrated { tasks, evidence })
}

/// The sample of some tensors, each with the decay factor from the config, if any.
fn sample(
    tasks: &Tasks<'_>,
    of: &[(usize, Option<f64>)],
    team: &Team,
    progress: &dyn Progress,
) -> Result<Vec<Sampled>, Error> {
    let of: Vec<(&TensorTask<'_>, Option<f64>)> =
        of.iter().filter_map(|(n, decay)| Some((tasks.get(*n)?, *decay))).collect();
    let total: usize = of.iter().map(|(task, _)| task.elements()).sum();
    // With very many tensors, each contributes less than the minimum, so that memory is bounded.
    let least = (SAMPLE / of.len()).clamp(PIECE / 4, LEAST_OF_TENSOR);
    let mut work = Vec::new();
    for (task, _) in &of {
        let len = task.elements();
        let wanted = ((SAMPLE as f64 * (len as f64 / total as f64)) as usize).max(least);
        let every = len.div_ceil(wanted.max(1)).max(1);
        work.extend(pieces(task.n, len, every));
    }
    let pieces: Vec<Vec<Pair>> = team.share(
        names::SAMPLE,
        &work,
        |block| tasks[block].name,
        |work| {
            let bytes = |block: &Block| (block.len * tasks[block].dtype.size()) as u64;
            progress.begin("survey", work.iter().map(bytes).sum());
            let pieces = blocks::for_each(
                work,
                progress,
                |block| tasks[block].reads(block),
                || [vec![0.0; PIECE], vec![0.0; PIECE]],
                |[trained, initial], block| {
                    let task = &tasks[block];
                    let (trained, initial) = (&mut trained[..block.len], &mut initial[..block.len]);
                    task.dtype.decode(task.values(block).bytes(), trained);
                    task.fill(block.start, initial);
                    Ok::<_, Error>(trained.iter().zip(initial).map(|(w, w0)| [*w, *w0]).collect())
                },
            )?;
            progress.end();
            Ok(pieces)
        },
    )?;
    let mut found = work.iter().zip(pieces).peekable();
    let samples = of.into_iter().map(|(task, decay)| {
        let mut pairs = Vec::new();
        while let Some((_, more)) = found.next_if(|(block, _)| block.tensor == task.n) {
            pairs.extend(more);
        }
        Sampled { dtype: task.dtype, decay, pairs }
    });
    Ok(samples.collect())
}

/// One in `every` pieces of a tensor. The hash of its number selects a piece, so that the sample does not
/// follow a regular pattern of rows and columns.
fn pieces(tensor: usize, len: usize, every: usize) -> impl Iterator<Item = Block> {
    let strata = len.div_ceil(PIECE).div_ceil(every);
    (0..strata).filter_map(move |n| {
        let start = (n * every + hash64(n as u64) as usize % every) * PIECE;
        (start < len).then(|| Block { tensor, start, len: PIECE.min(len - start) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tensors_are_looked_at_whole_and_large_ones_evenly() {
        let all: Vec<_> = pieces(0, 2500, 1).map(|b| (b.start, b.len)).collect();
        assert_eq!(all, [(0, 1024), (1024, 1024), (2048, 452)]);
        let some: Vec<usize> = pieces(0, 1 << 20, 8).map(|b| b.start / PIECE).collect();
        assert_eq!(some.len(), 128);
        assert!(some.iter().enumerate().all(|(n, piece)| piece / 8 == n));
        // Not always the same one of eight.
        assert!((0..8).all(|offset| some.iter().any(|piece| piece % 8 == offset)));
    }
}
