//! One pattern over tensor names.

use std::fmt;

use regex::Regex;

use super::fault::{PatternError, PatternFault};
use super::glob;

/// The prefix of a pattern that is a regular expression.
const REGEX_PREFIX: &str = "re:";

/// A compiled pattern. Two patterns are equal if they were written alike.
///
/// A glob is anchored at both ends and case-sensitive:
///
/// | written | matches |
/// | --- | --- |
/// | `*` | any run of characters without a dot, also an empty one |
/// | `**` | any run of characters |
/// | `?` | one character that is no dot |
/// | `[a-c]`, `[!a-c]` | one character of the set; one that is neither in the set nor a dot |
/// | `{a,b}` | either; may hold any of these, braces included |
/// | `\x` | the character `x` itself |
///
/// Every `*` and `**` is a capture group, counted from 1 from left to right; each takes the longest run that
/// lets the whole match. A pattern that begins with `re:` is an unanchored regular expression of the crate
/// [`regex`], whose groups have numbers and perhaps names.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles a glob, or a regular expression after `re:`.
    ///
    /// # Errors
    /// Every [`PatternFault`], with the pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let error = |fault| PatternError { pattern: text.to_owned(), fault };
        let source = match text.strip_prefix(REGEX_PREFIX) {
            Some("") => return Err(error(PatternFault::Empty)),
            Some(regex) => regex.to_owned(),
            None if text.is_empty() => return Err(error(PatternFault::Empty)),
            None => glob::to_regex(text).map_err(error)?,
        };
        let regex = Regex::new(&source).map_err(|e| error(PatternFault::Regex(one_line(&e))))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The glob with every `*` made `**`, which does not stop at a dot; `None` where that is the same, and of
    /// regular expressions.
    #[must_use]
    pub fn beyond_dots(&self) -> Option<Self> {
        if self.text.starts_with(REGEX_PREFIX) {
            return None;
        }
        let mut wider = String::new();
        let (mut escaped, mut class, mut stars) = (false, false, 0);
        for c in self.text.chars().chain(['\0']) {
            let star = c == '*' && !escaped && !class;
            if !star && std::mem::take(&mut stars) == 1 {
                wider.push('*');
            }
            stars += usize::from(star);
            class = !escaped && (class && c != ']' || !class && c == '[');
            escaped = !escaped && c == '\\';
            wider.push(c);
        }
        wider.pop();
        (wider != self.text).then(|| Self::new(&wider).ok()).flatten()
    }

    /// Whether the pattern matches this name.
    pub fn is_match(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// What the groups matched, `None` where the pattern does not match.
    pub fn captures<'n>(&self, name: &'n str) -> Option<Captures<'n>> {
        self.regex.captures(name).map(Captures)
    }

    /// How many capture groups there are; they are numbered from 1 to this.
    pub fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// The names of the named groups, in order. Globs have none.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }
}

/// The compiler's own message is several lines with a drawing; only its last line says what is wrong.
fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::Syntax(message) => {
            let last = message.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", last.trim_start_matches("error: "))
        }
        regex::Error::CompiledTooBig(limit) => {
            format!("it compiles to more than the {limit} bytes that are allowed")
        }
        other => other.to_string(),
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the groups of a pattern matched in one name.
#[derive(Debug)]
pub struct Captures<'n>(regex::Captures<'n>);

impl<'n> Captures<'n> {
    /// The text of a group, counted from 1; `None` where there is no such group or it took
    /// no part in the match.
    pub fn get(&self, number: usize) -> Option<&'n str> {
        // Group 0 is the whole match, which no rule may ask for.
        (number > 0).then(|| self.0.get(number)).flatten().map(|found| found.as_str())
    }

    /// The text of a named group of a regular expression; `None` as for [`Self::get`].
    pub fn name(&self, name: &str) -> Option<&'n str> {
        self.0.name(name).map(|found| found.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().is_match(name)
    }

    fn error(pattern: &str) -> String {
        Pattern::new(pattern).unwrap_err().to_string()
    }

    #[test]
    fn stars_are_doubled_where_they_are_stars() {
        for (pattern, wider) in [
            ("bn*", Some("bn**")),
            ("*.a.*", Some("**.a.**")),
            ("**.bias*", Some("**.bias**")),
            (r"\*.[*]?*", Some(r"\*.[*]?**")),
            ("**.bias", None),
            ("fc1.weight", None),
            ("re:bn*", None),
        ] {
            let found = Pattern::new(pattern).unwrap().beyond_dots();
            assert_eq!(found.as_ref().map(Pattern::as_str), wider, "{pattern}");
        }
    }

    #[test]
    fn stars_and_dots() {
        assert!(matches("fc*.weight", "fc1.weight"));
        assert!(matches("fc*.weight", "fc.weight"));
        assert!(!matches("fc*.weight", "fc1.a.weight"));
        assert!(matches("**.bias", "a.b.c.bias"));
        assert!(!matches("**.bias", "bias"));
        assert!(matches("**bias", "bias"));
        assert!(matches("**norm**", "a.norm1.weight"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "a.c"));
        assert!(!matches("a.b", "axb"), "a dot is a dot");
        assert!(matches("**", "line\nend"));
    }

    #[test]
    fn globs_are_anchored_and_regexes_are_not() {
        assert!(!matches("fc1", "xfc1"));
        assert!(!matches("fc1", "fc1.weight"));
        assert!(!matches("{a,b}", "ab"));
        assert!(!matches("fc1", "fc1\n"));
        assert!(matches("re:fc1", "xfc1.weight"));
        assert!(!matches("re:^fc1$", "fc1.weight"));
    }

    #[test]
    fn classes_and_alternatives() {
        assert!(matches("x[a-c]", "xb"));
        assert!(!matches("x[a-c]", "xd"));
        assert!(matches("x[!a-c]", "xd"));
        assert!(!matches("x[!a-c]", "xa"));
        assert!(!matches("x[!a-c]", "x."), "a negated class stays within one part");
        assert!(matches("x[]]", "x]"));
        assert!(matches("x[a-]", "x-"));
        assert!(matches("x[&&^~]", "x&"));
        assert!(matches("x[a^]", "x^"));
        for name in ["attn.q.w", "attn.k.w", "mlp.up.w", "mlp.down.w"] {
            assert!(matches("{attn.{q,k},mlp.{up,down}}.w", name), "{name}");
        }
        assert!(!matches("{attn.{q,k},mlp}.w", "attn.w"));
        assert!(matches("a{,.b}", "a"));
        assert!(matches("a,b", "a,b"));
        assert!(matches(r"a\*\{b", "a*{b"));
        assert!(matches("a+(b)|$^c", "a+(b)|$^c"));
    }

    #[test]
    fn every_run_of_stars_is_a_group() {
        let pattern = Pattern::new("blocks.*.{attn,mlp}.*.**").unwrap();
        assert_eq!(pattern.groups(), 3);
        let found = pattern.captures("blocks.7.attn.q.weight.scale").unwrap();
        assert_eq!(
            [found.get(0), found.get(1), found.get(2), found.get(3), found.get(4)],
            [None, Some("7"), Some("q"), Some("weight.scale"), None]
        );
        let either = Pattern::new("{a*,b*}").unwrap();
        let found = either.captures("b5").unwrap();
        assert_eq!((found.get(1), found.get(2)), (None, Some("5")));
        let named = Pattern::new(r"re:layers\.(?P<layer>\d+)\.").unwrap();
        assert_eq!(named.group_names().collect::<Vec<_>>(), ["layer"]);
        assert_eq!(named.captures("model.layers.12.w").unwrap().name("layer"), Some("12"));
    }

    #[test]
    fn faults_quote_the_pattern_and_the_place() {
        assert_eq!(error(""), "pattern ``: it is empty");
        assert_eq!(error("re:"), "pattern `re:`: it is empty");
        assert_eq!(error("a{b,{c}"), "pattern `a{b,{c}`: the `{` at character 2 is not closed");
        assert_eq!(error("a[bc"), "pattern `a[bc`: the `[` at character 2 is not closed");
        assert_eq!(error("a[]"), "pattern `a[]`: the `[` at character 2 is not closed");
        assert_eq!(
            error("é}"),
            "pattern `é}`: the `}` at character 2 closes nothing (write `\\}` for the character itself)"
        );
        assert_eq!(
            error("a]"),
            "pattern `a]`: the `]` at character 2 closes nothing (write `\\]` for the character itself)"
        );
        assert_eq!(
            error("a.***"),
            "pattern `a.***`: more than two stars at character 3 (`*` stops at a dot, `**` does not)"
        );
        assert_eq!(error("[c-a]"), "pattern `[c-a]`: the range `c-a` at character 2 ends before it begins");
        assert_eq!(error("a\\"), "pattern `a\\`: the backslash at character 2 has nothing after it");
        assert_eq!(error("re:(a"), "pattern `re:(a`: not a regular expression: unclosed group");
    }
}
