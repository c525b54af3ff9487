//! Accuracy of the shipped networks on a thousand test images of Fashion-MNIST: of any checkpoint given, dense or
//! pruned, or, without arguments, of each shipped one as trained, with its sleeping weights set to zero, and with them
//! set back to their initial values.
//!
//! `cargo run --release --example evaluate [FILE …]`

use std::error::Error;
use std::path::{Path, PathBuf};

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::config::Settings;
use cdi_prune::pipeline::{PrunedFile, Resolved, Silent, Stages, run};
use cdi_prune::tensor::FloatDtype;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Side of an image of the data set, in pixels.
const SIDE: usize = 28;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let images = Images::open(&root.join("examples/data/fashion.safetensors"))?;
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if !files.is_empty() {
        for file in files {
            println!("{:.1} %  {}", 100.0 * accuracy(&file, &images)?, file.display());
        }
        return Ok(());
    }
    println!(
        "accuracy on {} images   trained   sleeping -> 0   sleeping -> initial value",
        images.labels.len()
    );
    for (config, data) in [("quickstart.yaml", "mlp_pad_sgd"), ("mlp.yaml", "mlp_bf16_sgd")] {
        let trained = accuracy(&root.join(format!("examples/data/{data}/trained.safetensors")), &images)?;
        let [zero, init] =
            ["zero", "init"].map(|fill| pruned_accuracy(&root.join("configs").join(config), fill, &images));
        println!("{data:22} {:9.1} % {:13.1} % {:25.1} %", 100.0 * trained, 100.0 * zero?, 100.0 * init?);
    }
    Ok(())
}

/// Prunes by this config at threshold 0 with this fill, into a scratch folder, and evaluates the file.
fn pruned_accuracy(config: &Path, fill: &str, images: &Images) -> Result<f64> {
    let out = tempfile::tempdir()?;
    let file = out.path().join("pruned.safetensors");
    let overrides = [
        format!("prune.output={}", file.display()),
        format!("prune.fill={fill}"),
        "analyze.threshold=0".to_owned(),
    ];
    let settings = Settings::load(config, &overrides)?;
    run(&Resolved::new(&settings)?, Stages::Prune, &Silent, |_| {})?;
    accuracy(&file, images)
}

struct Images {
    /// `[n, 784]`, 0 … 1.
    pixels: Array2<f32>,
    labels: Vec<u8>,
}

impl Images {
    fn open(path: &Path) -> Result<Self> {
        let file = Checkpoint::open(path)?;
        let (x, y) = (file.tensor("x").ok_or("no tensor x")?, file.tensor("y").ok_or("no tensor y")?);
        let pixels = x.bytes().iter().map(|p| f32::from(*p) / 255.0).collect();
        Ok(Self {
            pixels: Array2::from_shape_vec((y.bytes().len(), SIDE * SIDE), pixels)?,
            labels: y.bytes().to_vec(),
        })
    }

    /// The images with a border of zero pixels, so that there are this many in each.
    fn padded(&self, inputs: usize) -> Result<Array2<f32>> {
        let side = inputs.isqrt();
        if side * side != inputs || side < SIDE || !(side - SIDE).is_multiple_of(2) {
            return Err(format!("a network of {inputs} inputs does not take {SIDE}x{SIDE} images").into());
        }
        let border = (side - SIDE) / 2;
        let mut padded = Array2::zeros((self.labels.len(), inputs));
        for row in 0..SIDE {
            let from = self.pixels.slice(s![.., row * SIDE..(row + 1) * SIDE]);
            let at = (row + border) * side + border;
            padded.slice_mut(s![.., at..at + SIDE]).assign(&from);
        }
        Ok(padded)
    }
}

/// Share of images whose largest output is their label's, for the network `fc1 … fcN` in the file: linear layers with
/// bias, ReLU between them.
fn accuracy(path: &Path, images: &Images) -> Result<f64> {
    let file = PrunedFile::open(path, None)?;
    let mut activations: Option<Array2<f32>> = None;
    for n in 1.. {
        let Some((weight, dims)) = floats(&file, &format!("fc{n}.weight"))? else { break };
        let weight = ArrayView2::from_shape((dims[0], dims[1]), &weight)?;
        let (bias, _) = floats(&file, &format!("fc{n}.bias"))?.ok_or(format!("no fc{n}.bias"))?;
        let input = match activations {
            Some(before) => before.mapv(|x| x.max(0.0)),
            None => images.padded(dims[1])?,
        };
        activations = Some(input.dot(&weight.t()) + Array1::from_vec(bias));
    }
    let outputs = activations.ok_or_else(|| format!("{}: no tensor fc1.weight", path.display()))?;
    let right = outputs.axis_iter(Axis(0)).zip(&images.labels).filter(|(row, label)| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.is_some_and(|(class, _)| class == usize::from(**label))
    });
    Ok(right.count() as f64 / images.labels.len() as f64)
}

/// A tensor's values and shape, restored if it was pruned.
fn floats(file: &PrunedFile, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
    let Some((_, dtype, shape)) = file.tensors().find(|(n, ..)| *n == name) else { return Ok(None) };
    let dtype = FloatDtype::of(dtype).ok_or_else(|| format!("{name} is {dtype}"))?;
    let bytes = file.read(name).unwrap_or_default();
    let mut values = vec![0.0; shape.elements()];
    dtype.decode(&bytes, &mut values);
    Ok(Some((values.into_iter().map(|w| w as f32).collect(), shape.dims().to_vec())))
}
