//! Which shards of an output are finished: what a run that was killed leaves to the next one.
//!
//! `.NAME.cdi-prune-resume` has a line with the key of what is being made, and one for each shard that is complete and synced,
//! with its size and digest. A shard is taken over only where key, size and digest are right.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use super::staged::{Staged, beside};
use super::unfinished::Unfinished;
use crate::digest;

const RESUME: &str = "cdi-prune-resume";

#[derive(Serialize, Deserialize)]
struct First {
    /// SHA-256 of all that decides about the bytes.
    key: String,
}

/// A shard that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Finished {
    shard: String,
    size: u64,
    sha256: String,
}

/// The list of finished shards of the output that is being written. Gone when dropped, so that only a killed process leaves
/// it.
#[derive(Debug)]
pub(super) struct Finishes {
    path: PathBuf,
    file: File,
    before: BTreeMap<String, Finished>,
    _unfinished: Unfinished,
}

impl Finishes {
    /// Begins the list, with what an earlier run with the same key has left in it.
    pub fn open(output: &Path, key: &str) -> Result<Self, CheckpointError> {
        let path = beside(output, RESUME);
        let before = File::open(&path).map(|file| read(file, key)).unwrap_or_default();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(CheckpointError::io(output, "create"))?;
        let mut list = Self { _unfinished: Unfinished::new(&path), path, file, before };
        list.append(&First { key: key.to_owned() }).map_err(CheckpointError::io(output, "create"))?;
        Ok(list)
    }

    /// The names of shards that may be taken over.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.before.keys().map(String::as_str)
    }

    /// Whether a shard under its temporary name is the one that was finished.
    pub fn proves(&mut self, shard: &Staged) -> Result<bool, CheckpointError> {
        let Some(finished) = self.before.get(&name(shard)).cloned() else { return Ok(false) };
        let read = hash(shard).map_err(CheckpointError::io(shard.path(), "read back"))?;
        if read != (finished.sha256.clone(), finished.size) {
            return Ok(false);
        }
        self.append(&finished).map_err(CheckpointError::io(shard.path(), "finish"))?;
        Ok(true)
    }

    /// Notes that a shard is complete, once its bytes are safe.
    pub fn finish(&mut self, shard: &Staged) -> Result<(), CheckpointError> {
        shard.sync()?;
        let noted = hash(shard).and_then(|(sha256, size)| {
            self.append(&Finished { shard: name(shard), size, sha256 })?;
            self.file.sync_all()
        });
        noted.map_err(CheckpointError::io(shard.path(), "finish"))
    }

    fn append(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(line).map_err(io::Error::other)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Finishes {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn name(shard: &Staged) -> String {
    shard.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn hash(shard: &Staged) -> io::Result<(String, u64)> {
    let mut file = shard.file();
    file.rewind()?;
    digest::of_reader(file)
}

/// The shards in a list that begins with this key; a last line that is cut off is none.
fn read(file: File, key: &str) -> BTreeMap<String, Finished> {
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    let same =
        lines.next().and_then(|line| serde_json::from_str::<First>(&line).ok()).is_some_and(|f| f.key == key);
    lines
        .filter(|_| same)
        .map_while(|line| serde_json::from_str::<Finished>(&line).ok())
        .map(|finished| (finished.shard.clone(), finished))
        .collect()
}
