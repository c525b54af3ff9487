//! Reads rows of one tensor of a pruned file, as a program does that uses the weights: into memory of its
//! own, regenerating what was left out, and without expanding the rest.
//!
//! ```text
//! cargo run --release -p cdi-core --example read_pruned -- pruned.safetensors fc1.weight 0 2
//! ```

use std::path::Path;
use std::process::ExitCode;

use cdi_core::reader::{Limits, PrunedReader};

fn main() -> ExitCode {
    match read() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, tensor, from, to] = args.as_slice() else {
        return Err("usage: read_pruned FILE TENSOR FROM TO".into());
    };
    // What this program has memory for: a small file can describe a tensor of any size.
    let limits = Limits { elements: 1 << 32, bytes: 64 << 20 };
    // Opening checks every part of the file; the second argument is the checkpoint that initial
    // values come from, if any.
    let file = PrunedReader::open_within(Path::new(file), None, limits)?;
    let (_, shape) = file.tensor(tensor).ok_or_else(|| format!("there is no tensor `{tensor}`"))?;
    let rows = from.parse()?..to.parse()?;
    let cols = shape.matrix().cols;
    let len = rows.len().checked_mul(cols).filter(|len| *len as u64 <= limits.bytes / 8);
    // `f64` holds the values of every floating-point type; `f32`, `f16` and `bf16` are read in the same way.
    let mut weights = vec![0f64; len.ok_or("these rows are more than 64 MiB: ask for fewer at a time")?];
    file.read_elements(tensor, rows.clone(), &mut weights)?;
    for (row, values) in rows.zip(weights.chunks(cols.max(1))) {
        let zeros = values.iter().filter(|value| **value == 0.0).count();
        println!("row {row}: {cols} weights, {zeros} of them zero, sum {:.6}", values.iter().sum::<f64>());
    }
    Ok(())
}
