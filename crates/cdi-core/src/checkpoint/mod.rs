//! Safetensors, on disk (mapped) or in memory.
//!
//! | module | holds |
//! | --- | --- |
//! | `content` | the bytes of a file; the one place that maps files |
//! | `file_name` | what messages call a file |
//! | `find` | what a folder holds that could be its checkpoint |
//! | `foreign` | what a file is that is no safetensors file |
//! | `header` | the header: strict parsing |
//! | `index` | which tensor lies in which shard |
//! | `local` | files on a disk |
//! | `mmap` | files that are read, and parts of them |
//! | `mapped_ranges` | where they are mapped, for a signal handler |
//! | `open` | one file, an index with shards, or a folder, opened |
//! | `options` | how a checkpoint is opened |
//! | `reader` | the tensors of a checkpoint, as one set |
//! | `source` | where files come from |
//! | `spec` | what is to be written |

mod content;
mod error;
mod file_name;
#[cfg(feature = "std")]
mod find;
mod foreign;
mod header;
#[cfg(feature = "std")]
mod index;
#[cfg(feature = "std")]
mod local;
#[cfg(feature = "std")]
mod mapped_ranges;
mod mmap;
#[cfg(feature = "std")]
pub(crate) mod open;
#[cfg(feature = "std")]
mod options;
mod reader;
mod source;
mod spec;

pub use content::Content;
pub use error::{CheckpointError, ErrorKind};
pub use file_name::FileName;
pub use foreign::Foreign;
pub use header::{Header, HeaderError, TensorInfo};
#[cfg(feature = "std")]
pub use local::{LocalFile, identity};
#[cfg(feature = "std")]
pub use mapped_ranges::file_at;
pub use mmap::{Mapped, MappedFile, release};
#[cfg(feature = "std")]
pub use options::OpenOptions;
pub use reader::{Checkpoint, TensorRef, without_components};
pub use source::{Identity, MemoryFile, Source};
pub use spec::TensorSpec;

/// Key of `__metadata__` under which this tool writes what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
