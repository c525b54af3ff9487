//! The largest scores of a small group.

use super::key::{NEVER, key};
use crate::dispatch::{self, Kernel};

/// Selects the elements of a group that stay, by their scores: the `n` largest, of equal ones the later, and
/// all whose score is not finite.
pub fn keep_largest(
    scores: &[f64],
    n: usize,
    order: &mut Vec<(u64, usize)>,
    mut stays: impl FnMut(usize, bool),
) {
    order.clear();
    order.extend(scores.iter().enumerate().map(|(at, score)| (key(*score), at)));
    order.sort_unstable();
    let go = scores.len().saturating_sub(n);
    for (rank, (key, at)) in order.iter().enumerate() {
        stays(*at, rank >= go || *key == NEVER);
    }
}

/// The same for groups of `M` (2, 4 or 8) that follow each other: bit `i` of the result, counted from the
/// lowest bit of the first byte, is set if element `i` stays. Within a group, an element stays if fewer than
/// `n` others come after it in the order of [`keep_largest`], so there is nothing to sort.
pub fn keep_largest_of<const M: usize>(scores: &[f64], n: usize, stays: &mut Vec<u8>) {
    stays.clear();
    stays.resize(scores.len().div_ceil(8), 0);
    dispatch::run(Largest::<M> { scores, n, stays });
}

struct Largest<'a, const M: usize> {
    scores: &'a [f64],
    n: usize,
    stays: &'a mut [u8],
}

impl<const M: usize> Kernel for Largest<'_, M> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { scores, n, stays } = self;
        let n = n as u64;
        for (scores, out) in scores.chunks(8).zip(stays) {
            for (group, scores) in scores.as_chunks::<M>().0.iter().enumerate() {
                let keys = scores.map(key);
                let mut after = [0u64; M];
                for i in 0..M {
                    for j in 0..i {
                        // Of equal ones, the later comes after.
                        let later = u64::from(keys[j] <= keys[i]);
                        after[j] += later;
                        after[i] += 1 - later;
                    }
                }
                for at in 0..M {
                    let stays = after[at] < n || keys[at] == NEVER;
                    *out |= u8::from(stays) << (group * M + at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::InstructionSet;

    #[test]
    fn the_largest_of_every_few_stay() {
        let stays = |scores: &[f64], n| {
            let mut found = vec![false; scores.len()];
            keep_largest(scores, n, &mut Vec::new(), |at, stays| found[at] = stays);
            found
        };
        assert_eq!(stays(&[3.0, 1.0, 2.0, 4.0], 2), [true, false, false, true]);
        assert_eq!(stays(&[1.0, 1.0, 1.0, 1.0], 2), [false, false, true, true]);
        assert_eq!(stays(&[1.0, f64::NAN, f64::INFINITY, f64::NAN], 2), [false, true, true, true]);
        assert_eq!(stays(&[5.0, f64::NAN, 7.0, 6.0], 2), [false, true, true, false]);
    }

    /// Every order of every few distinct scores, with equal and infinite ones and both zeros, on every
    /// instruction set: what sorting finds.
    fn as_sorted<const M: usize>() {
        const SCORES: [f64; 6] = [0.0, -0.0, 1.0, -2.0, f64::NAN, f64::INFINITY];
        let mut scores = Vec::new();
        for number in 0..SCORES.len().pow(M.min(5) as u32) {
            let mut rest = number;
            for at in 0..M {
                scores.push(SCORES[(rest + at / 5) % SCORES.len()]);
                rest /= SCORES.len();
            }
        }
        for n in 0..=M {
            let mut expected = vec![0u8; scores.len().div_ceil(8)];
            let mut order = Vec::new();
            for (group, scores) in scores.chunks(M).enumerate() {
                keep_largest(scores, n, &mut order, |at, stays| {
                    let place = group * M + at;
                    expected[place / 8] |= u8::from(stays) << (place % 8);
                });
            }
            let mut found = Vec::new();
            keep_largest_of::<M>(&scores, n, &mut found);
            assert!(found == expected, "{n} of {M}");
            for set in InstructionSet::available() {
                found.fill(0);
                set.run(Largest::<M> { scores: &scores, n, stays: &mut found });
                assert!(found == expected, "{n} of {M} on {}", set.name());
            }
        }
    }

    #[test]
    fn groups_without_sorting_keep_what_sorting_keeps() {
        as_sorted::<2>();
        as_sorted::<4>();
        as_sorted::<8>();
    }
}
