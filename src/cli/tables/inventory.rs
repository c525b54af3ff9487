//! The tensors of a checkpoint.

use cdi_prune::pipeline::{Inventory, InventoryTensor};
use cdi_prune::report::text::{printable, shape, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Room, Sheet};

/// The table, in every column where `full` asks for that, and a line of totals.
pub fn inventory(inventory: &Inventory, full: bool, color: ColorChoice) -> String {
    let cells = |cell: fn(&InventoryTensor) -> String| inventory.tensors.iter().map(cell);
    let mut sheet = Sheet::new(vec![
        Column::text("tensor", cells(|t| printable(&t.name))),
        Column::text("type", cells(|t| t.dtype.to_string())).rank(2),
        Column::text("shape", cells(|t| shape(&t.shape))),
        Column::numbers("bytes", cells(|t| thousands(t.bytes))),
        Column::numbers(
            "zeros %",
            cells(|t| t.zeros.map_or("-".to_owned(), |z| format!("{:.2}", 100.0 * z))),
        )
        .rank(1),
    ]);
    let left_out = if full { None } else { sheet.fit(Room::All) };
    let bytes = inventory.tensors.iter().map(|t| t.bytes).sum();
    let (files, tensors) = (inventory.files, inventory.tensors.len());
    format!(
        "{}\n{}{tensors} tensors in {files} file(s), {} bytes of data.",
        sheet.render(color),
        left_out.map(|left_out| left_out + "\n").unwrap_or_default(),
        thousands(bytes)
    )
}
