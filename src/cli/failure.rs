//! Errors that end the program, and their exit codes.

use cdi_prune::checkpoint::CheckpointError;
use cdi_prune::config::ConfigError;
use cdi_prune::pipeline::Error;
use cdi_prune::text::printable;

/// An error on its way out.
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: anyhow::Error = error.into();
        let code = match error.downcast_ref::<Error>() {
            Some(error) => error.exit_code(),
            None if error.is::<ConfigError>() => 2,
            None if error.downcast_ref::<CheckpointError>().is_some_and(CheckpointError::is_usage) => 2,
            None => 1,
        };
        Self { message: message(&error), code }
    }
}

pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The message of an error. Those of several lines guard their line breaks themselves; any other has one
/// line.
fn message(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    match error.downcast_ref::<Error>() {
        Some(Error::Gates { .. } | Error::Evaluation(_)) => {
            text.lines().map(printable).collect::<Vec<_>>().join("\n")
        }
        _ => printable(&text),
    }
}
