//! The values of a config as an untyped tree, parsed from YAML.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor,
};

use super::error::ConfigErrorKind;

/// A value as typed. Mappings keep the order of their keys. All keys are text, and no key occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// Wider than any number in a config, so that errors can show a number that is out of range.
    Int(i128),
    Real(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Self::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// The form for messages such as "expected …, got …".
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Real(x) => write!(f, "{x:?}"),
            Self::Text(text) => write!(f, "the text `{text}`"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a mapping"),
        }
    }
}

/// A text that is not a single YAML document that can be a config.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Line and column, from 1, if they are known.
    pub position: Option<(usize, usize)>,
    pub kind: ConfigErrorKind,
}

/// Maximum number of open brackets. The parser's own limit on nesting applies after its scanner, whose time
/// grows with the square of the depth.
const MOST_OPEN: usize = 1000;

/// The position at which more brackets are open than in any config. Brackets in quotes and comments count
/// too; they usually come in pairs.
fn too_deep(text: &str) -> Option<(usize, usize)> {
    let mut open = 0usize;
    for (line, content) in text.lines().enumerate() {
        for (column, c) in content.chars().enumerate() {
            match c {
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MOST_OPEN {
                return Some((line + 1, column + 1));
            }
        }
    }
    None
}

/// The text without a byte-order mark, which some editors add, and which the parser would
/// take for a document.
pub(super) fn bare(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Parses the only document of a text.
pub(super) fn read_yaml(text: &str) -> Result<Node, ReadError> {
    let text = bare(text);
    if let Some(position) = too_deep(text) {
        let kind = ConfigErrorKind::Syntax(format!("more than {MOST_OPEN} brackets are open"));
        return Err(ReadError { position: Some(position), kind });
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Err(ReadError { position: None, kind: ConfigErrorKind::Empty });
    };
    let fault = RefCell::new(None);
    let node = Reader { fault: &fault }.deserialize(first).map_err(|e| read_error(text, &e, fault.take()))?;
    if let Some(second) = documents.next() {
        // Making the parser raise an error at the beginning of the second document reveals its position.
        let position = Landmark.deserialize(second).err().as_ref().and_then(position);
        return Err(ReadError { position, kind: ConfigErrorKind::SeveralDocuments });
    }
    Ok(node)
}

fn read_error(text: &str, error: &serde_yaml::Error, fault: Option<ConfigErrorKind>) -> ReadError {
    let position = position(error);
    if let Some(kind) = fault {
        return ReadError { position, kind };
    }
    if let Some((line, _)) = position
        && let Some(tab) = indenting_tab(text, line)
    {
        return ReadError { position: Some((line, tab)), kind: ConfigErrorKind::Tab };
    }
    let message = error.to_string();
    let message = match position {
        // The position is moved to the front; other positions in the message stay.
        Some((line, column)) => message.replacen(&format!(" at line {line} column {column}"), "", 1),
        None => message,
    };
    // A common mistake: in YAML, a star at the beginning of a value refers to an anchor.
    let is_alias = message.starts_with("unknown anchor") || message.contains("while scanning an alias");
    let hint = if is_alias { "; a pattern that begins with a star needs quotes" } else { "" };
    ReadError { position, kind: ConfigErrorKind::Syntax(message + hint) }
}

/// The line and column of an error, from 1.
pub(super) fn position(error: &serde_yaml::Error) -> Option<(usize, usize)> {
    error.location().map(|at| (at.line(), at.column()))
}

/// The column of a tab in the indentation of a line.
fn indenting_tab(text: &str, line: usize) -> Option<usize> {
    let line = text.lines().nth(line - 1)?;
    line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t').map(|i| i + 1)
}

/// Refuses every value, so that the parser reports its position.
pub(super) struct Landmark;

impl<'de> DeserializeSeed<'de> for Landmark {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

// All methods that are not implemented refuse their value.
impl Visitor<'_> for Landmark {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("to be told where this is")
    }
}

/// Builds the tree. Errors are stored in `fault`; the parser's own error then only provides the position.
#[derive(Clone, Copy)]
struct Reader<'f> {
    fault: &'f RefCell<Option<ConfigErrorKind>>,
}

impl Reader<'_> {
    fn refuse<T, E: de::Error>(self, kind: ConfigErrorKind) -> Result<T, E> {
        let error = E::custom(&kind);
        *self.fault.borrow_mut() = Some(kind);
        Err(error)
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Node, E> {
        Ok(Node::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Node, E> {
        Ok(Node::Int(i.into()))
    }

    fn visit_u64<E>(self, i: u64) -> Result<Node, E> {
        Ok(Node::Int(i.into()))
    }

    fn visit_i128<E>(self, i: i128) -> Result<Node, E> {
        Ok(Node::Int(i))
    }

    fn visit_u128<E>(self, i: u128) -> Result<Node, E> {
        Ok(i128::try_from(i).map_or(Node::Real(i as f64), Node::Int))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Node, E> {
        Ok(Node::Real(x))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self)? {
            list.push(entry);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key_seed(Key { reader: self, seen: &seen })? {
            seen.insert(key.clone());
            map.push((key, entries.next_value_seed(self)?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        self.refuse(ConfigErrorKind::Syntax("a config cannot have YAML tags (`!…`)".to_owned()))
    }
}

/// Reads a key, and refuses a duplicate. This happens while the key is read, so that the position is
/// that of the second one.
struct Key<'f, 's> {
    reader: Reader<'f>,
    seen: &'s HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // Always as text: a tensor may be named `0.weight`, `1` or `on`.
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        if self.seen.contains(key) {
            return self.reader.refuse(ConfigErrorKind::DuplicateKey(key.to_owned()));
        }
        Ok(key.to_owned())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader { fault: &RefCell::new(None) }.deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_what_was_typed() {
        let node =
            read_yaml("{a: 1, b: -1.5, c: x, d: , e: true, f: 18446744073709551616, 1: [1e-6], g: '1'}");
        let expected = [
            ("a", Node::Int(1)),
            ("b", Node::Real(-1.5)),
            ("c", Node::Text("x".into())),
            ("d", Node::Null),
            ("e", Node::Bool(true)),
            ("f", Node::Int(1 << 64)),
            ("1", Node::List(vec![Node::Real(1e-6)])),
            ("g", Node::Text("1".into())),
        ];
        let expected = expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(node.unwrap(), Node::Map(expected));
    }

    #[test]
    fn aliases_are_read() {
        let node = read_yaml("a: &x {b: 1}\nc: *x").unwrap();
        assert_eq!(node.get("a"), node.get("c"));
    }
}
