//! Haar-distributed matrices with orthonormal columns, as a product of Householder reflections.
//!
//! Stewart, "The efficient generation of random orthogonal matrices with an application to condition
//! estimators", SIAM Journal on Numerical Analysis 17 (1980), section 3: a reflection that turns a gaussian
//! vector of n elements onto the first axis, one of n - 1 on the axes that remain, and so on, and the signs
//! that a QR decomposition with a positive diagonal of R would have. The result has the distribution of the Q
//! of a gaussian matrix, which is never made.
//!
//! Reflections go in blocks (Schreiber, Van Loan, SIAM Journal on Scientific and Statistical Computing 10,
//! 1989), from the last to the first. All sums are in binary64, each from its first term to its last, in an
//! order that depends on the shape alone. Therefore, neither threads nor instruction sets change a bit.

use crate::dispatch::{self, Kernel};
#[cfg(not(feature = "std"))]
use crate::float::Float;
use crate::noise::{block, hash};
use crate::prelude::*;
use crate::workers::Workers;

/// Reflections per block.
const BLOCK: usize = 32;
/// Columns per panel, a multiple of `TILE_COLUMNS`.
pub(super) const PANEL: usize = 64;
/// Rows and columns of a tile, which the loops below keep in registers.
const TILE_ROWS: usize = 4;
const TILE_COLUMNS: usize = 8;

/// An `n` by `k` matrix with orthonormal columns, `k <= n`, in panels of [`PANEL`] columns.
#[derive(Debug)]
pub(super) struct Columns {
    panels: Vec<Panel>,
}

/// All rows of a few columns, row-major. The last panel is padded with columns of zeros.
#[derive(Debug)]
struct Panel {
    /// Number of its first column.
    first: usize,
    /// A multiple of `TILE_COLUMNS`.
    width: usize,
    values: Vec<f64>,
}

impl Columns {
    /// Generates the matrix, multiplied by `gain`, from the noise of a layer: reflection `j` from the
    /// gaussian draws of row `j` at the columns `j … n`. Panels are shared among the workers.
    pub fn new(layer_key: u64, (n, k): (usize, usize), gain: f64, workers: &impl Workers) -> Self {
        let mut panels: Vec<Panel> = (0..k).step_by(PANEL).map(|first| Panel::unit(first, n, k)).collect();
        let mut signs = vec![0.0; k];
        for first in (0..k).step_by(BLOCK).rev() {
            let reflections = Reflections::new(layer_key, n, first, &mut signs[first..k.min(first + BLOCK)]);
            let apply =
                |(): &mut (), panel: &mut Panel| dispatch::run(Apply { reflections: &reflections, panel });
            // Columns before the block still equal those of the identity, and are zero in the
            // rows that it changes.
            let changed = &mut panels[first / PANEL..];
            workers.each(changed, || (), apply);
        }
        for panel in &mut panels {
            panel.scale(&signs[panel.first..], gain);
        }
        Self { panels }
    }

    /// The element at row `i`, column `j`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        let panel = &self.panels[j / PANEL];
        panel.values[i * panel.width + j % PANEL]
    }

    /// Columns `j, j + 1, …` of row `i`.
    pub fn copy_row(&self, i: usize, mut j: usize, mut out: &mut [f64]) {
        while !out.is_empty() {
            let panel = &self.panels[j / PANEL];
            let (part, rest) = out.split_at_mut(out.len().min(PANEL - j % PANEL));
            let start = i * panel.width + j % PANEL;
            part.copy_from_slice(&panel.values[start..start + part.len()]);
            j += part.len();
            out = rest;
        }
    }
}

impl Panel {
    /// Columns `first …` of the `n` by `k` identity matrix.
    fn unit(first: usize, n: usize, k: usize) -> Self {
        let columns = PANEL.min(k - first);
        let width = columns.next_multiple_of(TILE_COLUMNS);
        let mut values = vec![0.0; n * width];
        for c in 0..columns {
            values[(first + c) * width + c] = 1.0;
        }
        Self { first, width, values }
    }

    /// Multiplies every column by its sign and by the gain.
    fn scale(&mut self, signs: &[f64], gain: f64) {
        for row in self.values.chunks_exact_mut(self.width) {
            for (value, sign) in row.iter_mut().zip(signs) {
                *value *= sign * gain;
            }
        }
    }
}

/// The product of consecutive reflections, `I - V T Vᵀ`. It does not change the rows before that of its first
/// reflection.
struct Reflections {
    first: usize,
    /// Number of reflections, rounded up to a multiple of `TILE_ROWS`: the additional ones are
    /// zero and have no effect.
    count: usize,
    /// `V`: the rows `first … n` of `count` columns, row-major.
    vectors: Vec<f64>,
    /// `T`: upper triangular, `count` by `count`.
    triangle: Vec<f64>,
}

impl Reflections {
    /// The reflections `first …`, as many as `signs` has room for. Each vector has squared length 2, so that
    /// the diagonal of `T` is 1.
    fn new(layer_key: u64, n: usize, first: usize, signs: &mut [f64]) -> Self {
        let count = signs.len().next_multiple_of(TILE_ROWS);
        let mut vectors = vec![0.0; (n - first) * count];
        let mut x = vec![0.0; n - first];
        for (c, sign) in signs.iter_mut().enumerate() {
            let j = first + c;
            let x = &mut x[..n - j];
            block::fill_gaussian(hash::hash64(layer_key ^ j as u64), j as u64, x);
            *sign = -reflect(x);
            for (row, x) in vectors.chunks_exact_mut(count).skip(c).zip(&*x) {
                row[c] = *x;
            }
        }
        let mut this = Self { first, count, vectors, triangle: Vec::new() };
        this.triangle = dispatch::run(Triangle(&this));
        this
    }
}

/// Replaces a vector by the vector, of squared length 2, of the reflection that maps it onto the first axis.
/// Returns the sign of its first element; the reflection maps it to the opposite end of the axis.
fn reflect(x: &mut [f64]) -> f64 {
    let length = x.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
    let sign = 1f64.copysign(x[0]);
    if length == 0.0 {
        // Gaussian draws can be zero. Then any axis will do.
        x[0] = 2f64.sqrt();
        return sign;
    }
    let scale = (length * (length + x[0].abs())).sqrt();
    x[0] += sign * length;
    for x in x {
        *x /= scale;
    }
    sign
}

/// `T` of the reflections: `T[j][j] = 1`, and above it `-T[..j][..j] (V[..j]ᵀ v_j)`.
struct Triangle<'a>(&'a Reflections);

impl Kernel for Triangle<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run(self) -> Vec<f64> {
        let Reflections { count, ref vectors, .. } = *self.0;
        // Tiles are wider than high, and `count` is a multiple of their height only.
        let width = count.next_multiple_of(TILE_COLUMNS);
        let mut padded;
        let right = if width == count {
            vectors
        } else {
            padded = vec![0.0; vectors.len() / count * width];
            for (to, from) in padded.chunks_exact_mut(width).zip(vectors.chunks_exact(count)) {
                to[..count].copy_from_slice(from);
            }
            &padded
        };
        let mut products = vec![0.0; count * width];
        for column in (0..width).step_by(TILE_COLUMNS) {
            project(vectors, count, right, width, column, &mut products);
        }
        let mut triangle = vec![0.0; count * count];
        for j in 0..count {
            for i in 0..j {
                let sum = (i..j).fold(0.0, |sum, l| sum + triangle[i * count + l] * products[l * width + j]);
                triangle[i * count + j] = -sum;
            }
            triangle[j * count + j] = 1.0;
        }
        triangle
    }
}

/// Applies reflections to a panel.
struct Apply<'a> {
    reflections: &'a Reflections,
    panel: &'a mut Panel,
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { reflections: Reflections { first, count, vectors, triangle }, panel } = self;
        let (count, width) = (*count, panel.width);
        let values = &mut panel.values[first * width..];
        // Columns of the identity that the block does not change.
        let skip = first.saturating_sub(panel.first) / TILE_COLUMNS * TILE_COLUMNS;
        let mut projected = vec![0.0; count * width];
        for column in (skip..width).step_by(TILE_COLUMNS) {
            project(vectors, count, values, width, column, &mut projected);
            multiply_triangle(triangle, count, &mut projected, width, column);
            subtract(vectors, count, &projected, values, width, column);
        }
    }
}

/// `products = leftᵀ right`, for as many columns as a tile has. `left` has `count` columns, and both have the
/// same number of rows.
#[inline(always)]
fn project(left: &[f64], count: usize, right: &[f64], width: usize, column: usize, products: &mut [f64]) {
    for i in (0..count).step_by(TILE_ROWS) {
        let mut sums = [[0.0; TILE_COLUMNS]; TILE_ROWS];
        for (left, right) in left.chunks_exact(count).zip(right.chunks_exact(width)) {
            let left: &[f64; TILE_ROWS] = left[i..].first_chunk().expect("a multiple of a tile's rows");
            let right = tile_row(right, column);
            for (sums, v) in sums.iter_mut().zip(left) {
                for (sum, x) in sums.iter_mut().zip(right) {
                    *sum += v * x;
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            let start = (i + n) * width + column;
            products[start..start + TILE_COLUMNS].copy_from_slice(sums);
        }
    }
}

/// `projected = triangle projected`, for as many columns as a tile has.
#[inline(always)]
fn multiply_triangle(triangle: &[f64], count: usize, projected: &mut [f64], width: usize, column: usize) {
    // Row i depends on rows i, i + 1, …, which have not been written yet.
    for i in 0..count {
        let mut sums = [0.0; TILE_COLUMNS];
        for l in i..count {
            let t = triangle[i * count + l];
            for (sum, x) in sums.iter_mut().zip(tile_row(&projected[l * width..], column)) {
                *sum += t * x;
            }
        }
        let start = i * width + column;
        projected[start..start + TILE_COLUMNS].copy_from_slice(&sums);
    }
}

/// `values -= vectors projected`, for as many columns as a tile has.
#[inline(always)]
fn subtract(
    vectors: &[f64],
    count: usize,
    projected: &[f64],
    values: &mut [f64],
    width: usize,
    column: usize,
) {
    let mut rows = values.chunks_exact_mut(width * TILE_ROWS);
    let mut lines = vectors.chunks_exact(count * TILE_ROWS);
    for (values, vectors) in (&mut rows).zip(&mut lines) {
        let mut sums = [[0.0; TILE_COLUMNS]; TILE_ROWS];
        for l in 0..count {
            let x = tile_row(&projected[l * width..], column);
            for (n, sums) in sums.iter_mut().enumerate() {
                let v = vectors[n * count + l];
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum += v * x;
                }
            }
        }
        for (row, sums) in values.chunks_exact_mut(width).zip(&sums) {
            for (value, sum) in row[column..].iter_mut().zip(sums) {
                *value -= sum;
            }
        }
    }
    let rest = rows.into_remainder().chunks_exact_mut(width);
    for (row, vector) in rest.zip(lines.remainder().chunks_exact(count)) {
        let mut sums = [0.0; TILE_COLUMNS];
        for (l, v) in vector.iter().enumerate() {
            for (sum, x) in sums.iter_mut().zip(tile_row(&projected[l * width..], column)) {
                *sum += v * x;
            }
        }
        for (value, sum) in row[column..].iter_mut().zip(&sums) {
            *value -= sum;
        }
    }
}

#[inline(always)]
fn tile_row(row: &[f64], column: usize) -> &[f64; TILE_COLUMNS] {
    row[column..].first_chunk().expect("widths are multiples of a tile's")
}
