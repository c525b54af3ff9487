//! Checks parameters against their mode, and turns them into a scheme.

use super::alias;
use super::distribution::{Distribution, Fan};
use super::gain::Nonlinearity;
use super::mode::{MODE_NAMES, Mode};
use super::params::SchemeParams;
use super::scheme::{FanIn, Scheme, VarianceRule};
use crate::prelude::*;
use crate::suggest::{did_you_mean, nearest};

/// Why parameters are not a valid scheme.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SchemeError {
    /// There is no mode of this name.
    #[error("unknown initialisation mode `{mode}`{}; the modes are {}", did_you_mean(*.near), MODE_NAMES.join(", "))]
    UnknownMode {
        /// The name given.
        mode: String,
        /// The closest mode, if one is close.
        near: Option<&'static str>,
    },
    /// The mode does not take this parameter.
    #[error("`{parameter}` does not apply to initialisation mode `{mode}`")]
    DoesNotApply {
        /// Canonical mode.
        mode: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// A required parameter is missing.
    #[error("initialisation mode `{mode}` needs a `{parameter}`")]
    Missing {
        /// Canonical mode.
        mode: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// Two parameters that exclude each other.
    #[error("`{0}` and `{1}` exclude each other")]
    Both(&'static str, &'static str),
    /// A parameter outside its range.
    #[error("`{parameter}` is {got}, expected {expected}")]
    OutOfRange {
        /// The parameter.
        parameter: &'static str,
        /// What was given.
        got: f64,
        /// Allowed values, in words.
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
    /// A slope `a` for an activation that has none.
    #[error("`a` is the slope of leaky_relu; `nonlinearity: {0}` has none")]
    SlopeWithout(&'static str),
    /// Zero-mean kernels with a mean other than 0.
    #[error("`zero_mean: true` excludes a mean of {0}")]
    TwoMeans(f64),
}

impl SchemeParams {
    /// Checks the parameters against the mode and fills in the defaults.
    ///
    /// # Errors
    /// [`SchemeError`].
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        let this = alias::resolve(self);
        let mode = this.canonical_mode(&self.mode)?;
        this.check_parameters(mode)?;
        let fan = this.fan.unwrap_or(Fan::In);
        let gain = || finite("gain", this.gain.unwrap_or(1.0));
        match mode {
            Mode::He => this.scaled(VarianceRule::He { fan, activation: this.activation()? }),
            Mode::Xavier => this.scaled(VarianceRule::Xavier { activation: this.activation()? }),
            Mode::Lecun => this.scaled(VarianceRule::Lecun { fan }),
            Mode::VarianceScaling => {
                let scale = positive_or_zero("scale", this.scale.unwrap_or(1.0))?;
                this.scaled(VarianceRule::VarianceScaling { scale, fan })
            }
            Mode::Attention => {
                at_least_one("d_model", this.d_model)?;
                this.scaled(VarianceRule::Attention { d_model: this.d_model })
            }
            Mode::TorchDefault => this.torch_default(),
            Mode::Normal => this.normal(),
            Mode::TruncNormal => this.trunc_normal(),
            Mode::Uniform => {
                let (low, high) = this.interval(mode, 0.0, 1.0)?;
                Ok(Scheme::Uniform { low, high, zero_mean: this.is_zero_mean() })
            }
            Mode::Sparse => this.sparse(),
            Mode::Eye => Ok(Scheme::Eye),
            Mode::Dirac => {
                at_least_one("groups", this.groups)?;
                Ok(Scheme::Dirac { groups: this.groups.unwrap_or(1) })
            }
            Mode::Orthogonal => Ok(Scheme::Orthogonal { gain: gain()? }),
            Mode::DeltaOrthogonal => Ok(Scheme::DeltaOrthogonal { gain: gain()? }),
            Mode::Zeros => Ok(Scheme::Constant(0.0)),
            Mode::Ones => Ok(Scheme::Constant(1.0)),
            Mode::Constant => {
                let missing = SchemeError::Missing { mode: mode.name(), parameter: "value" };
                Ok(Scheme::Constant(finite("value", this.value.ok_or(missing)?)?))
            }
        }
    }

    fn is_zero_mean(&self) -> bool {
        self.zero_mean.unwrap_or(false)
    }

    fn scaled(&self, rule: VarianceRule) -> Result<Scheme, SchemeError> {
        let (zero_mean, distribution) = (self.is_zero_mean(), self.distribution.unwrap_or_default());
        if zero_mean && distribution == Distribution::TruncNormal {
            return Err(SchemeError::Both("zero_mean", "distribution: trunc_normal"));
        }
        let gain = finite("gain", self.gain.unwrap_or(1.0))?;
        Ok(Scheme::Scaled { rule, distribution, gain, zero_mean })
    }

    fn torch_default(&self) -> Result<Scheme, SchemeError> {
        at_least_one("fan_in", self.fan_in)?;
        let fan_in = match (self.fan_in, &self.fan_in_of) {
            (Some(_), Some(_)) => return Err(SchemeError::Both("fan_in", "fan_in_of")),
            (Some(fan_in), None) => FanIn::Given(fan_in),
            (None, Some(tensor)) => FanIn::Of(tensor.clone()),
            (None, None) => FanIn::Own,
        };
        Ok(Scheme::TorchDefault { fan_in })
    }

    fn normal(&self) -> Result<Scheme, SchemeError> {
        let mean = finite("mean", self.mean.unwrap_or(0.0))?;
        let std = positive_or_zero("std", self.std.unwrap_or(1.0))?;
        at_least_one("depth", self.depth)?;
        if self.is_zero_mean() && mean != 0.0 {
            return Err(SchemeError::TwoMeans(mean));
        }
        Ok(Scheme::Normal { mean, std, depth: self.depth, zero_mean: self.is_zero_mean() })
    }

    fn trunc_normal(&self) -> Result<Scheme, SchemeError> {
        let mean = finite("mean", self.mean.unwrap_or(0.0))?;
        let std = self.std.unwrap_or(1.0);
        if !(std > 0.0 && std < f64::INFINITY) {
            let expected = "a finite number greater than 0";
            return Err(SchemeError::OutOfRange { parameter: "std", got: std, expected });
        }
        let (low, high) = self.interval(Mode::TruncNormal, -2.0, 2.0)?;
        Ok(Scheme::TruncNormal { mean, std, low, high })
    }

    fn sparse(&self) -> Result<Scheme, SchemeError> {
        let missing = SchemeError::Missing { mode: Mode::Sparse.name(), parameter: "sparsity" };
        let sparsity = self.sparsity.ok_or(missing)?;
        if !(0.0..=1.0).contains(&sparsity) {
            let expected = "a number from 0 to 1";
            return Err(SchemeError::OutOfRange { parameter: "sparsity", got: sparsity, expected });
        }
        Ok(Scheme::Sparse { sparsity, std: positive_or_zero("std", self.std.unwrap_or(0.01))? })
    }

    /// The activation with its slope; `None` for the default of the mode.
    fn activation(&self) -> Result<Option<(Nonlinearity, f64)>, SchemeError> {
        let nonlinearity = self.nonlinearity.or(self.a.map(|_| Nonlinearity::LeakyRelu));
        if let (Some(other), Some(_)) = (nonlinearity.filter(|n| *n != Nonlinearity::LeakyRelu), self.a) {
            return Err(SchemeError::SlopeWithout(other.name()));
        }
        let a = finite("a", self.a.unwrap_or(0.01))?;
        Ok(nonlinearity.map(|n| (n, if n == Nonlinearity::LeakyRelu { a } else { 0.0 })))
    }

    fn interval(&self, mode: Mode, low: f64, high: f64) -> Result<(f64, f64), SchemeError> {
        let low = finite("low", self.low.unwrap_or(low))?;
        let high = finite("high", self.high.unwrap_or(high))?;
        if low < high {
            Ok((low, high))
        } else {
            Err(SchemeError::EmptyInterval { mode: mode.name(), low, high })
        }
    }

    /// The canonical mode. `asked` is the name as given.
    fn canonical_mode(&self, asked: &str) -> Result<Mode, SchemeError> {
        if let Some(mode) = Mode::find(&self.mode) {
            return Ok(mode);
        }
        let near = nearest(asked, MODE_NAMES.into_iter().chain(alias::names()));
        Err(SchemeError::UnknownMode { mode: asked.to_owned(), near })
    }

    fn check_parameters(&self, mode: Mode) -> Result<(), SchemeError> {
        let scaled =
            matches!(mode, Mode::He | Mode::Xavier | Mode::Lecun | Mode::Attention | Mode::VarianceScaling);
        let activation = matches!(mode, Mode::He | Mode::Xavier);
        let normal = matches!(mode, Mode::Normal | Mode::TruncNormal);
        let interval = matches!(mode, Mode::Uniform | Mode::TruncNormal);
        let orthogonal = matches!(mode, Mode::Orthogonal | Mode::DeltaOrthogonal);
        let given_and_allowed = [
            ("distribution", self.distribution.is_some(), scaled),
            ("fan", self.fan.is_some(), matches!(mode, Mode::He | Mode::Lecun | Mode::VarianceScaling)),
            ("gain", self.gain.is_some(), orthogonal || (scaled && mode != Mode::VarianceScaling)),
            ("nonlinearity", self.nonlinearity.is_some(), activation),
            ("a", self.a.is_some(), activation),
            ("scale", self.scale.is_some(), mode == Mode::VarianceScaling),
            ("d_model", self.d_model.is_some(), mode == Mode::Attention),
            ("fan_in", self.fan_in.is_some(), mode == Mode::TorchDefault),
            ("fan_in_of", self.fan_in_of.is_some(), mode == Mode::TorchDefault),
            ("mean", self.mean.is_some(), normal),
            ("std", self.std.is_some(), normal || mode == Mode::Sparse),
            ("depth", self.depth.is_some(), mode == Mode::Normal),
            ("low", self.low.is_some(), interval),
            ("high", self.high.is_some(), interval),
            ("value", self.value.is_some(), mode == Mode::Constant),
            ("groups", self.groups.is_some(), mode == Mode::Dirac),
            ("sparsity", self.sparsity.is_some(), mode == Mode::Sparse),
            ("zero_mean", self.zero_mean.is_some(), scaled || matches!(mode, Mode::Normal | Mode::Uniform)),
        ];
        match given_and_allowed.into_iter().find(|(_, given, allowed)| *given && !allowed) {
            Some((parameter, ..)) => Err(SchemeError::DoesNotApply { mode: mode.name(), parameter }),
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
