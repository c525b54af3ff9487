//! Tables of one matrix.

use cdi_prune::matrix::{Bin, Check, Decimal, Noise, Reproduction, Statistic, Subject, Summary, Trace};
use cdi_prune::tensor::{FloatDtype, Layout};
use cdi_prune::text::{exponential, shape, thousands};
use clap::ColorChoice;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use crate::cli::tables::{blank, terminal_width};

/// Rows and columns of the corner that is shown.
pub const CORNER: usize = 6;
/// Characters of the longest bar of a histogram.
const BAR: usize = 40;
/// The same in a narrow terminal.
const NARROW_BAR: usize = 24;

/// What the matrix is, in a line; `mode` is what makes its weights.
pub fn title(subject: &Subject, mode: &str) -> String {
    let dims = subject.shape().dims();
    let (fan_in, fan_out) = subject.shape().fans(subject.layout());
    let layout = match subject.layout() {
        Layout::OutIn => String::new(),
        layout => format!(" {layout}"),
    };
    let matrix = subject.matrix();
    let view =
        if dims.len() == 2 { String::new() } else { format!(", read as {} x {}", matrix.rows, matrix.cols) };
    format!(
        "{mode} of {}{layout}{view}, {}, seed {}, layer {}; fan_in {fan_in}, fan_out {fan_out}.",
        shape(dims),
        subject.dtype().name(),
        subject.seed(),
        subject.layer(),
    )
}

/// The first rows and columns with their numbers; what is left out is dots.
pub fn corner(subject: &Subject, color: ColorChoice) -> String {
    let (rows, cols) = (subject.matrix().rows, subject.matrix().cols);
    let weights = subject.corner(CORNER, CORNER);
    let largest = weights.iter().flatten().fold(0.0, |most: f64, x| most.max(x.abs()));
    let columns: Vec<String> = (0..cols.min(CORNER)).map(|j| j.to_string()).collect();
    let dots = "…".to_owned();
    let more = |cells: &mut Vec<String>| {
        if cols > CORNER {
            cells.push(dots.clone());
        }
    };
    let mut header = vec![("", true)];
    header.extend(columns.iter().map(|j| (j.as_str(), true)));
    if cols > CORNER {
        header.push(("…", true));
    }
    let mut table = table(&header, color);
    for (i, row) in weights.iter().enumerate() {
        let mut cells = vec![i.to_string()];
        cells.extend(row.iter().map(|x| weight(*x, largest)));
        more(&mut cells);
        table.add_row(cells);
    }
    if rows > CORNER {
        let mut cells = vec![dots.clone(); 1 + cols.min(CORNER)];
        more(&mut cells);
        table.add_row(cells);
    }
    table.to_string()
}

/// The figures, each with what is expected of it and a mark.
pub fn checks(checks: &[Check], color: ColorChoice) -> String {
    let header = [("figure", false), ("found", true), ("expected", true), ("allowed", false), ("", false)];
    let mut table = table(&header, color);
    for check in checks {
        let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| figure(check, x));
        let allowed = match (check.expected, check.at_least, check.at_most) {
            (_, Some(low), Some(high)) if low == high => format!("exactly {}", figure(check, low)),
            (Some(expected), Some(_), Some(high)) => format!("± {}", figure(check, high - expected)),
            (None, Some(low), Some(high)) => format!("{} to {}", figure(check, low), figure(check, high)),
            (_, None, Some(high)) => format!("up to {}", figure(check, high)),
            _ => String::new(),
        };
        table.add_row([
            Cell::new(check.statistic.name()),
            Cell::new(number(check.found)),
            Cell::new(number(check.expected)),
            Cell::new(check.note.clone().unwrap_or(allowed)),
            mark(check.ok),
        ]);
    }
    table.to_string()
}

/// What the marks come to.
pub fn verdict(subject: &Subject, summary: &Summary) -> String {
    if summary.exact.is_none() {
        let scheme = subject.scheme();
        return if scheme.is_random() {
            format!("No exact distribution is known for the weights of {scheme}.")
        } else {
            format!(
                "{scheme} draws nothing: its weights are fixed, so there is no distribution to compare them \
                 with."
            )
        };
    }
    let off: Vec<&str> = summary
        .checks
        .iter()
        .filter(|check| check.ok == Some(false))
        .map(|check| check.statistic.name())
        .collect();
    let mut text = if off.is_empty() {
        "All statistics are as expected.".to_owned()
    } else {
        format!("OFF: {}.", off.join(", "))
    };
    text += " Fewer than one in a thousand correct matrices exceed the allowed ranges by chance.";
    if let Some(distance) = summary.distance.filter(|distance| distance.weights < subject.weights() as u64) {
        text +=
            &format!("\nThe KS distance is computed from {} of the weights.", thousands(distance.weights));
    }
    text
}

/// Modes side by side, figures below each other.
pub fn side_by_side(modes: &[(Subject, Summary)], color: ColorChoice) -> String {
    let names: Vec<String> = modes.iter().map(|(subject, _)| subject.scheme().to_string()).collect();
    let mut header = vec![("figure", false)];
    for name in &names {
        header.extend([(name.as_str(), true), ("", false)]);
    }
    let mut table = table(&header, color);
    let longest = modes.iter().map(|(_, summary)| &summary.checks).max_by_key(|checks| checks.len());
    let mut notes = Vec::new();
    for statistic in longest.into_iter().flatten().map(|check| check.statistic) {
        let name = statistic.name();
        let mut cells = vec![Cell::new(name)];
        let mut expected = vec![Cell::new(format!("{name} expected"))];
        for (_, summary) in modes {
            let check = summary.checks.iter().find(|check| check.statistic == statistic);
            let number = |x: Option<f64>| check.zip(x).map_or("-".to_owned(), |(c, x)| figure(c, x));
            cells.extend([Cell::new(number(check.and_then(|c| c.found))), mark(check.and_then(|c| c.ok))]);
            expected.extend([Cell::new(number(check.and_then(|c| c.expected))), Cell::new("")]);
            notes.extend(check.and_then(|c| c.note.as_ref()).map(|note| format!("\nThe {name} is {note}.")));
        }
        table.add_row(cells);
        // Zero is expected of all of the others.
        if statistic == Statistic::Std {
            table.add_row(expected);
        }
    }
    notes.dedup();
    let title = modes.first().map(|(subject, _)| title(subject, &names.join(", "))).unwrap_or_default();
    format!("{title}\n{table}{}", notes.concat())
}

/// A histogram: a bar for the share found, a stroke across it where the exact one would end.
pub fn histogram(bins: &[Bin], color: ColorChoice) -> String {
    let exact = bins.iter().any(|bin| bin.exact.is_some());
    let mut header = vec![("from", true), ("to", true), ("weights", true), ("share %", true)];
    if exact {
        header.push(("exact %", true));
    }
    header.push(("", false));
    let mut table = table(&header, color);
    let largest = bins.iter().flat_map(|bin| [bin.share, bin.exact.unwrap_or(0.0)]).fold(0.0, f64::max);
    let most = if is_narrow() { NARROW_BAR } else { BAR };
    let place = |share: f64| (share / largest * most as f64).round() as usize;
    for bin in bins {
        let edge = |x: Option<f64>| x.map(real).unwrap_or_default();
        let percent = |share: f64| format!("{:.3}", 100.0 * share);
        let mut cells = vec![edge(bin.low), edge(bin.high), thousands(bin.weights), percent(bin.share)];
        cells.extend(bin.exact.map(percent));
        let (filled, stroke) = (place(bin.share), bin.exact.map(place));
        let bar: String = (0..=most)
            .map(|n| match n {
                n if stroke == Some(n) => '│',
                n if n < filled => '█',
                _ => ' ',
            })
            .collect();
        cells.push(bar.trim_end().to_owned());
        table.add_row(cells);
    }
    let legend = if exact { "Bars: found. Strokes: the exact distribution." } else { "Bars: found." };
    format!("{table}\n{legend} These are the weights before they are rounded to the stored type.")
}

/// One weight and its draws.
pub fn trace(trace: &Trace, dtype: FloatDtype, color: ColorChoice) -> String {
    let mut table = table(&[("", false), ("value", true), ("bits", false)], color);
    let mut row = |what: String, value: String, bits: &str| {
        table.add_row([what, value, bits.to_owned()]);
    };
    row("row key".to_owned(), String::new(), &trace.row_key);
    let pair = trace.draws.len() == 2;
    for (n, draw) in trace.draws.iter().enumerate() {
        let name = if pair { format!("u{}", n + 1) } else { "u".to_owned() };
        row(format!("draw {}, {name}", draw.index), format!("{:?}", draw.uniform), &draw.bits);
    }
    if let (true, Some(drawn)) = (pair, trace.drawn) {
        let function = if trace.noise == Noise::Cosine { "cos" } else { "sin" };
        row(format!("sqrt(-2 ln u1) {function}(2 pi u2)"), format!("{drawn:?}"), "");
    }
    row("weight".to_owned(), format!("{:?}", trace.weight), &trace.weight_bits);
    let stored = Decimal { x: trace.stored, dtype }.to_string();
    row(format!("stored as {}", dtype.name()), stored, &trace.stored_bits);
    let without = match trace.noise {
        Noise::Fixed => "\nNothing is drawn for this weight.",
        Noise::Whole => "\nThis weight has no draws of its own: all weights are generated together.",
        _ => "",
    };
    format!("The weight at ({}, {}):\n{table}{without}", trace.row, trace.column)
}

/// The weights made in several ways.
pub fn reproduction(reproduction: &Reproduction, color: ColorChoice) -> String {
    let header =
        [("made again", false), ("weights that differ", true), ("largest difference", true), ("", false)];
    let mut table = table(&header, color);
    for way in &reproduction.ways {
        table.add_row([
            Cell::new(&way.way),
            Cell::new(thousands(way.differing)),
            Cell::new(real(way.largest)),
            mark(Some(way.differing == 0)),
        ]);
    }
    format!(
        "{table}\n\
         Each is compared bit by bit with the weights generated in blocks on one thread. SHA-256 of the \
         stored weights:\n\
         {}",
        reproduction.sha256
    )
}

fn mark(ok: Option<bool>) -> Cell {
    match ok {
        None => Cell::new(""),
        Some(true) => Cell::new("ok").fg(Color::Green),
        Some(false) => Cell::new("OFF").fg(Color::Red),
    }
}

/// A figure in the form of its kind: counts are whole.
fn figure(check: &Check, x: f64) -> String {
    match check.statistic {
        Statistic::Zeros | Statistic::NotFinite => {
            let count = thousands(x.abs() as u64);
            if x < 0.0 { "0".to_owned() } else { count }
        }
        Statistic::Condition if x < 10.0 => format!("{x:.7}"),
        _ => real(x),
    }
}

fn real(x: f64) -> String {
    exponential(x, 4)
}

/// The form of weights that are shown together: with a fixed point where the largest of them allows it.
fn weight(x: f64, largest: f64) -> String {
    match x {
        0.0 => "0".to_owned(),
        _ if (1e-3..1e4).contains(&largest) => format!("{x:.6}"),
        _ => format!("{x:.4e}"),
    }
}

/// A table with these titles, of which some are those of numbers.
fn table(header: &[(&str, bool)], color: ColorChoice) -> Table {
    let mut table = blank(color);
    table.set_header(header.iter().map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
    for (n, (_, number)) in header.iter().enumerate() {
        if let (true, Some(column)) = (*number, table.column_mut(n)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // Columns nearer to each other make the widest of these tables fit 80 columns.
    for n in (0..header.len()).filter(|_| is_narrow()) {
        if let Some(column) = table.column_mut(n) {
            column.set_padding((0, 0));
        }
    }
    table
}

/// Whether the terminal is narrower than the widest of these tables.
fn is_narrow() -> bool {
    terminal_width().is_some_and(|width| width < 101)
}
