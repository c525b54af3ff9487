//! A tensor's initial weights, any of them at any time.

use super::scheme::{Draw, Scheme};
use crate::noise::{block, hash, scalar};
use crate::tensor::{Layout, Matrix, Shape};

/// Regenerates the weights of one tensor: a pure function of seed, layer id and coordinates, so that no run of
/// elements depends on which others were asked for.
#[derive(Clone, Debug)]
pub struct Generator {
    layer_key: u64,
    matrix: Matrix,
    draw: Draw,
    /// Elements of a kernel whose mean is subtracted; 1 where none is.
    kernel: usize,
}

impl Generator {
    /// The generator of a tensor of this shape. The fans, and with them the scale, follow from shape and layout.
    pub fn new(seed: u64, layer: u64, scheme: &Scheme, shape: &Shape, layout: Layout) -> Self {
        let zero_mean = scheme.zero_mean() && layout == Layout::OutIn;
        Self {
            layer_key: hash::layer_key(seed, layer),
            matrix: shape.matrix(),
            draw: scheme.draw(shape, layout),
            kernel: if zero_mean { shape.kernel_elements().max(1) } else { 1 },
        }
    }

    /// The matrix view of the tensor.
    pub fn matrix(&self) -> Matrix {
        self.matrix
    }

    /// The weight at row `i`, column `j`, in binary64 before rounding into a stored type.
    pub fn weight_at(&self, i: usize, j: usize) -> f64 {
        let key = self.row_key(i);
        if self.kernel > 1 {
            let mut one = [0.0];
            self.fill_zero_mean(key, j, &mut one);
            return one[0];
        }
        match self.draw {
            Draw::Constant(value) => value,
            Draw::Gaussian { .. } => self.scale(scalar::gaussian_at(key, j as u64)),
            Draw::Uniform { .. } => self.scale(scalar::uniform_at(key, j as u64)),
        }
    }

    /// Fills `out` with the elements `start, start + 1, …` of the tensor in storage order, in binary64 before rounding.
    ///
    /// # Panics
    /// If the tensor has no columns and `out` is not empty.
    pub fn fill(&self, start: usize, out: &mut [f64]) {
        if let Draw::Constant(value) = self.draw {
            out.fill(value);
            return;
        }
        let mut row = start.checked_div(self.matrix.cols).unwrap_or(0);
        let mut col = start.checked_rem(self.matrix.cols).unwrap_or(0);
        let mut out = out;
        while !out.is_empty() {
            let run = (self.matrix.cols - col).min(out.len());
            let (now, rest) = out.split_at_mut(run);
            let key = self.row_key(row);
            if self.kernel > 1 {
                self.fill_zero_mean(key, col, now);
            } else {
                self.fill_raw(key, col, now);
                for x in now {
                    *x = self.scale(*x);
                }
            }
            out = rest;
            row += 1;
            col = 0;
        }
    }

    #[inline]
    fn row_key(&self, i: usize) -> u64 {
        hash::hash64(self.layer_key ^ i as u64)
    }

    /// One draw, scaled. A zero mean is not added: it could turn -0.0 into +0.0.
    #[inline(always)]
    fn scale(&self, x: f64) -> f64 {
        match self.draw {
            Draw::Constant(value) => value,
            Draw::Gaussian { mean: 0.0, std } => std * x,
            Draw::Gaussian { mean, std } => mean + std * x,
            Draw::Uniform { low, span } => low + span * x,
        }
    }

    /// Draws `j, j + 1, …` of a row, not scaled.
    fn fill_raw(&self, key: u64, j: usize, out: &mut [f64]) {
        match self.draw {
            Draw::Constant(value) => out.fill(value),
            Draw::Gaussian { .. } => block::fill_gaussian(key, j as u64, out),
            Draw::Uniform { .. } => block::fill_uniform(key, j as u64, out),
        }
    }

    /// Weights `j, j + 1, …` of a row whose kernels have their mean subtracted: `scale * (draw - mean)`. The draws of
    /// a kernel that is cut by either end are regenerated for its mean.
    fn fill_zero_mean(&self, key: u64, j: usize, out: &mut [f64]) {
        let scale = match self.draw {
            Draw::Constant(_) => return,
            Draw::Gaussian { std, .. } => std,
            Draw::Uniform { span, .. } => span,
        };
        let mut draws = vec![0.0; self.kernel];
        let mut done = 0;
        while done < out.len() {
            let column = j + done;
            let skip = column % self.kernel;
            let run = (self.kernel - skip).min(out.len() - done);
            self.fill_raw(key, column - skip, &mut draws);
            // Added one by one in storage order from 0.0, as the noise page says.
            let mut sum = 0.0;
            for x in &draws {
                sum += x;
            }
            let mean = sum / self.kernel as f64;
            for (x, draw) in out[done..done + run].iter_mut().zip(&draws[skip..]) {
                *x = scale * (draw - mean);
            }
            done += run;
        }
    }
}
