//! The comparison of trained and initial values, element by element.

use super::stats::DeltaStats;
use super::threshold::Threshold;
use crate::bits;
use crate::dispatch::{InstructionSet, Kernel};
use crate::tensor::{Element, FloatDtype, bf16, f16};

/// Number of lanes of a sum. Element `n` of a run is added to lane `n % LANES`, and the lanes are
/// added up in order at the end. So the order of additions is the same on every processor, and
/// compilers can vectorise the loop.
const LANES: usize = 8;

/// Compares runs of trained weights of one tensor with their initial values.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    threshold: Threshold,
    decay: f64,
    dtype: FloatDtype,
}

impl Comparison {
    /// For a tensor stored as `dtype`. Training has multiplied weights without gradient by
    /// `decay` (1 for none).
    pub fn new(threshold: Threshold, decay: f64, dtype: FloatDtype) -> Self {
        Self { threshold, decay, dtype }
    }

    /// Compares a run of weights. `trained` holds them as stored: little-endian elements of the type.
    /// `initial` holds the initial values rounded to that type; they are multiplied by the decay
    /// factor in place, which gives the `w0` of `delta = w - w0`. In `changed`, bit `n % 8` (least
    /// significant first) of byte `n / 8` becomes 1 if `|delta|` is above the threshold or NaN, else
    /// 0; bits beyond the run become 0.
    ///
    /// How a tensor is divided into runs affects the rounding of the sums, so callers keep the division
    /// fixed.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn compare(&self, trained: &[u8], initial: &mut [f64], changed: &mut [u8]) -> DeltaStats {
        let mut tally = Tally::default();
        tally.add(self, trained, initial, changed);
        tally.stats()
    }
}

/// Counts and sums of one run of weights that is compared in pieces.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    stats: DeltaStats,
    sums: Sums,
    /// Whether the last piece was not a multiple of [`Self::PIECE`], so that no other may follow.
    ended: bool,
}

impl Tally {
    /// The length of every piece but the last of a run must be a multiple of this. Then the result does not
    /// depend on how the run is divided into pieces.
    pub const PIECE: usize = LANES;

    /// Compares the next piece, as [`Comparison::compare`] compares a whole run. Returns the number of
    /// trained weights in it that are zero.
    ///
    /// # Panics
    /// If the slices differ in length, or a piece before this one was not a multiple of [`Self::PIECE`].
    pub fn add(&mut self, by: &Comparison, trained: &[u8], initial: &mut [f64], changed: &mut [u8]) -> u64 {
        self.add_on(InstructionSet::current(), by, trained, initial, changed)
    }

    /// [`Self::add`] with the given instruction set.
    pub fn add_on(
        &mut self,
        set: InstructionSet,
        by: &Comparison,
        trained: &[u8],
        initial: &mut [f64],
        changed: &mut [u8],
    ) -> u64 {
        let (len, size) = (initial.len(), by.dtype.size());
        assert!(trained.len() == len * size && changed.len() == len.div_ceil(8), "runs of different lengths");
        assert!(!self.ended, "a piece after the end of its run");
        self.ended = !len.is_multiple_of(LANES);
        if by.decay != 1.0 {
            for w0 in &mut *initial {
                *w0 *= by.decay;
            }
        }
        // The kernel processes whole tiles in which every delta is finite; the rest is compared one by one.
        let whole = len / TILE * TILE;
        let mut done = 0;
        let mut zeros = 0;
        let (head, head0, bits) = (&trained[..whole * size], &initial[..whole], &mut changed[..whole / 8]);
        if let Some(found) =
            set.run(Compare { by, trained: head, initial: head0, changed: bits, sums: self.sums })
        {
            self.sums = found.sums;
            self.stats.total += whole as u64;
            self.stats.finite += whole as u64;
            self.stats.changed += found.changed;
            self.stats.changed_finite += found.changed;
            done = whole;
            zeros = found.zeros;
        }
        for n in done..len {
            let mut w = [0.0];
            by.dtype.decode(&trained[n * size..(n + 1) * size], &mut w);
            let awake = self.add_one(by, n % LANES, w[0], initial[n]);
            if n % 8 == 0 {
                changed[n / 8] = 0;
            }
            changed[n / 8] |= u8::from(awake) << (n % 8);
            zeros += u64::from(w[0] == 0.0);
        }
        self.stats.zeros += zeros;
        zeros
    }

    /// Adds one weight, except to the count of zeros. Returns whether it has changed.
    fn add_one(&mut self, by: &Comparison, lane: usize, w: f64, w0: f64) -> bool {
        let d = (w - w0).abs();
        let changed = !by.sleeps(w, w0, d);
        self.stats.total += 1;
        self.stats.changed += u64::from(changed);
        self.stats.not_finite += u64::from(!w.is_finite());
        self.stats.nan += u64::from(w.is_nan());
        if d < f64::INFINITY {
            self.stats.finite += 1;
            self.stats.changed_finite += u64::from(changed);
            self.sums.all[lane] += d;
            self.sums.squares[lane] += d * d;
            self.sums.changed[lane] += if changed { d } else { 0.0 };
            self.sums.max[lane] = self.sums.max[lane].max(d);
        }
        changed
    }

    /// Whether every delta so far is finite.
    pub fn is_finite(&self) -> bool {
        self.stats.finite == self.stats.total
    }

    /// The result for all pieces.
    pub fn stats(&self) -> DeltaStats {
        let sum = |lanes: &Lanes| lanes.iter().fold(0.0, |sum, x| sum + x);
        DeltaStats {
            sum: sum(&self.sums.all),
            sum_squares: sum(&self.sums.squares),
            sum_changed: sum(&self.sums.changed),
            max: self.sums.max.iter().fold(0.0, |max, x| if *x > max { *x } else { max }),
            ..self.stats
        }
    }
}

type Lanes = [f64; LANES];

/// Lanes whose results make up one word of bits.
const STEPS: usize = 8;
/// Elements per iteration of the kernel's loop.
const TILE: usize = STEPS * LANES;

/// The bit of each element of a tile.
const BITS: [[u64; LANES]; STEPS] = {
    let mut bits = [[0; LANES]; STEPS];
    let mut n = 0;
    while n < TILE {
        bits[n / LANES][n % LANES] = 1 << n;
        n += 1;
    }
    bits
};

/// Sums over finite |delta|, element `n` of a run in lane `n % LANES`.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    all: Lanes,
    squares: Lanes,
    changed: Lanes,
    max: Lanes,
}

/// Compares whole tiles.
struct Compare<'a> {
    by: &'a Comparison,
    trained: &'a [u8],
    initial: &'a [f64],
    changed: &'a mut [u8],
    sums: Sums,
}

/// Result of [`Compare`].
struct Found {
    sums: Sums,
    changed: u64,
    zeros: u64,
}

impl Kernel for Compare<'_> {
    /// `None` if some delta is not finite.
    type Output = Option<Found>;

    #[inline(always)]
    fn run(self) -> Option<Found> {
        // One copy of the loop for each type, and below for each kind of threshold,
        // selected outside the loop.
        match self.by.dtype {
            FloatDtype::F64 => self.of_type(FloatDtype::F64, f64::from_le_bytes),
            FloatDtype::F32 => self.of_type(FloatDtype::F32, |b| f64::from(f32::from_le_bytes(b))),
            FloatDtype::F16 => self.of_type(FloatDtype::F16, |b| f16::from_le_bytes(b).widened()),
            FloatDtype::Bf16 => self.of_type(FloatDtype::Bf16, |b| bf16::from_le_bytes(b).widened()),
        }
    }
}

impl Compare<'_> {
    #[inline(always)]
    fn of_type<const N: usize>(self, dtype: FloatDtype, load: impl Fn([u8; N]) -> f64) -> Option<Found> {
        match self.by.threshold {
            Threshold::Absolute(limit) => self.measure(load, |_, _, d| d <= limit),
            Threshold::Relative(x) => self.measure(load, |_, w0: f64, d| d <= x * w0.abs()),
            // Equality needs no distance, and compilers can vectorise it.
            Threshold::Ulps(0) => self.measure(load, |w, w0, _| w == dtype.round(w0)),
            Threshold::Ulps(n) => self.measure(load, |w, w0, _| dtype.ulps_between(w, dtype.round(w0)) <= n),
            Threshold::Nothing => self.measure(load, |_, _, _| false),
        }
    }

    /// In lanes, with no more sums than fit into the registers of AVX2, as measurements and the compiler's
    /// output confirmed. Other counts have loops of their own.
    #[inline(always)]
    fn measure<const N: usize>(
        self,
        load: impl Fn([u8; N]) -> f64,
        sleeps: impl Fn(f64, f64, f64) -> bool,
    ) -> Option<Found> {
        let Self { trained, initial, changed, sums, .. } = self;
        let Sums { mut all, mut squares, changed: mut over, mut max } = sums;
        let trained = trained.as_chunks::<N>().0;
        let trained_tiles = trained.as_chunks::<LANES>().0.as_chunks::<STEPS>().0;
        let initial_tiles = initial.as_chunks::<LANES>().0.as_chunks::<STEPS>().0;
        let words = changed.as_chunks_mut::<{ TILE / 8 }>().0;
        for ((w, w0), out) in trained_tiles.iter().zip(initial_tiles).zip(&mut *words) {
            let mut word = [0; LANES];
            for step in 0..STEPS {
                let w: Lanes = std::array::from_fn(|n| load(w[step][n]));
                let w0 = &w0[step];
                let d: Lanes = std::array::from_fn(|n| (w[n] - w0[n]).abs());
                let awake: [u64; LANES] =
                    std::array::from_fn(|n| if sleeps(w[n], w0[n], d[n]) { 0 } else { !0 });
                each(&mut all, |n, x| x + d[n]);
                each(&mut squares, |n, x| x + d[n] * d[n]);
                each(&mut over, |n, x| x + f64::from_bits(d[n].to_bits() & awake[n]));
                each(&mut max, |n, x| if d[n] > x { d[n] } else { x });
                for n in 0..LANES {
                    word[n] |= awake[n] & BITS[step][n];
                }
            }
            *out = word.iter().fold(0, |all, bits| all | bits).to_le_bytes();
        }
        let zeros = trained.iter().map(|w| u64::from(load(*w) == 0.0)).sum();
        let changed = bits::count(changed);
        // A sum of magnitudes keeps infinity and NaN. (It may also overflow; comparing one by one then
        // gives the same result.)
        let finite = all.iter().all(|sum| sum.is_finite());
        finite.then_some(Found { sums: Sums { all, squares, changed: over, max }, changed, zeros })
    }
}

#[inline(always)]
fn each(lanes: &mut Lanes, f: impl Fn(usize, f64) -> f64) {
    for (n, x) in lanes.iter_mut().enumerate() {
        *x = f(n, *x);
    }
}

impl Comparison {
    /// Whether a weight is within the threshold of a value at distance `d`.
    #[inline(always)]
    pub(crate) fn sleeps(&self, w: f64, w0: f64, d: f64) -> bool {
        match self.threshold {
            Threshold::Absolute(limit) => d <= limit,
            Threshold::Relative(x) => d <= x * w0.abs(),
            Threshold::Ulps(n) => self.dtype.ulps_between(w, self.dtype.round(w0)) <= n,
            Threshold::Nothing => false,
        }
    }
}

/// Counts the zeros (of either sign), NaN and infinities of a tensor whose initial values are unknown.
pub fn census(trained: &[f64]) -> DeltaStats {
    let zeros = trained.iter().map(|w| u64::from(*w == 0.0)).sum();
    let not_finite = trained.iter().map(|w| u64::from(!w.is_finite())).sum();
    let nan = trained.iter().map(|w| u64::from(w.is_nan())).sum();
    DeltaStats { total: trained.len() as u64, zeros, not_finite, nan, ..DeltaStats::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(threshold: Threshold, decay: f64, trained: &[f64], initial: &[f64]) -> (DeltaStats, Vec<u8>) {
        let mut changed = vec![9; trained.len().div_ceil(8)];
        let mut bytes = vec![0; 4 * trained.len()];
        FloatDtype::F32.encode(trained, &mut bytes);
        let stats = Comparison::new(threshold, decay, FloatDtype::F32).compare(
            &bytes,
            &mut initial.to_vec(),
            &mut changed,
        );
        (stats, (0..trained.len()).map(|n| changed[n / 8] >> (n % 8) & 1).collect())
    }

    #[test]
    fn thresholds_include_their_limit() {
        let (stats, changed) = compare(Threshold::Absolute(0.25), 1.0, &[1.0, 1.25, 1.5, -1.0], &[1.0; 4]);
        assert_eq!(changed, [0, 0, 1, 1]);
        assert_eq!((stats.total, stats.changed, stats.finite), (4, 2, 4));
        assert_eq!((stats.sum, stats.sum_squares, stats.sum_changed, stats.max), (2.75, 4.3125, 2.5, 2.0));

        let (_, changed) =
            compare(Threshold::Relative(0.5), 1.0, &[2.0, 2.5, 0.0, 0.1], &[4.0, 1.0, 0.0, 0.0]);
        assert_eq!(changed, [0, 1, 0, 1]);

        let up = f64::from(1.0f32.next_up());
        let (_, changed) =
            compare(Threshold::Ulps(1), 1.0, &[up, f64::from(1.0f32.next_up().next_up())], &[1.0; 2]);
        assert_eq!(changed, [0, 1]);
    }

    #[test]
    fn decay_moves_the_initial_value() {
        let (stats, changed) = compare(Threshold::Absolute(0.0), 0.5, &[1.0, 2.0], &[2.0, 2.0]);
        assert_eq!(changed, [0, 1]);
        assert_eq!(stats.sum, 1.0);
    }

    #[test]
    fn nan_and_infinity_are_changed_and_leave_the_means_alone() {
        let trained = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, 3.0, -0.0];
        let (stats, changed) = compare(Threshold::Absolute(1e300), 1.0, &trained, &[1.0; 6]);
        assert_eq!(changed, [1, 1, 1, 0, 0, 0]);
        assert_eq!((stats.not_finite, stats.finite, stats.changed_finite, stats.zeros), (3, 3, 0, 1));
        assert_eq!((stats.sum, stats.max), (3.0, 2.0));
        let counts = census(&trained);
        assert_eq!((counts.total, counts.not_finite, counts.zeros), (6, 3, 1));
    }
}
