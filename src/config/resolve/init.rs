//! The rules for initial values.

use super::super::error::{ConfigErrorKind, Problem};
use super::super::layer::{Group, LayerRule};
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::settings::{InitRule, InitSource, SliceRule};
use super::super::typed::read;
use super::super::wire;
use super::stages::decay;
use super::value::{Folder, patterns};
use crate::init::{Scheme, SchemeError, SchemeParams};
use crate::rules::{Pattern, Rule, RuleSet};
use crate::tensor::Layout;

/// `layout` is the layout for rules without one, and whether the config gives it.
pub(super) fn rules(
    rules: &[wire::Rule],
    path: &KeyPath,
    layout: (Layout, bool),
    folder: &Folder,
) -> Result<RuleSet<InitRule>, Problem> {
    let rule = |(i, wire): (usize, &wire::Rule)| rule(wire, &path.index(i), layout, folder);
    Ok(RuleSet::new(rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?))
}

fn rule(
    wire: &wire::Rule,
    path: &KeyPath,
    (layout, layout_given): (Layout, bool),
    folder: &Folder,
) -> Result<Rule<InitRule>, Problem> {
    let (text, patterns) = patterns(&wire.patterns, &path.key("match"))?;
    let layout = match &wire.layout {
        Some(node) => super::layout::layout(node, &path.key("layout"))?,
        None => layout,
    };
    let init = init(&wire.init, &path.key("init"), folder)?;
    if let InitSource::Scheme(scheme) = &init {
        check_zero_mean(scheme, layout, &path.key("init"))?;
    }
    let layer = layer(wire.layer.as_ref(), &path.key("layer"), &patterns)?;
    let decay = wire.decay.as_ref().map(|node| decay(Some(node), &path.key("decay"))).transpose()?;
    let slices = match &wire.slices {
        Some(node) => slices(node, &path.key("slices"), &init, layout, &patterns)?,
        None => Vec::new(),
    };
    let layout_given = layout_given || wire.layout.is_some();
    let (shared, optional) = (wire.shared, wire.optional);
    let value = InitRule { text, layer, init, slices, layout, layout_given, decay, shared, optional };
    Ok(Rule { patterns, value })
}

fn check_zero_mean(scheme: &Scheme, layout: Layout, path: &KeyPath) -> Result<(), Problem> {
    if scheme.zero_mean() && !layout.are_kernels_together() {
        return Err(Problem::at_value(path, ConfigErrorKind::ZeroMeanLayout));
    }
    Ok(())
}

fn slices(
    node: &Node,
    path: &KeyPath,
    init: &InitSource,
    layout: Layout,
    patterns: &[Pattern],
) -> Result<Vec<SliceRule>, Problem> {
    let Node::List(list) = node else {
        return Err(Problem::bad_value(path, "a list of slices, such as [q, k, v]", node));
    };
    if list.is_empty() {
        return Err(Problem::bad_value(path, "a list of slices, such as [q, k, v]", "an empty list"));
    }
    let InitSource::Scheme(scheme) = init else {
        let got = "initial values that are not drawn (`init: none` or `{from: FILE}`)";
        return Err(Problem::bad_value(path, "no slices, or a rule with a mode as its `init`", got));
    };
    let mut slices: Vec<SliceRule> = Vec::with_capacity(list.len());
    for (n, node) in list.iter().enumerate() {
        let path = path.index(n);
        let (slice, name_path) = match node {
            Node::Text(name) => {
                let (name, scheme) = (name.clone(), scheme.clone());
                (SliceRule { name, size: None, layer: None, scheme }, path)
            }
            Node::Map(_) => (slice(&read(node, &path)?, &path, scheme, layout, patterns)?, path.key("name")),
            other => {
                return Err(Problem::bad_value(&path, "a slice's name, or {name, size, layer, init}", other));
            }
        };
        if slices.iter().any(|other| other.name == slice.name) {
            let got = format!("`{}` twice", slice.name);
            return Err(Problem::bad_value(&name_path, "slices with different names", got));
        }
        slices.push(slice);
    }
    Ok(slices)
}

fn slice(
    wire: &wire::Slice,
    path: &KeyPath,
    scheme: &Scheme,
    layout: Layout,
    patterns: &[Pattern],
) -> Result<SliceRule, Problem> {
    let size = match &wire.size {
        None => None,
        Some(Node::Int(n)) if *n >= 1 && usize::try_from(*n).is_ok() => Some(*n as usize),
        Some(other) => return Err(Problem::bad_value(&path.key("size"), "a whole number above 0", other)),
    };
    let layer_path = path.key("layer");
    let layer = wire.layer.as_ref().map(|node| layer(Some(node), &layer_path, patterns)).transpose()?;
    let init_path = path.key("init");
    let scheme = match &wire.init {
        None => scheme.clone(),
        Some(node) => match super::init_value(node, &init_path)? {
            InitSource::Scheme(scheme) => scheme,
            _ => return Err(Problem::bad_value(&init_path, "a mode or {mode: …}", node)),
        },
    };
    check_zero_mean(&scheme, layout, &init_path)?;
    Ok(SliceRule { name: wire.name.clone(), size, layer, scheme })
}

pub(super) fn init(node: &Node, path: &KeyPath, folder: &Folder) -> Result<InitSource, Problem> {
    match node {
        Node::Text(word) if word == "none" => Ok(InitSource::None),
        Node::Text(mode) => scheme(&SchemeParams::named(mode), path, false),
        Node::Map(_) if node.get("from").is_some() => {
            let from: wire::FromCheckpoint = read(node, path)?;
            Ok(InitSource::From(folder.join(from.from, &path.key("from"))?))
        }
        Node::Map(_) => {
            // An unknown mode is reported before an unknown parameter.
            if let Some(Node::Text(mode)) = node.get("mode")
                && let Err(e @ SchemeError::UnknownMode { .. }) = SchemeParams::named(mode).scheme()
            {
                return Err(scheme_problem(e, path, true));
            }
            scheme(&read(node, path)?, path, true)
        }
        other => Err(Problem::bad_value(path, "a mode, {mode: …}, {from: FILE} or none", other)),
    }
}

fn scheme(params: &SchemeParams, path: &KeyPath, is_mapping: bool) -> Result<InitSource, Problem> {
    let scheme: Scheme = params.scheme().map_err(|e| scheme_problem(e, path, is_mapping))?;
    Ok(InitSource::Scheme(scheme))
}

/// The error, at the parameter concerned if the config has it.
fn scheme_problem(error: SchemeError, path: &KeyPath, is_mapping: bool) -> Problem {
    let parameter = match &error {
        _ if !is_mapping => return Problem::at_value(path, ConfigErrorKind::Scheme(error)),
        SchemeError::UnknownMode { .. } | SchemeError::Missing { .. } => "mode",
        SchemeError::Both(first, _) => first,
        SchemeError::SlopeWithout(_) => "a",
        SchemeError::DoesNotApply { parameter, .. } => {
            return Problem::at_key(&path.key(parameter), ConfigErrorKind::Scheme(error));
        }
        SchemeError::OutOfRange { parameter, .. } => parameter,
        SchemeError::TwoMeans(_) => "mean",
        SchemeError::EmptyInterval { .. } => return Problem::at_value(path, ConfigErrorKind::Scheme(error)),
    };
    Problem::at_value(&path.key(parameter), ConfigErrorKind::Scheme(error))
}

fn layer(node: Option<&Node>, path: &KeyPath, patterns: &[Pattern]) -> Result<LayerRule, Problem> {
    let expected = "a whole number from 0 to 2^64-1, auto or {base, step, by}";
    match node {
        None => Ok(LayerRule::Auto),
        Some(Node::Text(word)) if word == "auto" => Ok(LayerRule::Auto),
        Some(Node::Int(id)) => match u64::try_from(*id) {
            Ok(base) => Ok(LayerRule::Affine { base, step: 1, by: None }),
            Err(_) => Err(Problem::bad_value(path, expected, id)),
        },
        Some(node @ Node::Map(entries)) if !entries.is_empty() => affine(&read(node, path)?, path, patterns),
        Some(Node::Map(_)) => Err(Problem::bad_value(path, expected, "an empty mapping")),
        Some(other) => Err(Problem::bad_value(path, expected, other)),
    }
}

fn affine(wire: &wire::Affine, path: &KeyPath, patterns: &[Pattern]) -> Result<LayerRule, Problem> {
    let by_path = path.key("by");
    let by = match &wire.by {
        // Without a number to multiply, the step would have no effect.
        None => wire.step.map(|_| Group::Number(1)),
        Some(Node::Text(name)) => Some(Group::Name(name.clone())),
        Some(Node::Int(number)) if *number >= 1 && usize::try_from(*number).is_ok() => {
            Some(Group::Number(*number as usize))
        }
        Some(other) => {
            return Err(Problem::bad_value(&by_path, "a group's number, from 1, or its name", other));
        }
    };
    if let Some(group) = &by {
        let asking = if wire.by.is_some() { by_path } else { path.key("step") };
        patterns.iter().try_for_each(|pattern| has_group(pattern, group, &asking))?;
    }
    Ok(LayerRule::Affine { base: wire.base.unwrap_or(0), step: wire.step.unwrap_or(1), by })
}

/// Every pattern of a rule must have the group, because any of them may match.
fn has_group(pattern: &Pattern, group: &Group, asking: &KeyPath) -> Result<(), Problem> {
    let has = match group {
        Group::Number(number) => *number <= pattern.groups(),
        Group::Name(name) => pattern.group_names().any(|n| n == name),
    };
    if has {
        return Ok(());
    }
    let has = match group {
        Group::Number(_) => match pattern.groups() {
            0 => "no group".to_owned(),
            1 => "1 group".to_owned(),
            n => format!("{n} groups"),
        },
        Group::Name(_) => match pattern.group_names().collect::<Vec<_>>() {
            names if names.is_empty() => "no group with a name".to_owned(),
            names => format!("those named {}", names.join(", ")),
        },
    };
    let kind = ConfigErrorKind::NoSuchGroup {
        key: asking.clone(),
        group: group.to_string(),
        pattern: pattern.to_string(),
        has,
    };
    Err(Problem::at_value(asking, kind))
}
