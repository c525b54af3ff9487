//! A trained checkpoint that is not the model's.

use std::path::PathBuf;

use super::words::list;

/// How the trained checkpoint differs from the model and the rules: everything at once.
#[derive(Debug, Default)]
pub struct Mismatch {
    /// The trained checkpoint.
    pub path: PathBuf,
    /// Floating-point tensors of it that no rule matches.
    pub unmatched: Vec<String>,
    /// Tensors of the model that it lacks.
    pub missing: Vec<String>,
    /// `name: has …, expected …`: tensors of another shape or kind than the model's.
    pub different: Vec<String>,
    /// Names of wrappers in its tensors' names, without which some would be those that the config knows.
    pub wrappers: Vec<&'static str>,
}

impl Mismatch {
    /// Whether there is nothing to complain of.
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
                "no rule matches {} (add a rule; use `init: none` if the initial value is not known)",
                list(&self.unmatched)
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
