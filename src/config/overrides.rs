//! Overrides: `KEY=VALUE` on the command line, applied to the tree before it is interpreted.

use super::error::ConfigErrorKind;
use super::node::{Node, read_yaml};
use super::path::{KeyPath, Step};

/// Sets one value of the tree, and returns its path. Missing mappings on the path are created.
///
/// # Errors
/// If there is no `=`, if the key is not a path or leads through a value without such an entry, or if
/// the value is not YAML.
pub(super) fn apply(tree: &mut Node, text: &str) -> Result<KeyPath, ConfigErrorKind> {
    let Some(equals) = end_of_key(text) else {
        return Err(ConfigErrorKind::BadOverride("expected KEY=VALUE".to_owned()));
    };
    let path = KeyPath::parse(text[..equals].trim()).map_err(ConfigErrorKind::BadOverride)?;
    let path = of_tensor(tree, path);
    let value = match read_yaml(&text[equals + 1..]) {
        Ok(value) => value,
        Err(error) => return Err(error.kind),
    };
    let mut at = tree;
    let mut walked = KeyPath::root();
    for step in path.steps() {
        at = enter(at, step, &walked).map_err(ConfigErrorKind::BadOverride)?;
        walked = match step {
            Step::Key(key) => walked.key(key),
            Step::Index(index) => walked.index(*index),
        };
    }
    *at = value;
    Ok(path)
}

/// The path of an entry in `model.tensors`. Names of tensors contain dots, and a shell removes the quotes
/// around them. The longest name in the list takes precedence. Otherwise, the name is everything before a
/// final `shape` or `dtype`.
fn of_tensor(tree: &Node, path: KeyPath) -> KeyPath {
    let [model @ Step::Key(first), tensors @ Step::Key(second), rest @ ..] = path.steps() else {
        return path;
    };
    let quoted = |step: &Step| matches!(step, Step::Key(key) if key.contains('.'));
    if first != "model" || second != "tensors" || rest.len() < 2 || rest.iter().any(quoted) {
        return path;
    }
    let known = tree.get("model").and_then(|model| model.get("tensors"));
    let text = |step: &Step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    };
    let name = |n: usize| rest[..n].iter().map(text).collect::<Vec<_>>().join(".");
    let is_known = |n: &usize| known.is_some_and(|known| known.get(&name(*n)).is_some());
    let is_part = matches!(rest.last(), Some(Step::Key(key)) if key == "shape" || key == "dtype");
    let end = (1..=rest.len()).rev().find(is_known).unwrap_or(rest.len() - usize::from(is_part));
    let entry = [model.clone(), tensors.clone(), Step::Key(name(end))];
    entry.into_iter().chain(rest[end..].iter().cloned()).collect()
}

/// Position of the `=` that ends the key: the first one outside quotes.
fn end_of_key(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(i, c)| {
        quoted ^= c == '"';
        (c == '=' && !quoted).then_some(i)
    })
}

fn enter<'n>(node: &'n mut Node, step: &Step, path: &KeyPath) -> Result<&'n mut Node, String> {
    if *node == Node::Null {
        *node = Node::Map(Vec::new());
    }
    match node {
        Node::Map(entries) => {
            let key = match step {
                Step::Key(key) => key.clone(),
                Step::Index(index) => index.to_string(),
            };
            let at = entries.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
                entries.push((key, Node::Null));
                entries.len() - 1
            });
            Ok(&mut entries[at].1)
        }
        Node::List(list) => {
            let len = list.len();
            match step {
                Step::Index(index) => list
                    .get_mut(*index)
                    .ok_or_else(|| format!("`{path}` has no entry {index}: it has {len}, counted from 0")),
                Step::Key(key) => Err(format!("`{path}` is a list: its entries are numbers, not `{key}`")),
            }
        }
        other => Err(format!("`{path}` is {other}, which has no keys")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tree: &str, text: &str) -> Result<Node, String> {
        let mut tree = read_yaml(tree).unwrap();
        apply(&mut tree, text).map_err(|e| e.to_string())?;
        Ok(tree)
    }

    fn is(tree: &str) -> Result<Node, String> {
        Ok(read_yaml(tree).unwrap())
    }

    #[test]
    fn values_are_set_and_mappings_made() {
        assert_eq!(set("seed: 1", "seed=2"), is("seed: 2"));
        assert_eq!(set("seed: 1", "prune.fill=init"), is("{seed: 1, prune: {fill: init}}"));
        assert_eq!(set("prune:", "prune.rules=[{match: a}]"), is("{prune: {rules: [{match: a}]}}"));
        assert_eq!(set("rules: [{init: he}]", "rules.0.init=xavier"), is("rules: [{init: xavier}]"));
        assert_eq!(set("rules: [{init: he}]", "rules[0].init=xavier"), is("rules: [{init: xavier}]"));
        assert_eq!(
            set("model: {}", "model.tensors.\"a=b.weight\"=[2, 3]"),
            is("model: {tensors: {a=b.weight: [2, 3]}}")
        );
        assert_eq!(set("model: {tensors: {}}", "model.tensors.7=[2]"), is("model: {tensors: {7: [2]}}"));
        assert_eq!(set("a: 1", "a="), is("a:"));
    }

    /// A shell leaves nothing of quotes that are not quoted themselves.
    #[test]
    fn names_of_tensors_have_dots() {
        let list = "model: {tensors: {h.0.w: [1, 2], h.0: {shape: [3]}}}";
        let listed = |rest: &str| is(&format!("model: {{tensors: {{{rest}}}}}"));
        for name in ["h.0.w", "\"h.0.w\""] {
            let text = format!("model.tensors.{name}=[4]");
            assert_eq!(set(list, &text), listed("h.0.w: [4], h.0: {shape: [3]}"));
        }
        assert_eq!(set(list, "model.tensors.h.0.w[1]=4"), listed("h.0.w: [1, 4], h.0: {shape: [3]}"));
        assert_eq!(set(list, "model.tensors.h.0.shape[0]=4"), listed("h.0.w: [1, 2], h.0: {shape: [4]}"));
        assert_eq!(
            set(list, "model.tensors.h.1.w=[4]"),
            listed("h.0.w: [1, 2], h.0: {shape: [3]}, h.1.w: [4]")
        );
        assert_eq!(set("model: {}", "model.tensors.a.b.dtype=bf16"), listed("a.b: {dtype: bf16}"));
        assert_eq!(set("seed: 1", "model.tensors.a.b=[4]"), is("{seed: 1, model: {tensors: {a.b: [4]}}}"));
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let error = |text| set("{seed: 1, rules: [{init: he}]}", text).unwrap_err();
        assert_eq!(error("seed"), "expected KEY=VALUE");
        assert_eq!(error("=1"), "`` has an empty key");
        assert_eq!(error("seed.x=1"), "`seed` is 1, which has no keys");
        assert_eq!(error("rules.1.init=he"), "`rules` has no entry 1: it has 1, counted from 0");
        assert_eq!(error("rules.init=he"), "`rules` is a list: its entries are numbers, not `init`");
        assert_eq!(error("seed={a: 1, a: 2}"), "duplicate key `a`");
        assert!(error("seed=[1").starts_with("not valid YAML: "));
    }
}
