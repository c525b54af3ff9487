//! The commands `delta`, `apply` and `squash`, with their arguments.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cdi_prune::pipeline::{
    self, Applied, ApplyOptions, ChangedTensor, Checksum, DeltaOptions, Encoding, Made, SquashOptions,
    Squashed, VersionOptions, VersionWritten,
};
use cdi_prune::text::{counted, thousands};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::{Failure, Result};
use super::global::{Format, Global, parse_size};
use super::out::{print, print_json, shown};
use super::progress::Bar;
use super::tables;

/// How a delta is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeltaForm {
    /// Entropy-coded, in one file or shards
    Coded,
    /// A folder for serving engines: exclusive or of the bytes, compressed by zstd
    XorZstd,
    /// A folder for serving engines: positions and new values of the bytes that differ, compressed by zstd
    OverwriteZstd,
}

/// The checksum in a folder for serving engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeltaChecksum {
    #[value(name = "xxh3-128")]
    Xxh3,
    Blake3,
    Adler32,
}

impl DeltaChecksum {
    pub fn checksum(self) -> Checksum {
        match self {
            Self::Xxh3 => Checksum::Xxh3,
            Self::Blake3 => Checksum::Blake3,
            Self::Adler32 => Checksum::Adler32,
        }
    }
}

/// The arguments of `delta`.
#[derive(Debug, Args)]
pub struct DeltaArgs {
    /// The checkpoint that the receiver has: a .safetensors file, a shard index, or a folder with either
    pub base: PathBuf,
    /// The checkpoint that the receiver gets
    pub new: PathBuf,
    /// Delta to write
    #[arg(long, short)]
    pub output: PathBuf,
    /// A tensor that has another name in the new checkpoint. One `*` in both names stands
    /// for the same characters
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_map)]
    pub map: Vec<(String, String)>,
    /// Split the delta into shards of at most this size, e.g. 5GB or 500MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_shard_size: Option<u64>,
    /// How the delta is stored. The forms for serving engines write a folder
    #[arg(long, default_value = "coded")]
    pub form: DeltaForm,
    /// Checksum of each tensor, in a folder for serving engines [default: xxh3-128]
    #[arg(long)]
    pub checksum: Option<DeltaChecksum>,
    /// Number of the version, in a folder for serving engines [default: the one in its
    /// name, `weight_v000001`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub number: Option<u64>,
    /// Number of the base's version [default: the one in its name, or the number before]
    #[arg(long, value_name = "N")]
    pub base_number: Option<u64>,
    /// Output format
    #[arg(long, default_value = "table")]
    pub format: Format,
    /// Show every changed tensor and every column. By default, those with the most bytes in the delta are
    /// shown if there are more than 40, and columns that do not fit are left out
    #[arg(long)]
    pub full: bool,
}

impl DeltaArgs {
    /// An option that only folders for serving engines have.
    pub fn of_versions(&self) -> Option<&'static str> {
        let given = [self.checksum.is_some(), self.number.is_some(), self.base_number.is_some()];
        let names = ["--checksum", "--number", "--base-number"];
        names.into_iter().zip(given).find_map(|(name, given)| given.then_some(name))
    }
}

/// The arguments of `squash`.
#[derive(Debug, Args)]
pub struct SquashArgs {
    /// The deltas, in the order in which they were made
    #[arg(required = true)]
    pub deltas: Vec<PathBuf>,
    /// Delta to write
    #[arg(long, short)]
    pub output: PathBuf,
    /// The checkpoint over which the first delta was made. With it, the result is as small as
    /// a delta made at once
    #[arg(long)]
    pub base: Option<PathBuf>,
    /// Split the delta into shards of at most this size, e.g. 5GB or 500MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_shard_size: Option<u64>,
}

/// The arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The checkpoint over which the first delta was made
    pub base: PathBuf,
    /// The deltas, in the order in which they were made
    #[arg(required = true)]
    pub deltas: Vec<PathBuf>,
    /// Checkpoint to write. A folder also receives the small files beside the base; end its name with a slash
    /// if it does not exist yet
    #[arg(long, short, required_unless_present_any = ["in_place", "dry_run"], conflicts_with = "in_place")]
    pub output: Option<PathBuf>,
    /// Replace the files of the base that change. If the program is killed meanwhile, the next call with the
    /// same base finishes or undoes the update
    #[arg(long)]
    pub in_place: bool,
    /// Check everything and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Split the output into shards of at most this size, e.g. 5GB or 500MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "in_place")]
    pub max_shard_size: Option<u64>,
}

fn parse_map(text: &str) -> Result<(String, String), String> {
    let (old, new) = text.split_once('=').ok_or("expected OLD=NEW, two names of tensors")?;
    Ok((old.to_owned(), new.to_owned()))
}

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
    let Made { written, new_bytes, state, tensors, .. } = &made;
    let what = format!("Delta: {}", files(&written.files));
    let end = format!(" It gives the state {}.", short(state));
    say_made(&made, tensors, &size(what, written.bytes, *new_bytes, begun, &end), args, global)
}

/// What was written, its bytes, and how long that took.
fn size(what: String, bytes: u64, new_bytes: u64, begun: Instant, end: &str) -> String {
    format!(
        "{what}, {} bytes, {:.2} % of the new checkpoint's {} ({:.1} s).{end}",
        thousands(bytes),
        100.0 * bytes as f64 / new_bytes as f64,
        thousands(new_bytes),
        begun.elapsed().as_secs_f64(),
    )
}

/// Prints a delta of any form: as JSON, or as a table with a sentence.
fn say_made(
    made: &impl Serialize,
    tensors: &[ChangedTensor],
    sentence: &str,
    args: &DeltaArgs,
    global: &Global,
) -> Result {
    if args.format == Format::Json {
        return print_json(made);
    }
    if global.quiet {
        return Ok(());
    }
    print(&tables::delta(tensors, args.full, global.color))?;
    print(sentence)
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
    let VersionWritten { written, versions: [base, number], new_bytes, tensors } = &made;
    let what = format!("Version {number} over {base}: {}", shown(&args.output));
    say_made(&made, tensors, &size(what, written.bytes, *new_bytes, begun, ""), args, global)
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
