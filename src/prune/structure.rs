//! Groups of elements that are pruned together.

use std::ops::Range;

use super::settings::{Along, Structure};
use crate::tensor::{Axes, Layout, Matrix, Role, Shape};

/// Division of the elements of a tensor into groups, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Along one dimension: element `e` belongs to group `e / stride % size`.
    Line {
        /// Distance in elements between neighbours along the dimension.
        stride: usize,
        /// Size of the dimension.
        size: usize,
        /// Elements per group.
        members: usize,
    },
    /// Along several dimensions that are not adjacent.
    Mixed {
        /// Sizes of the dimensions, outermost first, each with the distance in groups between neighbours
        /// along it; 0 if they are in the same group.
        dims: [(usize, usize); 4],
        /// Number of groups.
        count: usize,
        /// Elements per group.
        members: usize,
    },
    /// Blocks of outputs by inputs, if these are not the rows and columns of the matrix view: expert
    /// by expert, row by row.
    Tiles {
        /// Outputs and inputs.
        axes: Axes,
        /// Outputs per block.
        rows: usize,
        /// Inputs, times kernel elements, per block.
        columns: usize,
    },
    /// Blocks of the matrix view, row by row; those at the right and lower edges may be smaller.
    Blocks {
        /// The matrix view.
        matrix: Matrix,
        /// Rows per block.
        rows: usize,
        /// Columns per block.
        columns: usize,
    },
}

impl Groups {
    /// The groups of a tensor. `None` if the structure has none: filters and channels of vectors, single
    /// weights, and `n` of `m`.
    pub fn new(structure: Structure, shape: &Shape, layout: Layout) -> Option<Self> {
        let axes = Axes::new(shape, layout);
        match structure {
            Structure::Unstructured | Structure::OfM { .. } => None,
            Structure::Filters | Structure::Channels if axes.is_vector => None,
            Structure::Rows | Structure::Filters => Some(Self::along(&axes, &[Role::Expert, Role::Out])),
            Structure::Columns => Some(Self::along(&axes, &[Role::Expert, Role::In, Role::Kernel])),
            Structure::Channels => Some(Self::along(&axes, &[Role::Expert, Role::In])),
            Structure::Block { rows, columns } if axes.are_rows_outputs() => {
                Some(Self::Blocks { matrix: shape.matrix(), rows, columns })
            }
            Structure::Block { rows, columns } => Some(Self::Tiles { axes, rows, columns }),
        }
    }

    /// Elements with the same indexes along these roles, numbered in the order of their first elements.
    pub fn along(axes: &Axes, roles: &[Role]) -> Self {
        // Adjacent dimensions of the same kind count as one; those of size 1 do not count.
        let mut runs: Vec<(usize, bool)> = Vec::with_capacity(4);
        for (role, size) in axes.stored().into_iter().filter(|(_, size)| *size != 1) {
            let counts = roles.contains(&role);
            match runs.last_mut() {
                Some((all, same)) if *same == counts => *all *= size,
                _ => runs.push((size, counts)),
            }
        }
        let product = |of: &[(usize, bool)], which: bool| -> usize {
            of.iter().filter(|(_, counts)| *counts == which).map(|(size, _)| size).product()
        };
        let members = product(&runs, false);
        let counted = runs.iter().filter(|(_, counts)| *counts).count();
        if counted <= 1 {
            let (stride, size) = match runs.iter().position(|(_, counts)| *counts) {
                Some(at) => (product(&runs[at + 1..], false), runs[at].0),
                None => (members, 1),
            };
            return Self::Line { stride, size, members };
        }
        let mut dims = [(1, 0); 4];
        let first = 4 - runs.len();
        for (n, (size, counts)) in runs.iter().enumerate() {
            let weight = if *counts { product(&runs[n + 1..], true) } else { 0 };
            dims[first + n] = (*size, weight);
        }
        Self::Mixed { dims, count: product(&runs, true), members }
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        match *self {
            // A file can declare any number of groups without elements, because they take no bytes.
            Self::Line { members: 0, .. } => 0,
            Self::Line { size, .. } => size,
            Self::Mixed { count, .. } => count,
            Self::Tiles { axes, rows, columns } => {
                let (down, across) = tiles(&axes, rows, columns);
                axes.experts * down * across
            }
            Self::Blocks { matrix, rows, columns } => {
                matrix.rows.div_ceil(rows) * matrix.cols.div_ceil(columns)
            }
        }
    }

    /// Number of elements of a group.
    pub fn members(&self, group: usize) -> usize {
        match *self {
            Self::Line { members, .. } | Self::Mixed { members, .. } => members,
            Self::Tiles { axes, rows, columns } => {
                let (down, across) = tiles(&axes, rows, columns);
                let (top, left) = (group / across % down * rows, group % across * columns);
                rows.min(axes.outputs - top) * columns.min(axes.inputs * axes.kernel - left)
            }
            Self::Blocks { matrix, rows, columns } => {
                let across = matrix.cols.div_ceil(columns);
                let (down, right) = (group / across * rows, group % across * columns);
                rows.min(matrix.rows - down) * columns.min(matrix.cols - right)
            }
        }
    }

    /// A range of groups that contains those of all elements of a run, and few others.
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
            Self::Mixed { dims, count, .. } => {
                let at = dims.iter().position(|(size, _)| *size != 1).unwrap_or(0);
                let (weight, inner) =
                    (dims[at].1, dims[at + 1..].iter().map(|(size, _)| size).product::<usize>());
                if weight == 0 { 0..count } else { start / inner * weight..(last / inner + 1) * weight }
            }
            Self::Tiles { axes, rows, columns } => {
                let (down, across) = tiles(&axes, rows, columns);
                let (first, last) = (start / axes.elements_of_one(), last / axes.elements_of_one());
                first * down * across..(last + 1) * down * across
            }
            Self::Blocks { matrix, rows, columns } => {
                let across = matrix.cols.div_ceil(columns);
                start / matrix.cols / rows * across..(last / matrix.cols / rows + 1) * across
            }
        }
    }

    /// Calls `each` with the group of every element of a run: runs of elements of one group, in order.
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
            Self::Mixed { dims, .. } => mixed_runs(dims, start, len, each),
            Self::Tiles { axes, rows, columns } => {
                let (down, across) = tiles(&axes, rows, columns);
                for place in start..start + len {
                    let numbers @ [expert, output, ..] = axes.split(place);
                    let column = axes.column(numbers);
                    each((expert * down + output / rows) * across + column / columns, 1);
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

/// The runs of elements from `start` on. Dimensions are given by their size and by the distance in
/// groups between neighbours.
fn mixed_runs(dims: [(usize, usize); 4], start: usize, len: usize, mut each: impl FnMut(usize, usize)) {
    let mut rest = len;
    let mut digits = [0; 4];
    let mut left = start;
    for (digit, (size, _)) in digits.iter_mut().zip(dims).rev() {
        *digit = left % size.max(1);
        left /= size.max(1);
    }
    let (innermost, weight) = dims[3];
    while rest > 0 {
        let mut group: usize = digits.iter().zip(dims).map(|(digit, (_, weight))| digit * weight).sum();
        let run = (innermost - digits[3]).min(rest);
        if weight == 0 {
            each(group, run);
        } else {
            for _ in 0..run {
                each(group, 1);
                group += weight;
            }
        }
        rest -= run;
        digits[3] = 0;
        for (digit, (size, _)) in digits[..3].iter_mut().zip(dims).rev() {
            *digit += 1;
            if *digit < size {
                break;
            }
            *digit = 0;
        }
    }
}

/// Blocks of one expert: below each other, and side by side.
fn tiles(axes: &Axes, rows: usize, columns: usize) -> (usize, usize) {
    (axes.outputs.div_ceil(rows), (axes.inputs * axes.kernel).div_ceil(columns))
}

/// The direction of groups of `m` neighbours: element `e` has index `e / stride % size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Distance in elements between neighbours.
    pub stride: usize,
    /// Number of elements along the direction.
    pub size: usize,
    /// Their name, in the plural.
    pub what: &'static str,
}

impl Lane {
    /// The direction for a tensor; `None` if the outputs are stored between inputs and kernel elements.
    pub fn new(along: Along, shape: &Shape, layout: Layout) -> Option<Self> {
        let axes = Axes::new(shape, layout);
        let (of_inputs, of_kernel) = (axes.stride(Role::In), axes.stride(Role::Kernel));
        match along {
            Along::Columns => Some(Self { stride: 1, size: shape.matrix().cols, what: "columns" }),
            _ if axes.is_vector => Some(Self { stride: 1, size: axes.inputs, what: "elements" }),
            Along::InputChannels if axes.kernel != 1 => {
                Some(Self { stride: of_inputs, size: axes.inputs, what: "input channels" })
            }
            _ if axes.kernel == 1 => Some(Self { stride: of_inputs, size: axes.inputs, what: "inputs" }),
            _ => {
                let side_by_side =
                    of_inputs == of_kernel * axes.kernel || of_kernel == of_inputs * axes.inputs;
                let (stride, size) = (of_inputs.min(of_kernel), axes.inputs * axes.kernel);
                let what = "inputs with their kernel places";
                side_by_side.then_some(Self { stride, size, what })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Roles;

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

    /// Every structure in every order of the dimensions, against the numbers of the places: groups are places
    /// that agree in some of them, numbered by their first place.
    #[test]
    fn groups_of_any_layout() {
        use Role::{Expert, In, Kernel, Out};
        for (list, dims) in [
            (&[Out, In][..], &[3, 4][..]),
            (&[In, Out], &[4, 3]),
            (&[Expert, Out, In], &[2, 3, 4]),
            (&[Expert, In, Out], &[3, 4, 2]),
            (&[In, Out, Kernel, Kernel], &[3, 2, 2, 2]),
            (&[Kernel, Kernel, In, Out], &[2, 2, 3, 2]),
            (&[Expert, Kernel, In, Out], &[2, 3, 2, 2]),
            (&[Out, Kernel, In], &[2, 3, 2]),
            (&[Expert, Out], &[3, 4]),
            (&[In, Out, Out], &[4, 2, 3]),
        ] {
            let layout = Layout::Roles(Roles::new(list).unwrap());
            let shape = Shape::new(dims.to_vec()).unwrap();
            let layout = layout.for_shape(&shape).unwrap();
            let axes = Axes::new(&shape, layout);
            let by = |key: &dyn Fn([usize; 4], usize) -> [usize; 3]| {
                let mut seen: Vec<[usize; 3]> = Vec::new();
                let mut number = |place: usize| {
                    let numbers = axes.split(place);
                    let key = key(numbers, axes.column(numbers));
                    seen.iter().position(|other| *other == key).unwrap_or_else(|| {
                        seen.push(key);
                        seen.len() - 1
                    })
                };
                (0..shape.elements()).map(&mut number).collect::<Vec<_>>()
            };
            let of = |structure| Groups::new(structure, &shape, layout).map(|g| all(g, shape.elements()));
            let rows = by(&|[expert, output, ..], _| [expert, output, 0]);
            assert_eq!(of(Structure::Rows).as_ref(), Some(&rows), "{list:?}");
            let columns = by(&|[expert, _, input, kernel], _| [expert, input, kernel]);
            assert_eq!(of(Structure::Columns), Some(columns), "{list:?}");
            let channels = by(&|[expert, _, input, _], _| [expert, input, 0]);
            assert_eq!(of(Structure::Channels), (!axes.is_vector).then_some(channels), "{list:?}");
            assert_eq!(of(Structure::Filters), (!axes.is_vector).then_some(rows), "{list:?}");
            // Blocks are numbered row by row, wherever they are stored.
            let across = (axes.inputs * axes.kernel).div_ceil(3);
            let down = axes.outputs.div_ceil(2);
            let block = |place: usize| {
                let numbers @ [expert, output, ..] = axes.split(place);
                (expert * down + output / 2) * across + axes.column(numbers) / 3
            };
            let blocks: Vec<usize> = (0..shape.elements()).map(block).collect();
            assert_eq!(of(Structure::Block { rows: 2, columns: 3 }), Some(blocks), "{list:?}");
        }
    }

    #[test]
    fn neighbours_of_every_layout() {
        use Role::{In, Kernel, Out};
        let lane = |along, dims: &[usize], layout| {
            Lane::new(along, &Shape::new(dims.to_vec()).unwrap(), layout).map(|l| (l.stride, l.size, l.what))
        };
        let roles = |list: &[Role]| Layout::Roles(Roles::new(list).unwrap());
        let (channels, inputs, columns) = (Along::InputChannels, Along::Inputs, Along::Columns);
        let places = "inputs with their kernel places";
        for (along, dims, layout, expected) in [
            (channels, &[8, 12][..], Layout::OutIn, Some((1, 12, "inputs"))),
            (inputs, &[8, 12], Layout::InOut, Some((12, 8, "inputs"))),
            (columns, &[8, 12], Layout::InOut, Some((1, 12, "columns"))),
            (channels, &[8, 4, 3, 3], Layout::OutIn, Some((9, 4, "input channels"))),
            (inputs, &[8, 4, 3, 3], Layout::OutIn, Some((1, 36, places))),
            (channels, &[3, 3, 4, 8], Layout::InOut, Some((8, 4, "input channels"))),
            (inputs, &[3, 3, 4, 8], Layout::InOut, Some((8, 36, places))),
            (channels, &[4, 8, 3, 3], roles(&[In, Out, Kernel, Kernel]), Some((72, 4, "input channels"))),
            (inputs, &[4, 8, 3, 3], roles(&[In, Out, Kernel, Kernel]), None),
            (channels, &[8, 3, 3, 4], roles(&[Out, Kernel, Kernel, In]), Some((1, 4, "input channels"))),
            (channels, &[2, 8, 4], roles(&[Role::Expert, Out, In]), Some((1, 4, "inputs"))),
            (inputs, &[7], Layout::OutIn, Some((1, 7, "elements"))),
        ] {
            assert_eq!(lane(along, dims, layout), expected, "{along:?} {dims:?}");
        }
    }
}
