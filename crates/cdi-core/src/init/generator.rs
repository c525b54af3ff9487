//! A tensor's initial weights, with random access.

use super::draw::Draw;
use super::orthogonal::Whole;
use super::scheme::Scheme;
use super::sliced::{Sliced, Weights};
use crate::dispatch::{self, Kernel};
use crate::lock::Shared;
use crate::noise::{block, hash, scalar};
use crate::prelude::*;
use crate::tensor::{Axes, Layout, Matrix, Shape};

/// Generates the initial weights of one tensor. Each is a pure function of seed, layer id and coordinates, so
/// that any element or run of elements can be generated without the others.
#[derive(Clone, Debug)]
pub struct Generator {
    layer_key: u64,
    matrix: Matrix,
    draw: Draw,
    /// Elements per kernel if the mean of each kernel is subtracted; otherwise 1.
    kernel: usize,
    /// The parts of a tensor that consists of others; nothing else is used then.
    sliced: Option<Shared<Sliced<Generator>>>,
}

impl Generator {
    /// The generator for a tensor of this shape. Shape and layout determine the fans, and these the scale.
    pub fn new(seed: u64, layer: u64, scheme: &Scheme, shape: &Shape, layout: Layout) -> Self {
        Self::of_key(hash::layer_key(seed, layer), scheme, shape, layout)
    }

    /// Like [`Self::new`], with the key of the layer.
    fn of_key(layer_key: u64, scheme: &Scheme, shape: &Shape, layout: Layout) -> Self {
        // If weights depend on their position in the tensor, each expert is a tensor of its own.
        if let Some((one, of_one)) = layout.of_one(shape).filter(|_| scheme.makes_whole_tensors()) {
            let experts = shape.elements().checked_div(one.elements()).unwrap_or(0);
            let expert = |n: usize| Self::of_key(hash::hash64(layer_key ^ n as u64), scheme, &one, of_one);
            let experts = (0..experts).map(|n| (one.elements(), expert(n))).collect();
            return Self::of_parts(shape, Sliced::side_by_side(experts));
        }
        let axes = Axes::new(shape, layout);
        let zero_mean = scheme.zero_mean() && axes.are_kernels_together();
        Self {
            layer_key,
            matrix: shape.matrix(),
            draw: scheme.draw(layer_key, shape, layout),
            kernel: if zero_mean { axes.kernel.max(1) } else { 1 },
            sliced: None,
        }
    }

    fn of_parts(shape: &Shape, parts: Sliced<Self>) -> Self {
        let (draw, sliced) = (Draw::Constant(0.0), Some(Shared::new(parts)));
        Self { layer_key: 0, matrix: shape.matrix(), draw, kernel: 1, sliced }
    }

    /// The generator for a fused tensor. Each slice has a size along the output dimension (see
    /// [`super::slice_sizes`]) and a generator for a tensor of the slice's shape
    /// ([`super::slice_shape`]).
    pub fn sliced(shape: &Shape, layout: Layout, slices: Vec<(usize, Self)>) -> Self {
        Self::of_parts(shape, Sliced::new(shape, layout, slices))
    }

    /// The matrix view of the tensor.
    pub fn matrix(&self) -> Matrix {
        self.matrix
    }

    /// The weight at row `i`, column `j` of the matrix view, in binary64, before it is
    /// rounded to a stored type.
    pub fn weight_at(&self, i: usize, j: usize) -> f64 {
        if let Some(sliced) = &self.sliced {
            let mut one = [0.0];
            sliced.fill(i * self.matrix.cols + j, &mut one);
            return one[0];
        }
        let key = self.row_key(i);
        if self.kernel > 1 {
            let mut one = [0.0];
            self.fill_zero_mean(key, j, &mut one);
            return one[0];
        }
        match &self.draw {
            Draw::Constant(value) => *value,
            Draw::Gaussian { .. } => self.scale(scalar::gaussian_at(key, j as u64)),
            Draw::Uniform { .. } | Draw::Truncated(_) => self.scale(scalar::uniform_at(key, j as u64)),
            Draw::Structured(structure) => structure.weight(self.layer_key, i, j, self.matrix.cols),
            Draw::Whole { .. } => {
                let mut one = [0.0];
                self.fill(i * self.matrix.cols + j, &mut one);
                one[0]
            }
        }
    }

    /// Fills `out` with the elements `start, start + 1, …` of the tensor in storage order, in binary64,
    /// before they are rounded to a stored type.
    ///
    /// # Panics
    /// If the tensor has no columns and `out` is not empty.
    pub fn fill(&self, start: usize, out: &mut [f64]) {
        match &self.sliced {
            // Each slice runs its own loop.
            Some(sliced) => sliced.fill(start, out),
            None => dispatch::run(Fill { generator: self, start, out }),
        }
    }

    /// Whether long runs cost less per element than short ones. This is so for orthogonal schemes, and
    /// if the mean of each kernel is subtracted, because kernels that the ends of a run cut are
    /// generated as a whole.
    pub fn prefers_long_runs(&self) -> bool {
        match &self.sliced {
            Some(sliced) => sliced.prefers_long_runs(),
            None => self.kernel > 1 || matches!(self.draw, Draw::Whole { .. }),
        }
    }

    /// The matrices of an orthogonal scheme, whose weights can only be generated all at once; `None` for
    /// other schemes. [`Self::fill`] generates them on one thread if they do not exist yet, and they stay in
    /// memory until they are released.
    pub fn whole(&self) -> Option<&Whole> {
        match (&self.sliced, &self.draw) {
            (Some(sliced), _) => sliced.whole(),
            (None, Draw::Whole { whole, .. }) => Some(whole),
            _ => None,
        }
    }

    #[inline(always)]
    fn row_key(&self, i: usize) -> u64 {
        hash::hash64(self.layer_key ^ i as u64)
    }

    /// One draw, scaled. A zero mean is not added: it could turn -0.0 into +0.0.
    #[inline(always)]
    fn scale(&self, x: f64) -> f64 {
        match &self.draw {
            Draw::Constant(value) => *value,
            Draw::Gaussian { mean: 0.0, std } => std * x,
            Draw::Gaussian { mean, std } => mean + std * x,
            Draw::Uniform { low, span } => low + span * x,
            Draw::Truncated(truncated) => truncated.weight(x),
            Draw::Structured(_) | Draw::Whole { .. } => x,
        }
    }

    /// Draws `j, j + 1, …` of a row, unscaled.
    #[inline(always)]
    fn fill_raw(&self, key: u64, j: usize, out: &mut [f64]) {
        match &self.draw {
            Draw::Constant(_) | Draw::Structured(_) | Draw::Whole { .. } => {}
            Draw::Gaussian { .. } => block::gaussians(key, j as u64, out, |x| x),
            Draw::Uniform { .. } | Draw::Truncated(_) => block::uniforms(key, j as u64, out, |x| x),
        }
    }

    /// Weights `j, j + 1, …` of a row, with the mean of each kernel subtracted: `scale * (draw - mean)`.
    #[inline(always)]
    fn fill_zero_mean(&self, key: u64, j: usize, out: &mut [f64]) {
        let scale = match &self.draw {
            // None of these subtracts a mean.
            Draw::Constant(_) | Draw::Truncated(_) | Draw::Structured(_) | Draw::Whole { .. } => return,
            Draw::Gaussian { std, .. } => *std,
            Draw::Uniform { span, .. } => *span,
        };
        // Kernels that the ends of the run cut are generated as a whole, in a buffer.
        let before = (self.kernel - j % self.kernel) % self.kernel;
        let (head, rest) = out.split_at_mut(before.min(out.len()));
        let (whole, tail) = rest.split_at_mut(rest.len() - rest.len() % self.kernel);
        for (column, part) in [(j, head), (j + before + whole.len(), tail)] {
            if !part.is_empty() {
                let skip = column % self.kernel;
                let mut kernel = vec![0.0; self.kernel];
                self.fill_raw(key, column - skip, &mut kernel);
                centre(&mut kernel, scale);
                part.copy_from_slice(&kernel[skip..skip + part.len()]);
            }
        }
        self.fill_raw(key, j + before, whole);
        for kernel in whole.chunks_exact_mut(self.kernel) {
            centre(kernel, scale);
        }
    }
}

impl Weights for Generator {
    fn fill(&self, start: usize, out: &mut [f64]) {
        Self::fill(self, start, out);
    }

    fn whole(&self) -> Option<&Whole> {
        Self::whole(self)
    }

    fn prefers_long_runs(&self) -> bool {
        Self::prefers_long_runs(self)
    }
}

/// `scale * (draw - mean)` of the draws of one convolution kernel.
#[inline(always)]
fn centre(kernel: &mut [f64], scale: f64) {
    // Added one by one in storage order, starting from 0.0, as `docs/noise.md` specifies.
    let sum = kernel.iter().fold(0.0, |sum, x| sum + x);
    let mean = sum / kernel.len() as f64;
    for x in kernel {
        *x = scale * (*x - mean);
    }
}

/// The kernel of [`Generator::fill`].
#[derive(Debug)]
pub struct Fill<'a> {
    /// Generator of the tensor.
    pub generator: &'a Generator,
    /// First element.
    pub start: usize,
    /// Receives the elements.
    pub out: &'a mut [f64],
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { generator, start, out } = self;
        if let Some(sliced) = &generator.sliced {
            return sliced.fill(start, out);
        }
        // One copy of the loops for each form of scaling, selected outside the loops.
        match &generator.draw {
            Draw::Constant(value) => out.fill(*value),
            _ if generator.kernel > 1 => ZeroMean(generator).fill(start, out),
            &Draw::Gaussian { mean: 0.0, std } => {
                Gaussian { generator, scale: |x| std * x }.fill(start, out);
            }
            &Draw::Gaussian { mean, std } => {
                Gaussian { generator, scale: |x| mean + std * x }.fill(start, out)
            }
            &Draw::Uniform { low, span } => Uniform { generator, scale: |x| low + span * x }.fill(start, out),
            Draw::Truncated(truncated) => {
                Uniform { generator, scale: |x| x }.fill(start, out);
                for x in out {
                    *x = truncated.weight(*x);
                }
            }
            Draw::Structured(structure) => {
                let cols = generator.matrix.cols;
                for (n, x) in (start..).zip(out) {
                    *x = structure.weight(generator.layer_key, n / cols, n % cols, cols);
                }
            }
            Draw::Whole { matrix, .. } => matrix.fill(start, out),
        }
    }
}

/// Weights of parts of rows and of whole rows. A trait rather than closures, because only functions can be
/// `#[inline(always)]`, which [`Kernel`] requires.
trait Rows {
    fn generator(&self) -> &Generator;

    /// Columns `j, j + 1, …` of a row.
    fn part(&self, row: usize, j: usize, out: &mut [f64]);

    /// Rows `row, row + 1, …`.
    #[inline(always)]
    fn whole(&self, row: usize, out: &mut [f64]) {
        for (n, line) in out.chunks_mut(self.generator().matrix.cols).enumerate() {
            self.part(row + n, 0, line);
        }
    }

    /// Elements `start, start + 1, …`: the end of a row, whole rows, and the beginning of a row.
    #[inline(always)]
    fn fill(&self, start: usize, out: &mut [f64]) {
        if out.is_empty() {
            return;
        }
        let cols = self.generator().matrix.cols;
        let (row, col) = (start / cols, start % cols);
        let (head, rest) = out.split_at_mut(((cols - col) % cols).min(out.len()));
        let (lines, tail) = rest.split_at_mut(rest.len() - rest.len() % cols);
        let first = row + usize::from(col > 0);
        self.whole(first, lines);
        for (row, j, part) in [(row, col, head), (first + lines.len() / cols, 0, tail)] {
            if !part.is_empty() {
                self.part(row, j, part);
            }
        }
    }
}

struct Gaussian<'a, F> {
    generator: &'a Generator,
    scale: F,
}

impl<F: Fn(f64) -> f64> Rows for Gaussian<'_, F> {
    #[inline(always)]
    fn generator(&self) -> &Generator {
        self.generator
    }

    #[inline(always)]
    fn part(&self, row: usize, j: usize, out: &mut [f64]) {
        block::gaussians(self.generator.row_key(row), j as u64, out, &self.scale);
    }

    #[inline(always)]
    fn whole(&self, row: usize, out: &mut [f64]) {
        let g = self.generator;
        block::gaussian_rows(|row| g.row_key(row), row, g.matrix.cols, out, &self.scale);
    }
}

struct Uniform<'a, F> {
    generator: &'a Generator,
    scale: F,
}

impl<F: Fn(f64) -> f64> Rows for Uniform<'_, F> {
    #[inline(always)]
    fn generator(&self) -> &Generator {
        self.generator
    }

    #[inline(always)]
    fn part(&self, row: usize, j: usize, out: &mut [f64]) {
        block::uniforms(self.generator.row_key(row), j as u64, out, &self.scale);
    }
}

struct ZeroMean<'a>(&'a Generator);

impl Rows for ZeroMean<'_> {
    #[inline(always)]
    fn generator(&self) -> &Generator {
        self.0
    }

    #[inline(always)]
    fn part(&self, row: usize, j: usize, out: &mut [f64]) {
        self.0.fill_zero_mean(self.0.row_key(row), j, out);
    }
}
