//! The report: its model, one small file per format, reading reports, and comparing two of them.
//!
//! ```
//! use cdi_prune::config::Settings;
//! use cdi_prune::pipeline::{Resolved, Silent, Stages, run};
//! use cdi_prune::report::{compare, csv, json, parse, verdict};
//!
//! let folder = tempfile::tempdir()?;
//! let config = "
//! seed: 42
//! model: {tensors: {fc1.weight: [64, 128]}}
//! rules: [{match: fc1.weight, init: he}]
//! init: {output: init.safetensors}
//! trained: {path: trained.safetensors}
//! analyze: {threshold: 0}
//! ";
//! let file = |name: &str| folder.path().join(name);
//! let settings = Settings::parse(config, &file("config.yaml"), &[])?;
//! run(&Resolved::new(&settings)?, Stages::Init, &Silent, |_| {})?;
//! // A copy takes the place of a trained checkpoint: all of its weights sleep.
//! std::fs::copy(file("init.safetensors"), file("trained.safetensors"))?;
//! let outcome = run(&Resolved::new(&settings)?, Stages::Analyze, &Silent, |_| {})?;
//! let report = outcome.report.ok_or("the config analyses")?;
//!
//! assert_eq!(report.tensors[0].changes.sleeping_percentage, Some(100.0));
//! assert!(verdict(&report).starts_with("8,192 of 8,192 weights (100.0 %) are sleeping"));
//! assert_eq!(csv(&report).lines().count(), 2);
//! // What is written as JSON is read back as it was.
//! let read = parse(json(&report).as_bytes())?;
//! assert_eq!(read, report);
//! assert_eq!(compare::compare(&read, &report).tensors[0].awakened, Some(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod compare;
mod condition;
mod csv;
mod escape;
mod gates;
mod group;
mod html;
mod json;
mod levels;
mod markdown;
mod model;
mod narrative;
mod order;
mod read;
mod removed;
mod schema;
mod start;
mod started;
mod svg;
mod tune;
mod verdict;
mod warnings;

pub use csv::csv;
pub use gates::{Severity, annotation, gate_annotation, gate_words};
pub use group::{MOST_ROWS, Row, rows};
pub use html::html;
pub use json::{comparison_json, json, write_json};
pub use markdown::{comparison_markdown, markdown};
pub(crate) use model::share;
pub use model::{Changes, Drift, Removed, Report, ReportTensor, RoundingError, Totals};
pub use read::{ReadError, ReadErrorKind, parse, read};
pub use removed::removed_words;
pub use schema::schema;
pub use start::Start;
pub use started::{start_words, std_tells};
pub use svg::{FIXED_NAMES, heat_map_names, svg_files};
pub use tune::{tune_headline, tune_words};
pub use verdict::verdict;
pub use warnings::{is_alarming, warnings};
