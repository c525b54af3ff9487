//! Everything that a run writes: the outputs that the config names, what goes with them, and the files on
//! their way to be committed together. No output may replace an input or another output.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::checkpoint::{CheckpointError, Identity, identity};
use crate::config::{OutputKind, ReportForm, Settings};
use crate::report;
use crate::store::{
    CheckpointWriter, Draft, OutputSet, Sink, check_name, check_output, folder_of, index_path,
};

/// A path that a run writes or removes.
#[derive(Clone, Debug)]
pub(super) struct Output<'s> {
    /// The output that it is, or is a part of.
    pub kind: OutputKind,
    /// Which part.
    pub part: Part,
    /// Where.
    pub path: Cow<'s, Path>,
}

/// What of an output a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What the config names.
    Whole,
    /// The index of a checkpoint.
    Index,
    /// A file in a folder, or beside a checkpoint.
    File,
}

/// As it is called in messages.
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

/// Everything that a config would have written or removed: `tensors` are the names of the trained
/// checkpoint's, `beside` those of the small files that go beside the pruned one.
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
            // A checkpoint in one file displaces the index of an earlier one in shards.
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
    /// What was measured.
    pub metrics: PathBuf,
    /// The pruned file that is being looked at.
    pub pruned: PathBuf,
    /// The same restored, for the evaluation command.
    pub restored: PathBuf,
}

impl TuneFiles {
    pub fn of(cache: &Path) -> Self {
        Self {
            metrics: cache.join("evaluations.json"),
            pruned: cache.join("candidate.pruned.safetensors"),
            restored: cache.join("candidate.safetensors"),
        }
    }

    fn all(self) -> [PathBuf; 4] {
        [self.metrics, self.restored, index_path(&self.pruned), self.pruned]
    }
}

/// The files of a run that become visible together, each with the output that it belongs to.
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

    /// Adds files of this output.
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

    /// As [`OutputSet::commit`].
    pub fn commit(self) -> Result<(), CheckpointError> {
        self.set.commit().map(drop)
    }
}

/// Refuses what no output can be, and outputs that are one file with an input or with each other, by whatever
/// paths. Each comes with a word on what it is. Inputs may be one file among themselves.
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

/// The same of the outputs of a run.
pub(super) fn check_outputs<'i>(
    inputs: impl IntoIterator<Item = (impl fmt::Display, &'i Path)>,
    outputs: &[Output<'_>],
) -> Result<(), Error> {
    check_distinct(inputs, outputs.iter().map(|output| (output, output.path.as_ref())))
}

/// Refuses a checkpoint whose files, once it is known how many shards it has, would replace or remove an
/// input. To be asked before anything is written into it.
pub(super) fn check_writer<'i>(
    inputs: impl IntoIterator<Item = (impl fmt::Display, &'i Path)>,
    writer: &CheckpointWriter,
    role: &str,
) -> Result<(), Error> {
    let role = format!("a file of {role}");
    check_distinct(inputs, writer.touches().into_iter().map(|path| (role.as_str(), path)))
}
