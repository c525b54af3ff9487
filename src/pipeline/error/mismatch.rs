//! The error for a trained checkpoint that does not fit the model.

use std::path::PathBuf;

use super::words::list;
use crate::config::PatternHint;

/// All differences between the trained checkpoint and the model and rules, reported together.
#[derive(Debug, Default)]
pub struct Mismatch {
    /// The trained checkpoint.
    pub path: PathBuf,
    /// Floating-point tensors in it that no rule matches.
    pub unmatched: Vec<String>,
    /// Why that may be.
    pub hint: PatternHint,
    /// Tensors of the model that are missing in it.
    pub missing: Vec<String>,
    /// `name: has …, expected …`: tensors whose shape or type differs from the model's.
    pub different: Vec<String>,
    /// Names that wrappers inserted into its tensor names. Without them, the config would know more of the
    /// tensors.
    pub wrappers: Vec<&'static str>,
}

impl Mismatch {
    /// Whether there are no differences.
    pub fn is_empty(&self) -> bool {
        self.unmatched.is_empty() && self.missing.is_empty() && self.different.is_empty()
    }
}

impl std::error::Error for Mismatch {}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if !self.unmatched.is_empty() {
            parts.push(format!(
                "no rule matches {} (add a rule; use `init: none` if the initial value is not known){}",
                list(&self.unmatched),
                self.hint
            ));
        }
        if !self.missing.is_empty() {
            parts.push(format!("missing there, although the model has them: {}", list(&self.missing)));
        }
        if !self.different.is_empty() {
            parts.push(self.different.join("; "));
        }
        write!(
            f,
            "{}: the trained checkpoint does not fit the config: {}",
            self.path.display(),
            parts.join("; ")
        )?;
        if !self.wrappers.is_empty() {
            let wrappers = self.wrappers.join(", ");
            write!(
                f,
                "; its tensor names contain names of wrappers: `trained.strip: [{wrappers}]` removes them"
            )?;
        }
        Ok(())
    }
}
