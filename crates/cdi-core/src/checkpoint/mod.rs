//! Safetensors on disk: mapped for reading, streamed and atomic for writing.
//!
//! | module | holds |
//! | --- | --- |
//! | `beside` | the small files of a model beside its weights |
//! | `claim` | the right to write an output, and what the run before it has left |
//! | `compressed` | weights that stand there in the parts of another format |
//! | `encode` | the header: canonical writing |
//! | `find` | what a folder holds that could be its checkpoint |
//! | `finish` | what a killed run was about to do |
//! | `foreign` | what a file is that is no safetensors file |
//! | `header` | the header: strict parsing |
//! | `helper` | helper files, opened with care |
//! | `index` | which tensor lies in which shard |
//! | `journal` | what a run notes about an output |
//! | `mmap` | the one place that maps files |
//! | `mapped_ranges` | where they are mapped, for a signal handler |
//! | `names` | names of a checkpoint's files and of helper files |
//! | `paths` | whether two paths are one file, what can be an output |
//! | `positioned` | reading and writing at a position, on any system |
//! | `reader` | one file, an index with shards, or a folder, as one set of tensors |
//! | `set` | outputs that become visible together or not at all |
//! | `shards` | which tensor goes into which file |
//! | `spec` | what is to be written |
//! | `staged` | one output under its temporary name |
//! | `unfinished` | temporary files, for a process that ends on a signal |
//! | `writer` | a checkpoint being written, at any position by any thread |
//!
//! Without the feature `tool` there is no writing.

#[cfg(feature = "tool")]
mod beside;
#[cfg(feature = "tool")]
mod claim;
#[cfg(feature = "tool")]
mod compressed;
#[cfg(feature = "tool")]
mod encode;
mod error;
mod find;
#[cfg(feature = "tool")]
mod finish;
mod foreign;
mod header;
#[cfg(feature = "tool")]
mod helper;
mod index;
#[cfg(feature = "tool")]
mod journal;
mod mapped_ranges;
mod mmap;
#[cfg(feature = "tool")]
mod names;
#[cfg(feature = "tool")]
mod paths;
#[cfg(feature = "tool")]
mod positioned;
mod reader;
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
pub use beside::{README, SmallFile, beside, names_folder, weights_name, with_readme};
#[cfg(feature = "tool")]
pub use compressed::{Compressed, Form, compressed};
pub use error::{CheckpointError, ErrorKind};
pub use foreign::Foreign;
pub use header::{Header, HeaderError, TensorInfo};
pub use mapped_ranges::file_at;
pub use mmap::{Mapped, MappedFile, read_into_memory, release};
#[cfg(feature = "tool")]
pub use names::{entry_path, forms, index_path, stale_beside};
#[cfg(feature = "tool")]
pub(crate) use paths::through_link;
#[cfg(feature = "tool")]
pub use paths::{Identity, check_name, check_output, create_parent, folder_of, identity};
#[cfg(feature = "tool")]
pub(crate) use positioned::{read_exact_at, write_all_at};
pub use reader::{Checkpoint, TensorRef, follow_links, without_components};
#[cfg(feature = "tool")]
pub use set::OutputSet;
#[cfg(feature = "tool")]
pub(crate) use spec::total;
pub use spec::{Group, TensorSpec};
#[cfg(feature = "tool")]
pub use staged::Staged;
#[cfg(feature = "tool")]
pub(crate) use unfinished::Unfinished;
#[cfg(feature = "tool")]
pub use unfinished::abandon;
#[cfg(feature = "tool")]
pub use writer::{CheckpointWriter, Slot, checkpoint_bytes, write_stream, write_text};

/// Key of `__metadata__` under which this tool writes what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
