//! Plots as SVG: within the page, where its style colours them, and as files of their own.

mod bars;
mod evidence;
mod heatmap;
mod histogram;
mod names;
mod png;
mod tune;

use std::fmt::{Display, Write as _};

pub(super) use bars::{bar, share_bar};
pub(super) use evidence::{evidence, has_live_line};
pub(super) use histogram::{Axis, delta_histogram, is_mixed};
pub use names::heat_map_names;
pub(super) use tune::tune;

use super::Report;
use super::escape::escape;
use super::format::counted;
use super::levels::Scale;
use super::order::by_depth;
use super::text::thousands;
use crate::analysis::HeatMap;

/// A picture: its parts carry classes, which the page or [`STYLE`] colours.
pub(super) struct Plot {
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
    fn put(&self, into: &mut String, x: f64, y: f64) {
        let _ = writeln!(into, "<g transform=\"translate({} {})\">{}</g>", at(x), at(y), self.body);
    }
}

/// Every plot of a report as a file: name and text. `names` are those of [`heat_map_names`].
pub fn svg_files(report: &Report, maps: &[Option<HeatMap>], names: &[String]) -> Vec<(String, String)> {
    let mut files = vec![
        (FIXED_NAMES[0].to_owned(), bars::all(report).file()),
        (FIXED_NAMES[1].to_owned(), histogram::all(report).file()),
    ];
    if !report.evidence.is_empty() {
        files.push((FIXED_NAMES[2].to_owned(), evidence::all(report).file()));
    }
    if let Some(found) = &report.tune {
        files.push((FIXED_NAMES[3].to_owned(), tune(found).file()));
    }
    let scale = Scale::of(maps.iter().flatten());
    for ((tensor, map), name) in report.tensors.iter().zip(maps).zip(names) {
        if let Some(map) = map {
            files.push((name.clone(), heatmap::heat_map(tensor, map, scale).file()));
        }
    }
    files
}

/// The files beside the heat maps.
pub const FIXED_NAMES: [&str; 4] = ["layers.svg", "delta_histograms.svg", "evidence.svg", "tune.svg"];

/// Tensors of which weights were compared, in the model's order.
pub(super) fn compared(report: &Report) -> Vec<usize> {
    let names: Vec<&str> = report.tensors.iter().map(|t| t.name.as_str()).collect();
    let known = |n: &usize| {
        report.tensors[*n].changes.changed_weights.is_some() && report.tensors[*n].total_weights > 0
    };
    by_depth(&names).into_iter().filter(known).collect()
}

/// A coordinate, to a tenth.
pub(super) fn at(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn rect(into: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    let (x, y, width, height) = (at(x), at(y), at(width), at(height));
    let _ =
        write!(into, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>");
}

fn line(into: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let (x1, y1, x2, y2) = (at(x1), at(y1), at(x2), at(y2));
    let _ = write!(into, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
}

/// `anchor` is start, middle or end.
fn label(into: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), words: impl Display) {
    let (x, y, words) = (at(x), at(y), escape(&words.to_string()));
    let _ = write!(into, "<text class=\"{class} {anchor}\" x=\"{x}\" y=\"{y}\">{words}</text>");
}

/// The line that names a report's model in a file's heading.
fn subject(report: &Report, tensors: usize) -> String {
    let changes = &report.totals.changes;
    format!(
        "{}, {} of {} asleep · seed {}",
        counted(tensors as u64, "tensor"),
        thousands(changes.sleeping_weights.unwrap_or(0)),
        counted(report.totals.compared_weights, "weight"),
        report.seed
    )
}
