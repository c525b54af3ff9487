//! The library in five steps, on the checkpoint shipped beside this file: initialise a matrix, regenerate one
//! weight of it, compare a trained matrix with its start, run a whole config, read the pruned file back.
//!
//! `cargo run --release --example quickstart`

use std::error::Error;
use std::path::Path;

use cdi_prune::analysis::{Threshold, analyze_weight_matrix};
use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::config::Settings;
use cdi_prune::init::{Generator, SchemeParams, init_matrix, init_weight};
use cdi_prune::pipeline::{Resolved, Silent, Stages, run};
use cdi_prune::reader::PrunedReader;
use cdi_prune::tensor::{FloatDtype, Layout, Shape};
use ndarray::Array2;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let he = SchemeParams::named("he").scheme()?;

    // 1. The initial weights of layer 0: 64 outputs by 1024 inputs, a pure function of the seed 42.
    let (seed, layer, dims) = (42, 0, [64, 1024]);
    let initial = init_matrix(seed, layer, (dims[0], dims[1]), &he)?;
    println!("initial weights of fc1: {} of them, the first is {}", initial.len(), initial[[0, 0]]);

    // 2. Any one of them, without the others.
    let one = init_weight(seed, layer, (63, 1023), &dims, &he)?;
    println!("the last one, made alone: {one}, the same as in the matrix: {}", one == initial[[63, 1023]]);

    // 3. What training made of them.
    let trained_path = root.join("examples/data/mlp_pad_sgd/trained.safetensors");
    let checkpoint = Checkpoint::open(&trained_path)?;
    let tensor = checkpoint.tensor("fc1.weight").ok_or("the shipped checkpoint has fc1.weight")?;
    let mut weights = vec![0.0; tensor.shape.elements()];
    FloatDtype::F32.decode(tensor.bytes(), &mut weights);
    let weights = Array2::from_shape_vec((64, 1024), weights)?.mapv(|w| w as f32);
    let generator = Generator::new(seed, layer, &he, &Shape::new(dims.to_vec())?, Layout::OutIn);
    let found = analyze_weight_matrix(weights.view(), &generator, Threshold::default());
    println!(
        "after training {} weights of fc1 are sleeping, {} changed; {} of its 1024 inputs are dead",
        found.stats.sleeping(),
        found.stats.changed,
        found.sleeping_columns
    );

    // 4. The whole config, into a scratch folder: sleeping weights left out.
    let out = tempfile::tempdir()?;
    let pruned_path = out.path().join("pruned.safetensors");
    let overrides = [
        format!("init.output={}", out.path().join("init.safetensors").display()),
        format!("prune.output={}", pruned_path.display()),
        "analyze.report={}".to_owned(),
    ];
    let settings = Settings::load(&root.join("configs/quickstart.yaml"), &overrides)?;
    let outcome = run(&Resolved::new(&settings)?, Stages::All, &Silent, |_| {})?;
    let pruned = outcome.pruned.ok_or("the config prunes")?;
    println!("pruned file: {} bytes of {}", pruned.written.bytes, outcome.trained_bytes);

    // 5. Read back, the left-out weights are regenerated: bit for bit what was trained.
    let restored = PrunedReader::open(&pruned_path, None)?.read_to_vec("fc1.weight")?;
    println!("restored fc1.weight equals the trained one: {}", restored == tensor.bytes());
    Ok(())
}
