//! The search for the smallest file.

use super::titled;
use crate::report::Report;
use crate::report::escape::escape;
use crate::report::svg::tune as plot;
use crate::report::tune::{COLUMNS, by_recipe, cells, tune_words};

/// The winner, the plot, and a table with every point; nothing where there was no search.
pub(super) fn section(report: &Report) -> String {
    let Some(tune) = &report.tune else { return String::new() };
    let heads: String = COLUMNS.iter().map(|(title, _)| format!("<th scope=\"col\">{title}</th>")).collect();
    let mut rows = String::new();
    for place in by_recipe(tune).into_iter().flat_map(|(_, places)| places) {
        let cells: String =
            cells(tune, place).iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let class = if place == tune.winner { " class=\"chosen\"" } else { "" };
        rows += &format!("<tr{class}>{cells}</tr>\n");
    }
    let command = tune.command.join(" ");
    let text = format!(
        "<p>{}</p>\n<p class=\"note\">Measured by <code>{}</code>.</p>\n\
         <figure class=\"card tuned\">{}</figure>\n\
         <div class=\"scroll\"><table class=\"plain\">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        escape(&tune_words(tune)),
        escape(&command),
        plot(tune).inline(),
    );
    titled("tune", "Accuracy and size", &text)
}
