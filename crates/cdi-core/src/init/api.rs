//! One weight alone.

use super::{Generator, Scheme};
use crate::tensor::{FloatDtype, Layout, Shape, ShapeError};

/// One weight of a tensor of this shape (PyTorch's layout) as it is stored in F32, without making any other.
///
/// # Errors
/// [`ShapeError`] if the shape is larger than memory can address.
pub fn init_weight(
    seed: u64,
    layer: u64,
    (i, j): (usize, usize),
    shape: &[usize],
    scheme: &Scheme,
) -> Result<f32, ShapeError> {
    let shape = Shape::new(shape.to_vec())?;
    let generator = Generator::new(seed, layer, scheme, &shape, Layout::OutIn);
    Ok(FloatDtype::F32.round(generator.weight_at(i, j)) as f32)
}
