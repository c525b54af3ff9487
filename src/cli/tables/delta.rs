//! What changed from one checkpoint to the next.

use cdi_prune::pipeline::{Change, ChangedTensor};
use cdi_prune::text::{counted, printable, shape, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Room, Sheet};

/// How many rows are shown, unless all are asked for.
const ROWS: usize = 40;

/// The tensors that changed, those with the most bytes in the delta if they are many, and a line of totals.
pub fn delta(tensors: &[ChangedTensor], full: bool, color: ColorChoice) -> String {
    let mut rows: Vec<&ChangedTensor> = tensors
        .iter()
        .filter(|tensor| tensor.change != Change::Unchanged || tensor.renamed_from.is_some())
        .collect();
    let changed = rows.len();
    if !full && rows.len() > ROWS {
        rows.sort_by_key(|tensor| std::cmp::Reverse(tensor.delta_bytes));
        rows.truncate(ROWS);
        rows.sort_by_key(|tensor| &tensor.name);
    }
    let unchanged = tensors.len() - changed;
    let mut text = String::new();
    if !rows.is_empty() {
        let name = |tensor: &&ChangedTensor| match &tensor.renamed_from {
            Some(from) => format!("{} (was {})", printable(&tensor.name), printable(from)),
            None => printable(&tensor.name),
        };
        let number = |n: Option<u64>| n.map_or("-".to_owned(), thousands);
        let elements = |tensor: &ChangedTensor| tensor.shape.iter().map(|n| *n as u64).product::<u64>();
        let share = |tensor: &&ChangedTensor| {
            let share = tensor.changed.map(|n| 100.0 * n as f64 / elements(tensor) as f64);
            share.map_or("-".to_owned(), |share| format!("{share:.2}"))
        };
        let columns = vec![
            Column::text("tensor", rows.iter().map(name)),
            Column::text("", rows.iter().map(|t| word(t.change).to_owned())).rank(1),
            Column::text("type", rows.iter().map(|t| t.dtype.clone())).rank(3),
            Column::text("shape", rows.iter().map(|t| shape(&t.shape))).rank(2),
            Column::numbers("changed", rows.iter().map(|t| number(t.changed))),
            Column::numbers("%", rows.iter().map(share)).rank(1),
            Column::numbers(
                "max\n|delta|",
                rows.iter().map(|t| t.largest.map_or("-".to_owned(), |largest| format!("{largest:.2e}"))),
            )
            .rank(2),
            Column::numbers("bytes", rows.iter().map(|t| thousands(t.bytes))).rank(1),
            Column::numbers("in delta", rows.iter().map(|t| thousands(t.delta_bytes))),
        ];
        let mut sheet = Sheet::new(columns);
        let left_out = if full { None } else { sheet.fit(Room::OfALog) };
        text = sheet.render(color);
        text += "\n";
        text.extend(left_out.map(|left_out| left_out + "\n"));
    }
    if rows.len() < changed {
        text += &format!(
            "Only the {} with the most bytes in the delta; use --full to show all.\n",
            counted(rows.len() as u64, "tensor")
        );
    }
    let all: u64 = tensors.iter().filter_map(|tensor| tensor.changed).sum();
    text += &format!(
        "{}: {} unchanged. {} in the tensors that both have.",
        counted(tensors.len() as u64, "tensor"),
        thousands(unchanged as u64),
        counted(all, "changed element"),
    );
    text
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Unchanged => "unchanged",
        Change::Changed => "changed",
        Change::Grown => "grown",
        Change::Retyped => "other type",
        Change::Reshaped => "other shape",
        Change::Added => "new",
        Change::Removed => "removed",
    }
}
