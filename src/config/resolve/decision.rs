//! The settings that select the pruned weights: criterion, target, scope, structure and their limits.

use super::super::error::{ConfigErrorKind, Problem};
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::typed::read;
use super::super::wire;
use super::value::{Folder, Words, real, size};
use crate::prune::{Along, Criterion, Decision, Scope, Structure, Target};
use crate::suggest::nearest;

const SCOPE: Words<Scope> =
    Words { now: &[("tensor", Scope::Tensor), ("global", Scope::Global), ("row", Scope::Row)] };

const ALONG: Words<Along> = Words {
    now: &[("inputs", Along::Inputs), ("input_channels", Along::InputChannels), ("columns", Along::Columns)],
};

const STRUCTURES: [(&str, Structure); 5] = [
    ("unstructured", Structure::Unstructured),
    ("rows", Structure::Rows),
    ("columns", Structure::Columns),
    ("filters", Structure::Filters),
    ("channels", Structure::Channels),
];

/// The keys of a mapping that affect a decision.
pub(super) struct Keys<'w> {
    pub criterion: Option<&'w Node>,
    pub target: Option<&'w Node>,
    pub scope: Option<&'w Node>,
    pub structure: Option<&'w Node>,
    pub min_elements: Option<&'w Node>,
    pub floor: Option<&'w Node>,
    pub ceiling: Option<&'w Node>,
}

/// The keys of one of the two mappings that have all of them.
macro_rules! keys {
    ($wire:expr) => {
        $crate::config::resolve::decision::Keys {
            criterion: $wire.criterion.as_ref(),
            target: $wire.target.as_ref(),
            scope: $wire.scope.as_ref(),
            structure: $wire.structure.as_ref(),
            min_elements: $wire.min_elements.as_ref(),
            floor: $wire.floor.as_ref(),
            ceiling: $wire.ceiling.as_ref(),
        }
    };
}
pub(super) use keys;

impl Keys<'_> {
    /// The names of the keys that are given.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            ("criterion", self.criterion),
            ("target", self.target),
            ("scope", self.scope),
            ("structure", self.structure),
            ("min_elements", self.min_elements),
            ("floor", self.floor),
            ("ceiling", self.ceiling),
        ];
        all.iter().filter(|(_, node)| node.is_some()).map(|(key, _)| *key).collect()
    }
}

/// The decision by the keys; `outer` for keys that are not given.
pub(super) fn decision(
    keys: &Keys<'_>,
    outer: Option<&Decision>,
    path: &KeyPath,
    folder: &Folder,
) -> Result<Decision, Problem> {
    let default = Decision::default();
    let base = outer.unwrap_or(&default);
    let criterion = match keys.criterion {
        Some(node) => criterion(node, &path.key("criterion"), folder)?,
        None => base.criterion.clone(),
    };
    let target = match keys.target {
        Some(node) => target(node, &path.key("target"), outer.is_some())?,
        None => base.target.clone(),
    };
    let scope = match keys.scope {
        Some(node) => SCOPE.choose(Some(node), &path.key("scope"))?,
        None => base.scope,
    };
    let structure = match keys.structure {
        Some(node) => structure(node, &path.key("structure"))?,
        None => base.structure,
    };
    let min_elements = match keys.min_elements {
        Some(node) => whole(node, &path.key("min_elements"))?,
        None => base.min_elements,
    };
    let limit = |node: Option<&Node>, key: &str, outer: f64| match node {
        Some(node) => share(node, &path.key(key)),
        None => Ok(outer),
    };
    let floor = limit(keys.floor, "floor", base.floor)?;
    let ceiling = limit(keys.ceiling, "ceiling", base.ceiling)?;
    let decision = Decision { criterion, target, scope, structure, min_elements, floor, ceiling };
    check(&decision, keys, path)?;
    let other = ["criterion", "scope", "structure"].into_iter().find(|key| keys.given().contains(key));
    if let (true, true, Some(key)) =
        (outer.is_some_and(Decision::counts_bytes), decision.counts_bytes(), other)
    {
        let expected =
            "a target of its own for it, because `{bytes: …}` in `prune.target` needs a single ranking";
        return Err(Problem::bad_value(&path.key(key), expected, "none"));
    }
    Ok(decision)
}

/// Refuses impossible combinations, at the key that caused them.
fn check(decision: &Decision, keys: &Keys<'_>, path: &KeyPath) -> Result<(), Problem> {
    let given = keys.given();
    let Decision { criterion, target, scope, structure, .. } = decision;
    let is_of_m = matches!(structure, Structure::OfM { .. });
    if is_of_m {
        // An inherited value is meant for other structures; a value given in the same mapping contradicts.
        if keys.target.is_some() && *target != Target::Threshold {
            let expected = "no target, because the structure n of m determines how many weights are kept";
            return refuse(&given, path, &["target"], expected, "one");
        }
        if keys.scope.is_some() && *scope != Scope::Tensor {
            let expected = "no scope, because the structure n of m ranks each group of m";
            return refuse(&given, path, &["scope"], expected, "one");
        }
        if !given.iter().any(|key| ["floor", "ceiling"].contains(key)) {
            return Ok(());
        }
    }
    if *target == Target::Threshold && !criterion.takes_threshold() && !is_of_m {
        let got = keys.criterion.map_or_else(|| "it with another criterion".to_owned(), Node::to_string);
        let expected = "sleeping or nearest with `target: threshold`, the default; other criteria need the target \
                        {sparsity: x}, {keep: n} or {bytes: SIZE}";
        return refuse(&given, path, &["criterion", "target"], expected, &got);
    }
    if matches!(target, Target::Sparsity(values) if values.len() > 1) && *scope == Scope::Global {
        let expected = "one sparsity with `scope: global`";
        return refuse(&given, path, &["target", "scope"], expected, "a list of them");
    }
    if *scope == Scope::Row {
        if *structure != Structure::Unstructured {
            let expected = "unstructured with `scope: row`";
            return refuse(&given, path, &["structure", "scope"], expected, "another structure");
        }
        if let Target::Bytes(_) = target {
            let expected = "{sparsity: x} or {keep: n} with `scope: row`";
            return refuse(&given, path, &["target", "scope"], expected, "{bytes: …}");
        }
    }
    check_bounds(decision, &given, path)
}

/// The same for floor and ceiling.
fn check_bounds(decision: &Decision, given: &[&str], path: &KeyPath) -> Result<(), Problem> {
    let Decision { target, scope, structure, floor, ceiling, .. } = decision;
    if floor > ceiling {
        let (expected, got) = (format!("at most the ceiling, {ceiling:?}"), format!("{floor:?}"));
        return refuse(given, path, &["floor", "ceiling"], &expected, &got);
    }
    let by_count = *scope == Scope::Global
        && *target != Target::Threshold
        && !matches!(structure, Structure::OfM { .. });
    let bounded = *floor > 0.0 || *ceiling < 1.0;
    if bounded && !by_count && given.iter().any(|key| ["floor", "ceiling"].contains(key)) {
        let expected = "no floor or ceiling without `scope: global` and the target {sparsity: x}, {keep: n} \
                        or {bytes: SIZE}";
        return refuse(given, path, &["floor", "ceiling"], expected, "one");
    }
    Ok(())
}

/// The error, at the first of these keys that is given, or else at the first key.
fn refuse(given: &[&str], path: &KeyPath, about: &[&str], expected: &str, got: &str) -> Result<(), Problem> {
    let key = about.iter().find(|key| given.contains(key)).unwrap_or(&about[0]);
    Err(Problem::bad_value(&path.key(key), expected, got))
}

fn criterion(node: &Node, path: &KeyPath, folder: &Folder) -> Result<Criterion, Problem> {
    match node {
        Node::Text(word) if ["wanda", "scores"].contains(&word.to_ascii_lowercase().as_str()) => {
            let expected = "{scores: FILE}: a checkpoint that contains, under the name of each tensor, a \
                            score for each weight, or a factor for the magnitudes of each input (for Wanda, \
                            the norms of the inputs)";
            Err(Problem::bad_value(path, expected, node))
        }
        Node::Text(word) => word_of(&Criterion::WORDS, word, path),
        Node::Map(_) => {
            let file: wire::Scores = read(node, path)?;
            Ok(Criterion::Scores(folder.join(file.scores, &path.key("scores"))?))
        }
        other => {
            let words: Vec<&str> = Criterion::WORDS.iter().map(|(word, _)| *word).collect();
            Err(Problem::bad_value(path, &format!("{} or {{scores: FILE}}", words.join(", ")), other))
        }
    }
}

fn structure(node: &Node, path: &KeyPath) -> Result<Structure, Problem> {
    let expected = "unstructured, rows, columns, filters, channels, {n: 2, m: 4} or {block: [4, 4]}";
    if let Node::Text(word) = node
        && let Some((n, m)) = of_m(word)
    {
        let (n, m) = (above_zero(&n, path)?, above_zero(&m, path)?);
        return of_n((n, m), Along::default(), false, path);
    }
    match node {
        Node::Text(word) => word_of(&STRUCTURES, word, path),
        Node::Map(_) => {
            let form: wire::StructureForm = read(node, path)?;
            match (&form.n, &form.m, &form.block) {
                (Some(n), Some(m), None) => {
                    let m = above_zero(m, &path.key("m"))?;
                    let n = above_zero(n, &path.key("n"))?;
                    let along = match &form.along {
                        Some(node @ Node::Text(_)) => ALONG.choose(Some(node), &path.key("along"))?,
                        Some(other) => {
                            let expected = "inputs, input_channels or columns";
                            return Err(Problem::bad_value(&path.key("along"), expected, other));
                        }
                        None => Along::default(),
                    };
                    of_n((n, m), along, form.where_divisible.unwrap_or(false), path)
                }
                (None, None, Some(block)) if form.along.is_none() && form.where_divisible.is_none() => {
                    let path = path.key("block");
                    let Node::List(sides) = block else {
                        return Err(Problem::bad_value(&path, "[rows, columns]", block));
                    };
                    let [rows, columns] = sides.as_slice() else {
                        let got = format!("a list of {}", sides.len());
                        return Err(Problem::bad_value(&path, "[rows, columns]", got));
                    };
                    Ok(Structure::Block {
                        rows: above_zero(rows, &path.index(0))?,
                        columns: above_zero(columns, &path.index(1))?,
                    })
                }
                _ => Err(Problem::bad_value(path, expected, "other keys together")),
            }
        }
        other => Err(Problem::bad_value(path, expected, other)),
    }
}

fn of_n(
    (n, m): (usize, usize),
    along: Along,
    where_divisible: bool,
    path: &KeyPath,
) -> Result<Structure, Problem> {
    if n > m {
        return Err(Problem::bad_value(path, "n of m to keep, with n at most m", format!("{n} of {m}")));
    }
    Ok(Structure::OfM { n, m, along, where_divisible })
}

/// The numbers of `2:4`, the short form of `{n: 2, m: 4}`.
pub(super) fn of_m(word: &str) -> Option<(Node, Node)> {
    let number = |text: &str| text.parse::<u32>().ok().map(|n| Node::Int(n.into()));
    let (n, m) = word.split_once(':')?;
    Some((number(n)?, number(m)?))
}

fn target(node: &Node, path: &KeyPath, in_rule: bool) -> Result<Target, Problem> {
    match node {
        Node::Text(word) => word_of(&[("threshold", Target::Threshold)], word, path),
        Node::Map(_) => {
            let form: wire::TargetForm = read(node, path)?;
            match (&form.sparsity, &form.keep, &form.bytes) {
                (Some(node), None, None) => Ok(Target::Sparsity(shares(node, &path.key("sparsity"))?)),
                (None, Some(node), None) => Ok(Target::Keep(whole(node, &path.key("keep"))?)),
                (None, None, Some(_)) if in_rule => {
                    let expected =
                        "another target; `bytes` limits the whole file, so it works only in `prune.target`";
                    Err(Problem::bad_value(path, expected, "{bytes: …}"))
                }
                (None, None, Some(node)) => Ok(Target::Bytes(size(node, &path.key("bytes"))?)),
                (None, None, None) => Err(Problem::bad_value(
                    path,
                    "exactly one of sparsity, keep and bytes",
                    "an empty mapping",
                )),
                _ => Err(Problem::bad_value(path, "exactly one of sparsity, keep and bytes", "several")),
            }
        }
        other => {
            let expected = "threshold, {sparsity: x}, {keep: n} or {bytes: SIZE}";
            Err(Problem::bad_value(path, expected, other))
        }
    }
}

/// One share or a list of them.
fn shares(node: &Node, path: &KeyPath) -> Result<Vec<f64>, Problem> {
    match node {
        Node::List(list) if list.is_empty() => {
            Err(Problem::bad_value(path, "a number from 0 to 1 or a list of them", "an empty list"))
        }
        Node::List(list) => list.iter().enumerate().map(|(i, node)| share(node, &path.index(i))).collect(),
        node => Ok(vec![share(node, path)?]),
    }
}

fn share(node: &Node, path: &KeyPath) -> Result<f64, Problem> {
    match real(node) {
        Some(x) if (0.0..=1.0).contains(&x) => Ok(x.abs()),
        _ => Err(Problem::bad_value(path, "a number from 0 to 1", node)),
    }
}

fn whole(node: &Node, path: &KeyPath) -> Result<u64, Problem> {
    match node {
        Node::Int(n) if u64::try_from(*n).is_ok() => Ok(*n as u64),
        other => Err(Problem::bad_value(path, "a whole number of at least 0", other)),
    }
}

fn above_zero(node: &Node, path: &KeyPath) -> Result<usize, Problem> {
    match node {
        Node::Int(n) if *n > 0 && usize::try_from(*n).is_ok() => Ok(*n as usize),
        other => Err(Problem::bad_value(path, "a whole number above 0", other)),
    }
}

pub(super) fn word_of<T: Clone>(
    words: &[(&'static str, T)],
    word: &str,
    path: &KeyPath,
) -> Result<T, Problem> {
    if let Some((_, meaning)) = words.iter().find(|(name, _)| *name == word) {
        return Ok(meaning.clone());
    }
    let names = || words.iter().map(|(name, _)| *name);
    let kind = ConfigErrorKind::UnknownValue {
        key: path.clone(),
        value: word.to_owned(),
        near: nearest(word, names()),
        values: names().collect(),
    };
    Err(Problem::at_value(path, kind))
}
