//! The tensors of a checkpoint.

use std::fmt::Write;

use cdi_prune::pipeline::{Inventory, InventoryCode, InventoryTensor, Lineage, Predicted};
use cdi_prune::text::{counted, printable, shape, thousands};
use clap::ColorChoice;

use super::sheet::{Column, Room, Sheet};

/// Behind so many tensors the table is written line by line and without styles: a cell of the other
/// takes hundreds of bytes.
const LONG: usize = 10_000;

/// A column.
struct Kind {
    title: &'static str,
    /// Which columns go first where there is no room.
    rank: u8,
    /// Of words, which all stand before those of numbers.
    words: bool,
    /// Only where there are coded tensors.
    codes: bool,
    cell: fn(&InventoryTensor) -> String,
}

impl Kind {
    const fn of(title: &'static str, rank: u8, cell: fn(&InventoryTensor) -> String) -> Self {
        Self { title, rank, words: false, codes: false, cell }
    }
}

const KINDS: [Kind; 7] = [
    Kind { words: true, ..Kind::of("tensor", 0, |t| printable(&t.name)) },
    Kind { words: true, ..Kind::of("type", 2, |t| t.dtype.to_string()) },
    Kind { words: true, ..Kind::of("shape", 0, |t| shape(&t.shape)) },
    Kind { words: true, codes: true, ..Kind::of("predicted from", 0, predicted) },
    Kind::of("bytes", 0, |t| thousands(t.bytes)),
    Kind { codes: true, ..Kind::of("bits/weight", 0, bits) },
    Kind::of("zeros %", 1, |t| t.zeros.map_or("-".to_owned(), |z| format!("{:.2}", 100.0 * z))),
];

/// What stands in the columns of coded tensors for all others.
fn of_code(tensor: &InventoryTensor, cell: impl Fn(&InventoryCode) -> String) -> String {
    tensor.code.as_ref().map_or("-".to_owned(), cell)
}

fn predicted(tensor: &InventoryTensor) -> String {
    of_code(tensor, |code| {
        let from = match code.predicted_from {
            Predicted::Nothing => "nothing",
            Predicted::InitialValues => "initial values",
            Predicted::Base => "base",
        };
        let factor = code.factor.filter(|factor| *factor != 1.0);
        factor.map_or(from.to_owned(), |factor| format!("{from} × {factor:.6}"))
    })
}

fn bits(tensor: &InventoryTensor) -> String {
    of_code(tensor, |code| format!("{:.2}", code.bits_per_weight))
}

/// The columns that these tensors have.
fn kinds(inventory: &Inventory) -> Vec<&'static Kind> {
    let codes = inventory.tensors.iter().any(|tensor| tensor.code.is_some());
    KINDS.iter().filter(|kind| codes || !kind.codes).collect()
}

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
    if let Some(Lineage { from, base_state, state, renamed, added, removed }) = &inventory.delta {
        text += &format!(
            "\nDelta over {} with the state {base_state}.\nIt gives the state {state}.",
            printable(from)
        );
        for (new, old) in renamed {
            text += &format!("\nRenamed: {} is {} in the base.", printable(new), printable(old));
        }
        for name in added {
            text += &format!("\nNew: {}.", printable(name));
        }
        for name in removed {
            text += &format!("\nRemoved: {}.", printable(name));
        }
    }
    text
}

fn short(inventory: &Inventory, full: bool, color: ColorChoice) -> String {
    let columns = kinds(inventory).into_iter().map(|kind| {
        let cells = inventory.tensors.iter().map(kind.cell);
        let column =
            if kind.words { Column::text(kind.title, cells) } else { Column::numbers(kind.title, cells) };
        column.rank(kind.rank)
    });
    let mut sheet = Sheet::new(columns.collect());
    let left_out = if full { None } else { sheet.fit(Room::All) };
    let table = sheet.render(color);
    left_out.map_or(table.clone(), |left_out| format!("{table}\n{left_out}"))
}

/// The same text, of which no more is held than itself.
fn long(inventory: &Inventory) -> String {
    let kinds = kinds(inventory);
    let widest = |kind: &&Kind| {
        let cells = inventory.tensors.iter().map(|tensor| (kind.cell)(tensor).chars().count());
        cells.max().unwrap_or(0).max(kind.title.len())
    };
    let widths: Vec<usize> = kinds.iter().map(widest).collect();
    // A space at either end, two between columns.
    let inner = widths.iter().sum::<usize>() + 2 * kinds.len();
    let mut text = String::new();
    let line = |text: &mut String, cell: &dyn Fn(&Kind) -> String| {
        let mut end = '│';
        for (kind, width) in kinds.iter().zip(&widths) {
            text.push(std::mem::replace(&mut end, ' '));
            let cell = cell(kind);
            // Writing into a string does not fail.
            let _ =
                if kind.words { write!(text, " {cell:<width$}") } else { write!(text, " {cell:>width$}") };
        }
        text.push_str(" │\n");
    };
    let _ = writeln!(text, "┌{}┐", "─".repeat(inner));
    line(&mut text, &|kind| kind.title.to_owned());
    let _ = writeln!(text, "╞{}╡", "═".repeat(inner));
    for tensor in &inventory.tensors {
        line(&mut text, &|kind| (kind.cell)(tensor));
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
            code: None,
        };
        let tensors = vec![
            tensor("a.weight", cdi_prune::tensor::Dtype::F32, &[2, 2], 16, Some(0.25)),
            tensor("b", cdi_prune::tensor::Dtype::F8_E4M3FNUZ, &[1200], 1200, Some(1.0)),
            tensor("c", cdi_prune::tensor::Dtype::F4, &[], 2, None),
        ];
        let mut inventory = Inventory { files: 1, made_by_cdi_prune: None, delta: None, tensors };
        assert_eq!(long(&inventory), short(&inventory, true, ColorChoice::Never));
        inventory.tensors[1].code = Some(InventoryCode {
            tensor: "w".to_owned(),
            dtype: cdi_prune::tensor::Dtype::BF16,
            shape: vec![40, 20],
            bits_per_weight: 12.0,
            predicted_from: Predicted::Base,
            factor: Some(0.875),
        });
        let long = long(&inventory);
        assert_eq!(long, short(&inventory, true, ColorChoice::Never));
        assert!(long.contains("base × 0.875000"), "{long}");
    }
}
