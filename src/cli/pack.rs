//! The command `pack`.

use std::path::Path;
use std::time::Instant;

use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::config::Settings;
use cdi_prune::pipeline::{self, Error, PackedTensor, PredictFrom, Resolved, Unpacked};
use cdi_prune::text::{counted, thousands};

use super::failure::{Failure, Result};
use super::global::Global;
use super::out::{print, shown};
use super::progress::Bar;

/// Packs a checkpoint against nothing, a base, or the initial values that a config describes.
pub fn pack(
    file: &Path,
    (base, config): (Option<&Path>, Option<&Path>),
    output: &Path,
    max_shard_size: Option<u64>,
    global: &Global,
) -> Result {
    let begun = Instant::now();
    let bar = Bar::of(global);
    let options = global.open_options();
    let open = |path| Checkpoint::open_with(path, options).map_err(|e| Failure::from(Error::from(e)));
    let run =
        |start: &PredictFrom<'_>| pipeline::pack(start, output, max_shard_size, &bar).map_err(Failure::from);
    let packed = match (base, config) {
        (_, Some(config)) => {
            let mut overrides = global.overrides.clone();
            let path = std::path::absolute(file)?;
            overrides.push(format!("trained.path={}", serde_json::to_string(&path.to_string_lossy())?));
            let settings = Settings::load(config, &overrides)?;
            run(&PredictFrom::Config(&Resolved::with(&settings, options)?))?
        }
        (Some(base), None) => {
            let (file, base) = (open(file)?, open(base)?);
            run(&PredictFrom::Base(&file, &base))?
        }
        (None, None) => run(&PredictFrom::Nothing(&open(file)?))?,
    };
    if global.quiet {
        return Ok(());
    }
    let files: Vec<String> = packed.written.files.iter().map(|file| shown(file)).collect();
    let share = 100.0 * packed.written.bytes as f64 / packed.read as f64;
    print(&format!(
        "Packed {} bytes in {} into {}: {} bytes, {share:.1} % ({:.1} s).",
        thousands(packed.read),
        kinds(&packed.tensors),
        files.join(", "),
        thousands(packed.written.bytes),
        begun.elapsed().as_secs_f64(),
    ))
}

/// Says what an unpacked file had lost before it was coded.
pub fn say_losses(unpacked: &Unpacked, output: &Path) {
    let losses = [("values rounded to steps", unpacked.rounded), ("pruned weights", unpacked.pruned)];
    let losses = losses.iter().filter(|(_, tensors)| *tensors > 0);
    let words = losses.map(|(what, n)| format!("{what} in {}", counted(*n as u64, "tensor")));
    let words: Vec<String> = words.collect();
    if !words.is_empty() {
        let (output, words) = (shown(output), words.join(", and "));
        tracing::warn!("note: {output} is not the trained checkpoint bit for bit: it has {words}");
    }
}

/// How many tensors are coded, and how.
fn kinds(tensors: &[PackedTensor]) -> String {
    let coded = |predicted| tensors.iter().filter(|t| t.predicted() == Some(predicted)).count();
    let whole = tensors.iter().filter(|t| t.predicted().is_none() && !t.equal).count();
    let equal = match tensors.iter().filter(|t| t.equal).count() {
        0 => String::new(),
        equal => format!("{equal} equal to the base, "),
    };
    format!(
        "{} ({equal}{} stored as differences to initial values, {} on their own, {whole} unchanged)",
        counted(tensors.len() as u64, "tensor"),
        coded(true),
        coded(false),
    )
}
