//! A card for each tensor: its heat map, its histogram, and how far it has come.

use super::{code, largest, titled};
use crate::analysis::HeatMap;
use crate::report::escape::{base64, escape};
use crate::report::levels::{self, Scale};
use crate::report::narrative::{columns_shown, rows_shown};
use crate::report::order::kinds;
use crate::report::svg::{Axis, at, compared, delta_histogram, is_mixed, share_bar};
use crate::report::{Report, ReportTensor};
use crate::text::counted;
use crate::text::page::{self, percent, power, real, shape};
use crate::text::thousands;

/// With more tensors than this they are grouped by kind and folded up.
const MOST_OPEN: usize = 24;
/// A kind with more tensors than this is not open from the start.
const MOST_AT_ONCE: usize = 8;
/// Cards of a page at the most: those of the tensors with the most weights.
const MOST_CARDS: usize = 1000;

pub(super) fn section(report: &Report, maps: &[Option<HeatMap>], scale: Scale) -> String {
    let order = compared(report);
    if order.is_empty() {
        return String::new();
    }
    let all = order.len();
    let order = largest(report, order, MOST_CARDS);
    let axis = Axis::of(report);
    let card = |n: &usize| card(&report.tensors[*n], maps[*n].as_ref(), axis);
    let mut text = reduced(report, maps, all, order.len());
    text += &legend(scale, maps.iter().flatten().flat_map(|map| &map.cells).any(|cell| !cell.finite));
    if order.len() <= MOST_OPEN {
        text += &format!("<div class=\"cards\">\n{}</div>\n", order.iter().map(card).collect::<String>());
    } else {
        let names: Vec<&str> = report.tensors.iter().map(|t| t.name.as_str()).collect();
        let groups = kinds(&names, &order);
        let asleep = |members: &[usize]| {
            members.iter().filter_map(|n| report.tensors[*n].changes.sleeping_weights).sum::<u64>()
        };
        // The one that sleeps most is the one to look at, if that is no long way.
        let few = groups.iter().enumerate().filter(|(_, (_, of))| of.len() <= MOST_AT_ONCE);
        let first = few.max_by_key(|(n, (_, of))| (asleep(of), std::cmp::Reverse(*n))).map(|(n, _)| n);
        text += "<p class=\"tools js\"><button type=\"button\" id=\"unfold\">Open all</button>\
                 <button type=\"button\" id=\"fold\">Close all</button></p>\n";
        for (n, (pattern, members)) in groups.iter().enumerate() {
            let weights = members.iter().map(|n| report.tensors[*n].total_weights).sum();
            let cards: String = members.iter().map(card).collect();
            let open = if Some(n) == first { " open" } else { "" };
            text += &format!(
                "<details class=\"kind\"{open}>\n<summary>{}<span>{}, {}</span>{}</summary>\n<div class=\"cards\">\n{cards}</div>\n</details>\n",
                code(pattern),
                counted(members.len() as u64, "tensor"),
                counted(weights, "weight"),
                mini(asleep(members), weights),
            );
        }
    }
    let section = titled("maps", "Heat maps and histograms", &text);
    let (low, high) = (scale.low, scale.high);
    section.replacen("<section", &format!("<section data-low=\"{low}\" data-high=\"{high}\""), 1)
}

fn mini(asleep: u64, of: u64) -> String {
    let (width, height) = (60.0, 8.0);
    let share = percent(100.0 * crate::report::share(asleep, of));
    let bar = share_bar(asleep, of, (width, height));
    format!(
        "<span class=\"n\"><svg class=\"mini\" viewBox=\"0 0 {} {}\" aria-hidden=\"true\">{bar}</svg>{share} asleep</span>",
        at(width),
        at(height)
    )
}

/// What the maps show, and what a large model made smaller or left out.
fn reduced(report: &Report, maps: &[Option<HeatMap>], compared: usize, cards: usize) -> String {
    let grids = || maps.iter().flatten().map(|map| map.grid);
    let mut text = "<p class=\"note\">Each row of a map shows one row of the tensor (first dimension × all \
                    others); each cell shows the mean |Δ| of neighbouring columns. Dead inputs appear as \
                    blue stripes."
        .to_owned();
    if grids().any(|grid| grid.rows < grid.matrix.rows || grid.columns < grid.matrix.cols) {
        let most = |of: fn(crate::analysis::Grid) -> usize| grids().map(of).max().unwrap_or(0);
        let (rows, columns) = (most(|grid| grid.rows), most(|grid| grid.columns));
        text += &format!(" Large tensors are reduced, here to at most {rows} rows of {columns} cells.");
    }
    let without = compared - grids().count().min(compared);
    if without > 0 {
        text += &format!(
            " This model has too many tensors to show a map for each; {} without one.",
            counted(without as u64, "tensor")
        );
    }
    if cards < compared {
        text +=
            &format!(" Cards are shown for the {cards} largest of {}.", counted(compared as u64, "tensor"));
    }
    if report.tensors.iter().any(is_mixed) {
        text += " Grey bars of a histogram contain sleeping and changed weights, because the threshold \
                 differs from weight to weight.";
    }
    text + "</p>\n\
            <noscript><p class=\"note\">The heat maps need scripts, which are disabled in this browser. \
            <code>analyze.report.svg: FOLDER</code> writes the maps as files.</p></noscript>\n"
}

/// The colours of the maps.
fn legend(scale: Scale, not_finite: bool) -> String {
    let (width, bar) = (360.0, 324.0);
    let left = (width - bar) / 2.0;
    let mut ticks = String::new();
    for (exponent, place) in scale.ticks() {
        let x = at(left + bar * place);
        ticks += &format!(
            "<line class=\"axis\" x1=\"{x}\" y1=\"14\" x2=\"{x}\" y2=\"18\"/><text class=\"middle\" x=\"{x}\" y=\"30\">{}</text>",
            power(exponent)
        );
    }
    let last = levels::RAMP.len() - 1;
    let stops: String = (0..=last)
        .map(|n| format!("<stop class=\"r{n}\" offset=\"{}%\"/>", at(100.0 * n as f64 / last as f64)))
        .collect();
    let not_finite =
        if not_finite { "<li><i class=\"broken\"></i>contains NaN or infinity</li>" } else { "" };
    format!(
        "<div class=\"ramp js\">\n<figure><svg class=\"plot\" viewBox=\"0 0 {} 34\" role=\"img\" aria-label=\"Colour scale of mean |Δ|, logarithmic\">\
         <defs><linearGradient id=\"ramp\">{stops}</linearGradient></defs>\
         <rect x=\"{}\" y=\"0\" width=\"{}\" height=\"14\" fill=\"url(#ramp)\"/><g id=\"ticks\">{ticks}</g></svg>\
         <figcaption>mean |Δ| of a cell, log scale, in units of the weights</figcaption></figure>\n\
         <ul class=\"legend\"><li><i class=\"sleep\"></i>every weight asleep</li><li><i class=\"half\"></i>half of them</li>{not_finite}</ul>\n\
         <fieldset class=\"choice\"><legend>Colours</legend>\
         <label><input type=\"radio\" name=\"scale\" value=\"all\" checked>one scale for all</label>\
         <label><input type=\"radio\" name=\"scale\" value=\"own\">each map its own</label></fieldset>\n</div>\n",
        at(width),
        at(left),
        at(bar),
    )
}

fn card(tensor: &ReportTensor, map: Option<&HeatMap>, axis: Axis) -> String {
    let asleep = tensor.changes.sleeping_weights.unwrap_or(0);
    let share = percent(tensor.changes.sleeping_percentage.unwrap_or(0.0));
    let init = tensor.init.as_deref().unwrap_or("–");
    let map = map.map(|map| picture(tensor, map)).unwrap_or_default();
    let plot = delta_histogram(tensor, axis).map(|plot| plot.inline()).unwrap_or_default();
    format!(
        "<article class=\"card tensor\" data-name=\"{}\">\n<h3>{}</h3>\n\
         <p class=\"meta\">{} · {} · {} · <b>{share}</b> asleep, {} of {}</p>\n\
         <div class=\"plots\">\n<div>\n{map}{}</div>\n<figure class=\"histogram\">{plot}</figure>\n</div>\n</article>\n",
        escape(&tensor.name),
        code(&tensor.name),
        shape(&tensor.shape),
        escape(&tensor.dtype),
        escape(init),
        thousands(asleep),
        thousands(tensor.total_weights),
        facts(tensor),
    )
}

/// The canvas that the script draws on, with a byte a cell for its level and, where some sleep,
/// one for their share.
fn picture(tensor: &ReportTensor, map: &HeatMap) -> String {
    let grid = map.grid;
    let levels: Vec<u8> = map.cells.iter().map(levels::level).collect();
    let asleep: Vec<u8> = map.cells.iter().map(levels::asleep).collect();
    let asleep = if asleep.iter().all(|share| *share == 0) {
        String::new()
    } else {
        format!(" data-asleep=\"{}\"", base64(&asleep))
    };
    let (rows, columns) = (rows_shown(tensor, map), columns_shown(tensor, map));
    let all = map.cells.iter().filter(|cell| cell.asleep == 1.0).count();
    let class = if grid.rows == 1 { " strip" } else { "" };
    let rows_label =
        if grid.rows == 1 { String::new() } else { format!("<span class=\"rows\">← {rows}</span>") };
    format!(
        "<figure class=\"map js{class}\"><span class=\"columns\">{columns} →</span>{rows_label}\
         <canvas width=\"{}\" height=\"{}\" data-rows=\"{}\" data-columns=\"{}\" data-levels=\"{}\"{asleep} role=\"img\" \
         aria-label=\"Heat map of |Δ|: {rows} by {columns}; in {} of {} cells every weight sleeps\"></canvas>\
         <figcaption class=\"own\"></figcaption></figure>\n",
        grid.columns,
        grid.rows,
        grid.matrix.rows,
        grid.matrix.cols,
        base64(&levels),
        thousands(all as u64),
        thousands(map.cells.len() as u64),
    )
}

fn facts(tensor: &ReportTensor) -> String {
    let drift = &tensor.drift;
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(quantiles) = drift.delta_quantiles {
        let three = [quantiles.p50, quantiles.p90, quantiles.p99].map(real).join(" / ");
        facts.push(("|Δ| P50 / P90 / P99", three));
    }
    if let Some(quantiles) = drift.delta_over_std {
        let three = [quantiles.p50, quantiles.p90, quantiles.p99].map(real).join(" / ");
        facts.push(("… in initial standard deviations", three));
    }
    if let Some(ratio) = drift.std_ratio {
        facts.push(("std / initial std", format!("× {}", real(ratio))));
    }
    if let Some(cosine) = drift.cosine {
        facts.push(("cosine with the initial values", page::cosine(cosine)));
    }
    if let (Some(inputs), Some(outputs)) = (tensor.sleeping_inputs, tensor.sleeping_outputs) {
        facts.push(("sleeping inputs, outputs", format!("{}, {}", thousands(inputs), thousands(outputs))));
    }
    let facts: String = facts
        .into_iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    format!("<dl class=\"pairs\">{facts}</dl>\n")
}
