//! The method from start to end on real data: initialise a network, train it here, see which of its weights
//! moved, prune the others, restore, and measure what that costs.
//!
//! `cargo run --release --example showcase`
//!
//! The shipped file holds a thousand images and no training set. So the network learns from the first 800,
//! few as they are, and is measured on the other 200: one image is half a point of accuracy, and chance alone
//! makes two or three points of difference between networks that are equally good.
//!
//! Sleeping weights are set to zero and to their initial value, at a list of thresholds. At 0 the initial
//! value is the trained one; above that, both change the network.

use std::fs;
use std::path::Path;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::config::Settings;
use cdi_prune::noise::{draw, row_key};
use cdi_prune::pipeline::{Outcome, Resolved, RestoreOptions, Silent, Stages, restore, run};
use ndarray::{Array2, Axis, Zip};
use safetensors::tensor::{Dtype, SafeTensorError, TensorView, serialize_to_file};

mod shared;
use shared::{Images, Network, Result, product};

/// Images to learn from; the rest are held out.
const TRAINING: usize = 800;
const EPOCHS: u64 = 30;
const BATCH: usize = 32;
const RATE: f32 = 0.1;
/// The config's.
const SEED: u64 = 42;
/// The layer id of the noise that shuffles the images: none of the network's own.
const SHUFFLE: u64 = 3;
const THRESHOLDS: [&str; 8] = ["0", "1e-5", "1e-4", "1e-3", "3e-3", "1e-2", "2e-2", "5e-2"];

fn main() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path();
    let images =
        Images::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/fashion.safetensors"))?;
    let (training, held_out) = split(&images, TRAINING)?;

    // 1. The initial network, 1024-64-32-10: `he` for weights, zero for biases, all from the seed.
    stage(scratch, Stages::Init, &[])?;
    let mut network = Network::open(&scratch.join("init.safetensors"))?;
    println!(
        "initial    {:5.1} % of {} held-out images",
        percent(&network, &held_out)?,
        held_out.labels.len()
    );

    // 2. Plain SGD. The trained checkpoint is an ordinary one: it says nothing of how it began.
    let trained = scratch.join("trained.safetensors");
    train(&mut network, &training)?;
    save(&network, &trained)?;
    println!(
        "trained    {:5.1} %, and {:.1} % of the {} images it learnt from",
        percent(&network, &held_out)?,
        percent(&network, &training)?,
        training.labels.len()
    );

    // 3. Which weights training moved. A column is what one input feeds: none of those weights
    //    moved if it is dead.
    let report = stage(scratch, Stages::Analyze, &[])?.report.ok_or("a comparison makes a report")?;
    println!("\ntensor       weights   awakened   sleeping   sleeping columns");
    for tensor in &report.tensors {
        let of = |count: Option<u64>| count.ok_or("every tensor has a rule");
        println!(
            "{:10} {:9} {:10} {:10} {:18}",
            tensor.name,
            tensor.total_weights,
            of(tensor.changes.changed_weights)?,
            of(tensor.changes.sleeping_weights)?,
            of(tensor.sleeping_columns)?
        );
    }

    // 4. The weights that it did not move, or hardly, pruned; the file restored, and measured.
    println!("\ntrained file: {} bytes", fs::metadata(&trained)?.len());
    println!("                             sleeping -> 0    sleeping -> initial value");
    println!("threshold   pruned        bytes   accuracy        bytes   accuracy   restored");
    for threshold in THRESHOLDS {
        let zero = prune(scratch, threshold, "zero", &held_out)?;
        let init = prune(scratch, threshold, "init", &held_out)?;
        println!(
            "{threshold:9} {:6.1} % {:12} {:8.1} % {:12} {:8.1} %   {}",
            100.0 * init.share,
            zero.bytes,
            zero.accuracy,
            init.bytes,
            init.accuracy,
            if init.exact { "as trained, bit for bit" } else { "near" }
        );
    }
    Ok(())
}

/// The config `quickstart.yaml` with its files in the scratch folder.
fn stage(scratch: &Path, stages: Stages, more: &[String]) -> Result<Outcome> {
    let mut overrides = vec!["analyze.report={}".to_owned()];
    for (key, file) in [
        ("init.output", "init.safetensors"),
        ("trained.path", "trained.safetensors"),
        ("prune.output", "pruned.safetensors"),
    ] {
        overrides.push(format!("{key}={}", scratch.join(file).display()));
    }
    overrides.extend_from_slice(more);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/quickstart.yaml");
    let settings = Settings::load(&config, &overrides)?;
    Ok(run(&Resolved::new(&settings)?, stages, &Silent, |_| {})?)
}

/// The first `n` images, and the others.
fn split(images: &Images, n: usize) -> Result<(Images, Images)> {
    let (labels, other_labels) = images.labels.split_at_checked(n).ok_or("too few images")?;
    let (pixels, other_pixels) = images.pixels.view().split_at(Axis(0), n);
    Ok((
        Images { pixels: pixels.to_owned(), labels: labels.to_vec() },
        Images { pixels: other_pixels.to_owned(), labels: other_labels.to_vec() },
    ))
}

fn percent(network: &Network, images: &Images) -> Result<f64> {
    Ok(100.0 * network.accuracy(images)?)
}

/// Stochastic gradient descent on the mean cross-entropy of the softmax, in batches of an order
/// that the noise gives.
fn train(network: &mut Network, images: &Images) -> Result<()> {
    let pixels = images.padded(network.inputs())?;
    for epoch in 0..EPOCHS {
        let key = row_key(SEED, SHUFFLE, epoch);
        let mut order: Vec<usize> = (0..images.labels.len()).collect();
        order.sort_by_key(|image| draw(key, *image as u64));
        for batch in order.chunks(BATCH) {
            let labels: Vec<u8> = batch.iter().map(|image| images.labels[*image]).collect();
            step(network, pixels.select(Axis(0), batch), &labels);
        }
    }
    Ok(())
}

/// One step down the gradient of a batch.
fn step(network: &mut Network, input: Array2<f32>, labels: &[u8]) {
    let mut values = network.forward(input);
    let Some(outputs) = values.pop() else { return };
    // The loss's derivative by what each layer puts out, from the last layer to the first.
    let mut slope = loss_slope(outputs, labels);
    for (layer, input) in network.layers.iter_mut().zip(&values).rev() {
        let mut before = product(slope.view(), layer.weight.view());
        Zip::from(&mut before).and(input).for_each(|slope, x| {
            if *x <= 0.0 {
                *slope = 0.0;
            }
        });
        layer.weight.scaled_add(-RATE, &product(slope.t(), input.view()));
        for row in slope.rows() {
            layer.bias.scaled_add(-RATE, &row);
        }
        slope = before;
    }
}

/// Derivative of the batch's mean cross-entropy by the outputs: softmax less one at the label,
/// over the batch's size.
fn loss_slope(mut outputs: Array2<f32>, labels: &[u8]) -> Array2<f32> {
    for (mut row, label) in outputs.rows_mut().into_iter().zip(labels) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.mapv_inplace(|x| libm::expf(x - largest));
        let sum: f32 = row.iter().sum();
        for (class, x) in row.iter_mut().enumerate() {
            let target = if class == usize::from(*label) { 1.0 } else { 0.0 };
            *x = (*x / sum - target) / labels.len() as f32;
        }
    }
    outputs
}

/// Writes the layers under the names that they are read by.
fn save(network: &Network, path: &Path) -> Result<()> {
    let mut tensors = Vec::new();
    for (n, layer) in (1..).zip(&network.layers) {
        let bytes = |values: &mut dyn Iterator<Item = &f32>| values.flat_map(|w| w.to_le_bytes()).collect();
        tensors.push((format!("fc{n}.weight"), layer.weight.shape(), bytes(&mut layer.weight.iter())));
        tensors.push((format!("fc{n}.bias"), layer.bias.shape(), bytes(&mut layer.bias.iter())));
    }
    let views: std::result::Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes): &(String, &[usize], Vec<u8>)| {
            Ok::<_, SafeTensorError>((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
        })
        .collect();
    Ok(serialize_to_file(views?, None, path)?)
}

struct Pruned {
    /// Pruned weights of all weights.
    share: f64,
    /// Of the pruned file.
    bytes: u64,
    /// Of the restored network, percent.
    accuracy: f64,
    /// Whether the restored file holds what the trained one does.
    exact: bool,
}

/// Prunes at this threshold with this fill, restores, measures.
fn prune(scratch: &Path, threshold: &str, fill: &str, images: &Images) -> Result<Pruned> {
    let more = [format!("analyze.threshold={threshold}"), format!("prune.fill={fill}")];
    let outcome = stage(scratch, Stages::Prune, &more)?;
    let restored = scratch.join("restored.safetensors");
    restore(&scratch.join("pruned.safetensors"), &restored, RestoreOptions::default(), &Silent)?;
    let trained = Checkpoint::open(&scratch.join("trained.safetensors"))?;
    let dense = Checkpoint::open(&restored)?;
    Ok(Pruned {
        share: outcome.report.and_then(|r| r.totals.sparsity).ok_or("pruning makes a report")?,
        bytes: outcome.pruned.ok_or("the config prunes")?.written.bytes,
        accuracy: percent(&Network::open(&restored)?, images)?,
        exact: trained.tensors().all(|(name, t)| dense.tensor(name).is_some_and(|d| d.bytes() == t.bytes())),
    })
}
