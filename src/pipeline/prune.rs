//! The stage `prune`: writes a pruned checkpoint from the masks. Weights are not compared again, and initial
//! values are generated again only for dense tensors that are filled with them.

use std::collections::BTreeSet;

use super::copy::copy;
use super::encode::{Encoding, encode_pruned};
use super::error::{Error, RuleProblem};
use super::fit::Selected;
use super::manifest::key;
use super::masks::Masks;
use super::origin::{Action, Tensor};
use super::outcome::{Pruned, PrunedResult, Undivided, Written};
use super::outputs::{RunOutputs, check_writer};
use super::plan::FilePlan;
use super::progress::Progress;
use super::resolve::{Resolved, undivided_lane};
use super::task::Tasks;
use crate::checkpoint::Checkpoint;
use crate::codec::CODES;
use crate::config::{FormatChoice, InitSource, KeyPath, OutputKind, PruneSettings};
use crate::prune::Lane;
use crate::sparse::{Fill, Format, Parts, csr, suffixes};
use crate::store::{CheckpointWriter, Compressed, Group, compressed, folder_of};

/// Refuses a checkpoint that has tensors with the names of an encoding's parts, before anything is written.
pub fn check_part_names(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    let formats = match prune.format {
        FormatChoice::Fixed(format) => vec![format],
        FormatChoice::Auto | FormatChoice::Sparse => vec![Format::Bitmask, Format::Csr],
    };
    let parts = formats.into_iter().filter_map(|format| suffixes(format, prune.fill == Fill::Nearest));
    let mut suffixes: BTreeSet<&str> = parts.flat_map(Parts::into_vec).collect();
    if prune.format == FormatChoice::Fixed(Format::Coded) {
        suffixes.insert(CODES);
    }
    let (checkpoint, tensors) = resolved.trained()?;
    for (name, tensor) in tensors.iter().filter(|(_, t)| t.action == Action::Prune) {
        if let (FormatChoice::Fixed(Format::Csr), false) =
            (prune.format, csr::can_hold(tensor.shape.matrix()))
        {
            let columns = tensor.shape.matrix().cols;
            let problem = RuleProblem::TooWide { tensor: name.clone(), columns };
            return Err(resolved.wrong(&KeyPath::root().key("prune").key("format"), problem));
        }
        let mut parts = suffixes.iter().map(|suffix| format!("{name}{suffix}"));
        let taken = parts.find(|part| tensors.contains_key(part));
        if let Some(part) = taken {
            return Err(Error::PartName { path: checkpoint.path().to_owned(), tensor: name.clone(), part });
        }
    }
    Ok(())
}

/// Refuses to prune tensors that are parts of compressed weights, in a checkpoint compressed by
/// this or another program.
pub fn check_compressed(resolved: &Resolved<'_>) -> Result<(), Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let pruned = |part: &String| tensors.get(part).is_some_and(|tensor| tensor.action == Action::Prune);
    let mut found = compressed(checkpoint);
    found.retain(|found| found.parts.iter().any(pruned));
    in_parts(checkpoint, found, true)
}

/// The error for these compressed weights, if there are any.
pub(super) fn in_parts(checkpoint: &Checkpoint, found: Vec<Compressed>, pruning: bool) -> Result<(), Error> {
    let more = found.len().saturating_sub(1);
    let Some(Compressed { stem, parts, form }) = found.into_iter().next() else { return Ok(()) };
    let (path, parts) = (checkpoint.path().to_owned(), parts.into_iter().collect());
    Err(Error::InParts { path, stem, parts, form, more, pruning })
}

/// The tensors that are kept because the groups of `where_divisible: true` do not divide their dimensions.
fn undivided(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<Vec<Undivided>, Error> {
    let (_, tensors) = resolved.trained()?;
    let of = |(name, tensor): (&String, &Tensor)| {
        let origin = tensor.origin.as_ref()?;
        let decision = prune.decision(name)?;
        if origin.source == InitSource::None && decision.criterion.needs_initial()
            || (tensor.shape.elements() as u64) < decision.min_elements
        {
            return None;
        }
        let (m, Lane { size, what, .. }) = undivided_lane(decision, &tensor.shape, tensor.layout())?;
        Some(Undivided { name: name.clone(), size, what, m })
    };
    Ok(tensors.iter().filter_map(of).collect())
}

/// Adds the pruned checkpoint to the outputs.
///
/// # Errors
/// Errors of reading the masks and of writing.
pub fn prune(
    resolved: &Resolved<'_>,
    tasks: &Tasks<'_>,
    prune: &PruneSettings,
    (masks, selected): (&Masks, Selected<'_>),
    set: &mut RunOutputs,
    progress: &dyn Progress,
) -> Result<Pruned, Error> {
    let (checkpoint, _) = resolved.trained()?;
    let mut plan = FilePlan::new(resolved, tasks, prune, Some(&selected.removal), selected.codes())?;
    let (mut results, groups) = plan.decide(&masks.stored())?;
    // The results of a cast (values that overflow) and of removal (tensors written separately) need all
    // tensors, so a killed run cannot be resumed.
    let resumable = prune.dtype.is_none() && prune.chains.is_empty();
    // The masks determine which weights are pruned; everything else follows from the headers and the inputs.
    let decisions = || match resumable {
        true => key(resolved, |_| true, &masks.digest()?).map(Some),
        false => Ok::<_, Error>(None),
    };
    let metadata = |groups: &[Group]| plan.metadata(groups);
    let writer = set.add(OutputKind::Pruned, |set| {
        CheckpointWriter::resume(set, &prune.output, &groups, prune.max_shard_size, metadata, decisions)
    })?;
    check_writer(resolved.inputs(), &writer, "`prune.output`")?;
    let total: u64 = checkpoint.tensors().map(|(_, t)| t.bytes().len() as u64).sum();
    progress.begin("prune", total);
    // One file after the other, so that the next run finds some files finished if this one is killed.
    let files: Vec<Option<usize>> =
        groups.iter().map(|group| writer.file_of(&group.tensors[0].name)).collect();
    for file in 0..writer.files() {
        let here = |n: usize| files[n] == Some(file);
        let whole = |result: &PrunedResult| result.action != Action::Prune && result.format == Format::Dense;
        let untouched = checkpoint.tensors().zip(&results).enumerate();
        let untouched = untouched.filter(|(n, (_, result))| whole(result) && here(*n));
        let data = untouched.map(|(_, ((name, tensor), _))| (writer.slot(name), tensor.data));
        copy(data, &writer, progress)?;
        write_coded(checkpoint, &selected, &mut results, here, (&writer, progress))?;
        let encoding = Encoding { tasks, prune, masks, writer: &writer, progress };
        encode_pruned(&encoding, &mut results, here)?;
        writer.finish(file)?;
    }
    selected.removal.write(resolved, masks, prune.dtype, &mut results, &writer, progress)?;
    progress.end();
    let (count, bytes) = (tensors_in_file(&groups), writer.bytes());
    let files = set.add(OutputKind::Pruned, |set| writer.stage(set))?;
    let folder = folder_of(&prune.output);
    let mut beside = Vec::new();
    for file in resolved.small_files_out() {
        let path = folder.join(&file.name);
        beside.push(set.add(OutputKind::Pruned, |set| set.add_bytes(&path, &file.bytes))?);
    }
    let written = Written { files, tensors: count, bytes, beside };
    let removed = selected.removal.removed;
    Ok(Pruned { written, tensors: results, removed, undivided: undivided(resolved, prune)? })
}

/// Number of tensors in the files with these groups.
fn tensors_in_file(groups: &[Group]) -> usize {
    let (shared, own): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.shared);
    own.iter().map(|group| group.tensors.len()).sum::<usize>() + usize::from(!shared.is_empty())
}

/// Writes the coded tensors for which `here` is true.
fn write_coded(
    checkpoint: &Checkpoint,
    selected: &Selected<'_>,
    results: &mut [PrunedResult],
    here: impl Fn(usize) -> bool,
    (writer, progress): (&CheckpointWriter, &dyn Progress),
) -> Result<(), Error> {
    let Some(coded) = &selected.coded else { return Ok(()) };
    for (n, ((name, _), result)) in checkpoint.tensors().zip(results).enumerate() {
        if result.format == Format::Coded && here(n) {
            let written = coded.write(name, writer, progress)?;
            result.overflowed = written.map_or(0, |coded| coded.overflowed);
            result.rounded = written.and_then(|coded| coded.rounded);
        }
    }
    Ok(())
}
