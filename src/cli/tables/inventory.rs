//! The tensors of a checkpoint.

use cdi_prune::pipeline::{Inventory, InventoryTensor};
use cdi_prune::report::text::{printable, shape, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Sheet};

/// The table and a line of totals.
pub fn inventory(inventory: &Inventory, color: ColorChoice) -> String {
    let cells = |cell: fn(&InventoryTensor) -> String| inventory.tensors.iter().map(cell);
    let sheet = Sheet::new(vec![
        Column::text("tensor", cells(|t| printable(&t.name))),
        Column::text("type", cells(|t| t.dtype.to_string())),
        Column::text("shape", cells(|t| shape(&t.shape))),
        Column::numbers("bytes", cells(|t| thousands(t.bytes))),
        Column::numbers(
            "zeros %",
            cells(|t| t.zeros.map_or("-".to_owned(), |z| format!("{:.2}", 100.0 * z))),
        ),
    ]);
    let bytes = inventory.tensors.iter().map(|t| t.bytes).sum();
    let (files, tensors) = (inventory.files, inventory.tensors.len());
    format!(
        "{}\n{tensors} tensors in {files} file(s), {} bytes of data.",
        sheet.render(color),
        thousands(bytes)
    )
}
