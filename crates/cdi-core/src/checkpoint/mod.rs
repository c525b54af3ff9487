//! Safetensors on disk, mapped.
//!
//! | module | holds |
//! | --- | --- |
//! | `find` | what a folder holds that could be its checkpoint |
//! | `foreign` | what a file is that is no safetensors file |
//! | `header` | the header: strict parsing |
//! | `index` | which tensor lies in which shard |
//! | `mmap` | the one place that maps files |
//! | `mapped_ranges` | where they are mapped, for a signal handler |
//! | `reader` | one file, an index with shards, or a folder, as one set of tensors |
//! | `spec` | what is to be written |

mod error;
mod find;
mod foreign;
mod header;
mod index;
mod mapped_ranges;
mod mmap;
pub(crate) mod reader;
mod spec;

pub use error::{CheckpointError, ErrorKind};
pub use foreign::Foreign;
pub use header::{Header, HeaderError, TensorInfo};
pub use mapped_ranges::file_at;
pub use mmap::{Mapped, MappedFile, read_into_memory, release};
pub use reader::{Checkpoint, TensorRef, follow_links, without_components};
pub use spec::TensorSpec;

/// Key of `__metadata__` under which this tool writes what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
