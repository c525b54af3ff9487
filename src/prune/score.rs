//! Scores of weights from the weights and their initial values.

use super::settings::Criterion;

/// A score that depends on a weight and its initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// `|w - s * w0|`.
    Sleeping,
    /// `|w - w0|`: "movement" of Zhou, Lan, Liu and Yosinski, "Deconstructing Lottery Tickets", NeurIPS 2019.
    Movement,
    /// `|w| - |w0|`: "magnitude increase" of the same paper.
    MagnitudeIncrease,
    /// `min(|w|, |w - s * w0|)`.
    Nearest,
}

impl Pair {
    /// The score of a criterion; `None` if it does not depend on initial values.
    pub fn of(criterion: &Criterion) -> Option<Self> {
        match criterion {
            Criterion::Sleeping => Some(Self::Sleeping),
            Criterion::Movement => Some(Self::Movement),
            Criterion::MagnitudeIncrease => Some(Self::MagnitudeIncrease),
            Criterion::Nearest => Some(Self::Nearest),
            Criterion::Magnitude | Criterion::Random | Criterion::Scores(_) => None,
        }
    }

    /// Replaces weights by their scores. `initial` holds the initial values without decay, and `decay` is the
    /// factor `s`.
    pub fn score(self, weights: &mut [f64], initial: &[f64], decay: f64) {
        match self {
            Self::Sleeping => each(weights, initial, |w, w0| (w - w0 * decay).abs()),
            Self::Movement => each(weights, initial, |w, w0| (w - w0).abs()),
            Self::MagnitudeIncrease => each(weights, initial, |w, w0| w.abs() - w0.abs()),
            // `f64::min` would ignore a NaN.
            Self::Nearest => each(weights, initial, |w, w0| {
                let (zero, start) = (w.abs(), (w - w0 * decay).abs());
                if start < zero { start } else { zero }
            }),
        }
    }
}

fn each(weights: &mut [f64], initial: &[f64], score: impl Fn(f64, f64) -> f64) {
    for (w, w0) in weights.iter_mut().zip(initial) {
        *w = score(*w, *w0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_what_the_formulas_say() {
        let scores = |pair: Pair| {
            let mut w = [1.0, -2.0, 0.25, -0.0, f64::NAN, f64::INFINITY];
            pair.score(&mut w, &[3.0, -1.0, 0.5, 0.0, 1.0, 1.0], 0.5);
            (w[..4].to_vec(), w[4].is_nan(), w[5])
        };
        let infinite = f64::INFINITY;
        assert_eq!(scores(Pair::Sleeping), (vec![0.5, 1.5, 0.0, 0.0], true, infinite));
        assert_eq!(scores(Pair::Movement), (vec![2.0, 1.0, 0.25, 0.0], true, infinite));
        assert_eq!(scores(Pair::MagnitudeIncrease), (vec![-2.0, 1.0, -0.25, 0.0], true, infinite));
        assert_eq!(scores(Pair::Nearest), (vec![0.5, 1.5, 0.0, 0.0], true, infinite));
    }
}
