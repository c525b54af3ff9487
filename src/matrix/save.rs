//! Saves the matrix to a file. The matrix is streamed: only a window of it is in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Subject;
use crate::checkpoint::{CheckpointError, TensorSpec};
use crate::sparse::{FileMetadata, Kind};
use crate::store::{CheckpointWriter, Group, write_stream};
use crate::tensor::FloatDtype;

/// Number of weights that are encoded at once.
const WINDOW: usize = 1 << 20;

/// The tensor's name in a safetensors file.
pub const TENSOR_NAME: &str = "weight";

/// File format, selected by the file name's ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// NumPy's array file format, version 1.0:
    /// <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
    Npy,
    /// A safetensors file with one tensor called `weight`.
    Safetensors,
    /// CSV with one line per row of the matrix. Each number has the fewest decimals that read back
    /// as the stored weight.
    Csv,
}

/// A file name for which no format is possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// An unknown ending.
    #[error("{}: the file name must end in .npy, .safetensors or .csv", .0.display())]
    Ending(PathBuf),
    /// A type that NumPy does not have.
    #[error("{}: NumPy's format has no bf16; save the matrix as .safetensors, or use another --dtype", .0.display())]
    Bf16(PathBuf),
}

impl FileFormat {
    /// The format for a file of this name with weights of this type.
    ///
    /// # Errors
    /// [`FormatError`] for an unknown ending, or a type that the format does not have.
    pub fn of(path: &Path, dtype: FloatDtype) -> Result<Self, FormatError> {
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("npy") if dtype == FloatDtype::Bf16 => Err(FormatError::Bf16(path.to_owned())),
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("csv") => Ok(Self::Csv),
            _ => Err(FormatError::Ending(path.to_owned())),
        }
    }
}

/// Writes the weights as stored. The write is atomic.
///
/// # Errors
/// [`CheckpointError`] if the file cannot be written.
pub fn save(subject: &Subject, path: &Path, format: FileFormat) -> Result<(), CheckpointError> {
    match format {
        FileFormat::Npy => write_stream(path, |file| {
            file.write_all(&npy_header(subject))?;
            for_windows(subject, |_, _, bytes| file.write_all(bytes))
        }),
        FileFormat::Csv => write_stream(path, |file| {
            let cols = subject.matrix().cols;
            for_windows(subject, |start, weights, _| {
                for (n, x) in (start..).zip(weights) {
                    let end = if (n + 1) % cols == 0 { '\n' } else { ',' };
                    write!(file, "{}{end}", Decimal { x: *x, dtype: subject.dtype() })?;
                }
                Ok(())
            })
        }),
        FileFormat::Safetensors => {
            let spec = TensorSpec {
                name: TENSOR_NAME.to_owned(),
                dtype: subject.dtype().dtype(),
                shape: subject.shape().clone(),
            };
            let groups = [Group::single(spec)];
            let writer = CheckpointWriter::create(path, &groups, None, |_| metadata(subject))?;
            let slot = writer.slot(TENSOR_NAME);
            for_windows(subject, |start, _, bytes| {
                writer.write_at(slot, (start * subject.dtype().size()) as u64, bytes)
            })?;
            writer.commit().map(|_| ())
        }
    }
}

/// The metadata of an initial checkpoint, with a description of how this tensor was generated.
fn metadata(subject: &Subject) -> BTreeMap<String, String> {
    let params = serde_json::to_string(&subject.scheme().params());
    let made_by = [
        ("layer_id", subject.layer().to_string()),
        ("init", params.expect("words and finite reals always serialise")),
        ("layout", subject.layout().to_string()),
    ];
    let made_by = made_by.map(|(key, value)| (key.to_owned(), value)).into();
    FileMetadata::new(Kind::Initial, subject.seed()).into_map(&made_by)
}

/// Calls a function with every window of the weights in storage order: the index of its first weight, the
/// weights as stored, and their little-endian bytes.
fn for_windows<E>(
    subject: &Subject,
    mut each: impl FnMut(usize, &[f64], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut weights, mut bytes) = (Vec::new(), Vec::new());
    for start in (0..subject.weights()).step_by(WINDOW) {
        weights.resize(WINDOW.min(subject.weights() - start), 0.0);
        subject.fill(start, &mut weights);
        subject.dtype().round_slice(&mut weights);
        bytes.resize(weights.len() * subject.dtype().size(), 0);
        subject.dtype().encode(&weights, &mut bytes);
        each(start, &weights, &bytes)?;
    }
    Ok(())
}

fn npy_header(subject: &Subject) -> Vec<u8> {
    let dims: Vec<String> = subject.shape().dims().iter().map(usize::to_string).collect();
    // A Python tuple: one with a single element needs a trailing comma.
    let shape = if dims.len() == 1 { format!("({},)", dims[0]) } else { format!("({})", dims.join(", ")) };
    let mut text =
        format!("{{'descr': '<f{}', 'fortran_order': False, 'shape': {shape}, }}", subject.dtype().size());
    // The magic string, the version and the header length take ten bytes; the data begins at a
    // multiple of 64 bytes.
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

/// Formats a stored weight with the fewest digits that read back as the same value: as a binary32 if that
/// type can represent all values of the stored type.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The weight.
    pub x: f64,
    /// The type that the weight is stored in.
    pub dtype: FloatDtype,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            FloatDtype::F64 => write!(f, "{:?}", self.x),
            FloatDtype::F32 | FloatDtype::F16 | FloatDtype::Bf16 => write!(f, "{:?}", self.x as f32),
        }
    }
}
