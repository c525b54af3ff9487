//! Types of values that several keys share.

use std::path::{Path, PathBuf};

use super::super::error::{ConfigErrorKind, Problem};
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::size::parse_size;
use crate::place;
use crate::rules::Pattern;
use crate::suggest::nearest;

/// The folder that relative paths are relative to.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder of a config file.
    pub fn of(file: &Path) -> Self {
        Self(file.parent().unwrap_or(Path::new("")).to_owned())
    }

    /// The path in the value of a key; relative paths are relative to this folder.
    pub fn join(&self, path: PathBuf, key: &KeyPath) -> Result<PathBuf, Problem> {
        no_home(path.to_str().unwrap_or_default(), key)?;
        Ok(place::join(&self.0, &path))
    }

    pub fn join_some(&self, path: Option<PathBuf>, key: &KeyPath) -> Result<Option<PathBuf>, Problem> {
        path.map(|path| self.join(path, key)).transpose()
    }
}

/// Refuses `~`. In a shell it is the home folder; here it would be a folder of that name. A config must not
/// depend on who uses it, so it is not expanded.
pub(super) fn no_home(path: &str, key: &KeyPath) -> Result<(), Problem> {
    if !path.starts_with('~') {
        return Ok(());
    }
    let expected = "an absolute path, or one relative to the config's folder (only a shell expands `~`; \
                    write `./~…` for a file whose name begins with it)";
    Err(Problem::bad_value(key, expected, format!("`{path}`")))
}

/// The valid words of a key.
pub(super) struct Words<T: 'static> {
    /// Words and what they mean; the first is the default.
    pub now: &'static [(&'static str, T)],
}

impl<T: Copy> Words<T> {
    /// The meaning of a value; that of the first word if there is no value.
    pub fn choose(&self, node: Option<&Node>, path: &KeyPath) -> Result<T, Problem> {
        let names = || self.now.iter().map(|(name, _)| *name);
        let word = match node {
            None => return Ok(self.now[0].1),
            Some(Node::Text(word)) => word,
            Some(other) => {
                let expected = names().collect::<Vec<_>>().join(" or ");
                return Err(Problem::bad_value(path, &expected, other));
            }
        };
        if let Some((_, meaning)) = self.now.iter().find(|(name, _)| name == word) {
            return Ok(*meaning);
        }
        let near = nearest(word, names());
        let kind = ConfigErrorKind::UnknownValue {
            key: path.clone(),
            value: word.clone(),
            near,
            values: names().collect(),
        };
        Err(Problem::at_value(path, kind))
    }
}

/// A text, or a list of texts, each with its path.
pub(super) fn texts(node: &Node, path: &KeyPath, what: &str) -> Result<Vec<(String, KeyPath)>, Problem> {
    let list = match node {
        Node::Text(text) => return Ok(vec![(text.clone(), path.clone())]),
        Node::List(list) => list,
        other => {
            return Err(Problem::bad_value(path, &format!("a {what} or a list of them"), other));
        }
    };
    let entry = |(i, node): (usize, &Node)| match node {
        Node::Text(text) => Ok((text.clone(), path.index(i))),
        other => Err(Problem::bad_value(&path.index(i), &format!("a {what}"), other)),
    };
    list.iter().enumerate().map(entry).collect()
}

/// The patterns of a rule, as written and compiled; at least one.
pub(super) fn patterns(node: &Node, path: &KeyPath) -> Result<(Vec<String>, Vec<Pattern>), Problem> {
    if let Node::Map(_) = node {
        let got = "a mapping (a pattern with braces needs quotes)";
        return Err(Problem::bad_value(path, "a pattern or a list of them", got));
    }
    let texts = texts(node, path, "pattern")?;
    if texts.is_empty() {
        return Err(Problem::bad_value(path, "a pattern or a list of them", "an empty list"));
    }
    let compile = |(text, path): &(String, KeyPath)| {
        Pattern::new(text).map_err(|e| Problem::at_value(path, ConfigErrorKind::Pattern(e)))
    };
    let patterns = texts.iter().map(compile).collect::<Result<_, _>>()?;
    Ok((texts.into_iter().map(|(text, _)| text).collect(), patterns))
}

/// A number of bytes.
pub(super) fn size(node: &Node, path: &KeyPath) -> Result<u64, Problem> {
    let bytes = match node {
        Node::Int(i) => u64::try_from(*i).ok().filter(|bytes| *bytes > 0),
        Node::Text(text) => parse_size(text).ok(),
        _ => None,
    };
    bytes.ok_or_else(|| {
        let expected = "a whole number of bytes above 0, such as 10MB (10^6), 10MiB (2^20) or 5GB";
        Problem::bad_value(path, expected, node)
    })
}

/// A number as a real, whether whole or not.
pub(super) fn real(node: &Node) -> Option<f64> {
    match node {
        Node::Int(i) => Some(*i as f64),
        Node::Real(x) => Some(*x),
        _ => None,
    }
}
