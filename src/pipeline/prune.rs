//! The stage `prune`: writes a pruned checkpoint from the masks. Weights are not compared again, and initial
//! values are generated again only for dense tensors that are filled with them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::copy::copy;
use super::encode::{Encoding, encode_pruned};
use super::error::{Error, RuleProblem};
use super::fit::Selected;
use super::gone::{Gone, gone};
use super::manifest::key;
use super::masks::Masks;
use super::origin::{Action, Tensor};
use super::outcome::{Pruned, PrunedResult, Rounded, Undivided, Written};
use super::outputs::{RunOutputs, check_writer};
use super::plan::FilePlan;
use super::progress::Progress;
use super::resolve::{Resolved, undivided_lane};
use super::task::Tasks;
use super::team::{Changes, Team, names};
use crate::checkpoint::Checkpoint;
use crate::codec::CODES;
use crate::config::{FormatChoice, InitSource, KeyPath, OutputKind, PruneSettings};
use crate::prune::Lane;
use crate::sparse::{Fill, Format, Parts, csr, suffixes};
use crate::store::{CheckpointWriter, Compressed, Group, PartWritten, compressed, folder_of};

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
    // The names that end as those of parts, of which there are few, by what is before the ending.
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for part in tensors.keys() {
        for stem in suffixes.iter().filter_map(|suffix| part.strip_suffix(suffix)) {
            taken.entry(stem).or_insert(part);
        }
    }
    for (name, tensor) in tensors.iter().filter(|(_, t)| t.action == Action::Prune) {
        if let (FormatChoice::Fixed(Format::Csr), false) =
            (prune.format, csr::can_hold(tensor.shape.matrix()))
        {
            let columns = tensor.shape.matrix().cols;
            let problem = RuleProblem::TooWide { tensor: name.clone(), columns };
            return Err(resolved.wrong(&KeyPath::root().key("prune").key("format"), problem));
        }
        if let Some(part) = taken.get(name.as_str()) {
            let (path, part) = (checkpoint.path().to_owned(), (*part).to_owned());
            return Err(Error::PartName { path, tensor: name.clone(), part });
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

/// What a process has written of the pruned checkpoint.
#[derive(Serialize, Deserialize)]
struct WrittenPart {
    /// Number of values beyond the range of the type that they were cast to, by the index of the tensor.
    overflowed: Vec<(usize, u64)>,
    /// How values were rounded, by the index of the tensor.
    rounded: Vec<(usize, Rounded)>,
    /// The effect of pruning on the tensors of this process.
    gone: Vec<(usize, Gone)>,
    files: Vec<PartWritten>,
}

/// Adds the pruned checkpoint to the outputs. Also returns the effect of pruning on every tensor, in name
/// order.
///
/// # Errors
/// Errors of reading the masks and of writing.
pub fn prune(
    resolved: &Resolved<'_>,
    tasks: &Tasks<'_>,
    prune: &PruneSettings,
    (masks, selected): (&mut Masks, Selected<'_>),
    (set, team): (&mut RunOutputs, &Team),
    progress: &dyn Progress,
) -> Result<(Pruned, Vec<Gone>), Error> {
    let mut plan = FilePlan::new(resolved, tasks, prune, Some(&selected.removal), selected.codes())?;
    let (mut results, groups) = plan.decide(&masks.stored())?;
    // The results of a cast (values that overflow) and of removal (tensors written separately) need all
    // tensors, so a killed run cannot be resumed.
    let resumable = prune.dtype.is_none() && prune.chains.is_empty() && team.is_alone();
    let begin = |set: &mut RunOutputs, masks: &Masks| {
        // The masks determine which weights are pruned; everything else follows from the headers and the
        // inputs.
        let decisions = || match resumable {
            true => key(resolved, |_| true, &masks.digest()?).map(Some),
            false => Ok::<_, Error>(None),
        };
        let metadata = |groups: &[Group]| plan.metadata(groups);
        let writer = set.add(OutputKind::Pruned, |set| {
            CheckpointWriter::resume(set, &prune.output, &groups, prune.max_shard_size, metadata, decisions)
        })?;
        check_writer(resolved.inputs(), &writer, "`prune.output`")?;
        Ok::<_, Error>(writer)
    };
    let mut own_writer = None;
    let of_masks = (&mut *masks, tasks, Changes::Nothing);
    let done = team.step_of_masks(names::WRITE, of_masks, |masks| {
        let gone = gone(tasks, masks, progress)?;
        let writer = begin(set, masks)?;
        let mut written = results.clone();
        let to = (&writer, &*groups, team);
        write(resolved, tasks, prune, (masks, &selected), to, &mut written, progress)?;
        let own = || tasks.iter().filter(|task| team.owns(task.name)).map(|task| task.n);
        let all = || written.iter().enumerate();
        let part = WrittenPart {
            overflowed: all().map(|(n, one)| (n, one.overflowed)).filter(|(_, n)| *n > 0).collect(),
            rounded: all().filter_map(|(n, one)| Some((n, one.rounded?))).collect(),
            gone: own().map(|n| (n, gone[n])).collect(),
            files: team.keep_files(names::WRITE, &writer, &groups)?,
        };
        own_writer = Some(writer);
        Ok(part)
    })?;
    let mut all_gone = vec![Gone::default(); results.len()];
    for part in &done {
        for (n, overflowed) in &part.overflowed {
            results.get_mut(*n).into_iter().for_each(|result| result.overflowed += overflowed);
        }
        for (n, rounded) in &part.rounded {
            results.get_mut(*n).into_iter().for_each(|result| result.rounded = Some(*rounded));
        }
        for (n, gone) in &part.gone {
            all_gone.get_mut(*n).into_iter().for_each(|all| *all = *gone);
        }
    }
    let writer = match own_writer {
        Some(writer) => Some(writer),
        None => {
            let files: Vec<&[PartWritten]> = done.iter().map(|part| &*part.files).collect();
            team.assemble(names::WRITE, set, &groups, &files, |set| begin(set, masks))?
        }
    };
    let written = writer.map(|writer| stage(resolved, prune, &groups, writer, set)).transpose()?;
    let written = written.unwrap_or_default();
    let removed = selected.removal.removed;
    let pruned = Pruned { written, tensors: results, removed, undivided: undivided(resolved, prune)? };
    Ok((pruned, all_gone))
}

/// Adds the files of the pruned checkpoint, and those that go beside it, to the outputs.
fn stage(
    resolved: &Resolved<'_>,
    prune: &PruneSettings,
    groups: &[Group],
    writer: CheckpointWriter<'_>,
    set: &mut RunOutputs,
) -> Result<Written, Error> {
    let (tensors, bytes) = (tensors_in_file(groups), writer.bytes());
    let files = set.add(OutputKind::Pruned, |set| writer.stage(set))?;
    let folder = folder_of(&prune.output);
    let mut beside = Vec::new();
    for file in resolved.small_files_out() {
        let path = folder.join(&file.name);
        beside.push(set.add(OutputKind::Pruned, |set| set.add_bytes(&path, &file.bytes))?);
    }
    Ok(Written { files, tensors, bytes, beside })
}

/// Writes what this process owns of the pruned checkpoint, and completes the results of its tensors.
fn write(
    resolved: &Resolved<'_>,
    tasks: &Tasks<'_>,
    prune: &PruneSettings,
    (masks, selected): (&Masks, &Selected<'_>),
    (writer, groups, team): (&CheckpointWriter<'_>, &[Group], &Team),
    results: &mut [PrunedResult],
    progress: &dyn Progress,
) -> Result<(), Error> {
    let (checkpoint, _) = resolved.trained()?;
    let own = || checkpoint.tensors().enumerate().filter(|(_, (name, _))| team.owns(name));
    progress.begin("prune", own().map(|(_, (_, tensor))| tensor.data.len() as u64).sum());
    // One file after the other, so that the next run finds some files finished if this one is killed.
    let file_of = |group: &Group| writer.file_of(&group.tensors[0].name).filter(|_| team.owns(&group.name));
    let files: Vec<Option<usize>> = groups.iter().map(file_of).collect();
    writer.each_file(|file| {
        let here = |n: usize| files[n] == Some(file);
        let whole = |result: &PrunedResult| result.action != Action::Prune && result.format == Format::Dense;
        let untouched = own().filter(|(n, _)| whole(&results[*n]) && here(*n));
        let data = untouched.map(|(_, (name, tensor))| (writer.slot(name), tensor.data));
        copy(data, writer, progress)?;
        write_coded(checkpoint, selected, results, here, (writer, progress))?;
        let encoding = Encoding { tasks, prune, masks, writer, progress };
        encode_pruned(&encoding, results, here)
    })?;
    selected.removal.write(
        resolved,
        |name| team.owns(name),
        (masks, prune.dtype),
        results,
        (writer, progress),
    )?;
    progress.end();
    Ok(())
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
    (writer, progress): (&CheckpointWriter<'_>, &dyn Progress),
) -> Result<(), Error> {
    let Some(coded) = &selected.coded else { return Ok(()) };
    let mut names = Vec::new();
    for (n, ((name, _), result)) in checkpoint.tensors().zip(results).enumerate() {
        if result.format == Format::Coded && here(n) {
            let found = coded.get(name);
            result.overflowed = found.map_or(0, |found| found.overflowed);
            result.rounded = found.and_then(|found| found.rounded);
            names.push(name);
        }
    }
    coded.write(names.into_iter(), writer, progress)
}
