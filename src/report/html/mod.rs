//! The report as one page: no other file, no network, and without a script all but the heat maps,
//! sorting and the filter.

mod cards;
mod gates;
mod layers;
mod proof;
mod summary;
mod table;
mod tune;

use super::Report;
use super::escape::{escape, policy_hash};
use super::levels::Scale;
use super::narrative::headline;
use crate::analysis::HeatMap;
use crate::text::thousands;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. `maps` are the heat maps of the report's tensors, `None` where there is none; `name` is what the
/// page is about: the config's file name.
pub fn html(report: &Report, maps: &[Option<HeatMap>], name: &str) -> String {
    let scale = Scale::of(maps.iter().flatten());
    let sections = [
        ("summary", "Summary", summary::section(report)),
        ("tune", "Accuracy and size", tune::section(report)),
        ("gates", "Gates", gates::section(report)),
        ("proof", "Evidence", proof::section(report)),
        ("layers", "Layers", layers::section(report)),
        ("table", "Table", table::section(report)),
        ("maps", "Maps and histograms", cards::section(report, maps, scale)),
    ];
    let sections = || sections.iter().filter(|(_, _, text)| !text.is_empty());
    let links: String = sections()
        .map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>"))
        .collect::<Vec<_>>()
        .join("\n");
    let main: String = sections().map(|(_, _, text)| text.as_str()).collect();
    // Nothing may be loaded, and of scripts and styles only the page's own run: even a tensor's name that got
    // past the escaping would be no more than text.
    let policy = format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        policy_hash(STYLE),
        policy_hash(SCRIPT)
    );
    let (name, verdict) = (escape(name), escape(&headline(report)));
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name}: {verdict}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <style>{STYLE}</style>\n\
         </head>\n\
         <body>\n\
         <header>\n<p class=\"kicker\">cdi-prune report <span>{name}</span></p>\n<nav aria-label=\"Sections\">\n{links}\n</nav>\n</header>\n\
         <main>\n{main}</main>\n\
         {footer}\
         <div id=\"tip\" role=\"status\" hidden></div>\n\
         <script>{SCRIPT}</script>\n\
         </body>\n\
         </html>\n",
        footer = summary::footer(report),
    )
}

/// Rows of the table and bars of the layers at the most: those of the tensors with the most weights.
const MOST_TENSORS: usize = 2000;

/// The `most` largest of these tensors, in the order that they have.
fn largest(report: &Report, mut order: Vec<usize>, most: usize) -> Vec<usize> {
    if order.len() > most {
        let mut by_size = order.clone();
        by_size.sort_by_key(|n| std::cmp::Reverse(report.tensors[*n].total_weights));
        by_size.truncate(most);
        by_size.sort_unstable();
        order.retain(|n| by_size.binary_search(n).is_ok());
    }
    order
}

/// What is said where not all are there.
fn only_largest(shown: usize, all: usize) -> String {
    if shown == all {
        return String::new();
    }
    let (shown, all) = (thousands(shown as u64), thousands(all as u64));
    format!(
        "<p class=\"note\">Of {all} tensors, only the {shown} with the most weights are shown; the JSON and \
         CSV reports contain all.</p>\n"
    )
}

/// A name as code that may break after a dot or an underscore.
fn code(name: &str) -> String {
    format!("<code>{}</code>", escape(name).replace('.', ".<wbr>").replace('_', "_<wbr>"))
}

/// A section with its heading.
fn titled(id: &str, title: &str, text: &str) -> String {
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n{text}</section>\n"
    )
}

/// The legend of colours that the bars use.
const BAR_LEGEND: &str = "<ul class=\"legend\" aria-label=\"Legend\"><li><i class=\"sleep\"></i>asleep: \
                          within the threshold of the initial value</li><li><i class=\"awake\"></i>awakened: \
                          changed by training</li><li><i class=\"zero thin\"></i>thin strip: trained value \
                          is exactly 0</li></ul>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::levels::{
        ALL_ASLEEP, ASLEEP_COLOUR, NOT_FINITE, NOT_FINITE_COLOUR, OF_ONE, PER_DECADE, RAMP, hex,
    };

    /// The page draws what the files show: the same colours, the same levels.
    #[test]
    fn style_and_script_agree_with_the_levels() {
        let light = STYLE.split("@media").next().unwrap_or_default();
        let mut colours: Vec<(String, String)> =
            RAMP.iter().enumerate().map(|(n, colour)| (format!("r{n}"), hex(*colour))).collect();
        colours.push(("sleep".to_owned(), hex(ASLEEP_COLOUR)));
        colours.push(("broken".to_owned(), hex(NOT_FINITE_COLOUR)));
        for (name, colour) in colours {
            assert!(light.contains(&format!("--{name}: {colour};")), "--{name}: {colour}");
        }
        let levels = format!(
            "PER_DECADE = {PER_DECADE}, OF_ONE = {OF_ONE}, NOT_FINITE = {NOT_FINITE}, ALL_ASLEEP = {ALL_ASLEEP};"
        );
        assert!(SCRIPT.contains(&levels), "{levels}");
    }
}
