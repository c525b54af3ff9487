//! The table: a row for every tensor of the checkpoint, sorted by any column.

use super::{MOST_TENSORS, largest, only_largest, titled};
use crate::report::escape::escape;
use crate::report::narrative::threshold;
use crate::report::order::by_depth;
use crate::report::svg::{at, share_bar};
use crate::report::{Report, ReportTensor};
use crate::text::page::{percent, real, shape};
use crate::text::thousands;

/// What a cell shows, and the number that it is sorted by; text is sorted as text.
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
}

const COLUMNS: [Column; 16] = [
    Column {
        head: "shape",
        meaning: "outermost dimension first",
        cell: |t| Cell::Number(shape(&t.shape), t.total_weights as f64),
    },
    Column {
        head: "type",
        meaning: "as stored in the trained checkpoint",
        cell: |t| Cell::Text(t.dtype.clone()),
    },
    Column { head: "start", meaning: "initialiser of the tensor", cell: |t| text(t.init.clone()) },
    Column { head: "weights", meaning: "number of weights", cell: |t| count(Some(t.total_weights)) },
    Column {
        head: "asleep",
        meaning: "weights within the threshold of their initial value",
        cell: |t| count(t.changes.sleeping_weights),
    },
    Column { head: "share", meaning: "sleeping share of the tensor's weights", cell: sleeping_share },
    Column {
        head: "inputs",
        meaning: "inputs in which every weight sleeps",
        cell: |t| count(t.sleeping_inputs),
    },
    Column {
        head: "outputs",
        meaning: "outputs in which every weight sleeps",
        cell: |t| count(t.sleeping_outputs),
    },
    Column { head: "mean |Δ|", meaning: "in units of the weights", cell: |t| number(t.changes.mean_delta) },
    Column { head: "max |Δ|", meaning: "in units of the weights", cell: |t| number(t.changes.max_delta) },
    Column {
        head: "spread",
        meaning: "standard deviation divided by that of the initial values",
        cell: |t| times(t.drift.std_ratio),
    },
    Column { head: "norm", meaning: "change of the Euclidean norm", cell: |t| change(t.drift.norm_change) },
    Column {
        head: "cosine",
        meaning: "of the angle between the tensor and its initial value; 1: same direction",
        cell: |t| cosine(t.drift.cosine),
    },
    Column { head: "zeros", meaning: "trained weights that are exactly 0", cell: |t| count(t.zeros) },
    Column {
        head: "NaN, ∞", meaning: "trained weights that are not finite", cell: |t| count(t.not_finite)
    },
    Column {
        head: "threshold",
        meaning: "the largest |Δ| of a sleeping weight",
        cell: |t| text(t.threshold.as_ref().map(threshold)),
    },
];

const DECAY: Column = Column {
    head: "decay",
    meaning: "factor by which weight decay scaled untouched weights",
    cell: |t| number(t.decay),
};

const PRUNED: [Column; 2] = [
    Column {
        head: "action",
        meaning: "result of pruning the tensor",
        cell: |t| text(t.action.as_ref().map(|a| a.replace('_', " "))),
    },
    Column { head: "pruned", meaning: "weights pruned", cell: |t| count(t.pruned_weights) },
];

pub(super) fn section(report: &Report) -> String {
    let pruned = report.totals.pruned_weights.is_some();
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .chain([&DECAY])
        .chain(PRUNED.iter().filter(|_| pruned))
        .filter(|column| says_something(column, report))
        .collect();
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

/// A column that is empty, or the same for all and told elsewhere, is left out.
fn says_something(column: &Column, report: &Report) -> bool {
    let all = || report.tensors.iter();
    match column.head {
        "NaN, ∞" => all().any(|t| t.not_finite.unwrap_or(0) > 0),
        "decay" => all().any(|t| t.decay.is_some_and(|decay| decay != 1.0)),
        "threshold" => differs(all().filter_map(|t| t.threshold.as_ref()).map(threshold)),
        "type" => differs(all().map(|t| t.dtype.clone())),
        _ => all().any(|t| !matches!((column.cell)(t), Cell::Empty)),
    }
}

fn differs(mut values: impl Iterator<Item = String>) -> bool {
    let first = values.next();
    values.any(|x| Some(x) != first)
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
    let totals = &report.totals;
    let cells: String = columns
        .iter()
        .map(|column| {
            let value = match column.head {
                "weights" => Some(thousands(totals.total_weights)),
                "asleep" => totals.changes.sleeping_weights.map(thousands),
                "share" => totals.changes.sleeping_percentage.map(percent),
                "mean |Δ|" => totals.changes.mean_delta.map(real),
                "max |Δ|" => totals.changes.max_delta.map(real),
                "zeros" => totals.zeros.map(thousands),
                "NaN, ∞" => totals.not_finite.map(thousands),
                "pruned" => totals.pruned_weights.map(thousands),
                _ => None,
            };
            format!("<td class=\"n\">{}</td>", value.unwrap_or_default())
        })
        .collect();
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
    x.map_or(Cell::Empty, |x| Cell::Number(format!("{x:.3}").replace('-', "−"), x))
}
