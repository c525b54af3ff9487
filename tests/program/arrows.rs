//! Which module may use which: arrows run one way, between the modules of a crate and between the files of a
//! folder. docs/architecture.md has the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::common::root;

/// The modules of `cdi-prune`, the lowest first: each may use those in the lines before its
/// own, and `cdi-core`.
const LIBRARY: &[&[&str]] = &[
    &["workers"],
    &["text", "rules", "prune", "store"],
    &["init", "gates", "tune"],
    &["analysis", "manifest", "infer", "matrix"],
    &["config", "report"],
    &["pipeline"],
    &["cli"],
];

/// Those of `cdi-core`.
const CORE: &[&[&str]] = &[
    &["prelude"],
    &["bits", "dispatch", "float", "lock", "positioned", "regular_file", "suggest", "workers"],
    &["noise", "place", "tensor"],
    &["checkpoint"],
    &["digest", "init"],
    &["blocks"],
    &["codec", "state"],
    &["sparse"],
    &["reader"],
    &["internal"],
];

#[test]
fn arrows_of_the_library_run_one_way() {
    assert_eq!(wrong(&sources(&root().join("src")), LIBRARY), [""; 0]);
}

#[test]
fn arrows_of_the_core_run_one_way() {
    assert_eq!(wrong(&sources(&root().join("crates/cdi-core/src")), CORE), [""; 0]);
}

#[test]
fn an_arrow_that_runs_back_is_found() {
    let planted = |file: &str, line: &str| {
        let mut sources = sources(&root().join("src"));
        let text = sources.entry(module(file)).or_default();
        *text = format!("{line}\n{text}");
        wrong(&sources, LIBRARY)
    };
    assert_eq!(
        planted("rules/glob", "use crate::pipeline::{Stages, run};"),
        ["rules::glob uses pipeline::run: the module pipeline is not below rules"]
    );
    assert_eq!(
        planted("pipeline/masks", "use super::{progress::Progress, select::{self, select}};"),
        ["a circle of files in pipeline: masks, plan, remove, select, team"]
    );
    assert_eq!(planted("stray", ""), ["the module stray is in no layer"]);
}

/// A module by its path in its crate: `["pipeline", "run"]`.
type Module = Vec<String>;

fn module(path: &str) -> Module {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The texts of a crate's modules, without comments and tests.
fn sources(folder: &Path) -> BTreeMap<Module, String> {
    fn walk(folder: &Path, at: &Module, into: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let mut inner = at.clone();
            if entry.file_type().unwrap().is_dir() {
                inner.push(name);
                walk(&entry.path(), &inner, into);
            } else if let Some(stem) =
                name.strip_suffix(".rs").filter(|stem| !["main", "tests"].contains(stem))
            {
                inner.extend((!["mod", "lib"].contains(&stem)).then(|| stem.to_owned()));
                into.insert(inner, code(&fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, &Vec::new(), &mut found);
    found
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every arrow that does not run down.
fn wrong(sources: &BTreeMap<Module, String>, layers: &[&[&str]]) -> Vec<String> {
    let uses = uses(sources);
    let layer = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    let mut found = Vec::new();
    let tops: BTreeSet<&str> = sources.keys().filter_map(|module| Some(module.first()?.as_str())).collect();
    let stray = tops.iter().filter(|name| layer(name).is_none());
    found.extend(stray.map(|name| format!("the module {name} is in no layer")));
    for (from, to) in uses.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        if let (Some(a), Some(b)) = (from.first(), to.first())
            && a != b
            && layer(a).zip(layer(b)).is_some_and(|(a, b)| a <= b)
        {
            let (from, to) = (from.join("::"), to.join("::"));
            found.push(format!("{from} uses {to}: the module {b} is not below {a}"));
        }
    }
    let folders: BTreeSet<&[String]> =
        sources.keys().filter_map(|module| Some(module.split_last()?.1)).collect();
    for folder in folders.into_iter().filter(|folder| !folder.is_empty()) {
        let circle = circle(&within(&uses, folder));
        if !circle.is_empty() {
            found.push(format!("a circle of files in {}: {}", folder.join("/"), circle.join(", ")));
        }
    }
    found
}

/// Which files of a folder use which: folders in it count as one file, and so does what the
/// folder's own file holds.
fn within<'u>(
    uses: &'u BTreeMap<Module, BTreeSet<Module>>,
    folder: &[String],
) -> BTreeMap<&'u str, BTreeSet<&'u str>> {
    let part = |module: &'u Module| {
        let rest = module.strip_prefix(folder)?;
        Some(rest.first().map_or("mod", String::as_str))
    };
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, all) in uses {
        let Some(from) = part(from) else { continue };
        found.entry(from).or_default().extend(all.iter().filter_map(part).filter(|to| *to != from));
    }
    found
}

/// Files that lead to each other: what is left when those that use none of the others, and those that none of
/// the others uses, are taken away again and again.
fn circle<'u>(uses: &BTreeMap<&'u str, BTreeSet<&'u str>>) -> Vec<&'u str> {
    let mut left: BTreeSet<&str> = uses.keys().copied().collect();
    loop {
        let uses_one = |a: &str| uses[a].iter().any(|b| left.contains(b));
        let is_used = |a: &str| left.iter().any(|b| uses[b].contains(a));
        let stay: BTreeSet<&str> = left.iter().copied().filter(|a| uses_one(a) && is_used(a)).collect();
        if stay.len() == left.len() {
            return left.into_iter().collect();
        }
        left = stay;
    }
}

/// Which modules a module uses. What it only hands on (`pub use`) is used by those who take it from there.
fn uses(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut handed_on: BTreeMap<(Module, String), Module> = BTreeMap::new();
    // A name may be handed on through several modules.
    for _ in 0..3 {
        for (module, text) in sources {
            for path in statements(text).into_iter().filter(|(is_public, _)| *is_public).map(|(_, path)| path)
            {
                let to = resolve(module, &path, sources, &handed_on);
                if let (Some(to), Some(name)) = (to.filter(|to| to != module), path.last()) {
                    handed_on.insert((module.clone(), name.clone()), to);
                }
            }
        }
    }
    let of = |(module, text): (&Module, &String)| {
        let imported = statements(text).into_iter().filter(|(is_public, _)| !is_public).map(|(_, path)| path);
        let paths = imported.chain(paths(text));
        let to = paths.filter_map(|path| resolve(module, &path, sources, &handed_on));
        (module.clone(), to.filter(|to| to != module).collect())
    };
    sources.iter().map(of).collect()
}

/// The paths of `use` statements, and whether these are public.
fn statements(text: &str) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
        let before = before.rsplit(['\n', '{', '}']).next().unwrap_or_default().trim();
        if before.is_empty() || before.starts_with("pub") {
            let mut paths = Vec::new();
            expand(tree.trim(), &Vec::new(), &mut paths);
            found.extend(paths.into_iter().map(|path| (before.starts_with("pub"), path)));
        }
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`; of `b as c` it is `b`.
fn expand(tree: &str, before: &[String], into: &mut Vec<Vec<String>>) {
    let (head, list) = tree.split_once('{').map_or((tree, None), |(head, list)| (head, Some(list)));
    let names = head.split("::").map(|name| name.split(" as ").next().unwrap_or_default().trim().to_owned());
    let path: Vec<String> = before.iter().cloned().chain(names.filter(|name| !name.is_empty())).collect();
    let Some(list) = list else { return into.push(path) };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = list[begin..at].trim();
                begin = (at + 1).min(list.len());
                if !part.is_empty() {
                    expand(part, &path, into);
                }
            }
            _ => {}
        }
    }
}

/// Paths elsewhere in the code that begin at the crate or beside the module.
fn paths(text: &str) -> Vec<Vec<String>> {
    let begins = ["crate::", "super::", "self::"];
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let code = text
        .split(';')
        .map(|statement| statement.rsplit_once("use ").map_or(statement, |(before, _)| before));
    let words = code.flat_map(|code| code.split(move |c| !is_part(c)));
    let paths = words.filter(|word| begins.iter().any(|begin| word.starts_with(begin)));
    paths.map(|word| word.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()).collect()
}

/// The module that a path leads to, as seen from another.
fn resolve(
    from: &Module,
    path: &[String],
    sources: &BTreeMap<Module, String>,
    handed_on: &BTreeMap<(Module, String), Module>,
) -> Option<Module> {
    let mut rest = path;
    let mut at = from.clone();
    match rest.first()?.as_str() {
        "crate" => at.clear(),
        "super" | "self" => {}
        first => {
            at.push(first.to_owned());
            if !sources.contains_key(&at) {
                return None;
            }
            at.pop();
        }
    }
    while let Some((first, later)) =
        rest.split_first().filter(|(f, _)| ["crate", "super", "self"].contains(&f.as_str()))
    {
        if first == "super" {
            at.pop();
        }
        rest = later;
    }
    while let Some((first, later)) = rest.split_first() {
        at.push(first.clone());
        if !sources.contains_key(&at) {
            at.pop();
            break;
        }
        rest = later;
    }
    let name = rest.first().cloned().unwrap_or_default();
    Some(handed_on.get(&(at.clone(), name)).cloned().unwrap_or(at))
}
