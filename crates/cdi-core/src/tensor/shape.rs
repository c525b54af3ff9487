//! Shapes and their matrix view.

use core::fmt;
use core::ops::Deref;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::prelude::*;

/// Maximum number of dimensions, the same as in PyTorch and NumPy.
pub const MAX_RANK: usize = 64;

/// The shape of a tensor. It has at most [`MAX_RANK`] dimensions, and eight bytes times its number of
/// elements fit `usize`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: Sizes,
    elements: usize,
}

/// Sizes of dimensions. Those of a vector or a matrix take no memory of their own: a checkpoint may have a
/// million of them.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Sizes {
    /// At most [`FEW`] sizes; the others are 0.
    Few(u8, [usize; FEW]),
    Many(Box<[usize]>),
}

const FEW: usize = 2;

impl From<Vec<usize>> for Sizes {
    fn from(dims: Vec<usize>) -> Self {
        if dims.len() > FEW {
            return Self::Many(dims.into());
        }
        let mut few = [0; FEW];
        few[..dims.len()].copy_from_slice(&dims);
        Self::Few(dims.len() as u8, few)
    }
}

impl Deref for Sizes {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        match self {
            Self::Few(rank, dims) => &dims[..usize::from(*rank)],
            Self::Many(dims) => dims,
        }
    }
}

impl fmt::Debug for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Why dimensions are not a valid shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The tensor would not fit the address space of this machine.
    #[error("shape {0:?} has more elements than this machine can address")]
    TooLarge(Vec<usize>),
    /// Too many dimensions.
    #[error("a shape of {0} dimensions, more than the limit of {MAX_RANK}")]
    Rank(usize),
}

/// The dimensions of a shape in a file. Deserialisation stops after [`MAX_RANK`] dimensions.
pub(crate) struct Dims(pub Vec<usize>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Dims, A::Error> {
                let mut dims = [0; MAX_RANK];
                let mut rank = 0;
                while let Some(dim) = numbers.next_element()? {
                    let place = dims.get_mut(rank).ok_or_else(|| {
                        de::Error::custom(format_args!(
                            "a shape of more dimensions than the limit of {MAX_RANK}"
                        ))
                    })?;
                    *place = dim;
                    rank += 1;
                }
                Ok(Dims(dims[..rank].to_vec()))
            }
        }
        deserializer.deserialize_seq(Numbers)
    }
}

impl Dims {
    /// Deserialises a list.
    pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
        Self::deserialize(deserializer).map(|dims| dims.0)
    }
}

impl Shape {
    /// Checks number and size of the dimensions. An empty list is a scalar; with a dimension of 0,
    /// the tensor is empty.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn new(dims: Vec<usize>) -> Result<Self, ShapeError> {
        if dims.len() > MAX_RANK {
            return Err(ShapeError::Rank(dims.len()));
        }
        // A dimension of 0 must not hide an overflow of the others, which the matrix view multiplies.
        let size = dims.iter().filter(|&&d| d != 0).try_fold(8usize, |n, &d| n.checked_mul(d));
        match size {
            Some(_) => {
                let elements = dims.iter().product();
                Ok(Self { dims: dims.into(), elements })
            }
            None => Err(ShapeError::TooLarge(dims)),
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

    /// Number of bytes of the elements if each has `bits` bits; `None` if that is not a whole number.
    pub fn bytes(&self, bits: usize) -> Option<usize> {
        bytes_of(self.elements, bits)
    }

    /// The matrix view: the first dimension by the rest; one row for one dimension or none.
    pub fn matrix(&self) -> Matrix {
        match &*self.dims {
            [] => Matrix { rows: 1, cols: 1 },
            [n] => Matrix { rows: 1, cols: *n },
            [rows, rest @ ..] => Matrix { rows: *rows, cols: rest.iter().product() },
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims)
    }
}

/// Like [`Shape::bytes`], for this many elements of a shape. Elements times 8 bytes do not overflow, but
/// elements times bits might: whole groups of 8 elements are counted first.
pub(crate) fn bytes_of(elements: usize, bits: usize) -> Option<usize> {
    let rest = elements % 8 * bits;
    rest.is_multiple_of(8).then(|| elements / 8 * bits + rest / 8)
}

/// A tensor as a matrix in storage (row-major) order: element `(i, j)` has index `i * cols + j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Size of the first dimension; 1 for a vector or scalar.
    pub rows: usize,
    /// Product of the other dimensions.
    pub cols: usize,
}

impl Matrix {
    /// Bytes of one row of a bitmask: one bit per column, padded to a byte.
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
    fn bytes_whose_bits_are_more_than_a_number_holds() {
        // 2^58 elements of 64 bits are 2^64 bits, which a u64 shows as none.
        assert_eq!(shape(&[1 << 58]).bytes(64), Some(1 << 61));
        assert_eq!(shape(&[usize::MAX / 8]).bytes(64), Some(usize::MAX / 8 * 8));
        assert_eq!((shape(&[6]).bytes(4), shape(&[5]).bytes(4)), (Some(3), None));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert!(Shape::new(vec![1 << 62, 4]).is_err());
        assert!(Shape::new(vec![0, 1 << 62, 4]).is_err());
        assert!(Shape::new(vec![usize::MAX / 8]).is_ok());
        assert!(Shape::new(vec![1; 64]).is_ok());
        assert_eq!(
            Shape::new(vec![1; 65]).unwrap_err().to_string(),
            "a shape of 65 dimensions, more than the limit of 64"
        );
    }
}
