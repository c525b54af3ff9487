//! The path of a value in a config: `rules[2].init.std`.

use std::fmt;

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an entry of a list, counted from 0.
    Index(usize),
}

/// The steps from the config to a value; none for the config itself.
///
/// Written `rules[2].init.std` or `rules.2.init.std`. A key that contains a dot, a bracket or a quote, or
/// that is a number, is put in double quotes: `model.tensors."fc1.weight"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The config itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses a path.
    ///
    /// # Errors
    /// A message: an empty key, a quote or bracket that is not closed, or brackets without a number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            if let Some(quoted) = rest.strip_prefix('"') {
                let (key, after) =
                    quoted.split_once('"').ok_or_else(|| format!("a quote in `{text}` is not closed"))?;
                steps.push(Step::Key(key.to_owned()));
                rest = after;
            } else {
                let end = rest.find(['.', '[', '"']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                if key.is_empty() {
                    return Err(format!("`{text}` has an empty key"));
                }
                // With a leading zero or a sign, it is a key, not an index.
                let index = key.parse().ok().filter(|i: &usize| i.to_string() == key);
                steps.push(index.map_or_else(|| Step::Key(key.to_owned()), Step::Index));
                rest = after;
            }
            while let Some(bracket) = rest.strip_prefix('[') {
                let (number, after) =
                    bracket.split_once(']').ok_or_else(|| format!("a bracket in `{text}` is not closed"))?;
                let index =
                    number.parse().map_err(|_| format!("`[{number}]` in `{text}` is not a list index"))?;
                steps.push(Step::Index(index));
                rest = after;
            }
            if rest.is_empty() {
                return Ok(Self(steps));
            }
            rest = rest.strip_prefix('.').ok_or_else(|| format!("`{text}` needs a dot before `{rest}`"))?;
        }
    }

    /// The path of the value of a key inside this value.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Step::Key(key.to_owned()))
    }

    /// The path of a list entry, counted from 0, inside this value.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.join(Step::Index(index))
    }

    /// The steps from the config to the value.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The value that contains this one; `None` for the config itself.
    pub fn parent(&self) -> Option<Self> {
        let (_, steps) = self.0.split_last()?;
        Some(Self(steps.to_vec()))
    }

    /// Whether this value is `other`, or contains it.
    pub fn holds(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.is_same(b))
    }

    fn join(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl FromIterator<Step> for KeyPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl Step {
    /// Whether both paths lead to the same value. In `--set`, list indexes and numeric keys look the same.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Index(index), Self::Key(key)) | (Self::Key(key), Self::Index(index)) => {
                *key == index.to_string()
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    let plain =
                        !key.is_empty() && !key.contains(['.', '[', ']', '"']) && key.parse::<u64>().is_err();
                    if plain { f.write_str(key)? } else { write!(f, "\"{key}\"")? }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_list_index_are_read() {
        for text in ["rules[2].init.std", "rules.2.init.std"] {
            assert_eq!(KeyPath::parse(text).unwrap().to_string(), "rules[2].init.std");
        }
        let quoted = KeyPath::parse("model.tensors.\"fc1.weight\"[0]").unwrap();
        assert_eq!(quoted.steps()[2], Step::Key("fc1.weight".into()));
        assert_eq!(quoted.to_string(), "model.tensors.\"fc1.weight\"[0]");
        assert_eq!(KeyPath::parse("a.007").unwrap().steps()[1], Step::Key("007".into()));
    }

    #[test]
    fn a_value_holds_what_is_inside_it() {
        let path = |text| KeyPath::parse(text).unwrap();
        assert!(path("rules").holds(&path("rules[2].init")));
        assert!(path("a.\"2\"").holds(&path("a.2")));
        assert!(!path("rules[2].init").holds(&path("rules")));
        assert!(!path("rules[1]").holds(&path("rules[2]")));
        assert!(KeyPath::root().holds(&path("seed")));
        assert_eq!(path("rules[2]").parent(), Some(path("rules")));
    }

    #[test]
    fn faults_are_named() {
        let error = |text| KeyPath::parse(text).unwrap_err();
        assert_eq!(error(""), "`` has an empty key");
        assert_eq!(error("a..b"), "`a..b` has an empty key");
        assert_eq!(error("a.\"b"), "a quote in `a.\"b` is not closed");
        assert_eq!(error("a[1"), "a bracket in `a[1` is not closed");
        assert_eq!(error("a[x]"), "`[x]` in `a[x]` is not a list index");
        assert_eq!(error("a[1]b"), "`a[1]b` needs a dot before `b`");
    }
}
