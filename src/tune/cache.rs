//! Cache of earlier measurements, by the file and command measured.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::CheckpointError;
use crate::regular_file;
use crate::store::write_text;

/// The metrics of files that a command has evaluated, kept in a file. Each is known by the SHA-256 of the
/// checkpoint's bytes, and all of them belong to one command.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    form: Form,
}

/// A file that should hold metrics and does not.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be read.
    #[error("{}: cannot read: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is something else.
    #[error(
        "{}: not a cache file of `tune` (line {line}: {message}); delete it to evaluate every file again",
        .path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// In the parser's words.
        message: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    /// By the SHA-256 of the command's arguments, each preceded by its length as eight bytes.
    commands: BTreeMap<String, BTreeMap<String, f64>>,
}

const VERSION: u32 = 1;
/// The most bytes of the file.
const LONGEST: u64 = 256 << 20;

impl Cache {
    /// The metrics in this file; none where there is no such file.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let path = path.to_owned();
        let syntax = |line, message| Err(CacheError::Syntax { path: path.clone(), line, message });
        let form = match regular_file::read(&path, LONGEST) {
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

    /// The metric that the command gave a file of this SHA-256.
    pub fn get(&self, command: &[String], sha256: &str) -> Option<f64> {
        self.form.commands.get(&key(command))?.get(sha256).copied()
    }

    /// Keeps a metric, which must be finite, at once.
    ///
    /// # Errors
    /// Those of writing the file.
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
