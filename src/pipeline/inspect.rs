//! The command `inspect`: what is in a checkpoint.

use std::path::Path;

use serde::Serialize;

use super::blocks::{self, Reads};
use super::error::Error;
use super::progress::Progress;
use crate::checkpoint::{Checkpoint, TensorRef};
use crate::sparse::{FileMetadata, Kind};

/// The tensors of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// Files that it consists of.
    pub files: usize,
    /// `initial` or `pruned` for files of this tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by_cdi_prune: Option<Kind>,
    /// The tensors in name order.
    pub tensors: Vec<InventoryTensor>,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InventoryTensor {
    /// Its name.
    pub name: String,
    /// Its type, in safetensors' spelling.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Bytes of its data.
    pub bytes: u64,
    /// Share of elements that are zero (of either sign), 0 … 1; `None` for an empty tensor or a type of less than a byte.
    pub zeros: Option<f64>,
}

/// Lists the tensors and counts their zeros, which reads the whole file.
pub fn inspect(path: &Path, progress: &dyn Progress) -> Result<Inventory, Error> {
    let checkpoint = Checkpoint::open(path)?;
    progress.begin("inspect", checkpoint.tensors().map(|(_, t)| t.bytes().len() as u64).sum());
    let all: Vec<(&str, TensorRef<'_>)> = checkpoint.tensors().collect();
    let mut pieces = Vec::new();
    for (n, (_, tensor)) in all.iter().enumerate() {
        // A multiple of every element size.
        pieces.extend(tensor.data.chunks(1 << 20).map(|piece| (n, piece)));
    }
    let zeros = blocks::for_each(
        &pieces,
        progress,
        |(_, piece)| Reads::of(*piece),
        || (),
        |(), (n, piece)| Ok::<_, Error>(zeros(&all[*n].1, piece.bytes())),
    )?;
    progress.end();
    let mut counts = vec![0u64; all.len()];
    for ((n, _), zeros) in pieces.iter().zip(zeros) {
        counts[*n] += zeros;
    }
    let tensors = all
        .iter()
        .zip(counts)
        .map(|((name, t), zeros)| {
            let elements = t.shape.elements();
            InventoryTensor {
                name: (*name).to_owned(),
                dtype: t.dtype.to_string(),
                shape: t.shape.dims().to_vec(),
                bytes: t.bytes().len() as u64,
                zeros: (elements > 0 && t.dtype.bitsize() % 8 == 0).then(|| zeros as f64 / elements as f64),
            }
        })
        .collect();
    let kind = checkpoint.metadata().iter().find_map(|m| FileMetadata::find(m)?.ok()).map(|m| m.kind);
    Ok(Inventory { files: checkpoint.metadata().len(), made_by_cdi_prune: kind, tensors })
}

fn zeros(tensor: &TensorRef<'_>, piece: &[u8]) -> u64 {
    let size = (tensor.dtype.bitsize() / 8).max(1);
    // A float's sign does not make it another zero.
    let sign = if tensor.float().is_some() { 0x7F } else { 0xFF };
    let is_zero = |element: &&[u8]| {
        element
            .split_last()
            .is_some_and(|(last, rest)| last & sign == 0 && rest.iter().all(|byte| *byte == 0))
    };
    piece.chunks_exact(size).filter(is_zero).count() as u64
}
