//! What the stages did.

use std::path::PathBuf;

use super::error::Error;
use super::gates::passed;
use super::origin::Action;
use crate::report::{Removed, Report};
use crate::sparse::Format;

/// What the stages did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The initial checkpoint.
    pub initial: Option<Written>,
    /// The comparison, and what pruning did where it was asked for.
    pub report: Option<Report>,
    /// Report files written.
    pub report_files: Vec<PathBuf>,
    /// The pruned checkpoint.
    pub pruned: Option<Pruned>,
    /// Bytes of the trained checkpoint's files, an index not counted.
    pub trained_bytes: u64,
    /// Why nothing was pruned though it was asked for: the trained checkpoint, and what tells that it did not
    /// start from the values that pruned places would have been filled with.
    pub other_start: Option<(PathBuf, String)>,
}

impl Outcome {
    /// Whether pruning was done where it was asked for.
    ///
    /// # Errors
    /// [`Error::OtherStart`] where it was not.
    pub fn check_start(&self) -> Result<(), Error> {
        match self.other_start.clone() {
            Some((path, words)) => Err(Error::OtherStart { path, words }),
            None => Ok(()),
        }
    }

    /// Whether everything was done, and every gate passed that the stages gave something to measure for.
    ///
    /// # Errors
    /// [`Error::OtherStart`]; [`Error::Gates`], with those that failed.
    pub fn check_gates(&self) -> Result<(), Error> {
        self.check_start()?;
        self.report.as_ref().map_or(Ok(()), |report| passed(&report.gates))
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The files, an index last.
    pub files: Vec<PathBuf>,
    /// Tensors in them.
    pub tensors: usize,
    /// Bytes of all checkpoint files together.
    pub bytes: u64,
    /// Small files of a model that were written beside them.
    pub beside: Vec<PathBuf>,
}

/// What pruning did.
#[derive(Debug)]
pub struct Pruned {
    /// The files.
    pub written: Written,
    /// Per tensor of the trained checkpoint, in name order.
    pub tensors: Vec<PrunedResult>,
    /// Units taken out of chains of layers.
    pub removed: Vec<Removed>,
    /// Tensors left as they are, as groups of n of m do not divide them, in name order.
    pub undivided: Vec<Undivided>,
}

/// A tensor that groups of n of m do not divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undivided {
    /// Its name.
    pub name: String,
    /// How many neighbours it has.
    pub size: usize,
    /// What they are, in the plural.
    pub what: &'static str,
    /// Neighbours of a group.
    pub m: usize,
}

/// What pruning did with one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrunedResult {
    /// Whether it was pruned, kept or passed through.
    pub action: Action,
    /// Places pruned.
    pub pruned: u64,
    /// How it is stored.
    pub format: Format,
    /// Finite values that are beyond the range of the type they were cast to.
    pub overflowed: u64,
    /// Whether units were taken out of it or of a layer that it belongs to: it is dense and written apart.
    pub smaller: bool,
}
