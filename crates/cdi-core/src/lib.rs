//! Reads pruned safetensors files, and regenerates initial weights from a seed.
//!
//! `cdi-prune` prunes checkpoints. In the files that it writes, a pruned weight is zero or its initial value,
//! which takes no space: it is a pure function of the seed, the layer id, and the weight's row and column.
//! This crate has what a program or a device needs to use such files: the reader, and everything that draws
//! initial values. It starts no threads, writes no files, and needs no network.
//!
//! ```
//! # // A pruned file: of "fc.weight", F32 [2, 4], one weight is stored, the others are initial values.
//! # let description = concat!(
//! #     r#"{"version":1,"noise_version":1,"kind":"pruned","seed":42,"tensors":[{"name":"fc.weight","#,
//! #     r#""dtype":"F32","shape":[2,4],"format":"bitmask","fill":"init","layer_id":0,"#,
//! #     r#""init":{"mode":"he"}}]}"#,
//! # );
//! # let part = |name: &str, dtype: &str, shape: &str, from: usize, to: usize| {
//! #     format!(r#""fc.weight.{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
//! # };
//! # let header = format!(
//! #     r#"{{"__metadata__":{{"cdi_prune":{description:?}}},{},{},{},{}}}"#,
//! #     part("shape", "I64", "[2]", 0, 16),
//! #     part("row_offsets", "I64", "[2]", 16, 32),
//! #     part("compressed", "F32", "[1]", 32, 36),
//! #     part("bitmask", "U8", "[2,1]", 36, 38),
//! # );
//! # let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! # bytes.extend(header.bytes());
//! # bytes.extend([2i64, 4, 0, 1].iter().flat_map(|n| n.to_le_bytes()));
//! # bytes.extend(0.5f32.to_le_bytes());
//! # bytes.extend([0b0010, 0b0000]);
//! use cdi_core::init::{Generator, SchemeParams};
//! use cdi_core::reader::PrunedReader;
//! use cdi_core::tensor::{Layout, Shape};
//!
//! // A file in memory; `PrunedReader::open` maps one on disk.
//! let file = PrunedReader::from_bytes(bytes, None)?;
//! let mut weights = [0f32; 8];
//! file.read_elements("fc.weight", 0..2, &mut weights)?;
//! // This file stores one weight, in row 0, column 1 …
//! assert_eq!(weights[1], 0.5);
//! // … and the others have their initial values, here of He's initialisation with seed 42 and layer id 0.
//! let he = SchemeParams::named("he").scheme()?;
//! let generator = Generator::new(42, 0, &he, &Shape::new(vec![2, 4])?, Layout::OutIn);
//! assert_eq!(weights[6], generator.weight_at(1, 2) as f32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`reader`] | pruned files: tensors, or some of their rows, into memory of the caller |
//! | [`init`] | initialisation schemes, and the weights that they give |
//! | [`noise`] | the noise function that all random initial values are drawn from |
//! | [`tensor`] | element types, shapes, layouts |
//! | [`checkpoint`] | ordinary safetensors checkpoints, mapped |
//! | [`workers`] | how several threads of the caller share the work |
//!
//! # Stability
//! - **Values.** Initial values never change within a [noise version](noise::NOISE_VERSION). They have the
//!   same bits on every processor, with any number of threads, and with any features of this crate.
//! - **Files.** Files written by earlier versions of `cdi-prune` stay readable.
//! - **Names.** The public items are those that this page and the pages of its modules list. They follow
//!   semantic versioning. The hidden module `internal` is for the crate `cdi-prune` alone and may change with
//!   every release.
//!
//! # Features
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `std` | yes | files on disk and their mapping, and the vector instructions of x86-64 processors |
//! | `object-store` | no | checkpoints in object stores (`s3://`, `gs://`, `az://`) |
//! | `config` | no | JSON Schemas of initialisation schemes, and suggestions in messages about wrong names |
//!
//! Without `std`, the crate is `no_std` with `alloc`. It then reads files in memory, on one thread, and gives
//! the same bits.
//!
//! With `std`, loops are compiled for several instruction sets, and the fastest one of the processor is
//! used. The environment variable `CDI_PRUNE_ISA` selects another (`portable`, `avx2`, `avx512`). The
//! results do not depend on it.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod bits;
mod blocks;
pub mod checkpoint;
mod codec;
mod digest;
mod dispatch;
#[cfg(any(not(feature = "std"), test))]
mod float;
pub mod init;
#[doc(hidden)]
pub mod internal;
mod lock;
pub mod noise;
#[cfg(feature = "std")]
mod place;
#[cfg(feature = "std")]
mod positioned;
mod prelude;
pub mod reader;
#[cfg(feature = "std")]
mod regular_file;
mod sparse;
#[cfg(feature = "std")]
mod state;
mod suggest;
pub mod tensor;
pub mod workers;
