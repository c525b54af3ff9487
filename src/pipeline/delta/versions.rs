//! The folders of versions that serving engines (SGLang, slime, miles, ModelExpress) read from a
//! trainer: `weight_v000001/` with shards whose tensors are differences, compressed by zstd, and an
//! index that says how.
//!
//! Sources: slime, `docs/en/advanced/delta-weight-sync.md` and pull request 2181 (the folder of a version,
//! checksums, full versions that begin a chain anew); SGLang, pull request 30367 (`/pull_weights`);
//! ModelExpress, `docs/S3_DELTA_WEIGHT_REFIT.md` (the index). `docs/deltas.md` describes the form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::chain::FormOf;
use super::compare::{Change, ChangedTensor, Compared, compare};
use super::making::{Making, Place};
use crate::checkpoint::{Checkpoint, OpenOptions, TensorRef, TensorSpec};
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::copy::copy;
use crate::pipeline::error::{DeltaProblem, Error};
use crate::pipeline::outcome::Written;
use crate::pipeline::outputs::check_distinct;
use crate::pipeline::plan::other_metadata;
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::refuse_pruned;
use crate::pipeline::spool::Spool;
use crate::store::{CheckpointWriter, Group, OutputSet};
use crate::tensor::{Dtype, Shape};

const INDEX: &str = "model.safetensors.index.json";

/// Bytes of a shard, unless others are asked for.
const SHARD: u64 = 5_000_000_000;

/// How a tensor's difference is stored, before it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// The new bytes, each combined with the old one by exclusive or.
    Xor,
    /// The number of bytes that differ (U32), their positions (U32 each), and the new bytes.
    Overwrite,
}

/// The checksum of a tensor's new bytes, in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    /// XXH3 of 128 bits.
    #[default]
    #[serde(rename = "xxh3-128")]
    Xxh3,
    /// BLAKE3 of 256 bits.
    #[serde(rename = "blake3")]
    Blake3,
    /// Adler-32 (RFC 1950).
    #[serde(rename = "adler32")]
    Adler32,
}

impl Checksum {
    /// Of these bytes.
    pub fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Xxh3 => format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)),
            Self::Blake3 => blake3::hash(bytes).to_hex().to_string(),
            Self::Adler32 => format!("{:08x}", adler2::adler32_slice(bytes)),
        }
    }
}

/// As in an index.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xxh3 => "xxh3-128",
            Self::Blake3 => "blake3",
            Self::Adler32 => "adler32",
        })
    }
}

/// What an index says about a delta.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Meta {
    version: String,
    base_version: String,
    delta_encoding: Encoding,
    compression_format: Zstd,
    checksum_format: Checksum,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Zstd {
    Zstd,
}

/// How a version is written.
#[derive(Clone, Copy, Debug)]
pub struct VersionOptions {
    /// How differences are stored.
    pub encoding: Encoding,
    /// Which checksum tensors have.
    pub checksum: Checksum,
    /// Level of the compression.
    pub level: i32,
    /// The number of the version; `None` for that in the name of the output.
    pub version: Option<u64>,
    /// The number of the version of the base; `None` for that in its name, or the one before.
    pub base_version: Option<u64>,
    /// Where the output is cut into shards, in bytes; `None` for 5 GB.
    pub max_shard_size: Option<u64>,
    /// How the checkpoints are opened.
    pub open: OpenOptions,
}

impl VersionOptions {
    /// With this encoding, and what the engines use: level 1, XXH3.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            checksum: Checksum::default(),
            level: 1,
            version: None,
            base_version: None,
            max_shard_size: None,
            open: OpenOptions::default(),
        }
    }
}

/// A version that was written.
#[derive(Clone, Debug, Serialize)]
pub struct VersionWritten {
    /// Its files.
    #[serde(flatten)]
    pub written: Written,
    /// The number of the base's version and its own, in six digits.
    pub versions: [String; 2],
    /// Bytes of the tensors of the new checkpoint.
    pub new_bytes: u64,
    /// The tensors in name order.
    pub tensors: Vec<ChangedTensor>,
}

/// Writes what changed from `base` to `new` as the folder of a version. A tensor is in memory as a whole, on
/// each thread another one.
///
/// # Errors
/// [`Error::Delta`] if tensors are new, gone or of another type or shape, for which the form has no place, or
/// if the version has no number; errors of reading and writing.
pub fn version(
    base: &Path,
    new: &Path,
    output: &Path,
    options: &VersionOptions,
    progress: &dyn Progress,
) -> Result<VersionWritten, Error> {
    let number = options.version.or_else(|| number_of(output));
    let Some(number) = number.filter(|number| *number > 0) else {
        let problem =
            "a version has a number, from 1: call the folder `weight_v000001`, or give `--number 1`";
        return Err(DeltaProblem::Version(problem.to_owned()).of(output));
    };
    let base_number = options.base_version.or_else(|| number_of(base)).unwrap_or(number - 1);
    let (base, new) = (Checkpoint::open_with(base, options.open)?, Checkpoint::open_with(new, options.open)?);
    version_between(&base, &new, [base_number, number], output, options, progress)
}

/// The same for checkpoints that are open, with the numbers of their versions.
pub(super) fn version_between(
    base: &Checkpoint,
    new: &Checkpoint,
    numbers: [u64; 2],
    output: &Path,
    options: &VersionOptions,
    progress: &dyn Progress,
) -> Result<VersionWritten, Error> {
    refuse_pruned(base)?;
    refuse_pruned(new)?;
    let versions = numbers.map(|number| format!("{number:06}"));
    let index = output.join(INDEX);
    let inputs = || base.files().chain(new.files()).map(|path| ("the new checkpoint or its base", path));
    check_distinct(inputs(), [("the output", index.as_path())])?;
    let set = OutputSet::open(&index, inputs().map(|(_, path)| path))?;
    let Compared { mut tensors, .. } = compare(base, new, &BTreeMap::new(), progress)?;
    let other = tensors.iter().find(|tensor| !matches!(tensor.change, Change::Changed | Change::Unchanged));
    if let Some(tensor) = other {
        let problem = "a version of this form has the same tensors as its base, with the same types and shapes, and this \
                       one differs: publish the full checkpoint, or use the default form";
        let (tensor, problem) = (tensor.name.clone(), problem.to_owned());
        return Err(DeltaProblem::VersionTensor { tensor, problem }.of(new.path()));
    }
    // Compressed differences of the changed tensors, and checksums.
    let changed = tensors.iter().filter(|tensor| tensor.change == Change::Changed);
    let changed: Vec<String> = changed.map(|tensor| tensor.name.clone()).collect();
    let spool = Spool::beside(&index)?;
    let end = AtomicU64::new(0);
    let bytes = changed.iter().filter_map(|name| new.tensor(name)).map(|tensor| tensor.bytes().len() as u64);
    progress.begin("delta", bytes.sum());
    let coded = blocks::for_each(
        &changed,
        progress,
        |name| Reads::of(new.tensor(name).expect("compared").data),
        Vec::new,
        |difference, name| {
            let (old, new) = (base.tensor(name).expect("compared"), new.tensor(name).expect("compared"));
            let wrong =
                |problem: String| DeltaProblem::VersionTensor { tensor: name.clone(), problem }.of(output);
            options.encoding.encode(old.bytes(), new.bytes(), difference).map_err(wrong)?;
            let code = zstd::bulk::compress(difference, options.level).map_err(|e| wrong(e.to_string()))?;
            let at = end.fetch_add(code.len() as u64, Ordering::Relaxed);
            spool.write(at, &code)?;
            Ok::<_, Error>((at, code.len(), options.checksum.of(new.bytes())))
        },
    )?;
    progress.end();
    for ((_, length, _), name) in coded.iter().zip(&changed) {
        // Those of the new checkpoint are all there are, and in order.
        let row = tensors.binary_search_by(|tensor| tensor.name.cmp(name)).expect("one of them");
        tensors[row].delta_bytes = *length as u64;
    }
    let parts = changed.iter().zip(&coded).map(|(name, (_, length, checksum))| {
        let shape = Shape::new(vec![*length]).expect("it lies in a file");
        let spec = TensorSpec { name: name.clone(), dtype: Dtype::U8, shape };
        (spec, Some(checksum.clone()))
    });
    let parts: Vec<(TensorSpec, Option<String>)> = parts.collect();
    let meta = Meta {
        version: versions[1].clone(),
        base_version: versions[0].clone(),
        delta_encoding: options.encoding,
        compression_format: Zstd::Zstd,
        checksum_format: options.checksum,
    };
    let written = write_shards(set, output, &parts, options.max_shard_size, json!(meta), |n, writer| {
        let (at, length, _) = coded[n];
        let mut code = vec![0; length];
        spool.read(at, &mut code)?;
        Ok(writer.write_at(writer.slot(&changed[n]), 0, &code)?)
    })?;
    let new_bytes = new.tensors().map(|(_, tensor)| tensor.bytes().len() as u64).sum();
    Ok(VersionWritten { written, versions, new_bytes, tensors })
}

/// Writes a full checkpoint as the folder of a version, with which a chain begins anew.
pub(super) fn full_version(
    new: &Checkpoint,
    number: u64,
    output: &Path,
    max_shard_size: Option<u64>,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    refuse_pruned(new)?;
    let set = OutputSet::open(&output.join(INDEX), new.files())?;
    let all: Vec<(&str, TensorRef<'_>)> = new.tensors().collect();
    let spec = |(name, tensor): &(&str, TensorRef<'_>)| {
        let spec = TensorSpec { name: (*name).to_owned(), dtype: tensor.dtype, shape: tensor.shape.clone() };
        (spec, None)
    };
    let parts: Vec<(TensorSpec, Option<String>)> = all.iter().map(spec).collect();
    let total: u64 = all.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum();
    let meta = json!({"version": format!("{number:06}"), "total_size": total});
    progress.begin("write", total);
    let written = write_shards(set, output, &parts, max_shard_size, meta, |n, writer| {
        let (name, tensor) = all[n];
        copy([(writer.slot(name), tensor.data)].into_iter(), writer, progress)
    })?;
    progress.end();
    Ok(written)
}

/// Writes tensors, each with the checksum in the metadata of its file, to shards
/// `model-00001-of-0000N.safetensors` and an index with this `metadata`. `write` writes the tensor with
/// an index in `parts`.
fn write_shards(
    mut set: OutputSet,
    output: &Path,
    parts: &[(TensorSpec, Option<String>)],
    max_shard_size: Option<u64>,
    metadata: Value,
    write: impl Fn(usize, &CheckpointWriter) -> Result<(), Error>,
) -> Result<Written, Error> {
    let most = max_shard_size.unwrap_or(SHARD);
    // Whole tensors, and at least one shard.
    let mut shards: Vec<Range<usize>> = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (n, (spec, _)) in parts.iter().enumerate() {
        if n > start && bytes + spec.bytes() > most {
            shards.push(start..n);
            (start, bytes) = (n, 0);
        }
        bytes += spec.bytes();
    }
    shards.push(start..parts.len());
    let (mut files, mut total, mut places) = (Vec::new(), 0, Map::new());
    let count = shards.len();
    for (number, shard) in shards.into_iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
        let here = &parts[shard.clone()];
        let groups: Vec<Group> = here.iter().map(|(spec, _)| Group::single(spec.clone())).collect();
        let checksum = |(spec, sum): &(TensorSpec, Option<String>)| Some((spec.name.clone(), sum.clone()?));
        let mut metadata: BTreeMap<String, String> = here.iter().filter_map(checksum).collect();
        if metadata.is_empty() {
            // Some loaders refuse files without it.
            metadata.insert("format".to_owned(), "pt".to_owned());
        }
        let metadata = |_: &[Group]| metadata.clone();
        let key = || Ok::<_, Error>(None);
        let writer = CheckpointWriter::resume(&mut set, &output.join(&file), &groups, None, metadata, key)?;
        for n in shard {
            write(n, &writer)?;
            places.insert(parts[n].0.name.clone(), Value::from(file.clone()));
        }
        total += writer.bytes();
        files.extend(writer.stage(&mut set)?);
    }
    let text = json!({"metadata": metadata, "weight_map": places});
    let text = serde_json::to_string_pretty(&text).expect("strings always serialise") + "\n";
    total += text.len() as u64;
    files.push(set.add_bytes(&output.join(INDEX), text.as_bytes())?);
    set.commit()?;
    Ok(Written { files, tensors: parts.len(), bytes: total, beside: Vec::new() })
}

/// The number in the name of a version's folder, `weight_v000001`.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("weight_v")?.parse().ok()
}

impl Encoding {
    /// The difference from `old` to `new`, which have the same length.
    fn encode(self, old: &[u8], new: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.clear();
        match self {
            Self::Xor => out.extend(old.iter().zip(new).map(|(old, new)| old ^ new)),
            Self::Overwrite => {
                if u32::try_from(new.len()).is_err() {
                    return Err(format!(
                        "positions of 32 bits do not reach its {} bytes; use xor-zstd",
                        new.len()
                    ));
                }
                let differ = || old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new);
                out.extend((differ().count() as u32).to_le_bytes());
                differ().for_each(|(at, _)| out.extend((at as u32).to_le_bytes()));
                out.extend(differ().map(|(_, (_, new))| new));
            }
        }
        Ok(())
    }

    /// The most bytes that the difference of a tensor has.
    fn most(self, bytes: usize) -> usize {
        match self {
            Self::Xor => bytes,
            Self::Overwrite => 4 + 5 * bytes,
        }
    }

    /// Changes `bytes` as a difference says.
    fn apply(self, difference: &[u8], bytes: &mut [u8]) -> Result<(), String> {
        match self {
            Self::Xor if difference.len() == bytes.len() => {
                bytes.iter_mut().zip(difference).for_each(|(byte, difference)| *byte ^= difference);
                Ok(())
            }
            Self::Xor => {
                Err(format!("its difference has {} bytes, expected {}", difference.len(), bytes.len()))
            }
            Self::Overwrite => {
                let (count, rest) = difference.split_first_chunk::<4>().ok_or("its difference is cut off")?;
                let count = u32::from_le_bytes(*count) as usize;
                if rest.len() as u64 != 5 * count as u64 {
                    return Err(format!(
                        "its difference has {} bytes, expected {} for {count} changes",
                        difference.len(),
                        4 + 5 * count as u64
                    ));
                }
                let (positions, values) = rest.split_at(4 * count);
                for (at, value) in positions.as_chunks::<4>().0.iter().zip(values) {
                    let at = u32::from_le_bytes(*at) as usize;
                    let len = bytes.len();
                    *bytes.get_mut(at).ok_or_else(|| format!("a change at byte {at} of {len}"))? = *value;
                }
                Ok(())
            }
        }
    }
}

/// Whether these are folders of versions, rather than deltas of this program.
pub(super) fn are_versions(deltas: &[PathBuf]) -> bool {
    deltas.iter().any(|path| meta(path).is_some())
}

/// The index of a version, of which the folder or the index itself is given.
fn index_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(INDEX) } else { path.to_owned() }
}

/// The metadata in the index of a version; `None` if there is no such index.
fn meta(path: &Path) -> Option<Value> {
    let index = index_of(path);
    if index.extension() != Some("json".as_ref()) || index.metadata().ok()?.len() > 1 << 29 {
        return None;
    }
    let json: Value = serde_json::from_slice(&fs::read(index).ok()?).ok()?;
    let metadata = json.get("metadata")?;
    metadata.get("version").is_some().then(|| metadata.clone())
}

/// A version that is open.
#[derive(Debug)]
struct Version {
    meta: Meta,
    files: Checkpoint,
    checksums: BTreeMap<String, String>,
}

/// A base, and versions over it.
#[derive(Debug)]
pub(super) struct Versions {
    base: Checkpoint,
    versions: Vec<Version>,
    names: [String; 2],
}

impl Versions {
    /// Opens a base and the versions over it. A full version among them begins the chain anew.
    pub fn open(base: &Path, deltas: &[PathBuf], options: OpenOptions) -> Result<Self, Error> {
        let mut base = base.to_owned();
        let mut first = 0;
        for (n, path) in deltas.iter().enumerate() {
            match meta(path) {
                Some(meta) if meta.get("delta_encoding").is_none() => (base, first) = (path.clone(), n + 1),
                Some(_) => {}
                None => {
                    let problem =
                        "it is not the folder of a version, as the others are: its index has no `version`";
                    return Err(DeltaProblem::Version(problem.to_owned()).of(path));
                }
            }
        }
        let mut current = meta(&base).and_then(|meta| Some(meta.get("version")?.as_str()?.to_owned()));
        let name = current.clone().unwrap_or_else(|| "unknown".to_owned());
        let checkpoint = Checkpoint::open_with(&base, options)?;
        refuse_pruned(&checkpoint)?;
        let mut versions: Vec<Version> = Vec::new();
        for path in &deltas[first..] {
            let wrong = |problem: String| DeltaProblem::Version(problem).of(path);
            let meta: Meta = serde_json::from_value(meta(path).unwrap_or_default())
                .map_err(|e| wrong(format!("the `metadata` of its index: {e}")))?;
            if let Some(current) = current.filter(|current| *current != meta.base_version) {
                return Err(wrong(format!(
                    "it applies to version {}, but what comes before it is version {current}; versions are given in \
                     their order, without gaps",
                    meta.base_version
                )));
            }
            current = Some(meta.version.clone());
            let files = Checkpoint::open_with(&index_of(path), options)?;
            let checksums = other_metadata(&files);
            for (tensor, found) in files.tensors() {
                let wrong = |problem: String| {
                    DeltaProblem::VersionTensor { tensor: tensor.to_owned(), problem }.of(path)
                };
                if found.dtype != Dtype::U8 || found.shape.rank() != 1 {
                    return Err(wrong(format!(
                        "expected U8 with one dimension, got {} {}",
                        found.dtype, found.shape
                    )));
                }
                if !checksums.contains_key(tensor) {
                    return Err(wrong("its file has no checksum of it".to_owned()));
                }
                if checkpoint.tensor(tensor).is_none() {
                    return Err(wrong("the base has no such tensor".to_owned()));
                }
            }
            versions.push(Version { meta, files, checksums });
        }
        let last = current.unwrap_or_else(|| "unknown".to_owned());
        Ok(Self { base: checkpoint, versions, names: [name, last] })
    }

    /// The bytes of a tensor of the last version.
    fn read<'s>(
        &self,
        name: &str,
        tensor: &TensorRef<'_>,
        [out, difference]: &'s mut [Vec<u8>; 2],
    ) -> Result<&'s [u8], Error> {
        out.clear();
        out.extend_from_slice(tensor.bytes());
        for version in &self.versions {
            let Some(code) = version.files.tensor(name) else { continue };
            let wrong = |problem: String| {
                DeltaProblem::VersionTensor { tensor: name.to_owned(), problem }.of(version.files.path())
            };
            let encoding = version.meta.delta_encoding;
            difference.clear();
            // What a few bytes decompress to may be of any length: no more is read than there can be.
            let most = encoding.most(out.len()) as u64;
            zstd::stream::Decoder::new(code.bytes())
                .and_then(|decoder| decoder.take(most + 1).read_to_end(difference))
                .map_err(|e| wrong(format!("its difference cannot be decompressed: {e}")))?;
            encoding.apply(difference, out).map_err(wrong)?;
            let (format, expected) = (version.meta.checksum_format, &version.checksums[name]);
            let got = format.of(out);
            if got != expected.to_ascii_lowercase() {
                return Err(wrong(format!(
                    "its {format} is {got} after version {}, expected {expected}: the base is another version, or the \
                     difference is damaged; nothing was written",
                    version.meta.version
                )));
            }
        }
        Ok(out)
    }
}

impl Making for Versions {
    fn base(&self) -> &Checkpoint {
        &self.base
    }

    fn inputs(&self) -> Vec<&Path> {
        self.versions.iter().flat_map(|version| version.files.files()).collect()
    }

    fn tensors(&self) -> BTreeMap<&str, FormOf<'_>> {
        self.base.tensors().map(|(name, tensor)| (name, (tensor.dtype, tensor.shape))).collect()
    }

    fn in_base<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        self.versions.iter().all(|version| version.files.tensor(name).is_none()).then_some(name)
    }

    fn source<'n>(&'n self, name: &'n str) -> &'n str {
        name
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        other_metadata(&self.base)
    }

    fn states(&self) -> [String; 2] {
        self.names.clone()
    }

    fn make(&self, place: &Place<'_>, progress: &dyn Progress) -> Result<usize, Error> {
        let all: Vec<(&str, TensorRef<'_>)> = self.base.tensors().collect();
        let same: BTreeSet<&str> =
            all.iter().map(|(name, _)| *name).filter(|name| self.in_base(name).is_some()).collect();
        progress.begin("apply", all.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum());
        blocks::for_each(
            &all,
            progress,
            |(_, tensor)| Reads::of(tensor.data),
            <[Vec<u8>; 2]>::default,
            |buffers, (name, tensor)| {
                let bytes =
                    if same.contains(name) { tensor.bytes() } else { self.read(name, tensor, buffers)? };
                if let Some((writer, slot)) = place(name) {
                    writer.write_at(slot, 0, bytes)?;
                }
                Ok::<_, Error>(())
            },
        )?;
        progress.end();
        Ok(same.len())
    }
}
