//! The result of `verify`, in words.

use crate::text::{counted, printable};

/// What was checked, without a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of outputs.
    pub outputs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whether files were hashed; otherwise, only their sizes were compared.
    pub hashed: bool,
    /// Inputs that no longer exist.
    pub inputs_missing: Vec<String>,
    /// How far the run was repeated.
    pub depth: Depth,
    /// What was not checked, each as part of a sentence.
    pub unchecked: Vec<String>,
}

/// How far the outputs of a run were compared with the results of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every output was written again, with the same bytes.
    Whole {
        /// Number of tensors of the trained checkpoint.
        tensors: usize,
        /// Number of gates.
        gates: usize,
    },
    /// Some rows were restored, and every weight in them was as expected.
    Rows {
        /// Number of rows.
        rows: u64,
    },
    /// They were not compared.
    No {
        /// The reason.
        why: &'static str,
    },
}

/// The results that depend on the inputs.
pub(super) const DERIVED: &str = "whether the inputs give exactly these outputs; gates; counts of tensors";

impl Verified {
    /// In words.
    pub fn words(&self) -> String {
        let what = if self.hashed { "SHA-256" } else { "size" };
        let outputs = counted(self.outputs as u64, "output");
        let mut text = format!(
            "Every output has the {what} in the manifest: {outputs}, {}.",
            counted(self.bytes, "byte")
        );
        if !self.inputs_missing.is_empty() {
            text += &format!("\nInputs that do not exist: {}.", printable(&self.inputs_missing.join(", ")));
        }
        text += &match &self.depth {
            Depth::Whole { tensors, gates } => format!(
                "\nThe run was repeated from the inputs: the same outputs, byte for byte, the same results of \
                 {}, and the same counts of {}.",
                counted(*gates as u64, "gate"),
                counted(*tensors as u64, "tensor")
            ),
            Depth::Rows { rows } => format!(
                "\nRestored {} of the pruned checkpoint and compared them with the trained ones; nothing was \
                 hashed.",
                counted(*rows, "row")
            ),
            Depth::No { why } => format!("\nThe run was not repeated: {why}."),
        };
        for what in &self.unchecked {
            text += &format!("\nNot checked: {}.", printable(what));
        }
        text
    }
}
