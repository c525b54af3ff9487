//! The command `squash`: several deltas as one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cdi_core::internal::{Link, ReadBlocks};
use serde::Serialize;

use super::apply::{self, ApplyOptions};
use super::chain::{Chain, Scratch};
use super::create::{DeltaOptions, delta};
use crate::checkpoint::{Checkpoint, OpenOptions, TensorSpec};
use crate::codec::part;
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::coding::descriptions;
use crate::pipeline::copy::PIECE;
use crate::pipeline::error::{DeltaProblem, Error, caught};
use crate::pipeline::outcome::Written;
use crate::pipeline::outputs::{check_distinct, check_writer};
use crate::pipeline::progress::{Progress, Silent};
use crate::place;
use crate::sparse::{Delta, FileMetadata, Format, InBase, InitialValues, Kind, Layer, PrunedTensor};
use crate::store::{CheckpointWriter, Group, OutputSet, folder_of, share_codes, total};

/// How deltas are squashed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SquashOptions<'a> {
    /// The base of the first delta. With it, the result is as small as a delta made at once.
    pub base: Option<&'a Path>,
    /// Where the output is cut into shards, in bytes; `None` for one file.
    pub max_shard_size: Option<u64>,
    /// How files are opened.
    pub open: OpenOptions,
}

/// A delta that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Squashed {
    /// Its files.
    #[serde(flatten)]
    pub written: Written,
    /// Bytes of the files of the deltas.
    pub read: u64,
    /// Number of tensors that have codes of several deltas, one over the other.
    pub layered: usize,
    /// The state of the base.
    pub base_state: String,
    /// The state of the new checkpoint.
    pub state: String,
}

/// What the last checkpoint of a chain has of a tensor.
enum Entry {
    /// The base's tensor of this name.
    InBase(String),
    /// Codes: the number of the delta and the name there of each; the first one alone, or over the base's
    /// tensor of this name.
    Codes(Vec<(usize, String)>, String),
    /// All of it, without the base.
    Known,
}

/// Writes one delta that does what these do one after the other. Without the base, differences cannot be
/// added up, since how they are coded depends on the values that they change: they are kept as layers.
///
/// # Errors
/// [`Error::Delta`] if the deltas are no chain, or if a tensor changes its type or shape after it was
/// changed, which needs the base; errors of reading and writing.
pub fn squash(
    deltas: &[PathBuf],
    output: &Path,
    options: &SquashOptions<'_>,
    progress: &dyn Progress,
) -> Result<Squashed, Error> {
    caught(|| {
        // Without a base, nothing is read from it.
        let nothing =
            Checkpoint::from_bytes("no base", [2u64.to_le_bytes().as_slice(), b"{}"].concat().into())?;
        let chain = Chain { base: nothing, deltas: apply::links(deltas, options.open)? };
        let (Some(first), Some(last)) = (chain.deltas.first(), chain.deltas.last()) else {
            return Err(DeltaProblem::NotADelta.of(output));
        };
        let files = || chain.deltas.iter().flat_map(|delta| delta.reader.files());
        let read = files().filter_map(|file| place::size(file).ok()).sum();
        let states = (first.delta.base.clone(), last.delta.state.clone());
        if let Some(base) = options.base {
            let written = over(base, deltas, output, options, progress)?;
            return Ok(Squashed { written, read, layered: 0, base_state: states.0, state: states.1 });
        }
        let inputs = || files().map(|path| ("a delta", path));
        check_distinct(inputs(), [("the output", output)])?;
        let mut set = OutputSet::open(output, inputs().map(|(_, path)| path))?;
        let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
        for (name, ..) in last.reader.tensors() {
            entries.insert(name, entry(&chain, chain.last(), name)?);
        }
        let code_of = |(n, name): &(usize, String)| match chain.deltas[*n].reader.link(name) {
            Link::Coded { code, .. } => code,
            _ => unreachable!("an entry of codes"),
        };
        let form = |name: &str| chain.form(chain.last(), name).expect("one of its names");
        let mut groups: Vec<Group> = Vec::new();
        for (name, entry) in &entries {
            groups.push(match entry {
                Entry::InBase(_) => Group::new(name, Vec::new()),
                Entry::Codes(codes, _) => {
                    let bytes: usize = codes.iter().map(|code| code_of(code).len()).sum();
                    Group::new(name, vec![part(name, bytes)])
                }
                Entry::Known => {
                    let (dtype, shape) = form(name);
                    Group::single(TensorSpec { name: (*name).to_owned(), dtype, shape: shape.clone() })
                }
            });
        }
        share_codes(&mut groups, options.max_shard_size);
        let described = |name: &str| described(&chain, name, entries.get(name)?);
        let delta = composed(&chain, &entries);
        let others = last.reader.metadata().clone();
        let metadata = |groups: &[Group]| {
            let head = FileMetadata { delta: Some(delta.clone()), ..FileMetadata::new(Kind::Delta, 0) };
            head.into_map_with(descriptions(groups, described), &others)
        };
        let key = || Ok::<_, Error>(None);
        let writer =
            CheckpointWriter::resume(&mut set, output, &groups, options.max_shard_size, metadata, key)?;
        check_writer(inputs(), &writer, "the output")?;
        progress.begin("squash", total(groups.iter().map(Group::bytes)));
        for (name, entry) in &entries {
            match entry {
                Entry::InBase(_) => {}
                Entry::Codes(codes, _) => {
                    let mut at = 0;
                    for code in codes.iter().map(code_of) {
                        let slot = writer.slot(&part(name, 0).name);
                        for piece in code.chunks(PIECE) {
                            writer.write_at(slot, at, piece.bytes())?;
                            at += piece.len() as u64;
                            progress.advance(piece.len() as u64);
                        }
                    }
                }
                Entry::Known => {
                    let (dtype, shape) = form(name);
                    let ranges: Vec<_> = cdi_core::internal::state::ranges(dtype, shape).collect();
                    let reads = |range: &std::ops::Range<usize>| Reads {
                        bytes: range.len() as u64,
                        ..Reads::default()
                    };
                    blocks::for_each(&ranges, progress, reads, Scratch::default, |scratch, range| {
                        let bytes = chain.read(name, range.clone(), scratch)?;
                        Ok::<_, Error>(writer.write_at(writer.slot(name), range.start as u64, bytes)?)
                    })?;
                }
            }
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
        }
        progress.end();
        let bytes = writer.bytes();
        let files = writer.stage(&mut set)?;
        set.commit()?;
        let layered = entries
            .values()
            .filter(|entry| matches!(entry, Entry::Codes(codes, _) if codes.len() > 1))
            .count();
        let written = Written { files, tensors: entries.len(), bytes, beside: Vec::new() };
        Ok(Squashed { written, read, layered, base_state: states.0, state: states.1 })
    })
}

/// With the base: the last checkpoint is made in a temporary file, and compared with the base.
fn over(
    base: &Path,
    deltas: &[PathBuf],
    output: &Path,
    options: &SquashOptions<'_>,
    progress: &dyn Progress,
) -> Result<Written, Error> {
    let folder = folder_of(output);
    crate::store::create_parent(output)?;
    let io = crate::checkpoint::CheckpointError::io(folder, "create a temporary folder here");
    let place = tempfile::Builder::new().prefix(".squash").tempdir_in(folder).map_err(io)?;
    let new = place.path().join("new.safetensors");
    let apply_options = ApplyOptions { open: options.open, ..ApplyOptions::default() };
    apply::apply(base, deltas, Some(&new), &apply_options, progress)?;
    // Renamed tensors are predicted from what they were.
    let chain = apply::open(base, deltas, options.open)?;
    let mut map = Vec::new();
    for (name, _) in chain.tensors() {
        let source = chain.source(name);
        if source != name && chain.base.tensor(source).is_some() {
            map.push((source.to_owned(), name.to_owned()));
        }
    }
    drop(chain);
    let options = DeltaOptions { map, max_shard_size: options.max_shard_size, open: options.open };
    Ok(delta(base, &new, output, &options, &Silent)?.written)
}

/// What checkpoint `n` of a chain has of a tensor.
fn entry(chain: &Chain, n: usize, name: &str) -> Result<Entry, Error> {
    let Some(delta) = n.checked_sub(1).map(|n| &chain.deltas[n]) else {
        return Ok(Entry::InBase(name.to_owned()));
    };
    let source = delta.source(name);
    let this = (n - 1, name.to_owned());
    // Over the base, any growth is possible. Later ones would have to be told apart.
    let (before, after) = (chain.form(n - 1, source), delta.reader.tensor(name));
    let same = n == 1 || before == after;
    let same_shape = n == 1 || before.map(|(_, shape)| shape) == after.map(|(_, shape)| shape);
    let needs_base = || Err(DeltaProblem::SquashNeedsBase { tensor: name.to_owned() }.of(delta.path()));
    match delta.reader.link(name) {
        Link::Whole(_) => Ok(Entry::Known),
        Link::Coded { prediction: None, .. } => Ok(Entry::Codes(vec![this], name.to_owned())),
        Link::Other => Err(DeltaProblem::NotADelta.of(delta.path())),
        Link::InBase => match entry(chain, n - 1, source)? {
            Entry::Codes(..) if !same => needs_base(),
            Entry::InBase(_) if !same_shape => needs_base(),
            before => Ok(before),
        },
        Link::Coded { .. } => match entry(chain, n - 1, source)? {
            Entry::InBase(_) if !same_shape => needs_base(),
            Entry::InBase(name) => Ok(Entry::Codes(vec![this], name)),
            Entry::Codes(mut codes, name) if same => {
                codes.push(this);
                Ok(Entry::Codes(codes, name))
            }
            Entry::Codes(..) => needs_base(),
            Entry::Known => Ok(Entry::Known),
        },
    }
}

/// The description of a tensor; `None` if all of it is in the file.
fn described(chain: &Chain, name: &str, entry: &Entry) -> Option<PrunedTensor> {
    let (dtype, shape) = chain.form(chain.last(), name)?;
    let mut found = PrunedTensor::new(name, dtype, shape, Format::Base);
    let codes = match entry {
        Entry::Known => return None,
        Entry::InBase(_) => return Some(found),
        Entry::Codes(codes, _) => codes,
    };
    found.format = Format::Coded;
    for (n, (delta, name)) in codes.iter().enumerate() {
        let Link::Coded { end, layers, prediction, .. } = chain.deltas[*delta].reader.link(name) else {
            continue;
        };
        if n == 0 {
            found.prediction = prediction;
            found.init = prediction.map_or(found.init, |_| InitialValues::InBase(InBase::Base));
        } else {
            found.layers.push(Layer { code: end as u64, prediction: prediction.unwrap_or(1.0) });
        }
        let more = layers.iter().map(|layer| (layer.place.len() as u64, layer.prediction));
        found.layers.extend(more.map(|(code, prediction)| Layer { code, prediction }));
    }
    Some(found)
}

/// What the whole chain gives.
fn composed(chain: &Chain, entries: &BTreeMap<&str, Entry>) -> Delta {
    let mut renamed = BTreeMap::new();
    for (name, entry) in entries {
        if let Entry::InBase(source) | Entry::Codes(_, source) = entry
            && source != name
        {
            renamed.insert((*name).to_owned(), source.clone());
        }
    }
    // The name in the base of a tensor of checkpoint `n`; `None` if the base has no such tensor.
    let traced = |n: usize, name: &str| {
        chain.deltas[..n].iter().rev().try_fold(name.to_owned(), |name, delta| {
            (!delta.delta.added.contains(&name)).then(|| delta.source(&name).to_owned())
        })
    };
    let added = entries.keys().filter(|name| traced(chain.last(), name).is_none());
    let added = added.map(|name| (*name).to_owned()).collect();
    let each = chain.deltas.iter().enumerate();
    let gone = each.flat_map(|(n, delta)| delta.delta.removed.iter().filter_map(move |name| traced(n, name)));
    let removed: BTreeSet<String> = gone.collect();
    let (first, last) = (&chain.deltas[0].delta, &chain.deltas[chain.last() - 1].delta);
    let (from, base, state) = (first.from.clone(), first.base.clone(), last.state.clone());
    Delta { from, base, state, renamed, added, removed: removed.into_iter().collect() }
}
