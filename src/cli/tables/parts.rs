//! How a run is divided.

use cdi_prune::pipeline::PartsPlan;
use cdi_prune::text::{counted, percentage, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Room, Sheet};

/// The most rows that are shown: the largest and the smallest parts tell how even the division is.
const ROWS: usize = 40;

/// The parts, and the steps that they do.
pub fn parts(plan: &PartsPlan, color: ColorChoice) -> String {
    let shown = &plan.parts[..plan.parts.len().min(ROWS)];
    let of = plan.parts.len();
    let mut sheet = Sheet::new(vec![
        Column::text("part", (1..=shown.len()).map(|n| format!("{n}/{of}"))),
        Column::numbers("tensors", shown.iter().map(|part| thousands(part.tensors as u64))),
        Column::numbers("bytes", shown.iter().map(|part| thousands(part.bytes))),
    ]);
    sheet.fit(Room::All);
    let mut text = sheet.render(color) + "\n";
    if shown.len() < of {
        text += &format!("The first {ROWS} of {of} parts; `--format json` has all.\n");
    }
    let total: u64 = plan.parts.iter().map(|part| part.bytes).sum();
    let largest = plan.parts.iter().map(|part| part.bytes).max().unwrap_or(0);
    if total > 0 {
        let mean = total as f64 / of as f64;
        text += &format!(
            "The largest part has {} bytes, {} % of the mean.\n",
            thousands(largest),
            percentage(100.0 * largest as f64 / mean)
        );
    }
    let more = if plan.may_be_more { ", or more, depending on the values" } else { "" };
    let steps = counted(plan.steps.len() as u64, "step");
    text + &match plan.steps.is_empty() {
        true => "No step: this config does nothing yet that could be divided.".to_owned(),
        false => format!("{steps}{more}, each of them all parts and a merge: {}.", plan.steps.join(", ")),
    }
}
