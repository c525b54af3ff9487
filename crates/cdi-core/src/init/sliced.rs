//! Tensors put together from others, side by side.

use super::orthogonal::Whole;
use super::slices::output_dimension;
use crate::prelude::*;
use crate::tensor::{Layout, Shape};

/// What gives the weights of a part.
pub(super) trait Weights {
    /// Fills `out` with the elements `start, start + 1, …`.
    fn fill(&self, start: usize, out: &mut [f64]);

    /// What must be made all at once.
    fn whole(&self) -> Option<&Whole>;

    /// Whether long runs cost less.
    fn prefers_long_runs(&self) -> bool;
}

/// A tensor cut along one dimension: `outer` times the slices in their order, each `size * inner` elements.
#[derive(Clone, Debug)]
pub(super) struct Sliced<P> {
    /// Elements of all slices together, within one of `outer`.
    period: usize,
    parts: Vec<Part<P>>,
    whole: Option<Whole>,
}

#[derive(Clone, Debug)]
struct Part<P> {
    /// Elements before the slice within a period, and its own.
    start: usize,
    len: usize,
    weights: P,
}

impl<P: Weights> Sliced<P> {
    /// Each slice's size along the output dimension beside what makes it.
    pub fn new(shape: &Shape, layout: Layout, slices: Vec<(usize, P)>) -> Self {
        let at = output_dimension(shape, layout).unwrap_or_default();
        let inner: usize = shape.dims().iter().skip(at + 1).product();
        Self::side_by_side(slices.into_iter().map(|(size, weights)| (size * inner, weights)).collect())
    }

    /// Each part's elements beside what makes it.
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

    /// The slices that the elements `start, start + 1, …` lie in, piece by piece: number of the slice, first
    /// element in it, and how many of the run it gives.
    fn pieces(&self, start: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let end = start + len;
        let mut at = start;
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (turn, within) = (at / self.period, at % self.period);
            // The last one that begins there or before: empty ones begin where the next does.
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
