//! The comparison itself: trained values beside initial ones, element by element.

use super::stats::DeltaStats;
use super::threshold::Threshold;
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
    /// multiplied by the decay factor: the `w0` of `delta = w - w0`. `changed[n]` becomes 1 where `|delta|` is over the
    /// threshold or no number, else 0. The result depends on how a tensor is cut into runs only in the rounding of the
    /// sums: callers keep the cuts fixed.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn compare(&self, trained: &[f64], initial: &mut [f64], changed: &mut [u8]) -> DeltaStats {
        assert!(
            trained.len() == initial.len() && trained.len() == changed.len(),
            "runs of different lengths"
        );
        if self.decay != 1.0 {
            for w0 in &mut *initial {
                *w0 *= self.decay;
            }
        }
        match self.threshold {
            Threshold::Absolute(limit) => measure(trained, initial, changed, |_, _, d| d <= limit),
            Threshold::Relative(x) => measure(trained, initial, changed, |_, w0: f64, d| d <= x * w0.abs()),
            Threshold::Ulps(n) => measure(trained, initial, changed, |w, w0, _| {
                self.dtype.ulps_between(w, self.dtype.round(w0)) <= n
            }),
        }
    }
}

#[inline(always)]
fn measure(
    trained: &[f64],
    initial: &[f64],
    changed: &mut [u8],
    sleeps: impl Fn(f64, f64, f64) -> bool,
) -> DeltaStats {
    let mut lanes = Lanes::default();
    let (trained, trained_tail) = trained.as_chunks::<LANES>();
    let (initial, initial_tail) = initial.as_chunks::<LANES>();
    let (changed, changed_tail) = changed.as_chunks_mut::<LANES>();
    for ((w, w0), c) in trained.iter().zip(initial).zip(changed) {
        for lane in 0..LANES {
            lanes.add(lane, w[lane], w0[lane], &mut c[lane], &sleeps);
        }
    }
    for (lane, ((w, w0), c)) in trained_tail.iter().zip(initial_tail).zip(changed_tail).enumerate() {
        lanes.add(lane, *w, *w0, c, &sleeps);
    }
    lanes.total()
}

#[derive(Default)]
struct Lanes {
    total: [u64; LANES],
    changed: [u64; LANES],
    changed_finite: [u64; LANES],
    finite: [u64; LANES],
    zeros: [u64; LANES],
    weights_finite: [u64; LANES],
    sum: [f64; LANES],
    sum_squares: [f64; LANES],
    sum_changed: [f64; LANES],
    max: [f64; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(
        &mut self,
        lane: usize,
        w: f64,
        w0: f64,
        changed: &mut u8,
        sleeps: &impl Fn(f64, f64, f64) -> bool,
    ) {
        let d = (w - w0).abs();
        let finite = d < f64::INFINITY;
        let awake = !sleeps(w, w0, d);
        *changed = u8::from(awake);
        let counted = if finite { d } else { 0.0 };
        let counted_changed = if awake { counted } else { 0.0 };
        self.total[lane] += 1;
        self.changed[lane] += u64::from(awake);
        self.changed_finite[lane] += u64::from(awake & finite);
        self.finite[lane] += u64::from(finite);
        self.zeros[lane] += u64::from(w == 0.0);
        self.weights_finite[lane] += u64::from(w.abs() < f64::INFINITY);
        self.sum[lane] += counted;
        self.sum_squares[lane] += counted * counted;
        self.sum_changed[lane] += counted_changed;
        self.max[lane] = if counted > self.max[lane] { counted } else { self.max[lane] };
    }

    fn total(&self) -> DeltaStats {
        let count = |lanes: &[u64; LANES]| lanes.iter().sum::<u64>();
        let sum = |lanes: &[f64; LANES]| lanes.iter().fold(0.0, |sum, x| sum + x);
        let total = count(&self.total);
        DeltaStats {
            total,
            changed: count(&self.changed),
            changed_finite: count(&self.changed_finite),
            finite: count(&self.finite),
            zeros: count(&self.zeros),
            not_finite: total - count(&self.weights_finite),
            sum: sum(&self.sum),
            sum_squares: sum(&self.sum_squares),
            sum_changed: sum(&self.sum_changed),
            max: self.max.iter().fold(0.0, |max, x| if *x > max { *x } else { max }),
        }
    }
}

/// Counts of exact zeros (either sign), and of NaN and infinities, of a tensor whose initial values are not known.
pub fn census(trained: &[f64]) -> DeltaStats {
    let zeros = trained.iter().filter(|w| **w == 0.0).count() as u64;
    let not_finite = trained.iter().filter(|w| !w.is_finite()).count() as u64;
    DeltaStats { total: trained.len() as u64, zeros, not_finite, ..DeltaStats::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(threshold: Threshold, decay: f64, trained: &[f64], initial: &[f64]) -> (DeltaStats, Vec<u8>) {
        let mut changed = vec![9; trained.len()];
        let stats = Comparison::new(threshold, decay, FloatDtype::F32).compare(
            trained,
            &mut initial.to_vec(),
            &mut changed,
        );
        (stats, changed)
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
