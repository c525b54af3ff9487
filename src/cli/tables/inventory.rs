//! The tensors of a checkpoint.

use std::fmt::Write;

use cdi_prune::pipeline::{Inventory, InventoryTensor};
use cdi_prune::text::{counted, printable, shape, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Room, Sheet};

/// Behind so many tensors the table is written line by line and without styles: a cell of the other
/// takes hundreds of bytes.
const LONG: usize = 10_000;

const TITLES: [&str; 5] = ["tensor", "type", "shape", "bytes", "zeros %"];
/// Which of them go first where there is no room.
const RANKS: [u8; 5] = [0, 2, 0, 0, 1];
/// Columns of words, before those of numbers.
const WORDS: usize = 3;

/// The table, in every column where `full` asks for that or there are very many tensors,
/// and a line of totals.
pub fn inventory(inventory: &Inventory, full: bool, color: ColorChoice) -> String {
    let long_one = inventory.tensors.len() > LONG;
    let mut text = if long_one { long(inventory) } else { short(inventory, full, color) };
    let bytes = inventory.tensors.iter().map(|t| t.bytes).sum();
    text += &format!(
        "\n{} in {}, {} of data.",
        counted(inventory.tensors.len() as u64, "tensor"),
        counted(inventory.files as u64, "file"),
        counted(bytes, "byte")
    );
    text
}

fn cells(t: &InventoryTensor) -> [String; 5] {
    [
        printable(&t.name),
        t.dtype.to_string(),
        shape(&t.shape),
        thousands(t.bytes),
        t.zeros.map_or("-".to_owned(), |z| format!("{:.2}", 100.0 * z)),
    ]
}

fn short(inventory: &Inventory, full: bool, color: ColorChoice) -> String {
    let column = |n: usize| inventory.tensors.iter().map(move |t| std::mem::take(&mut cells(t)[n]));
    let columns = TITLES.iter().enumerate().map(|(n, title)| {
        let column =
            if n < WORDS { Column::text(title, column(n)) } else { Column::numbers(title, column(n)) };
        column.rank(RANKS[n])
    });
    let mut sheet = Sheet::new(columns.collect());
    let left_out = if full { None } else { sheet.fit(Room::All) };
    let table = sheet.render(color);
    left_out.map_or(table.clone(), |left_out| format!("{table}\n{left_out}"))
}

/// The same text, of which no more is held than itself.
fn long(inventory: &Inventory) -> String {
    let mut widths = TITLES.map(str::len);
    for tensor in &inventory.tensors {
        for (width, cell) in widths.iter_mut().zip(cells(tensor)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // A space at either end, two between columns.
    let inner = widths.iter().sum::<usize>() + 2 * TITLES.len();
    let mut text = String::new();
    let line = |cells: [&str; 5], text: &mut String| {
        let mut end = '│';
        for (n, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            text.push(std::mem::replace(&mut end, ' '));
            // Writing into a string does not fail.
            let _ = if n < WORDS { write!(text, " {cell:<width$}") } else { write!(text, " {cell:>width$}") };
        }
        text.push_str(" │\n");
    };
    let _ = writeln!(text, "┌{}┐", "─".repeat(inner));
    line(TITLES, &mut text);
    let _ = writeln!(text, "╞{}╡", "═".repeat(inner));
    for tensor in &inventory.tensors {
        let cells = cells(tensor);
        line(std::array::from_fn(|n| cells[n].as_str()), &mut text);
    }
    let _ = write!(text, "└{}┘", "─".repeat(inner));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_as_a_short_one() {
        let tensor = |name: &str, dtype, shape: &[usize], bytes, zeros| InventoryTensor {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes,
            zeros,
        };
        let tensors = vec![
            tensor("a.weight", cdi_prune::tensor::Dtype::F32, &[2, 2], 16, Some(0.25)),
            tensor("b", cdi_prune::tensor::Dtype::F8_E4M3FNUZ, &[1200], 1200, Some(1.0)),
            tensor("c", cdi_prune::tensor::Dtype::F4, &[], 2, None),
        ];
        let inventory = Inventory { files: 1, made_by_cdi_prune: None, tensors };
        assert_eq!(long(&inventory), short(&inventory, true, ColorChoice::Never));
    }
}
