//! Tensors that consist of other tensors side by side.

use super::orthogonal::Whole;
use super::slices::output_dimension;
use crate::prelude::*;
use crate::tensor::{Layout, Shape};

/// Provides the weights of a part.
pub(super) trait Weights {
    /// Fills `out` with the elements `start, start + 1, …`.
    fn fill(&self, start: usize, out: &mut [f64]);

    /// The matrices that can only be generated as a whole.
    fn whole(&self) -> Option<&Whole>;

    /// Whether long runs cost less per element.
    fn prefers_long_runs(&self) -> bool;
}

/// A tensor that is divided along one dimension. For each index of the dimensions before it, the slices
/// follow each other in storage order, each with `size * inner` elements.
#[derive(Clone, Debug)]
pub(super) struct Sliced<P> {
    /// Elements of all slices together, for one index of the dimensions before.
    period: usize,
    parts: Vec<Part<P>>,
    whole: Option<Whole>,
}

#[derive(Clone, Debug)]
struct Part<P> {
    /// Elements of a period before the slice, and elements of the slice.
    start: usize,
    len: usize,
    weights: P,
}

impl<P: Weights> Sliced<P> {
    /// From the slices: the size of each along the output dimension, and its weights.
    pub fn new(shape: &Shape, layout: Layout, slices: Vec<(usize, P)>) -> Self {
        let at = output_dimension(shape, layout).unwrap_or_default();
        let inner: usize = shape.dims().iter().skip(at + 1).product();
        Self::side_by_side(slices.into_iter().map(|(size, weights)| (size * inner, weights)).collect())
    }

    /// From the parts: the number of elements of each, and its weights.
    pub fn side_by_side(parts: Vec<(usize, P)>) -> Self {
        let mut period = 0;
        let parts: Vec<Part<P>> = parts
            .into_iter()
            .map(|(len, weights)| {
                let part = Part { start: period, len, weights };
                period += part.len;
                part
            })
            .collect();
        let whole = Whole::join(parts.iter().filter_map(|part| part.weights.whole()));
        Self { period, parts, whole }
    }

    pub fn whole(&self) -> Option<&Whole> {
        self.whole.as_ref()
    }

    pub fn prefers_long_runs(&self) -> bool {
        self.parts.iter().any(|part| part.weights.prefers_long_runs())
    }

    /// Divides the elements `start, start + 1, …` among the slices. Each piece has the number of its slice,
    /// its first element within the slice, and its length.
    fn pieces(&self, start: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let end = start + len;
        let mut at = start;
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (turn, within) = (at / self.period, at % self.period);
            // The last one that begins there or before: an empty one begins where the next one does.
            let n = self.parts.partition_point(|part| part.start <= within) - 1;
            let part = &self.parts[n];
            let count = (part.start + part.len - within).min(end - at);
            at += count;
            Some((n, turn * part.len + (within - part.start), count))
        })
    }

    pub fn fill(&self, start: usize, mut out: &mut [f64]) {
        for (n, first, count) in self.pieces(start, out.len()) {
            let (piece, rest) = out.split_at_mut(count);
            self.parts[n].weights.fill(first, piece);
            out = rest;
        }
    }
}
