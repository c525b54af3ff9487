//! The command `inspect`: lists the tensors of a checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde::Serialize;

use super::blocks::{self, Reads};
use super::error::{Error, caught};
use super::progress::Progress;
use crate::checkpoint::{Checkpoint, OpenOptions, TensorRef};
use crate::codec::CODES;
use crate::sparse::{FileMetadata, Format, InitialValues, Kind, PrunedTensor, SHARED_CODES};

/// The tensors of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// Files of the checkpoint.
    pub files: usize,
    /// `initial` or `pruned` for files of this tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by_cdi_prune: Option<Kind>,
    /// Of a delta, between which checkpoints it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Lineage>,
    /// The tensors in name order.
    pub tensors: Vec<InventoryTensor>,
}

/// Between which checkpoints a delta is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lineage {
    /// The name of the base when the delta was made.
    pub from: String,
    /// The state of the base.
    pub base_state: String,
    /// The state of the new checkpoint.
    pub state: String,
    /// Tensors that have another name in the base: the new names, and those in the base.
    pub renamed: BTreeMap<String, String>,
    /// Tensors that the base does not have.
    pub added: Vec<String>,
    /// Tensors of the base that the new checkpoint does not have.
    pub removed: Vec<String>,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InventoryTensor {
    /// Its name.
    pub name: String,
    /// Its type, as safetensors spells it.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Bytes of its data.
    pub bytes: u64,
    /// Share of elements that are zero (of either sign), 0 … 1; `None` for an empty tensor, a type smaller
    /// than a byte, or a coded tensor.
    pub zeros: Option<f64>,
    /// Of a coded tensor, what it encodes; `None` for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<InventoryCode>,
}

/// The tensor that a coded one encodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InventoryCode {
    /// Its name.
    pub tensor: String,
    /// Its type, as safetensors spells it.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Size of its code in bits per element; 0 if it has no code.
    pub bits_per_weight: f64,
    /// What its values are predicted from.
    pub predicted_from: Predicted,
    /// The factor of the prediction; `None` if there is no prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
}

/// What the values of a coded tensor are predicted from. The differences are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Predicted {
    /// Nothing: the values themselves are stored.
    Nothing,
    /// Their initial values, drawn from the seed.
    InitialValues,
    /// The tensor of the same name in another checkpoint.
    Base,
}

impl InventoryCode {
    /// From the description of a coded tensor and the size of its code in bytes.
    fn new(described: &PrunedTensor, bytes: u64) -> Self {
        let elements = described.shape.iter().map(|size| *size as f64).product::<f64>();
        let predicted_from = match (&described.init, described.prediction) {
            (_, None) if described.format == Format::Base => Predicted::Base,
            (_, None) => Predicted::Nothing,
            (InitialValues::Stored { .. } | InitialValues::InBase(_), Some(_)) => Predicted::Base,
            _ => Predicted::InitialValues,
        };
        Self {
            tensor: described.name.clone(),
            dtype: described.dtype,
            shape: described.shape.clone(),
            bits_per_weight: if elements > 0.0 { 8.0 * bytes as f64 / elements } else { 0.0 },
            predicted_from,
            factor: described.prediction,
        }
    }
}

/// Lists the tensors and counts their zeros, which reads the whole file.
pub fn inspect(path: &Path, options: OpenOptions, progress: &dyn Progress) -> Result<Inventory, Error> {
    caught(|| {
        let checkpoint = Checkpoint::open_with(path, options)?;
        progress.begin("inspect", checkpoint.tensors().map(|(_, t)| t.data.len() as u64).sum());
        let mut tensors = Vec::with_capacity(checkpoint.len());
        let mut rest = checkpoint.tensors();
        loop {
            let now: Vec<(&str, TensorRef<'_>)> = rest.by_ref().take(AT_ONCE).collect();
            if now.is_empty() {
                break;
            }
            list(&now, progress, &mut tensors)?;
        }
        progress.end();
        let described: Vec<FileMetadata> =
            checkpoint.metadata().iter().filter_map(|m| FileMetadata::find(m)?.ok()).collect();
        let kind = described.first().map(|described| described.kind);
        let all = || described.iter().flat_map(|file| &file.tensors);
        part_shared(&mut tensors, all());
        let in_file = tensors.len();
        for described in all() {
            add_code(described, &mut tensors, in_file);
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let delta = described.first().and_then(|described| {
            let delta = described.delta.as_ref()?;
            Some(Lineage {
                from: delta.from.clone(),
                base_state: delta.base.clone(),
                state: delta.state.clone(),
                renamed: delta.renamed.clone(),
                added: delta.added.clone(),
                removed: delta.removed.clone(),
            })
        });
        Ok(Inventory { files: checkpoint.metadata().len(), made_by_cdi_prune: kind, delta, tensors })
    })
}

/// Lists each code that shares a tensor with others as if it had one of its own. Where the lengths in the
/// descriptions do not fit the tensor, it is listed as it is.
fn part_shared<'d>(tensors: &mut Vec<InventoryTensor>, described: impl Iterator<Item = &'d PrunedTensor>) {
    let part = |tensor: &PrunedTensor| {
        let bytes = tensor.code?;
        Some(InventoryTensor {
            name: format!("{}{CODES}", tensor.name),
            dtype: Dtype::U8,
            shape: vec![bytes as usize],
            bytes,
            zeros: None,
            code: None,
        })
    };
    let parts: Vec<InventoryTensor> = described.filter_map(part).collect();
    let shared = tensors.iter().position(|tensor| tensor.name == SHARED_CODES);
    let sum = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    if let Some(n) = shared.filter(|n| !parts.is_empty() && tensors[*n].bytes == sum) {
        tensors.remove(n);
        tensors.extend(parts);
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// Adds what a description says about a coded tensor, or about a tensor that is only in the base. The first
/// `in_file` tensors are those of the file, in name order.
fn add_code(described: &PrunedTensor, tensors: &mut Vec<InventoryTensor>, in_file: usize) {
    match described.format {
        Format::Coded => {
            let name = format!("{}{CODES}", described.name);
            let found = tensors[..in_file].binary_search_by(|tensor| tensor.name.as_str().cmp(&name));
            if let Ok(n) = found {
                let tensor = &mut tensors[n];
                (tensor.zeros, tensor.code) = (None, Some(InventoryCode::new(described, tensor.bytes)));
            }
        }
        Format::Base => tensors.push(InventoryTensor {
            name: described.name.clone(),
            dtype: described.dtype,
            shape: described.shape.clone(),
            bytes: 0,
            zeros: None,
            code: Some(InventoryCode::new(described, 0)),
        }),
        _ => {}
    }
}

/// Number of tensors that are processed together. The number is limited because a
/// checkpoint may have millions.
const AT_ONCE: usize = 1 << 14;

fn list(
    all: &[(&str, TensorRef<'_>)],
    progress: &dyn Progress,
    tensors: &mut Vec<InventoryTensor>,
) -> Result<(), Error> {
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
        |(), (n, piece)| Ok::<_, Error>(zeros(all[*n].1.dtype, piece.bytes())),
    )?;
    let mut counts = vec![0u64; all.len()];
    for ((n, _), zeros) in pieces.iter().zip(zeros) {
        counts[*n] += zeros;
    }
    tensors.extend(all.iter().zip(counts).map(|((name, t), zeros)| {
        let elements = t.shape.elements();
        InventoryTensor {
            name: (*name).to_owned(),
            dtype: t.dtype,
            shape: t.shape.dims().to_vec(),
            bytes: t.data.len() as u64,
            zeros: (elements > 0 && t.dtype.bitsize() % 8 == 0).then(|| zeros as f64 / elements as f64),
            code: None,
        }
    }));
    Ok(())
}

/// Number of elements that are zero, of either sign; 0 for types without a zero.
fn zeros(dtype: Dtype, piece: &[u8]) -> u64 {
    let count = |zero: fn(&[u8]) -> bool, size: usize| {
        piece.chunks_exact(size).filter(|element| zero(element)).count() as u64
    };
    let size = (dtype.bitsize() / 8).max(1);
    match dtype {
        Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8_E5M2 | Dtype::F8_E4M3 => {
            count(is_float_zero, size)
        }
        // A complex number is zero if both parts are.
        Dtype::C64 => count(|pair| pair.chunks(4).all(is_float_zero), size),
        // E8M0 has only powers of two, so no zero.
        Dtype::F8_E8M0 => 0,
        // Integers and booleans, and the 8-bit floats in which the bits of a negative zero mean NaN.
        _ => count(|element| element.iter().all(|byte| *byte == 0), size),
    }
}

/// Whether all bits except the sign are zero. The sign is in the last byte of little-endian floats.
fn is_float_zero(element: &[u8]) -> bool {
    element.split_last().is_some_and(|(last, rest)| last & 0x7F == 0 && rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_those_of_the_type() {
        // From the definitions of the types (OCP 8-bit formats; FNUZ: 0x80 is NaN; E8M0: 2^(byte - 127)).
        for (dtype, zeros_of_four) in [
            (Dtype::F8_E4M3, 2),
            (Dtype::F8_E5M2, 2),
            (Dtype::F8_E4M3FNUZ, 1),
            (Dtype::F8_E5M2FNUZ, 1),
            (Dtype::F8_E8M0, 0),
            (Dtype::I8, 1),
            (Dtype::U8, 1),
            (Dtype::BOOL, 1),
        ] {
            assert_eq!(zeros(dtype, &[0, 0x80, 1, 2]), zeros_of_four, "{dtype}");
        }
        let pairs = [[0.0f32, 0.0], [-0.0, 0.0], [0.0, -0.0], [0.0, 1.0], [1.0, 0.0]];
        let complex: Vec<u8> = pairs.concat().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(zeros(Dtype::C64, &complex), 3);
        let double: Vec<u8> = [0.0, -0.0, 5e-324, f64::MIN].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(zeros(Dtype::F64, &double), 2);
        assert_eq!(zeros(Dtype::I16, &[0, 0, 0, 0x80]), 1);
    }
}
