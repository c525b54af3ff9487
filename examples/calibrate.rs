//! The second moments of what each layer of a network takes in, for `prune.values.rounding: compensated`:
//! for each weight, the sum over images of the products of each pair of inputs, `XᵀX`, as F64 [inputs,
//! inputs]. The images are a thousand training images of Fashion-MNIST, none of which `evaluate` uses.
//!
//! `cargo run --release --example calibrate -- TRAINED OUT`

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2, Axis};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};

mod shared;
use shared::{Images, Network, Result};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [trained, out] = &arguments[..] else { return Err("usage: calibrate TRAINED OUT".into()) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let images = Images::open(&root.join("examples/data/fashion_train.safetensors"))?;
    let network = Network::open(trained)?;
    let inputs = network.forward(images.padded(network.inputs())?);
    let mut moments = Vec::new();
    for (n, inputs) in inputs.iter().take(network.layers.len()).enumerate() {
        let bytes: Vec<u8> = second_moments(inputs.view()).iter().flat_map(|x| x.to_le_bytes()).collect();
        moments.push((format!("fc{}.weight", n + 1), inputs.ncols(), bytes));
    }
    let views = moments.iter().map(|(name, size, bytes)| {
        TensorView::new(Dtype::F64, vec![*size, *size], bytes).map(|view| (name.clone(), view))
    });
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    serialize_to_file(views.collect::<std::result::Result<Vec<_>, _>>()?, None, out)?;
    println!(
        "{}: second moments of {} layers over {} images, of which it classifies {:.1} %",
        out.display(),
        moments.len(),
        images.labels.len(),
        100.0 * network.accuracy(&images)?
    );
    Ok(())
}

/// `XᵀX`, added up image by image.
fn second_moments(inputs: ArrayView2<f32>) -> Array2<f64> {
    let size = inputs.ncols();
    let mut sums = Array2::<f64>::zeros((size, size));
    for image in inputs.axis_iter(Axis(0)) {
        let image = image.mapv(f64::from);
        for (mut row, x) in sums.axis_iter_mut(Axis(0)).zip(&image) {
            // Most pixels are black.
            if *x != 0.0 {
                row.scaled_add(*x, &image);
            }
        }
    }
    sums
}
