//! Deltas: what changed from one checkpoint to the next, as a file that gives the next one again.
//!
//! ```
//! use std::collections::BTreeMap;
//! use cdi_prune::checkpoint::OpenOptions;
//! use cdi_prune::pipeline::{self, ApplyOptions, DeltaOptions, Silent};
//!
//! let folder = tempfile::tempdir()?;
//! let file = |name: &str| folder.path().join(name);
//! # let save = |name: &str, value: f32| {
//! #     let header = br#"{"w":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}"#;
//! #     let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! #     bytes.extend(header);
//! #     bytes.extend((0..1000).flat_map(|n| if n == 7 { value } else { n as f32 }.to_le_bytes()));
//! #     std::fs::write(file(name), bytes)
//! # };
//! # save("1.safetensors", 7.0)?;
//! # save("2.safetensors", 8.0)?;
//! let made = pipeline::delta(
//!     &file("1.safetensors"),
//!     &file("2.safetensors"),
//!     &file("2.delta.safetensors"),
//!     &DeltaOptions::default(),
//!     &Silent,
//! )?;
//! assert_eq!((made.tensors[0].changed, made.tensors[0].largest), (Some(1), Some(1.0)));
//!
//! let deltas = [file("2.delta.safetensors")];
//! let options = ApplyOptions::default();
//! let applied = pipeline::apply(&file("1.safetensors"), &deltas, Some(&file("new.safetensors")), &options, &Silent)?;
//! assert_eq!(applied.state, made.state);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `compare` | what changed, and the states of both checkpoints |
//! | `create` | the command `delta` |
//! | `chain` | a base and the deltas over it, read as one checkpoint |
//! | `apply` | the command `apply` |
//! | `in_place` | `apply` to the files of the base |
//! | `making` | what both forms of deltas make of a base |
//! | `publisher` | versions of a model in memory, one after the other |
//! | `squash` | the command `squash` |
//! | `versions` | the form of the folders of versions that serving engines read |
//! | `versions_write`, `versions_apply` | writing them, and applying them |

mod apply;
mod chain;
mod compare;
mod create;
mod in_place;
mod making;
mod publisher;
mod squash;
mod versions;
mod versions_apply;
mod versions_write;

pub use apply::{ApplyOptions, apply, verify_delta};
pub use compare::{Change, ChangedTensor};
pub use create::{DeltaOptions, Made, delta};
pub use making::Applied;
pub use publisher::{PublishForm, Published, Publisher};
pub use squash::{SquashOptions, Squashed, squash};
pub use versions::{Checksum, Encoding};
pub use versions_write::{VersionOptions, VersionWritten, version};
