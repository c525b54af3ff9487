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
//! The stages of the program work on whole checkpoints, as a config says. Here, a copy of the initial
//! checkpoint takes the place of a trained one, so that every weight sleeps and is pruned:
//!
//! ```
//! use cdi_prune::config::Settings;
//! use cdi_prune::pipeline::{Resolved, Silent, Stages, run};
//! use cdi_prune::reader::PrunedReader;
//! use cdi_prune::report::Report;
//!
//! let folder = tempfile::tempdir()?;
//! let config = "
//! seed: 42
//! model: {tensors: {fc1.weight: [64, 128], fc2.weight: [10, 64]}}
//! rules:
//!   - {match: 'fc*.weight', layer: {base: 0, by: 1}, init: he}
//! init: {output: init.safetensors}
//! trained: {path: trained.safetensors}
//! analyze: {report: {json: report.json}}
//! prune: {output: pruned.safetensors, fill: init}
//! ";
//! // Relative paths are relative to the config, which need not exist.
//! let settings = Settings::parse(config, &folder.path().join("config.yaml"), &[])?;
//! let file = |name: &str| folder.path().join(name);
//! run(&Resolved::new(&settings)?, Stages::Init, &Silent, |_| {})?;
//! std::fs::copy(file("init.safetensors"), file("trained.safetensors"))?;
//! let outcome = run(&Resolved::new(&settings)?, Stages::All, &Silent, |_| {})?;
//!
//! let report: &Report = &outcome.report.ok_or("the config analyses")?;
//! assert_eq!(report.totals.changes.sleeping_weights, Some(64 * 128 + 10 * 64));
//! // The pruned file restores to the same bits.
//! let pruned = PrunedReader::open(&file("pruned.safetensors"), None)?;
//! let initial = PrunedReader::open(&file("init.safetensors"), None)?;
//! assert_eq!(pruned.read_to_vec("fc1.weight")?, initial.read_to_vec("fc1.weight")?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules, in the order in which data pass through them:
//!
//! | module | holds |
//! | --- | --- |
//! | [`config`] | YAML, checked and completed |
//! | [`infer`] | a starting config from a checkpoint's names and shapes |
//! | [`rules`] | patterns over tensor names |
//! | [`tensor`] | element types, shapes, the matrix view |
//! | [`noise`] | the noise function |
//! | [`init`] | schemes and generators of initial weights |
//! | [`checkpoint`] | safetensors, mapped |
//! | [`analysis`] | trained weights compared with initial ones |
//! | [`prune`] | which weights are pruned: criteria, targets, scopes, structures |
//! | [`sparse`] | how pruned tensors are stored |
//! | [`store`] | outputs: streamed, and visible all together or not at all |
//! | [`pipeline`] | the stages on real files |
//! | [`reader`] | pruned files in a program |
//! | [`report`] | the report and its formats |
//! | [`gates`] | limits that the result must meet |
//! | [`tune`] | the smallest file within an accuracy budget: search, evaluation command |
//! | [`manifest`] | every file of a run with its digest |
//! | [`matrix`] | one generated matrix and its statistics |
//! | [`text`] | numbers and names as people read them |
//! | [`workers`] | threads |
//!
//! # Stability
//! Initial values never change within a [noise version](noise::NOISE_VERSION), and files written by earlier
//! versions stay readable. The changelog lists every change of a written byte. Public items follow semantic
//! versioning.
//!
//! # Features
//! The feature `cli` (default) adds the dependencies of the program; without it, the library has no terminal
//! code.
//!
//! The crate [`cdi_core`] contains the reader of pruned files and everything that draws initial values. A
//! device can use it alone; its modules are also modules of this crate.

// The program is part of the library, so that another one, such as the Python package, can be it too. It uses
// the library as any other crate would.
#[cfg(feature = "cli")]
extern crate self as cdi_prune;

pub mod analysis;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
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

use cdi_core::internal::{bits, codec, digest, dispatch, encoder, place, regular_file, suggest};
pub use cdi_core::reader;

/// Safetensors: the module with this name in [`cdi_core`], and tensors to be written.
pub mod checkpoint {
    pub use cdi_core::checkpoint::*;
    #[cfg(test)]
    pub(crate) use cdi_core::internal::checkpoint::Header;
    pub use cdi_core::internal::checkpoint::TensorSpec;
    pub(crate) use cdi_core::internal::checkpoint::{release, without_components};
}

/// The noise function: the module with this name in [`cdi_core`].
pub mod noise {
    pub(crate) use cdi_core::internal::noise::{block, hash, scalar};
    pub use cdi_core::noise::*;
}

/// How pruned tensors are stored.
pub mod sparse {
    pub(crate) use cdi_core::internal::sparse::*;
    pub use cdi_core::internal::sparse::{Fill, Format};
}

/// Tensors: the module with this name in [`cdi_core`].
pub mod tensor {
    pub(crate) use cdi_core::internal::tensor::{Axes, cast};
    pub use cdi_core::tensor::*;
}
