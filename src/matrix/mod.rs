//! Inspection of one generated matrix: its weights, their statistics compared with those of the scheme, and
//! the draws behind each weight.
//!
//! ```
//! use cdi_prune::init::SchemeParams;
//! use cdi_prune::matrix::{Subject, summarise, trace};
//! use cdi_prune::tensor::{FloatDtype, Layout, Shape};
//!
//! let he = SchemeParams::named("he").scheme()?;
//! let shape = Shape::new(vec![64, 64])?;
//! let subject = Subject::new((42, 0), he, (shape, Layout::OutIn), FloatDtype::F32)?;
//!
//! let summary = summarise(&subject);
//! assert!(summary.checks.iter().all(|check| check.ok != Some(false)));
//! // sqrt(2 / 64)
//! assert!((summary.exact.unwrap().std() - 0.17677669529663687).abs() < 1e-16);
//! assert_eq!(trace(&subject, 3, 5)?.draws[0].index, 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `subject` | the matrix to inspect, and its weights in blocks |
//! | `stats` | moments, extremes, zeros, distance from the exact distribution |
//! | `singular` | condition number, deviation from orthonormality |
//! | `checks` | each statistic with its expected value |
//! | `histogram` | the distribution of the weights |
//! | `trace` | the random draws of one weight |
//! | `repro` | the weights generated in several ways and compared |
//! | `save` | writes the matrix to a file |

mod checks;
mod histogram;
mod repro;
mod save;
mod singular;
mod stats;
mod subject;
mod trace;

pub use checks::{
    ALLOWED_DISTANCE, ALLOWED_ERRORS, Check, EXTREME_PROBABILITY, Statistic, Summary, summarise,
};
pub use histogram::{Bin, histogram};
pub use repro::{Reproduction, Way, reproduce};
pub use save::{Decimal, FileFormat, FormatError, TENSOR_NAME, save};
pub use singular::MOST_ELEMENTS;
pub use stats::{Distance, MOST_SORTED, Statistics};
pub use subject::{MOST_WEIGHTS, MOST_WHOLE_BYTES, Outside, Subject, SubjectError};
pub use trace::{Noise, RawDraw, Trace, trace};
