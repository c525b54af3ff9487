//! The search for the smallest file: what is varied, and limits.

use std::path::PathBuf;
use std::time::Duration;

use super::super::duration::parse_duration;
use super::super::error::{ConfigErrorKind, Problem};
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::pruning::PruneSettings;
use super::super::tune::{Recipe, TuneSearch, TuneSettings};
use super::super::values::{StepLength, Values};
use super::super::wire;
use super::decision::of_m;
use super::gates::not_negative;
use super::prune::prune;
use super::value::{Folder, no_home, real};
use crate::place;
use crate::tune::{Better, Lines, PLACE};

/// Default time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Most steps or evaluations.
const MOST: u32 = 1_000_000;

/// The folder of the cache, which must be on this machine: commands evaluate the files in it.
fn here(cache: PathBuf, path: &KeyPath) -> Result<PathBuf, Problem> {
    if place::is_distant(&cache) {
        let expected = "a folder on a disk of this machine";
        return Err(Problem::bad_value(&path.key("cache"), expected, format!("`{}`", cache.display())));
    }
    Ok(cache)
}

/// The settings of the search, and those of pruning before anything is varied.
pub(super) fn tune(
    wire: &wire::Tune,
    pruning: &wire::Prune,
    path: &KeyPath,
    folder: &Folder,
) -> Result<(TuneSettings, PruneSettings), Problem> {
    let (search, first) = search(wire, pruning, path, folder)?;
    let max_evaluations = whole(wire.max_evaluations.as_ref(), &path.key("max_evaluations"), (2, MOST))?;
    let confirm = wire.confirm.as_ref().map(|words| command(words, &path.key("confirm"))).transpose()?;
    let jobs = whole(wire.jobs.as_ref(), &path.key("jobs"), (1, TuneSettings::MOST_JOBS))?;
    let settings = TuneSettings {
        command: command(&wire.command, &path.key("command"))?,
        better: match wire.better {
            wire::BetterWord::Higher => Better::Higher,
            wire::BetterWord::Lower => Better::Lower,
        },
        max_drop: not_negative(&wire.max_drop, &path.key("max_drop"))?,
        timeout: timeout(wire.timeout.as_ref(), &path.key("timeout"))?,
        confirm,
        jobs: jobs.unwrap_or(1) as usize,
        search,
        max_evaluations: max_evaluations.map(u64::from),
        cache: match &wire.cache {
            Some(cache) => here(folder.join(cache.clone(), &path.key("cache"))?, path)?,
            None => {
                let mut cache = first.output.clone().into_os_string();
                cache.push(".tune");
                here(PathBuf::from(cache), path)?
            }
        },
    };
    Ok((settings, first))
}

/// What is searched: lengths of steps if `prune.values` has `step: auto`, else a sparsity.
fn search(
    wire: &wire::Tune,
    pruning: &wire::Prune,
    path: &KeyPath,
    folder: &Folder,
) -> Result<(TuneSearch, PruneSettings), Problem> {
    if pruning.values.is_some() {
        let settings = prune(pruning.clone(), &KeyPath::root().key("prune"), folder)?;
        let steps = settings.values.as_ref().and_then(Values::steps);
        if steps.is_some_and(|steps| steps.step == StepLength::Auto) {
            let of_sparsity = [
                ("criteria", wire.criteria.is_some()),
                ("structures", wire.structures.is_some()),
                ("scopes", wire.scopes.is_some()),
                ("fills", wire.fills.is_some()),
                ("sparsity", wire.sparsity.is_some()),
                ("steps", wire.steps.is_some()),
                ("tolerance", wire.tolerance.is_some()),
            ];
            if let Some((key, _)) = of_sparsity.iter().find(|(_, given)| *given) {
                let expected = "no such key together with `prune.values.step: auto`, with which `tune` searches for the \
                                lengths of steps; everything else is as `prune` says";
                return Err(Problem::bad_value(&path.key(key), expected, "one"));
            }
            return Ok((TuneSearch::Steps(Box::new(settings.clone())), settings));
        }
    }
    if pruning.target.is_some() {
        let path = KeyPath::root().key("prune").key("target");
        let expected = "no target together with `tune`, which searches for the sparsity";
        return Err(Problem::bad_value(&path, expected, "one"));
    }
    let recipes = recipes(wire, pruning, path, folder)?;
    let (low, high) = range(wire.sparsity.as_ref(), &path.key("sparsity"))?;
    let lines = Lines {
        ranged: recipes.iter().map(Recipe::is_ranged).collect(),
        low,
        high,
        steps: whole(wire.steps.as_ref(), &path.key("steps"), (1, MOST))?.unwrap_or(1),
        tolerance: match &wire.tolerance {
            None => 0.01,
            Some(node) => above_zero(node, &path.key("tolerance"))?,
        },
    };
    let first = recipes[0].at(low);
    Ok((TuneSearch::Sparsity { recipes, lines }, first))
}

/// All combinations of the lists. A list that is not given has the value of `prune`.
fn recipes(
    wire: &wire::Tune,
    pruning: &wire::Prune,
    path: &KeyPath,
    folder: &Folder,
) -> Result<Vec<Recipe>, Problem> {
    let list = |nodes: &Option<Vec<Node>>, own: &Option<Node>, key: &str| match nodes {
        None => Ok(vec![own.clone()]),
        Some(nodes) if nodes.is_empty() => {
            Err(Problem::bad_value(&path.key(key), "at least one value", "an empty list"))
        }
        Some(nodes) => Ok(nodes.iter().cloned().map(Some).collect()),
    };
    let criteria = list(&wire.criteria, &pruning.criterion, "criteria")?;
    let structures = list(&wire.structures, &pruning.structure, "structures")?;
    let scopes = list(&wire.scopes, &pruning.scope, "scopes")?;
    let fills = list(&wire.fills, &pruning.fill, "fills")?;
    let mut recipes = Vec::new();
    for criterion in &criteria {
        for structure in &structures {
            for scope in &scopes {
                for fill in &fills {
                    let of_m = structure.as_ref().is_some_and(is_of_m);
                    let at = |sparsity: f64| {
                        let target = Node::Map(vec![("sparsity".to_owned(), Node::Real(sparsity))]);
                        let wire = wire::Prune {
                            criterion: criterion.clone(),
                            structure: structure.clone(),
                            // n of m itself determines how many weights are pruned, and from which group.
                            target: (!of_m).then_some(target),
                            scope: scope.clone().filter(|_| !of_m),
                            fill: fill.clone(),
                            ..pruning.clone()
                        };
                        prune(wire, &KeyPath::root().key("prune"), folder)
                    };
                    let both = at(0.0).and_then(|low| Ok(Recipe::new(low, at(1.0)?)));
                    recipes.push(both.map_err(|problem| located(problem, wire, path))?);
                }
            }
        }
    }
    Ok(recipes)
}

fn is_of_m(structure: &Node) -> bool {
    match structure {
        Node::Text(word) => of_m(word).is_some(),
        node => node.get("n").is_some(),
    }
}

/// An error of one combination, located at the keys of `tune` if they caused it.
fn located(problem: Problem, wire: &wire::Tune, path: &KeyPath) -> Problem {
    let any = [&wire.criteria, &wire.structures, &wire.scopes, &wire.fills].iter().any(|list| list.is_some());
    if !any
        || problem.path.steps().iter().any(|step| *step == super::super::path::Step::Key("rules".to_owned()))
    {
        return problem;
    }
    Problem::at_key(path, ConfigErrorKind::Combination(problem.kind))
}

fn command(arguments: &[String], path: &KeyPath) -> Result<Vec<String>, Problem> {
    let expected = "a program and its arguments, with {checkpoint} in at least one of them";
    if arguments.first().is_none_or(String::is_empty) {
        return Err(Problem::bad_value(path, expected, "no program"));
    }
    no_home(&arguments[0], &path.index(0))?;
    if !arguments.iter().any(|argument| argument.contains(PLACE)) {
        return Err(Problem::bad_value(path, expected, "none with it"));
    }
    if let Some(n) = arguments.iter().position(|argument| argument.contains('\0')) {
        return Err(Problem::bad_value(&path.index(n), "text without null characters", "one with it"));
    }
    Ok(arguments.to_vec())
}

fn timeout(node: Option<&Node>, path: &KeyPath) -> Result<Duration, Problem> {
    let found = match node {
        None => return Ok(TIMEOUT),
        Some(Node::Text(text)) => parse_duration(text).ok(),
        Some(node) => real(node).and_then(|seconds| parse_duration(&seconds.to_string()).ok()),
    };
    found.ok_or_else(|| {
        let expected = "a number of seconds above 0, or a number with ms, s, m or h, such as 90s or 1.5h";
        node.map_or_else(
            || Problem::bad_value(path, expected, "nothing"),
            |node| Problem::bad_value(path, expected, node),
        )
    })
}

fn range(node: Option<&Node>, path: &KeyPath) -> Result<(f64, f64), Problem> {
    let expected = "[least, largest] from 0 to 1";
    let Some(node) = node else { return Ok((0.0, 0.99)) };
    let Node::List(ends) = node else { return Err(Problem::bad_value(path, expected, node)) };
    match ends.iter().map(real).collect::<Option<Vec<f64>>>().as_deref() {
        Some([low, high]) if 0.0 <= *low && low <= high && *high <= 1.0 => Ok((low.abs(), high.abs())),
        Some(ends) => Err(Problem::bad_value(path, expected, format!("{ends:?}"))),
        None => Err(Problem::bad_value(path, expected, "values that are not numbers")),
    }
}

fn above_zero(node: &Node, path: &KeyPath) -> Result<f64, Problem> {
    match real(node) {
        Some(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err(Problem::bad_value(path, "a number above 0 and at most 1", node)),
    }
}

fn whole(node: Option<&Node>, path: &KeyPath, (least, most): (u32, u32)) -> Result<Option<u32>, Problem> {
    match node {
        None => Ok(None),
        Some(Node::Int(n)) if (i128::from(least)..=i128::from(most)).contains(n) => Ok(Some(*n as u32)),
        Some(node) => Err(Problem::bad_value(path, &format!("a whole number from {least} to {most}"), node)),
    }
}
