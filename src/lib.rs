//! Deterministic initial checkpoints, an analysis of what training changed, and sparse safetensors files
//! whose missing weights are regenerated from a seed.
//!
//! Every initial weight is a pure function of `(seed, layer id, row, column)` with the same bits on every
//! machine. Therefore, no copy of the initial checkpoint is needed to find the weights that training never
//! moved, or to restore them.
//!
//! ```
//! use cdi_prune::analysis::{Threshold, analyze_weight_matrix};
//! use cdi_prune::init::{Generator, SchemeParams, init_matrix};
//! use cdi_prune::tensor::{Layout, Shape};
//!
//! let he = SchemeParams::named("he").scheme()?;
//! // The initial weights of layer 0, 4 outputs by 6 inputs …
//! let mut trained = init_matrix(42, 0, (4, 6), &he)?;
//! // … of which training moves one.
//! trained[[1, 2]] += 0.5;
//!
//! let initial = Generator::new(42, 0, &he, &Shape::new(vec![4, 6])?, Layout::OutIn);
//! let found = analyze_weight_matrix(trained.view(), &initial, Threshold::default());
//! assert_eq!((found.stats.changed, found.stats.sleeping()), (1, 23));
//! assert_eq!((found.sleeping_rows, found.sleeping_columns), (3, 5));
//! assert!(found.awakened[[1, 2]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules, in the order in which data pass through them:
//!
//! | module | holds |
//! | --- | --- |
//! | [`dispatch`] | one copy of each hot loop per instruction set |
//! | [`workers`] | threads |
//! | [`tensor`] | element types, shapes, the matrix view |
//! | [`noise`] | the noise function |
//! | [`init`] | schemes and generators of initial weights |
//! | [`rules`] | patterns over tensor names |
//! | [`checkpoint`] | safetensors, mapped |
//! | [`store`] | outputs: streamed, and visible all together or not at all |
//! | [`analysis`] | trained weights against initial ones |
//! | [`prune`] | which places go: criteria, targets, scopes, structures |
//! | [`sparse`] | encodings of pruned tensors |
//! | [`reader`] | pruned files in a program |
//! | [`gates`] | limits that the result must keep |
//! | [`tune`] | the smallest file within an accuracy budget: search, evaluation command |
//! | [`report`] | the report and its formats |
//! | [`text`] | numbers and names as people read them |
//! | [`manifest`] | every file of a run with its digest |
//! | [`config`] | YAML, checked and completed |
//! | [`infer`] | a starting config from a checkpoint's names and shapes |
//! | [`pipeline`] | the stages on real files |
//! | [`matrix`] | one generated matrix, looked at |
//!
//! The feature `cli` (default) adds the dependencies of the binary; without it, the library has no terminal
//! code.
//!
//! The crate [`cdi_core`] contains the reader of pruned files and the noise function that it needs. A device
//! can use it alone; its modules are also modules of this crate.

pub mod analysis;
pub mod config;
pub mod gates;
pub mod infer;
pub mod init;
pub mod manifest;
pub mod matrix;
pub mod pipeline;
pub mod prune;
pub mod report;
pub mod rules;
pub mod store;
pub mod text;
pub mod tune;
pub mod workers;

use cdi_core::internal::{bits, codec, digest, encoder, regular_file, suggest};
pub use cdi_core::{checkpoint, dispatch, noise, reader, sparse, tensor};
