//! The parts of an encoded tensor, that is, the tensors that encode it. `T` is what is known of each part:
//! its name, its suffix, its range in a file, and so on.

use crate::prelude::*;

/// The parts of a bitmask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitmaskParts<T> {
    /// The tensor's shape.
    pub shape: T,
    /// One bit per element: whether its value is stored.
    pub mask: T,
    /// The stored values.
    pub values: T,
    /// The number of values stored before each row.
    pub row_offsets: T,
}

/// The parts of compressed sparse rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsrParts<T> {
    /// The tensor's shape.
    pub shape: T,
    /// The number of values stored before each row, and in total.
    pub row_offsets: T,
    /// The column of each stored value.
    pub columns: T,
    /// The stored values.
    pub values: T,
}

/// The parts of either encoding, and the fill mask if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<T> {
    /// The stored values and their positions.
    pub encoding: EncodingParts<T>,
    /// Which pruned elements take their initial value.
    pub fill: Option<T>,
}

/// The parts of one of the encodings that have parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodingParts<T> {
    /// One bit per element.
    Bitmask(BitmaskParts<T>),
    /// Compressed sparse rows.
    Csr(CsrParts<T>),
}

impl<T> BitmaskParts<T> {
    /// Applies a function to each part.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> BitmaskParts<U> {
        let Self { shape, mask, values, row_offsets } = self;
        BitmaskParts { shape: of(shape), mask: of(mask), values: of(values), row_offsets: of(row_offsets) }
    }

    /// The parts in their order in a file.
    pub fn into_array(self) -> [T; 4] {
        [self.shape, self.mask, self.values, self.row_offsets]
    }
}

impl<T> CsrParts<T> {
    /// Applies a function to each part.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> CsrParts<U> {
        let Self { shape, row_offsets, columns, values } = self;
        CsrParts { shape: of(shape), row_offsets: of(row_offsets), columns: of(columns), values: of(values) }
    }

    /// The parts in their order in a file.
    pub fn into_array(self) -> [T; 4] {
        [self.shape, self.row_offsets, self.columns, self.values]
    }
}

impl<T> EncodingParts<T> {
    /// Applies a function to each part.
    pub fn map<U>(self, of: impl FnMut(T) -> U) -> EncodingParts<U> {
        match self {
            Self::Bitmask(parts) => EncodingParts::Bitmask(parts.map(of)),
            Self::Csr(parts) => EncodingParts::Csr(parts.map(of)),
        }
    }

    /// The parts in their order in a file.
    pub fn into_array(self) -> [T; 4] {
        match self {
            Self::Bitmask(parts) => parts.into_array(),
            Self::Csr(parts) => parts.into_array(),
        }
    }

    /// The tensor's shape.
    pub fn shape(&self) -> &T {
        match self {
            Self::Bitmask(parts) => &parts.shape,
            Self::Csr(parts) => &parts.shape,
        }
    }

    /// The stored values.
    pub fn values(&self) -> &T {
        match self {
            Self::Bitmask(parts) => &parts.values,
            Self::Csr(parts) => &parts.values,
        }
    }

    /// The number of values stored before each row.
    pub fn row_offsets(&self) -> &T {
        match self {
            Self::Bitmask(parts) => &parts.row_offsets,
            Self::Csr(parts) => &parts.row_offsets,
        }
    }
}

impl<T> Parts<T> {
    /// Applies a function to each part.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> Parts<U> {
        Parts { encoding: self.encoding.map(&mut of), fill: self.fill.map(of) }
    }

    /// The parts in their order in a file.
    pub fn into_vec(self) -> Vec<T> {
        self.encoding.into_array().into_iter().chain(self.fill).collect()
    }
}
