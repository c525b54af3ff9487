//! The noise function's raw 64-bit draws without end, for a battery of randomness tests, walked as a
//! checkpoint uses them:
//!
//! - `rows`: row after row of one layer, 4096 draws each: does a row look random, and its neighbours with it?
//! - `layers`: the draws of 1024 layers at one place, then at the next place: do layers
//!   differ as they should?
//!
//! `cargo run --release --example raw_draws rows | dieharder -a -g 200`
//!
//! docs/noise.md says what came of it.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use cdi_prune::noise::{draw, row_key};

const SEED: u64 = 42;
/// Draws of a row: the columns of a large matrix.
const COLUMNS: u64 = 4096;
/// Layers that take turns.
const LAYERS: u64 = 1024;

fn main() -> ExitCode {
    let written = match std::env::args().nth(1).as_deref() {
        Some("rows") => write(|i, out| {
            let key = row_key(SEED, 0, i);
            out.extend((0..COLUMNS).flat_map(|j| draw(key, j).to_le_bytes()));
        }),
        Some("layers") => write(|place, out| {
            let (i, j) = (place / COLUMNS, place % COLUMNS);
            out.extend((0..LAYERS).flat_map(|layer| draw(row_key(SEED, layer, i), j).to_le_bytes()));
        }),
        _ => {
            eprintln!("usage: raw_draws rows|layers");
            return ExitCode::from(2);
        }
    };
    match written {
        // The battery has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standard output: {error}");
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// Writes runs 0, 1, … until nobody reads them.
fn write(run: impl Fn(u64, &mut Vec<u8>)) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut buffer = Vec::new();
    for n in 0.. {
        buffer.clear();
        run(n, &mut buffer);
        out.write_all(&buffer)?;
    }
    Ok(())
}
