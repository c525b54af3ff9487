//! Reports as Markdown, fit for a CI job's summary.

mod cells;
mod compare;
mod report;

pub use compare::comparison_markdown;
pub use report::markdown;
