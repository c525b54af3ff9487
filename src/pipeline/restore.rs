//! The command `restore`: writes the dense checkpoint of a pruned file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::{Error, caught};
use super::outcome::Written;
use super::outputs::{check_distinct, check_writer};
use super::pieces::{self, Piece, pieces};
use super::progress::Progress;
use crate::checkpoint::{OpenOptions, TensorSpec};
use crate::place;
use crate::reader::{Limits, PrunedProblem, PrunedReader};
use crate::store::{
    CheckpointWriter, Failed, Gathered, Group, OutputSet, Slot, beside, folder_of, names_folder, total,
    weights_name,
};
use crate::tensor::{Dtype, Shape};
use crate::workers::Threads;

/// Pieces per list: a small file can describe more pieces than fit into memory.
const AT_ONCE: usize = 1 << 16;

/// What [`restore`] and [`super::unpack`] need beside the two paths. The default is enough for a file that
/// needs no base.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions<'a> {
    /// The base checkpoint, for a file whose initial values are those of one.
    pub base: Option<&'a Path>,
    /// Where the output is cut into shards, in bytes; `None` for one file.
    pub max_shard_size: Option<u64>,
    /// The most that is allocated to draw initial values which can only be drawn all at once, and which the
    /// file may ask for at any size; `None` for that of [`Limits`].
    pub max_memory: Option<u64>,
    /// How the file and its base are opened.
    pub open: OpenOptions,
}

/// Writes the dense checkpoint that a pruned file stands for. An `output` that ends in a slash, or is a
/// folder, gets it under the name that programs look for in a folder, with the small files beside the
/// pruned one.
///
/// # Errors
/// [`Error::Pruned`] if it is not a valid pruned file, [`Error::SameFile`] if `output` is one of the inputs.
pub fn restore(
    input: &Path,
    output: &Path,
    options: RestoreOptions<'_>,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    caught(|| restore_file(&open(input, options)?, input, output, options, progress))
}

/// The same for a file that is open already, and was read from `input`.
pub(super) fn restore_file(
    file: &PrunedReader,
    input: &Path,
    output: &Path,
    options: RestoreOptions<'_>,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    // A folder gets the small files that lie beside the weights, so that it is the model that was pruned.
    let folder = (names_folder(output) || place::is_folder(output)).then_some(output);
    let small_files = folder.map_or(Ok(Vec::new()), |_| beside(input, &BTreeSet::new(), options.open))?;
    let output = &folder.map_or_else(|| output.to_owned(), |folder| folder.join(weights_name(&small_files)));
    let inputs = || {
        let small = small_files.iter().map(|file| file.path.as_path());
        file.files().chain(small).map(|path| ("the file to restore or its base", path))
    };
    let small_out = small_files.iter().map(|file| folder_of(output).join(&file.name));
    let outputs = [Cow::from(output)].into_iter().chain(small_out.map(Cow::from));
    check_distinct(inputs(), outputs.map(|path| ("the output", path)))?;
    OutputSet::recover([output.as_path()], inputs().map(|(_, path)| path))?;

    let spec = |(name, dtype, shape): (&str, Dtype, &Shape)| {
        Group::single(TensorSpec { name: name.to_owned(), dtype, shape: shape.clone() })
    };
    let groups: Vec<Group> = file.tensors().map(spec).collect();
    let metadata: BTreeMap<String, String> = file.metadata().clone();
    let mut set = OutputSet::default();
    let (metadata, key) = (|_: &[Group]| metadata.clone(), || Ok::<_, Error>(None));
    let writer = CheckpointWriter::resume(&mut set, output, &groups, options.max_shard_size, metadata, key)?;
    check_writer(inputs(), &writer, "the output")?;
    progress.begin("restore", total(groups.iter().map(Group::bytes)));
    write(file, &writer, progress)?;
    progress.end();
    let (tensors, bytes) = (groups.len(), writer.bytes());
    let files = writer.stage(&mut set)?;
    let mut beside = Vec::new();
    for small in &small_files {
        beside.push(set.add_bytes(&folder_of(output).join(&small.name), &small.bytes)?);
    }
    set.commit()?;
    Ok(Written { files, tensors, bytes, beside })
}

/// Opens a pruned file.
pub(super) fn open(input: &Path, options: RestoreOptions<'_>) -> Result<PrunedReader, Error> {
    let bytes = options.max_memory.unwrap_or(Limits::default().bytes);
    let limits = Limits { elements: u64::MAX, bytes };
    let file = PrunedReader::open_on(&Threads, input, options.base, limits, options.open)?;
    if file.is_pruned() {
        return Ok(file);
    }
    let problem = if file.is_initial() { PrunedProblem::Initial } else { PrunedProblem::NotPruned };
    Err(Error::Pruned { path: input.to_owned(), problem })
}

/// Writes every tensor of the file, some pieces at a time.
fn write(file: &PrunedReader, writer: &CheckpointWriter<'_>, progress: &dyn Progress) -> Result<(), Error> {
    let mut all = file.tensors().flat_map(|(name, ..)| {
        let slot = writer.slot(name);
        pieces(file, name).map(move |piece| (piece, slot))
    });
    loop {
        let now: Vec<(Piece<'_>, Slot)> = all.by_ref().take(AT_ONCE).collect();
        if now.is_empty() {
            return Ok(());
        }
        let failed = Failed::default();
        let out = || Gathered::new(writer, &failed);
        pieces::for_each(file, &now, progress, out, |out, piece, slot, bytes| {
            Ok(out.write_at(*slot, piece.at, bytes)?)
        })?;
        failed.check()?;
    }
}
