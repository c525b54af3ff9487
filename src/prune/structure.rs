//! Places that go together.

use std::ops::Range;

use super::key::{NEVER, key};
use super::settings::Structure;
use crate::tensor::{Layout, Matrix, Shape};

/// How the places of a tensor are divided into groups, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Along one dimension: place `e` belongs to group `e / stride % size`.
    Line {
        /// Places from one step along the dimension to the next.
        stride: usize,
        /// Size of the dimension.
        size: usize,
        /// Places of each group.
        members: usize,
    },
    /// Blocks of the matrix view, row by row; those at its right and lower edge may be smaller.
    Blocks {
        /// The matrix view.
        matrix: Matrix,
        /// Rows of a block.
        rows: usize,
        /// Columns of a block.
        columns: usize,
    },
}

impl Groups {
    /// Those of a tensor; `None` where a structure has none in it: filters and channels below two dimensions, single
    /// weights and `n` of `m`.
    pub fn new(structure: Structure, shape: &Shape, layout: Layout) -> Option<Self> {
        let matrix = shape.matrix();
        let along = |dimension: usize| {
            let size = shape.dims()[dimension];
            let stride = shape.dims()[dimension + 1..].iter().product();
            Self::Line { stride, size, members: shape.elements().checked_div(size).unwrap_or(0) }
        };
        let last = shape.rank().wrapping_sub(1);
        match structure {
            Structure::Unstructured | Structure::OfM { .. } => None,
            Structure::Rows => {
                Some(Self::Line { stride: matrix.cols, size: matrix.rows, members: matrix.cols })
            }
            Structure::Columns => Some(Self::Line { stride: 1, size: matrix.cols, members: matrix.rows }),
            Structure::Block { rows, columns } => Some(Self::Blocks { matrix, rows, columns }),
            Structure::Filters | Structure::Channels if shape.rank() < 2 => None,
            Structure::Filters => Some(along(if layout == Layout::OutIn { 0 } else { last })),
            Structure::Channels => Some(along(if layout == Layout::OutIn { 1 } else { last - 1 })),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match *self {
            // Groups without a place may be as many as a number says: a file has no bytes for them.
            Self::Line { members: 0, .. } => 0,
            Self::Line { size, .. } => size,
            Self::Blocks { matrix, rows, columns } => {
                matrix.rows.div_ceil(rows) * matrix.cols.div_ceil(columns)
            }
        }
    }

    /// Places of a group.
    pub fn members(&self, group: usize) -> usize {
        match *self {
            Self::Line { members, .. } => members,
            Self::Blocks { matrix, rows, columns } => {
                let across = matrix.cols.div_ceil(columns);
                let (down, right) = (group / across * rows, group % across * columns);
                rows.min(matrix.rows - down) * columns.min(matrix.cols - right)
            }
        }
    }

    /// A range that holds the groups of all places of a run, and little else.
    ///
    /// # Panics
    /// If the run is empty.
    pub fn touched(&self, start: usize, len: usize) -> Range<usize> {
        let last = start + len - 1;
        match *self {
            Self::Line { stride, size, .. } => {
                let (first, last) = (start / stride, last / stride);
                if last - first >= size || first % size > last % size {
                    0..size
                } else {
                    first % size..last % size + 1
                }
            }
            Self::Blocks { matrix, rows, columns } => {
                let across = matrix.cols.div_ceil(columns);
                start / matrix.cols / rows * across..(last / matrix.cols / rows + 1) * across
            }
        }
    }

    /// Calls `each` with the group of every place of a run: runs of places of one group, in order.
    pub fn runs(&self, start: usize, len: usize, mut each: impl FnMut(usize, usize)) {
        let mut rest = len;
        match *self {
            Self::Line { stride, size, .. } => {
                let mut group = start / stride.max(1) % size.max(1);
                let mut run = stride - start % stride.max(1);
                while rest > 0 {
                    let now = run.min(rest);
                    each(group, now);
                    rest -= now;
                    group = if group + 1 == size { 0 } else { group + 1 };
                    run = stride;
                }
            }
            Self::Blocks { matrix, rows, columns } => {
                let across = matrix.cols.div_ceil(columns);
                let (mut i, mut j) = (start / matrix.cols.max(1), start % matrix.cols.max(1));
                while rest > 0 {
                    let now = (columns - j % columns).min(matrix.cols - j).min(rest);
                    each(i / rows * across + j / columns, now);
                    rest -= now;
                    j += now;
                    if j == matrix.cols {
                        (i, j) = (i + 1, 0);
                    }
                }
            }
        }
    }
}

/// Of scores of places that stand together, says which stay: the `n` largest, of equals the later, and every one that is
/// no finite number.
pub fn keep_largest(
    scores: &[f64],
    n: usize,
    order: &mut Vec<(u64, usize)>,
    mut stays: impl FnMut(usize, bool),
) {
    order.clear();
    order.extend(scores.iter().enumerate().map(|(at, score)| (key(*score), at)));
    order.sort_unstable();
    let go = scores.len().saturating_sub(n);
    for (rank, (key, at)) in order.iter().enumerate() {
        stays(*at, rank >= go || *key == NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(structure: Structure, dims: &[usize], layout: Layout) -> Option<Groups> {
        Groups::new(structure, &Shape::new(dims.to_vec()).unwrap(), layout)
    }

    /// The group of every place, which any run must agree with.
    fn all(groups: Groups, elements: usize) -> Vec<usize> {
        let in_runs = |start: usize, len: usize| {
            let mut found = Vec::new();
            groups.runs(start, len, |group, run| found.extend(std::iter::repeat_n(group, run)));
            assert_eq!(found.len(), len);
            found
        };
        let whole = in_runs(0, elements);
        for start in 0..elements {
            for len in [1, 2, 7, elements - start] {
                let len = len.min(elements - start);
                assert_eq!(in_runs(start, len), whole[start..start + len]);
                let touched = groups.touched(start, len);
                assert!(whole[start..start + len].iter().all(|group| touched.contains(group)));
            }
        }
        for group in 0..groups.count() {
            assert_eq!(whole.iter().filter(|g| **g == group).count(), groups.members(group));
        }
        whole
    }

    #[test]
    fn groups_of_a_matrix() {
        let of = |structure| all(groups(structure, &[3, 4], Layout::OutIn).unwrap(), 12);
        assert_eq!(of(Structure::Rows), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(of(Structure::Columns), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(of(Structure::Filters), of(Structure::Rows));
        assert_eq!(of(Structure::Channels), of(Structure::Columns));
        assert_eq!(of(Structure::Block { rows: 2, columns: 3 }), [0, 0, 0, 1, 0, 0, 0, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn groups_of_kernels_in_both_layouts() {
        let of = |structure, layout| all(groups(structure, &[2, 3, 2, 2], layout).unwrap(), 24);
        let four = |groups: [usize; 6]| groups.iter().flat_map(|g| [*g; 4]).collect::<Vec<_>>();
        assert_eq!(of(Structure::Filters, Layout::OutIn), four([0, 0, 0, 1, 1, 1]));
        assert_eq!(of(Structure::Channels, Layout::OutIn), four([0, 1, 2, 0, 1, 2]));
        assert_eq!(of(Structure::Filters, Layout::InOut), [0, 1].repeat(12));
        assert_eq!(of(Structure::Channels, Layout::InOut), [0, 0, 1, 1].repeat(6));
        assert_eq!(groups(Structure::Filters, &[5], Layout::OutIn), None);
        assert_eq!(groups(Structure::Channels, &[], Layout::InOut), None);
    }

    #[test]
    fn the_largest_of_every_few_stay() {
        let stays = |scores: &[f64], n| {
            let mut found = vec![false; scores.len()];
            keep_largest(scores, n, &mut Vec::new(), |at, stays| found[at] = stays);
            found
        };
        assert_eq!(stays(&[3.0, 1.0, 2.0, 4.0], 2), [true, false, false, true]);
        assert_eq!(stays(&[1.0, 1.0, 1.0, 1.0], 2), [false, false, true, true]);
        assert_eq!(stays(&[1.0, f64::NAN, f64::INFINITY, f64::NAN], 2), [false, true, true, true]);
        assert_eq!(stays(&[5.0, f64::NAN, 7.0, 6.0], 2), [false, true, true, false]);
    }
}
