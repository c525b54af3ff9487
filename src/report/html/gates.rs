//! The gates with their limits.

use super::titled;
use crate::report::Report;
use crate::report::escape::escape;
use crate::report::gates::{figures, subject};

/// A table with a row for each gate; nothing where there are none.
pub(super) fn section(report: &Report) -> String {
    if report.gates.is_empty() {
        return String::new();
    }
    let rows: String = report
        .gates
        .iter()
        .map(|result| {
            let (measured, limit) = figures(result);
            let word = if result.passed { "passed" } else { "failed" };
            format!(
                "<tr class=\"{word}\"><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td><td>{word}</td></tr>\n",
                escape(&subject(result, str::to_owned)),
                escape(&limit),
                escape(&measured),
            )
        })
        .collect();
    let text = format!(
        "<div class=\"scroll gates\"><table class=\"plain\">\n<thead><tr><th scope=\"col\">gate</th>\
         <th scope=\"col\">limit</th><th scope=\"col\">measured</th><th scope=\"col\">result</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    );
    titled("gates", "Gates", &text)
}
