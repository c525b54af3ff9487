//! Outputs: checkpoints and other files, which are streamed and become visible all together or not at all.
//! They are written through a [`Sink`], to local files or to another destination.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::path::Path;
//!
//! use cdi_prune::checkpoint::TensorSpec;
//! use cdi_prune::store::{CheckpointWriter, Group, Memory, OutputSet};
//! use cdi_prune::tensor::{FloatDtype, Shape};
//!
//! let memory = Memory::default();
//! let mut set = OutputSet::on(Box::new(memory.sink()));
//! let spec = TensorSpec {
//!     name: "b".to_owned(),
//!     dtype: FloatDtype::F32.dtype(),
//!     shape: Shape::new(vec![2])?,
//! };
//! let (path, groups) = (Path::new("model.safetensors"), [Group::single(spec)]);
//! // No key, so nothing that a killed run has left is taken over.
//! let key = || Ok::<_, cdi_prune::checkpoint::CheckpointError>(None);
//! let writer = CheckpointWriter::resume(&mut set, path, &groups, None, |_| BTreeMap::new(), key)?;
//! // Tensors are written in any order, from any thread.
//! writer.write_at(writer.slot("b"), 4, &2f32.to_le_bytes())?;
//! writer.write_at(writer.slot("b"), 0, &1f32.to_le_bytes())?;
//! writer.stage(&mut set)?;
//! set.add_text(Path::new("notes.md"), "Two weights.\n")?;
//!
//! assert!(memory.files().is_empty());
//! set.commit()?;
//! assert_eq!(memory.files().len(), 2);
//! assert!(memory.files()[path].ends_with(&[0, 0, 128, 63, 0, 0, 0, 64]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `beside` | the small files of a model beside its weights |
//! | `claim` | the exclusive right to write an output, and what an earlier run left |
//! | `compressed` | weights stored in the parts of another format |
//! | `destination` | the sink that sends each output where its path says |
//! | `distant` | outputs in an object store |
//! | `encode` | writes headers in canonical form |
//! | `gathered` | small writes of one thread, put together |
//! | `finish` | completes the commit of a killed run |
//! | `group` | tensors that are written together |
//! | `helper` | opens helper files defensively |
//! | `journal` | what a run notes about an output |
//! | `key` | a digest of everything that determines the bytes of outputs |
//! | `local` | the sink of local files |
//! | `memory` | the sink of files in memory |
//! | `names` | names of a checkpoint's files and of helper files |
//! | `part` | outputs that several processes write |
//! | `paths` | checks of output paths |
//! | `set` | outputs that become visible together or not at all |
//! | `shards` | which tensor goes into which file |
//! | `sink` | the interface of a destination |
//! | `staged` | one local output under its temporary name |
//! | `cleanup` | temporary files, removed if a signal ends the process |
//! | `writer` | a checkpoint being written, at any position by any thread |

mod beside;
mod claim;
mod cleanup;
mod compressed;
mod destination;
#[cfg(feature = "object-store")]
mod distant;
mod encode;
mod finish;
mod gathered;
mod group;
mod helper;
mod journal;
mod key;
mod local;
mod memory;
mod names;
mod part;
mod paths;
mod set;
mod shards;
mod sink;
mod staged;
mod writer;

pub use beside::{README, SmallFile, beside, names_folder, weights_name, with_readme};
pub(crate) use cdi_core::internal::positioned::{read_exact_at, write_all_at};
pub(crate) use cleanup::Unfinished;
pub use cleanup::abandon;
pub use compressed::{Compressed, Form, compressed};
pub use destination::Destination;
pub(crate) use gathered::{Failed, Gathered};
pub use group::Group;
pub(crate) use group::total;
pub use key::Decided;
pub use local::LocalSink;
pub use memory::{Memory, MemorySink};
pub use names::{entry_path, folder_of, forms, index_path, stale_beside};
pub use part::{MergeSink, PartFiles, PartWritten, Pieces, WholeFiles};
pub(crate) use paths::through_link;
pub use paths::{check_name, check_output, create_parent};
pub use set::OutputSet;
pub(crate) use shards::share_codes;
pub(crate) use sink::hash;
pub use sink::{Draft, Sink};
pub use writer::{CheckpointWriter, Slot, checkpoint_bytes, write_stream, write_text};
