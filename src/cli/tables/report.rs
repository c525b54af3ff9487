//! The analysis.

use cdi_prune::report::{Report, Row, is_alarming, rows, std_tells, verdict, warnings};
use cdi_prune::text::{percentage, printable, ratio, scientific, shape, thousands};
use clap::ColorChoice;
use comfy_table::Color;

use super::bar::bar;
use super::sheet::{Column, Room, Sheet};

/// The table with a row for each tensor or, unless `full` asks for all, each kind of very many; notes on it;
/// warnings; the verdict.
pub fn report(report: &Report, full: bool, color: ColorChoice) -> String {
    let rows = rows(report, full);
    let grouped = rows.iter().any(|row| row.tensors > 1);
    let mut sheet = Sheet::with_totals(columns(report, &rows, grouped));
    let left_out = if full { None } else { sheet.fit(Room::OfALog) };
    let mut text = sheet.render(color);
    if grouped {
        text.push_str(&format!(
            "\n\
             {} tensors in {} rows, with `*` for the numbers in their names. Counts are sums; P50, P99 and \
             max are the largest; std is the farthest from 1. Use --full to list every tensor.",
            thousands(report.tensors.len() as u64),
            rows.len(),
        ));
    }
    if let Some(left_out) = left_out {
        text.push_str(&format!("\n{left_out}"));
    }
    for warning in warnings(report) {
        text.push_str(&format!("\nWARNING: {warning}"));
    }
    text.push('\n');
    text.push_str(&verdict(report));
    text
}

fn columns(report: &Report, rows: &[Row], grouped: bool) -> Vec<Column> {
    let all = Row::total(report, rows);
    let with_total = |cell: &dyn Fn(&Row) -> String, total: String| -> Vec<String> {
        rows.iter().map(cell).chain([total]).collect()
    };
    let cells = |cell: &dyn Fn(&Row) -> String| with_total(cell, cell(&all));
    let real = |x: Option<f64>| x.map_or("-".to_owned(), scientific);

    let tells = report.tensors.iter().any(|tensor| std_tells(report, tensor));
    let mut columns = vec![
        Column::text("tensor", with_total(&|row| printable(&row.title()), all.title())),
        Column::text(
            "shape",
            with_total(
                &|row| row.shape.as_ref().map_or("various".to_owned(), |dims| shape(dims)),
                String::new(),
            ),
        )
        .rank(9),
        Column::numbers("weights", cells(&|row| thousands(row.weights))),
        Column::numbers("sleeping", cells(&|row| count(row.sleeping))),
        Column::numbers("%", cells(&|row| row.share.map_or("-".to_owned(), percentage))),
    ];
    if grouped {
        columns.push(Column::numbers("of a\ntensor", with_total(&range, String::new())).rank(2));
    }
    let colors = rows.iter().map(|row| Some(if row.share.is_some() { Color::Cyan } else { Color::DarkGrey }));
    columns.extend([
        Column::text("", cells(&share_or_reason)).colored(colors.chain([Some(Color::Cyan)])),
        Column::numbers("outputs\nasleep", cells(&|row| count(row.outputs))).rank(4),
        Column::numbers("inputs\nasleep", cells(&|row| count(row.inputs))).rank(3),
        Column::numbers("P50\n|delta|", with_total(&|row| real(row.p50), String::new())).rank(6),
        Column::numbers("P99\n|delta|", with_total(&|row| real(row.p99), String::new())).rank(7),
        Column::numbers("max\n|delta|", cells(&|row| real(row.max))).rank(8),
        Column::numbers(
            "std now\n/ start",
            with_total(&|row| row.std_ratio.map_or("-".to_owned(), ratio), String::new()),
        )
        .rank(5)
        .colored(
            rows.iter().map(|row| row.std_ratio.filter(|x| is_alarming(*x) && tells).map(|_| Color::Red)),
        ),
    ]);
    if all.pruned.is_some() {
        columns.push(Column::numbers("pruned", cells(&pruned)).rank(1));
    }
    columns
}

/// The bar of sleeping weights, or why there is none.
fn share_or_reason(row: &Row) -> String {
    match (row.share, &row.init, &row.dtype) {
        (Some(share), _, _) => bar(share),
        (None, Some(init), _) => printable(&format!("init {init}")),
        (None, None, dtype) => dtype.clone().unwrap_or_default(),
    }
}

fn pruned(row: &Row) -> String {
    match row.action.as_deref() {
        Some("kept") => "kept".to_owned(),
        Some("passed_through") => "as it is".to_owned(),
        _ => count(row.pruned),
    }
}

/// The smallest and the largest share of a group's tensors.
fn range(row: &Row) -> String {
    match (row.least_share, row.most_share) {
        (Some(least), Some(most)) if row.tensors > 1 => format!("{}…{}", percentage(least), percentage(most)),
        _ => String::new(),
    }
}

fn count(n: Option<u64>) -> String {
    n.map_or("-".to_owned(), thousands)
}
