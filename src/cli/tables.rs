//! Tables and sentences on standard output.

use cdi_prune::pipeline::{Inventory, PlanRow};
use cdi_prune::report::{Changes, Report};
use clap::ColorChoice;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

pub fn table(header: &[(&str, bool)], color: ColorChoice) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    match color {
        ColorChoice::Always => {
            table.enforce_styling();
        }
        ColorChoice::Never => {
            table.force_no_tty();
        }
        ColorChoice::Auto => {}
    }
    table.set_header(header.iter().map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
    for (n, (_, number)) in header.iter().enumerate() {
        if let (true, Some(column)) = (*number, table.column_mut(n)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The analysis, one row per tensor and a last one of totals.
pub fn report(report: &Report, color: ColorChoice) -> String {
    let pruned = report.totals.pruned_weights.is_some();
    let mut header = vec![
        ("tensor", false),
        ("shape", false),
        ("init", false),
        ("weights", true),
        ("sleeping", true),
        ("%", true),
        ("rows", true),
        ("cols", true),
        ("mean |delta|", true),
        ("max |delta|", true),
        ("zeros", true),
    ];
    if pruned {
        header.extend([("action", false), ("pruned", true)]);
    }
    let mut table = table(&header, color);
    let changes = |c: &Changes, rows: Option<u64>, columns: Option<u64>| {
        [
            count(c.sleeping_weights),
            c.sleeping_percentage.map_or("-".to_owned(), |x| format!("{x:.1}")),
            count(rows),
            count(columns),
            real(c.mean_delta),
            real(c.max_delta),
        ]
    };
    for t in &report.tensors {
        let mut cells = vec![
            t.name.clone(),
            shape(&t.shape),
            t.init.clone().unwrap_or_else(|| t.dtype.clone()),
            group(t.total_weights),
        ];
        cells.extend(changes(&t.changes, t.sleeping_rows, t.sleeping_columns));
        cells.push(count(t.zeros));
        if pruned {
            cells.extend([t.action.as_deref().unwrap_or("-").replace('_', " "), count(t.pruned_weights)]);
        }
        table.add_row(cells);
    }
    let totals = &report.totals;
    let mut cells = vec!["total".to_owned(), String::new(), String::new(), group(totals.total_weights)];
    cells.extend(changes(&totals.changes, totals.sleeping_rows, totals.sleeping_columns));
    cells.push(count(totals.zeros));
    if pruned {
        cells.extend([String::new(), count(totals.pruned_weights)]);
    }
    table.add_row(cells.into_iter().map(|c| Cell::new(c).add_attribute(Attribute::Bold)));
    table.to_string()
}

/// The verdict on an analysis, in words.
pub fn verdict(report: &Report) -> String {
    let totals = &report.totals;
    let sleeping = totals.changes.sleeping_weights.unwrap_or(0);
    let compared = totals.compared_weights;
    let mut text = if compared == 0 {
        "No tensor was compared: no rule says how one started.".to_owned()
    } else if sleeping == 0 {
        format!("None of {} weights is sleeping: training changed every one.", group(compared))
    } else {
        format!(
            "{} of {} weights ({:.1} %) are sleeping: training left them within the threshold of their initial value.",
            group(sleeping),
            group(compared),
            totals.changes.sleeping_percentage.unwrap_or(0.0),
        )
    };
    if let Some(n @ 1..) = totals.not_finite {
        text.push_str(&format!(" WARNING: {} weights are NaN or infinite.", group(n)));
    }
    text
}

/// What a config comes to.
pub fn plan(rows: &[PlanRow], color: ColorChoice) -> String {
    let header = [
        ("tensor", false),
        ("type", false),
        ("shape", false),
        ("rule", false),
        ("layer id", true),
        ("init", false),
        ("action", false),
        ("dense bytes", true),
        ("least bytes", true),
    ];
    let mut table = table(&header, color);
    for row in rows {
        table.add_row([
            row.name.clone(),
            row.dtype.clone(),
            shape(&row.shape),
            row.rule.clone().unwrap_or_else(|| "-".to_owned()),
            row.layer_id.map_or("-".to_owned(), |id| id.to_string()),
            row.init.clone().unwrap_or_else(|| "-".to_owned()),
            row.action.unwrap_or("-").replace('_', " "),
            group(row.dense_bytes),
            group(row.smallest_bytes),
        ]);
    }
    let (dense, least) =
        rows.iter().fold((0, 0), |(dense, least), r| (dense + r.dense_bytes, least + r.smallest_bytes));
    let mut text = format!(
        "{table}\n{} tensors, {} bytes dense; between {} and {} bytes of data once pruned.",
        rows.len(),
        group(dense),
        group(least),
        group(dense)
    );
    let whole: Vec<u64> = rows.iter().filter_map(|row| row.whole_bytes).collect();
    if let Some(largest) = whole.iter().max() {
        let tensors = if whole.len() == 1 { "tensor is" } else { "tensors are" };
        text += &format!(
            "\n{} orthogonal {tensors} regenerated whole, not weight by weight, the largest in {} bytes of memory.",
            whole.len(),
            group(*largest)
        );
    }
    text
}

/// The tensors of a checkpoint.
pub fn inventory(inventory: &Inventory, color: ColorChoice) -> String {
    let mut table = table(
        &[("tensor", false), ("type", false), ("shape", false), ("bytes", true), ("zeros %", true)],
        color,
    );
    for t in &inventory.tensors {
        table.add_row([
            t.name.clone(),
            t.dtype.clone(),
            shape(&t.shape),
            group(t.bytes),
            t.zeros.map_or("-".to_owned(), |z| format!("{:.2}", 100.0 * z)),
        ]);
    }
    let bytes = inventory.tensors.iter().map(|t| t.bytes).sum();
    let (files, tensors) = (inventory.files, inventory.tensors.len());
    format!("{table}\n{tensors} tensors in {files} file(s), {} bytes of data.", group(bytes))
}

/// `[64, 1024]` → `64x1024`; a scalar is `scalar`.
pub fn shape(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "scalar".to_owned();
    }
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn count(n: Option<u64>) -> String {
    n.map_or("-".to_owned(), group)
}

/// Digits in groups of three.
pub fn group(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn real(x: Option<f64>) -> String {
    match x {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(x) => format!("{x:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(group(0), "0");
        assert_eq!(group(999), "999");
        assert_eq!(group(1000), "1,000");
        assert_eq!(group(1234567), "1,234,567");
    }
}
