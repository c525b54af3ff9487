//! Deserialises the tree into typed structures, with errors that state the expected value of the key.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_path_to_error::Segment;

use super::error::{ConfigErrorKind, Problem};
use super::node::Node;
use super::path::{KeyPath, Step};
use crate::suggest::nearest;

/// Reads the value at `path`.
pub(super) fn read<'n, T: Deserialize<'n>>(node: &'n Node, path: &KeyPath) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Typed(node)).map_err(|error| {
        let inside = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let path = path.steps().iter().cloned().chain(inside).collect();
        problem(&path, error.into_inner())
    })
}

fn problem(path: &KeyPath, raised: Raised) -> Problem {
    match raised {
        Raised::UnknownKey { key, keys } => {
            let keys = keys.to_vec();
            let near = nearest(&key, keys.iter().copied());
            // The path ends with the key itself.
            let parent = path.parent().unwrap_or_default();
            Problem::at_key(path, ConfigErrorKind::UnknownKey { key, parent, near, keys })
        }
        Raised::MissingKey(key) => {
            Problem::at_key(path, ConfigErrorKind::MissingKey { key, parent: path.clone() })
        }
        Raised::UnknownValue { value, values } => {
            let near = nearest(&value, values.iter().copied());
            let kind =
                ConfigErrorKind::UnknownValue { key: path.clone(), value, near, values: values.to_vec() };
            Problem::at_value(path, kind)
        }
        Raised::Expected { expected, got } => Problem::bad_value(path, &expected, got),
        Raised::Other(message) => Problem::bad_value(path, "another value", message),
    }
}

/// An error of deserialisation, before the key is known.
#[derive(Debug)]
enum Raised {
    UnknownKey { key: String, keys: &'static [&'static str] },
    MissingKey(&'static str),
    UnknownValue { value: String, values: &'static [&'static str] },
    Expected { expected: String, got: String },
    Other(String),
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Raised {}

impl de::Error for Raised {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn invalid_type(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Expected { expected: plain_words(&expected.to_string()), got: described(got) }
    }

    fn invalid_value(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(got, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownValue { value: variant.to_owned(), values: expected }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: field.to_owned(), keys: expected }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::MissingKey(field)
    }
}

/// Serde's messages name Rust types; these use the terms of configs.
fn plain_words(expected: &str) -> String {
    let words = match expected {
        "f64" => "a number",
        "u64" | "usize" => "a whole number of at least 0",
        "a string" | "path string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "a mapping",
        _ if expected.contains("enum ") => "a word",
        _ => expected,
    };
    words.to_owned()
}

/// In the words of [`Node`]'s display.
fn described(got: Unexpected<'_>) -> String {
    match got {
        Unexpected::Unit => Node::Null.to_string(),
        Unexpected::Bool(b) => Node::Bool(b).to_string(),
        Unexpected::Unsigned(i) => Node::Int(i.into()).to_string(),
        Unexpected::Signed(i) => Node::Int(i.into()).to_string(),
        Unexpected::Float(x) => Node::Real(x).to_string(),
        Unexpected::Str(text) => Node::Text(text.to_owned()).to_string(),
        Unexpected::Seq => Node::List(Vec::new()).to_string(),
        Unexpected::Map => Node::Map(Vec::new()).to_string(),
        other => other.to_string(),
    }
}

/// Serde's view of a [`Node`].
struct Typed<'n>(&'n Node);

impl<'n> IntoDeserializer<'n, Raised> for Typed<'n> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Typed<'de> {
    type Error = Raised;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Raised> {
        match self.0 {
            Node::Null => visitor.visit_unit(),
            Node::Bool(b) => visitor.visit_bool(*b),
            // The narrowest type that fits, because numeric types do not accept wider ones.
            Node::Int(i) => match (u64::try_from(*i), i64::try_from(*i)) {
                (Ok(i), _) => visitor.visit_u64(i),
                (_, Ok(i)) => visitor.visit_i64(i),
                _ => visitor.visit_i128(*i),
            },
            Node::Real(x) => visitor.visit_f64(*x),
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::List(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Typed))),
            Node::Map(map) => visitor
                .visit_map(MapDeserializer::new(map.iter().map(|(key, value)| (key.as_str(), Typed(value))))),
        }
    }

    /// A key must have a value: `prune:` with nothing after it must not silently mean no pruning.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Raised> {
        visitor.visit_some(self)
    }

    /// If a key expects a mapping whose keys all have defaults, such as `analyze:`, nothing after
    /// it means the defaults.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Raised> {
        match self.0 {
            Node::Null => visitor.visit_map(MapDeserializer::new(std::iter::empty::<(&str, Typed<'de>)>())),
            Node::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"struct ")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Raised> {
        match self.0 {
            Node::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            other => Err(Raised::Expected { expected: "a word".to_owned(), got: other.to_string() }),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Raised> {
        self.deserialize_f64(visitor)
    }

    /// A whole number that does not fit 64 bits is accepted where a real number is expected.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Raised> {
        match self.0 {
            Node::Int(i) if u64::try_from(*i).is_err() && i64::try_from(*i).is_err() => {
                visitor.visit_f64(*i as f64)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}
