//! What examples share: the shipped images, and the networks that classify them. Every sum has a fixed order,
//! so that the same weights give the same bits on every machine.

use std::error::Error;
use std::path::Path;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::reader::PrunedReader;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Side of an image of the data set, in pixels.
const SIDE: usize = 28;

pub struct Images {
    /// `[n, 784]`, 0 … 1.
    pub pixels: Array2<f32>,
    pub labels: Vec<u8>,
}

impl Images {
    pub fn open(path: &Path) -> Result<Self> {
        let file = Checkpoint::open(path)?;
        let (x, y) = (file.tensor("x").ok_or("no tensor x")?, file.tensor("y").ok_or("no tensor y")?);
        let pixels = x.bytes().iter().map(|p| f32::from(*p) / 255.0).collect();
        Ok(Self {
            pixels: Array2::from_shape_vec((y.bytes().len(), SIDE * SIDE), pixels)?,
            labels: y.bytes().to_vec(),
        })
    }

    /// The images with a border of zero pixels, so that there are this many in each.
    pub fn padded(&self, inputs: usize) -> Result<Array2<f32>> {
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

/// Linear layers with bias, ReLU between them.
pub struct Network {
    /// At least one, each with as many inputs as the one before has outputs.
    pub layers: Vec<Linear>,
}

pub struct Linear {
    /// `[outputs, inputs]`.
    pub weight: Array2<f32>,
    pub bias: Array1<f32>,
}

impl Network {
    /// The layers `fc1 … fcN` of a checkpoint, dense or pruned.
    pub fn open(path: &Path) -> Result<Self> {
        let file = PrunedReader::open(path, None)?;
        let mut layers: Vec<Linear> = Vec::new();
        for n in 1.. {
            let (weight, bias) = (format!("fc{n}.weight"), format!("fc{n}.bias"));
            let Some((weights, dims)) = floats(&file, &weight)? else { break };
            let (biases, _) = floats(&file, &bias)?.ok_or_else(|| format!("no {bias}"))?;
            let [outputs, inputs] = dims[..] else { return Err(format!("{weight} is no matrix").into()) };
            if biases.len() != outputs || layers.last().is_some_and(|before| before.bias.len() != inputs) {
                return Err(format!("fc{n} does not fit its bias or the layer before").into());
            }
            let weight = Array2::from_shape_vec((outputs, inputs), weights)?;
            layers.push(Linear { weight, bias: Array1::from_vec(biases) });
        }
        if layers.is_empty() {
            return Err(format!("{}: no tensor fc1.weight", path.display()).into());
        }
        Ok(Self { layers })
    }

    /// Inputs of the first layer.
    pub fn inputs(&self) -> usize {
        self.layers[0].weight.ncols()
    }

    /// What each layer takes in, then what the last one puts out; an example a row.
    pub fn forward(&self, input: Array2<f32>) -> Vec<Array2<f32>> {
        let mut values = vec![input];
        for (n, layer) in self.layers.iter().enumerate() {
            let mut output = product(values[n].view(), layer.weight.t()) + &layer.bias;
            if n + 1 < self.layers.len() {
                output.mapv_inplace(|x| x.max(0.0));
            }
            values.push(output);
        }
        values
    }

    /// Share of images whose largest output is their label's.
    pub fn accuracy(&self, images: &Images) -> Result<f64> {
        let values = self.forward(images.padded(self.inputs())?);
        let outputs = values.last().ok_or("no layers")?;
        let right = outputs.axis_iter(Axis(0)).zip(&images.labels).filter(|(row, label)| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.is_some_and(|(class, _)| class == usize::from(**label))
        });
        Ok(right.count() as f64 / images.labels.len() as f64)
    }
}

/// The matrix product. `ndarray`'s own fuses and regroups its sums as the processor allows; this one adds
/// from the first column of `a` to the last.
pub fn product(a: ArrayView2<f32>, b: ArrayView2<f32>) -> Array2<f32> {
    let b = b.as_standard_layout();
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    for (mut out, a) in out.axis_iter_mut(Axis(0)).zip(a.axis_iter(Axis(0))) {
        for (x, b) in a.iter().zip(b.axis_iter(Axis(0))) {
            out.scaled_add(*x, &b);
        }
    }
    out
}

/// A tensor's values and shape, restored if it was pruned.
fn floats(file: &PrunedReader, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
    let Some((_, shape)) = file.tensor(name) else { return Ok(None) };
    let mut values = vec![0f32; shape.elements()];
    file.read_elements(name, 0..shape.matrix().rows, &mut values)?;
    Ok(Some((values, shape.dims().to_vec())))
}
