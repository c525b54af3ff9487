//! Errors of the library as exceptions of `cdi_prune.errors`.

use std::path::PathBuf;

use cdi_prune::config::{ConfigError, Place};
use cdi_prune::pipeline::Error;
use cdi_prune::reader::RowsError;
use pyo3::prelude::*;

/// Anything that goes wrong in work without Python.
pub enum Failure {
    Config(ConfigError),
    Stage(Error),
    /// What an argument says is wrong, which Python calls a `ValueError`.
    Value(String),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            Error::Config(error) => Self::Config(error),
            error => Self::Stage(error),
        }
    }
}

/// Where an error is, as far as it says.
#[derive(Default)]
struct Location {
    file: Option<PathBuf>,
    line: Option<usize>,
    column: Option<usize>,
    tensor: Option<String>,
}

impl Failure {
    /// The exception that says the same.
    pub fn raise(self, py: Python<'_>) -> PyErr {
        let (code, message, at) = match self {
            Self::Value(message) => return pyo3::exceptions::PyValueError::new_err(message),
            Self::Config(error) => (2, error.to_string(), of_config(&error)),
            Self::Stage(error) => (error.exit_code(), error.to_string(), of_stage(&error)),
        };
        let make = || {
            let make = py.import("cdi_prune.errors")?.getattr("_of_code")?;
            make.call1((code, message, at.file, at.line, at.column, at.tensor))
        };
        make().map_or_else(|error| error, PyErr::from_value)
    }
}

fn of_config(error: &ConfigError) -> Location {
    match &error.place {
        Place::File(file) => Location { file: Some(file.clone()), ..Location::default() },
        Place::Position { file, line, column } => {
            Location { file: Some(file.clone()), line: Some(*line), column: Some(*column), tensor: None }
        }
        Place::Override(_) | Place::Argument(_) => Location::default(),
    }
}

fn of_stage(error: &Error) -> Location {
    if let Error::Checkpoint(error) = error {
        return Location { file: Some(error.path.to_string().into()), ..Location::default() };
    }
    let (file, tensor) = match error {
        Error::Pruned { path, .. } | Error::NotPacked { path } => (Some(path), None),
        Error::TrainedMissing { path, .. } | Error::Parts { path, .. } => (Some(path), None),
        Error::Base { path, tensor, .. } => (Some(path), Some(tensor)),
        Error::Delta { path, problem } => (Some(path), problem.tensor()),
        Error::Mismatch(mismatch) => (Some(&mismatch.path), mismatch.unmatched.first()),
        Error::Rows(
            RowsError::Unknown(tensor)
            | RowsError::Beyond { tensor, .. }
            | RowsError::Length { tensor, .. }
            | RowsError::TooLarge { tensor, .. },
        ) => (None, Some(tensor)),
        _ => (None, None),
    };
    Location { file: file.cloned(), tensor: tensor.cloned(), ..Location::default() }
}
