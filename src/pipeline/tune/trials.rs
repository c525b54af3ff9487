//! Trials: candidates are pruned, written, restored as on a device, and evaluated by the user's command.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use crate::checkpoint::{CheckpointError, OpenOptions};
use crate::config::{AnalyzeSettings, PruneSettings, ReportPaths, Settings, TuneSettings};
use crate::digest;
use crate::gates::Gates;
use crate::pipeline::error::Error;
use crate::pipeline::outcome::Outcome;
use crate::pipeline::outputs::{TuneFiles, TunePlace};
use crate::pipeline::progress::{Progress, Silent};
use crate::pipeline::resolve::Resolved;
use crate::pipeline::restore::{RestoreOptions, restore};
use crate::store::{Unfinished, entry_path, forms};
use crate::text::thousands;
use crate::tune::{Cache, EvaluationError, evaluate};

/// Prunes as the settings say, and does nothing else that they ask for.
pub(super) type Pruner<'a> = &'a dyn Fn(&Settings) -> Result<Outcome, Error>;

/// A checkpoint to be tried.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub prune: PruneSettings,
    /// For messages.
    pub what: String,
}

/// The result of a trial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// Size of the pruned file.
    pub bytes: u64,
    /// Share of pruned weights.
    pub sparsity: f64,
    /// What the command printed.
    pub metric: f64,
}

/// The folder of the trials.
pub(super) struct Trials<'a> {
    settings: &'a Settings,
    options: OpenOptions,
    tune: &'a TuneSettings,
    prune: Pruner<'a>,
    progress: &'a dyn Progress,
    /// Absolute, because the command runs in another folder.
    files: TuneFiles,
    config_folder: PathBuf,
    base: Option<PathBuf>,
    cache: Cache,
    /// SHA-256 of every file that was evaluated by `tune.command`, in this run or an earlier one.
    evaluated: BTreeSet<String>,
}

/// A candidate that was written and restored, but not evaluated.
struct Written {
    bytes: u64,
    sparsity: f64,
    sha256: String,
}

impl<'a> Trials<'a> {
    pub fn new(
        resolved: &Resolved<'a>,
        tune: &'a TuneSettings,
        prune: Pruner<'a>,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let settings = resolved.settings;
        let absolute = |path: &Path, doing| {
            std::path::absolute(path).map_err(CheckpointError::io(path, doing)).map_err(Error::from)
        };
        let folder = absolute(&tune.cache, "find the folder")?;
        fs::create_dir_all(&folder).map_err(CheckpointError::io(&folder, "create the folder"))?;
        let config = absolute(settings.source.file(), "find the folder")?;
        let base = settings.base().map(Path::to_owned);
        let files = TuneFiles::of(&folder);
        let cache = Cache::open(&files.metrics)?;
        let mut trials = Self {
            settings,
            options: resolved.options(),
            tune,
            prune,
            progress,
            config_folder: config.parent().unwrap_or(&config).to_owned(),
            files,
            base,
            cache,
            evaluated: BTreeSet::new(),
        };
        // An earlier run that was killed may have left more of them than this one makes.
        trials.clean()?;
        trials.files.places.truncate(tune.jobs);
        Ok(trials)
    }

    /// Writes the candidates and evaluates them with `tune.command`, unless they have been evaluated before.
    /// Fewer results than candidates: `max_evaluations` is reached.
    pub fn evaluate(&mut self, candidates: &[Candidate]) -> Result<Vec<Made>, Error> {
        self.run(candidates, &self.tune.command, self.tune.max_evaluations)
    }

    /// As [`Self::evaluate`], with another command and without a limit.
    pub fn confirm(&mut self, candidate: Candidate, command: &[String]) -> Result<Made, Error> {
        let made = self.run(&[candidate], command, None)?;
        Ok(made[0])
    }

    fn run(
        &mut self,
        candidates: &[Candidate],
        command: &[String],
        limit: Option<u64>,
    ) -> Result<Vec<Made>, Error> {
        let mut all = Vec::with_capacity(candidates.len());
        for candidates in candidates.chunks(self.tune.jobs) {
            let places: Vec<TunePlace> = self.files.places[..candidates.len()].to_vec();
            let _unfinished: Vec<Unfinished> = places
                .iter()
                .flat_map(|place| [&place.pruned, &place.restored])
                .map(|p| Unfinished::new(p))
                .collect();
            let mut written = Vec::with_capacity(candidates.len());
            for (candidate, place) in candidates.iter().zip(&places) {
                let made = self.write(candidate.prune.clone(), place)?;
                if limit.is_some() && !self.evaluated.contains(&made.sha256) {
                    if limit.is_some_and(|most| self.evaluated.len() as u64 >= most) {
                        break;
                    }
                    self.evaluated.insert(made.sha256.clone());
                }
                written.push(made);
            }
            self.measure((candidates, &places), &written, command)?;
            for Written { bytes, sparsity, sha256 } in &written {
                let metric = self.cache.get(command, sha256).expect("it has been measured");
                all.push(Made { bytes: *bytes, sparsity: *sparsity, metric });
            }
            self.clean()?;
            if written.len() < candidates.len() {
                break;
            }
        }
        Ok(all)
    }

    /// Writes the pruned file, and restores it as a device would.
    fn write(&self, mut prune: PruneSettings, place: &TunePlace) -> Result<Written, Error> {
        let TunePlace { pruned, restored } = place;
        prune.output.clone_from(pruned);
        prune.folder = false;
        let settings = with_prune(self.settings, prune);
        let outcome = (self.prune)(&settings)?;
        outcome.check_start()?;
        let written = outcome.pruned.map(|pruned| pruned.written);
        let bytes = written.map(|written| written.bytes).unwrap_or_default();
        let sparsity = outcome.report.and_then(|report| report.totals.sparsity).unwrap_or_default();
        let options = RestoreOptions {
            base: self.base.as_deref(),
            max_memory: Some(u64::MAX),
            open: self.options,
            ..RestoreOptions::default()
        };
        restore(&entry_path(pruned), restored, options, &Silent)?;
        let (sha256, _) = fs::File::open(restored)
            .and_then(digest::of_reader)
            .map_err(CheckpointError::io(restored, "read"))?;
        Ok(Written { bytes, sparsity, sha256 })
    }

    /// Evaluates the files that have not been evaluated yet, all at the same time. If a command fails, the
    /// files stay, so that the command can be run by hand.
    fn measure(
        &mut self,
        (candidates, places): (&[Candidate], &[TunePlace]),
        written: &[Written],
        command: &[String],
    ) -> Result<(), Error> {
        let mut new: Vec<usize> = Vec::new();
        for (n, made) in written.iter().enumerate() {
            let is_same = |other: &usize| written[*other].sha256 == made.sha256;
            if self.cache.get(command, &made.sha256).is_none() && !new.iter().any(is_same) {
                let (what, bytes) = (&candidates[n].what, thousands(made.bytes));
                self.progress.note(&format!("tune: evaluating {what}, {bytes} bytes"));
                new.push(n);
            }
        }
        let (folder, timeout) = (&self.config_folder, self.tune.timeout);
        let call = |n: &usize| evaluate(command, &places[*n].restored, folder, timeout);
        let metrics: Vec<Result<f64, EvaluationError>> = match new.as_slice() {
            [one] => vec![call(one)],
            many => thread::scope(|scope| {
                let threads: Vec<_> = many.iter().map(|n| scope.spawn(move || call(n))).collect();
                threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
            }),
        };
        let mut failed = None;
        for (n, metric) in new.into_iter().zip(metrics) {
            match metric {
                Ok(metric) => self.cache.put(command, &written[n].sha256, metric)?,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), |error| Err(Box::new(error).into()))
    }

    /// Removes the files of candidates, in any form.
    pub fn clean(&self) -> Result<(), Error> {
        let files = self.files.places.iter().flat_map(|place| [&place.pruned, &place.restored]);
        files.flat_map(|path| forms(path)).try_for_each(|path| remove(&path))
    }
}

/// The settings with different pruning, and without the other stages.
pub(super) fn with_prune(settings: &Settings, prune: PruneSettings) -> Settings {
    Settings {
        init: None,
        analyze_named: false,
        analyze: AnalyzeSettings { report: ReportPaths::default(), ..settings.analyze.clone() },
        prune: Some(prune),
        tune: None,
        gates: Gates::default(),
        manifest: None,
        ..settings.clone()
    }
}

/// Removes a file, if it exists.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::io(path, "remove")(error).into())
        }
        _ => Ok(()),
    }
}
