//! The differences that `verify` can find.

use std::io;
use std::path::PathBuf;

use crate::manifest::{ManifestProblem, TensorEntry};
use crate::reader::RowsError;

/// The first difference of the files from their manifest, or from what the inputs give.
#[derive(Debug, thiserror::Error)]
pub enum VerifyProblem {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(ManifestProblem),
    /// A file has changed.
    #[error("the {what} {} {problem}", .path.display())]
    File {
        /// `input` or `output`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// How it differs.
        problem: Box<VerifyProblem>,
    },
    /// There is an index or a shard beside an output that the run did not write.
    #[error(
        "{} is beside the outputs, but not one of them: it belongs to another form of an output and would be \
         read instead of it; remove it, or run the config again",
        .0.display()
    )]
    Stale(PathBuf),
    /// The file does not exist.
    #[error("is missing")]
    Missing,
    /// The file has another length.
    #[error("has {got} bytes, expected {expected}")]
    Size {
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
    /// The file has another SHA-256.
    #[error("has SHA-256 {got}, expected {expected}")]
    Digest {
        /// SHA-256 according to the manifest.
        expected: String,
        /// SHA-256 of the file.
        got: String,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The config and its overrides differ from those of the run.
    #[error("config and overrides have SHA-256 {got}, expected {expected}")]
    Config {
        /// SHA-256 according to the manifest.
        expected: String,
        /// SHA-256 of the current config and overrides.
        got: String,
    },
    /// The config reads other files than those in the manifest.
    #[error("the config reads different inputs from those in the manifest")]
    Inputs,
    /// The manifest does not match its own SHA-256, or has additional content.
    #[error("the manifest was changed after it was written: it does not match its own SHA-256")]
    Altered,
    /// A number in the manifest differs from the config's.
    #[error("the manifest has {key} {got}, the config gives {expected}")]
    Number {
        /// Key of the number in the manifest.
        key: &'static str,
        /// Value according to the config.
        expected: u64,
        /// Value in the manifest.
        got: u64,
    },
    /// The gates in the manifest differ from those that the inputs give.
    #[error("the inputs give the gates: {expected}; the manifest has: {got}")]
    Gates {
        /// Computed from the inputs, in words.
        expected: String,
        /// According to the manifest, in words.
        got: String,
    },
    /// The run writes an output that the manifest does not list.
    #[error("the manifest does not list {path}, which the run writes as {role}")]
    Unlisted {
        /// Role of the output.
        role: String,
        /// Its path relative to the manifest's folder.
        path: String,
    },
    /// The manifest lists an output that the run does not write.
    #[error("the manifest lists {path} as {role}, which the run does not write, or not twice")]
    NotMade {
        /// Role of the output in the manifest.
        role: String,
        /// Its path relative to the manifest's folder.
        path: String,
    },
    /// The manifest lists an output with another path or role.
    #[error("the manifest lists {got} where the run writes {expected}")]
    Listed {
        /// Role and path in the run.
        expected: String,
        /// Role and path in the manifest.
        got: String,
    },
    /// The bytes of an output differ from those that the inputs give.
    #[error("the inputs give different bytes for {}", .0.display())]
    Output(PathBuf),
    /// The counts of a tensor differ from those that the inputs give.
    #[error(
        "tensor `{}`: the inputs give {}, the manifest has {} (awake, asleep, pruned, total)",
        .expected.name, counts(.expected), counts(.got)
    )]
    Counts {
        /// Computed from the inputs.
        expected: TensorEntry,
        /// According to the manifest.
        got: TensorEntry,
    },
    /// The manifest has more or fewer tensors than the inputs.
    #[error("the manifest counts {got} tensors, the inputs have {expected}")]
    Tensors {
        /// Number of tensors in the inputs.
        expected: usize,
        /// Number of tensors in the manifest.
        got: usize,
    },
    /// The pruned checkpoint lacks a tensor.
    #[error("the pruned checkpoint has no tensor `{0}`, which the inputs give it")]
    TensorMissing(String),
    /// A tensor has another type or shape.
    #[error("tensor `{tensor}` of the pruned checkpoint is {got}, expected {expected}")]
    Form {
        /// The tensor.
        tensor: String,
        /// Type and shape according to the inputs.
        expected: String,
        /// Type and shape in the file.
        got: String,
    },
    /// A weight differs from the one that the inputs give.
    #[error(
        "tensor `{tensor}` of the pruned checkpoint, row {row}, column {column}: {got:e}, expected {expected:e}"
    )]
    Weight {
        /// The tensor.
        tensor: String,
        /// Row of its matrix view, from 0.
        row: usize,
        /// Column of its matrix view, from 0.
        column: usize,
        /// Value computed from the inputs.
        expected: f64,
        /// Value in the restored file.
        got: f64,
    },
    /// The bytes of a tensor that is not floating-point differ.
    #[error("tensor `{tensor}` of the pruned checkpoint differs in row {row}")]
    Row {
        /// The tensor.
        tensor: String,
        /// Row of its matrix view, from 0.
        row: usize,
    },
    /// A row cannot be restored.
    #[error(transparent)]
    Rows(RowsError),
    /// The weights are the same, but the bytes of the file differ.
    #[error("{} restores to the correct weights, but is not the file that the inputs give", .0.display())]
    Bytes(PathBuf),
}

fn counts(entry: &TensorEntry) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let TensorEntry { total_weights, changed_weights, sleeping_weights, pruned_weights, .. } = entry;
    format!(
        "{}, {}, {}, of {total_weights}",
        number(*changed_weights),
        number(*sleeping_weights),
        number(*pruned_weights)
    )
}
