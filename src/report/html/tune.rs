//! The search for the smallest file.

use super::titled;
use crate::report::Report;
use crate::report::escape::escape;
use crate::report::svg::tune as plot;
use crate::report::tune::{STEP_COLUMNS, cells, columns, shown, shown_words, steps, tune_words};

/// The winner, the plot, and a table with every point; nothing where there was no search.
pub(super) fn section(report: &Report) -> String {
    let Some(tune) = &report.tune else { return String::new() };
    let heads: String =
        columns(tune).iter().map(|(title, _)| format!("<th scope=\"col\">{title}</th>")).collect();
    let row = |class: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        format!("<tr{class}>{cells}</tr>\n")
    };
    let points = shown(tune)
        .into_iter()
        .map(|place| row(if place == tune.winner { " class=\"chosen\"" } else { "" }, &cells(tune, place)));
    let command = tune.command.join(" ");
    let confirm = tune
        .confirmation
        .as_ref()
        .map(|found| format!(" Confirmed by <code>{}</code>.", escape(&found.command.join(" "))));
    let note = |words: String| match words.is_empty() {
        true => String::new(),
        false => format!("<p class=\"note\">{}</p>\n", escape(&words)),
    };
    let mut text = format!(
        "<p>{}</p>\n<p class=\"note\">Measured by <code>{}</code>.{}</p>\n\
         <figure class=\"card tuned\">{}</figure>\n{}{}",
        escape(&tune_words(tune)),
        escape(&command),
        confirm.unwrap_or_default(),
        plot(tune).inline(),
        note(shown_words(tune)),
        table(&heads, points.collect()),
    );
    let steps = steps(report);
    if !steps.is_empty() {
        let heads = STEP_COLUMNS.map(|(title, _)| format!("<th scope=\"col\">{title}</th>"));
        text += &note("The steps of the file that was written:".to_owned());
        text += &table(&heads.concat(), steps.iter().map(|cells| row("", cells)).collect());
    }
    titled("tune", "Accuracy and size", &text)
}

fn table(heads: &str, rows: String) -> String {
    format!(
        "<div class=\"scroll\"><table class=\"plain\">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n"
    )
}
