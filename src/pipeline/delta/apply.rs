//! The command `apply`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use cdi_core::internal::state::{Digest, State, TensorDigest, of_block, ranges};

use super::chain::{Chain, FormOf, Opened, Scratch};
use super::in_place;
use super::making::{Applied, Making, Place, applied, groups};
use super::versions_apply::{Versions, are_versions};
use crate::checkpoint::{Checkpoint, Mapped, OpenOptions, TensorRef};
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::error::{DeltaProblem, Error, caught};
use crate::pipeline::outputs::{check_distinct, check_writer};
use crate::pipeline::plan::other_metadata;
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::refuse_pruned;
use crate::place;
use crate::store::{CheckpointWriter, Group, OutputSet, Slot, beside, folder_of, names_folder, weights_name};
use crate::workers::Threads;

/// How deltas are applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Where the output is cut into shards, in bytes; `None` for one file. Files that are replaced in place
    /// stay the files that they are.
    pub max_shard_size: Option<u64>,
    /// Whether everything is checked, and nothing written.
    pub dry_run: bool,
    /// How files are opened.
    pub open: OpenOptions,
}

/// Blocks that are made, or digested, before their digests are kept.
const AT_ONCE: usize = 1 << 16;

/// Makes the checkpoint that the last of the deltas gives, from the base of the first one, in one pass over
/// the base. Without an `output`, it replaces the files of the base that change. The states of the base and
/// of the result are checked; nothing becomes visible before that.
///
/// # Errors
/// [`Error::Delta`] for another base, deltas that are no chain, or a result that is not what the last one
/// says; [`Error::Pruned`] for damaged deltas; [`Error::SameFile`]; errors of reading and writing.
pub fn apply(
    base: &Path,
    deltas: &[PathBuf],
    output: Option<&Path>,
    options: &ApplyOptions,
    progress: &dyn Progress,
) -> Result<Applied, Error> {
    caught(|| {
        if output.is_none() && !options.dry_run {
            in_place::recover(base, deltas)?;
        }
        if are_versions(deltas) {
            let versions = Versions::open(base, deltas, options.open)?;
            return write(base, &versions, output, options, progress);
        }
        let chain = open(base, deltas, options.open)?;
        write(base, &Maker::new(&chain)?, output, options, progress)
    })
}

fn write(
    base: &Path,
    made: &dyn Making,
    output: Option<&Path>,
    options: &ApplyOptions,
    progress: &dyn Progress,
) -> Result<Applied, Error> {
    if options.dry_run {
        return Ok(applied(made, made.make(&|_| None, progress)?, Vec::new(), 0, Vec::new()));
    }
    match output {
        Some(output) => to_file(base, made, output, options, progress),
        None => in_place::replace(base, made, progress),
    }
}

/// Checks that deltas make `new` of `base`. Nothing is written.
///
/// # Errors
/// Those of [`apply`], and [`DeltaProblem::Other`] if `new` is another checkpoint.
pub fn verify_delta(
    base: &Path,
    deltas: &[PathBuf],
    new: &Path,
    open: OpenOptions,
    progress: &dyn Progress,
) -> Result<Applied, Error> {
    caught(|| {
        let options = ApplyOptions { dry_run: true, open, ..ApplyOptions::default() };
        let applied = apply(base, deltas, None, &options, progress)?;
        let checkpoint = Checkpoint::open_with(new, open)?;
        let bytes = checkpoint.tensors().map(|(_, tensor)| tensor.data.len() as u64).sum();
        progress.begin("digest", bytes);
        let advance = |bytes| {
            progress.advance(bytes);
            progress.cancelled()
        };
        let got = State::of(&checkpoint, &Threads, advance).ok_or(Error::Cancelled)?;
        progress.end();
        if got == applied.state {
            return Ok(applied);
        }
        let problem = DeltaProblem::Other { expected: applied.state, got };
        Err(problem.of(new))
    })
}

/// Opens a base and a chain of deltas.
pub(super) fn open(base: &Path, deltas: &[PathBuf], options: OpenOptions) -> Result<Chain, Error> {
    let base = Checkpoint::open_with(base, options)?;
    refuse_pruned(&base)?;
    let deltas = links(deltas, options)?;
    Ok(Chain { base, deltas })
}

/// Opens deltas, of which each one must begin where the one before it ends.
pub(super) fn links(deltas: &[PathBuf], options: OpenOptions) -> Result<Vec<Opened>, Error> {
    let all = deltas.iter().map(|path| Opened::open(path, options)).collect::<Result<Vec<_>, Error>>()?;
    for pair in all.windows(2) {
        let [first, next] = pair else { continue };
        if next.delta.base != first.delta.state {
            let hint = match all.iter().find(|other| other.delta.state == next.delta.base) {
                Some(other) => format!(
                    "{} gives it: deltas are given in the order in which they were made",
                    other.path().display()
                ),
                None if next.delta.base == first.delta.base => {
                    "both are deltas over the same state, of which only one can be applied".to_owned()
                }
                None => "a delta between the two is missing".to_owned(),
            };
            let (expected, got) = (next.delta.base.clone(), first.delta.state.clone());
            let problem = DeltaProblem::Link { previous: first.path().to_owned(), expected, got, hint };
            return Err(problem.of(next.path()));
        }
    }
    Ok(all)
}

/// That the base of a chain has another state than the first delta needs.
fn other_base(chain: &Chain, got: String) -> Error {
    let [first, ..] = &chain.deltas[..] else { return Error::Cancelled };
    let done = chain.deltas.iter().rposition(|delta| delta.delta.state == got);
    let hint = match done {
        Some(n) if n + 1 == chain.deltas.len() => {
            "it is already what the deltas give, so there is nothing to apply".to_owned()
        }
        Some(n) => format!(
            "the deltas up to {} have been applied to it: leave them out",
            chain.deltas[n].path().display()
        ),
        None => format!(
            "give the version that the delta was made from (`{}` then), or the deltas between",
            first.delta.from
        ),
    };
    let (base, expected) = (chain.base.path().to_owned(), first.delta.base.clone());
    DeltaProblem::OtherBase { base, expected, got, hint }.of(first.path())
}

/// A block of a tensor of the base to digest, or one of the new checkpoint to make.
enum Item<'a> {
    Base(Mapped<'a>),
    Make { name: &'a str, range: Range<usize>, slot: Option<(&'a CheckpointWriter<'a>, Slot)> },
}

/// Makes the last checkpoint of a chain.
pub(super) struct Maker<'a> {
    pub chain: &'a Chain,
    pub tensors: BTreeMap<&'a str, FormOf<'a>>,
}

impl<'a> Maker<'a> {
    pub fn new(chain: &'a Chain) -> Result<Self, Error> {
        match chain.check() {
            Ok(()) => Ok(Self { chain, tensors: chain.tensors() }),
            Err(error) => Err(explained(chain, error)),
        }
    }

    /// The states of the base and of the result, and how many tensors are those of the base.
    fn pass(&self, place: &Place<'_>, progress: &dyn Progress) -> Result<(String, String, usize), Error> {
        let base = &self.chain.base;
        let spans = self.spans();
        let of_base: u64 = base.tensors().map(|(_, tensor)| tensor.data.len() as u64).sum();
        let made = spans.iter().filter(|span| span.in_base.is_none()).filter_map(|span| span.made);
        let made = made.map(|(_, (dtype, shape))| shape.bytes(dtype.bitsize()).unwrap_or_default() as u64);
        progress.begin("apply", of_base + made.sum::<u64>());
        let slot = |span: &Span<'_>| span.made.and_then(|(name, _)| place(name));
        let slots: Vec<Option<(&CheckpointWriter<'_>, Slot)>> = spans.iter().map(slot).collect();
        let each = spans.iter().zip(&slots).enumerate();
        let mut items = each.flat_map(|(n, (span, slot))| items(span, *slot).map(move |item| (n, item)));
        let mut sums = Sums {
            spans: &spans,
            next: 0,
            base: TensorDigest::default(),
            made: TensorDigest::default(),
            of_base: BTreeMap::new(),
            after: State::default(),
        };
        loop {
            // A few bytes can describe a tensor of any size.
            let now: Vec<(usize, Item<'_>)> = items.by_ref().take(AT_ONCE).collect();
            if now.is_empty() {
                break;
            }
            let digests = self.each(&now, progress)?;
            now.iter().zip(&digests).for_each(|((n, item), digest)| sums.add(*n, item, digest));
        }
        progress.end();
        sums.before(spans.len());
        let mut before = State::default();
        for (name, tensor) in base.tensors() {
            before.add(name, tensor.dtype, tensor.shape, &sums.of_base[name]);
        }
        let same = spans.iter().filter(|span| span.in_base.is_some()).count();
        Ok((before.finish(), sums.after.finish(), same))
    }

    /// Every tensor of the new checkpoint, in order, each with one of the base to be digested beside it; then
    /// those of the base that remain.
    fn spans(&self) -> Vec<Span<'_>> {
        let mut left: BTreeMap<&str, TensorRef<'_>> = self.chain.base.tensors().collect();
        let span = |(name, form): (&&'a str, &FormOf<'a>)| {
            let in_base = self.chain.in_base(name);
            let base = left.remove_entry(in_base.unwrap_or(name));
            Span { made: Some((*name, *form)), in_base, base }
        };
        let mut spans: Vec<Span<'_>> = self.tensors.iter().map(span).collect();
        spans.extend(left.into_iter().map(|base| Span { made: None, in_base: None, base: Some(base) }));
        spans
    }

    fn each(&self, items: &[(usize, Item<'_>)], progress: &dyn Progress) -> Result<Vec<Digest>, Error> {
        blocks::for_each(
            items,
            progress,
            |(_, item)| match item {
                Item::Base(data) => Reads::of(*data),
                Item::Make { name, range, .. } => self.chain.reads(name, range),
            },
            Scratch::default,
            |scratch, (_, item)| match item {
                Item::Base(data) => Ok(of_block(data.bytes())),
                Item::Make { name, range, slot } => {
                    let bytes = self.chain.read(name, range.clone(), scratch)?;
                    if let Some((writer, slot)) = slot {
                        writer.write_at(*slot, range.start as u64, bytes)?;
                    }
                    Ok::<_, Error>(of_block(bytes))
                }
            },
        )
    }
}

/// A tensor of the new checkpoint, and one of the base that is digested at the same time.
struct Span<'a> {
    made: Option<(&'a str, FormOf<'a>)>,
    /// The tensor of the base whose bytes it has, if it has those of one.
    in_base: Option<&'a str>,
    base: Option<(&'a str, TensorRef<'a>)>,
}

/// The blocks of a span: those of the base and those that are made of them take turns.
fn items<'i>(
    span: &Span<'i>,
    slot: Option<(&'i CheckpointWriter<'i>, Slot)>,
) -> impl Iterator<Item = Item<'i>> + use<'i> {
    let made = span.made.filter(|_| span.in_base.is_none() || slot.is_some());
    let mut made = made.map(|(name, (dtype, shape))| (name, ranges(dtype, shape)));
    let mut base = span.base.map(|(_, tensor)| (tensor.data, ranges(tensor.dtype, tensor.shape)));
    let mut of_base = false;
    std::iter::from_fn(move || {
        let mut one = |of_base: bool| match of_base {
            true => base.as_mut().and_then(|(data, ranges)| Some(Item::Base(data.part(ranges.next()?)))),
            false => {
                let (name, ranges) = made.as_mut()?;
                Some(Item::Make { name, range: ranges.next()?, slot })
            }
        };
        of_base = !of_base;
        one(of_base).or_else(|| one(!of_base))
    })
}

/// Digests of blocks, in their order, and of the tensors that are complete.
struct Sums<'s> {
    spans: &'s [Span<'s>],
    /// The span that comes next, or is begun.
    next: usize,
    base: TensorDigest,
    made: TensorDigest,
    of_base: BTreeMap<&'s str, Digest>,
    after: State,
}

impl Sums<'_> {
    fn add(&mut self, n: usize, item: &Item<'_>, digest: &Digest) {
        self.before(n);
        match item {
            Item::Base(_) => self.base.add(digest),
            Item::Make { .. } => self.made.add(digest),
        }
    }

    /// Completes all spans before this one.
    fn before(&mut self, n: usize) {
        while self.next < n {
            let Span { made, in_base, base } = &self.spans[self.next];
            self.next += 1;
            let found = std::mem::take(&mut self.base).finish();
            if let Some((name, _)) = base {
                self.of_base.insert(name, found);
            }
            let own = std::mem::take(&mut self.made).finish();
            if let Some((name, (dtype, shape))) = made {
                let digest = in_base.map_or(&own, |name| &self.of_base[name]);
                self.after.add(name, *dtype, shape, digest);
            }
        }
    }
}

impl Making for Maker<'_> {
    fn base(&self) -> &Checkpoint {
        &self.chain.base
    }

    fn inputs(&self) -> Vec<&Path> {
        self.chain.deltas.iter().flat_map(|delta| delta.reader.files()).collect()
    }

    fn tensors(&self) -> BTreeMap<&str, FormOf<'_>> {
        self.tensors.clone()
    }

    fn in_base<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        self.chain.in_base(name)
    }

    fn source<'n>(&'n self, name: &'n str) -> &'n str {
        self.chain.source(name)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        match self.chain.deltas.last() {
            Some(last) => last.reader.metadata().clone(),
            None => other_metadata(&self.chain.base),
        }
    }

    fn states(&self) -> [String; 2] {
        let (first, last) = (self.chain.deltas.first(), self.chain.deltas.last());
        let (base, new) = (first.map(|delta| &delta.delta.base), last.map(|delta| &delta.delta.state));
        [base, new].map(|state| state.cloned().unwrap_or_default())
    }

    fn make(&self, place: &Place<'_>, progress: &dyn Progress) -> Result<usize, Error> {
        let made = self.pass(place, progress);
        let (before, after, same) = made.map_err(|error| match error {
            Error::Pruned { .. } => explained(self.chain, error),
            other => other,
        })?;
        let (Some(first), Some(last)) = (self.chain.deltas.first(), self.chain.deltas.last()) else {
            return Ok(same);
        };
        if before != first.delta.base {
            return Err(other_base(self.chain, before));
        }
        if after != last.delta.state {
            let problem = DeltaProblem::Result { expected: last.delta.state.clone(), got: after };
            return Err(problem.of(last.path()));
        }
        Ok(same)
    }
}

/// An error that the base may explain: it is another one.
fn explained(chain: &Chain, error: Error) -> Error {
    match State::of(&chain.base, &Threads, |_| false) {
        Some(got) if chain.deltas.first().is_some_and(|first| first.delta.base != got) => {
            other_base(chain, got)
        }
        _ => error,
    }
}

/// Writes the result to another file or folder.
fn to_file(
    base: &Path,
    made: &dyn Making,
    output: &Path,
    options: &ApplyOptions,
    progress: &dyn Progress,
) -> Result<Applied, Error> {
    let folder = (names_folder(output) || place::is_folder(output)).then_some(output);
    let small_files = folder.map_or(Ok(Vec::new()), |_| beside(base, &BTreeSet::new(), options.open))?;
    let output = &folder.map_or_else(|| output.to_owned(), |folder| folder.join(weights_name(&small_files)));
    let inputs = || {
        let small = small_files.iter().map(|file| file.path.as_path());
        made.base().files().chain(made.inputs()).chain(small).map(|path| ("the base or a delta", path))
    };
    let small_out = small_files.iter().map(|file| folder_of(output).join(&file.name));
    let outputs = [Cow::from(output)].into_iter().chain(small_out.map(Cow::from));
    check_distinct(inputs(), outputs.map(|path| ("the output", path)))?;
    let mut set = OutputSet::open(output, inputs().map(|(_, path)| path))?;
    let groups = groups(made.tensors().iter().map(|(name, form)| (*name, *form)));
    let metadata = made.metadata();
    let writer = CheckpointWriter::resume(
        &mut set,
        output,
        &groups,
        options.max_shard_size,
        |_: &[Group]| metadata.clone(),
        || Ok::<_, Error>(None),
    )?;
    check_writer(inputs(), &writer, "the output")?;
    let same = made.make(&|name| Some((&writer, writer.slot(name))), progress)?;
    let bytes = writer.bytes();
    let files = writer.stage(&mut set)?;
    let mut beside = Vec::new();
    for small in &small_files {
        beside.push(set.add_bytes(&folder_of(output).join(&small.name), &small.bytes)?);
    }
    set.commit()?;
    Ok(applied(made, same, files, bytes, beside))
}
