//! What a config comes to.

use std::time::Duration;

use cdi_prune::config::{TuneSearch, TuneSettings};
use cdi_prune::pipeline::{PlanRow, Undivided};
use cdi_prune::text::{counted, counted_are, printable, shape, significant, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Room, Sheet};

/// The table, in every column where `full` asks for that; what the bytes add up to, and which tensors cannot
/// be regenerated weight by weight; what `tune` will do.
pub fn plan(rows: &[PlanRow], tune: Option<&TuneSettings>, full: bool, color: ColorChoice) -> String {
    let cells = |cell: fn(&PlanRow) -> String| rows.iter().map(cell);
    let or_none =
        |text: &Option<String>| text.as_ref().map_or_else(|| "-".to_owned(), |text| printable(text));
    let mut sheet = Sheet::new(vec![
        Column::text("tensor", cells(|row| printable(&row.name))),
        Column::text("type", cells(|row| row.dtype.clone())).rank(6),
        Column::text("shape", cells(|row| shape(&row.shape))).rank(3),
        Column::text("rule", rows.iter().map(|row| or_none(&row.rule))).rank(5),
        Column::numbers("layer id", cells(|row| row.layer_id.map_or("-".to_owned(), |id| id.to_string())))
            .rank(7),
        Column::text("init", rows.iter().map(|row| or_none(&row.init))),
        Column::text("action", cells(|row| row.action.unwrap_or("-").replace('_', " "))),
        Column::numbers("dense bytes", cells(|row| thousands(row.dense_bytes))).rank(4),
        Column::numbers("least bytes", cells(|row| thousands(row.smallest_bytes))),
    ]);
    let left_out = if full { None } else { sheet.fit(Room::All) };
    let (dense, least) =
        rows.iter().fold((0, 0), |(dense, least), r| (dense + r.dense_bytes, least + r.smallest_bytes));
    let mut text = format!(
        "{}\n{}{}, {} bytes dense",
        sheet.render(color),
        left_out.map(|left_out| left_out + "\n").unwrap_or_default(),
        counted(rows.len() as u64, "tensor"),
        thousands(dense),
    );
    text += &match rows.iter().any(|row| row.action.is_some()) {
        true => format!("; at least {} bytes of data in the pruned file.", thousands(least)),
        false => ".".to_owned(),
    };
    let whole: Vec<u64> = rows.iter().filter_map(|row| row.whole_bytes).collect();
    if let Some(largest) = whole.iter().max() {
        text += &format!(
            "\n\
             {} regenerated as a whole, not weight by weight, the largest in {} bytes \
             of memory.",
            counted_are(whole.len() as u64, "orthogonal tensor"),
            thousands(*largest)
        );
    }
    let told: Vec<&PlanRow> = rows.iter().filter(|row| row.layout_told).collect();
    if let Some(first) = told.first() {
        let more = if told.len() == 1 { String::new() } else { format!(" and {} more", told.len() - 1) };
        text += &format!(
            "\n\
             {}{more}: read as stacked experts, [expert, out, in], because of the name. If inputs come \
             first, or these are not experts, add a `layout` to the rule.",
            printable(&first.name)
        );
    }
    text + &tune.map(search).unwrap_or_default()
}

/// What will be tried.
fn search(tune: &TuneSettings) -> String {
    let number = |x: f64| significant(x, 6);
    let command = |words: &[String]| words.iter().map(|word| printable(word)).collect::<Vec<_>>().join(" ");
    let budget = format!("({} is better, at most {} worse)", tune.better.name(), number(tune.max_drop));
    let mut text = match &tune.search {
        TuneSearch::Sparsity { recipes, lines } => {
            let most = most_evaluations(tune).unwrap_or_else(|| lines.most_points() + 1);
            let mut text = format!(
                "\nTune: at most {} {budget}, sparsity {} to {} in {}, then to {}, of",
                counted(most, "evaluation"),
                number(lines.low),
                number(lines.high),
                counted(lines.steps.into(), "even step"),
                number(lines.tolerance),
            );
            for recipe in recipes {
                text += &format!("\n  {}", printable(&recipe.point(None).recipe()));
            }
            text
        }
        TuneSearch::Steps(_) => {
            let most = match most_evaluations(tune) {
                Some(limit) => format!("at most {}", counted(limit, "evaluation")),
                None => "some 40 evaluations, then 20 to 70 for each tensor".to_owned(),
            };
            format!(
                "\nTune: {most} {budget}: one step for all tensors, counted from their initial values and from zero, and in \
                 proportion to their weights; then a step for each tensor"
            )
        }
    };
    text += &format!("\nby {}", command(&tune.command));
    if tune.jobs > 1 {
        text += &format!(", {} at a time", tune.jobs);
    }
    if let Some(confirm) = &tune.confirm {
        text += &format!("\nconfirmed by {}", command(confirm));
    }
    text
}

/// How many evaluations a search takes at most; `None` where that is not known.
fn most_evaluations(tune: &TuneSettings) -> Option<u64> {
    let most = match &tune.search {
        TuneSearch::Sparsity { lines, .. } => Some(lines.most_points() + 1),
        TuneSearch::Steps(_) => None,
    };
    most.into_iter().chain(tune.max_evaluations).min()
}

/// How long a search may take, by what one candidate took.
pub fn time(search: Option<(&TuneSettings, Duration)>) -> String {
    let Some((tune, taken)) = search else {
        return "nothing is timed: the config has no `tune`".to_owned();
    };
    let seconds = |times: u64| format!("{} s", significant(taken.as_secs_f64() * times as f64, 3));
    let all = match most_evaluations(tune) {
        Some(most) => format!("{most} of them take up to {}", seconds(most)),
        None => format!("100 of them take {}", seconds(100)),
    };
    let jobs = if tune.jobs > 1 {
        format!(", and less with {} evaluations at a time", tune.jobs)
    } else {
        String::new()
    };
    format!("tune: a candidate takes {} to be written, restored and evaluated; {all}{jobs}", seconds(1))
}

/// Which tensors groups of n of m leave as they are.
pub fn undivided(tensors: &[Undivided]) -> String {
    const SHOWN: usize = 20;
    let one = |t: &Undivided| format!("{} ({} {}, m = {})", printable(&t.name), t.size, t.what, t.m);
    let mut names: Vec<String> = tensors.iter().take(SHOWN).map(one).collect();
    if tensors.len() > SHOWN {
        names.push(format!("and {} more", tensors.len() - SHOWN));
    }
    format!("Left unchanged, because groups of m do not divide them: {}.", names.join(", "))
}
