//! Two reports side by side.

use cdi_prune::report::compare::{ComparisonRow, ReportComparison, decayed, rows, totals, verdict, warnings};
use cdi_prune::report::is_alarming;
use cdi_prune::text::{percentage, printable, ratio, signed, significant, thousands};
use clap::ColorChoice;
use comfy_table::Color;

use super::sheet::{Column, Room, Sheet};

/// The table with a row for each tensor of both or, unless `full` asks for all, each kind of very many; notes
/// on it; warnings; the verdict.
pub fn comparison(comparison: &ReportComparison, full: bool, color: ColorChoice) -> String {
    let mut rows = rows(comparison, full);
    let (tensors, lines) = (comparison.tensors.len(), rows.len());
    rows.push(ComparisonRow { tensors: 1, ..totals(comparison) });
    let cells = |cell: &dyn Fn(&ComparisonRow) -> String| -> Vec<String> { rows.iter().map(cell).collect() };
    let share = |x: Option<f64>| x.map_or("-".to_owned(), percentage);
    let times = |x: Option<f64>| x.map_or("-".to_owned(), ratio);
    let factor = |x: Option<f64>| x.map_or("-".to_owned(), |x| significant(x, 6));
    let awake = |row: &ComparisonRow| row.awakened.map_or("-".to_owned(), signed);
    let awake_color = rows.iter().map(|row| match row.awakened.map(i64::signum) {
        Some(1) => Some(Color::Yellow),
        Some(-1) => Some(Color::Cyan),
        _ => None,
    });
    let std_color = rows.iter().map(|row| row.std.filter(|x| is_alarming(*x)).map(|_| Color::Red));
    let mut columns = vec![
        Column::text("tensor", cells(&|row| printable(&row.title()))),
        Column::numbers("weights", cells(&|row| thousands(row.weights))).rank(4),
        Column::numbers("sleeping\n% old", cells(&|row| share(row.sleeping.0))),
        Column::numbers("\nnew", cells(&|row| share(row.sleeping.1))),
        Column::numbers("more\nawake", cells(&awake)).colored(awake_color),
        Column::numbers("mean |delta|\nnew / old", cells(&|row| times(row.mean_delta))),
        Column::numbers("max |delta|\nnew / old", cells(&|row| times(row.max_delta))).rank(7),
        Column::numbers("std\nnew / old", cells(&|row| times(row.std))).rank(3).colored(std_color),
    ];
    if decayed(comparison) {
        columns.extend([
            Column::numbers("decay\nold", cells(&|row| factor(row.decay.0))).rank(2),
            Column::numbers("\nnew", cells(&|row| factor(row.decay.1))).rank(1),
        ]);
    }
    let mut sheet = Sheet::with_totals(columns);
    let left_out = if full { None } else { sheet.fit(Room::OfALog) };
    let mut text = if tensors == 0 { String::new() } else { sheet.render(color) + "\n" };
    if lines < tensors {
        text.push_str(&format!(
            "{} tensors in {lines} rows, with `*` for the numbers in their names. Values are those of the \
             sums; std is the farthest from 1. Use --full to list every tensor.\n",
            thousands(tensors as u64),
        ));
    }
    if let Some(left_out) = left_out {
        text.push_str(&format!("{left_out}\n"));
    }
    for warning in warnings(comparison) {
        text.push_str(&format!("WARNING: {warning}\n"));
    }
    text.push_str(&verdict(comparison));
    text
}
