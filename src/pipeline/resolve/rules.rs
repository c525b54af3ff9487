//! Applies the rules to one tensor.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::{InitRule, InitSource, KeyPath, LayerRule, Settings};
use crate::init::{FanIn, Scheme, slice_shape, slice_sizes};
use crate::pipeline::error::{Error, RuleProblem};
use crate::pipeline::origin::{Action, Origin, Slice, Tensor};
use crate::prune::{Decision, Lane, Structure};
use crate::rules::{Match, RuleSet};
use crate::tensor::{Axes, Layout, Role, Roles, Shape};

/// The origin of a tensor by the rules; `shape_of` returns the shapes of other tensors.
pub(super) fn origin<'t>(
    settings: &Settings,
    name: &str,
    shape: &Shape,
    shape_of: impl Fn(&str) -> Option<&'t Shape>,
) -> Result<Option<Origin>, Error> {
    let Some(found) = settings.rules.find(name) else { return Ok(None) };
    let InitRule { layer, init, slices, .. } = found.value;
    let (layout, layout_told) = layout_of(found.value, name, shape);
    let rule = KeyPath::root().key("rules").index(found.rule);
    let layout = layout.for_shape(shape).map_err(|error| {
        RuleProblem::Roles { tensor: name.to_owned(), error }.at(settings, &rule.key("layout"))
    })?;
    let mut source = init.clone();
    let layer = match &mut source {
        InitSource::Scheme(_) if !slices.is_empty() => None,
        InitSource::Scheme(scheme) => {
            let wrong = |problem: RuleProblem| problem.at(settings, &rule.key("init"));
            find_fan_in(settings, scheme, &found, name, &shape_of).map_err(wrong)?;
            scheme
                .check_shape(shape, layout)
                .map_err(|error| wrong(RuleProblem::Shape { tensor: name.to_owned(), error }))?;
            Some(layer.id(name, &found.captures).map_err(|error| {
                RuleProblem::Layer { tensor: name.to_owned(), error }.at(settings, &rule.key("layer"))
            })?)
        }
        InitSource::From(_) | InitSource::None => None,
    };
    Ok(Some(Origin {
        rule: pattern_text(&settings.rules, &found),
        rule_index: found.rule,
        layer,
        layout,
        layout_told,
        source,
        slices: cut(settings, name, shape, layout, &found, &shape_of)?,
        stored_as: None,
    }))
}

/// The slices of a tensor by its rule.
fn cut<'t>(
    settings: &Settings,
    name: &str,
    shape: &Shape,
    layout: Layout,
    found: &Match<'_, '_, InitRule>,
    shape_of: impl Fn(&str) -> Option<&'t Shape>,
) -> Result<Vec<Slice>, Error> {
    let InitRule { layer, slices, .. } = found.value;
    if slices.is_empty() {
        return Ok(Vec::new());
    }
    let rule = KeyPath::root().key("rules").index(found.rule);
    let key = rule.key("slices");
    let tensor = name.to_owned();
    let given: Vec<Option<usize>> = slices.iter().map(|slice| slice.size).collect();
    let sizes = slice_sizes(shape, layout, &given)
        .map_err(|error| RuleProblem::Slices { tensor: tensor.clone(), error }.at(settings, &key))?;
    let mut all = Vec::with_capacity(slices.len());
    for (n, (slice, size)) in slices.iter().zip(sizes).enumerate() {
        let wrong = |problem: RuleProblem| problem.at(settings, &key.index(n));
        let mut scheme = slice.scheme.clone();
        find_fan_in(settings, &mut scheme, found, name, &shape_of).map_err(wrong)?;
        let full_name = format!("{name}.{}", slice.name);
        scheme
            .check_shape(&slice_shape(shape, layout, size), layout)
            .map_err(|error| wrong(RuleProblem::Shape { tensor: full_name.clone(), error }))?;
        let id = match (&slice.layer, layer) {
            (Some(layer), _) | (None, layer @ LayerRule::Auto) => layer.id(&full_name, &found.captures),
            (None, layer) => layer.id_after(n as u64, name, &found.captures),
        };
        let layer = id.map_err(|error| {
            RuleProblem::Layer { tensor: full_name.clone(), error }.at(settings, &rule.key("layer"))
        })?;
        all.push(Slice { name: slice.name.clone(), size, layer, scheme });
    }
    Ok(all)
}

/// Replaces the tensor in `fan_in_of` by its fan-in.
fn find_fan_in<'t>(
    settings: &Settings,
    scheme: &mut Scheme,
    found: &Match<'_, '_, InitRule>,
    name: &str,
    shape_of: impl Fn(&str) -> Option<&'t Shape>,
) -> Result<(), RuleProblem> {
    let Scheme::TorchDefault { fan_in: fan_in @ FanIn::Of(_) } = scheme else { return Ok(()) };
    let FanIn::Of(template) = &*fan_in else { return Ok(()) };
    // The stars are replaced by the matches of the pattern's groups, in order.
    let mut weight = String::new();
    let mut group = 0;
    for (n, part) in template.split('*').enumerate() {
        if n > 0 {
            group += 1;
            weight += found.captures.get(group).unwrap_or("*");
        }
        weight += part;
    }
    let Some(shape) = shape_of(&weight) else {
        return Err(RuleProblem::NoWeight { tensor: name.to_owned(), weight });
    };
    let rule = settings.rules.find(&weight);
    let (layout, _) = layout_of(rule.as_ref().map_or(found.value, |rule| rule.value), &weight, shape);
    let layout = layout.for_shape(shape).unwrap_or_default();
    match Axes::new(shape, layout).torch_fan_in() as u64 {
        // Without inputs there is no bound; as in PyTorch, the bias is 0.
        0 => *scheme = Scheme::Constant(0.0),
        inputs => *fan_in = FanIn::Given(inputs),
    }
    Ok(())
}

pub(super) fn action(settings: &Settings, name: &str, shape: &Shape, origin: Option<&Origin>) -> Action {
    let default = Decision::default();
    let decision = match &settings.prune {
        Some(prune) => prune.decision(name),
        None => Some(&default),
    };
    let (Some(decision), Some(origin)) = (decision, origin) else { return Action::Keep };
    let unknown = origin.source == InitSource::None && decision.criterion.needs_initial();
    let small = (shape.elements() as u64) < decision.min_elements;
    let undivided = undivided_lane(decision, shape, origin.layout).is_some();
    if unknown || small || undivided { Action::Keep } else { Action::Prune }
}

/// Refuses two tensors with the same layer id, unless their rules allow it.
pub(super) fn check_layer_ids<'t>(
    settings: &Settings,
    tensors: impl Iterator<Item = (&'t String, &'t Tensor)>,
) -> Result<(), Error> {
    // Ids are hashes of names, so that a map in their order would be searched all over for each.
    let mut first: HashMap<u64, (Cow<'t, str>, usize)> = HashMap::new();
    for (name, tensor) in tensors {
        let Some(Origin { layer, slices, rule_index, .. }) = &tensor.origin else { continue };
        let slices = slices.iter().map(|slice| (format!("{name}.{}", slice.name).into(), slice.layer));
        for (name, layer) in layer.map(|layer| (Cow::from(name), layer)).into_iter().chain(slices) {
            let Some((other, other_rule)) = first.insert(layer, (name.clone(), *rule_index)) else {
                continue;
            };
            let shared = |rule: usize| settings.rules.rules()[rule].value.shared;
            if other != name && !(shared(*rule_index) && shared(other_rule)) {
                let (first, second) = (other.into_owned(), name.into_owned());
                let problem = RuleProblem::SameLayer { first, second, layer };
                return Err(problem.at(settings, &KeyPath::root().key("rules").index(*rule_index)));
            }
        }
    }
    Ok(())
}

/// The tensor, if m does not divide its neighbours and it is to be left unchanged.
pub(in crate::pipeline) fn undivided_lane(
    decision: &Decision,
    shape: &Shape,
    layout: Layout,
) -> Option<(usize, Lane)> {
    let Structure::OfM { m, along, where_divisible: true, .. } = decision.structure else { return None };
    Lane::new(along, shape, layout).filter(|lane| !lane.size.is_multiple_of(m)).map(|lane| (m, lane))
}

fn pattern_text(rules: &RuleSet<InitRule>, found: &Match<'_, '_, InitRule>) -> String {
    rules.rules()[found.rule].patterns[found.pattern].as_str().to_owned()
}

/// The layout of a tensor by its rule, and whether it was recognised by the name: without a layout in the
/// config, a tensor with three dimensions and `experts` in its name is not a convolution.
fn layout_of(rule: &InitRule, name: &str, shape: &Shape) -> (Layout, bool) {
    let stacked = shape.rank() == 3 && name.split('.').any(|part| part == "experts");
    if rule.layout_given || !stacked || rule.layout != Layout::OutIn {
        return (rule.layout, false);
    }
    let roles = Roles::new(&[Role::Expert, Role::Out, Role::In]).expect("an order that roles may have");
    (Layout::Roles(roles), true)
}
