//! What a device needs to use weights that `cdi-prune` has pruned: initial weights regenerated from a seed, and a reader
//! of pruned files.

mod bits;
mod blocks;
pub mod checkpoint;
mod codec;
mod digest;
pub mod dispatch;
pub mod init;
#[doc(hidden)]
pub mod internal;
pub mod noise;
pub mod reader;
mod regular_file;
pub mod sparse;
mod suggest;
pub mod tensor;
pub mod workers;
