//! Initial values as elements of a stored type.

use super::encoder::PIECE;
use super::generator::Generator;
use crate::prelude::*;
use crate::tensor::{Element, store};

impl Generator {
    /// Fills `out` with the elements `start, start + 1, …` of the tensor in storage order, each rounded to
    /// the element type as a checkpoint of that type stores it ([`Element::rounded`]).
    ///
    /// ```
    /// use cdi_core::init::{Generator, SchemeParams};
    /// use cdi_core::tensor::{Layout, Shape, bf16};
    ///
    /// let he = SchemeParams::named("he").scheme()?;
    /// let generator = Generator::new(42, 0, &he, &Shape::new(vec![64, 1024])?, Layout::OutIn);
    /// // The second row as BF16.
    /// let mut row = vec![bf16::ZERO; 1024];
    /// generator.fill_elements(1024, &mut row);
    /// assert_eq!(row[1], bf16::from_f32(generator.weight_at(1, 1) as f32));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If the tensor has no columns and `out` is not empty.
    pub fn fill_elements<E: Element>(&self, start: usize, out: &mut [E]) {
        let piece = if self.prefers_long_runs() { out.len() } else { PIECE.min(out.len()) }.max(1);
        let mut values = vec![0.0; piece];
        for (n, out) in out.chunks_mut(piece).enumerate() {
            let values = &mut values[..out.len()];
            self.fill(start + n * piece, values);
            store(values, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::SchemeParams;
    use crate::tensor::{FloatDtype, Layout, Shape, bf16, f16};

    /// What [`FloatDtype::encode`] writes of the same run, whatever the scheme and the run.
    #[test]
    fn elements_are_those_of_the_encoded_bytes() {
        fn check<E: Element>(generator: &Generator, start: usize, len: usize) {
            let mut values = vec![0.0; len];
            generator.fill(start, &mut values);
            let mut bytes = vec![0; len * E::DTYPE.size()];
            E::DTYPE.encode(&values, &mut bytes);
            let (mut stored, mut elements) = (vec![E::default(); len], vec![E::default(); len]);
            E::copy_from_le(&bytes, &mut stored);
            generator.fill_elements(start, &mut elements);
            assert!(elements == stored, "{} from {start}", FloatDtype::name(E::DTYPE));
        }
        for (mode, dims) in [("he", &[40, 96][..]), ("orthogonal", &[40, 30]), ("xavier", &[40, 5, 3, 3])] {
            let scheme =
                SchemeParams { zero_mean: (mode == "xavier").then_some(true), ..SchemeParams::named(mode) };
            let shape = Shape::new(dims.to_vec()).unwrap();
            let generator = Generator::new(3, 1, &scheme.scheme().unwrap(), &shape, Layout::OutIn);
            for (start, end) in [(0, shape.elements()), (0, 0), (7, 1100), (41, 42)] {
                let len = end - start;
                check::<f64>(&generator, start, len);
                check::<f32>(&generator, start, len);
                check::<f16>(&generator, start, len);
                check::<bf16>(&generator, start, len);
            }
        }
    }
}
