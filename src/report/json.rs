//! Reports and comparisons as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::Report;
use super::compare::{ComparisonRow, ReportComparison, totals, verdict, warnings};

/// Pretty-printed, keys in the model's order, reals in the shortest form that reads back
/// as the same binary64.
pub fn json(report: &Report) -> String {
    let mut text = Vec::new();
    write_json(report, &mut text).expect("the report holds finite reals only, and memory takes all of them");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Writes the report as JSON piece by piece: of very many tensors it is larger than all
/// that it was made from.
///
/// # Errors
/// Those of writing.
pub fn write_json(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    // The tokens are small and many: each is put into a buffer here, without a call through `dyn`.
    let mut out = io::BufWriter::new(out);
    serde_json::to_writer_pretty(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// A comparison, with its verdict and warnings in words.
pub fn comparison_json(comparison: &ReportComparison) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        verdict: String,
        warnings: Vec<String>,
        totals: ComparisonRow,
        #[serde(flatten)]
        comparison: &'a ReportComparison,
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
