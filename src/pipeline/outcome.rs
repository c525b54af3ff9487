//! Results of the stages.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::gates::passed;
use super::origin::Action;
use crate::report::{Removed, Report};
use crate::sparse::Format;

/// Results of the stages.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The initial checkpoint.
    pub initial: Option<Written>,
    /// The report of the comparison, and of pruning if that was requested.
    pub report: Option<Report>,
    /// Report files written.
    pub report_files: Vec<PathBuf>,
    /// The pruned checkpoint.
    pub pruned: Option<Pruned>,
    /// Bytes of the trained checkpoint's files, without an index.
    pub trained_bytes: u64,
    /// Why nothing was pruned, although it was requested: the trained checkpoint, and the evidence that it
    /// did not start from the initial values that would replace pruned weights.
    pub other_start: Option<(PathBuf, String)>,
}

impl Outcome {
    /// Checks that pruning was done if it was requested.
    ///
    /// # Errors
    /// [`Error::OtherStart`] if it was not.
    pub fn check_start(&self) -> Result<(), Error> {
        match self.other_start.clone() {
            Some((path, words)) => Err(Error::OtherStart { path, words }),
            None => Ok(()),
        }
    }

    /// Checks that everything was done, and that every gate with a result passed.
    ///
    /// # Errors
    /// [`Error::OtherStart`]; [`Error::Gates`], with the failed gates.
    pub fn check_gates(&self) -> Result<(), Error> {
        self.check_start()?;
        self.report.as_ref().map_or(Ok(()), |report| passed(&report.gates))
    }
}

/// A checkpoint that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The files; an index is last.
    pub files: Vec<PathBuf>,
    /// Number of tensors.
    pub tensors: usize,
    /// Total bytes of the checkpoint files.
    pub bytes: u64,
    /// Small files of the model that were copied to their folder.
    pub beside: Vec<PathBuf>,
}

/// Result of pruning.
#[derive(Debug)]
pub struct Pruned {
    /// The files.
    pub written: Written,
    /// The results for the tensors of the trained checkpoint, in name order.
    pub tensors: Vec<PrunedResult>,
    /// Units removed from chains of layers.
    pub removed: Vec<Removed>,
    /// Tensors left unchanged because m does not divide their neighbours, in name order.
    pub undivided: Vec<Undivided>,
}

/// A tensor whose neighbours m does not divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undivided {
    /// Its name.
    pub name: String,
    /// Number of neighbours.
    pub size: usize,
    /// Their name, in the plural.
    pub what: &'static str,
    /// Neighbours per group.
    pub m: usize,
}

/// How the values of a tensor were rounded to steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounded {
    /// Length of a step.
    pub step: f64,
    /// Sum of the squares of what rounding changed, over kept finite values.
    pub errors: f64,
    /// Sum of the squares of these values.
    pub squares: f64,
    /// Number of these values that are stored as no step at all: each is restored to its starting point.
    pub at_start: u64,
}

/// Result of pruning for one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrunedResult {
    /// Whether it was pruned, kept or passed through.
    pub action: Action,
    /// Number of pruned weights.
    pub pruned: u64,
    /// Storage format.
    pub format: Format,
    /// Number of finite values beyond the range of the type to which they were cast.
    pub overflowed: u64,
    /// Whether units were removed from it, or from its layer. It is then dense and written separately.
    pub smaller: bool,
    /// How its values were rounded; `None` if they were not.
    pub rounded: Option<Rounded>,
}
