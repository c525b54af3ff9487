//! Safetensors files, on disk (mapped) or in memory.
//!
//! ```
//! use cdi_core::checkpoint::{Checkpoint, ErrorKind, FileName, Foreign, HeaderError, Mapped, METADATA_KEY};
//! use cdi_core::tensor::FloatDtype;
//!
//! let header = r#"{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
//! let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! bytes.extend(header.bytes());
//! bytes.extend([0x80, 0x3F, 0x00, 0xC0]);
//!
//! // `Checkpoint::open` maps a file, shards with an index, or a folder.
//! let checkpoint = Checkpoint::from_bytes("w.safetensors", bytes.into())?;
//! let w = checkpoint.tensor("w").ok_or("there is no w")?;
//! assert_eq!((w.shape.dims(), w.float()), (&[2][..], Some(FloatDtype::Bf16)));
//! let mut values = [0.0; 2];
//! FloatDtype::Bf16.decode(w.bytes(), &mut values);
//! assert_eq!(values, [1.0, -2.0]);
//! // A part of its data; on disk, nothing else is read.
//! let second: Mapped<'_> = w.data.part(2..4);
//! assert_eq!(second.bytes(), [0x00, 0xC0]);
//! // Files of this tool describe themselves under this key.
//! assert!(!checkpoint.metadata()[0].contains_key(METADATA_KEY));
//!
//! // Every error names its file. Files of other kinds are recognised.
//! let error = Checkpoint::from_bytes("model.gguf", b"GGUF\x03\0\0\0\0\0"[..].into()).unwrap_err();
//! assert_eq!(error.path, FileName::from("model.gguf"));
//! assert!(matches!(error.kind, ErrorKind::Foreign(Foreign::Gguf)));
//! let error = Checkpoint::from_bytes("w.safetensors", b"1234"[..].into()).unwrap_err();
//! assert!(matches!(error.kind, ErrorKind::Header(HeaderError::TooShort(4))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `by_name` | maps of what is in name order already |
//! | `content` | the bytes of a file; the only module that maps files |
//! | `distant` | the content of a file in an object store |
//! | `distant_file` | files in an object store |
//! | `file_name` | names of files in messages |
//! | `find` | the checkpoint of a folder |
//! | `foreign` | the formats of files that are not safetensors |
//! | `header` | the header: strict parsing |
//! | `index` | which tensor is in which shard |
//! | `local` | files on disk |
//! | `mmap` | files that are read, and ranges of them |
//! | `mapped_ranges` | the addresses of mapped files, for signal handlers |
//! | `open` | opening one file, an index with shards, or a folder |
//! | `options` | how a checkpoint is opened |
//! | `reader` | the tensors of a checkpoint, as one set |
//! | `source` | where files come from |
//! | `spec` | tensors to be written |
//! | `unreadable` | bytes in a store that cannot be read when they are needed |
//! | `view` | tensors under other names, and with more rows or columns |

mod by_name;
mod content;
#[cfg(feature = "object-store")]
mod distant;
#[cfg(feature = "object-store")]
mod distant_file;
mod error;
mod file_name;
#[cfg(feature = "std")]
pub(crate) mod find;
mod foreign;
pub(crate) mod header;
#[cfg(feature = "std")]
mod index;
#[cfg(feature = "std")]
mod local;
#[cfg(feature = "std")]
pub(crate) mod mapped_ranges;
pub(crate) mod mmap;
#[cfg(feature = "std")]
pub(crate) mod open;
#[cfg(feature = "std")]
mod options;
pub(crate) mod reader;
mod source;
pub(crate) mod spec;
mod unreadable;
#[cfg(feature = "std")]
pub(crate) mod view;

pub use content::Content;
pub use error::{CheckpointError, ErrorKind};
pub use file_name::FileName;
pub use foreign::Foreign;
pub use header::HeaderError;
#[cfg(feature = "std")]
pub use local::{LocalFile, identity};
pub use mmap::Mapped;
pub(crate) use mmap::{read_ahead, release};
#[cfg(feature = "std")]
pub use options::OpenOptions;
pub use reader::{Checkpoint, TensorRef};
pub use source::{Identity, MemoryFile, Source};
pub(crate) use spec::TensorSpec;
#[cfg(feature = "std")]
pub use unreadable::catch;

/// Key of `__metadata__` under which this tool stores what it needs to read its own files.
pub const METADATA_KEY: &str = "cdi_prune";
