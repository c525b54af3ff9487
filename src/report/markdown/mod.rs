//! Reports as Markdown, fit for a CI job's summary.

mod cells;
mod report;

pub use report::markdown;
