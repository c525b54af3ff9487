//! Cache of earlier measurements, indexed by the file and the command.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::CheckpointError;
use crate::place;
use crate::store::write_text;

/// The metrics of files that commands have evaluated, kept in a file. A checkpoint is identified by the
/// SHA-256 of its bytes; metrics of different commands are kept separately.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    form: Form,
}

/// Why a file of metrics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be read.
    #[error("{}: cannot read: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// It is not a file of metrics.
    #[error(
        "{}: not a cache file of `tune` (line {line}: {message}); delete it to evaluate every file again",
        .path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    /// The metrics of each command, by the SHA-256 of its arguments, each preceded by its
    /// length as eight bytes.
    commands: BTreeMap<String, BTreeMap<String, f64>>,
}

const VERSION: u32 = 1;
/// Maximum size of the file in bytes.
const LONGEST: u64 = 256 << 20;

impl Cache {
    /// Reads the metrics in this file. The cache is empty if the file does not exist.
    ///
    /// # Errors
    /// [`CacheError`] if the file cannot be read, or is not a file of metrics.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let path = path.to_owned();
        let syntax = |line, message| Err(CacheError::Syntax { path: path.clone(), line, message });
        let form = match place::read(&path, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Form { version: VERSION, ..Form::default() }
            }
            Err(error) => return Err(CacheError::Io { path, error }),
            Ok(bytes) => match serde_json::from_slice::<Form>(&bytes) {
                Err(error) => return syntax(error.line(), error.to_string()),
                Ok(form) if form.version != VERSION => {
                    return syntax(1, format!("version {}, expected {VERSION}", form.version));
                }
                Ok(form) => form,
            },
        };
        Ok(Self { path, form })
    }

    /// The metric that the command gave for the file with this SHA-256.
    pub fn get(&self, command: &[String], sha256: &str) -> Option<f64> {
        self.form.commands.get(&key(command))?.get(sha256).copied()
    }

    /// Adds a metric, which must be finite, and writes the file immediately.
    ///
    /// # Errors
    /// Errors of writing the file.
    pub fn put(&mut self, command: &[String], sha256: &str, metric: f64) -> Result<(), CheckpointError> {
        self.form.commands.entry(key(command)).or_default().insert(sha256.to_owned(), metric);
        let mut text = serde_json::to_string_pretty(&self.form).expect("finite numbers");
        text.push('\n');
        write_text(&self.path, &text)
    }
}

fn key(command: &[String]) -> String {
    let mut sha256 = Sha256::new();
    for argument in command {
        sha256.update((argument.len() as u64).to_le_bytes());
        sha256.update(argument.as_bytes());
    }
    sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evaluations.json");
        let mut cache = Cache::open(&path).unwrap();
        let one = command(&["eval", "a b"]);
        cache.put(&one, "00ff", 0.1).unwrap();
        cache.put(&one, "00fe", -2.5e-300).unwrap();
        let cache = Cache::open(&path).unwrap();
        assert_eq!((cache.get(&one, "00ff"), cache.get(&one, "00fe")), (Some(0.1), Some(-2.5e-300)));
        assert_eq!(cache.get(&one, "00"), None);
        assert_eq!(cache.get(&command(&["eval", "a", "b"]), "00ff"), None, "another command");
    }

    #[test]
    fn what_is_no_cache_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evaluations.json");
        fs::write(&path, "{\"version\": 2, \"commands\": {}}").unwrap();
        let error = Cache::open(&path).unwrap_err().to_string();
        let expected = "evaluations.json: not a cache file of `tune` (line 1: version 2, expected 1); delete \
                        it to evaluate every file again";
        assert!(error.ends_with(expected), "{error}");
        fs::write(&path, "{\n\"version\"").unwrap();
        assert!(Cache::open(&path).unwrap_err().to_string().contains("(line 2: EOF"));
    }
}
