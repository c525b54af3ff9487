//! Safetensors on disk: mapped for reading, streamed and atomic for writing.
//!
//! | module | holds |
//! | --- | --- |
//! | `compressed` | weights that stand there in the parts of another format |
//! | `encode` | the header: canonical writing |
//! | `find` | what a folder holds that could be its checkpoint |
//! | `foreign` | what a file is that is no safetensors file |
//! | `header` | the header: strict parsing |
//! | `mmap` | the one place that maps files |
//! | `mapped_ranges` | where they are mapped, for a signal handler |
//! | `positioned` | reading and writing at a position, on any system |
//! | `reader` | one file, an index with shards, or a folder, as one set of tensors |
//! | `resume` | which shards of an output are finished |
//! | `set` | outputs that become visible together or not at all |
//! | `shards` | which tensor goes into which file |
//! | `spec` | what is to be written |
//! | `staged` | one output under its temporary name |
//! | `unfinished` | temporary files, for a process that ends on a signal |
//! | `writer` | a checkpoint being written, at any position by any thread |
//!
//! Without the feature `tool` there is no writing.

#[cfg(feature = "tool")]
mod compressed;
#[cfg(feature = "tool")]
mod encode;
mod error;
mod find;
mod foreign;
mod header;
mod mapped_ranges;
mod mmap;
#[cfg(feature = "tool")]
mod paths;
#[cfg(feature = "tool")]
mod positioned;
mod reader;
#[cfg(feature = "tool")]
mod resume;
#[cfg(feature = "tool")]
mod set;
#[cfg(feature = "tool")]
mod shards;
mod spec;
#[cfg(feature = "tool")]
mod staged;
#[cfg(feature = "tool")]
mod unfinished;
#[cfg(feature = "tool")]
mod writer;

#[cfg(feature = "tool")]
pub use compressed::{Compressed, Form, compressed};
pub use error::{CheckpointError, ErrorKind};
pub use foreign::Foreign;
pub use header::{Header, HeaderError, TensorInfo};
pub use mapped_ranges::file_at;
pub use mmap::{Mapped, MappedFile, read_into_memory, release};
#[cfg(feature = "tool")]
pub use paths::{create_parent, folder_of, identity};
#[cfg(feature = "tool")]
pub(crate) use positioned::{read_exact_at, write_all_at};
pub use reader::{Checkpoint, TensorRef, follow_links, without_components};
#[cfg(feature = "tool")]
pub use set::OutputSet;
pub use spec::{Group, TensorSpec};
#[cfg(feature = "tool")]
pub use staged::Staged;
#[cfg(feature = "tool")]
pub(crate) use unfinished::Unfinished;
#[cfg(feature = "tool")]
pub use unfinished::abandon;
#[cfg(feature = "tool")]
pub use writer::{
    CheckpointWriter, Slot, checkpoint_bytes, entry_path, index_path, write_stream, write_text,
};

/// Key of `__metadata__` under which this tool writes what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
