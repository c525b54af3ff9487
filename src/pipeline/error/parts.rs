//! What can be wrong with the parts of a run, and how a process of one ends.

use std::fmt;

/// A step of a run in parts: its name, and its number from 1.
pub type Step = (&'static str, usize);

/// Why the program ended within a run in parts. Not an error for who asked for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseEnd {
    /// This part of this step is done; `again` if it was before.
    Part {
        /// The step.
        step: Step,
        /// Whether it was done before.
        again: bool,
    },
    /// A step is merged, and the parts of the next one are to be run.
    Merged {
        /// The last merged step.
        step: Step,
        /// The next one.
        next: Step,
    },
}

/// What is wrong with a part of a run, or with several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartsProblem {
    /// The config searches, which one process does.
    Tune,
    /// The folder of the parts would be in an object store.
    InStore,
    /// Parts of a step are missing.
    Missing {
        /// The step, and its number from 1.
        step: Step,
        /// The numbers of the missing parts, from 1.
        missing: Vec<usize>,
        /// Number of parts.
        of: usize,
    },
    /// This is no file of a part.
    NotAPart,
    /// The file has another length than its header says.
    Length {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        got: u64,
    },
    /// The content is not what was written.
    Damaged,
    /// The file has another version of the format.
    Version(u32),
    /// It was made by another version of the tool.
    Tool(String),
    /// It was made with another config.
    Config,
    /// It was made from other input files.
    Inputs,
    /// It belongs to another place.
    Place {
        /// What was expected, in words.
        expected: String,
        /// What it says, in words.
        got: String,
    },
    /// An output file is not what a part has written.
    Shard {
        /// The number of the part.
        part: usize,
    },
    /// What a part has kept for later steps is not what it has written.
    Kept,
}

/// Some numbers, of which there may be many: `3, 5-7`.
fn numbers(all: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for n in all {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *n => *last = *n,
            _ => runs.push((*n, *n)),
        }
    }
    let one = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for PartsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tune => f.write_str(
                "a config with `tune` cannot be run in parts: search on one machine, put the settings that it \
                 finds under `prune`, and run that config in parts",
            ),
            Self::InStore => f.write_str(
                "the processes of a run in parts exchange files in a folder that all of them see as one of a disk: \
                 give it (--parts-folder FOLDER)",
            ),
            Self::Missing { step: (name, number), missing, of } if missing.len() == *of => write!(
                f,
                "there is no part of step {number} (`{name}`) yet; run all {of} parts, `cdi-prune run CONFIG \
                 --part I/{of}`, then merge again"
            ),
            Self::Missing { step: (name, number), missing, of } => write!(
                f,
                "of the {of} parts of step {number} (`{name}`), {} {} missing; run {} again, then merge again",
                numbers(missing),
                if missing.len() == 1 { "is" } else { "are" },
                if missing.len() == 1 { "it" } else { "them" },
            ),
            Self::NotAPart => f.write_str("not a file of a part of a run; remove it, and run its part again"),
            Self::Length { expected, got } => write!(
                f,
                "this part has {got} bytes, where its header says {expected}: it is cut off or damaged; remove \
                 it, and run its part again"
            ),
            Self::Damaged => f.write_str(
                "the content of this part is not what was written (its SHA-256 differs); remove it, and run its \
                 part again",
            ),
            Self::Version(got) => write!(
                f,
                "a part with version {got} of the format; this cdi-prune reads version 1; run its part again with \
                 this version"
            ),
            Self::Tool(got) => write!(
                f,
                "made by cdi-prune {got}; this is {}: all parts and the merge must be run by one version",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Config => f.write_str(
                "made with another config or other `--set` overrides; give all parts and the merge the same, and \
                 run this part again",
            ),
            Self::Inputs => f.write_str(
                "made from other input files than those that the config names now; run this part again, once all \
                 parts read the same files",
            ),
            Self::Place { expected, got } => {
                write!(f, "expected {expected}, got {got}; remove it, and run its part again")
            }
            Self::Shard { part } => write!(
                f,
                "this file is not what part {part} has written (its SHA-256 differs, or it is gone); run part \
                 {part} again, then merge again"
            ),
            Self::Kept => f.write_str(
                "this file is not what the part has kept for later steps (its SHA-256 differs), and was removed; run \
                 the part twice: once to compute it again, once to go on",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_parts_are_named_in_runs() {
        assert_eq!(numbers(&[1, 3, 4, 5, 9, 10]), "1, 3-5, 9-10");
        let problem = PartsProblem::Missing { step: ("compare", 1), missing: vec![2], of: 4 };
        assert_eq!(
            problem.to_string(),
            "of the 4 parts of step 1 (`compare`), 2 is missing; run it again, then merge again"
        );
    }
}
