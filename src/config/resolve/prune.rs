//! Pruning: how the result is written, and the settings for each tensor.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::Problem;
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::pruning::{Chain, FormatChoice, PruneRule, PruneSettings};
use super::super::values::Values;
use super::super::wire;
use super::decision::{decision, keys};
use super::stages::max_shard_size;
use super::value::{Folder, Words, patterns};
use super::values;
use crate::prune::{Activation, Criterion, Decision};
use crate::rules::{Rule, RuleSet};
use crate::sparse::{Fill, Format};
use crate::store::names_folder;
use crate::tensor::FloatDtype;

const FILL: Words<Fill> =
    Words { now: &[("zero", Fill::Zero), ("init", Fill::Init), ("nearest", Fill::Nearest)] };

const FORMAT: Words<FormatChoice> = Words {
    now: &[
        ("auto", FormatChoice::Auto),
        ("coded", FormatChoice::Fixed(Format::Coded)),
        ("sparse", FormatChoice::Sparse),
        ("dense", FormatChoice::Fixed(Format::Dense)),
        ("bitmask", FormatChoice::Fixed(Format::Bitmask)),
        ("csr", FormatChoice::Fixed(Format::Csr)),
    ],
};

const DTYPE: Words<Option<FloatDtype>> = Words {
    now: &[
        ("keep", None),
        ("f32", Some(FloatDtype::F32)),
        ("bf16", Some(FloatDtype::Bf16)),
        ("f16", Some(FloatDtype::F16)),
    ],
};

/// File name of a dense checkpoint in a folder: the name that transformers expects.
const DENSE_NAME: &str = "model.safetensors";

/// File name of a checkpoint that must be restored before use. Transformers must not find it, because it
/// would ignore the tensors that it does not know and start from random weights.
const PRUNED_NAME: &str = "pruned.safetensors";

pub(super) fn prune(wire: wire::Prune, path: &KeyPath, folder: &Folder) -> Result<PruneSettings, Problem> {
    let keys = keys!(wire);
    let decision = decision(&keys, None, path, folder)?;
    let fill = match &wire.fill {
        // The criterion measures the distance to the nearer of the two values.
        None if decision.criterion == Criterion::Nearest => Fill::Nearest,
        fill => FILL.choose(fill.as_ref(), &path.key("fill"))?,
    };
    let chains = chains(&wire, &decision, fill, path)?;
    check_tied(&wire.tied, &path.key("tied"))?;
    let format = FORMAT.choose(wire.format.as_ref(), &path.key("format"))?;
    let dtype = DTYPE.choose(wire.dtype.as_ref(), &path.key("dtype"))?;
    let values = values(&wire, format, dtype, (path, folder))?;
    let keep = values.is_some() && !prunes(&wire);
    if keep {
        check_kept(&wire, path)?;
    }
    let rules = wire.rules.iter().enumerate();
    let outer = (&decision, values.as_ref());
    let rules = rules.map(|(i, r)| rule(r, outer, &path.key("rules").index(i), folder));
    let rules = RuleSet::new(rules.collect::<Result<_, _>>()?);
    let whole_folder = names_folder(&wire.output);
    let mut output = folder.join(wire.output, &path.key("output"))?;
    if whole_folder {
        output.push(if format == FormatChoice::Fixed(Format::Dense) { DENSE_NAME } else { PRUNED_NAME });
    }
    Ok(PruneSettings {
        output,
        folder: whole_folder,
        fill,
        any_start: wire.any_start,
        dtype,
        format,
        code_kept: code_kept(wire.code_kept, format, path)?,
        values,
        tuned: BTreeMap::new(),
        keep,
        max_shard_size: max_shard_size(wire.max_shard_size.as_ref(), path)?,
        chains,
        tied: wire.tied,
        decision,
        rules,
    })
}

/// What a config says about coding kept tensors: nothing, where none are coded.
fn code_kept(wanted: Option<bool>, format: FormatChoice, path: &KeyPath) -> Result<bool, Problem> {
    match wanted {
        Some(_) if !format.codes() => {
            let expected = "no `code_kept` unless `format` is `auto` or `coded`";
            Err(Problem::bad_value(&path.key("code_kept"), expected, "one".to_owned()))
        }
        wanted => Ok(wanted.unwrap_or(true)),
    }
}

/// How values are coded. Only the formats that code can do so.
fn values(
    wire: &wire::Prune,
    format: FormatChoice,
    dtype: Option<FloatDtype>,
    (path, folder): (&KeyPath, &Folder),
) -> Result<Option<Values>, Problem> {
    let Some(given) = &wire.values else { return Ok(None) };
    let values = values::values(given, None, &path.key("values"), folder)?;
    let word = |node: &Option<Node>| node.as_ref().map_or_else(String::new, Node::to_string);
    if !format.codes() {
        let expected = "auto or coded together with `values`, which says how values are coded";
        return Err(Problem::bad_value(&path.key("format"), expected, word(&wire.format)));
    }
    if dtype.is_some() && values == Values::Exact {
        let expected = "keep together with `values: {exact: true}`, because a cast rounds values";
        return Err(Problem::bad_value(&path.key("dtype"), expected, word(&wire.dtype)));
    }
    Ok(Some(values))
}

/// Whether a key says what is pruned. Where `values` is given, nothing is pruned by default.
fn prunes(wire: &wire::Prune) -> bool {
    let by_rule = wire.rules.iter().any(|rule| !keys!(rule).given().is_empty());
    !keys!(wire).given().is_empty() || by_rule || !wire.tied.is_empty() || wire.remove
}

/// Refuses keys that mean nothing where nothing is pruned.
fn check_kept(wire: &wire::Prune, path: &KeyPath) -> Result<(), Problem> {
    let kept = "because without a criterion or a target, `values` means that nothing is pruned";
    if wire.fill.is_some() {
        let expected = format!("no `fill`, {kept}");
        return Err(Problem::bad_value(&path.key("fill"), &expected, "one"));
    }
    if wire.code_kept == Some(false) {
        let expected = format!("true, {kept}");
        return Err(Problem::bad_value(&path.key("code_kept"), &expected, "false"));
    }
    Ok(())
}

/// Each name may occur once, and each group needs at least two.
fn check_tied(tied: &[Vec<String>], path: &KeyPath) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for (i, names) in tied.iter().enumerate() {
        let path = path.index(i);
        if names.len() < 2 {
            return Err(Problem::bad_value(&path, "at least two names", format!("{}", names.len())));
        }
        for (n, name) in names.iter().enumerate() {
            if !seen.insert(name) {
                return Err(Problem::bad_value(&path.index(n), "each name once", format!("`{name}` again")));
            }
        }
    }
    Ok(())
}

const ACTIVATION: Words<Activation> = Words { now: &Activation::WORDS };

/// The chains, if units are to be removed from them.
fn chains(
    wire: &wire::Prune,
    decision: &Decision,
    fill: Fill,
    path: &KeyPath,
) -> Result<Vec<Chain>, Problem> {
    let refuse =
        |key: &str, expected: &str, got: &str| Err(Problem::bad_value(&path.key(key), expected, got));
    match (wire.remove, wire.chains.is_empty()) {
        (false, true) => return Ok(Vec::new()),
        (false, false) => return refuse("chains", "`remove: true` as well", "none"),
        (true, true) => {
            return refuse("remove", "`chains` as well, which list the layers that read each other", "none");
        }
        (true, false) => {}
    }
    if fill != Fill::Zero {
        return refuse(
            "remove",
            "`fill: zero` as well: with other fills, pruned rows have weights",
            "another",
        );
    }
    if decision.counts_bytes() {
        return refuse(
            "remove",
            "a target other than `{bytes: …}`, which does not account for removed units",
            "it",
        );
    }
    let mut seen = BTreeSet::new();
    let chain = |(i, chain): (usize, &wire::Chain)| {
        let path = path.key("chains").index(i);
        if chain.layers.len() < 2 {
            let got = format!("{}", chain.layers.len());
            return Err(Problem::bad_value(&path.key("layers"), "at least two layers", got.as_str()));
        }
        for (n, layer) in chain.layers.iter().enumerate() {
            if !seen.insert(layer.clone()) {
                let got = format!("`{layer}` again");
                return Err(Problem::bad_value(
                    &path.key("layers").index(n),
                    "each layer once",
                    got.as_str(),
                ));
            }
        }
        let activation = match &chain.activation {
            None => None,
            given => Some(ACTIVATION.choose(given.as_ref(), &path.key("activation"))?),
        };
        Ok(Chain { layers: chain.layers.clone(), activation })
    };
    wire.chains.iter().enumerate().map(chain).collect()
}

fn rule(
    wire: &wire::PruneRule,
    (outer, values): (&Decision, Option<&Values>),
    path: &KeyPath,
    folder: &Folder,
) -> Result<Rule<PruneRule>, Problem> {
    let (text, patterns) = patterns(&wire.patterns, &path.key("match"))?;
    let keys = keys!(wire);
    if let (true, Some(key)) = (wire.keep, keys.given().first()) {
        let expected = "no such key together with `keep: true`, which leaves the tensors unchanged";
        return Err(Problem::bad_value(&path.key(key), expected, "one"));
    }
    let decision = decision(&keys, Some(outer), path, folder)?;
    let values = rule_values(wire, values, &path.key("values"), folder)?;
    let value = PruneRule { text, keep: wire.keep, decision, values, optional: wire.optional };
    Ok(Rule { patterns, value })
}

fn rule_values(
    wire: &wire::PruneRule,
    outer: Option<&Values>,
    path: &KeyPath,
    folder: &Folder,
) -> Result<Option<Values>, Problem> {
    let Some(given) = &wire.values else { return Ok(None) };
    if wire.keep {
        let expected = "no such key together with `keep: true`, which leaves the tensors unchanged";
        return Err(Problem::bad_value(path, expected, "one"));
    }
    if outer.is_none() {
        let expected = "`prune.values` as well, whose keys it overrides";
        return Err(Problem::bad_value(path, expected, "none"));
    }
    values::values(given, outer, path, folder).map(Some)
}
