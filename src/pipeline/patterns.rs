//! Checks that every pattern of a config matches something, unless it is optional.

use std::collections::BTreeSet;

use super::error::Error;
use crate::config::{ConfigErrorKind, KeyPath, PatternHint, Settings};
use crate::rules::{Pattern, RuleSet};
use crate::suggest::nearest;

/// Refuses the first pattern of `rules`, `prune.rules` and the gates that matches none of the names. A
/// pattern whose tensors are all matched by earlier rules is accepted.
pub(super) fn patterns_match(settings: &Settings, names: &BTreeSet<&str>) -> Result<(), Error> {
    let root = KeyPath::root();
    let refuse = |key: KeyPath, patterns: &[Pattern], dead: &[usize]| {
        let kind = nothing(names, patterns, dead);
        let key = key.key("match");
        let key = if dead.len() == patterns.len() { key } else { key.index(dead[0]) };
        Err(settings.source.error(&key, kind).into())
    };
    if let Some((rule, dead)) = by_rule(&settings.rules, names, |rule| rule.optional) {
        return refuse(root.key("rules").index(rule), &settings.rules.rules()[rule].patterns, &dead);
    }
    if let Some(prune) = &settings.prune
        && let Some((rule, dead)) = by_rule(&prune.rules, names, |rule| rule.optional)
    {
        let key = root.key("prune").key("rules").index(rule);
        return refuse(key, &prune.rules.rules()[rule].patterns, &dead);
    }
    for (n, gate) in settings.gates.min_sparsity.iter().enumerate().filter(|(_, gate)| !gate.optional) {
        let is_dead = |n: &usize| !names.iter().any(|name| gate.patterns[*n].is_match(name));
        let dead: Vec<usize> = (0..gate.patterns.len()).filter(is_dead).collect();
        if !dead.is_empty() {
            return refuse(root.key("gates").key("min_sparsity").index(n), &gate.patterns, &dead);
        }
    }
    Ok(())
}

/// The first rule that is not optional and has patterns that match nothing, with these patterns.
fn by_rule<T>(
    rules: &RuleSet<T>,
    names: &BTreeSet<&str>,
    optional: impl Fn(&T) -> bool,
) -> Option<(usize, Vec<usize>)> {
    let dead = rules.unmatched(names.iter().copied());
    let (first, _) = *dead.iter().find(|(rule, _)| !optional(&rules.rules()[*rule].value))?;
    Some((first, dead.iter().filter(|(rule, _)| *rule == first).map(|(_, pattern)| *pattern).collect()))
}

/// Of these names, which no rule matches, one that a pattern would match if its `*` did not stop at dots.
pub(super) fn beyond_dots(settings: &Settings, names: &[String]) -> PatternHint {
    let patterns = settings.rules.rules().iter().flat_map(|rule| &rule.patterns);
    wider(patterns, || names.iter().map(String::as_str)).unwrap_or_default()
}

fn wider<'a, N: Iterator<Item = &'a str>>(
    mut patterns: impl Iterator<Item = &'a Pattern>,
    names: impl Fn() -> N,
) -> Option<PatternHint> {
    patterns.find_map(|pattern| {
        let wider = pattern.beyond_dots()?;
        let name = names().find(|name| wider.is_match(name))?;
        Some(PatternHint::Wider { pattern: wider.as_str().to_owned(), name: name.to_owned() })
    })
}

/// The error for a rule some or all of whose patterns match nothing.
fn nothing(names: &BTreeSet<&str>, patterns: &[Pattern], dead: &[usize]) -> ConfigErrorKind {
    let wider = wider(dead.iter().map(|n| &patterns[*n]), || names.iter().copied());
    let near = || dead.iter().find_map(|n| nearest(patterns[*n].as_str(), names.iter().copied()));
    let hint = match wider {
        Some(wider) => wider,
        None => near().map_or(PatternHint::None, |name| PatternHint::Near(name.to_owned())),
    };
    if dead.len() == patterns.len() {
        let patterns = patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        return ConfigErrorKind::RuleMatchesNothing { patterns, hint };
    }
    ConfigErrorKind::PatternMatchesNothing { pattern: patterns[dead[0]].as_str().to_owned(), hint }
}
