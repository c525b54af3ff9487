//! Refuses overrides without effect, because a user who types one expects an effect.

use super::node::Node;
use super::path::{KeyPath, Step};
use super::settings::{InitSource, Settings};

/// Why a value at this path has no effect with these settings; `None` if it may have one.
pub(super) fn unused(path: &KeyPath, tree: &Node, settings: &Settings, drawn: bool) -> Option<&'static str> {
    let steps = path.steps();
    let key = |n: usize| match steps.get(n) {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    let rules = settings.rules.rules();
    match (key(0), steps.len()) {
        ("seed", 1) => (!drawn && !rules.is_empty()).then_some("nothing is drawn from the seed"),
        ("model", 2) if key(1) == "dtype" => (!has_untyped(tree))
            .then_some("every tensor in `model.tensors` has a type, and those of `model.like` keep theirs"),
        ("rules", 3) if key(2) == "layer" => {
            let Step::Index(index) = steps[1] else { return None };
            let drawn = matches!(rules.get(index)?.value.init, InitSource::Scheme(_));
            (!drawn).then_some("the rule draws nothing, so its tensors have no layer id")
        }
        ("analyze", 2..) if ["threshold", "decay"].contains(&key(1)) => {
            let compared = rules.iter().any(|rule| rule.value.init != InitSource::None);
            (!compared && !rules.is_empty())
                .then_some("no rule gives an initial value, so there is nothing to compare with")
        }
        _ => None,
    }
}

/// Whether `model.tensors` lists a tensor without a type of its own.
fn has_untyped(tree: &Node) -> bool {
    let tensors = tree.get("model").and_then(|model| model.get("tensors"));
    let Some(Node::Map(tensors)) = tensors else { return false };
    tensors.iter().any(|(_, tensor)| tensor.get("dtype").is_none())
}
