//! Errors in checkpoints, always with the path of the file concerned.

use core::fmt;
#[cfg(feature = "std")]
use std::io;
#[cfg(feature = "std")]
use std::path::{Path, PathBuf};

use super::file_name::FileName;
use super::foreign::Foreign;
use super::header::HeaderError;
use crate::prelude::*;

/// An error of one file or folder.
#[derive(Debug)]
pub struct CheckpointError {
    /// The file or folder.
    pub path: FileName,
    /// What is wrong with it.
    pub kind: ErrorKind,
}

/// What is wrong with a file or folder.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The operating system refused.
    #[cfg(feature = "std")]
    #[error("cannot {action}: {error}")]
    Io {
        /// What was being done: `open`, `map`, `write`, …
        action: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// Another run is at it.
    #[error("another run{} is writing this file; wait until it is done", .0.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    InUse(Option<u32>),
    /// An output in the place of something that is no file.
    #[error(
        "this is {0}, which cannot be an output, because outputs are written under a temporary name and then \
         renamed; give the path of a regular file, or of a file that does not exist yet"
    )]
    NoFile(&'static str),
    /// The name of a file that the tool makes for itself.
    #[error("names of this form are reserved for the helper files of cdi-prune; give the file another name")]
    HelperName,
    /// Something else in the place of a helper file.
    #[error(
        "this name is reserved for a helper file of cdi-prune, but here it is {0}, which no run creates; \
         remove it and run again"
    )]
    BadHelper(String),
    /// A killed run was about to replace what this run reads.
    #[cfg(feature = "std")]
    #[error(
        "according to this journal, a killed run was renaming its outputs, including {}, which this run \
         reads; first run the config of that run again",
        .0.display()
    )]
    UnfinishedInput(PathBuf),
    /// Outputs that have their new names, when not all could get them.
    #[cfg(feature = "std")]
    #[error(
        "cannot {action}: {error}; the earlier version of {} could not be kept, because this file system has \
         no hard links, so the new one stays there",
        .stay.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Mixed {
        /// What was being done.
        action: &'static str,
        /// Why not.
        error: io::Error,
        /// The new files.
        stay: Vec<PathBuf>,
    },
    /// Too little room.
    #[error(
        "{needed} bytes are needed here, but only {free} are free: free some space, or choose another \
             place"
    )]
    NoSpace {
        /// Bytes to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// No valid safetensors header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// Something else that people keep weights in.
    #[error("{0}")]
    Foreign(Foreign),
    /// A folder without a checkpoint, and a file of it that holds weights in another form.
    #[error("the folder contains no .safetensors file and no *.safetensors.index.json{}", other_form(.0))]
    EmptyFolder(Option<(String, Foreign)>),
    /// A set of shards without an index that is not complete.
    #[error(
        "the folder has no index and only {found} of the {total} shards of a checkpoint; missing: {}{}",
        .missing.join(", "),
        if *.more > 0 { format!(" and {more} more") } else { String::new() }
    )]
    ShardsMissing {
        /// Shards there.
        found: usize,
        /// Shards that there should be.
        total: usize,
        /// Names of the first ones missing.
        missing: Vec<String>,
        /// How many are missing besides.
        more: usize,
    },
    /// Two shards with a tensor of one name.
    #[error(
        "tensor `{tensor}` is in two shards, `{first}` and `{second}`, and there is no index to choose one"
    )]
    InTwoShards {
        /// The tensor.
        tensor: String,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// A folder with several candidates.
    #[error("the folder contains several checkpoints ({}): give the path of one of them", .0.join(", "))]
    AmbiguousFolder(Vec<String>),
    /// An index that is not of the expected form.
    #[error("not a shard index: {0}")]
    BadIndex(String),
    /// A shard outside the index's folder.
    #[error(
        "the index places tensor `{tensor}` in `{shard}`, which is not a plain file name in the index's folder"
    )]
    ShardOutside {
        /// The tensor.
        tensor: String,
        /// The name given.
        shard: String,
    },
    /// A shard that is a link to somewhere else.
    #[cfg(feature = "std")]
    #[error("the shard `{shard}` is a link out of its folder, to {}; use `--follow-links` to allow this", .to.display())]
    ShardLink {
        /// The shard.
        shard: String,
        /// Where it leads.
        to: PathBuf,
    },
    /// Shards that are not beside their index.
    #[error(
        "shards in the index are missing ({}{}): `{}`{}; put them into the folder of the index",
        if *.many { "at least " } else { "" },
        .first.len() + .more,
        .first.join("`, `"),
        if *.more > 0 { format!(" and {} more", .more) } else { String::new() }
    )]
    ShardsAbsent {
        /// The first of them.
        first: Vec<String>,
        /// How many more were found missing.
        more: usize,
        /// Whether there may be others: so many are missing that the rest was not looked at.
        many: bool,
    },
    /// A small file of a model that is a link to somewhere else.
    #[cfg(feature = "std")]
    #[error(
        "`{name}`, which would be copied with the weights, is a link out of the folder, to {}; use \
         `--follow-links` to allow this",
        .to.display()
    )]
    SmallLink {
        /// The file.
        name: String,
        /// Where it leads.
        to: PathBuf,
    },
    /// Files that are not small.
    #[error(
        "the files to copy with the weights, including `{name}`, have more than {limit} bytes in total; move \
         those that the model does not need out of the folder, or write a file instead of a folder"
    )]
    SmallTooLarge {
        /// The file that is too much.
        name: String,
        /// Most bytes of them.
        limit: u64,
    },
    /// The index and a shard's header disagree.
    #[error("the index places tensor `{tensor}` in `{shard}`, but its header does not list this tensor")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard has more than the index says.
    #[error("shard `{shard}` has a tensor `{tensor}` that the index does not place there")]
    NotInIndex {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two names become one when their prefixes are taken off.
    #[error("tensors `{first}` and `{second}` are both called `{name}` once `{key}` is applied")]
    SameNameStripped {
        /// One name.
        first: String,
        /// The other.
        second: String,
        /// What both become.
        name: String,
        /// The key that says what is taken off.
        key: &'static str,
    },
    /// A tensor that would be taken for the free-form metadata.
    #[error("no tensor can be named `__metadata__`, because the format reserves this name")]
    ReservedName,
    /// A tensor to be written twice.
    #[error("two tensors would be written under the name `{0}`")]
    DuplicateOutput(String),
}

fn other_form(found: &Option<(String, Foreign)>) -> String {
    found.as_ref().map_or_else(String::new, |(name, what)| format!("; {name} is {what}"))
}

impl CheckpointError {
    /// An error of this file or folder.
    pub fn new(path: impl Into<FileName>, kind: impl Into<ErrorKind>) -> Self {
        Self { path: path.into(), kind: kind.into() }
    }

    /// What the operating system refused: `action` as in [`ErrorKind::Io`].
    #[cfg(feature = "std")]
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = FileName::from(path);
        move |error| Self { path, kind: ErrorKind::Io { action, error } }
    }
}

impl CheckpointError {
    /// Whether it is about what was asked for, not about what came of it.
    pub fn is_usage(&self) -> bool {
        matches!(self.kind, ErrorKind::NoFile(_) | ErrorKind::HelperName)
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind)
    }
}

impl core::error::Error for CheckpointError {}
