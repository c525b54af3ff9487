//! What `verify` has checked, in words.

use crate::text::{printable, thousands};

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
pub(super) const DERIVED: &str =
    "whether the outputs are those, and all of those, that the inputs give; gates; counts of tensors";

impl Verified {
    /// In words.
    pub fn words(&self) -> String {
        let (outputs, bytes) = (self.outputs, thousands(self.bytes));
        let how = if self.hashed { "have the SHA-256" } else { "have the sizes" };
        let mut text = format!("All {outputs} outputs, {bytes} bytes, {how} that the manifest says.");
        if !self.inputs_missing.is_empty() {
            text +=
                &format!("\nInputs that are not at hand: {}.", printable(&self.inputs_missing.join(", ")));
        }
        text += &match &self.depth {
            Depth::Whole { tensors, gates } => format!(
                "\nThe run was done again from the inputs: the same outputs, byte for byte, the same result of {gates} \
                 gate{}, and the same counts of {} tensors.",
                if *gates == 1 { "" } else { "s" },
                thousands(*tensors as u64)
            ),
            Depth::Rows { rows } => format!(
                "\nOf the pruned checkpoint {} rows were restored and compared with the trained ones; nothing was hashed.",
                thousands(*rows)
            ),
            Depth::No { why } => format!("\nThe run was not done again: {why}."),
        };
        for what in &self.unchecked {
            text += &format!("\nNot checked: {}.", printable(what));
        }
        text
    }
}
