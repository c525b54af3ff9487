//! Errors in checkpoints. Each has the path of the file.

use core::fmt;
#[cfg(feature = "std")]
use std::io;
#[cfg(feature = "std")]
use std::path::{Path, PathBuf};

use super::file_name::FileName;
use super::foreign::Foreign;
use super::header::HeaderError;
use crate::prelude::*;

/// An error in a file or folder.
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
    /// The operating system refused an action.
    #[cfg(feature = "std")]
    #[error("cannot {action}: {error}")]
    Io {
        /// The action: `open`, `map`, `write`, …
        action: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// Another run is writing the file.
    #[error("another run{} is writing this file; wait until it is done", .0.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    InUse(Option<u32>),
    /// The path of an output is not that of a regular file.
    #[error(
        "this is {0}, which cannot be an output, because outputs are written under a temporary name and then \
         renamed; give the path of a regular file, or of a file that does not exist yet"
    )]
    NoFile(&'static str),
    /// The name is reserved for the tool's own helper files.
    #[error("names of this form are reserved for the helper files of cdi-prune; give the file another name")]
    HelperName,
    /// Something other than a helper file has the name of one.
    #[error(
        "this name is reserved for a helper file of cdi-prune, but here it is {0}, which no run creates; \
         remove it and run again"
    )]
    BadHelper(String),
    /// A killed run was renaming outputs, including a file that this run reads.
    #[cfg(feature = "std")]
    #[error(
        "according to this journal, a killed run was renaming its outputs, including {}, which this run \
         reads; first run the config of that run again",
        .0.display()
    )]
    UnfinishedInput(PathBuf),
    /// Not all outputs could be renamed, and some renames could not be undone.
    #[cfg(feature = "std")]
    #[error(
        "cannot {action}: {error}; the earlier version of {} could not be kept, because this file system has \
         no hard links, so the new one stays there",
        .stay.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Mixed {
        /// The action that failed.
        action: &'static str,
        /// The reason.
        error: io::Error,
        /// The outputs whose new version stays.
        stay: Vec<PathBuf>,
    },
    /// There is not enough free space.
    #[error(
        "{needed} bytes are needed here, but only {free} are free: free some space, or choose another \
             place"
    )]
    NoSpace {
        /// Bytes needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The safetensors header is not valid.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// The file has another format that is common for weights.
    #[error("{0}")]
    Foreign(Foreign),
    /// The folder contains no checkpoint. The field is a file in it that holds weights in another
    /// format, if there is one.
    #[error("the folder contains no .safetensors file and no *.safetensors.index.json{}", other_form(.0))]
    EmptyFolder(Option<(String, Foreign)>),
    /// The shards of the folder are being replaced, or were when a program was killed: some may be those of
    /// the next version. The field is the index, under the name that it has meanwhile.
    #[error(
        "its files are being updated in place, or an update was interrupted (`{0}`): `cdi-prune apply FOLDER DELTA \
         --in-place` finishes it, or gives the old version back"
    )]
    Updating(String),
    /// A set of shards without an index is incomplete.
    #[error(
        "the folder has no index and only {found} of the {total} shards of a checkpoint; missing: {}{}",
        .missing.join(", "),
        if *.more > 0 { format!(" and {more} more") } else { String::new() }
    )]
    ShardsMissing {
        /// Number of shards found.
        found: usize,
        /// Number of shards expected.
        total: usize,
        /// Names of the first missing shards.
        missing: Vec<String>,
        /// Number of other missing shards.
        more: usize,
    },
    /// Two shards have a tensor with the same name.
    #[error(
        "tensor `{tensor}` is in two shards, `{first}` and `{second}`, and there is no index to choose one"
    )]
    InTwoShards {
        /// The tensor.
        tensor: String,
        /// The first shard.
        first: String,
        /// The second shard.
        second: String,
    },
    /// The folder contains several checkpoints.
    #[error("the folder contains several checkpoints ({}): give the path of one of them", .0.join(", "))]
    AmbiguousFolder(Vec<String>),
    /// The index does not have the expected form.
    #[error("not a shard index: {0}")]
    BadIndex(String),
    /// A shard is not in the folder of the index.
    #[error(
        "the index places tensor `{tensor}` in `{shard}`, which is not a plain file name in the index's folder"
    )]
    ShardOutside {
        /// The tensor.
        tensor: String,
        /// The shard's name in the index.
        shard: String,
    },
    /// A shard is a link out of its folder.
    #[cfg(feature = "std")]
    #[error("the shard `{shard}` is a link out of its folder, to {}; use `--follow-links` to allow this", .to.display())]
    ShardLink {
        /// The shard.
        shard: String,
        /// The target of the link.
        to: PathBuf,
    },
    /// Several shards in the index are missing.
    #[error(
        "shards in the index are missing ({}{}): `{}`{}; put them into the folder of the index",
        if *.many { "at least " } else { "" },
        .first.len() + .more,
        .first.join("`, `"),
        if *.more > 0 { format!(" and {} more", .more) } else { String::new() }
    )]
    ShardsAbsent {
        /// Names of the first missing shards.
        first: Vec<String>,
        /// Number of other shards found missing.
        more: usize,
        /// Whether there may be more: so many are missing that the rest was not checked.
        many: bool,
    },
    /// A small file that belongs to the model is a link out of its folder.
    #[cfg(feature = "std")]
    #[error(
        "`{name}`, which would be copied with the weights, is a link out of the folder, to {}; use \
         `--follow-links` to allow this",
        .to.display()
    )]
    SmallLink {
        /// The file.
        name: String,
        /// The target of the link.
        to: PathBuf,
    },
    /// The files to copy with the weights are too large.
    #[error(
        "the files to copy with the weights, including `{name}`, have more than {limit} bytes in total; move \
         those that the model does not need out of the folder, or write a file instead of a folder"
    )]
    SmallTooLarge {
        /// The file that exceeds the limit.
        name: String,
        /// Maximum number of bytes in total.
        limit: u64,
    },
    /// The index lists a tensor that its shard does not have.
    #[error("the index places tensor `{tensor}` in `{shard}`, but its header does not list this tensor")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard has a tensor that the index does not list for it.
    #[error("shard `{shard}` has a tensor `{tensor}` that the index does not place there")]
    NotInIndex {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two tensors have the same name once parts of their names are removed.
    #[error("tensors `{first}` and `{second}` are both called `{name}` once `{key}` is applied")]
    SameNameStripped {
        /// The first name.
        first: String,
        /// The second name.
        second: String,
        /// The resulting name of both.
        name: String,
        /// The config key that specifies what is removed.
        key: &'static str,
    },
    /// A tensor has the name of the free-form metadata.
    #[error("no tensor can be named `__metadata__`, because the format reserves this name")]
    ReservedName,
    /// Two tensors to be written have the same name.
    #[error("two tensors would be written under the name `{0}`")]
    DuplicateOutput(String),
}

fn other_form(found: &Option<(String, Foreign)>) -> String {
    found.as_ref().map_or_else(String::new, |(name, what)| format!("; {name} is {what}"))
}

impl CheckpointError {
    /// An error in this file or folder.
    pub fn new(path: impl Into<FileName>, kind: impl Into<ErrorKind>) -> Self {
        Self { path: path.into(), kind: kind.into() }
    }

    /// An error of the operating system; `action` is as in [`ErrorKind::Io`].
    #[cfg(feature = "std")]
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = FileName::from(path);
        move |error| Self { path, kind: ErrorKind::Io { action, error } }
    }
}

impl CheckpointError {
    /// Whether the request itself was wrong, rather than its execution.
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
