//! Safetensors on disk: mapped for reading, streamed and atomic for writing.
//!
//! | module | holds |
//! | --- | --- |
//! | `header` | the header: strict parsing, canonical writing |
//! | `mapped_ranges` | where they are mapped, for a signal handler |
//! | `mmap` | the one place that maps files |
//! | `positioned` | reading and writing at a position, on any system |
//! | `reader` | one file, an index with shards, or a folder, as one set of tensors |
//! | `resume` | which shards of an output are finished |
//! | `set` | outputs that become visible together or not at all |
//! | `shards` | which tensor goes into which file |
//! | `staged` | one output under its temporary name |
//! | `unfinished` | temporary files, for a process that ends on a signal |
//! | `writer` | a checkpoint being written, at any position by any thread |

mod error;
mod header;
mod mapped_ranges;
mod mmap;
mod paths;
mod positioned;
mod reader;
mod resume;
mod set;
mod shards;
mod staged;
mod unfinished;
mod writer;

pub use error::{CheckpointError, ErrorKind};
pub use header::{Header, HeaderError, TensorInfo};
pub use mapped_ranges::file_at;
pub use mmap::{Mapped, MappedFile, read_into_memory, release};
pub use paths::{create_parent, identity};
pub(crate) use positioned::{read_exact_at, write_all_at};
pub use reader::{Checkpoint, TensorRef, follow_links};
pub use set::OutputSet;
pub use shards::{Group, TensorSpec};
pub use staged::Staged;
pub(crate) use unfinished::Unfinished;
pub use unfinished::abandon;
pub use writer::{CheckpointWriter, Slot, checkpoint_bytes, index_path, write_stream, write_text};

/// Key of `__metadata__` under which this tool writes what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
