//! The gates.

use super::super::error::{ConfigErrorKind, Problem};
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::typed::read;
use super::super::wire;
use super::value::{patterns, real, size};
use crate::gates::{Gates, SparsityGate};

/// The stages in the config.
pub(super) struct Named {
    pub trained: bool,
    /// Whether analyze or prune is requested; both read every weight.
    pub compared: bool,
    pub prune: bool,
    pub tune: bool,
}

pub(super) fn gates(wire: &wire::Gates, path: &KeyPath, named: &Named) -> Result<Gates, Problem> {
    let about_pruning = [
        ("min_sparsity", wire.min_sparsity.is_some()),
        ("max_output_bytes", wire.max_output_bytes.is_some()),
        ("max_tensor_sparsity", wire.max_tensor_sparsity.is_some()),
    ];
    let given = about_pruning.map(|(key, given)| (key, given, named.prune, "prune")).into_iter().chain([
        ("finite", wire.finite.is_some(), named.compared, "analyze"),
        ("started_here", wire.started_here.is_some(), named.compared, "analyze"),
        ("max_metric_drop", wire.max_metric_drop.is_some(), named.tune, "tune"),
    ]);
    let mut any = false;
    for (key, given, stage, needs) in given {
        any |= given;
        if given && !stage {
            let path = path.key(key);
            return Err(Problem::at_key(&path, ConfigErrorKind::NeedsKey { key: path.clone(), needs }));
        }
    }
    if !any {
        let expected = "at least one of min_sparsity, max_output_bytes, max_tensor_sparsity, finite, \
                        started_here, max_metric_drop";
        return Err(Problem::bad_value(path, expected, "none"));
    }
    let share = |node: &Option<Node>, key: &str| match node {
        None => Ok(None),
        Some(node) => share(node, &path.key(key)).map(Some),
    };
    let max_output_bytes =
        wire.max_output_bytes.as_ref().map(|n| size(n, &path.key("max_output_bytes"))).transpose()?;
    Ok(Gates {
        min_sparsity: match &wire.min_sparsity {
            None => Vec::new(),
            Some(node) => min_sparsity(node, &path.key("min_sparsity"))?,
        },
        max_output_bytes,
        max_tensor_sparsity: share(&wire.max_tensor_sparsity, "max_tensor_sparsity")?,
        finite: wire.finite.unwrap_or(false),
        started_here: wire.started_here.unwrap_or(false),
        max_metric_drop: match &wire.max_metric_drop {
            None => None,
            Some(node) => Some(not_negative(node, &path.key("max_metric_drop"))?),
        },
    })
}

fn min_sparsity(node: &Node, path: &KeyPath) -> Result<Vec<SparsityGate>, Problem> {
    let everything = |min| SparsityGate { text: Vec::new(), patterns: Vec::new(), min, optional: false };
    match node {
        Node::List(list) if list.is_empty() => {
            Err(Problem::bad_value(path, "a number from 0 to 1 or a list of {match, min}", "an empty list"))
        }
        Node::List(list) => list
            .iter()
            .enumerate()
            .map(|(n, node)| {
                let path = path.index(n);
                match node {
                    Node::Map(_) => of_some(node, &path),
                    node => share(node, &path).map(everything),
                }
            })
            .collect(),
        Node::Map(_) => {
            let expected = "a number from 0 to 1 or a list of {match, min}";
            Err(Problem::bad_value(path, expected, node))
        }
        node => Ok(vec![everything(share(node, path)?)]),
    }
}

fn of_some(node: &Node, path: &KeyPath) -> Result<SparsityGate, Problem> {
    let wire: wire::SparsityGate = read(node, path)?;
    let (text, patterns) = patterns(&wire.patterns, &path.key("match"))?;
    Ok(SparsityGate { text, patterns, min: share(&wire.min, &path.key("min"))?, optional: wire.optional })
}

fn share(node: &Node, path: &KeyPath) -> Result<f64, Problem> {
    match real(node) {
        Some(x) if (0.0..=1.0).contains(&x) => Ok(x.abs()),
        _ => Err(Problem::bad_value(path, "a number from 0 to 1", node)),
    }
}

/// A finite number of 0 or more.
pub(super) fn not_negative(node: &Node, path: &KeyPath) -> Result<f64, Problem> {
    match real(node) {
        Some(x) if x.is_finite() && x >= 0.0 => Ok(x.abs()),
        _ => Err(Problem::bad_value(path, "a finite number of at least 0", node)),
    }
}
