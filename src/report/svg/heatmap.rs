//! The heat map of one tensor as a file of its own: the cells as an embedded picture, one point a cell.

use super::plot::{Plot, at, label, line, rect};
use crate::analysis::HeatMap;
use crate::report::ReportTensor;
use crate::report::escape::base64;
use crate::report::levels::{ASLEEP_COLOUR, NOT_FINITE_COLOUR, RAMP, Scale, hex};
use crate::report::narrative::{columns_shown, rows_shown};
use crate::report::svg::png::png;
use crate::text::page::{percent, power, shape};
use crate::text::shortened;
use crate::text::thousands;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 74.0;

pub(super) fn heat_map(tensor: &ReportTensor, map: &HeatMap, scale: Scale) -> Plot {
    let (rows, columns) = (map.grid.rows, map.grid.columns);
    let width = WIDTH - LEFT - 20.0;
    // Square cells where that is neither a line nor a tower.
    let height = (width * rows as f64 / columns as f64).clamp(24.0, 480.0);
    let mut body = String::new();
    label(&mut body, "heading", "start", (16.0, 26.0), shortened(&tensor.name, 70));
    let asleep = tensor.changes.sleeping_percentage.map(percent).unwrap_or_default();
    let words = format!("{} {} · {asleep} asleep", shape(&tensor.shape), tensor.dtype);
    label(&mut body, "", "start", (16.0, 45.0), words);
    label(&mut body, "", "start", (LEFT, TOP - 7.0), format!("{} →", columns_shown(tensor, map)));
    body.push_str(&format!(
        "<text class=\"end\" transform=\"translate({} {}) rotate(-90)\">← {}</text>",
        at(LEFT - 8.0),
        at(TOP),
        if height > 150.0 { rows_shown(tensor, map) } else { "rows".to_owned() }
    ));
    let pixels: Vec<[u8; 3]> = map.cells.iter().map(|cell| scale.colour(cell)).collect();
    let picture = base64(&png(columns, &pixels));
    body.push_str(&format!(
        "<image class=\"pixels\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
         href=\"data:image/png;base64,{picture}\"/>",
        at(LEFT),
        at(TOP),
        at(width),
        at(height)
    ));
    rect(&mut body, "frame", (LEFT, TOP), (width, height));
    let bottom = TOP + height;
    if height <= 150.0 {
        label(&mut body, "", "start", (LEFT, bottom + 16.0), rows_shown(tensor, map));
    }
    legend(&mut body, scale, map.cells.iter().any(|cell| !cell.finite), bottom + 30.0);
    let title = format!("Heat map of |Δ| of {}, {} cells", tensor.name, thousands((rows * columns) as u64));
    Plot { width: WIDTH, height: bottom + 76.0, title, body }
}

fn legend(body: &mut String, scale: Scale, not_finite: bool, y: f64) {
    const BAR: f64 = 260.0;
    body.push_str("<defs><linearGradient id=\"ramp\">");
    for (n, colour) in RAMP.iter().enumerate() {
        let offset = at(100.0 * n as f64 / (RAMP.len() - 1) as f64);
        body.push_str(&format!("<stop offset=\"{offset}%\" stop-color=\"{}\"/>", hex(*colour)));
    }
    body.push_str("</linearGradient></defs>");
    let x = at(LEFT);
    body.push_str(&format!(
        "<rect x=\"{x}\" y=\"{}\" width=\"{BAR}\" height=\"12\" fill=\"url(#ramp)\"/>",
        at(y)
    ));
    for (exponent, place) in scale.ticks() {
        let x = LEFT + BAR * place;
        line(body, "axis", (x, y + 12.0), (x, y + 16.0));
        label(body, "", "middle", (x, y + 28.0), power(exponent));
    }
    label(body, "", "middle", (LEFT + BAR / 2.0, y + 41.0), "mean |Δ| of a cell, in units of the weights");
    let mut swatch = |x: f64, colour: [u8; 3], words: &str| {
        let colour = hex(colour);
        body.push_str(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>",
            at(x),
            at(y)
        ));
        label(body, "", "start", (x + 17.0, y + 10.0), words);
    };
    swatch(LEFT + BAR + 24.0, ASLEEP_COLOUR, "every weight asleep; mixed where some are");
    if not_finite {
        swatch(LEFT + BAR + 264.0, NOT_FINITE_COLOUR, "NaN or infinite");
    }
}
