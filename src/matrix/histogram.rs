//! Histogram of the weights, with the shares that the exact distribution predicts.

use serde::Serialize;

use super::{Subject, Summary};

/// Number of bins between the ends of a histogram. It is odd, so that the middle bin is centred.
const BINS: usize = 21;

/// Distance from the mean to the ends in standard deviations, unless the weights have a smaller range.
const REACH: f64 = 3.5;

/// The weights between two values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The lower end, inclusive; `None` for the bin of all weights below the others.
    pub low: Option<f64>,
    /// The upper end, exclusive except in the last bin; `None` for the bin of all weights above the others.
    pub high: Option<f64>,
    /// Number of weights.
    pub weights: u64,
    /// Their share of all weights, 0 … 1.
    pub share: f64,
    /// The probability by the exact distribution, if there is one.
    pub exact: Option<f64>,
}

/// The histogram of the weights before they are rounded to the stored type, whose steps may be as wide as a
/// bin. There are no infinite or NaN weights: they only arise in the rounding.
pub fn histogram(subject: &Subject, summary: &Summary) -> Vec<Bin> {
    let exact = summary.exact;
    let (low, high) = match exact {
        Some(exact) => {
            let (low, high) = exact.support();
            let (mean, reach) = (exact.mean(), REACH * exact.std());
            (low.max(mean - reach), high.min(mean + reach))
        }
        None => (summary.statistics.min, summary.statistics.max),
    };
    let width = (high - low) / BINS as f64;
    // Schemes without randomness give at most two values. If weights overflow the stored type,
    // there are no finite ends.
    if !subject.scheme().is_random() || width <= 0.0 || !width.is_finite() {
        return values(subject, low, high);
    }
    let edge = |n: usize| if n == BINS { high } else { low + width * n as f64 };
    // Index 0 is below all bins, then come the bins, and the last is above them.
    let place = |x: f64| match x {
        x if x < low => 0,
        x if x > high => BINS + 1,
        x => 1 + (((x - low) / width) as usize).min(BINS - 1),
    };
    let counts = subject.blocks(|weights| {
        let mut counts = [0u64; BINS + 2];
        weights.iter().for_each(|x| counts[place(*x)] += 1);
        counts
    });
    let count = |n: usize| counts.iter().map(|counts| counts[n]).sum::<u64>();
    let share = |weights: u64| weights as f64 / subject.weights() as f64;
    let bin = |n: usize| {
        let ends = (n > 0).then(|| edge(n - 1)).zip((n <= BINS).then(|| edge(n)));
        let exact = exact.map(|exact| match ends {
            Some((low, high)) => exact.probability(low, high),
            None if n == 0 => exact.below(low).0,
            None => 1.0 - exact.below(high).1,
        });
        let (low, high) = match ends {
            Some((low, high)) => (Some(low), Some(high)),
            None if n == 0 => (None, Some(low)),
            None => (Some(high), None),
        };
        let weights = count(n);
        Bin { low, high, weights, share: share(weights), exact }
    };
    let outer = |bin: &Bin| bin.weights > 0 || bin.exact.is_some_and(|p| p > 0.0);
    (0..BINS + 2).map(bin).filter(|bin| (bin.low.is_some() && bin.high.is_some()) || outer(bin)).collect()
}

/// One bin for each of the two values, or one if they are equal.
fn values(subject: &Subject, low: f64, high: f64) -> Vec<Bin> {
    let middle = low + (high - low) / 2.0;
    let counts =
        subject.blocks(|weights| weights.iter().filter(|x| low < high && **x > middle).count() as u64);
    let (all, upper) = (subject.weights() as u64, counts.iter().sum::<u64>());
    let bin = |(value, weights): (f64, u64)| {
        let value = Some(value).filter(|x| x.is_finite());
        Bin { low: value, high: value, weights, share: weights as f64 / all as f64, exact: None }
    };
    let bins = [(low, all - upper), (high, upper)].map(bin);
    bins.into_iter().filter(|bin| bin.weights > 0).collect()
}
