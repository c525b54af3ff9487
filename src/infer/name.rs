//! Tensor names taken apart at their numbers, and patterns put together from the parts.

use std::collections::BTreeMap;

use crate::tensor::Shape;

/// Shapes by name.
pub(super) type Tensors<'t> = BTreeMap<&'t str, &'t Shape>;

/// A name as an alternation of texts and the numbers that tell its repetitions apart.
#[derive(Clone, Debug)]
pub(super) struct Name<'n> {
    pub parts: Vec<Part<'n>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'n> {
    Text(&'n str),
    /// Decimal digits.
    Number(&'n str),
}

/// A name with its numbers taken out: names of one key are repetitions of one thing.
pub(super) type Key<'n> = Vec<Option<&'n str>>;

/// Which digits of a name count as its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// Those that are a whole part of it (`h.0.mlp`), or where there are none the first that end one
    /// (`h0.mlp`, `fc1`): most often the number of a block, while the `1` of `blocks.0.fc1` is a part
    /// of what the tensor is.
    Blocks,
    /// All that are a part of it or end one.
    All,
}

impl<'n> Name<'n> {
    pub fn new(full: &'n str, digits: Digits) -> Self {
        let whole = segments(full).any(|(_, s)| is_number(s));
        let mut numbers = Vec::new();
        let mut at = 0;
        for (separator, segment) in segments(full) {
            let start = at + separator.len();
            at = start + segment.len();
            let stem = trim_number(segment).len();
            let counts = match digits {
                Digits::All => stem < segment.len(),
                Digits::Blocks if whole => stem == 0 && !segment.is_empty(),
                Digits::Blocks => stem < segment.len() && numbers.is_empty(),
            };
            if counts {
                numbers.push(start + stem..at);
            }
        }
        let mut parts = Vec::new();
        let mut from = 0;
        for number in numbers {
            if from < number.start {
                parts.push(Part::Text(&full[from..number.start]));
            }
            from = number.end;
            parts.push(Part::Number(&full[number]));
        }
        if from < full.len() {
            parts.push(Part::Text(&full[from..]));
        }
        Self { parts }
    }

    pub fn key(&self) -> Key<'n> {
        let text = |part: &Part<'n>| if let Part::Text(text) = part { Some(*text) } else { None };
        self.parts.iter().map(text).collect()
    }

    /// The number at this place of the parts.
    pub fn number(&self, at: usize) -> &'n str {
        match self.parts.get(at) {
            Some(Part::Number(number)) => number,
            _ => "",
        }
    }
}

/// The parts of a name between dots and slashes, each with the separator before it.
pub(super) fn segments(name: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    let starts = std::iter::once(0).chain(name.match_indices(['.', '/']).map(|(at, _)| at));
    let mut bounds: Vec<usize> = starts.collect();
    bounds.push(name.len());
    // A name that begins with a separator has an empty part before it.
    let cut = move |n: usize| {
        let piece = &name[bounds[n]..bounds[n + 1]];
        match piece.strip_prefix(['.', '/']) {
            Some(segment) if n > 0 => (&piece[..1], segment),
            _ => ("", piece),
        }
    };
    let count = name.matches(['.', '/']).count() + 1;
    (0..count).map(cut)
}

pub(super) fn is_number(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit())
}

/// A part of a name without the number that it ends with. TensorFlow's `:0` is none: it is behind every name.
pub(super) fn trim_number(segment: &str) -> &str {
    let stem = segment.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.ends_with(':') { segment } else { stem }
}

/// A piece of a pattern in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'n> {
    Text(&'n str),
    /// Any number.
    Star,
    /// One of these numbers.
    Any(Vec<&'n str>),
}

/// The pieces as a glob. Its stars also match what is no number: whether it matches too much is
/// for the caller to see.
pub(super) fn glob(pieces: &[Piece<'_>]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out += &escape(text),
            Piece::Star => out.push('*'),
            Piece::Any(one) if one.len() == 1 => out += one[0],
            Piece::Any(numbers) => out += &format!("{{{}}}", numbers.join(",")),
        }
    }
    anchor(out)
}

/// The pieces as a regular expression, which matches numbers only.
pub(super) fn regex(pieces: &[Piece<'_>]) -> String {
    let mut out = String::from("re:^");
    for piece in pieces {
        match piece {
            Piece::Text(text) => out += &regex::escape(text),
            Piece::Star => out += "([0-9]+)",
            Piece::Any(numbers) => out += &format!("(?:{})", numbers.join("|")),
        }
    }
    out + "$"
}

/// The pattern that matches this name alone.
pub(super) fn literal(name: &str) -> String {
    anchor(escape(name))
}

/// What would read as something else at the beginning of a pattern, or as no pattern at all.
fn anchor(glob: String) -> String {
    if glob.is_empty() {
        "re:^$".to_owned()
    } else if glob.starts_with("re:") {
        format!("\\{glob}")
    } else {
        glob
    }
}

/// The text as a glob that matches it and nothing else.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Pattern;

    fn numbers(name: &str, digits: Digits) -> Vec<&str> {
        let parts = Name::new(name, digits).parts;
        parts.iter().filter_map(|p| if let Part::Number(n) = p { Some(*n) } else { None }).collect()
    }

    #[test]
    fn numbers_of_blocks_and_all_numbers() {
        for (name, blocks, all) in [
            ("h.0.mlp.fc1.weight", &["0"][..], &["0", "1"][..]),
            ("h11.ln2.weight", &["11"], &["11", "2"]),
            ("fc1.weight", &["1"], &["1"]),
            ("params/Dense_0/kernel", &["0"], &["0"]),
            ("conv2d.weight", &[], &[]),
            ("a.weight_ih_l0", &["0"], &["0"]),
            ("7", &["7"], &["7"]),
            ("", &[], &[]),
            ("..1.", &["1"], &["1"]),
        ] {
            assert_eq!(numbers(name, Digits::Blocks), blocks, "{name}");
            assert_eq!(numbers(name, Digits::All), all, "{name}");
        }
        let parts: String = Name::new(".a1./2", Digits::All)
            .parts
            .iter()
            .map(|p| match p {
                Part::Text(t) => format!("<{t}>"),
                Part::Number(n) => format!("({n})"),
            })
            .collect();
        assert_eq!(parts, "<.a>(1)<./>(2)");
    }

    #[test]
    fn segments_know_their_separators() {
        let all: Vec<_> = segments("a/b.c").collect();
        assert_eq!(all, [("", "a"), ("/", "b"), (".", "c")]);
        assert_eq!(segments(".x").collect::<Vec<_>>(), [("", ""), (".", "x")]);
        assert_eq!(segments("").collect::<Vec<_>>(), [("", "")]);
    }

    #[test]
    fn a_literal_matches_its_name_alone() {
        for name in ["a.b", "a*b", "re:x", "{a,b}", "[a]", r"a\b", "", "a\nb", "é?", ",", "re:", "**"] {
            let pattern = Pattern::new(&literal(name)).unwrap();
            assert!(pattern.is_match(name), "{name:?} {pattern}");
            for other in ["axb", "x", "b", "a", "a.bb", "re"] {
                assert!(!pattern.is_match(other), "{name:?} {pattern} {other:?}");
            }
        }
    }

    #[test]
    fn pieces_as_glob_and_regex() {
        let pieces = [Piece::Text("a.[x]"), Piece::Star, Piece::Text("."), Piece::Any(vec!["0", "3"])];
        assert_eq!(glob(&pieces), r"a.\[x\]*.{0,3}");
        assert_eq!(regex(&pieces), r"re:^a\.\[x\]([0-9]+)\.(?:0|3)$");
        for pattern in [glob(&pieces), regex(&pieces)] {
            let pattern = Pattern::new(&pattern).unwrap();
            assert!(pattern.is_match("a.[x]12.3") && !pattern.is_match("a.[x]12.30"), "{pattern}");
            assert_eq!(pattern.captures("a.[x]12.3").unwrap().get(1), Some("12"));
        }
        assert!(!Pattern::new(&regex(&pieces)).unwrap().is_match("a.[x]y.3"));
    }
}
