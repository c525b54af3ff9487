//! The commands `delta` and `apply`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cdi_prune::pipeline::{
    self, Applied, ApplyOptions, Checksum, DeltaOptions, Encoding, Made, SquashOptions, Squashed,
    VersionOptions, VersionWritten,
};
use cdi_prune::text::{counted, thousands};

use super::args::{ApplyArgs, DeltaArgs, DeltaChecksum, DeltaForm, SquashArgs};
use super::failure::{Failure, Result};
use super::global::{Format, Global};
use super::out::{print, print_json, shown};
use super::progress::Bar;
use super::tables;

pub fn delta(args: &DeltaArgs, global: &Global) -> Result {
    let begun = Instant::now();
    let encoding = match args.form {
        DeltaForm::Coded => None,
        DeltaForm::XorZstd => Some(Encoding::Xor),
        DeltaForm::OverwriteZstd => Some(Encoding::Overwrite),
    };
    if let Some(encoding) = encoding {
        return version(args, encoding, begun, global);
    }
    if let Some(option) = args.of_versions() {
        let message = format!("{option} is for `--form xor-zstd` and `overwrite-zstd`");
        return Err(Failure { message, code: 2 });
    }
    let options = DeltaOptions {
        map: args.map.clone(),
        max_shard_size: args.max_shard_size,
        open: global.open_options(),
    };
    let made = pipeline::delta(&args.base, &args.new, &args.output, &options, &Bar::of(global))?;
    if args.format == Format::Json {
        return print_json(&made);
    }
    if global.quiet {
        return Ok(());
    }
    print(&tables::delta(&made.tensors, args.full, global.color))?;
    let Made { written, new_bytes, .. } = &made;
    print(&format!(
        "Delta: {}, {} bytes, {:.2} % of the new checkpoint's {} ({:.1} s). It gives the state {}.",
        files(&written.files),
        thousands(written.bytes),
        100.0 * written.bytes as f64 / *new_bytes as f64,
        thousands(*new_bytes),
        begun.elapsed().as_secs_f64(),
        short(&made.state),
    ))
}

/// `delta --form xor-zstd` and `overwrite-zstd`.
fn version(args: &DeltaArgs, encoding: Encoding, begun: Instant, global: &Global) -> Result {
    if !args.map.is_empty() {
        let message =
            "--map: tensors of a version have the names of the base; use the default form".to_owned();
        return Err(Failure { message, code: 2 });
    }
    let options = VersionOptions {
        checksum: args.checksum.map_or(Checksum::default(), DeltaChecksum::checksum),
        version: args.number,
        base_version: args.base_number,
        max_shard_size: args.max_shard_size,
        open: global.open_options(),
        ..VersionOptions::new(encoding)
    };
    let made = pipeline::version(&args.base, &args.new, &args.output, &options, &Bar::of(global))?;
    if args.format == Format::Json {
        return print_json(&made);
    }
    if global.quiet {
        return Ok(());
    }
    print(&tables::delta(&made.tensors, args.full, global.color))?;
    let VersionWritten { written, versions: [base, number], new_bytes, .. } = &made;
    print(&format!(
        "Version {number} over {base}: {}, {} bytes, {:.2} % of the new checkpoint's {} ({:.1} s).",
        shown(&args.output),
        thousands(written.bytes),
        100.0 * written.bytes as f64 / *new_bytes as f64,
        thousands(*new_bytes),
        begun.elapsed().as_secs_f64(),
    ))
}

pub fn apply(args: &ApplyArgs, global: &Global) -> Result {
    let begun = Instant::now();
    let options = ApplyOptions {
        max_shard_size: args.max_shard_size,
        dry_run: args.dry_run,
        open: global.open_options(),
    };
    let output = args.output.as_deref();
    let applied = pipeline::apply(&args.base, &args.deltas, output, &options, &Bar::of(global))?;
    if global.quiet {
        return Ok(());
    }
    let Applied { written, unchanged, tensor_bytes, .. } = &applied;
    let what = match (args.dry_run, written.files.is_empty()) {
        (true, _) => "Checked, nothing written".to_owned(),
        (false, true) => "Nothing to write: no file of the base changes".to_owned(),
        (false, false) => format!("Wrote {}, {} bytes", files(&written.files), thousands(written.bytes)),
    };
    let seconds = begun.elapsed().as_secs_f64();
    // Folders for serving engines have numbers.
    let kind = if applied.state.len() == 64 { "state" } else { "version" };
    print(&format!(
        "{what}. {} of {}, {unchanged} of them unchanged, {:.2} s ({:.0} MB/s). The {kind} is {}.",
        counted(written.tensors as u64, "tensor"),
        counted(*tensor_bytes, "byte"),
        seconds,
        *tensor_bytes as f64 / 1e6 / seconds,
        short(&applied.state),
    ))
}

pub fn squash(args: &SquashArgs, global: &Global) -> Result {
    let begun = Instant::now();
    let options = SquashOptions {
        base: args.base.as_deref(),
        max_shard_size: args.max_shard_size,
        open: global.open_options(),
    };
    let made = pipeline::squash(&args.deltas, &args.output, &options, &Bar::of(global))?;
    if global.quiet {
        return Ok(());
    }
    let Squashed { written, read, layered, state, .. } = &made;
    let layers = match layered {
        0 => String::new(),
        n => format!(" {} differences of several deltas; with --base, they become one.", words(*n)),
    };
    print(&format!(
        "{} of {} bytes are one: {}, {} bytes ({:.1} s). It gives the state {}.{layers}",
        counted(args.deltas.len() as u64, "delta"),
        thousands(*read),
        files(&written.files),
        thousands(written.bytes),
        begun.elapsed().as_secs_f64(),
        short(state),
    ))
}

fn words(tensors: usize) -> String {
    let verb = if tensors == 1 { "has" } else { "have" };
    format!("{} {verb}", counted(tensors as u64, "tensor"))
}

/// `verify BASE DELTA … NEW`: whether the deltas make the last one of the first.
pub fn verify(base: &Path, deltas: &[PathBuf], new: &Path, global: &Global) -> Result {
    let applied = pipeline::verify_delta(base, deltas, new, global.open_options(), &Bar::of(global))?;
    if global.quiet {
        return Ok(());
    }
    print(&format!(
        "{} with {} gives {}: {}, the state {}.",
        shown(base),
        counted(deltas.len() as u64, "delta"),
        shown(new),
        counted(applied.written.tensors as u64, "tensor"),
        short(&applied.state)
    ))
}

fn files(files: &[PathBuf]) -> String {
    files.iter().map(|file| shown(file)).collect::<Vec<_>>().join(", ")
}

/// The beginning of a state, as people compare it.
pub fn short(state: &str) -> &str {
    state.get(..16).unwrap_or(state)
}
