//! The verdict in words, the totals, and what the page was made from.

use super::titled;
use crate::report::condition::on_page;
use crate::report::escape::escape;
use crate::report::narrative::{findings, headline, subline};
use crate::report::svg::{at, share_bar};
use crate::report::{Report, share};
use crate::text::page::{factor, percent, real};
use crate::text::thousands;

pub(super) fn section(report: &Report) -> String {
    let totals = &report.totals;
    let mut text = format!("<p class=\"lead\">{}</p>\n", escape(&subline(report)));
    if totals.compared_weights > 0 {
        let (asleep, all) = (totals.changes.sleeping_weights.unwrap_or(0), totals.compared_weights);
        let (width, height) = (1000.0, 26.0);
        text += &format!(
            "<svg class=\"bar whole\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{} asleep, {} awakened\">{}</svg>\n<ul class=\"legend\">\
             <li><i class=\"sleep\"></i>asleep {}</li><li><i class=\"awake\"></i>awakened {}</li></ul>\n",
            at(width),
            at(height),
            thousands(asleep),
            thousands(all - asleep),
            share_bar(asleep, all, (width, height)),
            percent(100.0 * share(asleep, all)),
            percent(100.0 * share(all - asleep, all)),
        );
    }
    text += &tiles(report);
    text += "<dl class=\"findings\">\n";
    for finding in findings(report) {
        let class = if finding.warns { " class=\"warn\"" } else { "" };
        text += &format!("<div{class}><dt>{}</dt><dd>{}</dd></div>\n", finding.about, escape(&finding.text));
    }
    text += "</dl>\n";
    titled("summary", &escape(&headline(report)), &text).replace("<h2", "<h1").replace("</h2>", "</h1>")
}

fn tiles(report: &Report) -> String {
    let totals = &report.totals;
    let sum = |of: fn(&crate::report::ReportTensor) -> Option<u64>| {
        thousands(report.tensors.iter().filter_map(of).sum::<u64>())
    };
    let mut tiles = vec![
        ("weights", thousands(totals.total_weights), "in floating-point tensors"),
        ("asleep", thousands(totals.changes.sleeping_weights.unwrap_or(0)), "within the threshold"),
        ("dead inputs", sum(|t| t.sleeping_inputs), "every weight asleep"),
        ("sleeping outputs", sum(|t| t.sleeping_outputs), "every weight asleep"),
        ("mean |Δ|", totals.changes.mean_delta.map_or("–".to_owned(), real), "in units of the weights"),
        ("largest |Δ|", totals.changes.max_delta.map_or("–".to_owned(), real), "in units of the weights"),
        ("NaN or infinite", thousands(totals.not_finite.unwrap_or(0)), "in the trained checkpoint"),
    ];
    if let Some(sparsity) = totals.sparsity.filter(|_| !report.is_packed()) {
        tiles.push(("pruned", percent(100.0 * sparsity), "of all weights"));
    }
    if let Some(share) = totals.pruned_bytes_share {
        let file = if report.is_packed() { "packed file" } else { "pruned file" };
        tiles.push((file, percent(100.0 * share), "of the trained file's bytes"));
    }
    let tiles: String = tiles
        .into_iter()
        .map(|(name, value, unit)| {
            format!("<div><dt>{name}</dt><dd>{value}<small>{unit}</small></dd></div>\n")
        })
        .collect();
    format!("<dl class=\"tiles\">\n{tiles}</dl>\n")
}

/// What one needs to make the same page again.
pub(super) fn footer(report: &Report) -> String {
    let thresholds = one_of(report.tensors.iter().filter_map(|t| t.threshold), on_page);
    let decays = one_of(report.tensors.iter().filter_map(|t| t.decay), |x| factor(*x));
    let types = one_of(report.tensors.iter().filter(|t| t.not_finite.is_some()), |t| t.dtype.clone());
    format!(
        "<footer>\n<dl>\n\
         <div><dt>Δ</dt><dd>trained value − decay × initial value; |Δ| is its size, in units of the weights</dd></div>\n\
         <div><dt>Threshold</dt><dd>{thresholds}</dd></div>\n\
         <div><dt>Decay factor</dt><dd>{decays}</dd></div>\n\
         <div><dt>Type</dt><dd>{}</dd></div>\n\
         <div><dt>Seed</dt><dd>{}</dd></div>\n\
         <div><dt>Noise version</dt><dd>{}</dd></div>\n\
         <div><dt>SHA-256 of the config</dt><dd><code class=\"digest\">{}</code></dd></div>\n\
         </dl>\n</footer>\n",
        escape(&types),
        report.seed,
        report.noise_version,
        escape(&report.config_sha256),
    )
}

/// The value that all have in common.
fn one_of<T>(values: impl Iterator<Item = T>, words: impl Fn(&T) -> String) -> String {
    let mut values = values.map(|x| words(&x));
    match values.next() {
        None => "–".to_owned(),
        Some(first) if values.all(|x| x == first) => first,
        Some(_) => "differs between tensors: see the table".to_owned(),
    }
}
