//! Writes the folders of versions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::compare::{Change, ChangedTensor, Compared, compare};
use super::versions::{Checksum, Encoding, INDEX, Meta, Zstd};
use crate::checkpoint::{Checkpoint, OpenOptions, TensorRef, TensorSpec};
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::copy::copy;
use crate::pipeline::error::{DeltaProblem, Error, caught};
use crate::pipeline::outcome::Written;
use crate::pipeline::outputs::check_distinct;
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::refuse_pruned;
use crate::pipeline::spool::Spool;
use crate::store::{CheckpointWriter, Group, OutputSet};
use crate::tensor::{Dtype, Shape};

/// Bytes of a shard, unless others are asked for.
const SHARD: u64 = 5_000_000_000;

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
    caught(|| {
        let number = options.version.or_else(|| number_of(output));
        let Some(number) = number.filter(|number| *number > 0) else {
            let problem =
                "a version has a number, from 1: call the folder `weight_v000001`, or give `--number 1`";
            return Err(DeltaProblem::Version(problem.to_owned()).of(output));
        };
        let base_number = options.base_version.or_else(|| number_of(base)).unwrap_or(number - 1);
        let (base, new) =
            (Checkpoint::open_with(base, options.open)?, Checkpoint::open_with(new, options.open)?);
        version_between(&base, &new, [base_number, number], output, options, progress)
    })
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
    let bytes = changed.iter().filter_map(|name| new.tensor(name)).map(|tensor| tensor.data.len() as u64);
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
    let new_bytes = new.tensors().map(|(_, tensor)| tensor.data.len() as u64).sum();
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
    let total: u64 = all.iter().map(|(_, tensor)| tensor.data.len() as u64).sum();
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
    write: impl Fn(usize, &CheckpointWriter<'_>) -> Result<(), Error>,
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
