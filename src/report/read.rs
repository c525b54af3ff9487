//! Reads a report back from its JSON.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::model::Report;
use crate::place;

/// The version of the form that this tool writes and reads.
const VERSION: u64 = 1;

/// A file that is no report of this tool.
#[derive(Debug)]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ReadErrorKind,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum ReadErrorKind {
    /// The operating system refused.
    #[error("cannot read: {0}")]
    Io(io::Error),
    /// Not JSON. The position is in the file's name.
    #[error("not JSON: {message}; use a report written with `analyze.report.json`")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// In the parser's words.
        message: String,
    },
    /// JSON, but not a report.
    #[error("not a report of cdi-prune: it has no `{0}`; use a report written with `analyze.report.json`")]
    NotAReport(&'static str),
    /// Made by a later version.
    #[error("report version {0}, but this version reads {VERSION}")]
    Version(Value),
    /// A key that is missing or has a value that it cannot have.
    #[error("not a report of cdi-prune: {}{message}", at(.key))]
    Key {
        /// The key, dotted; `None` where the key itself is missing.
        key: Option<String>,
        /// What is wrong, in the parser's words.
        message: String,
    },
    /// Figures that cannot be.
    #[error("tensor `{tensor}` {problem}")]
    Contradiction {
        /// The tensor.
        tensor: String,
        /// How they contradict each other.
        problem: String,
    },
}

/// Where in the report, to begin a message with.
fn at(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default()
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let ReadErrorKind::Syntax { line, column, .. } = self.kind {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for ReadError {}

/// The report that this file holds.
///
/// # Errors
/// [`ReadError`]: a file that cannot be read, is no JSON, no report, or one of another version.
pub fn read(path: &Path) -> Result<Report, ReadError> {
    let error = |kind| ReadError { path: path.to_owned(), kind };
    let bytes = place::read(path, LONGEST).map_err(|e| error(ReadErrorKind::Io(e)))?;
    parse(&bytes).map_err(error)
}

/// The most bytes of a report.
const LONGEST: u64 = 1 << 30;

/// The report of this JSON.
///
/// # Errors
/// Any [`ReadErrorKind`] but those of reading a file.
pub fn parse(json: &[u8]) -> Result<Report, ReadErrorKind> {
    let value: Value = serde_json::from_slice(json).map_err(|e| ReadErrorKind::Syntax {
        line: e.line(),
        column: e.column(),
        message: words(&e),
    })?;
    for key in ["version", "noise_version", "totals", "tensors"] {
        if value.get(key).is_none() {
            return Err(ReadErrorKind::NotAReport(key));
        }
    }
    let version = &value["version"];
    if version.as_u64() != Some(VERSION) {
        return Err(ReadErrorKind::Version(version.clone()));
    }
    // From the text again: a value on its way through `Value` may lose the shortest form of a real.
    let mut reader = serde_json::Deserializer::from_slice(json);
    let report: Report = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let key = e.path().to_string();
        ReadErrorKind::Key { key: (key != ".").then_some(key), message: words(e.inner()) }
    })?;
    check(&report)?;
    Ok(report)
}

/// The parser's words without the position, which stands elsewhere.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// Refuses what no comparison can have found, so that sums and differences of counts are sound.
fn check(report: &Report) -> Result<(), ReadErrorKind> {
    let mut names = HashSet::new();
    let mut total = 0u64;
    for t in &report.tensors {
        let contradiction = |problem| Err(ReadErrorKind::Contradiction { tensor: t.name.clone(), problem });
        if !names.insert(t.name.as_str()) {
            return contradiction("is listed twice".to_owned());
        }
        match total.checked_add(t.total_weights) {
            Some(sum) => total = sum,
            None => return contradiction(format!("cannot have {} weights", t.total_weights)),
        }
        let parts = [t.changes.sleeping_weights, t.changes.changed_weights, t.zeros, t.not_finite];
        let parts = parts.into_iter().chain([t.pruned_weights, t.sleeping_scattered]);
        if let Some(most) = parts.flatten().max()
            && most > t.total_weights
        {
            return contradiction(format!("cannot have {most} of its {} weights counted", t.total_weights));
        }
    }
    Ok(())
}
