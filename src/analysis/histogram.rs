//! The distribution of |delta| within a tensor: counts in narrow bins, from which quantiles and a
//! histogram in quarters of a decade are computed. Counts do not depend on the order of the weights or
//! the number of threads.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bins per factor of two, all of the same width. Quantiles have the precision of a bin: 1 / 64.
const PER_OCTAVE_BITS: u32 = 6;
/// Exponent of the lowest bin. Smaller values are counted together.
const LOWEST: i32 = -44;
/// Factors of two that the bins cover, up to 2^20.
const OCTAVES: usize = 64;
const BINS: usize = OCTAVES << PER_OCTAVE_BITS;
/// Upper bits of a binary64 that determine its bin.
const SHIFT: u32 = 52 - PER_OCTAVE_BITS;
/// The number of the lowest bin.
const BASE: u64 = ((1023 + LOWEST) as u64) << PER_OCTAVE_BITS;

/// Counters: several for zeros, so that runs of zeros do not wait for one counter; then those of values below
/// the bins, in the bins and above them.
pub(super) const ZEROS: usize = 8;
const BELOW: usize = ZEROS;
const FIRST: usize = BELOW + 1;
const ABOVE: usize = FIRST + BINS;
const COUNTERS: usize = ABOVE + 1;
/// A power of two, so that no index needs to be checked against the length.
const ROOM: usize = COUNTERS.next_power_of_two();

/// Index of the counter for a finite |delta|. `lane` distributes the zeros.
#[inline(always)]
pub(super) fn counter(d: f64, lane: usize) -> u64 {
    // Values are clamped to the range, so that the rest is arithmetic without branches.
    const LOW: f64 = f64::from_bits((BASE << SHIFT) - 1);
    const HIGH: f64 = f64::from_bits((BASE + BINS as u64) << SHIFT);
    let within = if d > LOW { d } else { LOW };
    let within = if within < HIGH { within } else { HIGH };
    let bin = (within.to_bits() >> SHIFT) - (BASE - FIRST as u64);
    if d == 0.0 { lane as u64 } else { bin }
}

/// The smallest value of the bin with this counter.
fn lower_edge(counter: usize) -> f64 {
    match counter {
        0..=BELOW => 0.0,
        _ => f64::from_bits(((counter - FIRST) as u64 + BASE) << SHIFT),
    }
}

/// Counts of one run of at most 2^32 weights. In serialised form, a list of the counters that are not
/// 0, with their indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FineCounts(Box<[u32; ROOM]>);

impl Default for FineCounts {
    fn default() -> Self {
        Self(vec![0; ROOM].try_into().expect("as long as it says"))
    }
}

impl Serialize for FineCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().enumerate().filter(|(_, count)| **count > 0))
    }
}

impl<'de> Deserialize<'de> for FineCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut counts = Self::default();
        for (counter, count) in Vec::<(usize, u32)>::deserialize(deserializer)? {
            if counter >= COUNTERS {
                return Err(D::Error::custom(format!("there is no counter {counter}")));
            }
            counts.0[counter] = count;
        }
        Ok(counts)
    }
}

impl FineCounts {
    /// Resets all counters.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    #[inline(always)]
    pub(super) fn add(&mut self, counter: u64) {
        self.0[counter as usize % ROOM] += 1;
    }

    /// A loop iteration for each would cost as much as the counting.
    #[inline(always)]
    pub(super) fn add_all(&mut self, [a, b, c, d, e, f, g, h]: &[u64; ZEROS]) {
        self.add(*a);
        self.add(*b);
        self.add(*c);
        self.add(*d);
        self.add(*e);
        self.add(*f);
        self.add(*g);
        self.add(*h);
    }

    /// Evaluates the counts. `max` is the largest |delta|.
    pub fn spread(&self, max: f64) -> DeltaSpread {
        spread(&*self.0, max)
    }
}

/// Counts of a whole tensor.
#[derive(Clone, Debug)]
pub struct TensorCounts(Box<[u64]>);

impl Default for TensorCounts {
    fn default() -> Self {
        Self(vec![0; COUNTERS].into())
    }
}

impl TensorCounts {
    /// Adds a run.
    pub fn merge(&mut self, run: &FineCounts) {
        for (all, run) in self.0.iter_mut().zip(run.0.iter()) {
            *all += u64::from(*run);
        }
    }

    /// Like [`FineCounts::spread`].
    pub fn spread(&self, max: f64) -> DeltaSpread {
        spread(&self.0, max)
    }
}

/// The distribution of |delta| within a tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeltaSpread {
    /// `None` if no delta is finite.
    pub quantiles: Option<Quantiles>,
    /// Counts by quarters of a decade.
    pub histogram: DeltaHistogram,
}

/// Quantiles, each to 1/64 of its value: the element of rank `floor(q (n - 1))`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 90 % of the values are at most this.
    pub p90: f64,
    /// 99 % of the values are at most this.
    pub p99: f64,
}

impl Quantiles {
    /// In other units.
    pub fn over(self, unit: f64) -> Self {
        Self { p50: self.p50 / unit, p90: self.p90 / unit, p99: self.p99 / unit }
    }
}

/// Counts by the decimal logarithm of the values. Edges lie up to 1/64 of their value below the powers of ten
/// that they stand for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeltaHistogram {
    /// Weights whose value is exactly 0.
    pub zero: u64,
    /// Other weights below the least edge, 1e-13.
    pub below: u64,
    /// Decimal logarithm of the lower edge of the first count.
    pub first: f64,
    /// Distance between edges: 0.25.
    pub step: f64,
    /// Weights from each edge to the next: from the first bin that holds one to the last that does.
    pub counts: Vec<u64>,
    /// Weights above the largest edge, 1e6.
    pub above: u64,
}

/// Quarters of a decade from 1e-13 to 1e6.
const LOWEST_QUARTER: i32 = -52;
const HIGHEST_QUARTER: i32 = 24;

/// `10^(quarters / 4)`: exact powers of ten times one of four roots, each operation rounded once.
pub(super) fn power_of_ten(quarters: i32) -> f64 {
    const ROOTS: [f64; 4] = [1.0, 1.778_279_410_038_922_8, 3.162_277_660_168_379_5, 5.623_413_251_903_491];
    let root = ROOTS[quarters.rem_euclid(4) as usize];
    let ten = |n: i32| (0..n).fold(1.0, |power, _| power * 10.0);
    match quarters.div_euclid(4) {
        n @ 0.. => root * ten(n),
        n => root / ten(-n),
    }
}

/// The numbers of the counters that are not empty, from `BELOW` to that of the largest value. Most are, in
/// long runs, which are passed over as a whole: a model may have a hundred thousand small tensors.
fn filled<T: Copy + Into<u64>>(counts: &[T], max: f64) -> impl Iterator<Item = usize> {
    const RUN: usize = 64;
    let last = counter(max, 0) as usize;
    (BELOW..=last).step_by(RUN).flat_map(move |first| {
        let run = &counts[first..(first + RUN).min(last + 1)];
        let any = run.iter().fold(0, |any, count| any | (*count).into());
        let run = if any == 0 { &[] } else { run };
        run.iter().enumerate().filter(|(_, count)| (**count).into() > 0).map(move |(n, _)| first + n)
    })
}

fn spread<T: Copy + Into<u64>>(counts: &[T], max: f64) -> DeltaSpread {
    let count = |n: usize| counts[n].into();
    let zero: u64 = (0..ZEROS).map(count).sum();
    let mut total = zero;
    let mut quarters = vec![0u64; (HIGHEST_QUARTER - LOWEST_QUARTER) as usize];
    let (mut below, mut above) = (0, 0);
    let mut next = LOWEST_QUARTER;
    let mut edge = power_of_ten(next);
    // Counters that are not empty, with how many values lie before them.
    let mut seen = Vec::new();
    for n in filled(counts, max) {
        let here = count(n);
        seen.push((n, total, here));
        total += here;
        // An edge inside a bin is taken for the bin's lower one.
        while next <= HIGHEST_QUARTER && lower_edge(n + 1) > edge {
            next += 1;
            edge = power_of_ten(next);
        }
        match next - 1 - LOWEST_QUARTER {
            ..0 => below += here,
            quarter => match quarters.get_mut(quarter as usize) {
                Some(bin) => *bin += here,
                None => above += here,
            },
        }
    }
    let quantile = |q: f64| {
        let rank = (q * (total - 1) as f64) as u64;
        let found = seen.iter().rev().find(|(_, before, _)| *before <= rank && rank >= zero);
        found.map_or(0.0, |(n, before, here)| {
            let (low, high) = (lower_edge(*n), lower_edge(n + 1));
            let within = ((rank - before) as f64 + 0.5) / *here as f64;
            (low + (high - low) * within).min(max)
        })
    };
    let quantiles =
        (total > 0).then(|| Quantiles { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) });
    let first = quarters.iter().position(|n| *n > 0).unwrap_or(0);
    let last = quarters.iter().rposition(|n| *n > 0).map_or(0, |last| last + 1);
    let histogram = DeltaHistogram {
        zero,
        below,
        first: f64::from(LOWEST_QUARTER + first as i32) / 4.0,
        step: 0.25,
        counts: quarters[first..last.max(first)].to_vec(),
        above,
    };
    DeltaSpread { quantiles, histogram }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: impl IntoIterator<Item = f64>) -> FineCounts {
        let mut counts = FineCounts::default();
        for (n, x) in values.into_iter().enumerate() {
            counts.add(counter(x, n % ZEROS));
        }
        counts
    }

    #[test]
    fn quantiles_are_near_those_of_the_sorted_values() {
        // Log-uniform over seven decades, from a generator that the noise function uses too.
        let mut values: Vec<f64> = (0..10_001u64)
            .map(|n| crate::noise::hash::unit(crate::noise::hash::draw(1, n)))
            .map(|u| power_of_ten((u * 28.0) as i32 - 28) * (1.0 + u))
            .collect();
        let found = counts(values.iter().copied()).spread(f64::MAX).quantiles.unwrap();
        values.sort_by(f64::total_cmp);
        for (own, exact) in [(found.p50, values[5000]), (found.p90, values[9000]), (found.p99, values[9900])]
        {
            assert!((own / exact - 1.0).abs() <= 1.0 / 64.0, "{own} for {exact}");
        }
    }

    #[test]
    fn zeros_and_what_is_far_off_have_places_of_their_own() {
        let found = counts([0.0, 0.0, 0.0, 1e-300, 1e300, 2.0]).spread(1e300);
        let expected =
            DeltaHistogram { zero: 3, below: 1, first: 0.25, step: 0.25, counts: vec![1], above: 1 };
        assert_eq!(found.histogram, expected);
        // Six values: ranks 2, 4 and 4.
        let quantiles = found.quantiles.unwrap();
        assert_eq!(quantiles.p50, 0.0);
        assert!((quantiles.p90 - 2.0).abs() < 0.04, "{quantiles:?}");
        assert_eq!(counts([]).spread(0.0).quantiles, None);
    }

    #[test]
    fn quarters_of_a_decade() {
        let found = counts([1e-3, 1.7e-3, 1.8e-3, 0.99e-2, 1e-2]).spread(1.0).histogram;
        // 0.99e-2 lies in the bin of 1e-2, whose lower edge stands for it.
        assert_eq!((found.first, found.counts), (-3.0, vec![2, 1, 0, 0, 2]));
        assert_eq!(power_of_ten(-52), 1e-13);
        assert_eq!(power_of_ten(24), 1e6);
        assert_eq!(power_of_ten(-1), 0.562_341_325_190_349_1);
    }
}
