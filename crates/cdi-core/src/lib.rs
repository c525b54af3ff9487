//! The part of `cdi-prune` that a device needs to use pruned weights: initial weights regenerated from a
//! seed, and a reader of pruned files.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod bits;
mod blocks;
pub mod checkpoint;
mod codec;
mod digest;
pub mod dispatch;
#[cfg(any(not(feature = "std"), test))]
mod float;
pub mod init;
#[doc(hidden)]
pub mod internal;
mod lock;
pub mod noise;
#[cfg(feature = "std")]
mod positioned;
mod prelude;
pub mod reader;
#[cfg(feature = "std")]
mod regular_file;
pub mod sparse;
mod suggest;
pub mod tensor;
pub mod workers;
