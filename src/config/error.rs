//! Errors in a config, and their location.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use super::path::KeyPath;
use crate::init::SchemeError;
use crate::rules::PatternError;
use crate::suggest::did_you_mean;

/// An error in a config: its location, then one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {kind}")]
pub struct ConfigError {
    /// Where the error is.
    pub place: Place,
    /// What is wrong. Boxed to keep results small.
    pub kind: Box<ConfigErrorKind>,
}

/// Location of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File(PathBuf),
    /// A position in the file.
    Position {
        /// The file, as it was named.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Character in the line, from 1.
        column: usize,
    },
    /// An override, `KEY=VALUE`.
    Override(String),
    /// An argument of the command line.
    Argument(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Position { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Override(text) => write!(f, "--set {text}"),
            Self::Argument(text) => f.write_str(text),
        }
    }
}

/// What is wrong with a config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrorKind {
    /// The file cannot be read.
    #[error("the config cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The file is not text.
    #[error("the config is not UTF-8 text")]
    NotUtf8,
    /// The file contains no value.
    #[error("the config is empty")]
    Empty,
    /// More than one YAML document.
    #[error("a second YAML document begins here, but a config is a single document")]
    SeveralDocuments,
    /// The file's value is not a mapping.
    #[error("a config must be a mapping of keys to values, but this is {0}")]
    NotAMapping(String),
    /// A tab where YAML requires spaces.
    #[error("YAML must be indented with spaces, but this is a tab")]
    Tab,
    /// Not YAML, in the words of the parser.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// An override that cannot be applied.
    #[error("{0}")]
    BadOverride(String),
    /// An unknown key.
    #[error("unknown key `{key}`{}{}; the keys are {}", inside(parent), did_you_mean(*near), keys.join(", "))]
    UnknownKey {
        /// The key.
        key: String,
        /// The mapping that contains it.
        parent: KeyPath,
        /// The closest valid key, if one is close.
        near: Option<&'static str>,
        /// The valid keys.
        keys: Vec<&'static str>,
    },
    /// A duplicate key.
    #[error("duplicate key `{0}`")]
    DuplicateKey(String),
    /// A required key is missing.
    #[error("missing key `{key}`{}", inside(parent))]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The mapping that should contain it.
        parent: KeyPath,
    },
    /// No seed, although something depends on it.
    #[error("missing key `seed`, which `{by}` needs")]
    MissingSeed {
        /// The key that needs it.
        by: KeyPath,
    },
    /// An invalid value.
    #[error("`{key}`: expected {expected}, got {got}")]
    BadValue {
        /// The key.
        key: KeyPath,
        /// Valid values, in words.
        expected: String,
        /// What was given.
        got: String,
    },
    /// An invalid word.
    #[error("`{key}` cannot be `{value}`{}; the values are {}", did_you_mean(*near), values.join(", "))]
    UnknownValue {
        /// The key.
        key: KeyPath,
        /// The word given.
        value: String,
        /// The closest valid word, if one is close.
        near: Option<&'static str>,
        /// The valid words.
        values: Vec<&'static str>,
    },
    /// A key without effect because another key is missing.
    #[error("`{key}` needs the key `{needs}`, which the config does not have")]
    NeedsKey {
        /// The key.
        key: KeyPath,
        /// The missing one.
        needs: &'static str,
    },
    /// A combination in `tune` that is impossible.
    #[error("`tune` would try settings that exclude each other: {0}")]
    Combination(Box<ConfigErrorKind>),
    /// A different version of the config format.
    #[error("`version` is {0}, but this tool reads version 1")]
    Version(String),
    /// An invalid initialisation.
    #[error(transparent)]
    Scheme(SchemeError),
    /// An invalid pattern.
    #[error(transparent)]
    Pattern(PatternError),
    /// `by` names a group that a pattern of the rule does not have.
    #[error("`{key}` refers to {group}, but pattern `{pattern}` has {has}")]
    NoSuchGroup {
        /// The key.
        key: KeyPath,
        /// The group, in words.
        group: String,
        /// The pattern.
        pattern: String,
        /// The groups of the pattern, in words.
        has: String,
    },
    /// Zero-mean kernels with a layout that does not store kernels together.
    #[error(
        "`zero_mean` needs the layout out_in: in an in_out tensor, convolution kernels are not \
             contiguous"
    )]
    ZeroMeanLayout,
    /// Two outputs with the same file.
    #[error("`{second}` writes the same file as `{first}`: {}", file.display())]
    SameOutput {
        /// The first key.
        first: KeyPath,
        /// The second key.
        second: KeyPath,
        /// Path of the file.
        file: PathBuf,
    },
    /// A rule none of whose patterns matches a tensor.
    #[error("this rule matches no tensor: `{}`{hint} (use `optional: true` to allow this)", patterns.join("`, `"))]
    RuleMatchesNothing {
        /// The rule's patterns as written.
        patterns: Vec<String>,
        /// What may be meant.
        hint: PatternHint,
    },
    /// A pattern of a list that matches no tensor, where others of the list do.
    #[error(
        "this pattern of the list matches no tensor: `{pattern}`{hint} (use a separate rule with `optional: \
         true` to allow this)"
    )]
    PatternMatchesNothing {
        /// The pattern as written.
        pattern: String,
        /// What may be meant.
        hint: PatternHint,
    },
    /// An error that a later stage finds once it has opened the checkpoints.
    #[error(transparent)]
    Stage(Box<dyn Error + Send + Sync>),
}

/// What a pattern that matches nothing may be meant to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PatternHint {
    /// Unknown.
    #[default]
    None,
    /// The name of a tensor that is similar.
    Near(String),
    /// A pattern whose wildcards also match dots, and a name that it matches.
    Wider {
        /// The pattern.
        pattern: String,
        /// The name.
        name: String,
    },
}

impl fmt::Display for PatternHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Near(name) => f.write_str(&did_you_mean(Some(name))),
            Self::Wider { pattern, name } => {
                write!(f, "; `*` stops at a dot, but `**` does not: `{pattern}` matches `{name}`")
            }
        }
    }
}

fn inside(parent: &KeyPath) -> String {
    if parent.steps().is_empty() { String::new() } else { format!(" in `{parent}`") }
}

/// An error and the key concerned, before the location of the key is known.
#[derive(Debug)]
pub(super) struct Problem {
    pub path: KeyPath,
    pub on: On,
    pub kind: Box<ConfigErrorKind>,
}

/// The part of an entry that is wrong, and whose position is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Key,
    Value,
}

impl Problem {
    pub fn at_key(path: &KeyPath, kind: ConfigErrorKind) -> Self {
        Self { path: path.clone(), on: On::Key, kind: Box::new(kind) }
    }

    pub fn at_value(path: &KeyPath, kind: ConfigErrorKind) -> Self {
        Self { path: path.clone(), on: On::Value, kind: Box::new(kind) }
    }

    /// The value is wrong.
    pub fn bad_value(path: &KeyPath, expected: &str, got: impl fmt::Display) -> Self {
        let kind = ConfigErrorKind::BadValue {
            key: path.clone(),
            expected: expected.to_owned(),
            got: got.to_string(),
        };
        Self::at_value(path, kind)
    }
}
