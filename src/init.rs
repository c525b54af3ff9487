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
use crate::workers::{Stop, Stoppable, Stopped, Workers};

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
    fill_elements_until(generator, out, &|| false).expect("nothing stops it");
}

/// Like [`fill_elements`], unless it is to stop.
///
/// # Errors
/// [`Stopped`]; some elements have not been written.
///
/// # Panics
/// If `out` has more elements than the tensor.
pub fn fill_elements_until<E: Element + Send>(
    generator: &Generator,
    out: &mut [E],
    stop: Stop<'_>,
) -> Result<(), Stopped> {
    prepare_until(generator, stop)?;
    let mut runs: Vec<_> = out.chunks_mut(BLOCK_ELEMENTS).enumerate().collect();
    let fill = |(): &mut (), (n, run): &mut (usize, &mut [E])| {
        generator.fill_elements(*n * BLOCK_ELEMENTS, run);
    };
    Stoppable(stop).each(&mut runs, || (), fill);
    if stop() { Err(Stopped) } else { Ok(()) }
}

/// Draws what can only be drawn as a whole, on all threads, unless it is to stop.
pub(crate) fn prepare_until(generator: &Generator, stop: Stop<'_>) -> Result<(), Stopped> {
    let Some(whole) = generator.whole() else { return Ok(()) };
    whole.prepare_if(&Stoppable(stop), || !stop());
    if stop() { Err(Stopped) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn generator(mode: &str, dims: [usize; 2]) -> Generator {
        let scheme = SchemeParams::named(mode).scheme().unwrap();
        Generator::new(1, 2, &scheme, &Shape::new(dims.to_vec()).unwrap(), Layout::OutIn)
    }

    /// Lets this many items be worked on.
    fn after(items: usize) -> impl Fn() -> bool + Sync {
        let asked = AtomicUsize::new(0);
        move || asked.fetch_add(1, Ordering::Relaxed) >= items
    }

    #[test]
    fn a_stopped_fill_leaves_the_other_blocks_out() {
        let mut out = vec![f32::NAN; 5 * BLOCK_ELEMENTS];
        let stopped = fill_elements_until(&generator("he", [5, BLOCK_ELEMENTS]), &mut out, &after(2));
        assert_eq!(stopped, Err(Stopped));
        assert_eq!(out.iter().filter(|weight| !weight.is_nan()).count(), 2 * BLOCK_ELEMENTS);
    }

    #[test]
    fn an_orthogonal_matrix_that_was_stopped_is_drawn_again() {
        let (stopped, fresh) = (generator("orthogonal", [200, 150]), generator("orthogonal", [200, 150]));
        let (mut found, mut expected) = (vec![0f32; 30_000], vec![0f32; 30_000]);
        // Within the second of five blocks of reflections.
        assert_eq!(fill_elements_until(&stopped, &mut found, &after(2)), Err(Stopped));
        assert_eq!(found, vec![0.0; 30_000]);
        fill_elements(&stopped, &mut found);
        fill_elements(&fresh, &mut expected);
        assert_eq!(found, expected);
    }
}
