//! The initial values of one tensor from any source, as the trained file would store them.

use super::{Generator, Whole};
use crate::checkpoint::Mapped;
use crate::tensor::FloatDtype;

/// Gives any run of a tensor's initial values, rounded to a stored type.
#[derive(Clone, Debug)]
pub enum Initial<'a> {
    /// Drawn from the seed.
    Generated {
        /// Draws them.
        generator: Generator,
        /// The type in which the initial checkpoint stores the tensor, through which the
        /// values are rounded first.
        stored_as: Option<FloatDtype>,
    },
    /// Read from another checkpoint.
    Stored {
        /// The tensor's data there.
        data: Mapped<'a>,
        /// Its type there.
        dtype: FloatDtype,
        /// As of generated ones.
        stored_as: Option<FloatDtype>,
    },
}

impl Initial<'_> {
    /// What must be made all at once, where the values cannot be made one by one.
    pub fn whole(&self) -> Option<&Whole> {
        if let Self::Generated { generator, .. } = self { generator.whole() } else { None }
    }

    /// Fills `out` with the elements `start, start + 1, …` in storage order, rounded to
    /// `dtype` where one is given.
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
        // As loaders do: into the initial checkpoint's type, and from there into the trained one's.
        for dtype in stored_as.iter().chain(&dtype) {
            dtype.round_slice(out);
        }
    }
}
