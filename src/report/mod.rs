//! The report: its model, and one small file per format.

mod csv;
mod json;
mod markdown;
mod model;

pub use csv::csv;
pub use json::json;
pub use markdown::markdown;
pub(crate) use model::share;
pub use model::{Changes, Drift, Report, ReportTensor, Totals};
