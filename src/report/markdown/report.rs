//! One report.

use std::fmt::Write as _;

use super::super::Report;
use super::super::gates::{figures, subject};
use super::super::group::{MOST_ROWS, Row, rows};
use super::super::removed::removed_words;
use super::super::tune::{
    STEP_COLUMNS, cells, columns, shown, shown_words, steps, tune_headline, tune_words,
};
use super::super::verdict::verdict;
use super::super::warnings::warnings_with;
use super::cells::{Columns, code, opening, plain, table};
use crate::report::condition::condition;
use crate::text::{percentage, ratio, scientific, shape, significant, thousands};

/// The verdict, warnings, what it rests on, and a table with one row per tensor. Of very many tensors the
/// table has one row for each kind, and all of them follow folded.
pub fn markdown(report: &Report) -> String {
    let tuned = report.tune.as_ref().and_then(tune_headline);
    let verdict = tuned.into_iter().chain([verdict(report)]).collect::<Vec<_>>().join(" ");
    let mut text = opening("cdi-prune report", &verdict, &warnings_with(report, code));
    let totals = &report.totals;
    let pruned = totals.pruned_weights.filter(|_| !report.is_packed());
    if let (Some(pruned), Some(sparsity)) = (pruned, totals.sparsity) {
        let fill = report.fill.map(|fill| format!(" (`fill: {}`)", fill.name())).unwrap_or_default();
        let (pruned, of) = (thousands(pruned), thousands(totals.total_weights));
        let _ =
            writeln!(text, "{pruned} of {of} weights pruned{fill}: sparsity {}.\n", significant(sparsity, 4));
    }
    if let (Some(bytes), Some(share), Some(of)) =
        (totals.pruned_bytes, totals.pruned_bytes_share, totals.trained_bytes)
    {
        let (bytes, of, share) = (thousands(bytes), thousands(of), plain(&percentage(100.0 * share)));
        let file = report.file_words();
        let _ = writeln!(text, "{file}: {bytes} bytes, {share} % of the trained file's {of}.\n");
    }
    removed(&mut text, report);
    tune(&mut text, report);
    gates(&mut text, report);
    evidence(&mut text, report);
    let grouped = report.tensors.len() > MOST_ROWS;
    text.push_str(&tensors(report, false));
    if grouped {
        let _ = writeln!(
            text,
            "\n\
             A row for several tensors shows their number after the name, with `*` for the numbers in the \
             name. Counts are sums, \"of a tensor\" is the range from the smallest to the largest share, P50 \
             and P99 are the largest, and the standard deviation is the one that changed most.\n\n\
             <details>\n\
             <summary>All {} tensors</summary>\n\n\
             {}\n\
             </details>",
            thousands(report.tensors.len() as u64),
            tensors(report, true),
        );
    }
    let _ = writeln!(
        text,
        "\nSeed {}, noise version {}, config SHA-256 `{}`.",
        report.seed, report.noise_version, report.config_sha256
    );
    text
}

/// The search for the smallest file.
fn tune(text: &mut String, report: &Report) {
    let Some(tune) = &report.tune else { return };
    let confirmed = tune.confirmation.as_ref();
    let confirmed = confirmed.map(|found| format!(" Confirmed by {}.", code(&found.command.join(" "))));
    let _ = writeln!(
        text,
        "## Accuracy and size\n\n{}\n\nMeasured by {}.{}\n",
        plain(&tune_words(tune)),
        code(&tune.command.join(" ")),
        confirmed.unwrap_or_default()
    );
    let words = shown_words(tune);
    if !words.is_empty() {
        let _ = writeln!(text, "{}\n", plain(&words));
    }
    let rows = shown(tune).into_iter().map(|place| {
        let bold = |cell: String| {
            if place == tune.winner && !cell.is_empty() { format!("**{cell}**") } else { cell }
        };
        cells(tune, place).iter().map(|cell| bold(plain(cell))).collect()
    });
    text.push_str(&table(&columns(tune), rows));
    let steps = steps(report);
    if !steps.is_empty() {
        text.push_str("\nThe steps of the file that was written:\n\n");
        let row = |[name, rest @ ..]: [String; 5]| {
            [code(&name)].into_iter().chain(rest.map(|cell| plain(&cell))).collect()
        };
        text.push_str(&table(&STEP_COLUMNS, steps.into_iter().map(row)));
    }
    let heading = report.gates.is_empty() && report.evidence.is_empty();
    text.push_str(if heading { "\n## Tensors\n\n" } else { "\n" });
}

/// The gates with their limits.
fn gates(text: &mut String, report: &Report) {
    if report.gates.is_empty() {
        return;
    }
    let columns: &Columns<'_> = &[("gate", false), ("limit", true), ("measured", true), ("result", false)];
    let rows = report.gates.iter().map(|result| {
        let (measured, limit) = figures(result);
        let word = if result.passed { "passed" } else { "**failed**" };
        vec![subject(result, code), limit, measured, word.to_owned()]
    });
    text.push_str("## Gates\n\n");
    text.push_str(&table(columns, rows));
    // What follows has its own heading where there is evidence.
    text.push_str(if report.evidence.is_empty() { "\n## Tensors\n\n" } else { "\n" });
}

/// The units taken out of chains of layers.
fn removed(text: &mut String, report: &Report) {
    for removed in &report.removed {
        let _ = writeln!(text, "- Removed: {}.", removed_words(removed, code));
    }
    text.push_str(if report.removed.is_empty() { "" } else { "\n" });
}

/// What the weights themselves were asked, and what they said.
fn evidence(text: &mut String, report: &Report) {
    if report.evidence.is_empty() {
        return;
    }
    let columns: &Columns<'_> = &[
        ("type", false),
        ("sleeping weights", false),
        ("factor s", true),
        ("threshold", false),
        ("tensors", true),
        ("looked at", true),
        ("within", true),
        ("expected by chance", true),
        ("peak", true),
        ("background", true),
    ];
    let rows = report.evidence.iter().map(|e| {
        let live = |x: f64| if e.found { significant(x, 3) } else { String::new() };
        let counted = |n: u64| if e.found { thousands(n) } else { String::new() };
        vec![
            plain(&e.dtype),
            if e.found { "found" } else { "none stand out" }.to_owned(),
            significant(e.decay, 6),
            plain(&condition(e.threshold, e.decay)),
            counted(e.tensors),
            thousands(e.weights),
            counted(e.sleeping),
            live(e.live_expected),
            counted(e.peak),
            live(e.peak_live_expected),
        ]
    });
    text.push_str("## Evidence\n\n");
    text.push_str(&table(columns, rows));
    text.push_str("\n## Tensors\n\n");
}

/// Titles, and whether what stands below them are numbers.
fn tensor_columns(grouped: bool, pruned: bool) -> Vec<(&'static str, bool)> {
    let mut columns = vec![
        ("tensor", false),
        ("shape", false),
        ("init", false),
        ("weights", true),
        ("sleeping", true),
        ("sleeping %", true),
    ];
    if grouped {
        columns.push(("of a tensor", true));
    }
    columns.extend([
        ("outputs asleep", true),
        ("inputs asleep", true),
        ("P50 \\|delta\\|", true),
        ("P99 \\|delta\\|", true),
        ("max \\|delta\\|", true),
        ("std now / start", true),
        ("zeros", true),
    ]);
    if pruned {
        columns.extend([("action", false), ("pruned", true)]);
    }
    columns
}

fn tensors(report: &Report, full: bool) -> String {
    let rows = rows(report, full);
    let grouped = rows.iter().any(|row| row.tensors > 1);
    let pruned = report.totals.pruned_weights.is_some();
    let columns = tensor_columns(grouped, pruned);
    let cells = |row: &Row| {
        let mut cells = vec![
            if row.tensors == 1 { code(&row.name) } else { format!("{} ({})", code(&row.name), row.tensors) },
            row.shape.as_ref().map_or("various".to_owned(), |dims| shape(dims)),
            plain(row.init.as_ref().or(row.dtype.as_ref()).map_or("various", String::as_str)),
            thousands(row.weights),
            count(row.sleeping),
            row.share.map(|x| plain(&percentage(x))).unwrap_or_default(),
        ];
        if grouped {
            cells.push(range(row));
        }
        cells.extend([count(row.outputs), count(row.inputs), real(row.p50), real(row.p99), real(row.max)]);
        cells.extend([row.std_ratio.map(ratio).unwrap_or_default(), count(row.zeros)]);
        if pruned {
            cells.push(row.action.as_deref().unwrap_or("various").replace('_', " "));
            cells.push(count(row.pruned));
        }
        cells
    };
    let all = Row::total(report, &rows);
    let mut last = cells(&all);
    last[..3].clone_from_slice(&[all.title(), String::new(), String::new()]);
    if pruned {
        let action = last.len() - 2;
        last[action].clear();
    }
    let bold = |cell: String| if cell.is_empty() { cell } else { format!("**{cell}**") };
    table(&columns, rows.iter().map(cells).chain([last.into_iter().map(bold).collect()]))
}

/// The smallest and the largest share of a group's tensors.
fn range(row: &Row) -> String {
    match (row.least_share, row.most_share) {
        (Some(least), Some(most)) if row.tensors > 1 => {
            format!("{} … {}", plain(&percentage(least)), plain(&percentage(most)))
        }
        _ => String::new(),
    }
}

fn count(n: Option<u64>) -> String {
    n.map(thousands).unwrap_or_default()
}

fn real(x: Option<f64>) -> String {
    x.map(scientific).unwrap_or_default()
}
