//! Safetensors on disk: mapped for reading, streamed and atomic for writing.
//!
//! | module | holds |
//! | --- | --- |
//! | `header` | the header: strict parsing, canonical writing |
//! | `mmap` | the one place that maps files |
//! | `positioned` | reading and writing at a position, on any system |
//! | `reader` | one file, an index with shards, or a folder, as one set of tensors |
//! | `shards` | which tensor goes into which file |
//! | `writer` | temporary files, written at any position by any thread, made visible together |

mod error;
mod header;
mod mmap;
mod paths;
mod positioned;
mod reader;
mod shards;
mod writer;

pub use error::{CheckpointError, ErrorKind};
pub use header::{Header, HeaderError, TensorInfo};
pub use mmap::{Mapped, MappedFile, release};
pub use paths::{create_parent, identity};
pub(crate) use positioned::{read_exact_at, write_all_at};
pub use reader::{Checkpoint, TensorRef};
pub use shards::{Group, TensorSpec};
pub use writer::{CheckpointWriter, Slot, checkpoint_bytes, index_path, write_stream, write_text};

/// Key of `__metadata__` under which this tool writes what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
