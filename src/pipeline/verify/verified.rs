//! What `verify` has checked, in words.

use crate::text::{counted, printable};

/// What was checked, and found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Outputs.
    pub outputs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether files were hashed; else only their sizes were looked at.
    pub hashed: bool,
    /// Inputs that are not there any more.
    pub inputs_missing: Vec<String>,
    /// How far the run was done again.
    pub depth: Depth,
    /// What was not checked, each as part of a sentence.
    pub unchecked: Vec<String>,
}

/// How far what a run wrote was held against its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every output made anew, the same bytes.
    Whole {
        /// Tensors of the trained checkpoint.
        tensors: usize,
        /// Gates.
        gates: usize,
    },
    /// Some rows were restored, and every weight in them was what it should be.
    Rows {
        /// How many rows.
        rows: u64,
    },
    /// Not at all.
    No {
        /// Why.
        why: &'static str,
    },
}

/// What depends on the inputs.
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
