//! Shapes and their matrix view.

use std::fmt;

use super::{Axes, Layout};

/// A tensor's shape, checked: its number of elements fits `usize`, and so does that number times eight bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: Vec<usize>,
    elements: usize,
}

/// A shape whose size in bytes would not fit this machine's address space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shape {dims:?} has more elements than this machine can address")]
pub struct ShapeError {
    /// The dimensions asked for.
    pub dims: Vec<usize>,
}

impl Shape {
    /// Checks the size of `dims`; an empty list is a scalar, a zero dimension an empty tensor.
    pub fn new(dims: Vec<usize>) -> Result<Self, ShapeError> {
        // A zero must not hide an overflow in the other dimensions: the matrix view multiplies them alone.
        let size = dims.iter().filter(|&&d| d != 0).try_fold(8usize, |n, &d| n.checked_mul(d));
        match size {
            Some(_) => {
                let elements = dims.iter().product();
                Ok(Self { dims, elements })
            }
            None => Err(ShapeError { dims }),
        }
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of dimensions; 0 for a scalar.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The matrix view: the first dimension by the rest; one row for one dimension or none.
    pub fn matrix(&self) -> Matrix {
        match self.dims.as_slice() {
            [] => Matrix { rows: 1, cols: 1 },
            [n] => Matrix { rows: 1, cols: *n },
            [rows, rest @ ..] => Matrix { rows: *rows, cols: rest.iter().product() },
        }
    }

    /// `(fan_in, fan_out)`: how many inputs feed one output, and how many outputs one input feeds.
    ///
    /// For [`Layout::OutIn`] `[out, in, …]`, `fan_in = in · receptive` and `fan_out = out · receptive`, the
    /// receptive field being the product of the trailing dimensions. For [`Layout::InOut`] `[…, in, out]` the same
    /// with the leading ones; for [`Layout::Roles`] those of one expert. A tensor of one dimension has both equal to it, a
    /// scalar 1.
    pub fn fans(&self, layout: Layout) -> (usize, usize) {
        Axes::new(self, layout).fans()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims)
    }
}

/// A tensor read as a matrix in storage (row-major) order; element `(i, j)` is number `i * cols + j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Size of the first dimension; 1 for a vector or scalar.
    pub rows: usize,
    /// Product of the other dimensions.
    pub cols: usize,
}

impl Matrix {
    /// Bytes of one row of a bitmask: one bit a column, padded to a byte.
    pub fn mask_row_bytes(self) -> usize {
        self.cols.div_ceil(8)
    }

    /// Bytes of the whole bitmask.
    pub fn mask_bytes(self) -> usize {
        self.rows * self.mask_row_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims.to_vec()).unwrap()
    }

    #[test]
    fn matrix_views() {
        assert_eq!(shape(&[]).matrix(), Matrix { rows: 1, cols: 1 });
        assert_eq!(shape(&[5]).matrix(), Matrix { rows: 1, cols: 5 });
        assert_eq!(shape(&[8, 2, 3, 3]).matrix(), Matrix { rows: 8, cols: 18 });
        assert_eq!(shape(&[0, 7]).matrix(), Matrix { rows: 0, cols: 7 });
        assert_eq!(shape(&[7, 0]).matrix(), Matrix { rows: 7, cols: 0 });
    }

    #[test]
    fn fans_of_both_layouts() {
        assert_eq!(shape(&[64, 32, 3, 3]).fans(Layout::OutIn), (288, 576));
        assert_eq!(shape(&[3, 3, 32, 64]).fans(Layout::InOut), (288, 576));
        assert_eq!(shape(&[256, 784]).fans(Layout::OutIn), (784, 256));
        assert_eq!(shape(&[784, 256]).fans(Layout::InOut), (784, 256));
        assert_eq!(shape(&[10]).fans(Layout::OutIn), (10, 10));
        assert_eq!(shape(&[]).fans(Layout::InOut), (1, 1));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert!(Shape::new(vec![1 << 62, 4]).is_err());
        assert!(Shape::new(vec![0, 1 << 62, 4]).is_err());
        assert!(Shape::new(vec![usize::MAX / 8]).is_ok());
    }
}
