//! A picture, and the shapes that it is drawn with.

use std::fmt::{Display, Write as _};

use crate::report::Report;
use crate::report::escape::escape;
use crate::report::order::by_depth;
use crate::text::{counted, thousands};

/// A picture: its parts carry classes, which the page or [`STYLE`] colours.
pub(in crate::report) struct Plot {
    pub width: f64,
    pub height: f64,
    /// What it shows, for those who do not see it.
    pub title: String,
    pub body: String,
}

/// The colours of a plot in a file, on white.
const STYLE: &str = include_str!("plot.css");

impl Plot {
    /// As a part of the page.
    pub fn inline(&self) -> String {
        let Self { width, height, title, body } = self;
        format!(
            "<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
            at(*width),
            at(*height),
            escape(title)
        )
    }

    /// As a file.
    pub fn file(&self) -> String {
        let Self { width, height, title, body } = self;
        let (w, h) = (at(*width), at(*height));
        let style = STYLE.trim_end();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n\
             <title>{}</title>\n<style>\n{style}\n</style>\n<rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n{body}\n</svg>\n",
            escape(title)
        )
    }

    /// At a place in a larger one.
    pub(super) fn put(&self, into: &mut String, x: f64, y: f64) {
        let _ = writeln!(into, "<g transform=\"translate({} {})\">{}</g>", at(x), at(y), self.body);
    }
}

/// Tensors of which weights were compared, in the model's order.
pub(in crate::report) fn compared(report: &Report) -> Vec<usize> {
    let names: Vec<&str> = report.tensors.iter().map(|t| t.name.as_str()).collect();
    let known = |n: &usize| {
        report.tensors[*n].changes.changed_weights.is_some() && report.tensors[*n].total_weights > 0
    };
    by_depth(&names).into_iter().filter(known).collect()
}

/// A coordinate, to a tenth.
pub(in crate::report) fn at(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

pub(super) fn rect(into: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    let (x, y, width, height) = (at(x), at(y), at(width), at(height));
    let _ =
        write!(into, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>");
}

pub(super) fn line(into: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let (x1, y1, x2, y2) = (at(x1), at(y1), at(x2), at(y2));
    let _ = write!(into, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
}

/// `anchor` is start, middle or end.
pub(super) fn label(into: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), words: impl Display) {
    let (x, y, words) = (at(x), at(y), escape(&words.to_string()));
    let _ = write!(into, "<text class=\"{class} {anchor}\" x=\"{x}\" y=\"{y}\">{words}</text>");
}

/// The line that names a report's model in a file's heading.
pub(super) fn subject(report: &Report, tensors: usize) -> String {
    let changes = &report.totals.changes;
    format!(
        "{}, {} of {} asleep · seed {}",
        counted(tensors as u64, "tensor"),
        thousands(changes.sleeping_weights.unwrap_or(0)),
        counted(report.totals.compared_weights, "weight"),
        report.seed
    )
}
