//! The scores of one tensor's weights by the criterion, one run at a time.

use std::path::Path;

use crate::analysis::{Comparison, Threshold};
use crate::checkpoint::Mapped;
use crate::config::id_of_name;
use crate::encoder::PIECE;
use crate::noise::block::fill_uniform;
use crate::noise::hash::{hash64, row_key};
use crate::pipeline::blocks::{Block, Reads};
use crate::pipeline::error::{Error, ScoresProblem};
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::TensorTask;
use crate::prune::{Criterion, Decision, Groups, Pair, Structure, Target, keys};
use crate::tensor::{Axes, FloatDtype, Layout, Role, Shape};

/// Computes the scores of a tensor's weights: NaN or infinity for weights that are never pruned.
pub(in crate::pipeline) struct Scorer<'a> {
    task: &'a TensorTask<'a>,
    source: Source<'a>,
}

enum Source<'a> {
    Magnitude,
    /// From the weight and its initial value.
    Pair(Pair),
    /// 0 within the threshold, 1 beyond it.
    Within {
        threshold: Threshold,
        nearest: bool,
    },
    Random {
        seed: u64,
        layer: u64,
    },
    Scores {
        data: Mapped<'a>,
        dtype: FloatDtype,
        file: &'a Path,
    },
    /// A norm for each input channel, by which magnitudes are multiplied.
    Channels {
        norms: Vec<f64>,
        channels: Groups,
    },
}

impl Source<'_> {
    /// Whether initial values are used.
    fn is_paired(&self) -> bool {
        matches!(self, Self::Pair(_) | Self::Within { .. })
    }
}

/// Buffers of a thread.
#[derive(Default)]
pub(in crate::pipeline) struct Buffers {
    scores: Vec<f64>,
    initial: Vec<f64>,
    keys: Vec<u64>,
}

impl<'a> Scorer<'a> {
    /// For a tensor to be pruned.
    pub fn new(
        resolved: &'a Resolved<'_>,
        task: &'a TensorTask<'a>,
        decision: &'a Decision,
    ) -> Result<Self, Error> {
        // n of m always ranks, whatever the target.
        let ranks = matches!(decision.structure, Structure::OfM { .. });
        let source = match (&decision.criterion, Pair::of(&decision.criterion)) {
            (criterion, Some(_)) if decision.target == Target::Threshold && !ranks => Source::Within {
                threshold: task.calibration.threshold,
                nearest: *criterion == Criterion::Nearest,
            },
            (_, Some(pair)) => Source::Pair(pair),
            // Not the seed of the initial values: if weights were ranked by the same noise, the selection
            // would depend on them.
            (Criterion::Random, _) => {
                Source::Random { seed: hash64(resolved.settings.seed), layer: id_of_name(task.name) }
            }
            (Criterion::Scores(path), _) => scores(resolved, path, task.name, task.shape, task.layout)?,
            _ => Source::Magnitude,
        };
        Ok(Self { task, source })
    }

    /// The data from which a block's scores are computed.
    pub fn reads(&self, block: &Block) -> Reads<'_> {
        let mut reads = self.task.reads_with(block, self.source.is_paired());
        if let Source::Scores { data, dtype, .. } = &self.source {
            reads.mapped[1] = Some(data.part(block.bytes(dtype.size())));
        }
        reads
    }

    /// Calls `each` with the scores of a run, piece by piece. The length of every piece but the last is
    /// a multiple of eight.
    ///
    /// # Errors
    /// Scores from a file that are not finite.
    pub fn scores(
        &self,
        start: usize,
        len: usize,
        buffers: &mut Buffers,
        mut each: impl FnMut(&[f64], &mut Vec<u64>),
    ) -> Result<(), Error> {
        let piece = if self.source.is_paired() { self.task.piece(len) } else { PIECE };
        let (dtype, trained) = (self.task.dtype, self.task.trained);
        let size = dtype.size();
        let Buffers { scores, initial, keys } = buffers;
        for at in (0..len).step_by(piece.max(1)) {
            let (first, count) = (start + at, piece.min(len - at));
            scores.resize(count, 0.0);
            let bytes = trained.part(first * size..(first + count) * size).bytes();
            dtype.decode(bytes, scores);
            self.score(first, scores, initial)?;
            each(scores, keys);
        }
        Ok(())
    }

    /// Calls `each` with the keys of a run, piece by piece.
    ///
    /// # Errors
    /// As for [`Self::scores`].
    pub fn keys(
        &self,
        start: usize,
        len: usize,
        buffers: &mut Buffers,
        mut each: impl FnMut(&mut [u64]),
    ) -> Result<(), Error> {
        self.scores(start, len, buffers, |scores, of_scores| {
            keys(scores, of_scores);
            each(of_scores);
        })
    }

    /// Replaces the weights from element `first` on by their scores.
    fn score(&self, first: usize, weights: &mut [f64], initial: &mut Vec<f64>) -> Result<(), Error> {
        let decay = self.task.calibration.decay;
        if self.source.is_paired() {
            initial.resize(weights.len(), 0.0);
            self.task.fill(first, initial);
        }
        match &self.source {
            Source::Magnitude => weights.iter_mut().for_each(|w| *w = w.abs()),
            Source::Pair(pair) => pair.score(weights, initial, decay),
            Source::Within { threshold, nearest } => {
                self.within(*threshold, *nearest, decay, weights, initial);
            }
            Source::Random { seed, layer } => {
                initial.resize(weights.len(), 0.0);
                uniforms(*seed, *layer, self.task.matrix.cols, first, initial);
                replace_finite(weights, initial);
            }
            Source::Scores { data, dtype, file } => {
                initial.resize(weights.len(), 0.0);
                let places = first * dtype.size()..(first + weights.len()) * dtype.size();
                dtype.decode(data.part(places).bytes(), initial);
                if let Some(at) = initial.iter().position(|score| !score.is_finite()) {
                    let problem = ScoresProblem::NotFinite { place: first + at, score: initial[at] };
                    return Err(self.wrong(file, problem));
                }
                replace_finite(weights, initial);
            }
            Source::Channels { norms, channels } => {
                let mut at = 0;
                channels.runs(first, weights.len(), |channel, run| {
                    weights[at..at + run].iter_mut().for_each(|w| *w = w.abs() * norms[channel]);
                    at += run;
                });
            }
        }
        Ok(())
    }

    fn within(&self, threshold: Threshold, nearest: bool, decay: f64, weights: &mut [f64], initial: &[f64]) {
        let by = Comparison::new(threshold, 1.0, self.task.dtype);
        for (w, w0) in weights.iter_mut().zip(initial) {
            let start = w0 * decay;
            let near_zero = || match threshold {
                Threshold::Relative(x) => w.abs() <= x * start.abs(),
                _ => by.sleeps(*w, 0.0, w.abs()),
            };
            let goes = by.sleeps(*w, start, (*w - start).abs()) || (nearest && near_zero());
            *w = if goes { 0.0 } else { 1.0 };
        }
    }

    fn wrong(&self, file: &Path, problem: ScoresProblem) -> Error {
        Error::Scores { path: file.to_owned(), tensor: self.task.name.to_owned(), problem: Box::new(problem) }
    }
}

/// Replaces weights by the given scores, unless the weights are not finite.
fn replace_finite(weights: &mut [f64], scores: &[f64]) {
    for (w, score) in weights.iter_mut().zip(scores) {
        *w = if w.is_finite() { *score } else { f64::NAN };
    }
}

/// The noise of the elements from `first` on, by the key of the row and the column.
fn uniforms(seed: u64, layer: u64, cols: usize, first: usize, mut out: &mut [f64]) {
    let mut at = first;
    while !out.is_empty() {
        let (row, column) = (at / cols, at % cols);
        let (now, rest) = out.split_at_mut((cols - column).min(out.len()));
        fill_uniform(row_key(seed, layer, row as u64), column as u64, now);
        at += now.len();
        out = rest;
    }
}

/// The source of a tensor's scores. Only headers are read, except for norms.
fn scores<'a>(
    resolved: &'a Resolved<'_>,
    path: &'a Path,
    name: &str,
    shape: &Shape,
    layout: Layout,
) -> Result<Source<'a>, Error> {
    let file = resolved.scores(path).expect("opened before pruning");
    let wrong = |problem| {
        let (path, tensor) = (file.path().to_owned(), name.to_owned());
        Error::Scores { path, tensor, problem: Box::new(problem) }
    };
    let found = file.tensor(name).ok_or_else(|| wrong(ScoresProblem::Missing))?;
    let dtype = found.float().ok_or_else(|| wrong(ScoresProblem::Dtype(found.dtype)))?;
    if found.shape == shape {
        return Ok(Source::Scores { data: found.data, dtype, file: file.path() });
    }
    let axes = Axes::new(shape, layout);
    let Some(channels) = norms_of(&axes, found.shape.dims()) else {
        return Err(wrong(ScoresProblem::Shape {
            expected: shape.clone(),
            channels: (!axes.is_vector).then_some(axes.inputs),
            experts: axes.experts,
            got: found.shape.clone(),
        }));
    };
    let mut norms = vec![0.0; channels.count()];
    dtype.decode(found.bytes(), &mut norms);
    if let Some(place) = norms.iter().position(|norm| !norm.is_finite() || *norm < 0.0) {
        return Err(wrong(ScoresProblem::NotANorm { place, norm: norms[place] }));
    }
    Ok(Source::Channels { norms, channels })
}

/// The elements that share a norm, given the number of norms: one for each input, or for each input and
/// kernel element; either the same for all experts, or those of the experts one after the other.
fn norms_of(axes: &Axes, dims: &[usize]) -> Option<Groups> {
    let of_experts = match *dims {
        _ if axes.is_vector => return None,
        [norms] => norms,
        [experts, norms] if experts == axes.experts && experts > 1 => experts.checked_mul(norms)?,
        _ => return None,
    };
    let (input, column) = ([Role::In], [Role::In, Role::Kernel]);
    let (of_each, each_column) = ([Role::Expert, Role::In], [Role::Expert, Role::In, Role::Kernel]);
    let all: [&[Role]; 4] = [&input, &of_each, &column, &each_column];
    let fits = |groups: &Groups| groups.count() == of_experts;
    // Two dimensions mean that each expert has its own norms.
    let skip = usize::from(dims.len() > 1);
    all.into_iter().skip(skip).step_by(1 + skip).map(|roles| Groups::along(axes, roles)).find(fits)
}

/// Refuses scores that are missing or do not fit, before anything is written.
pub(super) fn check_scores(
    resolved: &Resolved<'_>,
    path: &Path,
    name: &str,
    shape: &Shape,
    layout: Layout,
) -> Result<(), Error> {
    scores(resolved, path, name, shape, layout).map(drop)
}
