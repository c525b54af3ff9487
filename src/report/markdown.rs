//! The report as Markdown, fit for a CI job's summary.

use std::fmt::Write as _;

use super::Report;
use super::model::Changes;

/// A line of totals, then a table with one row per tensor.
pub fn markdown(report: &Report) -> String {
    let totals = &report.totals;
    let changes = &totals.changes;
    let mut text = String::from("# cdi-prune report\n\n");
    let _ = writeln!(
        text,
        "{} of {} weights compared are sleeping ({:.2} %), {} changed. Seed {}, noise version {}.\n",
        changes.sleeping_weights.unwrap_or(0),
        totals.compared_weights,
        changes.sleeping_percentage.unwrap_or(0.0),
        changes.changed_weights.unwrap_or(0),
        report.seed,
        report.noise_version,
    );
    if let (Some(pruned), Some(sparsity)) = (totals.pruned_weights, totals.sparsity) {
        let of = totals.total_weights;
        let _ = writeln!(text, "{pruned} of {of} weights pruned: sparsity {sparsity:.4}.\n");
    }
    if let Some(n @ 1..) = totals.not_finite {
        let _ = writeln!(text, "**{n} weights are NaN or infinite.**\n");
    }
    text.push_str(
        "| tensor | shape | init | weights | sleeping | sleeping % | rows asleep | columns asleep | mean \\|delta\\| | \
         max \\|delta\\| | zeros | action | pruned |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |\n",
    );
    for t in &report.tensors {
        let Changes { sleeping_weights, sleeping_percentage, mean_delta, max_delta, .. } = t.changes;
        let cells = [
            format!("`{}`", t.name.replace('|', "\\|")),
            format!("{:?}", t.shape),
            t.init.clone().unwrap_or_default(),
            t.total_weights.to_string(),
            integer(sleeping_weights),
            sleeping_percentage.map(|x| format!("{x:.2}")).unwrap_or_default(),
            integer(t.sleeping_rows),
            integer(t.sleeping_columns),
            real(mean_delta),
            real(max_delta),
            integer(t.zeros),
            t.action.clone().unwrap_or_default(),
            integer(t.pruned_weights),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn integer(n: Option<u64>) -> String {
    n.map(|n| n.to_string()).unwrap_or_default()
}

fn real(x: Option<f64>) -> String {
    x.map(|x| format!("{x:.3e}")).unwrap_or_default()
}
