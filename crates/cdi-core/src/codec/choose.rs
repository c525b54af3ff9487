//! Chooses the model that codes a tensor in the fewest bytes, by trying each on a sample of its rows.

use serde::{Deserialize, Serialize};

use super::encoder::{BlockInput, EncoderScratch, KEPT, Lines, TensorEncoder};
use super::symbol::{Form, Model};
use crate::blocks;
use crate::prelude::*;
use crate::tensor::{FloatDtype, Matrix};

/// A way to code a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// How values become symbols.
    pub model: Model,
    /// The factor by which initial values are multiplied to give predictions.
    pub scale: f64,
    /// Which lines have classes.
    pub lines: Lines,
    /// Estimated size of the coded sample, in bits.
    pub bits: f64,
}

impl Choice {
    /// The factor of the initial values in predictions; `None` if values are not stored as differences.
    pub fn prediction(&self) -> Option<f64> {
        self.model.is_difference().then_some(self.scale)
    }
}

/// What predictions a tensor that is stored in steps may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    /// Whatever gives the fewest bytes.
    #[default]
    Auto,
    /// Its initial values, if it has any.
    Initial,
    /// None: steps are counted from zero.
    Zero,
}

impl Over {
    /// All, with their names in configs and reports.
    pub const WORDS: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("init", Self::Initial), ("zero", Self::Zero)];

    /// Its name in configs and reports.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, over)| *over == self).map(|(name, _)| *name).unwrap_or_default()
    }
}

/// A sample of a tensor, from which its coding is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Type of the values.
    pub dtype: FloatDtype,
    /// The sample as a matrix of whole rows, or of parts of long rows.
    pub matrix: Matrix,
    /// Its values in storage order.
    pub values: &'a [u8],
    /// Their initial values in the same type, or empty.
    pub initial: &'a [u8],
    /// As in [`BlockInput`].
    pub pruned: &'a [u8],
    /// The value of pruned weights.
    pub filled: Filled,
    /// A factor of the initial values to try in addition to those that the sample suggests.
    pub scale: f64,
    /// The sample's share of the tensor, 0 … 1.
    pub share: f64,
    /// The number of bits that it takes to describe where predictions come from.
    pub described: f64,
}

/// The value of pruned weights, as far as it may be what no steps at all come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Filled {
    /// Another.
    #[default]
    Otherwise,
    /// Zero.
    Zero,
    /// The initial value, times this factor.
    Initial(f64),
}

impl Filled {
    /// Whether a pruned weight has the value that zero steps come to with this model and this factor of the
    /// predictions. It then needs no symbol of its own: [`without_pruned`].
    pub fn is_start(self, model: Model, scale: f64) -> bool {
        match (self, model) {
            (Self::Zero, Model::Steps { difference: false, .. }) => true,
            (Self::Initial(own), Model::Steps { difference: true, .. }) => own == scale,
            _ => false,
        }
    }
}

/// The values with those of pruned weights replaced by what zero steps come to: the prediction, or zero if
/// there is none.
pub fn without_pruned(form: Form, input: &BlockInput<'_>, out: &mut Vec<u8>) {
    let size = form.size();
    out.clear();
    out.extend_from_slice(input.values);
    for (n, _) in input.pruned.iter().enumerate().filter(|(_, symbol)| **symbol != KEPT) {
        let at = n * size..(n + 1) * size;
        match input.prediction.get(at.clone()) {
            Some(prediction) => out[at].copy_from_slice(prediction),
            None => out[at].fill(0),
        }
    }
}

/// A model to try, with the factor of its predictions and the predictions themselves.
type Tried = (Model, f64, Vec<u8>);

/// Chooses how values are coded without loss.
pub fn choose(sample: &Sample<'_>, scratch: &mut EncoderScratch) -> Choice {
    let top = top(sample.dtype, sample.values);
    let mut tried: Vec<Tried> = vec![(Model::Value { top }, 1.0, Vec::new())];
    tried.extend(sample.predictions(Model::Difference));
    let first = sample.best(&tried, scratch);
    // Bytes can be smaller for floats with few distinct values, but no byte can be pruned.
    if !sample.pruned.is_empty() {
        return first;
    }
    let (form, share) = (sample.dtype.into(), (sample.share, 0.0));
    let bytes = choose_bytes(form, sample.matrix, (sample.values, &[]), share, scratch);
    if bytes.bits < first.bits { bytes } else { first }
}

/// Chooses the predictions of a tensor that is stored in steps of this length.
pub fn choose_steps(sample: &Sample<'_>, step: f64, over: Over, scratch: &mut EncoderScratch) -> Choice {
    let mut tried: Vec<Tried> = match over {
        Over::Zero => Vec::new(),
        _ => sample.predictions(Model::Steps { step, difference: true }).collect(),
    };
    if over != Over::Initial || tried.is_empty() {
        tried.insert(0, (Model::Steps { step, difference: false }, 1.0, Vec::new()));
    }
    sample.best(&tried, scratch)
}

impl Sample<'_> {
    /// A model with each of the predictions that are worth trying.
    fn predictions(&self, model: Model) -> impl Iterator<Item = Tried> {
        let Self { dtype, values, initial, .. } = *self;
        let scales = if initial.is_empty() { Vec::new() } else { scales(dtype, values, initial, self.scale) };
        scales.into_iter().map(move |scale| (model, scale, scaled(dtype, initial, scale)))
    }

    fn cost(&self, (model, scale, prediction): &Tried, lines: Lines, scratch: &mut EncoderScratch) -> Choice {
        let Self { dtype, matrix, values, pruned, share, .. } = *self;
        let mut replaced = Vec::new();
        let (values, pruned): (&[u8], &[u8]) = match self.filled.is_start(*model, *scale) {
            true if !pruned.is_empty() => {
                without_pruned(dtype.into(), &BlockInput { values, prediction, pruned }, &mut replaced);
                (&replaced, &[])
            }
            _ => (values, pruned),
        };
        let bits = cost(dtype.into(), matrix, (*model, lines), (values, prediction, pruned), share, scratch);
        let bits = bits + if model.is_difference() { share * self.described } else { 0.0 };
        Choice { model: *model, scale: *scale, lines, bits }
    }

    /// The cheapest of these models, with the lines whose classes are worth their bytes.
    fn best(&self, tried: &[Tried], scratch: &mut EncoderScratch) -> Choice {
        let both = Lines { rows: true, columns: true };
        let all = tried.iter().map(|tried| (self.cost(tried, both, scratch), tried));
        let best = all.reduce(|a, b| if b.0.bits < a.0.bits { b } else { a });
        let (first, tried) = best.expect("there is a model without predictions or one with them");
        if Lines::possible(self.matrix) == Lines::default() {
            return Choice { lines: Lines::default(), ..first };
        }
        let fewer = [(true, false), (false, true), (false, false)];
        let fewer = fewer.map(|(rows, columns)| self.cost(tried, Lines { rows, columns }, scratch));
        fewer.into_iter().fold(first, |a, b| if b.bits < a.bits { b } else { a })
    }
}

/// Chooses how the bytes of a tensor of any form are coded, from a sample of its rows.
/// `base` has as many elements of the same type, or is empty.
pub fn choose_bytes(
    form: Form,
    matrix: Matrix,
    (values, base): (&[u8], &[u8]),
    (share, described): (f64, f64),
    scratch: &mut EncoderScratch,
) -> Choice {
    let mut cost = |difference: bool| {
        let (model, lines) = (Model::Bytes { difference }, Lines::default());
        let prediction = if difference { base } else { &[] };
        let bits = cost(form, matrix, (model, lines), (values, prediction, &[]), share, scratch);
        let bits = bits + if difference { share * described } else { 0.0 };
        Choice { model, scale: 1.0, lines, bits }
    };
    let alone = cost(false);
    if base.is_empty() {
        return alone;
    }
    let over = cost(true);
    if over.bits < alone.bits { over } else { alone }
}

/// Initial values times a factor, rounded to the type.
pub fn scaled(dtype: FloatDtype, initial: &[u8], scale: f64) -> Vec<u8> {
    if scale == 1.0 {
        return initial.to_vec();
    }
    let mut values = vec![0.0; initial.len() / dtype.size()];
    dtype.decode(initial, &mut values);
    values.iter_mut().for_each(|value| *value *= scale);
    let mut out = vec![0; initial.len()];
    dtype.encode(&values, &mut out);
    out
}

fn cost(
    form: Form,
    matrix: Matrix,
    (model, lines): (Model, Lines),
    (values, prediction, pruned): (&[u8], &[u8], &[u8]),
    share: f64,
    scratch: &mut EncoderScratch,
) -> f64 {
    let mut encoder = TensorEncoder::new(form, matrix, model, lines);
    let input = |block: &blocks::Block| {
        let bytes = block.bytes(form.size());
        let part =
            |of: &[u8], range: core::ops::Range<usize>| range.start.min(of.len())..range.end.min(of.len());
        let places = part(pruned, block.start..block.start + block.len);
        (part(values, bytes.clone()), part(prediction, bytes), places)
    };
    let mut pass = |step: &mut dyn FnMut(&blocks::Block, BlockInput<'_>, &mut EncoderScratch)| {
        for block in blocks::cut(0, matrix) {
            let (v, p, places) = input(&block);
            let input =
                BlockInput { values: &values[v], prediction: &prediction[p], pruned: &pruned[places] };
            step(&block, input, scratch);
        }
    };
    pass(&mut |block, input, scratch| encoder.measure(block, input, scratch));
    encoder.classify();
    pass(&mut |block, input, scratch| encoder.count(block, input, scratch));
    encoder.estimate(share)
}

/// Factors worth trying: 1, the given factor, the least-squares factor, and the medians of the narrowest
/// intervals that hold a sixteenth and a quarter of the ratios of values to initial values. Under weight
/// decay, all weights that training did not otherwise change have the same ratio.
fn scales(dtype: FloatDtype, values: &[u8], initial: &[u8], given: f64) -> Vec<f64> {
    const MOST: usize = 1 << 13;
    let decoded = |bytes: &[u8]| {
        let mut out = vec![0.0; bytes.len() / dtype.size()];
        dtype.decode(bytes, &mut out);
        out
    };
    let (w, w0) = (decoded(values), decoded(initial));
    let pairs = || w.iter().zip(&w0).filter(|(w, w0)| w.is_finite() && w0.is_finite() && **w0 != 0.0);
    let (mut products, mut squares) = (0.0, 0.0);
    for (w, w0) in pairs() {
        products += w * w0;
        squares += w0 * w0;
    }
    let step = w.len().div_ceil(MOST).max(1);
    let mut ratios: Vec<f64> =
        pairs().step_by(step).map(|(w, w0)| w / w0).filter(|r| r.is_finite()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let densest = |share: usize| {
        let len = ratios.len() / share;
        let at = (0..ratios.len().saturating_sub(len))
            .min_by(|a, b| (ratios[a + len] - ratios[*a]).total_cmp(&(ratios[b + len] - ratios[*b])));
        at.filter(|_| len > 1).map(|at| ratios[at + len / 2])
    };
    let found = [Some(1.0), Some(given), Some(products / squares), densest(16), densest(4)];
    let mut scales: Vec<f64> = Vec::new();
    for scale in found.into_iter().flatten().filter(|scale| scale.is_finite() && *scale > 0.0) {
        // Factors closer together than this count as one.
        if scales.iter().all(|other| (scale / other - 1.0).abs() > 1e-7) {
            scales.push(scale);
        }
    }
    scales
}

/// The largest magnitude of the values, in the units of [`Model::Value`]. Ignores a few values far above the
/// others if covering them would put small values out of reach.
fn top(dtype: FloatDtype, values: &[u8]) -> u16 {
    const FAR: u16 = 4 * 8;
    let form = Form::from(dtype);
    let mut counts: Vec<u32> = Vec::new();
    form.each(values, |form, bits| {
        let magnitude = usize::from(form.magnitude(bits));
        if counts.len() <= magnitude {
            counts.resize(magnitude + 1, 0);
        }
        counts[magnitude] += 1;
    });
    let mut above = 0;
    let few = (values.len() / dtype.size() / 1024) as u32;
    let common = counts.iter().rposition(|n| {
        above += n;
        above > few
    });
    let (largest, common) = (counts.len().saturating_sub(1) as u16, common.unwrap_or_default() as u16);
    if largest - common > FAR { common } else { largest }
}
