//! The table: a row for every tensor of the checkpoint, sorted by any column.

use super::{MOST_TENSORS, largest, only_largest, titled};
use crate::report::condition::on_page;
use crate::report::escape::escape;
use crate::report::order::by_depth;
use crate::report::svg::{at, share_bar};
use crate::report::{Report, ReportTensor, Totals};
use crate::text::page::{self, percent, real, shape};
use crate::text::thousands;

/// What a cell shows, and the number that it is sorted by; text is sorted as text.
#[derive(PartialEq)]
enum Cell {
    Text(String),
    Number(String, f64),
    Empty,
}

struct Column {
    head: &'static str,
    /// What it means, in words.
    meaning: &'static str,
    cell: fn(&ReportTensor) -> Cell,
    /// What stands below it.
    total: fn(&Totals) -> Option<String>,
    shown: Shown,
}

/// Where a column says something.
enum Shown {
    /// Where a cell of it is not empty.
    Filled,
    /// Where its cells differ: what is the same for all is told elsewhere.
    Differing,
    /// Where this holds for a tensor.
    Where(fn(&ReportTensor) -> bool),
}

impl Column {
    const fn new(head: &'static str, meaning: &'static str, cell: fn(&ReportTensor) -> Cell) -> Self {
        Self { head, meaning, cell, total: |_| None, shown: Shown::Filled }
    }

    const fn total(self, total: fn(&Totals) -> Option<String>) -> Self {
        Self { total, ..self }
    }

    const fn shown(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }
}

const COLUMNS: [Column; 19] = [
    Column::new("shape", "outermost dimension first", |t| {
        Cell::Number(shape(&t.shape), t.total_weights as f64)
    }),
    Column::new("type", "as stored in the trained checkpoint", |t| Cell::Text(t.dtype.clone()))
        .shown(Shown::Differing),
    Column::new("start", "initialiser of the tensor", |t| text(t.init.clone())),
    Column::new("weights", "number of weights", |t| count(Some(t.total_weights)))
        .total(|totals| Some(thousands(totals.total_weights))),
    Column::new("asleep", "weights within the threshold of their initial value", |t| {
        count(t.changes.sleeping_weights)
    })
    .total(|totals| totals.changes.sleeping_weights.map(thousands)),
    Column::new("share", "sleeping share of the tensor's weights", sleeping_share)
        .total(|totals| totals.changes.sleeping_percentage.map(percent)),
    Column::new("inputs", "inputs in which every weight sleeps", |t| count(t.sleeping_inputs)),
    Column::new("outputs", "outputs in which every weight sleeps", |t| count(t.sleeping_outputs)),
    Column::new("mean |Δ|", "in units of the weights", |t| number(t.changes.mean_delta))
        .total(|totals| totals.changes.mean_delta.map(real)),
    Column::new("max |Δ|", "in units of the weights", |t| number(t.changes.max_delta))
        .total(|totals| totals.changes.max_delta.map(real)),
    Column::new("spread", "standard deviation divided by that of the initial values", |t| {
        times(t.drift.std_ratio)
    }),
    Column::new("norm", "change of the Euclidean norm", |t| change(t.drift.norm_change)),
    Column::new("cosine", "of the angle between the tensor and its initial value; 1: same direction", |t| {
        cosine(t.drift.cosine)
    }),
    Column::new("zeros", "trained weights that are exactly 0", |t| count(t.zeros))
        .total(|totals| totals.zeros.map(thousands)),
    Column::new("NaN, ∞", "trained weights that are not finite", |t| count(t.not_finite))
        .total(|totals| totals.not_finite.map(thousands))
        .shown(Shown::Where(|t| t.not_finite.unwrap_or(0) > 0)),
    Column::new("threshold", "the largest |Δ| of a sleeping weight", |t| {
        text(t.threshold.as_ref().map(on_page))
    })
    .shown(Shown::Differing),
    Column::new("decay", "factor by which weight decay scaled untouched weights", |t| number(t.decay))
        .shown(Shown::Where(|t| t.decay.is_some_and(|decay| decay != 1.0))),
    Column::new("action", "result of pruning the tensor", |t| {
        text(t.action.as_ref().map(|a| a.replace('_', " ")))
    }),
    Column::new("pruned", "weights pruned", |t| count(t.pruned_weights))
        .total(|totals| totals.pruned_weights.map(thousands)),
];

pub(super) fn section(report: &Report) -> String {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| says_something(column, report)).collect();
    let head: String = columns.iter().map(|column| header(column, report)).collect();
    let names: Vec<&str> = report.tensors.iter().map(|t| t.name.as_str()).collect();
    let order = largest(report, by_depth(&names), MOST_TENSORS);
    let rows: String = order.iter().map(|n| row(&report.tensors[*n], &columns)).collect();
    let text = format!(
        "{}<p class=\"tools\"><label class=\"js\">Filter by name <input type=\"search\" id=\"filter\" \
         autocomplete=\"off\" spellcheck=\"false\" placeholder=\"part of a name, or \
         h*.weight\"></label><span id=\"shown\" class=\"js\" role=\"status\"></span></p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of tensors\">\n\
         <table>\n\
         <caption class=\"hidden\">Every tensor of the trained checkpoint</caption>\n\
         <thead><tr><th scope=\"col\" aria-sort=\"none\" title=\"name in the trained checkpoint\"><button \
         type=\"button\">tensor</button></th>{head}</tr></thead>\n\
         <tbody>\n\
         {rows}</tbody>\n\
         {}</table>\n\
         </div>\n\
         <p class=\"note js\">Click a heading to sort by it; click again to reverse the order.</p>\n\
         <details class=\"glossary\"><summary>What the columns mean</summary>\n\
         <dl>{}</dl>\n\
         </details>\n",
        only_largest(order.len(), names.len()),
        totals(report, &columns),
        columns
            .iter()
            .map(|column| format!(
                "<div><dt>{}</dt><dd>{}</dd></div>\n",
                escape(column.head),
                escape(column.meaning)
            ))
            .collect::<String>(),
    );
    titled("table", "Every tensor", &text)
}

fn says_something(column: &Column, report: &Report) -> bool {
    let mut cells = report.tensors.iter().map(column.cell).filter(|cell| !matches!(cell, Cell::Empty));
    match column.shown {
        Shown::Filled => cells.next().is_some(),
        Shown::Differing => {
            let first = cells.next();
            cells.any(|cell| Some(cell) != first)
        }
        Shown::Where(holds) => report.tensors.iter().any(holds),
    }
}

fn header(column: &Column, report: &Report) -> String {
    let class = if is_number(column, report) { " class=\"n\"" } else { "" };
    format!(
        "<th scope=\"col\" aria-sort=\"none\"{class} title=\"{}\"><button type=\"button\">{}</button></th>",
        escape(column.meaning),
        escape(column.head)
    )
}

fn is_number(column: &Column, report: &Report) -> bool {
    report.tensors.iter().any(|t| matches!((column.cell)(t), Cell::Number(..)))
}

fn row(tensor: &ReportTensor, columns: &[&Column]) -> String {
    let name = escape(&tensor.name);
    let mut out =
        format!("<tr data-name=\"{name}\"><th scope=\"row\" title=\"{name}\"><code>{name}</code></th>");
    for column in columns {
        out += &match (column.cell)(tensor) {
            Cell::Empty => "<td class=\"empty\">–</td>".to_owned(),
            Cell::Text(text) => format!("<td>{}</td>", escape(&text)),
            // The share's cell is markup of our own; what is escaped of the others is nothing but digits.
            Cell::Number(text, value) => format!("<td class=\"n\" data-v=\"{value:e}\">{text}</td>"),
        };
    }
    out + "</tr>\n"
}

fn totals(report: &Report, columns: &[&Column]) -> String {
    let total = |column: &&Column| (column.total)(&report.totals).unwrap_or_default();
    let cells: String =
        columns.iter().map(|column| format!("<td class=\"n\">{}</td>", total(column))).collect();
    format!("<tfoot><tr><th scope=\"row\">all</th>{cells}</tr></tfoot>\n")
}

fn sleeping_share(t: &ReportTensor) -> Cell {
    let (Some(share), Some(asleep)) = (t.changes.sleeping_percentage, t.changes.sleeping_weights) else {
        return Cell::Empty;
    };
    let (width, height) = (60.0, 8.0);
    let bar = share_bar(asleep, t.total_weights, (width, height));
    let bar = format!(
        "<svg class=\"mini\" viewBox=\"0 0 {} {}\" aria-hidden=\"true\">{bar}</svg>",
        at(width),
        at(height)
    );
    Cell::Number(format!("{bar}{}", percent(share)), share)
}

fn text(text: Option<String>) -> Cell {
    text.map_or(Cell::Empty, Cell::Text)
}

fn count(n: Option<u64>) -> Cell {
    n.map_or(Cell::Empty, |n| Cell::Number(thousands(n), n as f64))
}

fn number(x: Option<f64>) -> Cell {
    x.map_or(Cell::Empty, |x| Cell::Number(real(x), x))
}

fn times(x: Option<f64>) -> Cell {
    x.map_or(Cell::Empty, |x| Cell::Number(format!("× {}", real(x)), x))
}

fn change(x: Option<f64>) -> Cell {
    let sign = |x: f64| if x < 0.0 { "−" } else { "+" };
    x.map_or(Cell::Empty, |x| Cell::Number(format!("{}{}", sign(x), percent(100.0 * x.abs())), x))
}

fn cosine(x: Option<f64>) -> Cell {
    x.map_or(Cell::Empty, |x| Cell::Number(page::cosine(x), x))
}
