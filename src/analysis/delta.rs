//! The comparison itself: trained values beside initial ones, element by element.

use super::stats::DeltaStats;
use super::threshold::Threshold;
use crate::bits;
use crate::dispatch::{InstructionSet, Kernel};
use crate::tensor::FloatDtype;

/// Sums are kept in this many lanes, element `n` of a run in lane `n % LANES`, added up in lane order at the end: the
/// same order of additions whatever the processor's vectors, and a form that compilers vectorise.
const LANES: usize = 8;

/// Compares runs of trained weights of one tensor with their initial values.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    threshold: Threshold,
    decay: f64,
    dtype: FloatDtype,
}

impl Comparison {
    /// For a tensor stored as `dtype`, whose untouched weights training has multiplied by `decay` (1 for none).
    pub fn new(threshold: Threshold, decay: f64, dtype: FloatDtype) -> Self {
        Self { threshold, decay, dtype }
    }

    /// Compares a run of weights. `initial` comes in as the initial values rounded to the stored type, and goes out
    /// multiplied by the decay factor: the `w0` of `delta = w - w0`. Of `changed`, bit `n % 8` (least significant first)
    /// of byte `n / 8` becomes 1 where `|delta|` is over the threshold or no number, else 0; bits beyond the run become
    /// 0. The result depends on how a tensor is cut into runs only in the rounding of the sums: callers keep the cuts
    /// fixed.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn compare(&self, trained: &[f64], initial: &mut [f64], changed: &mut [u8]) -> DeltaStats {
        let mut tally = Tally::default();
        tally.add(self, trained, initial, changed);
        tally.stats()
    }
}

/// Counts and sums of one run of weights that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    stats: DeltaStats,
    sums: Sums,
    strip: Strip,
    /// Whether the last piece filled no lanes, so that none may follow.
    ended: bool,
}

impl Tally {
    /// Elements of a piece, except for the run's last one, are a multiple of this: then it makes no difference into which
    /// pieces the run was cut.
    pub const PIECE: usize = LANES;

    /// Compares the next piece, as [`Comparison::compare`] does a whole run, and returns how many trained zeros it has.
    ///
    /// # Panics
    /// If the slices differ in length, or a piece before this one was not a multiple of [`Self::PIECE`].
    pub fn add(&mut self, by: &Comparison, trained: &[f64], initial: &mut [f64], changed: &mut [u8]) -> u64 {
        self.add_on(InstructionSet::current(), by, trained, initial, changed)
    }

    /// [`Self::add`] on a given instruction set.
    pub fn add_on(
        &mut self,
        set: InstructionSet,
        by: &Comparison,
        trained: &[f64],
        initial: &mut [f64],
        changed: &mut [u8],
    ) -> u64 {
        assert!(
            trained.len() == initial.len() && trained.len().div_ceil(8) == changed.len(),
            "runs of different lengths"
        );
        assert!(!self.ended, "a piece after the end of its run");
        self.ended = !trained.len().is_multiple_of(LANES);
        if by.decay != 1.0 {
            for w0 in &mut *initial {
                *w0 *= by.decay;
            }
        }
        let zeros_before = self.stats.zeros;
        let pieces = trained.chunks(STRIP).zip(initial.chunks(STRIP)).zip(changed.chunks_mut(STRIP / 8));
        for ((trained, initial), changed) in pieces {
            let strip = &mut self.strip;
            let found = set.run(Compare { by, trained, initial, changed: &mut *changed, strip: &mut *strip });
            self.stats.total += trained.len() as u64;
            self.stats.changed += found.changed;
            self.stats.zeros += found.zeros;
            let whole = trained.len() / LANES;
            let sums = set.run(SumUp { strip, whole, sums: self.sums });
            match sums {
                Some(sums) if whole * LANES == trained.len() => {
                    self.sums = sums;
                    self.stats.finite += trained.len() as u64;
                    self.stats.changed_finite += found.changed;
                }
                _ => self.add_one_by_one(trained, initial, changed),
            }
        }
        self.stats.zeros - zeros_before
    }

    /// Adds up a strip that the kernel did not: one whose end fills no lanes, or in which some delta is not finite.
    fn add_one_by_one(&mut self, trained: &[f64], initial: &[f64], changed: &[u8]) {
        for (n, (w, w0)) in trained.iter().zip(initial).enumerate() {
            self.add_one(n % LANES, *w, *w0, changed[n / 8] >> (n % 8) & 1 == 1);
        }
    }

    fn add_one(&mut self, lane: usize, w: f64, w0: f64, changed: bool) {
        let d = (w - w0).abs();
        self.stats.not_finite += u64::from(!w.is_finite());
        if d < f64::INFINITY {
            self.stats.finite += 1;
            self.stats.changed_finite += u64::from(changed);
            self.sums.all[lane] += d;
            self.sums.squares[lane] += d * d;
            self.sums.changed[lane] += if changed { d } else { 0.0 };
            self.sums.max[lane] = self.sums.max[lane].max(d);
        }
    }

    /// What the pieces came to.
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

/// Elements that the two kernels hand each other at once.
const STRIP: usize = 512;

type Lanes = [f64; LANES];

/// |delta| of a strip: of all weights, and with 0 in place of the sleeping ones.
#[derive(Clone, Debug)]
struct Strip {
    all: [Lanes; STRIP / LANES],
    changed: [Lanes; STRIP / LANES],
    flags: [u8; STRIP],
}

impl Default for Strip {
    fn default() -> Self {
        let zeros = [[0.0; LANES]; STRIP / LANES];
        Self { all: zeros, changed: zeros, flags: [0; STRIP] }
    }
}

/// What [`Compare`] counts.
struct Found {
    changed: u64,
    zeros: u64,
}

/// Compares a strip.
struct Compare<'a> {
    by: &'a Comparison,
    trained: &'a [f64],
    initial: &'a [f64],
    changed: &'a mut [u8],
    strip: &'a mut Strip,
}

impl Kernel for Compare<'_> {
    type Output = Found;

    #[inline(always)]
    fn run(self) -> Found {
        // A copy of the loop for each kind of threshold, with the choice outside it.
        let dtype = self.by.dtype;
        match self.by.threshold {
            Threshold::Absolute(limit) => self.measure(|_, _, d| d <= limit),
            Threshold::Relative(x) => self.measure(|_, w0: f64, d| d <= x * w0.abs()),
            Threshold::Ulps(n) => match dtype {
                FloatDtype::F64 => self.measure(within(FloatDtype::F64, n)),
                FloatDtype::F32 => self.measure(within(FloatDtype::F32, n)),
                FloatDtype::F16 => self.measure(within(FloatDtype::F16, n)),
                FloatDtype::Bf16 => self.measure(within(FloatDtype::Bf16, n)),
            },
        }
    }
}

#[inline(always)]
fn within(dtype: FloatDtype, ulps: u64) -> impl Fn(f64, f64, f64) -> bool {
    move |w, w0, _| dtype.ulps_between(w, dtype.round(w0)) <= ulps
}

impl Compare<'_> {
    #[inline(always)]
    fn measure(self, sleeps: impl Fn(f64, f64, f64) -> bool) -> Found {
        let Self { trained, initial, changed, strip, .. } = self;
        // Equal lengths, said so that the compiler sees it.
        let len = trained.len();
        let initial = &initial[..len];
        let all = &mut strip.all.as_flattened_mut()[..len];
        let all_changed = &mut strip.changed.as_flattened_mut()[..len];
        let flags = &mut strip.flags[..len];
        let mut zeros = 0;
        for n in 0..len {
            let (w, w0) = (trained[n], initial[n]);
            let d = (w - w0).abs();
            let awake = !sleeps(w, w0, d);
            all[n] = d;
            all_changed[n] = if awake { d } else { 0.0 };
            flags[n] = u8::from(awake);
            zeros += u64::from(w == 0.0);
        }
        bits::pack(flags, changed);
        Found { changed: bits::count(changed), zeros }
    }
}

/// Sums over finite |delta|, element `n` of a run in lane `n % LANES`.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    all: Lanes,
    squares: Lanes,
    changed: Lanes,
    max: Lanes,
}

/// Adds whole lanes of a strip to the sums; `None` where some delta is not finite. A kernel of its own, so that its
/// sums find room in the registers.
struct SumUp<'a> {
    strip: &'a Strip,
    whole: usize,
    sums: Sums,
}

impl Kernel for SumUp<'_> {
    type Output = Option<Sums>;

    #[inline(always)]
    fn run(self) -> Option<Sums> {
        let Self { strip, whole, sums } = self;
        let Sums { mut all, mut squares, mut changed, mut max } = sums;
        for (d, c) in strip.all[..whole].iter().zip(&strip.changed) {
            each(&mut all, |n, x| x + d[n]);
            each(&mut squares, |n, x| x + d[n] * d[n]);
            each(&mut changed, |n, x| x + c[n]);
            each(&mut max, |n, x| if d[n] > x { d[n] } else { x });
        }
        // Infinity and NaN stay in a sum of magnitudes. (So does an overflow of finite ones: one by one gives it again.)
        all.iter().all(|sum| sum.is_finite()).then_some(Sums { all, squares, changed, max })
    }
}

#[inline(always)]
fn each(lanes: &mut Lanes, f: impl Fn(usize, f64) -> f64) {
    for (n, x) in lanes.iter_mut().enumerate() {
        *x = f(n, *x);
    }
}

/// Counts of exact zeros (either sign), and of NaN and infinities, of a tensor whose initial values are not known.
pub fn census(trained: &[f64]) -> DeltaStats {
    let zeros = trained.iter().map(|w| u64::from(*w == 0.0)).sum();
    let not_finite = trained.iter().map(|w| u64::from(!w.is_finite())).sum();
    DeltaStats { total: trained.len() as u64, zeros, not_finite, ..DeltaStats::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(threshold: Threshold, decay: f64, trained: &[f64], initial: &[f64]) -> (DeltaStats, Vec<u8>) {
        let mut changed = vec![9; trained.len().div_ceil(8)];
        let stats = Comparison::new(threshold, decay, FloatDtype::F32).compare(
            trained,
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
