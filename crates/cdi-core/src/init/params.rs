//! A scheme's parameters as written in a config: a mode and some of its parameters.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, Fan};
use super::gain::Nonlinearity;
use crate::prelude::*;

/// A mode with the parameters given for it. Which of them a mode takes is checked by
/// [`SchemeParams::scheme`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SchemeParams {
    /// he, xavier, lecun, attention, variance_scaling, torch_default, normal, trunc_normal, uniform, sparse,
    /// constant, zeros, ones, eye, dirac, orthogonal or delta_orthogonal; or a framework's own name, such as
    /// kaiming_uniform_ or glorot_normal.
    pub mode: String,
    /// normal (default), uniform or trunc_normal; for he, xavier, lecun, attention and variance_scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// in, out or avg; for he, lecun and variance_scaling, whose default is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan: Option<Fan>,
    /// Factor on the standard deviation of he, xavier, lecun and attention, and on the orthogonal
    /// modes' matrix; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// The activation after the layer, for he and xavier: linear, conv, sigmoid, tanh, relu, leaky_relu or
    /// selu. Default: relu for he (leaky_relu where `a` is given), linear for xavier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonlinearity: Option<Nonlinearity>,
    /// Slope of leaky_relu below 0; default 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<f64>,
    /// Variance times fan, for variance_scaling; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Width of the model for attention; default fan_in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_model: Option<u64>,
    /// Fan-in of the layer that a bias belongs to, for torch_default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_in: Option<u64>,
    /// The weight tensor whose fan-in it is, for torch_default; each `*` stands for what the
    /// rule's wildcards matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_in_of: Option<String>,
    /// Mean of normal and trunc_normal; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation of normal and trunc_normal (default 1), and of sparse (default 0.01).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// Blocks of a residual network, for normal: the standard deviation is divided by sqrt(2
    /// depth), as in GPT-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u64>,
    /// Lower end of uniform, included (default 0), and of trunc_normal (default -2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of uniform, excluded (default 1), and of trunc_normal (default 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The value of constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Groups of a convolution, for dirac; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// Share of zeros in each column, for sparse, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Subtract from each convolution kernel its mean (tensors `[out, in, …]` of three dimensions and more).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_mean: Option<bool>,
}

impl SchemeParams {
    /// A mode with every parameter at its default.
    pub fn named(mode: &str) -> Self {
        Self { mode: mode.to_owned(), ..Self::default() }
    }
}

/// The mode, then the parameters given, in parentheses.
impl fmt::Display for SchemeParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |name, x: Option<&str>| x.map(|x| format!("{name}={x}"));
        let real = |name, x: Option<f64>| x.map(|x| format!("{name}={x}"));
        let count = |name, x: Option<u64>| x.map(|x| format!("{name}={x}"));
        let given: Vec<String> = [
            word("distribution", self.distribution.map(Distribution::name)),
            word("fan", self.fan.map(Fan::name)),
            word("nonlinearity", self.nonlinearity.map(Nonlinearity::name)),
            real("a", self.a),
            real("gain", self.gain),
            real("scale", self.scale),
            real("mean", self.mean),
            real("std", self.std),
            count("depth", self.depth),
            real("low", self.low),
            real("high", self.high),
            real("value", self.value),
            real("sparsity", self.sparsity),
            count("groups", self.groups),
            count("d_model", self.d_model),
            count("fan_in", self.fan_in),
            word("fan_in_of", self.fan_in_of.as_deref()),
            self.zero_mean.map(|z| format!("zero_mean={z}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(&self.mode)?;
        if !given.is_empty() {
            write!(f, "({})", given.join(", "))?;
        }
        Ok(())
    }
}
