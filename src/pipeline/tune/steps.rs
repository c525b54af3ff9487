//! The search for the lengths of steps, on the tensors of a checkpoint.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::points::Points;
use super::trials::Trials;
use crate::codec::Over;
use crate::config::{PruneSettings, StepLength};
use crate::pipeline::error::Error;
use crate::pipeline::pack::Extent;
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::Tasks;
use crate::tune::{Coordinate, Measured, Part, Space, search_steps};

/// With more tensors than this, those of the same role in different layers have the same step.
const MOST_COORDINATES: usize = 32;

/// A tensor whose step is searched for.
struct Searched<'a> {
    name: &'a str,
    elements: usize,
    extent: Extent,
    /// What the settings say about the start of its steps.
    over: Over,
}

/// Searches for the steps that the settings leave open. Returns whether the search was completed.
pub(super) fn search(
    resolved: &Resolved<'_>,
    prune: &PruneSettings,
    trials: &mut Trials<'_>,
    points: &mut Points<'_>,
) -> Result<bool, Error> {
    let tasks = Tasks::new(resolved)?;
    let groups = groups(searched(&tasks, prune)?);
    let space = Space {
        coordinates: groups.iter().map(|group| (root_mean_square(group.iter()), over(group))).collect(),
        common: root_mean_square(groups.iter().flatten()),
        max_drop: points.tune.max_drop,
    };
    let original = points.original.metric;
    let mut asked_before = false;
    search_steps(&space, |part: Part, settings| {
        let tried = settings.iter().map(|setting| with(prune, &groups, setting)).map(|prune| {
            let point = prune.point(part);
            (prune, point)
        });
        let found = points.evaluate(trials, tried.collect())?;
        let found: Vec<Measured> =
            found.iter().map(|point| Measured { bytes: point.bytes, drop: point.drop }).collect();
        let is_first = !std::mem::replace(&mut asked_before, true);
        // The longest steps leave little but the starting points.
        if is_first && found.len() == settings.len() && points.metrics().all(|metric| metric == original) {
            return Err(points.same_metric());
        }
        Ok(found)
    })
}

/// One of the settings that a search tries first: all steps as long as the weights, by their root mean
/// square.
pub(super) fn a_candidate(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<PruneSettings, Error> {
    let tasks = Tasks::new(resolved)?;
    let groups = groups(searched(&tasks, prune)?);
    let step = root_mean_square(groups.iter().flatten());
    let setting: Vec<Coordinate> =
        groups.iter().map(|group| Coordinate { step, over: over(group) }).collect();
    Ok(with(prune, &groups, &setting))
}

/// The settings with these steps for the groups.
fn with(prune: &PruneSettings, groups: &[Vec<Searched<'_>>], setting: &[Coordinate]) -> PruneSettings {
    let mut tuned = BTreeMap::new();
    for (group, Coordinate { step, over }) in groups.iter().zip(setting) {
        for one in group {
            let over = if one.over == Over::Auto { *over } else { one.over };
            tuned.insert(one.name.to_owned(), (*step, over));
        }
    }
    PruneSettings { tuned, ..prune.clone() }
}

/// The tensors whose steps are searched for, in name order.
fn searched<'a>(tasks: &'a Tasks<'_>, prune: &PruneSettings) -> Result<Vec<Searched<'a>>, Error> {
    let mut found = Vec::new();
    for task in tasks.iter().filter(|task| task.elements() > 0) {
        if let Some(steps) = prune.steps(task.name).filter(|steps| steps.step == StepLength::Auto) {
            let (extent, over) = (Extent::of(task)?, steps.over);
            found.push(Searched { name: task.name, elements: task.elements(), extent, over });
        }
    }
    Ok(found)
}

/// The groups of tensors that have the same step, the largest first: each tensor alone, or, if there are
/// many, those of the same role in different layers, and the smallest of these together.
fn groups(all: Vec<Searched<'_>>) -> Vec<Vec<Searched<'_>>> {
    let by_role = all.len() > MOST_COORDINATES;
    let mut groups: BTreeMap<String, Vec<Searched<'_>>> = BTreeMap::new();
    for one in all {
        let role = if by_role { role(one.name) } else { one.name.to_owned() };
        groups.entry(role).or_default().push(one);
    }
    let mut groups: Vec<Vec<Searched<'_>>> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse(group.iter().map(|one| one.elements).sum::<usize>()));
    let small = groups.split_off(groups.len().min(MOST_COORDINATES));
    if let Some(last) = groups.last_mut() {
        last.extend(small.into_iter().flatten());
    }
    groups
}

fn root_mean_square<'a>(all: impl Iterator<Item = &'a Searched<'a>>) -> f64 {
    all.fold(Extent::NONE, |sum, one| sum.and(one.extent)).root_mean_square()
}

/// From where the steps of a group are counted: left open if it is for any of its tensors.
fn over(group: &[Searched<'_>]) -> Over {
    let open = group.iter().find(|one| one.over == Over::Auto);
    open.or(group.first()).map_or(Over::Auto, |one| one.over)
}

/// A name with every number replaced: `layer.#.weight`.
fn role(name: &str) -> String {
    let mut role = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if role.ends_with('#') => {}
            '0'..='9' => role.push('#'),
            c => role.push(c),
        }
    }
    role
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_the_same_role_have_one_step_where_there_are_many() {
        let name = |n: usize, part: &str| format!("layers.{n}.{part}.weight");
        let names: Vec<String> = (0..12).flat_map(|n| ["q", "k", "up"].map(|part| name(n, part))).collect();
        let all = |names: &'static [String]| -> Vec<Searched<'static>> {
            let one = |(n, name): (usize, &'static String)| Searched {
                name,
                elements: 10 + n,
                extent: Extent::NONE,
                over: if n == 2 { Over::Zero } else { Over::Auto },
            };
            names.iter().enumerate().map(one).collect()
        };
        let names: &'static [String] = names.leak();
        let many = groups(all(names));
        let described: Vec<(usize, &str)> = many.iter().map(|group| (group.len(), group[0].name)).collect();
        let [up, k, q] = ["up", "k", "q"].map(|part| format!("layers.0.{part}.weight"));
        assert_eq!(described, [(12, &*up), (12, &*k), (12, &*q)]);
        assert_eq!(many.iter().map(|group| over(group)).collect::<Vec<_>>(), [Over::Auto; 3]);
        // Few: each alone, the largest first.
        let few = groups(all(&names[..4]));
        let first: Vec<&str> = few.iter().map(|group| group[0].name).collect();
        let expected: Vec<&str> = names[..4].iter().rev().map(String::as_str).collect();
        assert_eq!(first, expected);
        assert_eq!(over(&few[1]), Over::Zero);
    }

    #[test]
    fn many_roles_are_limited() {
        let names: Vec<String> = (0..40).map(|n| "x".repeat(n + 1)).collect();
        let one = |(n, name): (usize, &'static String)| Searched {
            name,
            elements: n,
            extent: Extent::NONE,
            over: Over::Auto,
        };
        let names: &'static [String] = names.leak();
        let groups = groups(names.iter().enumerate().map(one).collect());
        let counts: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!((counts.len(), counts[0], counts[31]), (32, 1, 9));
        assert_eq!(role("h.12.mlp.fc_3x4.weight"), "h.#.mlp.fc_#x#.weight");
    }
}
