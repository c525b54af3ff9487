//! Scores as integers in the same order.

use crate::dispatch::{self, Kernel};

/// The key of weights that are never pruned; larger than that of any score.
pub const NEVER: u64 = u64::MAX;

/// Position of a score in the order of all scores: `key(a) < key(b)` if `a < b`. The two zeros have the same
/// key. The key is [`NEVER`] if the score is not finite. No score has key 0.
#[inline(always)]
pub fn key(score: f64) -> u64 {
    // Adding zero turns -0.0 into +0.0, and does not change any other number.
    let bits = (score + 0.0).to_bits();
    let flipped = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    if score.is_finite() { flipped } else { NEVER }
}

/// The keys of several scores.
pub fn keys(scores: &[f64], keys: &mut Vec<u64>) {
    keys.resize(scores.len(), 0);
    dispatch::run(Keys { scores, keys });
}

struct Keys<'a> {
    scores: &'a [f64],
    keys: &'a mut [u64],
}

impl Kernel for Keys<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (score, out) in self.scores.iter().zip(self.keys) {
            *out = key(*score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_like_scores() {
        let scores = [
            -f64::MAX,
            -1.0,
            -f64::MIN_POSITIVE,
            -5e-324,
            0.0,
            5e-324,
            f64::MIN_POSITIVE,
            0.1,
            1.0,
            f64::MAX,
        ];
        assert!(scores.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert!(key(-f64::MAX) > 0 && key(f64::MAX) < NEVER);
        assert_eq!(key(-0.0), key(0.0));
        assert!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].iter().all(|x| key(*x) == NEVER));
    }
}
