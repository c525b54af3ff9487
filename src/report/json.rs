//! The report as JSON.

use super::Report;

/// Pretty-printed, keys in the model's order, reals in the shortest form that reads back as the same binary64.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("the report holds finite reals only");
    text.push('\n');
    text
}
