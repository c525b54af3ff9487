//! The journal of an output, one JSON object per line. It tells the next run how to resume or complete
//! what this run has begun.
//!
//! | line | says |
//! | --- | --- |
//! | `begin` | the run's id |
//! | `key` | shards are being written; the digest of everything that determines their bytes |
//! | `shard` | one shard is complete and synced |
//! | `naming` | a commit is in progress; the path of the journal that lists its files |
//! | `files` | the files of the commit: from this line on, the new files are the valid ones |
//!
//! Paths are relative to the folder of the journal, so a folder can be moved or copied with its contents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::names::is_run;

/// Version of this format. Version 1 was a single object and is no longer read.
const VERSION: u32 = 2;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Begin { version: u32, run: String },
    Key(String),
    Shard(Shard),
    Naming(Naming),
    Files { files: Vec<Entry>, remove: Vec<Place> },
}

/// A shard that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shard {
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

/// The journal that lists the files of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Naming {
    pub journal: Place,
    /// The run's id in that journal.
    pub run: String,
}

/// A file that is complete under its temporary name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub path: Place,
    /// The run's id in its temporary name.
    pub run: String,
    pub size: u64,
}

/// A path, which need not be valid UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Place {
    Text(String),
    Bytes(Vec<u8>),
}

impl Place {
    pub fn of(path: &Path) -> Self {
        path.to_str().map_or_else(
            || Self::Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
            |text| Self::Text(text.to_owned()),
        )
    }

    /// The path seen from `folder`; `None` if it is absolute, which no run writes.
    pub fn from(&self, folder: &Path) -> Option<PathBuf> {
        let path = match self {
            Self::Text(text) => PathBuf::from(text),
            #[cfg(unix)]
            Self::Bytes(bytes) => {
                PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
            }
            #[cfg(not(unix))]
            Self::Bytes(_) => return None,
        };
        (!path.is_absolute() && path.file_name().is_some()).then(|| folder.join(path))
    }
}

/// The contents of a journal; empty if the file is not a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    pub run: String,
    pub key: String,
    pub shards: BTreeMap<String, Shard>,
    pub naming: Option<Naming>,
    pub files: Option<(Vec<Entry>, Vec<Place>)>,
}

impl Notes {
    /// Reads the notes. Stops at the first line that is incomplete or has another format.
    pub fn read(mut file: &File) -> io::Result<Self> {
        file.rewind()?;
        let mut reader = BufReader::new(file);
        let (mut notes, mut text) = (Self::default(), Vec::new());
        loop {
            text.clear();
            reader.read_until(b'\n', &mut text)?;
            let line = serde_json::from_slice(&text).ok().filter(|_| text.ends_with(b"\n"));
            match line {
                Some(Line::Begin { version: VERSION, run })
                    if notes.run.is_empty() && is_run(run.as_bytes()) =>
                {
                    notes.run = run;
                }
                _ if notes.run.is_empty() => return Ok(notes),
                Some(Line::Key(key)) => {
                    notes.key = key;
                    notes.shards.clear();
                }
                Some(Line::Shard(shard)) => drop(notes.shards.insert(shard.name.clone(), shard)),
                Some(Line::Naming(naming)) => notes.naming = Some(naming),
                Some(Line::Files { files, remove }) => notes.files = Some((files, remove)),
                Some(Line::Begin { .. }) | None => return Ok(notes),
            }
        }
    }
}

/// Appends a line.
pub(super) fn append(mut file: &File, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Truncates the journal and writes its first line.
pub(super) fn begin(mut file: &File, run: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    append(file, &Line::Begin { version: VERSION, run: run.to_owned() })
}
