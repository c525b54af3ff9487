//! The functions that users of the method know, for one weight, one matrix, one bank of convolution kernels.

use ndarray::{Array2, Array4};

use super::{Generator, Scheme, Whole};
use crate::tensor::{FloatDtype, Layout, Shape, ShapeError};

/// The standard normal draw at `(seed, layer, i, j)`, before any scale: [`crate::noise::scalar::gaussian`].
pub fn gaussian(seed: u64, layer: u64, i: u64, j: u64) -> f64 {
    crate::noise::scalar::gaussian(seed, layer, i, j)
}

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

/// The weights of a linear layer `[rows = out, cols = in]` as stored in F32.
///
/// # Errors
/// [`ShapeError`] if the shape is larger than memory can address.
pub fn init_matrix(
    seed: u64,
    layer: u64,
    (rows, cols): (usize, usize),
    scheme: &Scheme,
) -> Result<Array2<f32>, ShapeError> {
    let shape = Shape::new(vec![rows, cols])?;
    let weights = init_f32(seed, layer, &shape, scheme);
    Ok(Array2::from_shape_vec((rows, cols), weights).expect("as many weights as the shape has"))
}

/// The kernels `[out, in, height, width]` of a convolution as stored in F32.
///
/// # Errors
/// [`ShapeError`] if the shape is larger than memory can address.
pub fn init_conv_kernel(
    seed: u64,
    layer: u64,
    dims: [usize; 4],
    scheme: &Scheme,
) -> Result<Array4<f32>, ShapeError> {
    let shape = Shape::new(dims.to_vec())?;
    let weights = init_f32(seed, layer, &shape, scheme);
    Ok(Array4::from_shape_vec(dims, weights).expect("as many weights as the shape has"))
}

fn init_f32(seed: u64, layer: u64, shape: &Shape, scheme: &Scheme) -> Vec<f32> {
    let mut weights = vec![0.0; shape.elements()];
    let generator = Generator::new(seed, layer, scheme, shape, Layout::OutIn);
    generator.whole().into_iter().for_each(Whole::prepare);
    generator.fill(0, &mut weights);
    weights.into_iter().map(|w| w as f32).collect()
}
