//! Reads rows of one tensor of a pruned file, as a program does that uses the weights: into memory of its
//! own, regenerating what was left out, and without expanding the rest.
//!
//! ```text
//! cargo run --release -p cdi-core --example read_pruned -- pruned.safetensors fc1.weight 0 2
//! ```

use std::path::Path;
use std::process::ExitCode;

use cdi_core::reader::{Limits, PrunedReader};
use cdi_core::tensor::FloatDtype;

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
    let (dtype, shape) = file.tensor(tensor).ok_or_else(|| format!("there is no tensor `{tensor}`"))?;
    let dtype = FloatDtype::of(dtype).ok_or("not a floating-point tensor")?;
    let rows = from.parse()?..to.parse()?;
    let cols = shape.matrix().cols;
    let len = rows.len().checked_mul(cols * dtype.size()).filter(|len| *len as u64 <= limits.bytes);
    let mut bytes = vec![0; len.ok_or("these rows are more than 64 MiB: ask for fewer at a time")?];
    file.read_rows(tensor, rows.clone(), &mut bytes)?;
    let mut values = vec![0.0; cols];
    for (row, bytes) in rows.zip(bytes.chunks(cols * dtype.size())) {
        dtype.decode(bytes, &mut values);
        let zeros = values.iter().filter(|value| **value == 0.0).count();
        println!("row {row}: {cols} weights, {zeros} of them zero, sum {:.6}", values.iter().sum::<f64>());
    }
    Ok(())
}
