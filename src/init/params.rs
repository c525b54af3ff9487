//! A scheme's parameters as people write them: a mode and whichever of its parameters they care about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scheme::{Scheme, VarianceRule};
use crate::near::{did_you_mean, nearest};

/// The distribution that a scaled scheme draws from; the standard deviation is the same for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Normal.
    #[default]
    Normal,
    /// Uniform on ±sqrt(3)·std.
    Uniform,
}

/// The canonical mode names.
pub const MODE_NAMES: [&str; 9] =
    ["he", "xavier", "lecun", "attention", "normal", "uniform", "constant", "zeros", "ones"];

/// Other names for modes, and what they mean.
const ALIASES: [(&str, &str); 2] = [("kaiming", "he"), ("glorot", "xavier")];

/// Modes of the interface that a later version brings.
const RESERVED: [&str; 8] = [
    "eye",
    "dirac",
    "trunc_normal",
    "orthogonal",
    "sparse",
    "variance_scaling",
    "delta_orthogonal",
    "torch_default",
];

/// A mode with the parameters given for it. Which of them a mode takes is checked by [`SchemeParams::scheme`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemeParams {
    /// he (kaiming), xavier (glorot), lecun, attention, normal, uniform, constant, zeros or ones.
    pub mode: String,
    /// normal (default) or uniform; for he, xavier, lecun and attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Factor on the standard deviation of he, xavier, lecun and attention; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Width of the model for attention; default fan_in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_model: Option<u64>,
    /// Mean of normal; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation of normal; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// Lower end of uniform, included; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of uniform, excluded; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The value of constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
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
    /// The interface has this mode, this version does not.
    #[error("initialisation mode `{0}` is not supported yet")]
    NotSupportedYet(String),
    /// The mode has no such parameter.
    #[error("`{parameter}` does not apply to initialisation mode `{mode}`")]
    DoesNotApply {
        /// Canonical mode.
        mode: &'static str,
        /// The parameter that it does not take.
        parameter: &'static str,
    },
    /// `constant` without a value.
    #[error("initialisation mode `constant` needs a `value`")]
    MissingValue,
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
    #[error("uniform needs low < high, got low {low} and high {high}")]
    EmptyInterval {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Zero-mean kernels with another mean.
    #[error("`zero_mean: true` leaves no room for a mean of {0}")]
    TwoMeans(f64),
}

impl SchemeParams {
    /// A mode with every parameter at its default.
    pub fn named(mode: &str) -> Self {
        Self { mode: mode.to_owned(), ..Self::default() }
    }

    /// Checks the parameters against the mode and fills in the defaults.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        let mode = self.canonical_mode()?;
        self.check_parameters(mode)?;
        let zero_mean = self.zero_mean.unwrap_or(false);
        let scaled = |rule| {
            Ok(Scheme::Scaled {
                rule,
                distribution: self.distribution.unwrap_or_default(),
                gain: finite("gain", self.gain.unwrap_or(1.0))?,
                zero_mean,
            })
        };
        match mode {
            "he" => scaled(VarianceRule::He),
            "xavier" => scaled(VarianceRule::Xavier),
            "lecun" => scaled(VarianceRule::Lecun),
            "attention" => {
                if self.d_model == Some(0) {
                    return Err(SchemeError::OutOfRange {
                        parameter: "d_model",
                        got: 0.0,
                        expected: "1 or more",
                    });
                }
                scaled(VarianceRule::Attention { d_model: self.d_model })
            }
            "normal" => {
                let (mean, std) = (finite("mean", self.mean.unwrap_or(0.0))?, self.std.unwrap_or(1.0));
                if !(0.0..f64::INFINITY).contains(&std) {
                    return Err(SchemeError::OutOfRange {
                        parameter: "std",
                        got: std,
                        expected: "a finite number that is not negative",
                    });
                }
                if zero_mean && mean != 0.0 {
                    return Err(SchemeError::TwoMeans(mean));
                }
                Ok(Scheme::Normal { mean, std, zero_mean })
            }
            "uniform" => {
                let low = finite("low", self.low.unwrap_or(0.0))?;
                let high = finite("high", self.high.unwrap_or(1.0))?;
                if low >= high {
                    return Err(SchemeError::EmptyInterval { low, high });
                }
                Ok(Scheme::Uniform { low, high, zero_mean })
            }
            "zeros" => Ok(Scheme::Constant(0.0)),
            "ones" => Ok(Scheme::Constant(1.0)),
            _ => Ok(Scheme::Constant(finite("value", self.value.ok_or(SchemeError::MissingValue)?)?)),
        }
    }

    fn canonical_mode(&self) -> Result<&'static str, SchemeError> {
        let asked = ALIASES.iter().find(|(alias, _)| *alias == self.mode).map_or(self.mode.as_str(), |a| a.1);
        if let Some(mode) = MODE_NAMES.iter().find(|m| **m == asked) {
            return Ok(mode);
        }
        if RESERVED.contains(&asked) || asked == "embedding" {
            return Err(SchemeError::NotSupportedYet(asked.to_owned()));
        }
        let names = MODE_NAMES.iter().chain(ALIASES.iter().map(|(alias, _)| alias));
        let near = nearest(asked, names.copied());
        Err(SchemeError::UnknownMode { mode: asked.to_owned(), near })
    }

    fn check_parameters(&self, mode: &'static str) -> Result<(), SchemeError> {
        let scaled = matches!(mode, "he" | "xavier" | "lecun" | "attention");
        let given_and_allowed = [
            ("distribution", self.distribution.is_some(), scaled),
            ("gain", self.gain.is_some(), scaled),
            ("d_model", self.d_model.is_some(), mode == "attention"),
            ("mean", self.mean.is_some(), mode == "normal"),
            ("std", self.std.is_some(), mode == "normal"),
            ("low", self.low.is_some(), mode == "uniform"),
            ("high", self.high.is_some(), mode == "uniform"),
            ("value", self.value.is_some(), mode == "constant"),
            ("zero_mean", self.zero_mean.is_some(), scaled || matches!(mode, "normal" | "uniform")),
        ];
        match given_and_allowed.into_iter().find(|(_, given, allowed)| *given && !allowed) {
            Some((parameter, ..)) => Err(SchemeError::DoesNotApply { mode, parameter }),
            None => Ok(()),
        }
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
        let mut given: Vec<String> = Vec::new();
        if let Some(distribution) = self.distribution {
            let name = match distribution {
                Distribution::Normal => "normal",
                Distribution::Uniform => "uniform",
            };
            given.push(format!("distribution={name}"));
        }
        let reals = [
            ("gain", self.gain),
            ("mean", self.mean),
            ("std", self.std),
            ("low", self.low),
            ("high", self.high),
            ("value", self.value),
        ];
        given.extend(reals.into_iter().filter_map(|(name, x)| x.map(|x| format!("{name}={x}"))));
        given.extend(self.d_model.map(|d| format!("d_model={d}")));
        given.extend(self.zero_mean.map(|z| format!("zero_mean={z}")));
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
            let scheme = SchemeParams { value, ..SchemeParams::named(mode) }.scheme().unwrap();
            assert_eq!(scheme.params().scheme().unwrap(), scheme, "{mode}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            error(SchemeParams::named("hee")),
            "unknown initialisation mode `hee` (did you mean `he`?); the modes are he, xavier, lecun, attention, \
             normal, uniform, constant, zeros, ones"
        );
        assert_eq!(
            error(SchemeParams::named("orthogonal")),
            "initialisation mode `orthogonal` is not supported yet"
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
            "`std` is -1, expected a finite number that is not negative"
        );
        assert_eq!(
            error(SchemeParams { mean: Some(0.5), zero_mean: Some(true), ..normal }),
            "`zero_mean: true` leaves no room for a mean of 0.5"
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
