//! Differences between outputs and the manifest, or between outputs and the results of the inputs.

use std::io;
use std::path::Path;

use crate::checkpoint::OpenOptions;
use crate::digest;
use crate::gates::GateResult;
use crate::manifest::{FileEntry, TensorEntry};
use crate::pipeline::error::{Error, VerifyProblem};
use crate::place;
use crate::reader::{Limits, PrunedReader};
use crate::report::gate_words;
use crate::tensor::FloatDtype;
use crate::workers::Threads;
use cdi_core::internal::ReadBlocks;

/// The difference of a file from its entry, if any.
pub(super) fn compare_file(path: &Path, entry: &FileEntry, hash: bool) -> io::Result<Option<VerifyProblem>> {
    let length = match place::size(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(VerifyProblem::Missing)),
        size => size?,
    };
    if length != entry.size {
        return Ok(Some(VerifyProblem::Size { expected: entry.size, got: length }));
    }
    if hash {
        let (got, _) = digest::of_file(path)?;
        if got != entry.sha256 {
            return Ok(Some(VerifyProblem::Digest { expected: entry.sha256.clone(), got }));
        }
    }
    Ok(None)
}

pub(super) fn counts_differ(expected: Vec<TensorEntry>, got: &[TensorEntry]) -> Option<VerifyProblem> {
    if let Some((expected, got)) = expected.iter().zip(got).find(|(expected, got)| expected != got) {
        return Some(VerifyProblem::Counts { expected: expected.clone(), got: got.clone() });
    }
    let (expected, got) = (expected.len(), got.len());
    (expected != got).then_some(VerifyProblem::Tensors { expected, got })
}

pub(super) fn gates_differ(expected: &[GateResult], got: &[GateResult]) -> Option<VerifyProblem> {
    let words = |gates: &[GateResult]| {
        let word = |gate: &GateResult| {
            format!("{} ({})", gate_words(gate), if gate.passed { "passed" } else { "failed" })
        };
        if gates.is_empty() {
            "none".to_owned()
        } else {
            gates.iter().map(word).collect::<Vec<_>>().join("; ")
        }
    };
    (expected != got).then(|| VerifyProblem::Gates { expected: words(expected), got: words(got) })
}

/// The first file that is listed but not written, written but not listed, or listed with
/// another path or role.
pub(super) fn names_differ(expected: &[FileEntry], got: &[FileEntry]) -> Option<VerifyProblem> {
    let lacks = |list: &[FileEntry], file: &&FileEntry| !list.iter().any(|entry| entry.path == file.path);
    if let Some(file) = expected.iter().find(|file| lacks(got, file)) {
        return Some(VerifyProblem::Unlisted { role: file.role.clone(), path: file.path.clone() });
    }
    if let Some(file) = got.iter().find(|file| lacks(expected, file)) {
        return Some(VerifyProblem::NotMade { role: file.role.clone(), path: file.path.clone() });
    }
    let differs = |(a, b): &(&FileEntry, &FileEntry)| (&a.role, &a.path) != (&b.role, &b.path);
    let pair = expected.iter().zip(got).find(differs);
    let name = |entry: &FileEntry| format!("{} {}", entry.role, entry.path);
    match pair {
        Some((expected, got)) => Some(VerifyProblem::Listed { expected: name(expected), got: name(got) }),
        None if got.len() > expected.len() => {
            let file = &got[expected.len()];
            Some(VerifyProblem::NotMade { role: file.role.clone(), path: file.path.clone() })
        }
        None => None,
    }
}

/// The first weight in which two pruned checkpoints differ once they are restored.
pub(super) fn pruned_differs(
    anew: &Path,
    written: &Path,
    base: Option<&Path>,
    options: OpenOptions,
) -> Result<Option<VerifyProblem>, Error> {
    let open = |path| PrunedReader::open_on(&Threads, path, base, Limits::NONE, options);
    let (anew, other) = (open(anew)?, open(written)?);
    for (name, dtype, shape) in anew.tensors() {
        let Some((got_dtype, got_shape)) = other.tensor(name) else {
            return Ok(Some(VerifyProblem::TensorMissing(name.to_owned())));
        };
        if (got_dtype, got_shape) != (dtype, shape) {
            let (expected, got) = (format!("{dtype} {shape}"), format!("{got_dtype} {got_shape}"));
            return Ok(Some(VerifyProblem::Form { tensor: name.to_owned(), expected, got }));
        }
        let Some(float) = FloatDtype::of(dtype) else {
            // Not encoded in either file; its rows may begin within a byte.
            let (a, b) = (anew.stored(name).bytes(), other.stored(name).bytes());
            if let Some(byte) = a.iter().zip(b).position(|(a, b)| a != b) {
                let row = byte * shape.matrix().rows / a.len();
                return Ok(Some(VerifyProblem::Row { tensor: name.to_owned(), row }));
            }
            continue;
        };
        let matrix = shape.matrix();
        let row_bytes = matrix.cols * float.size();
        let (mut a, mut b) = (vec![0; row_bytes], vec![0; row_bytes]);
        for row in 0..matrix.rows {
            let rows = |file: &PrunedReader, out: &mut [u8]| {
                let read = file.read_rows(name, row..row + 1, out);
                read.err().map(VerifyProblem::Rows)
            };
            if let Some(problem) = rows(&anew, &mut a).or_else(|| rows(&other, &mut b)) {
                return Ok(Some(problem));
            }
            if a == b {
                continue;
            }
            return Ok(first_weight(name, row, float, &a, &b));
        }
    }
    Ok(None)
}

/// The first weight of a row in which two restored rows differ.
pub(super) fn first_weight(
    tensor: &str,
    row: usize,
    dtype: FloatDtype,
    expected: &[u8],
    got: &[u8],
) -> Option<VerifyProblem> {
    let size = dtype.size();
    let column = expected.chunks(size).zip(got.chunks(size)).position(|(a, b)| a != b)?;
    let value = |bytes: &[u8]| {
        let mut value = [0.0];
        dtype.decode(&bytes[column * size..(column + 1) * size], &mut value);
        value[0]
    };
    let (expected, got) = (value(expected), value(got));
    Some(VerifyProblem::Weight { tensor: tensor.to_owned(), row, column, expected, got })
}
