//! Reports and comparisons as JSON.

use serde::Serialize;

use super::Report;
use super::compare::{Comparison, ComparisonRow, totals, verdict, warnings};

/// Pretty-printed, keys in the model's order, reals in the shortest form that reads back as the same binary64.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("the report holds finite reals only");
    text.push('\n');
    text
}

/// A comparison, with its verdict and warnings in words.
pub fn comparison_json(comparison: &Comparison) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        verdict: String,
        warnings: Vec<String>,
        totals: ComparisonRow,
        #[serde(flatten)]
        comparison: &'a Comparison,
    }
    let document = Document {
        version: 1,
        verdict: verdict(comparison),
        warnings: warnings(comparison),
        totals: totals(comparison),
        comparison,
    };
    let mut text = serde_json::to_string_pretty(&document).expect("the comparison holds finite reals only");
    text.push('\n');
    text
}
