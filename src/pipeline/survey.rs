//! What the weights themselves tell before they are compared: the factor that decay put on those without gradient, and
//! how near a weight must lie to be called sleeping. A large checkpoint is looked at in an even sample.

use super::blocks::{self, Block, Reads};
use super::error::Error;
use super::progress::Progress;
use super::resolve::Resolved;
use crate::analysis::{Decided, Evidence, Pair, Sampled, decide};
use crate::checkpoint::Mapped;
use crate::config::Decay;
use crate::init::Initial;
use crate::noise::hash::hash64;
use crate::tensor::FloatDtype;

/// What is decided for the tensors of a trained checkpoint before they are compared.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// In name order; of interest for tensors whose initial values are known.
    pub tensors: Vec<Decided>,
    /// What was decided from the weights, where the config left it to them.
    pub evidence: Vec<Evidence>,
}

/// Weights that are looked at over the whole checkpoint, and in each tensor at least: of half a million, a hundred that
/// sleep can be told from live ones.
const SAMPLE: usize = 1 << 19;
const LEAST_OF_TENSOR: usize = 1 << 13;
/// Weights that are looked at together: long enough to be regenerated quickly, short enough to fall everywhere.
const PIECE: usize = 1 << 10;

struct Job<'a> {
    dtype: FloatDtype,
    trained: Mapped<'a>,
    initial: Initial<'a>,
    from: Option<(Mapped<'a>, FloatDtype)>,
    decay: Option<f64>,
}

/// Decides decay factor and threshold of every tensor: what the config says, or else what the weights tell.
///
/// # Errors
/// [`Error::TrainedMissing`] where there is no trained checkpoint yet.
pub fn judge(resolved: &Resolved<'_>, progress: &dyn Progress) -> Result<Judgement, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let settings = &resolved.settings.analyze;
    let decay_of = |rule: Option<usize>| {
        let rule = rule.map(|rule| &resolved.settings.rules.rules()[rule].value);
        rule.and_then(|rule| rule.decay).unwrap_or(settings.decay)
    };
    let mut given = Vec::with_capacity(tensors.len());
    let mut jobs: Vec<Job<'_>> = Vec::new();
    let mut places = Vec::new();
    for (n, ((name, tensor), (_, data))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
        let decay = match decay_of(tensor.origin.as_ref().map(|origin| origin.rule_index)) {
            Decay::Fixed(decay) => Some(decay),
            Decay::Auto => None,
        };
        given.push(Decided {
            decay: decay.unwrap_or(1.0),
            threshold: settings.threshold.unwrap_or_default(),
            evidence: None,
            own: false,
        });
        let asked = decay.is_none() || settings.threshold.is_none();
        if let (true, Some(dtype), Some(initial)) =
            (asked, FloatDtype::of(tensor.dtype), resolved.initial(name, tensor))
        {
            let from = resolved.initial_data(name, tensor);
            jobs.push(Job { dtype, trained: data.data, initial, from, decay });
            places.push(n);
        }
    }
    if jobs.is_empty() {
        return Ok(Judgement { tensors: given, evidence: Vec::new() });
    }
    let (decided, evidence) = decide(&sample(&jobs, progress)?);
    let mut tensors = given;
    for (place, found) in places.into_iter().zip(decided) {
        let threshold = settings.threshold.unwrap_or(found.threshold);
        tensors[place] = Decided { threshold, ..found };
    }
    Ok(Judgement { tensors, evidence })
}

/// The weights that are looked at, by tensors.
fn sample(jobs: &[Job<'_>], progress: &dyn Progress) -> Result<Vec<Sampled>, Error> {
    let elements = |job: &Job<'_>| job.trained.bytes().len() / job.dtype.size();
    let total: usize = jobs.iter().map(elements).sum();
    // Of very many tensors each gives less than the least, so that memory stays the same.
    let least = (SAMPLE / jobs.len()).clamp(PIECE / 4, LEAST_OF_TENSOR);
    let mut work = Vec::new();
    for (tensor, job) in jobs.iter().enumerate() {
        let len = elements(job);
        let wanted = ((SAMPLE as f64 * (len as f64 / total as f64)) as usize).max(least);
        let every = len.div_ceil(wanted.max(1)).max(1);
        work.extend(pieces(tensor, len, every));
    }
    progress
        .begin("survey", work.iter().map(|block| (block.len * jobs[block.tensor].dtype.size()) as u64).sum());
    let pieces: Vec<Vec<Pair>> = blocks::for_each(
        &work,
        progress,
        |block| {
            let job = &jobs[block.tensor];
            let trained = job.trained.part(block.bytes(job.dtype.size()));
            let from = job.from.map(|(from, dtype)| from.part(block.bytes(dtype.size())));
            Reads {
                mapped: [Some(trained), from, None, None],
                whole: job.initial.whole(),
                ..Reads::of(trained)
            }
        },
        || [vec![0.0; PIECE], vec![0.0; PIECE]],
        |[trained, initial], block| {
            let job = &jobs[block.tensor];
            let (trained, initial) = (&mut trained[..block.len], &mut initial[..block.len]);
            job.dtype.decode(job.trained.part(block.bytes(job.dtype.size())).bytes(), trained);
            job.initial.fill(block.start, Some(job.dtype), initial);
            Ok::<_, Error>(trained.iter().zip(initial).map(|(w, w0)| [*w, *w0]).collect())
        },
    )?;
    progress.end();
    let mut samples: Vec<Sampled> =
        jobs.iter().map(|job| Sampled { dtype: job.dtype, decay: job.decay, pairs: Vec::new() }).collect();
    for (block, pairs) in work.iter().zip(pieces) {
        samples[block.tensor].pairs.extend(pairs);
    }
    Ok(samples)
}

/// One piece in `every` of a tensor's: which of them, the hash of their number says, so that no regular pattern of rows
/// and columns is looked at in one place only.
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
        // Not the same eighth each time.
        assert!((0..8).all(|offset| some.iter().any(|piece| piece % 8 == offset)));
    }
}
