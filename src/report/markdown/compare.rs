//! Two reports side by side.

use std::fmt::Write as _;

use super::super::compare::{ComparisonRow, ReportComparison, decayed, rows, totals, verdict, warnings_with};
use super::super::group::MOST_ROWS;
use super::cells::{Columns, code, opening, plain, table};
use crate::text::{percentage, ratio, signed, significant, thousands};

/// The verdict, warnings, and a table with one row per tensor of both; very many are
/// grouped and follow folded.
pub fn comparison_markdown(comparison: &ReportComparison) -> String {
    let mut text = opening("cdi-prune compare", &verdict(comparison), &warnings_with(comparison, code));
    let total = totals(comparison);
    if comparison.tensors.is_empty() {
        return text;
    }
    let tensors = |rows: &[ComparisonRow]| tensors(rows, &total, decayed(comparison));
    text.push_str(&tensors(&rows(comparison, false)));
    if comparison.tensors.len() > MOST_ROWS {
        let _ = writeln!(
            text,
            "\n<details>\n<summary>All {} tensors</summary>\n\n{}\n</details>",
            thousands(comparison.tensors.len() as u64),
            tensors(&rows(comparison, true)),
        );
    }
    text
}

fn tensors(rows: &[ComparisonRow], total: &ComparisonRow, decayed: bool) -> String {
    let columns: &Columns<'_> = &[
        ("tensor", false),
        ("weights", true),
        ("sleeping %, old", true),
        ("new", true),
        ("more awake", true),
        ("mean \\|delta\\|, new / old", true),
        ("max \\|delta\\|, new / old", true),
        ("std, new / old", true),
        ("decay, old", true),
        ("new", true),
    ];
    let shown = if decayed { columns.len() } else { columns.len() - 2 };
    let cells = |row: &ComparisonRow| {
        let share = |x: Option<f64>| x.map(|x| plain(&percentage(x))).unwrap_or_default();
        let times = |x: Option<f64>| x.map(ratio).unwrap_or_default();
        let factor = |x: Option<f64>| x.map(|x| significant(x, 6)).unwrap_or_default();
        let mut cells = vec![
            if row.tensors == 1 { code(&row.name) } else { format!("{} ({})", code(&row.name), row.tensors) },
            thousands(row.weights),
            share(row.sleeping.0),
            share(row.sleeping.1),
            row.awakened.map(signed).unwrap_or_default(),
            times(row.mean_delta),
            times(row.max_delta),
            times(row.std),
            factor(row.decay.0),
            factor(row.decay.1),
        ];
        cells.truncate(shown);
        cells
    };
    let mut last = cells(total);
    last[0] = "total".to_owned();
    let bold = |cell: String| if cell.is_empty() { cell } else { format!("**{cell}**") };
    table(&columns[..shown], rows.iter().map(cells).chain([last.into_iter().map(bold).collect()]))
}
