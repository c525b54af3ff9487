//! Statistics of the weights: moments, extremes, zeros, and the distance from the exact distribution.

use rayon::prelude::*;

use super::Subject;
use crate::init::ExactDistribution;

/// Maximum number of weights that are sorted for the Kolmogorov-Smirnov distance. The sample is evenly
/// spaced over the matrix.
pub const MOST_SORTED: usize = 1 << 20;

/// Statistics of the stored weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Number of weights.
    pub weights: u64,
    /// Number of weights that are infinite or NaN in the stored type. The statistics below are
    /// of the other weights.
    pub not_finite: u64,
    /// Number of weights that are 0.
    pub zeros: u64,
    /// Their mean.
    pub mean: f64,
    /// Population standard deviation: the root of the mean squared distance from the mean.
    pub std: f64,
    /// The smallest weight; infinity if there are none.
    pub min: f64,
    /// The largest weight; minus infinity if there are none.
    pub max: f64,
}

/// The Kolmogorov-Smirnov distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The largest difference between the observed and the exact cumulative distribution, 0 … 1.
    pub distance: f64,
    /// Number of weights in the sample.
    pub weights: u64,
}

/// Sums over a part of the weights.
#[derive(Clone, Copy, Debug)]
struct Part {
    stats: Statistics,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

impl Part {
    const EMPTY: Self = Self {
        stats: Statistics {
            weights: 0,
            not_finite: 0,
            zeros: 0,
            mean: 0.0,
            std: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        },
        squares: 0.0,
    };

    fn of(weights: &[f64]) -> Self {
        let mut part = Self::EMPTY;
        let stats = &mut part.stats;
        let mut sum = 0.0;
        for x in weights {
            if x.is_finite() {
                sum += x;
                stats.zeros += u64::from(*x == 0.0);
                stats.min = stats.min.min(*x);
                stats.max = stats.max.max(*x);
            } else {
                stats.not_finite += 1;
            }
        }
        stats.weights = weights.len() as u64;
        let finite = stats.finite();
        if finite > 0.0 {
            stats.mean = sum / finite;
        }
        let from_mean = weights.iter().filter(|x| x.is_finite()).map(|x| x - stats.mean);
        part.squares = from_mean.map(|x| x * x).sum();
        part
    }

    /// Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American
    /// Statistician 37 (1983), eq. 2.1.
    fn merge(self, other: Self) -> Self {
        let (a, b) = (self.stats, other.stats);
        let (n, m) = (a.finite(), b.finite());
        let share = if m > 0.0 { m / (n + m) } else { 0.0 };
        let apart = b.mean - a.mean;
        Self {
            stats: Statistics {
                weights: a.weights + b.weights,
                not_finite: a.not_finite + b.not_finite,
                zeros: a.zeros + b.zeros,
                mean: a.mean + apart * share,
                std: 0.0,
                min: a.min.min(b.min),
                max: a.max.max(b.max),
            },
            squares: self.squares + other.squares + apart * apart * (n * share),
        }
    }
}

impl Statistics {
    /// Number of finite weights.
    fn finite(&self) -> f64 {
        (self.weights - self.not_finite) as f64
    }
}

/// The statistics of the weights and, if there is an exact distribution, their distance from it. The distance
/// is that of the unrounded weights, because only they follow the distribution.
pub(super) fn statistics(
    subject: &Subject,
    exact: Option<&ExactDistribution>,
) -> (Statistics, Option<Distance>) {
    let share = (MOST_SORTED as f64 / subject.weights() as f64).min(1.0);
    let parts = subject.blocks(|weights| {
        let sorted = if exact.is_some() { (weights.len() as f64 * share).ceil() as usize } else { 0 };
        let sample = weights[..sorted.min(weights.len())].to_vec();
        subject.dtype().round_slice(weights);
        (Part::of(weights), sample)
    });
    let whole = parts.iter().fold(Part::EMPTY, |whole, (part, _)| whole.merge(*part));
    let finite = whole.stats.finite();
    let std = if finite > 0.0 { (whole.squares / finite).sqrt() } else { 0.0 };
    let sample = || parts.iter().flat_map(|(_, sample)| sample).copied().collect();
    (Statistics { std, ..whole.stats }, exact.map(|exact| distance(exact, sample())))
}

fn distance(exact: &ExactDistribution, mut sample: Vec<f64>) -> Distance {
    sample.par_sort_unstable_by(f64::total_cmp);
    let n = sample.len() as f64;
    // If the distribution or the sample has a jump, both one-sided limits of its
    // cumulative distribution count.
    let gap = |(k, x): (usize, &f64)| {
        let (below, up_to) = exact.below(*x);
        ((k + 1) as f64 / n - up_to).max(below - k as f64 / n)
    };
    let distance = sample.par_iter().enumerate().map(gap).reduce(|| 0.0, f64::max);
    Distance { distance, weights: sample.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_merge_to_the_whole() {
        let weights: Vec<f64> = (0..1000).map(|n| 1e6 + f64::from(n % 17) / 8.0).collect();
        let whole = Part::of(&weights);
        let merged = weights.chunks(130).map(Part::of).fold(Part::EMPTY, Part::merge);
        assert_eq!(merged.stats.weights, 1000);
        assert!((merged.stats.mean - whole.stats.mean).abs() < 1e-9);
        assert!((merged.squares / whole.squares - 1.0).abs() < 1e-9);
        assert_eq!((merged.stats.min, merged.stats.max), (1e6, 1e6 + 2.0));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let part = [&[f64::INFINITY][..], &[1.0, f64::NAN, 3.0], &[f64::NEG_INFINITY], &[0.0, 8.0]]
            .into_iter()
            .map(Part::of)
            .fold(Part::EMPTY, Part::merge);
        let stats = part.stats;
        assert_eq!((stats.weights, stats.not_finite, stats.zeros), (7, 3, 1));
        assert_eq!((stats.mean, stats.min, stats.max), (3.0, 0.0, 8.0));
        // 2² + 0² + 3² + 5².
        assert_eq!(part.squares, 38.0);
    }
}
