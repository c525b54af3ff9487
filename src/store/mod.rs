//! Outputs: checkpoints and other files, which are streamed and become visible all together or not at all.
//! They are written through a [`Sink`], to local files or to another destination.
//!
//! | module | holds |
//! | --- | --- |
//! | `beside` | the small files of a model beside its weights |
//! | `claim` | the exclusive right to write an output, and what an earlier run left |
//! | `compressed` | weights stored in the parts of another format |
//! | `encode` | writes headers in canonical form |
//! | `finish` | completes the commit of a killed run |
//! | `group` | tensors that are written together |
//! | `helper` | opens helper files defensively |
//! | `journal` | what a run notes about an output |
//! | `key` | a digest of everything that determines the bytes of outputs |
//! | `local` | the sink of local files |
//! | `memory` | the sink of files in memory |
//! | `names` | names of a checkpoint's files and of helper files |
//! | `paths` | checks of output paths |
//! | `positioned` | reading and writing at a position, on any system |
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
pub(crate) use shards::share_codes;
pub(crate) use sink::hash;
pub use sink::{Draft, Sink};
pub use writer::{CheckpointWriter, Slot, checkpoint_bytes, write_stream, write_text};
