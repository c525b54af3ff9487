//! The initial values of one tensor, from any source, as the trained checkpoint would store them.

use super::{Generator, Whole};
use crate::checkpoint::Mapped;
use crate::tensor::FloatDtype;

/// The initial values of a tensor.
#[derive(Clone, Debug)]
pub enum Initial<'a> {
    /// Drawn from the seed.
    Generated {
        /// Generates them.
        generator: Generator,
        /// The type in which the initial checkpoint stores the tensor: values are first rounded to it.
        stored_as: Option<FloatDtype>,
    },
    /// Read from another checkpoint.
    Stored {
        /// The tensor's data there.
        data: Mapped<'a>,
        /// Its type there.
        dtype: FloatDtype,
        /// As for generated values.
        stored_as: Option<FloatDtype>,
    },
}

impl Initial<'_> {
    /// The matrices of an orthogonal scheme, see [`Generator::whole`].
    pub fn whole(&self) -> Option<&Whole> {
        if let Self::Generated { generator, .. } = self { generator.whole() } else { None }
    }

    /// Fills `out` with the elements `start, start + 1, …` in storage order, rounded to
    /// `dtype` if one is given.
    ///
    /// # Panics
    /// If the tensor has fewer elements.
    pub fn fill(&self, start: usize, dtype: Option<FloatDtype>, out: &mut [f64]) {
        let stored_as = match self {
            Self::Generated { generator, stored_as } => {
                generator.fill(start, out);
                stored_as
            }
            Self::Stored { data, dtype: from, stored_as } => {
                let size = from.size();
                from.decode(&data.bytes()[start * size..(start + out.len()) * size], out);
                stored_as
            }
        };
        // As loaders do: to the initial checkpoint's type first, and then to the trained one's.
        for dtype in stored_as.iter().chain(&dtype) {
            dtype.round_slice(out);
        }
    }
}
