//! Pruning: what this version does of it, and what it knows to come.

use super::super::error::Problem;
use super::super::path::KeyPath;
use super::super::settings::{FormatChoice, PruneRule, PruneSettings};
use super::super::wire;
use super::stages::max_shard_size;
use super::value::{Folder, Words, patterns};
use crate::rules::{Rule, RuleSet};
use crate::sparse::{Fill, Format};

const CRITERION: Words<()> = Words {
    now: &[("sleeping", ())],
    later: &["magnitude", "movement", "magnitude_increase", "nearest", "random"],
    later_keys: &["scores"],
};

const TARGET: Words<()> =
    Words { now: &[("threshold", ())], later: &[], later_keys: &["sparsity", "keep", "bytes"] };

const SCOPE: Words<()> = Words { now: &[("tensor", ())], later: &["global"], later_keys: &[] };

const STRUCTURE: Words<()> =
    Words { now: &[("unstructured", ())], later: &["rows", "columns"], later_keys: &["n", "m", "block"] };

const FILL: Words<Fill> =
    Words { now: &[("zero", Fill::Zero), ("init", Fill::Init)], later: &["nearest"], later_keys: &[] };

const FORMAT: Words<FormatChoice> = Words {
    now: &[
        ("auto", FormatChoice::Auto),
        ("dense", FormatChoice::Fixed(Format::Dense)),
        ("bitmask", FormatChoice::Fixed(Format::Bitmask)),
    ],
    later: &["csr"],
    later_keys: &[],
};

const DTYPE: Words<()> = Words { now: &[("keep", ())], later: &["f32", "bf16", "f16"], later_keys: &[] };

pub(super) fn prune(wire: wire::Prune, path: &KeyPath, folder: &Folder) -> Result<PruneSettings, Problem> {
    let only = [
        (CRITERION, "criterion", &wire.criterion),
        (TARGET, "target", &wire.target),
        (SCOPE, "scope", &wire.scope),
        (STRUCTURE, "structure", &wire.structure),
        (DTYPE, "dtype", &wire.dtype),
    ];
    for (words, key, node) in only {
        words.choose(node.as_ref(), &path.key(key))?;
    }
    let rules = wire.rules.iter().enumerate().map(|(i, r)| rule(r, &path.key("rules").index(i)));
    Ok(PruneSettings {
        output: folder.join(wire.output),
        fill: FILL.choose(wire.fill.as_ref(), &path.key("fill"))?,
        format: FORMAT.choose(wire.format.as_ref(), &path.key("format"))?,
        max_shard_size: max_shard_size(wire.max_shard_size.as_ref(), path)?,
        rules: RuleSet::new(rules.collect::<Result<_, _>>()?),
    })
}

fn rule(wire: &wire::PruneRule, path: &KeyPath) -> Result<Rule<PruneRule>, Problem> {
    let (text, patterns) = patterns(&wire.patterns, &path.key("match"))?;
    Ok(Rule { patterns, value: PruneRule { text, keep: wire.keep, optional: wire.optional } })
}
