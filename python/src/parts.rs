//! Runs in parts. Results are JSON.

use std::path::PathBuf;

use cdi_prune::checkpoint::OpenOptions;
use cdi_prune::pipeline::{self, Merged, PartDone, PartsOptions, Resolved, Stages};
use pyo3::prelude::*;
use serde_json::json;

use crate::runs::{Config, Told, settings, told};
use crate::work::detached;

/// Number of parts, and the folder in which they exchange what they find.
type Options = (usize, Option<PathBuf>);

fn options((parts, folder): &Options) -> PartsOptions<'_> {
    PartsOptions { parts: *parts, folder: folder.as_deref() }
}

/// How a run would be divided.
#[pyfunction]
pub fn plan_parts(py: Python<'_>, config: Config, parts: usize) -> PyResult<String> {
    detached(py, None, |_| {
        let settings = settings(&config)?;
        let resolved = Resolved::with(&settings, OpenOptions::default())?;
        Ok(json!(pipeline::plan_parts(&resolved, parts)?).to_string())
    })
}

/// Does a part, numbered from 1, of the next step.
#[pyfunction]
#[pyo3(signature = (config, number, how, progress=None))]
pub fn run_part(
    py: Python<'_>,
    config: Config,
    number: usize,
    how: Options,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let settings = settings(&config)?;
        pipeline::overrides_are_read(&settings, Stages::All)?;
        let resolved = Resolved::with(&settings, OpenOptions::default())?;
        Ok(match pipeline::run_part(&resolved, number, options(&how), progress)? {
            PartDone::Step { step: (name, number), again } => {
                json!({"finished": false, "step": name, "number": number, "again": again})
            }
            PartDone::Finished => json!({"finished": true, "step": null, "number": null, "again": true}),
        }
        .to_string())
    })
}

/// Merges the parts of the steps that are complete; and, if that finishes the run, what `run` returns.
#[pyfunction]
#[pyo3(signature = (config, how, progress=None))]
pub fn merge(
    py: Python<'_>,
    config: Config,
    how: Options,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<(String, Option<Told>)> {
    let (merged, found) = detached(py, progress, |progress| {
        let settings = settings(&config)?;
        pipeline::overrides_are_read(&settings, Stages::All)?;
        let resolved = Resolved::with(&settings, OpenOptions::default())?;
        let mut initial = None;
        let merged = pipeline::merge(&resolved, options(&how), progress, |outcome| {
            initial.clone_from(&outcome.initial);
        });
        let finished = json!({"finished": true, "merged": null, "next": null});
        Ok(match merged {
            Ok(Merged::Step { step, next }) => {
                (json!({"finished": false, "merged": step.0, "next": next.0}), None)
            }
            Ok(Merged::Before) => (finished, None),
            Ok(Merged::Finished(outcome)) => (finished, Some(told(Ok(*outcome), initial)?)),
            Err(error) => (finished, Some(told(Err(error), initial)?)),
        })
    })?;
    let found = found
        .map(|(found, page, failure)| (found.to_string(), page, failure.map(|failure| failure.raise(py))));
    Ok((merged.to_string(), found))
}
