//! A scheme's parameters as written in a config: a mode and some of its parameters.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::alias;
use super::gain::Nonlinearity;
use super::scheme::{FanIn, Scheme, VarianceRule};
use crate::prelude::*;
use crate::suggest::{did_you_mean, nearest};

/// The distribution that a scaled scheme draws from; the standard deviation is the same for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Normal.
    #[default]
    Normal,
    /// Uniform on ±sqrt(3)·std.
    Uniform,
    /// Normal, cut off at two standard deviations and then stretched to the standard deviation asked for, as in JAX
    /// and Keras.
    #[serde(alias = "truncated_normal")]
    TruncNormal,
}

impl Distribution {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Uniform => "uniform",
            Self::TruncNormal => "trunc_normal",
        }
    }
}

/// Which connections a scheme counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fan {
    /// Inputs of one output.
    #[serde(alias = "fan_in")]
    In,
    /// Outputs of one input.
    #[serde(alias = "fan_out")]
    Out,
    /// The mean of both.
    #[serde(alias = "fan_avg")]
    Avg,
}

impl Fan {
    fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Avg => "avg",
        }
    }
}

/// The canonical mode names.
pub const MODE_NAMES: [&str; 17] = [
    "he",
    "xavier",
    "lecun",
    "attention",
    "variance_scaling",
    "torch_default",
    "normal",
    "trunc_normal",
    "uniform",
    "sparse",
    "constant",
    "zeros",
    "ones",
    "eye",
    "dirac",
    "orthogonal",
    "delta_orthogonal",
];

/// A mode with the parameters given for it. Which of them a mode takes is checked by [`SchemeParams::scheme`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SchemeParams {
    /// he, xavier, lecun, attention, variance_scaling, torch_default, normal, trunc_normal, uniform, sparse, constant,
    /// zeros, ones, eye, dirac, orthogonal or delta_orthogonal; or a framework's own name, such as kaiming_uniform_ or glorot_normal.
    pub mode: String,
    /// normal (default), uniform or trunc_normal; for he, xavier, lecun, attention and variance_scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// in, out or avg; for he, lecun and variance_scaling, whose default is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan: Option<Fan>,
    /// Factor on the standard deviation of he, xavier, lecun and attention, and on the orthogonal modes' matrix; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// The activation after the layer, for he and xavier: linear, conv, sigmoid, tanh, relu, leaky_relu or selu. Default:
    /// relu for he (leaky_relu where `a` is given), linear for xavier.
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
    /// The weight tensor whose fan-in it is, for torch_default; each `*` stands for what the rule's wildcards matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_in_of: Option<String>,
    /// Mean of normal and trunc_normal; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation of normal and trunc_normal (default 1), and of sparse (default 0.01).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// Blocks of a residual network, for normal: the standard deviation is divided by sqrt(2 depth), as in GPT-2.
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

/// Why parameters do not make a scheme.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SchemeError {
    /// No mode has this name.
    #[error("unknown initialisation mode `{mode}`{}; the modes are {}", did_you_mean(*.near), MODE_NAMES.join(", "))]
    UnknownMode {
        /// The name given.
        mode: String,
        /// The closest mode, where one is close.
        near: Option<&'static str>,
    },
    /// The mode has no such parameter.
    #[error("`{parameter}` does not apply to initialisation mode `{mode}`")]
    DoesNotApply {
        /// Canonical mode.
        mode: &'static str,
        /// The parameter that it does not take.
        parameter: &'static str,
    },
    /// A parameter without a default is missing.
    #[error("initialisation mode `{mode}` needs a `{parameter}`")]
    Missing {
        /// Canonical mode.
        mode: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// Two parameters that say the same.
    #[error("`{0}` and `{1}` exclude each other")]
    Both(&'static str, &'static str),
    /// A parameter outside its range.
    #[error("`{parameter}` is {got}, expected {expected}")]
    OutOfRange {
        /// The parameter.
        parameter: &'static str,
        /// What was given.
        got: f64,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// An empty interval.
    #[error("{mode} needs low < high, got low {low} and high {high}")]
    EmptyInterval {
        /// Canonical mode.
        mode: &'static str,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// `a` beside an activation that has no slope.
    #[error("`a` is the slope of leaky_relu; `nonlinearity: {0}` has none")]
    SlopeWithout(&'static str),
    /// Zero-mean kernels with another mean.
    #[error("`zero_mean: true` excludes a mean of {0}")]
    TwoMeans(f64),
}

impl SchemeParams {
    /// A mode with every parameter at its default.
    pub fn named(mode: &str) -> Self {
        Self { mode: mode.to_owned(), ..Self::default() }
    }

    /// Checks the parameters against the mode and fills in the defaults.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        let this = alias::resolve(self);
        let mode = this.canonical_mode(&self.mode)?;
        this.check_parameters(mode)?;
        let zero_mean = this.zero_mean.unwrap_or(false);
        let scaled = |rule| {
            let distribution = this.distribution.unwrap_or_default();
            if zero_mean && distribution == Distribution::TruncNormal {
                return Err(SchemeError::Both("zero_mean", "distribution: trunc_normal"));
            }
            let gain = finite("gain", this.gain.unwrap_or(1.0))?;
            Ok(Scheme::Scaled { rule, distribution, gain, zero_mean })
        };
        let fan = this.fan.unwrap_or(Fan::In);
        match mode {
            "he" => scaled(VarianceRule::He { fan, activation: this.activation()? }),
            "xavier" => scaled(VarianceRule::Xavier { activation: this.activation()? }),
            "lecun" => scaled(VarianceRule::Lecun { fan }),
            "variance_scaling" => {
                let scale = positive_or_zero("scale", this.scale.unwrap_or(1.0))?;
                scaled(VarianceRule::VarianceScaling { scale, fan })
            }
            "attention" => {
                at_least_one("d_model", this.d_model)?;
                scaled(VarianceRule::Attention { d_model: this.d_model })
            }
            "torch_default" => {
                at_least_one("fan_in", this.fan_in)?;
                let fan_in = match (this.fan_in, &this.fan_in_of) {
                    (Some(_), Some(_)) => return Err(SchemeError::Both("fan_in", "fan_in_of")),
                    (Some(fan_in), None) => FanIn::Given(fan_in),
                    (None, Some(tensor)) => FanIn::Of(tensor.clone()),
                    (None, None) => FanIn::Own,
                };
                Ok(Scheme::TorchDefault { fan_in })
            }
            "normal" => {
                let mean = finite("mean", this.mean.unwrap_or(0.0))?;
                let std = positive_or_zero("std", this.std.unwrap_or(1.0))?;
                at_least_one("depth", this.depth)?;
                if zero_mean && mean != 0.0 {
                    return Err(SchemeError::TwoMeans(mean));
                }
                Ok(Scheme::Normal { mean, std, depth: this.depth, zero_mean })
            }
            "trunc_normal" => {
                let mean = finite("mean", this.mean.unwrap_or(0.0))?;
                let std = this.std.unwrap_or(1.0);
                if !(std > 0.0 && std < f64::INFINITY) {
                    let expected = "a finite number greater than 0";
                    return Err(SchemeError::OutOfRange { parameter: "std", got: std, expected });
                }
                let (low, high) = this.interval(mode, -2.0, 2.0)?;
                Ok(Scheme::TruncNormal { mean, std, low, high })
            }
            "uniform" => {
                let (low, high) = this.interval(mode, 0.0, 1.0)?;
                Ok(Scheme::Uniform { low, high, zero_mean })
            }
            "sparse" => {
                let missing = SchemeError::Missing { mode, parameter: "sparsity" };
                let sparsity = this.sparsity.ok_or(missing)?;
                if !(0.0..=1.0).contains(&sparsity) {
                    let expected = "a number from 0 to 1";
                    return Err(SchemeError::OutOfRange { parameter: "sparsity", got: sparsity, expected });
                }
                Ok(Scheme::Sparse { sparsity, std: positive_or_zero("std", this.std.unwrap_or(0.01))? })
            }
            "eye" => Ok(Scheme::Eye),
            "dirac" => {
                at_least_one("groups", this.groups)?;
                Ok(Scheme::Dirac { groups: this.groups.unwrap_or(1) })
            }
            "orthogonal" => Ok(Scheme::Orthogonal { gain: finite("gain", this.gain.unwrap_or(1.0))? }),
            "delta_orthogonal" => {
                Ok(Scheme::DeltaOrthogonal { gain: finite("gain", this.gain.unwrap_or(1.0))? })
            }
            "zeros" => Ok(Scheme::Constant(0.0)),
            "ones" => Ok(Scheme::Constant(1.0)),
            _ => {
                let missing = SchemeError::Missing { mode, parameter: "value" };
                Ok(Scheme::Constant(finite("value", this.value.ok_or(missing)?)?))
            }
        }
    }

    /// The activation with its slope, `None` for the mode's default.
    fn activation(&self) -> Result<Option<(Nonlinearity, f64)>, SchemeError> {
        let nonlinearity = self.nonlinearity.or(self.a.map(|_| Nonlinearity::LeakyRelu));
        if let (Some(other), Some(_)) = (nonlinearity.filter(|n| *n != Nonlinearity::LeakyRelu), self.a) {
            return Err(SchemeError::SlopeWithout(other.name()));
        }
        let a = finite("a", self.a.unwrap_or(0.01))?;
        Ok(nonlinearity.map(|n| (n, if n == Nonlinearity::LeakyRelu { a } else { 0.0 })))
    }

    fn interval(&self, mode: &'static str, low: f64, high: f64) -> Result<(f64, f64), SchemeError> {
        let low = finite("low", self.low.unwrap_or(low))?;
        let high = finite("high", self.high.unwrap_or(high))?;
        if low < high { Ok((low, high)) } else { Err(SchemeError::EmptyInterval { mode, low, high }) }
    }

    /// The canonical mode; `asked` is the name as it was given.
    fn canonical_mode(&self, asked: &str) -> Result<&'static str, SchemeError> {
        if let Some(mode) = MODE_NAMES.iter().find(|m| **m == self.mode) {
            return Ok(mode);
        }
        let near = nearest(asked, MODE_NAMES.into_iter().chain(alias::names()));
        Err(SchemeError::UnknownMode { mode: asked.to_owned(), near })
    }

    fn check_parameters(&self, mode: &'static str) -> Result<(), SchemeError> {
        let scaled = matches!(mode, "he" | "xavier" | "lecun" | "attention" | "variance_scaling");
        let activation = matches!(mode, "he" | "xavier");
        let normal = matches!(mode, "normal" | "trunc_normal");
        let interval = matches!(mode, "uniform" | "trunc_normal");
        let orthogonal = matches!(mode, "orthogonal" | "delta_orthogonal");
        let given_and_allowed = [
            ("distribution", self.distribution.is_some(), scaled),
            ("fan", self.fan.is_some(), matches!(mode, "he" | "lecun" | "variance_scaling")),
            ("gain", self.gain.is_some(), orthogonal || (scaled && mode != "variance_scaling")),
            ("nonlinearity", self.nonlinearity.is_some(), activation),
            ("a", self.a.is_some(), activation),
            ("scale", self.scale.is_some(), mode == "variance_scaling"),
            ("d_model", self.d_model.is_some(), mode == "attention"),
            ("fan_in", self.fan_in.is_some(), mode == "torch_default"),
            ("fan_in_of", self.fan_in_of.is_some(), mode == "torch_default"),
            ("mean", self.mean.is_some(), normal),
            ("std", self.std.is_some(), normal || mode == "sparse"),
            ("depth", self.depth.is_some(), mode == "normal"),
            ("low", self.low.is_some(), interval),
            ("high", self.high.is_some(), interval),
            ("value", self.value.is_some(), mode == "constant"),
            ("groups", self.groups.is_some(), mode == "dirac"),
            ("sparsity", self.sparsity.is_some(), mode == "sparse"),
            ("zero_mean", self.zero_mean.is_some(), scaled || matches!(mode, "normal" | "uniform")),
        ];
        match given_and_allowed.into_iter().find(|(_, given, allowed)| *given && !allowed) {
            Some((parameter, ..)) => Err(SchemeError::DoesNotApply { mode, parameter }),
            None => Ok(()),
        }
    }
}

fn positive_or_zero(parameter: &'static str, x: f64) -> Result<f64, SchemeError> {
    if (0.0..f64::INFINITY).contains(&x) {
        Ok(x)
    } else {
        let expected = "a finite number of at least 0";
        Err(SchemeError::OutOfRange { parameter, got: x, expected })
    }
}

fn at_least_one(parameter: &'static str, x: Option<u64>) -> Result<(), SchemeError> {
    match x {
        Some(0) => Err(SchemeError::OutOfRange { parameter, got: 0.0, expected: "1 or more" }),
        _ => Ok(()),
    }
}

fn finite(parameter: &'static str, x: f64) -> Result<f64, SchemeError> {
    if x.is_finite() {
        Ok(x)
    } else {
        Err(SchemeError::OutOfRange { parameter, got: x, expected: "a finite number" })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(params: SchemeParams) -> String {
        params.scheme().unwrap_err().to_string()
    }

    #[test]
    fn aliases_print_as_their_canonical_form() {
        assert_eq!(SchemeParams::named("kaiming").scheme().unwrap().to_string(), "he");
        let glorot = SchemeParams {
            distribution: Some(Distribution::Uniform),
            gain: Some(1.5),
            ..SchemeParams::named("glorot")
        };
        assert_eq!(glorot.scheme().unwrap().to_string(), "xavier(distribution=uniform, gain=1.5)");
        let normal = SchemeParams { std: Some(0.02), ..SchemeParams::named("normal") };
        assert_eq!(normal.scheme().unwrap().to_string(), "normal(std=0.02)");
    }

    #[test]
    fn canonical_parameters_make_the_same_scheme() {
        for mode in MODE_NAMES {
            let value = (mode == "constant").then_some(0.25);
            let sparsity = (mode == "sparse").then_some(0.5);
            let scheme = SchemeParams { value, sparsity, ..SchemeParams::named(mode) }.scheme().unwrap();
            assert_eq!(scheme.params().scheme().unwrap(), scheme, "{mode}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let near = if cfg!(feature = "config") { " (did you mean `he`?)" } else { "" };
        assert_eq!(
            error(SchemeParams::named("hee")),
            format!(
                "unknown initialisation mode `hee`{near}; the modes are he, xavier, lecun, attention, variance_scaling, \
                 torch_default, normal, trunc_normal, uniform, sparse, constant, zeros, ones, eye, dirac, orthogonal, \
                 delta_orthogonal"
            )
        );
        let he = SchemeParams::named("he");
        assert_eq!(
            error(SchemeParams { std: Some(1.0), ..he.clone() }),
            "`std` does not apply to initialisation mode `he`"
        );
        assert_eq!(
            error(SchemeParams { gain: Some(f64::NAN), ..he }),
            "`gain` is NaN, expected a finite number"
        );
        let normal = SchemeParams::named("normal");
        assert_eq!(
            error(SchemeParams { std: Some(-1.0), ..normal.clone() }),
            "`std` is -1, expected a finite number of at least 0"
        );
        assert_eq!(
            error(SchemeParams { mean: Some(0.5), zero_mean: Some(true), ..normal }),
            "`zero_mean: true` excludes a mean of 0.5"
        );
        assert_eq!(
            error(SchemeParams { low: Some(1.0), ..SchemeParams::named("uniform") }),
            "uniform needs low < high, got low 1 and high 1"
        );
        assert_eq!(error(SchemeParams::named("constant")), "initialisation mode `constant` needs a `value`");
        assert_eq!(
            error(SchemeParams { d_model: Some(0), ..SchemeParams::named("attention") }),
            "`d_model` is 0, expected 1 or more"
        );
    }
}
