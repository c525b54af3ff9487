//! The differences that `verify` can find.

use std::io;
use std::path::PathBuf;

use crate::manifest::{ManifestProblem, TensorEntry};
use crate::reader::RowsError;

/// The first thing that is not as a manifest says, or as the inputs make it.
#[derive(Debug, thiserror::Error)]
pub enum VerifyProblem {
    /// A manifest that cannot be read.
    #[error(transparent)]
    Manifest(ManifestProblem),
    /// A file that is not as it was.
    #[error("the {what} {} {problem}", .path.display())]
    File {
        /// `input` or `output`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// How it differs.
        problem: Box<VerifyProblem>,
    },
    /// An index or a shard beside an output that is none of the run's.
    #[error(
        "{} is beside the outputs, but not one of them: it belongs to another form of an output and would be \
         read instead of it; remove it, or run the config again",
        .0.display()
    )]
    Stale(PathBuf),
    /// It is gone.
    #[error("is missing")]
    Missing,
    /// It has another length.
    #[error("has {got} bytes, expected {expected}")]
    Size {
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
    /// It has other bytes.
    #[error("has SHA-256 {got}, expected {expected}")]
    Digest {
        /// By the manifest.
        expected: String,
        /// Of the file.
        got: String,
    },
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The config and its overrides are others than those of the run.
    #[error("config and overrides have SHA-256 {got}, expected {expected}")]
    Config {
        /// By the manifest.
        expected: String,
        /// Of those at hand.
        got: String,
    },
    /// The config reads files that the manifest does not list, or others than it lists.
    #[error("the config reads different inputs from those in the manifest")]
    Inputs,
    /// A manifest whose own digest is another, or that says more than a manifest does.
    #[error("the manifest was changed after it was written: it does not match its own SHA-256")]
    Altered,
    /// A number that the config does not give.
    #[error("the manifest has {key} {got}, the config gives {expected}")]
    Number {
        /// Its key.
        key: &'static str,
        /// By the config.
        expected: u64,
        /// By the manifest.
        got: u64,
    },
    /// Gates that the inputs do not give.
    #[error("the inputs give the gates: {expected}; the manifest has: {got}")]
    Gates {
        /// From the inputs, in words.
        expected: String,
        /// By the manifest.
        got: String,
    },
    /// An output that the run writes and the manifest does not list.
    #[error("the manifest does not list {path}, which the run writes as {role}")]
    Unlisted {
        /// What it is for.
        role: String,
        /// Its path from the manifest's folder.
        path: String,
    },
    /// An output that is listed and that the run does not write.
    #[error("the manifest lists {path} as {role}, which the run does not write, or not twice")]
    NotMade {
        /// What it is listed for.
        role: String,
        /// Its path from the manifest's folder.
        path: String,
    },
    /// An output that is listed in another place or as something else.
    #[error("the manifest lists {got} where the run writes {expected}")]
    Listed {
        /// Role and path by the run.
        expected: String,
        /// By the manifest.
        got: String,
    },
    /// An output with other bytes than the inputs give.
    #[error("the inputs give different bytes for {}", .0.display())]
    Output(PathBuf),
    /// Counts that the inputs do not give.
    #[error(
        "tensor `{}`: the inputs give {}, the manifest has {} (awake, asleep, pruned, total)",
        .expected.name, counts(.expected), counts(.got)
    )]
    Counts {
        /// From the inputs.
        expected: TensorEntry,
        /// By the manifest.
        got: TensorEntry,
    },
    /// More or fewer tensors than there are.
    #[error("the manifest counts {got} tensors, the inputs have {expected}")]
    Tensors {
        /// From the inputs.
        expected: usize,
        /// By the manifest.
        got: usize,
    },
    /// A tensor that the pruned checkpoint does not have.
    #[error("the pruned checkpoint has no tensor `{0}`, which the inputs give it")]
    TensorMissing(String),
    /// A tensor of another type or shape.
    #[error("tensor `{tensor}` of the pruned checkpoint is {got}, expected {expected}")]
    Form {
        /// The tensor.
        tensor: String,
        /// Type and shape from the inputs.
        expected: String,
        /// Type and shape in the file.
        got: String,
    },
    /// A weight that the inputs do not give.
    #[error(
        "tensor `{tensor}` of the pruned checkpoint, row {row}, column {column}: {got:e}, expected {expected:e}"
    )]
    Weight {
        /// The tensor.
        tensor: String,
        /// Row of its matrix view, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// From the inputs.
        expected: f64,
        /// In the restored file.
        got: f64,
    },
    /// Other bytes in a tensor of another type.
    #[error("tensor `{tensor}` of the pruned checkpoint differs in row {row}")]
    Row {
        /// The tensor.
        tensor: String,
        /// Row of its matrix view, from 0.
        row: usize,
    },
    /// A row that cannot be restored.
    #[error(transparent)]
    Rows(RowsError),
    /// The same weights in other bytes.
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
