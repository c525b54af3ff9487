//! The report: its model, and one small file per format. Reading it back, and what changed between two.

pub mod compare;
mod csv;
mod escape;
mod format;
mod gates;
mod group;
mod html;
mod json;
mod levels;
mod markdown;
mod model;
mod order;
mod read;
mod schema;
mod start;
mod svg;
pub mod text;
mod tune;
mod verdict;
mod warnings;
mod words;

pub use csv::csv;
pub use gates::{Severity, annotation, gate_annotation, gate_words};
pub use group::{MOST_ROWS, Row, rows};
pub use html::html;
pub use json::{comparison_json, json, write_json};
pub use markdown::{comparison_markdown, markdown};
pub(crate) use model::share;
pub use model::{Changes, Drift, Removed, Report, ReportTensor, Totals};
pub use read::{ReadError, ReadErrorKind, parse, read};
pub use schema::schema;
pub use start::{Start, start_words, std_tells};
pub use svg::{FIXED_NAMES, heat_map_names, svg_files};
pub use tune::{tune_headline, tune_words};
pub use verdict::verdict;
pub use warnings::{is_alarming, warnings};
