//! Outputs: checkpoints and other files, which are streamed and become visible all together or not at all.
//! They go through a [`Sink`]: to local files, or to another place.
//!
//! | module | holds |
//! | --- | --- |
//! | `beside` | the small files of a model beside its weights |
//! | `claim` | the right to write an output, and what the run before it has left |
//! | `compressed` | weights that stand there in the parts of another format |
//! | `encode` | the header: canonical writing |
//! | `finish` | what a killed run was about to do |
//! | `group` | tensors that are written together |
//! | `helper` | helper files, opened with care |
//! | `journal` | what a run notes about an output |
//! | `key` | a digest of everything that decides about the bytes of outputs |
//! | `local` | the sink of local files |
//! | `memory` | the sink of files in memory |
//! | `names` | names of a checkpoint's files and of helper files |
//! | `paths` | what can be an output |
//! | `positioned` | reading and writing at a position, on any system |
//! | `set` | outputs that become visible together or not at all |
//! | `shards` | which tensor goes into which file |
//! | `sink` | what a place to write to has to do |
//! | `staged` | one local output under its temporary name |
//! | `cleanup` | temporary files, for a process that ends on a signal |
//! | `writer` | a checkpoint being written, at any position by any thread |

mod beside;
mod claim;
mod cleanup;
mod compressed;
mod encode;
mod finish;
mod group;
mod helper;
mod journal;
mod key;
mod local;
mod memory;
mod names;
mod paths;
mod positioned;
mod set;
mod shards;
mod sink;
mod staged;
mod writer;

pub use beside::{README, SmallFile, beside, names_folder, weights_name, with_readme};
pub(crate) use cleanup::Unfinished;
pub use cleanup::abandon;
pub use compressed::{Compressed, Form, compressed};
pub use group::Group;
pub(crate) use group::total;
pub use key::Decided;
pub use local::LocalSink;
pub use memory::{Memory, MemorySink};
pub use names::{entry_path, folder_of, forms, index_path, stale_beside};
pub(crate) use paths::through_link;
pub use paths::{check_name, check_output, create_parent};
pub(crate) use positioned::{read_exact_at, write_all_at};
pub use set::OutputSet;
pub(crate) use sink::hash;
pub use sink::{Draft, Sink};
pub use writer::{CheckpointWriter, Slot, checkpoint_bytes, write_stream, write_text};
