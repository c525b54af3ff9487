//! The commands of the program. Results are JSON.

use std::path::{Path, PathBuf};

use cdi_prune::checkpoint::{Checkpoint, OpenOptions};
use cdi_prune::config::Settings;
use cdi_prune::pipeline::{self, Error, Outcome, PredictFrom, Resolved, RestoreOptions, Stages, Written};
use cdi_prune::reader::PrunedReader;
use cdi_prune::report::{comparison_json, html};
use cdi_prune::store::Memory;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors::Failure;
use crate::file::File;
use crate::work::detached;

/// A config: its text, the file that relative paths and messages refer to, and overrides, `KEY=VALUE`.
pub type Config = (Option<String>, PathBuf, Vec<String>);

pub fn settings((text, file, overrides): &Config) -> Result<Settings, Failure> {
    Ok(match text {
        Some(text) => Settings::parse(text, file, overrides)?,
        None => Settings::load(file, overrides)?,
    })
}

fn stages(name: &str) -> Result<Stages, Failure> {
    match name {
        "run" => Ok(Stages::All),
        "init" => Ok(Stages::Init),
        "analyze" => Ok(Stages::Analyze),
        "prune" => Ok(Stages::Prune),
        other => Err(Failure::Value(format!("no stage `{other}`"))),
    }
}

/// Runs stages of a config. Returns what was written, the report, and its page; and, as a failure that comes
/// after all that, what the config's gates or the start of training say.
#[pyfunction]
#[pyo3(signature = (config, stage, force, progress=None))]
pub fn run(
    py: Python<'_>,
    config: Config,
    stage: &str,
    force: bool,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Told> {
    let (found, page, failure) = detached(py, progress, |progress| {
        let (settings, stages) = (settings(&config)?, stages(stage)?);
        pipeline::overrides_are_read(&settings, stages)?;
        let options = OpenOptions::default();
        let resolved = match stages {
            Stages::Init => Resolved::for_init(&settings, options)?,
            _ => Resolved::with(&settings, options)?,
        };
        if stages == Stages::All
            && !force
            && settings.manifest.is_some()
            && let Some(manifest) = pipeline::done_before(&resolved)?
        {
            let gates = pipeline::check_gates(&manifest.gates).err().map(Failure::from);
            return Ok((json!({"up_to_date": true, "gates": manifest.gates}), None, gates));
        }
        let mut initial = None;
        let outcome =
            pipeline::run(&resolved, stages, progress, |outcome| initial.clone_from(&outcome.initial));
        told(outcome, initial)
    })?;
    Ok((found.to_string(), page, failure.map(|failure| failure.raise(py))))
}

/// What a run gives: JSON, a page, and an error that comes after all outputs.
pub type Told = (String, Option<String>, Option<PyErr>);

/// The same, of the outcome of a run, which has written this initial checkpoint.
pub fn told(
    outcome: Result<Outcome, Error>,
    initial: Option<Written>,
) -> Result<(Value, Option<String>, Option<Failure>), Failure> {
    let outcome = match outcome {
        // The initial checkpoint has been written, from which training starts now.
        Err(error @ Error::TrainedMissing { .. }) => {
            let outcome = Outcome { initial, ..Outcome::default() };
            return Ok((of_outcome(&outcome), None, Some(error.into())));
        }
        outcome => outcome?,
    };
    let page = outcome.report.as_ref().map(|report| {
        let maps = report.tensors.iter().map(|_| None).collect::<Vec<_>>();
        html(report, &maps, "cdi-prune")
    });
    Ok((of_outcome(&outcome), page, outcome.check_gates().err().map(Failure::from)))
}

fn of_outcome(outcome: &Outcome) -> Value {
    json!({
        "up_to_date": false,
        "report": outcome.report,
        "initial": outcome.initial.as_ref().map(of_written),
        "pruned": outcome.pruned.as_ref().map(|pruned| of_written(&pruned.written)),
        "report_files": outcome.report_files,
    })
}

fn of_written(written: &Written) -> Value {
    let Written { files, tensors, bytes, beside } = written;
    json!({"files": files, "tensors": tensors, "bytes": bytes, "beside": beside})
}

/// The tensors of a config, without reading weights.
#[pyfunction]
pub fn plan(py: Python<'_>, config: Config) -> PyResult<String> {
    detached(py, None, |_| {
        let settings = settings(&config)?;
        let rows = pipeline::listing(&Resolved::with(&settings, OpenOptions::default())?);
        Ok(json!(rows).to_string())
    })
}

/// Checks the files of a run against its manifest.
#[pyfunction]
#[pyo3(signature = (manifest, sample=None, progress=None))]
pub fn verify(
    py: Python<'_>,
    manifest: PathBuf,
    sample: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let found = pipeline::verify(&manifest, sample, OpenOptions::default(), progress)?;
        let (hashed, missing) = (found.hashed, &found.inputs_missing);
        let words = json!({
            "outputs": found.outputs, "bytes": found.bytes, "hashed": hashed, "inputs_missing": missing,
            "unchecked": found.unchecked, "words": found.words(),
        });
        Ok(words.to_string())
    })
}

/// What changed between two JSON reports.
#[pyfunction]
pub fn compare(py: Python<'_>, old: PathBuf, new: PathBuf) -> PyResult<String> {
    detached(py, None, |_| {
        Ok(comparison_json(&pipeline::compare_reports(&old, &new, None, |_| String::new())?))
    })
}

/// The tensors of a checkpoint, with the share of zeros of each.
#[pyfunction]
#[pyo3(signature = (file, progress=None))]
pub fn inspect(py: Python<'_>, file: PathBuf, progress: Option<&Bound<'_, PyAny>>) -> PyResult<String> {
    detached(py, progress, |progress| {
        Ok(json!(pipeline::inspect(&file, OpenOptions::default(), progress)?).to_string())
    })
}

/// Packs a checkpoint over nothing, a base, or the initial values of a config.
#[pyfunction]
#[pyo3(signature = (checkpoint, output, base=None, config=None, max_shard_size=None, progress=None))]
pub fn pack(
    py: Python<'_>,
    checkpoint: PathBuf,
    output: PathBuf,
    base: Option<PathBuf>,
    config: Option<Config>,
    max_shard_size: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let options = OpenOptions::default();
        let open = |path: &Path| Checkpoint::open_with(path, options).map_err(Error::from);
        let run = |start: &PredictFrom<'_>| pipeline::pack(start, &output, max_shard_size, progress);
        let packed = match (base, config) {
            (_, Some(mut config)) => {
                let path = std::path::absolute(&checkpoint).unwrap_or(checkpoint);
                config.2.push(format!("trained.path={}", Value::from(path.to_string_lossy())));
                let settings = settings(&config)?;
                run(&PredictFrom::Config(&Resolved::with(&settings, options)?))?
            }
            (Some(base), None) => run(&PredictFrom::Base(&open(&checkpoint)?, &open(&base)?))?,
            (None, None) => run(&PredictFrom::Nothing(&open(&checkpoint)?))?,
        };
        Ok(json!({"read": packed.read, "written": of_written(&packed.written)}).to_string())
    })
}

type Restoring = (Option<PathBuf>, Option<u64>, Option<u64>);

fn options((base, max_shard_size, max_memory): &Restoring) -> RestoreOptions<'_> {
    RestoreOptions {
        base: base.as_deref(),
        max_shard_size: *max_shard_size,
        max_memory: *max_memory,
        open: OpenOptions::default(),
    }
}

/// Writes the dense checkpoint of a pruned or packed file.
#[pyfunction]
#[pyo3(signature = (file, output, how, progress=None))]
pub fn restore(
    py: Python<'_>,
    file: PathBuf,
    output: PathBuf,
    how: Restoring,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        Ok(of_written(&pipeline::restore(&file, &output, options(&how), progress)?).to_string())
    })
}

/// Gives back what `pack` packed, and says what was lost before.
#[pyfunction]
#[pyo3(signature = (file, output, how, progress=None))]
pub fn unpack(
    py: Python<'_>,
    file: PathBuf,
    output: PathBuf,
    how: Restoring,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let found = pipeline::unpack(&file, &output, options(&how), progress)?;
        let mut written = of_written(&found.written);
        written["rounded"] = found.rounded.into();
        written["pruned"] = found.pruned.into();
        Ok(written.to_string())
    })
}

/// The initial checkpoint of a config, in memory.
#[pyfunction]
#[pyo3(signature = (config, progress=None))]
pub fn initial(py: Python<'_>, config: Config, progress: Option<&Bound<'_, PyAny>>) -> PyResult<File> {
    detached(py, progress, |progress| {
        let settings = settings(&config)?;
        let resolved = Resolved::for_init(&settings, OpenOptions::default())?;
        let memory = Memory::default();
        pipeline::run_into(Box::new(memory.sink()), &resolved, Stages::Init, progress, |_| {})?;
        let mut files = memory.files().into_values();
        match (files.next(), files.next()) {
            (Some(bytes), None) => Ok(File(PrunedReader::from_bytes(bytes, None).map_err(Error::from)?)),
            _ => Err(Failure::Value(
                "an initial checkpoint in memory has one file: leave `max_shard_size` out".into(),
            )),
        }
    })
}
