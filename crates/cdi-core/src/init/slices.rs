//! Fused tensors: slices along the output dimension, each initialised like a separate tensor.

use crate::prelude::*;
use crate::tensor::{Layout, Role, Shape};

/// Slice sizes that do not fit their dimension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceError {
    /// A scalar has no dimension to divide.
    #[error("a scalar cannot have slices")]
    Scalar,
    /// The remaining outputs cannot be divided evenly among the slices without a size.
    #[error(
        "{left} of its {size} outputs remain for {parts} slices without a size, and cannot be split evenly"
    )]
    Uneven {
        /// Outputs of the tensor.
        size: usize,
        /// Outputs that the given sizes leave.
        left: usize,
        /// Slices without a size.
        parts: usize,
    },
    /// The sizes do not add up to the number of outputs.
    #[error("its slices have {sum} outputs in total, but the tensor has {size}")]
    Sum {
        /// Outputs of the tensor.
        size: usize,
        /// Sum of the sizes.
        sum: u128,
    },
}

/// The dimension that holds a tensor's outputs.
pub(super) fn output_dimension(shape: &Shape, layout: Layout) -> Option<usize> {
    let last = shape.rank().checked_sub(1)?;
    match layout {
        Layout::OutIn => Some(0),
        Layout::InOut => Some(last),
        Layout::Roles(roles) => {
            roles.list().iter().position(|role| *role == Role::Out).filter(|at| *at <= last).or(Some(0))
        }
    }
}

/// The sizes of slices along the output dimension. Slices without a size (`None`) get equal shares of
/// what the others leave.
///
/// # Errors
/// [`SliceError`].
pub fn slice_sizes(shape: &Shape, layout: Layout, given: &[Option<usize>]) -> Result<Vec<usize>, SliceError> {
    let size = shape.dims()[output_dimension(shape, layout).ok_or(SliceError::Scalar)?];
    let sum: u128 = given.iter().flatten().map(|size| *size as u128).sum();
    let parts = given.iter().filter(|size| size.is_none()).count();
    let left = usize::try_from(sum).ok().and_then(|sum| size.checked_sub(sum));
    match left {
        Some(0) if parts == 0 => Ok(given.iter().flatten().copied().collect()),
        Some(left) if parts > 0 && left > 0 => {
            if !left.is_multiple_of(parts) {
                return Err(SliceError::Uneven { size, left, parts });
            }
            Ok(given.iter().map(|size| size.unwrap_or(left / parts)).collect())
        }
        _ => Err(SliceError::Sum { size, sum }),
    }
}

/// The shape of a slice of this size.
///
/// # Panics
/// If the tensor is a scalar, or smaller than the slice.
pub fn slice_shape(shape: &Shape, layout: Layout, size: usize) -> Shape {
    let at = output_dimension(shape, layout).expect("a scalar cannot have slices");
    let mut dims = shape.dims().to_vec();
    assert!(size <= dims[at], "a slice larger than its tensor");
    dims[at] = size;
    Shape::new(dims).expect("smaller than the tensor")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{Generator, Scheme, SchemeParams};
    use crate::tensor::Roles;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims.to_vec()).unwrap()
    }

    fn scheme(mode: &str) -> Scheme {
        SchemeParams::named(mode).scheme().unwrap()
    }

    #[test]
    fn sizes_fill_the_dimension_or_are_refused() {
        let sizes =
            |dims: &[usize], layout, given: &[Option<usize>]| slice_sizes(&shape(dims), layout, given);
        assert_eq!(sizes(&[12, 5], Layout::OutIn, &[None, None, None]), Ok(vec![4, 4, 4]));
        assert_eq!(sizes(&[5, 12], Layout::InOut, &[Some(6), None, None]), Ok(vec![6, 3, 3]));
        assert_eq!(sizes(&[12], Layout::InOut, &[Some(2), Some(10)]), Ok(vec![2, 10]));
        assert_eq!(
            sizes(&[12, 5], Layout::OutIn, &[Some(1), None, None]).unwrap_err().to_string(),
            "11 of its 12 outputs remain for 2 slices without a size, and cannot be split evenly"
        );
        assert_eq!(
            sizes(&[12, 5], Layout::OutIn, &[Some(5), Some(6)]).unwrap_err().to_string(),
            "its slices have 11 outputs in total, but the tensor has 12"
        );
        assert_eq!(
            sizes(&[12, 5], Layout::OutIn, &[Some(12), None]),
            Err(SliceError::Sum { size: 12, sum: 12 })
        );
        assert_eq!(
            sizes(&[12], Layout::OutIn, &[Some(usize::MAX), Some(usize::MAX)]),
            Err(SliceError::Sum { size: 12, sum: 2 * usize::MAX as u128 })
        );
        assert_eq!(sizes(&[], Layout::OutIn, &[None]), Err(SliceError::Scalar));
    }

    /// Every element of a slice equals that of a separate tensor, in every layout, as a whole and in any run.
    #[test]
    fn slices_are_tensors_of_their_own() {
        let experts = Layout::Roles(Roles::new(&[Role::Expert, Role::Out, Role::In]).unwrap());
        for (dims, layout, modes) in [
            (&[12, 5][..], Layout::OutIn, ["he", "xavier", "orthogonal"]),
            (&[5, 12], Layout::InOut, ["he", "orthogonal", "zeros"]),
            (&[12], Layout::OutIn, ["uniform", "ones", "normal"]),
            (&[2, 3, 4, 12], Layout::InOut, ["lecun", "ones", "normal"]),
            (&[12, 2, 3, 3], Layout::OutIn, ["lecun", "dirac", "normal"]),
            (&[2, 12, 5], experts, ["he", "orthogonal", "normal"]),
        ] {
            let shape = shape(dims);
            let sizes = [3, 4, 5];
            let parts: Vec<(usize, Generator)> = (0..3)
                .map(|n| {
                    let part = slice_shape(&shape, layout, sizes[n]);
                    (sizes[n], Generator::new(7, n as u64, &scheme(modes[n]), &part, layout))
                })
                .collect();
            let alone: Vec<Vec<f64>> = parts
                .iter()
                .map(|(size, generator)| {
                    let mut out = vec![0.0; slice_shape(&shape, layout, *size).elements()];
                    generator.fill(0, &mut out);
                    out
                })
                .collect();
            let fused = Generator::sliced(&shape, layout, parts);
            assert_eq!(fused.whole().is_some(), modes.contains(&"orthogonal"));
            let (outer, inner) = match layout {
                Layout::OutIn => (1, shape.elements() / 12),
                Layout::InOut => (shape.elements() / 12, 1),
                // Two experts.
                Layout::Roles(_) => (2, shape.elements() / 24),
            };
            let mut expected: Vec<f64> = Vec::new();
            for turn in 0..outer {
                for (size, alone) in sizes.iter().zip(&alone) {
                    expected.extend(&alone[turn * size * inner..(turn + 1) * size * inner]);
                }
            }
            let mut whole = vec![0.0; shape.elements()];
            fused.fill(0, &mut whole);
            assert_eq!(whole, expected, "{dims:?}");
            for start in [0, 1, 7, 11, 13] {
                for len in [0, 1, 2, 30] {
                    let end = (start + len).min(expected.len());
                    let mut run = vec![0.0; end.saturating_sub(start)];
                    fused.fill(start, &mut run);
                    assert_eq!(run, expected[start.min(end)..end], "{dims:?} from {start}");
                }
            }
            let cols = shape.matrix().cols;
            assert!((0..expected.len()).all(|n| fused.weight_at(n / cols, n % cols) == expected[n]));
        }
    }
}
