//! Selection of the smallest keys by histograms.
//!
//! Each histogram divides the keys that are still undecided into bins of equal width, and finds the bin
//! in which the selection ends. Keys in lower bins are pruned, keys in higher bins stay. This is a
//! radix selection from the upper bits down, which stops as soon as few enough keys are left to be
//! examined one by one.

use serde::{Deserialize, Serialize};

use super::key::NEVER;
use crate::dispatch::{self, Kernel};

/// The end of a selection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    /// Elements with a smaller key are pruned.
    key: u64,
    /// For each block, how many elements with exactly this key are pruned, the first ones; none for blocks
    /// beyond the end of the list.
    ties: Vec<u64>,
}

/// The boundary for one block, whose elements must be queried in order.
#[derive(Clone, Copy, Debug)]
pub struct BlockBoundary {
    key: u64,
    ties: u64,
}

impl Boundary {
    /// Nothing is pruned.
    pub const NOTHING: Self = Self { key: 0, ties: Vec::new() };
    /// Everything is pruned, except keys of [`NEVER`](super::NEVER).
    pub const EVERYTHING: Self = Self { key: NEVER, ties: Vec::new() };

    /// Exactly the elements with a smaller key are pruned.
    pub fn below(key: u64) -> Self {
        Self { key, ties: Vec::new() }
    }

    /// The boundary for a block.
    pub fn of_block(&self, block: usize) -> BlockBoundary {
        BlockBoundary { key: self.key, ties: self.ties.get(block).copied().unwrap_or(0) }
    }
}

impl BlockBoundary {
    /// The end of a selection of the `count` smallest of these keys, without those that may not be pruned.
    /// `some` is scratch space for a copy.
    pub fn smallest(keys: &[u64], count: u64, some: &mut Vec<u64>) -> Self {
        some.clear();
        some.extend(keys.iter().copied().filter(|key| *key != NEVER));
        match (count as usize).checked_sub(1) {
            None => Self { key: 0, ties: 0 },
            Some(last) if last + 1 >= some.len() => Self { key: NEVER, ties: 0 },
            Some(last) => {
                let key = *some.select_nth_unstable(last).1;
                let ties = count - some[..=last].iter().filter(|other| **other < key).count() as u64;
                Self { key, ties }
            }
        }
    }

    /// For the next elements, which have these keys, sets the bits of those that stay. The first element is
    /// the lowest bit of `stays[0]`.
    pub fn mark(&mut self, keys: &[u64], stays: &mut [u8]) {
        if self.ties == 0 {
            return dispatch::run(Mark { boundary: self.key.max(1), keys, stays });
        }
        for (keys, byte) in keys.chunks(8).zip(stays) {
            for (bit, key) in keys.iter().enumerate() {
                *byte |= u8::from(!self.goes(*key)) << bit;
            }
        }
    }

    /// Whether the next element, which has this key, is pruned. With key 0, it always is.
    #[inline(always)]
    pub fn goes(&mut self, key: u64) -> bool {
        if key == self.key && self.ties > 0 {
            self.ties -= 1;
            return true;
        }
        key < self.key || key == 0
    }
}

/// Sets the bits of the keys that are not below a boundary.
struct Mark<'a> {
    boundary: u64,
    keys: &'a [u64],
    stays: &'a mut [u8],
}

impl Kernel for Mark<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (eights, rest) = self.keys.as_chunks::<8>();
        for (keys, byte) in eights.iter().zip(&mut *self.stays) {
            let bits: [u8; 8] = std::array::from_fn(|bit| u8::from(keys[bit] >= self.boundary) << bit);
            *byte |= bits.iter().fold(0, |all, bit| all | bit);
        }
        for (bit, key) in rest.iter().enumerate() {
            self.stays[eights.len()] |= u8::from(*key >= self.boundary) << bit;
        }
    }
}

/// Distributes `total` over the blocks in order, at most the given number to each.
pub fn allowances(counts: impl IntoIterator<Item = u64>, total: u64) -> Vec<u64> {
    let mut left = total;
    let take = |count: u64| {
        let taken = count.min(left);
        left -= taken;
        taken
    };
    counts.into_iter().map(take).collect()
}

/// Whether these numbers of pruned elements, one per class, are enough. It must be monotone: for growing
/// numbers, it never changes from yes to no.
pub type Enough<'e, E> = &'e mut dyn FnMut(&[u64]) -> Result<bool, E>;

/// A selection in progress. Each key belongs to a class, such as a tensor whose size matters separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Untested")]
pub struct Narrowing {
    lowest: u64,
    highest: u64,
    /// Maximum number of bins of a histogram, as a power of two.
    bits: u32,
    /// For each class, the number of elements with lower keys than the undecided ones; all of them are
    /// pruned.
    below: Vec<u64>,
}

/// A [`Narrowing`] in serialised form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Untested {
    lowest: u64,
    highest: u64,
    bits: u32,
    below: Vec<u64>,
}

impl TryFrom<Untested> for Narrowing {
    type Error = &'static str;

    fn try_from(Untested { lowest, highest, bits, below }: Untested) -> Result<Self, Self::Error> {
        if lowest > highest || highest == NEVER || !(1..=MOST_BITS).contains(&bits) || below.is_empty() {
            return Err("keys in question that no selection has");
        }
        Ok(Self { lowest, highest, bits, below })
    }
}

/// Upper limit of the number of bins, as a power of two.
const MOST_BITS: u32 = 24;

/// Result of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pruning nothing is enough.
    Nothing,
    /// Pruning everything that may be pruned is just enough, or not enough.
    Everything,
    /// This many keys are still undecided.
    Among(u64),
}

/// The undecided keys of some elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InQuestion {
    /// Number of keys.
    pub count: u64,
    lowest: u64,
    highest: u64,
}

impl Default for InQuestion {
    fn default() -> Self {
        Self { count: 0, lowest: u64::MAX, highest: 0 }
    }
}

impl InQuestion {
    /// Whether all are the same.
    pub fn is_one_key(&self) -> bool {
        self.count > 0 && self.lowest == self.highest
    }

    /// Adds those of other elements.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }
}

/// Candidates for the last step.
#[derive(Clone, Copy, Debug)]
pub enum Ties<'c> {
    /// For each block, the undecided keys, in the order of the elements.
    Keys(&'c [Vec<u64>]),
    /// For each block, the number of elements with the only undecided key.
    Counts(&'c [u64]),
}

impl Narrowing {
    /// A selection in which all keys are undecided. Histograms have at most `2^bits` bins per class.
    pub fn new(classes: usize, bits: u32) -> Self {
        Self { lowest: 0, highest: NEVER - 1, bits, below: vec![0; classes] }
    }

    fn shift(&self) -> u32 {
        (u64::BITS - (self.highest - self.lowest).leading_zeros()).saturating_sub(self.bits)
    }

    /// Number of bins of the histogram of one class.
    pub fn bins(&self) -> usize {
        ((self.highest - self.lowest) >> self.shift()) as usize + 1
    }

    /// Counts keys in the histogram of their class. Each bin has two counters, one for keys at even positions
    /// and one for keys at odd positions: otherwise, many equal keys in a row would wait for each other.
    pub fn count(&self, keys: &[u64], histogram: &mut [[u64; 2]]) {
        let (span, shift) = (self.highest - self.lowest, self.shift());
        let mut one = |key: u64, lane: usize| {
            let above = key.wrapping_sub(self.lowest);
            if above <= span {
                histogram[(above >> shift) as usize][lane] += 1;
            }
        };
        let (pairs, rest) = keys.as_chunks::<2>();
        for [even, odd] in pairs {
            one(*even, 0);
            one(*odd, 1);
        }
        rest.iter().for_each(|key| one(*key, 0));
    }

    /// Appends the undecided keys.
    pub fn collect(&self, keys: &[u64], found: &mut Vec<u64>) {
        let span = self.highest - self.lowest;
        found.extend(keys.iter().copied().filter(|key| key.wrapping_sub(self.lowest) <= span));
    }

    /// Adds the undecided keys to a summary of them.
    pub fn survey(&self, keys: &[u64], known: &mut InQuestion) {
        let span = self.highest - self.lowest;
        for key in keys {
            let in_question = key.wrapping_sub(self.lowest) <= span;
            known.count += u64::from(in_question);
            known.lowest = known.lowest.min(if in_question { *key } else { u64::MAX });
            known.highest = known.highest.max(if in_question { *key } else { 0 });
        }
    }

    /// Narrows the range to the keys that occur. `known` summarises all undecided keys.
    pub fn tighten(&mut self, known: &InQuestion) {
        if known.count > 0 {
            (self.lowest, self.highest) = (known.lowest, known.highest);
        }
    }

    /// Finds the bin in which the selection ends. `histogram` holds the histograms of the classes,
    /// one after the other.
    ///
    /// # Errors
    /// The errors of `enough`.
    pub fn narrow<E>(&mut self, histogram: &[[u64; 2]], enough: Enough<'_, E>) -> Result<Step, E> {
        let bins = self.bins();
        let total = |bins: &[[u64; 2]]| bins.iter().map(|[even, odd]| even + odd).sum::<u64>();
        let sums = |end: usize, below: &[u64]| -> Vec<u64> {
            let classes = below.iter().zip(histogram.chunks(bins));
            classes.map(|(below, histogram)| below + total(&histogram[..end])).collect()
        };
        if enough(&self.below)? {
            return Ok(Step::Nothing);
        }
        if !enough(&sums(bins, &self.below))? {
            return Ok(Step::Everything);
        }
        // The first `low` bins are not enough, the first `high` ones are.
        let (mut low, mut high) = (0, bins);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if enough(&sums(middle, &self.below))? {
                high = middle;
            } else {
                low = middle;
            }
        }
        self.below = sums(low, &self.below);
        let shift = self.shift();
        self.lowest += (low as u64) << shift;
        self.highest = self.highest.min(self.lowest + ((1 << shift) - 1));
        Ok(Step::Among(histogram.chunks(bins).map(|histogram| total(&histogram[low..=low])).sum()))
    }

    /// Finds the element at which the selection ends. `class` gives the class of each block.
    ///
    /// # Errors
    /// The errors of `enough`.
    pub fn finish<E>(
        &self,
        candidates: Ties<'_>,
        class: impl Fn(usize) -> usize,
        enough: Enough<'_, E>,
    ) -> Result<Boundary, E> {
        let keys = match candidates {
            Ties::Keys(keys) => keys,
            Ties::Counts(counts) => {
                let with = |total: u64| {
                    let mut pruned = self.below.clone();
                    let first = allowances(counts.iter().copied(), total);
                    first.iter().enumerate().for_each(|(block, n)| pruned[class(block)] += n);
                    pruned
                };
                let total = first_enough(counts.iter().sum(), &mut |n| enough(&with(n)))?;
                return Ok(Boundary { key: self.lowest, ties: allowances(counts.iter().copied(), total) });
            }
        };
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(keys.iter().map(Vec::len).sum());
        for (block, keys) in keys.iter().enumerate() {
            order.extend(keys.iter().map(|key| (*key, block as u32)));
        }
        // Blocks are in order; within a block, elements with the same key are interchangeable here.
        order.sort_unstable();
        let with = |total: u64| {
            let mut pruned = self.below.clone();
            order[..total as usize].iter().for_each(|(_, block)| pruned[class(*block as usize)] += 1);
            pruned
        };
        let total = first_enough(order.len() as u64, &mut |n| enough(&with(n)))? as usize;
        let Some((key, _)) = order[..total].last().copied() else { return Ok(Boundary::below(self.lowest)) };
        let first = order.partition_point(|(other, _)| *other < key);
        let mut ties = vec![0; keys.len()];
        order[first..total].iter().for_each(|(_, block)| ties[*block as usize] += 1);
        Ok(Boundary { key, ties })
    }
}

/// The smallest number up to `most` that is enough; `most` if none is.
pub fn first_enough<E>(most: u64, enough: &mut dyn FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
    // For the size of a file, pruning nothing can be enough when pruning a little is not: pruned
    // tensors need a description.
    if enough(0)? {
        return Ok(0);
    }
    let (mut low, mut high) = (most.min(1), most);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::key::key;
    use super::*;

    /// Selects `count` of scores in blocks of three by histograms of so many bins, looking
    /// one by one at `few`.
    fn select(scores: &[f64], count: u64, bits: u32, few: u64) -> (Vec<bool>, usize) {
        let keys: Vec<u64> = scores.iter().map(|x| key(*x)).collect();
        let mut enough = |n: &[u64]| Ok::<_, Infallible>(n[0] >= count);
        let mut narrowing = Narrowing::new(1, bits);
        let mut passes = 0;
        let boundary = loop {
            passes += 1;
            let mut histogram = vec![[0; 2]; narrowing.bins()];
            narrowing.count(&keys, &mut histogram);
            match narrowing.narrow(&histogram, &mut enough).unwrap() {
                Step::Nothing => break Boundary::NOTHING,
                Step::Everything => break Boundary::EVERYTHING,
                Step::Among(n) if n <= few => {
                    let found: Vec<Vec<u64>> = keys
                        .chunks(3)
                        .map(|keys| {
                            let mut found = Vec::new();
                            narrowing.collect(keys, &mut found);
                            found
                        })
                        .collect();
                    break narrowing.finish(Ties::Keys(&found), |_| 0, &mut enough).unwrap();
                }
                Step::Among(_) => {
                    passes += 1;
                    let mut all = InQuestion::default();
                    let mut counts = Vec::new();
                    for keys in keys.chunks(3) {
                        let mut known = InQuestion::default();
                        narrowing.survey(keys, &mut known);
                        all.merge(&known);
                        counts.push(known.count);
                    }
                    narrowing.tighten(&all);
                    if all.is_one_key() {
                        break narrowing.finish(Ties::Counts(&counts), |_| 0, &mut enough).unwrap();
                    }
                }
            }
        };
        let goes = keys.chunks(3).enumerate().flat_map(|(n, keys)| {
            let mut boundary = boundary.of_block(n);
            keys.iter().map(move |key| boundary.goes(*key)).collect::<Vec<_>>()
        });
        (goes.collect(), passes)
    }

    #[test]
    fn the_smallest_go_and_of_equals_the_first() {
        let scores: Vec<f64> = (0..200)
            .map(|n: i32| match n * n % 37 {
                0 => f64::NAN,
                k if k < 9 => 1.0,
                k => f64::from(k - 20) * 0.125,
            })
            .collect();
        let mut order: Vec<usize> = (0..scores.len()).filter(|n| scores[*n].is_finite()).collect();
        order.sort_by(|a, b| scores[*a].partial_cmp(&scores[*b]).unwrap());
        for count in 0..=210 {
            let mut expected = vec![false; scores.len()];
            order.iter().take(count).for_each(|n| expected[*n] = true);
            // Histograms of a million bins take most of the time: at a few counts only.
            let bits = if count % 35 == 0 { 20 } else { 12 };
            for (bits, few) in [(bits, 1000), (bits, 3), (8, 5), (3, 0)] {
                assert_eq!(select(&scores, count as u64, bits, few).0, expected, "{count} {bits} {few}");
            }
        }
    }

    #[test]
    fn many_equals_take_a_few_passes() {
        let (goes, passes) = select(&[0.0; 100], 31, 20, 10);
        assert_eq!(goes.iter().position(|goes| !goes), Some(31));
        assert_eq!(passes, 2);
    }

    #[test]
    fn a_histogram_per_class_tells_when_a_class_has_enough() {
        // The second class's share decides: enough once three of it go.
        let classes = [[5.0, 1.0, 3.0, 9.0], [2.0, 4.0, 4.0, 4.0]].map(|scores| scores.map(key));
        let mut enough = |n: &[u64]| Ok::<_, Infallible>(n[1] >= 3);
        let mut narrowing = Narrowing::new(2, 12);
        let mut histogram = vec![[0; 2]; 2 * narrowing.bins()];
        let bins = narrowing.bins();
        classes.iter().zip(histogram.chunks_mut(bins)).for_each(|(keys, h)| narrowing.count(keys, h));
        assert_eq!(narrowing.narrow(&histogram, &mut enough), Ok(Step::Among(4)));
        let found = classes.map(|keys| {
            let mut found = Vec::new();
            narrowing.collect(&keys, &mut found);
            found
        });
        let boundary = narrowing.finish(Ties::Keys(&found), |block| block, &mut enough).unwrap();
        assert_eq!(boundary, Boundary { key: key(4.0), ties: vec![0, 2] });
    }
}
