//! The report: its model, and one small file per format. Reading it back, and what changed between two.

pub mod compare;
mod csv;
mod group;
mod json;
mod markdown;
mod model;
mod read;
mod schema;
pub mod text;
mod verdict;
mod warnings;

pub use csv::csv;
pub use group::{MOST_ROWS, Row, rows};
pub use json::{comparison_json, json};
pub use markdown::{comparison_markdown, markdown};
pub(crate) use model::share;
pub use model::{Changes, Drift, Report, ReportTensor, Totals};
pub use read::{ReadError, ReadErrorKind, parse, read};
pub use schema::schema;
pub use verdict::verdict;
pub use warnings::{is_alarming, warnings};
