//! Initial weights: the module with this name in [`cdi_core`], and whole tensors as `ndarray` arrays.
//!
//! ```
//! use cdi_prune::init::{SchemeParams, init_conv_kernel, init_matrix};
//! use ndarray::s;
//!
//! let he = SchemeParams::named("he").scheme()?;
//! let weights = init_matrix(42, 0, (256, 784), &he)?;
//! // Each weight depends on the seed, the layer, its row and its column, but not on the number of rows.
//! assert_eq!(init_matrix(42, 0, (10, 784), &he)?, weights.slice(s![..10, ..]));
//! assert_ne!(init_matrix(42, 1, (256, 784), &he)?, weights);
//! assert_eq!(init_conv_kernel(42, 2, [16, 8, 3, 3], &he)?.dim(), (16, 8, 3, 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use cdi_core::init::*;
use cdi_core::internal::blocks::BLOCK_ELEMENTS;
pub(crate) use cdi_core::internal::init::{ExactDistribution, Fill, Initial};
use ndarray::{Array2, Array4};

use crate::tensor::{Element, Layout, Shape, ShapeError};
use crate::workers::{Threads, Workers};

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
    let mut weights = vec![0f32; shape.elements()];
    fill_elements(&Generator::new(seed, layer, scheme, shape, Layout::OutIn), &mut weights);
    weights
}

/// All elements of the generator's tensor, as [`Generator::fill_elements`] gives them, on all threads.
///
/// # Panics
/// If `out` has more elements than the tensor.
pub fn fill_elements<E: Element + Send>(generator: &Generator, out: &mut [E]) {
    generator.whole().into_iter().for_each(|whole| whole.prepare_on(&Threads));
    let mut runs: Vec<_> = out.chunks_mut(BLOCK_ELEMENTS).enumerate().collect();
    Threads.each(&mut runs, || (), |(), (n, run)| generator.fill_elements(*n * BLOCK_ELEMENTS, run));
}
