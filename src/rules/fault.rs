//! Errors in patterns.

/// A pattern that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}`: {fault}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub fault: PatternFault,
}

/// What is wrong with a pattern. Positions are characters, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Nothing there; for a regular expression, nothing after `re:`.
    #[error("it is empty")]
    Empty,
    /// `[` or `{` without its end.
    #[error("the `{what}` at character {position} is not closed")]
    Unclosed {
        /// The bracket.
        what: char,
        /// Where it stands.
        position: usize,
    },
    /// `]` or `}` without its beginning.
    #[error(
        "the `{what}` at character {position} closes nothing (write `\\{what}` for the character itself)"
    )]
    Unopened {
        /// The bracket.
        what: char,
        /// Where it stands.
        position: usize,
    },
    /// Three stars or more in a row.
    #[error("more than two stars at character {position} (`*` stops at a dot, `**` does not)")]
    TooManyStars {
        /// Where the run begins.
        position: usize,
    },
    /// A range in a class that ends before it begins.
    #[error("the range `{low}-{high}` at character {position} ends before it begins")]
    ReversedRange {
        /// First character of the range.
        low: char,
        /// Last character of the range.
        high: char,
        /// Where the range stands.
        position: usize,
    },
    /// A backslash with nothing after it.
    #[error("the backslash at character {position} has nothing after it")]
    TrailingBackslash {
        /// Where it stands.
        position: usize,
    },
    /// What the regular expression compiler says.
    #[error("{0}")]
    Regex(String),
}
