//! The model and the stages before pruning.

use std::collections::BTreeMap;

use super::super::error::Problem;
use super::super::node::Node;
use super::super::path::KeyPath;
use super::super::settings::{
    AnalyzeSettings, Decay, InitSettings, ModelSettings, ReportPaths, TrainedSettings,
};
use super::super::typed::read;
use super::super::wire;
use super::value::{Folder, real, size, texts};
use crate::analysis::Threshold;
use crate::suggest::{did_you_mean, nearest};
use crate::tensor::{FloatDtype, Shape, ShapeError};

pub(super) fn model(wire: wire::Model, path: &KeyPath, folder: &Folder) -> Result<ModelSettings, Problem> {
    let dtype = wire.dtype.unwrap_or(FloatDtype::F32);
    let list = path.key("tensors");
    let tensors = match &wire.tensors {
        None | Some(Node::Null) => BTreeMap::new(),
        Some(Node::Map(entries)) => entries
            .iter()
            .map(|(name, node)| Ok((name.clone(), tensor(node, &list.key(name), dtype)?)))
            .collect::<Result<_, Problem>>()?,
        Some(other) => {
            return Err(Problem::bad_value(&list, "a mapping of names to shapes", other));
        }
    };
    Ok(ModelSettings { like: folder.join_some(wire.like, &path.key("like"))?, tensors })
}

fn tensor(node: &Node, path: &KeyPath, dtype: FloatDtype) -> Result<(Shape, FloatDtype), Problem> {
    match node {
        Node::List(_) => Ok((shape(node, path)?, dtype)),
        Node::Map(_) => {
            let tensor: wire::Tensor = read(node, path)?;
            Ok((shape(&tensor.shape, &path.key("shape"))?, tensor.dtype.unwrap_or(dtype)))
        }
        other => Err(Problem::bad_value(path, "a shape such as [256, 784], or {shape, dtype}", other)),
    }
}

fn shape(node: &Node, path: &KeyPath) -> Result<Shape, Problem> {
    let Node::List(list) = node else {
        return Err(Problem::bad_value(path, "a shape such as [256, 784]", node));
    };
    let dimension = |(i, node): (usize, &Node)| match node {
        Node::Int(n) if usize::try_from(*n).is_ok() => Ok(*n as usize),
        other => Err(Problem::bad_value(&path.index(i), "a dimension of at least 0", other)),
    };
    let dims = list.iter().enumerate().map(dimension).collect::<Result<_, _>>()?;
    Shape::new(dims).map_err(|error| match error {
        ShapeError::TooLarge(dims) => {
            Problem::bad_value(path, "a shape that this machine can address", format!("{dims:?}"))
        }
        ShapeError::Rank(rank) => {
            Problem::bad_value(path, "a shape of at most 64 dimensions", format!("{rank} of them"))
        }
    })
}

pub(super) fn init(wire: wire::Init, path: &KeyPath, folder: &Folder) -> Result<InitSettings, Problem> {
    let max_shard_size = max_shard_size(wire.max_shard_size.as_ref(), path)?;
    Ok(InitSettings { output: folder.join(wire.output, &path.key("output"))?, max_shard_size })
}

pub(super) fn max_shard_size(node: Option<&Node>, path: &KeyPath) -> Result<Option<u64>, Problem> {
    node.map(|node| size(node, &path.key("max_shard_size"))).transpose()
}

pub(super) fn trained(
    wire: wire::Trained,
    path: &KeyPath,
    folder: &Folder,
) -> Result<TrainedSettings, Problem> {
    let strip_prefix = match &wire.strip_prefix {
        None => Vec::new(),
        Some(node) => texts(node, &path.key("strip_prefix"), "prefix")?,
    };
    let strip = match &wire.strip {
        None => Vec::new(),
        Some(node) => texts(node, &path.key("strip"), "name")?,
    };
    if let Some((name, at)) = strip.iter().find(|(name, _)| name.is_empty() || name.contains('.')) {
        let expected = "a name without dots, which is removed together with the dot after it";
        return Err(Problem::bad_value(at, expected, format!("{name:?}")));
    }
    Ok(TrainedSettings {
        path: folder.join(wire.path, &path.key("path"))?,
        strip: strip.into_iter().map(|(name, _)| name).collect(),
        strip_prefix: strip_prefix.into_iter().map(|(prefix, _)| prefix).collect(),
    })
}

pub(super) fn analyze(
    wire: wire::Analyze,
    path: &KeyPath,
    folder: &Folder,
) -> Result<AnalyzeSettings, Problem> {
    let report = wire.report.unwrap_or_default();
    let to = |file, key: &str| folder.join_some(file, &path.key("report").key(key));
    Ok(AnalyzeSettings {
        threshold: threshold(wire.threshold.as_ref(), &path.key("threshold"))?,
        decay: decay(wire.decay.as_ref(), &path.key("decay"))?,
        report: ReportPaths {
            json: to(report.json, "json")?,
            csv: to(report.csv, "csv")?,
            markdown: to(report.markdown, "markdown")?,
            html: to(report.html, "html")?,
            svg: to(report.svg, "svg")?,
        },
    })
}

/// `None` for `auto`.
fn threshold(node: Option<&Node>, path: &KeyPath) -> Result<Option<Threshold>, Problem> {
    match node {
        None => Ok(Some(Threshold::default())),
        Some(Node::Text(word)) if word == "auto" => Ok(None),
        Some(node) => fixed_threshold(node, path).map(Some),
    }
}

fn fixed_threshold(node: &Node, path: &KeyPath) -> Result<Threshold, Problem> {
    let expected = "a finite number of at least 0, {relative: x}, {ulps: n} or auto";
    if let Some(x) = real(node) {
        return not_negative(x)
            .map(Threshold::Absolute)
            .ok_or_else(|| Problem::bad_value(path, expected, node));
    }
    if !matches!(node, Node::Map(_)) {
        return Err(Problem::bad_value(path, expected, with_near(node, &["auto"])));
    }
    let form: wire::ThresholdForm = read(node, path)?;
    match (form.relative, form.ulps) {
        (Some(x), None) => match not_negative(x) {
            Some(x) => Ok(Threshold::Relative(x)),
            None => {
                let got = node.get("relative").unwrap_or(node);
                Err(Problem::bad_value(&path.key("relative"), "a finite number of at least 0", got))
            }
        },
        (None, Some(n)) => Ok(Threshold::Ulps(n)),
        (None, None) => Err(Problem::bad_value(path, expected, "an empty mapping")),
        (Some(_), Some(_)) => Err(Problem::bad_value(path, "exactly one of relative and ulps", "both")),
    }
}

/// The number if it is finite and not negative; -0.0 becomes +0.0, so that reports agree.
fn not_negative(x: f64) -> Option<f64> {
    (x.is_finite() && x >= 0.0).then(|| x.abs())
}

pub(super) fn decay(node: Option<&Node>, path: &KeyPath) -> Result<Decay, Problem> {
    let node = match node {
        None => return Ok(Decay::Fixed(1.0)),
        Some(Node::Text(word)) if word == "none" => return Ok(Decay::Fixed(1.0)),
        Some(Node::Text(word)) if word == "auto" => return Ok(Decay::Auto),
        Some(node) => node,
    };
    match real(node) {
        Some(x) if x.is_finite() && x > 0.0 => Ok(Decay::Fixed(x)),
        _ => {
            let got = with_near(node, &["none", "auto"]);
            Err(Problem::bad_value(path, "none, auto or a finite number above 0", got))
        }
    }
}

/// The value, and the valid word that may be meant.
fn with_near(node: &Node, words: &[&'static str]) -> String {
    let near = match node {
        Node::Text(text) => nearest(text, words.iter().copied()),
        _ => None,
    };
    format!("{node}{}", did_you_mean(near))
}
