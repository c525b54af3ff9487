//! Heat map of a tensor's |delta|: some of its rows, each divided into a few cells.
//!
//! A cell belongs to one row of the matrix view. It needs only its own weights, and an input that never
//! changed is visible as a column of sleeping cells, whichever rows are shown.

use serde::{Deserialize, Serialize};

use super::stats::DeltaStats;
use crate::tensor::{Layout, Matrix};

/// Division of a matrix into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The matrix.
    pub matrix: Matrix,
    /// Rows of cells, each from one row of the matrix.
    pub rows: usize,
    /// Cells per row, each from neighbouring columns.
    pub columns: usize,
}

impl Grid {
    /// Maximum rows and columns of cells.
    pub const LARGEST: (usize, usize) = (96, 256);
    /// Maximum number of cells of all tensors together: a page with more would load slowly.
    pub const MOST_CELLS: usize = 700_000;
    /// Smaller maps, for models with many tensors.
    const STEPS: [(usize, usize); 9] =
        [Self::LARGEST, (80, 208), (64, 160), (48, 128), (40, 104), (32, 80), (24, 64), (16, 48), (12, 32)];

    /// One cell per element, but at most `(rows, columns)` cells.
    pub fn new(matrix: Matrix, (rows, columns): (usize, usize)) -> Self {
        Self { matrix, rows: matrix.rows.min(rows), columns: matrix.cols.min(columns) }
    }

    /// Grids for many matrices, with at most [`Self::MOST_CELLS`] together. All are as large as possible. If
    /// even the smallest grids are too many, only the matrices with the most elements get one; of equal
    /// matrices, the first.
    pub fn of_all(matrices: &[Matrix]) -> Vec<Option<Self>> {
        Self::within(matrices, Self::MOST_CELLS)
    }

    fn within(matrices: &[Matrix], most: usize) -> Vec<Option<Self>> {
        let sized = |size: (usize, usize)| matrices.iter().map(move |matrix| Self::new(*matrix, size));
        let fits = |size: &(usize, usize)| sized(*size).map(|grid| grid.cells()).sum::<usize>() <= most;
        if let Some(size) = Self::STEPS.iter().find(|size| fits(size)) {
            return sized(*size).map(Some).collect();
        }
        let smallest: Vec<Self> = sized(Self::STEPS[Self::STEPS.len() - 1]).collect();
        let mut order: Vec<usize> = (0..smallest.len()).collect();
        order.sort_by_key(|n| std::cmp::Reverse(matrices[*n].rows * matrices[*n].cols));
        let mut grids = vec![None; smallest.len()];
        let mut left = most;
        for n in order {
            let Some(rest) = left.checked_sub(smallest[n].cells()) else { break };
            (left, grids[n]) = (rest, Some(smallest[n]));
        }
        grids
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.rows * self.columns
    }

    /// The row of the matrix that row `n` of cells shows: the middle one of those that it represents.
    pub fn row(&self, n: usize) -> usize {
        ((2 * n as u128 + 1) * self.matrix.rows as u128 / (2 * self.rows as u128)) as usize
    }

    /// The columns of the matrix in cell `n` of a row.
    pub fn columns_of(&self, n: usize) -> std::ops::Range<usize> {
        let edge = |n: usize| (n as u128 * self.matrix.cols as u128 / self.columns as u128) as usize;
        edge(n)..edge(n + 1)
    }
}

/// Neighbouring weights of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean of the finite |delta|; 0 if there are none.
    pub mean: f64,
    /// Share of the weights that sleep, 0 … 1.
    pub asleep: f32,
    /// Whether every delta is finite.
    pub finite: bool,
}

impl Cell {
    /// From the comparison of its weights.
    pub fn new(stats: &DeltaStats) -> Self {
        Self {
            mean: stats.mean().unwrap_or(0.0),
            asleep: (stats.sleeping() as f64 / stats.total.max(1) as f64) as f32,
            finite: stats.finite == stats.total,
        }
    }
}

/// The heat map of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Its cells.
    pub grid: Grid,
    /// Which dimensions are inputs and outputs.
    pub layout: Layout,
    /// The cells, row by row.
    pub cells: Vec<Cell>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, cols: usize) -> Matrix {
        Matrix { rows, cols }
    }

    #[test]
    fn rows_are_spread_evenly_and_columns_are_all_there() {
        let grid = Grid::new(matrix(10, 7), (4, 3));
        assert_eq!((0..4).map(|n| grid.row(n)).collect::<Vec<_>>(), [1, 3, 6, 8]);
        assert_eq!((0..3).map(|n| grid.columns_of(n)).collect::<Vec<_>>(), [0..2, 2..4, 4..7]);
        let grid = Grid::new(matrix(3, 5), Grid::LARGEST);
        assert_eq!((grid.rows, grid.columns), (3, 5));
        assert_eq!((0..3).map(|n| grid.row(n)).collect::<Vec<_>>(), [0, 1, 2]);
        assert!((0..5).all(|n| grid.columns_of(n) == (n..n + 1)));
        // The largest matrix there can be.
        let grid = Grid::new(matrix(1, usize::MAX / 8), Grid::LARGEST);
        assert_eq!(grid.columns_of(255).end, usize::MAX / 8);
    }

    #[test]
    fn a_cell_knows_its_mean_and_what_is_odd_about_it() {
        let stats =
            DeltaStats { total: 8, changed: 6, finite: 6, not_finite: 2, sum: 3.0, ..DeltaStats::default() };
        assert_eq!(Cell::new(&stats), Cell { mean: 0.5, asleep: 0.25, finite: false });
        let stats = DeltaStats { total: 2, changed: 2, not_finite: 2, ..DeltaStats::default() };
        assert_eq!(Cell::new(&stats), Cell { mean: 0.0, asleep: 0.0, finite: false });
    }

    #[test]
    fn many_tensors_have_smaller_maps_and_too_many_only_the_largest() {
        let large = matrix(1000, 1000);
        assert_eq!(Grid::of_all(&[large; 28])[27], Some(Grid::new(large, (96, 256))));
        assert_eq!(Grid::of_all(&[large; 29])[28], Some(Grid::new(large, (80, 208))));
        // 700 cells a tensor.
        assert_eq!(Grid::of_all(&[large; 1000])[999], Some(Grid::new(large, (12, 32))));
        let grids = Grid::within(&[matrix(20, 40), large, matrix(1, 40), matrix(50, 50)], 800);
        assert_eq!(grids.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(Grid::within(&[matrix(0, 5)], 800), [Some(Grid::new(matrix(0, 5), Grid::LARGEST))]);
    }
}
