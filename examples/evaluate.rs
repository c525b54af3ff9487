//! Accuracy of the shipped networks on a thousand test images of Fashion-MNIST: of any checkpoint given,
//! dense or pruned, or, without arguments, of each shipped one as trained, with its sleeping weights set to
//! zero, and with them set back to their initial values.
//!
//! `cargo run --release --example evaluate -- [--images IMAGES] [FILE …]`
//!
//! `IMAGES` is another file of images and their classes, such as `examples/data/fashion_confirm.safetensors`.

use std::path::{Path, PathBuf};

use cdi_prune::config::Settings;
use cdi_prune::pipeline::{Resolved, Silent, Stages, run};

mod shared;
use shared::{Images, Network, Result};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let images = match files.first() {
        Some(first) if first.as_os_str() == "--images" => {
            let images: Vec<PathBuf> = files.drain(..files.len().min(2)).skip(1).collect();
            Images::open(images.first().ok_or("--images needs a file")?)?
        }
        _ => Images::open(&root.join("examples/data/fashion.safetensors"))?,
    };
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

fn accuracy(path: &Path, images: &Images) -> Result<f64> {
    Network::open(path)?.accuracy(images)
}
