//! The tensors that stand for an encoded one, by what they are: names, suffixes, places in a file, or
//! whatever else each of them has.

use crate::prelude::*;

/// Of a bitmask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitmaskParts<T> {
    /// The tensor's shape.
    pub shape: T,
    /// A bit for each place: whether its value is stored.
    pub mask: T,
    /// The stored values.
    pub values: T,
    /// How many values are stored before each row.
    pub row_offsets: T,
}

/// Of compressed sparse rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsrParts<T> {
    /// The tensor's shape.
    pub shape: T,
    /// How many values are stored before each row, and in all.
    pub row_offsets: T,
    /// The column of each stored value.
    pub columns: T,
    /// The stored values.
    pub values: T,
}

/// Of either, with the mask of pruned places that take their initial value, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<T> {
    /// What stands for the stored values and their places.
    pub encoding: EncodingParts<T>,
    /// Which pruned places take their initial value.
    pub fill: Option<T>,
}

/// The encodings that have parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodingParts<T> {
    /// A bit for each place.
    Bitmask(BitmaskParts<T>),
    /// Rows of columns.
    Csr(CsrParts<T>),
}

impl<T> BitmaskParts<T> {
    /// Something else of each.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> BitmaskParts<U> {
        let Self { shape, mask, values, row_offsets } = self;
        BitmaskParts { shape: of(shape), mask: of(mask), values: of(values), row_offsets: of(row_offsets) }
    }

    /// In the order in which they stand in a file.
    pub fn into_array(self) -> [T; 4] {
        [self.shape, self.mask, self.values, self.row_offsets]
    }
}

impl<T> CsrParts<T> {
    /// Something else of each.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> CsrParts<U> {
        let Self { shape, row_offsets, columns, values } = self;
        CsrParts { shape: of(shape), row_offsets: of(row_offsets), columns: of(columns), values: of(values) }
    }

    /// In the order in which they stand in a file.
    pub fn into_array(self) -> [T; 4] {
        [self.shape, self.row_offsets, self.columns, self.values]
    }
}

impl<T> EncodingParts<T> {
    /// Something else of each part.
    pub fn map<U>(self, of: impl FnMut(T) -> U) -> EncodingParts<U> {
        match self {
            Self::Bitmask(parts) => EncodingParts::Bitmask(parts.map(of)),
            Self::Csr(parts) => EncodingParts::Csr(parts.map(of)),
        }
    }

    /// In the order in which they stand in a file.
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

    /// How many values are stored before each row.
    pub fn row_offsets(&self) -> &T {
        match self {
            Self::Bitmask(parts) => &parts.row_offsets,
            Self::Csr(parts) => &parts.row_offsets,
        }
    }
}

impl<T> Parts<T> {
    /// Something else of each part.
    pub fn map<U>(self, mut of: impl FnMut(T) -> U) -> Parts<U> {
        Parts { encoding: self.encoding.map(&mut of), fill: self.fill.map(of) }
    }

    /// In the order in which they stand in a file.
    pub fn into_vec(self) -> Vec<T> {
        self.encoding.into_array().into_iter().chain(self.fill).collect()
    }
}
