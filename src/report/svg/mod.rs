//! Plots as SVG: within the page, where its style colours them, and as files of their own.

mod bars;
mod evidence;
mod heatmap;
mod histogram;
mod names;
mod plot;
mod png;
mod tune;

use super::Report;
use super::levels::Scale;
use crate::analysis::HeatMap;
pub(super) use bars::{bar, share_bar};
pub(super) use evidence::{evidence, has_live_line};
pub(super) use histogram::{Axis, delta_histogram, is_mixed};
pub use names::heat_map_names;
pub(super) use plot::{at, compared};
pub(super) use tune::tune;

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
