//! The outputs of a run: those in the config, the files that belong to them, and the set in which they are
//! committed together. No output may replace an input or another output.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::checkpoint::{CheckpointError, Identity, identity};
use crate::config::{OutputKind, ReportForm, Settings, TuneSettings};
use crate::report;
use crate::store::{
    CheckpointWriter, Draft, OutputSet, Sink, check_name, check_output, folder_of, index_path,
};

/// A path that a run writes or removes.
#[derive(Clone, Debug)]
pub(super) struct Output<'s> {
    /// The output that it belongs to.
    pub kind: OutputKind,
    /// Which part of the output it is.
    pub part: Part,
    /// The path.
    pub path: Cow<'s, Path>,
}

/// Part of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The path in the config.
    Whole,
    /// The index of a checkpoint.
    Index,
    /// A file in a folder, or next to a checkpoint.
    File,
}

/// Name in messages.
impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.kind.key();
        match (self.part, self.kind) {
            (Part::Whole, _) => write!(f, "`{key}`"),
            (Part::Index, _) => write!(f, "the index of `{key}`"),
            (Part::File, OutputKind::TuneCache) => write!(f, "a file in `{key}`"),
            (Part::File, _) => write!(f, "a file of `{key}`"),
        }
    }
}

/// All paths that a config writes or removes. `tensors` are the tensor names of the trained checkpoint,
/// `beside` the names of the small files that are copied next to the pruned one.
pub(super) fn outputs<'s, 'n>(
    settings: &'s Settings,
    tensors: impl Iterator<Item = &'n str>,
    beside: &BTreeSet<&str>,
) -> Vec<Output<'s>> {
    let mut outputs = Vec::new();
    for (kind, path) in settings.outputs() {
        let mut add = |part, path| outputs.push(Output { kind, part, path });
        add(Part::Whole, Cow::from(path));
        if kind.is_checkpoint() {
            // A checkpoint in one file replaces an earlier one in shards, whose index is removed.
            add(Part::Index, Cow::from(index_path(path)));
        }
        if kind == OutputKind::TuneCache {
            TuneFiles::of(path).all().into_iter().for_each(|file| add(Part::File, Cow::from(file)));
        }
    }
    let mut add = |kind, file| outputs.push(Output { kind, part: Part::File, path: Cow::from(file) });
    if let Some(pruned) = settings.output(OutputKind::Pruned) {
        let folder = folder_of(pruned);
        beside.iter().for_each(|name| add(OutputKind::Pruned, folder.join(name)));
    }
    if let Some(folder) = settings.output(OutputKind::Report(ReportForm::Svg)) {
        let plots = report::FIXED_NAMES.into_iter().map(str::to_owned);
        let maps = report::heat_map_names(tensors);
        plots.chain(maps).for_each(|name| add(OutputKind::Report(ReportForm::Svg), folder.join(name)));
    }
    outputs
}

/// The files in the folder of `tune.cache`.
#[derive(Clone, Debug)]
pub(super) struct TuneFiles {
    /// The measurements.
    pub metrics: PathBuf,
    /// The files of each candidate that may be evaluated at the same time.
    pub places: Vec<TunePlace>,
}

/// The files of a candidate.
#[derive(Clone, Debug)]
pub(super) struct TunePlace {
    /// Pruned.
    pub pruned: PathBuf,
    /// Restored, for the evaluation command.
    pub restored: PathBuf,
}

impl TuneFiles {
    /// In this folder, for as many candidates as any search may make at the same time.
    pub fn of(cache: &Path) -> Self {
        let place = |n: usize| {
            let stem = if n == 0 { "candidate".to_owned() } else { format!("candidate-{}", n + 1) };
            TunePlace {
                pruned: cache.join(format!("{stem}.pruned.safetensors")),
                restored: cache.join(format!("{stem}.safetensors")),
            }
        };
        Self {
            metrics: cache.join("evaluations.json"),
            places: (0..TuneSettings::MOST_JOBS as usize).map(place).collect(),
        }
    }

    fn all(self) -> Vec<PathBuf> {
        let of_place = |place: TunePlace| [place.restored, index_path(&place.pruned), place.pruned];
        [self.metrics].into_iter().chain(self.places.into_iter().flat_map(of_place)).collect()
    }
}

/// The files of a run, which become visible together, each with the output that it belongs to.
#[derive(Debug, Default)]
pub(super) struct RunOutputs {
    set: OutputSet,
    kinds: Vec<OutputKind>,
}

impl RunOutputs {
    /// Outputs in this place, claimed as by [`Sink::claim`].
    pub fn open(
        sink: Box<dyn Sink>,
        anchor: Option<&Path>,
        outputs: &[Output<'_>],
        inputs: BTreeSet<Identity>,
    ) -> Result<Self, CheckpointError> {
        let mut set = OutputSet::on(sink);
        let paths: Vec<&Path> = outputs.iter().map(|output| output.path.as_ref()).collect();
        set.claim(anchor, &paths, inputs)?;
        Ok(Self { set, kinds: Vec::new() })
    }

    /// Adds files of an output.
    pub fn add<T, E>(
        &mut self,
        kind: OutputKind,
        add: impl FnOnce(&mut OutputSet) -> Result<T, E>,
    ) -> Result<T, E> {
        let added = add(&mut self.set);
        self.kinds.resize(self.set.files().len(), kind);
        added
    }

    /// The files so far, in their order.
    pub fn files(&self) -> Vec<(OutputKind, &dyn Draft)> {
        self.kinds.iter().copied().zip(self.set.files()).collect()
    }

    /// Like [`OutputSet::commit`].
    pub fn commit(self) -> Result<(), CheckpointError> {
        self.set.commit().map(drop)
    }
}

/// Refuses invalid outputs, and outputs that are the same file as an input or another output, by whatever
/// paths. Each has a description for messages. Several inputs may be the same file.
pub(super) fn check_distinct<'i, 'o>(
    inputs: impl IntoIterator<Item = (impl fmt::Display, &'i Path)>,
    outputs: impl IntoIterator<Item = (impl fmt::Display, impl Into<Cow<'o, Path>>)>,
) -> Result<(), Error> {
    let mut taken = BTreeMap::new();
    for (role, path) in inputs {
        check_name(path)?;
        taken.insert(identity(path), role.to_string());
    }
    for (role, path) in outputs {
        let path = path.into();
        check_output(&path)?;
        if let Some(first) = taken.insert(identity(&path), role.to_string()) {
            return Err(Error::SameFile { first, second: role.to_string(), path: path.into_owned() });
        }
    }
    Ok(())
}

/// The same for the outputs of a run.
pub(super) fn check_outputs<'i>(
    inputs: impl IntoIterator<Item = (impl fmt::Display, &'i Path)>,
    outputs: &[Output<'_>],
) -> Result<(), Error> {
    check_distinct(inputs, outputs.iter().map(|output| (output, output.path.as_ref())))
}

/// Refuses a checkpoint whose files would replace or remove an input. To be called once the number of its
/// shards is known, before anything is written.
pub(super) fn check_writer<'i>(
    inputs: impl IntoIterator<Item = (impl fmt::Display, &'i Path)>,
    writer: &CheckpointWriter<'_>,
    role: &str,
) -> Result<(), Error> {
    let role = format!("a file of {role}");
    check_distinct(inputs, writer.touches().into_iter().map(|path| (role.as_str(), path)))
}
