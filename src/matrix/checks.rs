//! Compares a generated matrix with its scheme: each statistic with its expected value and the
//! deviation that chance allows.

use serde::{Serialize, Serializer};

use super::singular::{departure_from_orthonormal, singular_values};
use super::stats::{Distance, Statistics, statistics};
use super::{MOST_ELEMENTS, Subject};
use crate::init::{ExactDistribution, Scheme};
use crate::tensor::{Axes, FloatDtype, Layout};

/// Allowed deviation in standard errors. One in 16,000 figures of correct matrices is farther off.
pub const ALLOWED_ERRORS: f64 = 4.0;

/// The 99.99 % quantile of Kolmogorov's distribution. Divided by the square root of the number of weights, it
/// is the largest allowed distance.
pub const ALLOWED_DISTANCE: f64 = 2.23;

/// The probability that chance puts the smallest or largest weight beyond the allowed end of its interval.
pub const EXTREME_PROBABILITY: f64 = 5e-5;

/// A statistic of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The mean of the weights.
    Mean,
    /// The standard deviation of the weights.
    Std,
    /// The smallest weight.
    Min,
    /// The largest weight.
    Max,
    /// Number of weights that are 0.
    Zeros,
    /// Number of weights that are NaN or infinite.
    NotFinite,
    /// The Kolmogorov-Smirnov distance from the exact distribution.
    Distance,
    /// The condition number of the matrix.
    Condition,
    /// How far rows or columns are from being orthogonal and of equal norm.
    OffOrthogonal,
}

impl Statistic {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Std => "std",
            Self::Min => "min",
            Self::Max => "max",
            Self::Zeros => "zeros",
            Self::NotFinite => "not finite",
            Self::Distance => "KS distance",
            Self::Condition => "condition number",
            Self::OffOrthogonal => "off orthogonal",
        }
    }
}

impl Serialize for Statistic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A statistic and its expected value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Which statistic.
    pub statistic: Statistic,
    /// The measured value; `None` if it was not computed or does not exist.
    pub found: Option<f64>,
    /// The expected value.
    pub expected: Option<f64>,
    /// The smallest allowed value.
    pub at_least: Option<f64>,
    /// The largest allowed value.
    pub at_most: Option<f64>,
    /// Whether the value is allowed; `None` if nothing is expected.
    pub ok: Option<bool>,
    /// Why there is no measured value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Check {
    fn plain(statistic: Statistic, found: Option<f64>) -> Self {
        Self { statistic, found, expected: None, at_least: None, at_most: None, ok: None, note: None }
    }

    fn around(self, expected: f64, allowed: f64) -> Self {
        Self { expected: Some(expected), ..self.within(expected - allowed, expected + allowed) }
    }

    fn within(self, low: f64, high: f64) -> Self {
        let ok = self.found.map(|x| (low..=high).contains(&x));
        Self { at_least: Some(low), at_most: Some(high), ok, ..self }
    }

    fn at_most(self, high: f64) -> Self {
        Self { at_most: Some(high), ok: self.found.map(|x| x <= high), ..self }
    }

    fn because(self, note: String) -> Self {
        Self { note: Some(note), ..self }
    }
}

/// All statistics of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The exact distribution, if there is one.
    pub exact: Option<ExactDistribution>,
    /// The measured statistics.
    pub statistics: Statistics,
    /// The distance from the exact distribution.
    pub distance: Option<Distance>,
    /// The statistics with their expected values.
    pub checks: Vec<Check>,
}

/// Computes the statistics of the matrix and compares each with what its scheme predicts.
pub fn summarise(subject: &Subject) -> Summary {
    let exact = ExactDistribution::of(subject.scheme(), subject.shape(), subject.layout());
    let (statistics, distance) = statistics(subject, exact.as_ref());
    let mut checks = moments(subject, &statistics, exact.as_ref());
    checks.extend(distance.as_ref().map(distance_check));
    checks.extend(spectrum(subject));
    Summary { exact, statistics, distance, checks }
}

fn moments(subject: &Subject, found: &Statistics, exact: Option<&ExactDistribution>) -> Vec<Check> {
    let n = found.weights as f64;
    let any = found.weights > found.not_finite;
    let figure = |name, x| Check::plain(name, Some(x).filter(|_| any));
    let [mean, std, min, max] = [
        (Statistic::Mean, found.mean),
        (Statistic::Std, found.std),
        (Statistic::Min, found.min),
        (Statistic::Max, found.max),
    ]
    .map(|(name, x)| figure(name, x));
    let zeros = Check::plain(Statistic::Zeros, Some(found.zeros as f64));
    let mut checks = match exact {
        None => vec![mean, std, min, max, zeros],
        Some(exact) => {
            let intervals = exact.extremes(n, EXTREME_PROBABILITY);
            let extreme = |check: Check, which: usize| match intervals {
                // Rounding is monotonic, so a rounded weight lies between the rounded ends.
                Some(ends) => {
                    check.within(subject.dtype().round(ends[which].0), subject.dtype().round(ends[which].1))
                }
                None => check,
            };
            // Weights that round to 0 in the stored type.
            let half = smallest(subject.dtype()) / 2.0;
            let by_rounding = n * (exact.probability(-half, half) - exact.zeros());
            let allowed =
                ALLOWED_ERRORS * by_rounding.max(0.0).sqrt() + if by_rounding > 1e-4 { 2.0 } else { 0.0 };
            vec![
                mean.around(exact.mean(), ALLOWED_ERRORS * exact.error_of_mean(n)),
                std.around(exact.std(), ALLOWED_ERRORS * exact.error_of_std(n)),
                extreme(min, 0),
                extreme(max, 1),
                zeros.around((n * exact.zeros() + by_rounding).round(), allowed.floor()),
            ]
        }
    };
    if found.not_finite > 0 {
        checks.push(Check::plain(Statistic::NotFinite, Some(found.not_finite as f64)).at_most(0.0));
    }
    checks
}

fn distance_check(found: &Distance) -> Check {
    let allowed = ALLOWED_DISTANCE / (found.weights as f64).sqrt();
    Check::plain(Statistic::Distance, Some(found.distance)).at_most(allowed)
}

/// The condition number and, for orthogonal schemes, the deviation from orthogonality.
fn spectrum(subject: &Subject) -> Vec<Check> {
    let condition = Check::plain(Statistic::Condition, None);
    let departure = Check::plain(Statistic::OffOrthogonal, None);
    let orthogonal = matches!(subject.scheme(), Scheme::Orthogonal { .. } | Scheme::DeltaOrthogonal { .. });
    if subject.weights() > MOST_ELEMENTS {
        let note = "not computed above 2^20 weights".to_owned();
        let mut checks = vec![condition.because(note.clone())];
        checks.extend(orthogonal.then(|| departure.because(note)));
        return checks;
    }
    let weights = subject.stored();
    let Some((part, gain)) = orthonormal_part(subject, &weights) else {
        let matrix = subject.matrix();
        return vec![condition_check(&weights, (matrix.rows, matrix.cols))];
    };
    let (weights, (rows, cols)) = part;
    // Rounding to the stored type changes each weight by at most the unit roundoff times its magnitude,
    // or half the smallest subnormal. The reflections that generated it add some units in the last
    // place of a binary64.
    let roundoff = roundoff(subject.dtype());
    let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
    let absolute = smallest(subject.dtype()) / 2.0;
    let of_line = gain.abs() * (roundoff + 1e-14) + absolute * long.sqrt();
    let allowed = of_line * (2.0 * gain.abs() + of_line);
    // The spectral norm of the error matrix is at most its Frobenius norm.
    let relative = of_line * short.sqrt() / gain.abs();
    let mut condition = condition_check(&weights, (rows, cols));
    if relative < 1.0 && condition.found.is_some() {
        condition = Check { expected: Some(1.0), ..condition.at_most((1.0 + relative) / (1.0 - relative)) };
    }
    let found = departure_from_orthonormal(&weights, (rows, cols), gain * gain);
    let departure = Check { found: Some(found).filter(|x| x.is_finite()), ..departure };
    vec![condition, Check { expected: Some(0.0), ..departure.at_most(allowed) }]
}

fn condition_check(weights: &[f64], size: (usize, usize)) -> Check {
    let condition = Check::plain(Statistic::Condition, None);
    match singular_values(weights, size) {
        None => condition.because("not all weights are finite".to_owned()),
        Some(values) => match values.condition_number() {
            None => condition.because("infinite: the matrix is singular".to_owned()),
            found => Check { found, ..condition },
        },
    }
}

type Part = (Vec<f64>, (usize, usize));

/// The submatrix that an orthogonal scheme makes orthonormal up to its gain, and the gain.
fn orthonormal_part(subject: &Subject, weights: &[f64]) -> Option<(Part, f64)> {
    let axes = Axes::new(subject.shape(), subject.layout());
    // Several matrices, or one whose rows are not contiguous, are not checked.
    let (rows, cols) = match subject.layout() {
        Layout::OutIn => (axes.outputs, axes.inputs),
        Layout::InOut => (axes.inputs, axes.outputs),
        Layout::Roles(_) => return None,
    };
    match *subject.scheme() {
        Scheme::Orthogonal { gain } if gain != 0.0 => {
            let cols = if subject.layout() == Layout::OutIn { cols * axes.kernel } else { cols };
            Some(((weights.to_vec(), (weights.len() / cols, cols)), gain))
        }
        // The centre of each kernel, which holds the only nonzero weights.
        Scheme::DeltaOrthogonal { gain } if gain != 0.0 => {
            let middle = axes.middle[0];
            let part = match subject.layout() {
                Layout::InOut => weights[middle * rows * cols..(middle + 1) * rows * cols].to_vec(),
                _ => weights.iter().skip(middle).step_by(axes.kernel).copied().collect(),
            };
            Some(((part, (rows, cols)), gain))
        }
        _ => None,
    }
}

/// The largest relative error of rounding to a type, including rounding to F32 first where that is done.
fn roundoff(dtype: FloatDtype) -> f64 {
    let bits = |n: u32| 1.0 / (1u64 << n) as f64;
    match dtype {
        FloatDtype::F64 => 0.0,
        FloatDtype::F32 => bits(24),
        FloatDtype::F16 => bits(11) + bits(24),
        FloatDtype::Bf16 => bits(8) + bits(24),
    }
}

/// The smallest positive number of a type.
fn smallest(dtype: FloatDtype) -> f64 {
    match dtype {
        FloatDtype::F64 => f64::from_bits(1),
        FloatDtype::F32 => f64::from(f32::from_bits(1)),
        FloatDtype::F16 => 1.0 / (1u64 << 24) as f64,
        // 2^-133.
        FloatDtype::Bf16 => f64::from(f32::from_bits(1 << 16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::SchemeParams;
    use crate::tensor::Shape;

    fn subject(params: SchemeParams) -> Subject {
        let shape = Shape::new(vec![64, 64]).unwrap();
        let scheme = params.scheme().unwrap();
        Subject::new((1, 1), scheme, (shape, Layout::OutIn), FloatDtype::F32).unwrap()
    }

    fn normal(mean: f64, std: f64) -> Subject {
        subject(SchemeParams { mean: Some(mean), std: Some(std), ..SchemeParams::named("normal") })
    }

    /// The statistics of `drawn` that are not allowed for the distribution of `expected`.
    fn off(drawn: &Subject, expected: &Subject) -> Vec<&'static str> {
        let exact = ExactDistribution::of(expected.scheme(), expected.shape(), expected.layout()).unwrap();
        let (found, distance) = statistics(drawn, Some(&exact));
        let mut checks = moments(drawn, &found, Some(&exact));
        checks.push(distance_check(&distance.unwrap()));
        checks.iter().filter(|check| check.ok == Some(false)).map(|check| check.statistic.name()).collect()
    }

    #[test]
    fn weights_of_another_distribution_are_found() {
        let standard = normal(0.0, 1.0);
        assert!(off(&standard, &standard).is_empty());
        assert_eq!(off(&normal(0.1, 1.0), &standard), ["mean", "KS distance"]);
        assert_eq!(off(&normal(0.0, 1.1), &standard), ["std"]);
        assert_eq!(off(&normal(0.0, 1.2), &standard), ["std", "KS distance"]);
        // This has the same mean and standard deviation, but ends at ±sqrt(3).
        let uniform = subject(SchemeParams {
            low: Some(-3f64.sqrt()),
            high: Some(3f64.sqrt()),
            ..SchemeParams::named("uniform")
        });
        assert_eq!(off(&uniform, &standard), ["min", "max", "KS distance"]);
        assert_eq!(off(&standard, &uniform), ["min", "max", "KS distance"]);
        let sparse = |sparsity| {
            let (sparsity, std) = (Some(sparsity), Some(1.0));
            subject(SchemeParams { sparsity, std, ..SchemeParams::named("sparse") })
        };
        assert_eq!(off(&sparse(0.25), &sparse(0.265625)), ["zeros"]);
    }
}
