//! The config's text, and the position of values in it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{ConfigError, ConfigErrorKind, On, Place, Problem};
use super::node::{Landmark, Node, ReadError, bare, position, read_yaml};
use super::overrides;
use super::path::{KeyPath, Step};

/// A config as typed: the text of its file, and the overrides of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    file: PathBuf,
    text: String,
    overrides: Vec<(String, KeyPath)>,
}

impl Source {
    /// Reads the text and applies the overrides.
    pub(super) fn new(text: &str, file: &Path, overrides: &[String]) -> Result<(Self, Node), ConfigError> {
        let mut source = Self { file: file.to_owned(), text: text.to_owned(), overrides: Vec::new() };
        let mut tree = read_yaml(text).map_err(|e| source.read_error(e))?;
        match &tree {
            Node::Map(_) => {}
            Node::Null => return Err(source.fault(Place::File(source.file.clone()), ConfigErrorKind::Empty)),
            other => {
                let kind = ConfigErrorKind::NotAMapping(other.to_string());
                return Err(source.error(&KeyPath::root(), kind));
            }
        }
        for text in overrides {
            let path = overrides::apply(&mut tree, text)
                .map_err(|kind| source.fault(Place::Override(text.clone()), kind))?;
            source.overrides.push((text.clone(), path));
        }
        Ok((source, tree))
    }

    /// The file, as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file's text, before any override.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The overrides, each `KEY=VALUE`, in the order in which they were applied.
    pub fn overrides(&self) -> impl Iterator<Item = &str> {
        self.overrides.iter().map(|(text, _)| text.as_str())
    }

    /// The overrides, each with the path that it sets.
    pub fn override_paths(&self) -> impl Iterator<Item = (&str, &KeyPath)> {
        self.overrides.iter().map(|(text, path)| (text.as_str(), path))
    }

    /// An error about the value at `path`, with its line and column, or with the override that set it. If
    /// there is no such value, with the position of the innermost value that would contain it.
    ///
    /// ```
    /// use cdi_prune::config::{ConfigErrorKind, KeyPath, PatternHint, Settings};
    ///
    /// let settings = Settings::parse("seed: 1\nrules:\n  - {match: conv*, init: he}", "c.yaml".as_ref(), &[])?;
    /// let nothing = ConfigErrorKind::RuleMatchesNothing { patterns: vec!["conv*".into()], hint: PatternHint::None };
    /// let error = settings.source.error(&KeyPath::root().key("rules").index(0), nothing);
    /// let text = "c.yaml:3:5: this rule matches no tensor: `conv*` (use `optional: true` to allow this)";
    /// assert_eq!(error.to_string(), text);
    /// # Ok::<(), cdi_prune::config::ConfigError>(())
    /// ```
    pub fn error(&self, path: &KeyPath, kind: ConfigErrorKind) -> ConfigError {
        self.problem(Problem::at_value(path, kind))
    }

    pub(super) fn problem(&self, problem: Problem) -> ConfigError {
        ConfigError { place: self.place(&problem.path, problem.on), kind: problem.kind }
    }

    fn place(&self, path: &KeyPath, on: On) -> Place {
        // The last override that set the value decides. An override of a part of it counts only if the file
        // does not contain the value.
        let set = |by: &dyn Fn(&KeyPath) -> bool| self.overrides.iter().rev().find(|(_, set)| by(set));
        if let Some((text, _)) = set(&|set| set.holds(path)) {
            return Place::Override(text.clone());
        }
        if let Some(position) = self.locate(path, on) {
            return self.at(position);
        }
        if let Some((text, _)) = set(&|set| path.holds(set)) {
            return Place::Override(text.clone());
        }
        match path.parent() {
            Some(parent) => self.place(&parent, On::Key),
            None => Place::File(self.file.clone()),
        }
    }

    /// Line and column, from 1, of a value or its key in the text.
    fn locate(&self, path: &KeyPath, on: On) -> Option<(usize, usize)> {
        let walk = Walk { steps: path.steps(), on };
        let document = serde_yaml::Deserializer::from_str(bare(&self.text)).next()?;
        walk.deserialize(document).err().as_ref().and_then(position)
    }

    fn at(&self, (line, column): (usize, usize)) -> Place {
        Place::Position { file: self.file.clone(), line, column }
    }

    fn read_error(&self, error: ReadError) -> ConfigError {
        let place = error.position.map_or_else(|| Place::File(self.file.clone()), |at| self.at(at));
        self.fault(place, error.kind)
    }

    fn fault(&self, place: Place, kind: ConfigErrorKind) -> ConfigError {
        ConfigError { place, kind: Box::new(kind) }
    }
}

/// Follows a path in valid YAML and raises an error at its end, because the parser reveals positions only in
/// errors. Without an error, the path leads nowhere.
#[derive(Clone, Copy)]
struct Walk<'p> {
    steps: &'p [Step],
    on: On,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.steps {
            [] => Landmark.deserialize(deserializer),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = Self { steps: &self.steps[1..], on: self.on };
        let mut index = 0;
        loop {
            let more = if self.steps[0] == Step::Index(index) {
                list.next_element_seed(inner)?.is_some()
            } else {
                list.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wanted = match &self.steps[0] {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        };
        let inner = Self { steps: &self.steps[1..], on: self.on };
        let stop_here = inner.steps.is_empty() && self.on == On::Key;
        while let Some(found) = map.next_key_seed(KeyWalk { wanted: &wanted, stop_here })? {
            if found {
                map.next_value_seed(inner)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    // The path continues, but this value contains nothing.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Compares a key with the requested one, or raises the error at its position.
struct KeyWalk<'p> {
    wanted: &'p str,
    stop_here: bool,
}

impl<'de> DeserializeSeed<'de> for KeyWalk<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyWalk<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        let found = key == self.wanted;
        if found && self.stop_here { Err(E::custom("this key")) } else { Ok(found) }
    }
}
