//! Sums over a tensor's trained and initial weights, and counts of |delta|: the source of norms, angles,
//! standard deviations and quantiles.

use serde::{Deserialize, Serialize};

use super::exact::real;
use super::histogram::{FineCounts, ZEROS, counter};
use crate::dispatch::{InstructionSet, Kernel};
use crate::tensor::{Element, FloatDtype, bf16, f16};

/// As in the comparison: element `n` of a run is added to lane `n % LANES`, and the lanes
/// are added up in order.
const LANES: usize = ZEROS;
/// Elements whose counters are determined together, before any is counted.
const STEP: usize = 8 * LANES;

type Lanes = [f64; LANES];

#[inline(always)]
fn each(lanes: &mut Lanes, f: impl Fn(usize, f64) -> f64) {
    for (n, x) in lanes.iter_mut().enumerate() {
        *x = f(n, *x);
    }
}

/// Sums over the weights with finite delta, of one run, or of several runs merged in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Sum of the weights.
    #[serde(with = "real")]
    pub sum: f64,
    /// Sum of their squares.
    #[serde(with = "real")]
    pub sum_squares: f64,
    /// Sum of the initial values.
    #[serde(with = "real")]
    pub initial_sum: f64,
    /// Sum of their squares.
    #[serde(with = "real")]
    pub initial_sum_squares: f64,
    /// Sum of the products of both.
    #[serde(with = "real")]
    pub dot: f64,
}

/// The spread of a tensor's weights and initial values about their means.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spreads {
    /// Standard deviation of the weights.
    pub now: Option<f64>,
    /// Standard deviation of the initial values.
    pub initial: Option<f64>,
    /// Cosine of the angle between them after each mean is subtracted.
    pub cosine: Option<f64>,
}

/// A variance below this share of the mean square is a rounding error: a spread of a millionth of the mean.
const ROUNDING: f64 = 1e-12;

impl Moments {
    /// Adds a later run.
    pub fn merge(&mut self, later: &Self) {
        self.sum += later.sum;
        self.sum_squares += later.sum_squares;
        self.initial_sum += later.initial_sum;
        self.initial_sum_squares += later.initial_sum_squares;
        self.dot += later.dot;
    }

    /// The standard deviations of `n` weights and of their initial values, and the cosine of both
    /// after each mean is subtracted. The cosine is `None` if either is constant; each value is `None`
    /// if it is not finite.
    pub fn spreads(&self, n: u64) -> Spreads {
        let finite = |x: f64| x.is_finite().then_some(x);
        let mean = |sum: f64| sum / n as f64;
        let std = |sum: f64, squares: f64| {
            let (mean, mean_square) = (mean(sum), mean(squares));
            let variance = mean_square - mean * mean;
            // For equal values, rounding gives a result slightly above or below 0.
            // (Without values it is NaN.)
            finite(if variance <= ROUNDING * mean_square { 0.0 } else { variance.sqrt() })
        };
        let now = std(self.sum, self.sum_squares);
        let initial = std(self.initial_sum, self.initial_sum_squares);
        let cosine = now.zip(initial).filter(|(now, initial)| *now > 0.0 && *initial > 0.0).and_then(
            |(now, initial)| {
                finite((mean(self.dot) - mean(self.sum) * mean(self.initial_sum)) / now / initial)
            },
        );
        Spreads { now, initial, cosine }
    }

    /// The sums with the factor removed from the initial values.
    pub fn without_decay(self, decay: f64) -> Self {
        Self {
            initial_sum: self.initial_sum / decay,
            initial_sum_squares: self.initial_sum_squares / decay / decay,
            dot: self.dot / decay,
            ..self
        }
    }
}

/// Collects the sums and counts of one run of weights in pieces.
#[derive(Debug, Default)]
pub struct Gathering {
    sums: [Lanes; 5],
    /// Counts of |delta|.
    pub counts: FineCounts,
}

impl Gathering {
    /// Begins a run.
    pub fn clear(&mut self) {
        self.sums = Default::default();
        self.counts.clear();
    }

    /// Adds the next piece: stored weights of this type, and the `w0` of `delta = w - w0`. `finite` states
    /// that every delta is finite. The length of all pieces but the last is a multiple of
    /// [`super::Tally::PIECE`].
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn add(&mut self, dtype: FloatDtype, trained: &[u8], initial: &[f64], finite: bool) {
        self.add_on(InstructionSet::current(), dtype, trained, initial, finite);
    }

    /// [`Self::add`] with the given instruction set.
    pub fn add_on(
        &mut self,
        set: InstructionSet,
        dtype: FloatDtype,
        trained: &[u8],
        initial: &[f64],
        finite: bool,
    ) {
        assert_eq!(trained.len(), initial.len() * dtype.size(), "runs of different lengths");
        set.run(Gather { into: self, dtype, trained, initial, finite });
    }

    /// The sums.
    pub fn moments(&self) -> Moments {
        let sum = |n: usize| self.sums[n].iter().fold(0.0, |sum, x| sum + x);
        Moments {
            sum: sum(0),
            sum_squares: sum(1),
            initial_sum: sum(2),
            initial_sum_squares: sum(3),
            dot: sum(4),
        }
    }
}

struct Gather<'a> {
    into: &'a mut Gathering,
    dtype: FloatDtype,
    trained: &'a [u8],
    initial: &'a [f64],
    finite: bool,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.dtype {
            FloatDtype::F64 => self.of_type(f64::from_le_bytes),
            FloatDtype::F32 => self.of_type(|b| f64::from(f32::from_le_bytes(b))),
            FloatDtype::F16 => self.of_type(|b| f16::from_le_bytes(b).widened()),
            FloatDtype::Bf16 => self.of_type(|b| bf16::from_le_bytes(b).widened()),
        }
    }
}

impl Gather<'_> {
    #[inline(always)]
    fn of_type<const N: usize>(self, load: impl Fn([u8; N]) -> f64) {
        let Self { into, trained, initial, finite, .. } = self;
        let trained = trained.as_chunks::<N>().0;
        // Weights that are not finite are rare; a run with one is processed one by one.
        let fast = if finite { trained.len() / STEP * STEP } else { 0 };
        let whole = trained[..fast].as_chunks::<LANES>().0;
        let initial_whole = initial[..fast].as_chunks::<LANES>().0;
        // Two loops, each with few enough values for the registers.
        let [mut w1, mut w2, mut s1, mut s2, mut dot] = into.sums;
        for (w, w0) in whole.iter().zip(initial_whole) {
            let w: Lanes = std::array::from_fn(|n| load(w[n]));
            each(&mut w1, |n, sum| sum + w[n]);
            each(&mut w2, |n, sum| sum + w[n] * w[n]);
            each(&mut s1, |n, sum| sum + w0[n]);
            each(&mut s2, |n, sum| sum + w0[n] * w0[n]);
            each(&mut dot, |n, sum| sum + w[n] * w0[n]);
        }
        let mut sums = [w1, w2, s1, s2, dot];
        let steps = trained[..fast].as_chunks::<STEP>().0.iter().zip(initial[..fast].as_chunks::<STEP>().0);
        for (w, w0) in steps {
            let mut d = [0.0; STEP];
            for n in 0..STEP {
                d[n] = (load(w[n]) - w0[n]).abs();
            }
            let mut counters = [0; STEP];
            for n in 0..STEP {
                counters[n] = counter(d[n], n % LANES);
            }
            for counters in counters.as_chunks::<LANES>().0 {
                into.counts.add_all(counters);
            }
        }
        for (n, (w, w0)) in trained.iter().zip(initial).enumerate().skip(fast) {
            let (w, w0, lane) = (load(*w), *w0, n % LANES);
            let d = (w - w0).abs();
            if d < f64::INFINITY {
                into.counts.add(counter(d, lane));
                for (sum, x) in sums.iter_mut().zip([w, w * w, w0, w0 * w0, w * w0]) {
                    sum[lane] += x;
                }
            }
        }
        into.sums = sums;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_leave_out_what_is_not_finite() {
        let trained = [1.0, f64::NAN, -3.0, f64::INFINITY, 0.5];
        let initial = [2.0, 1.0, -3.0, 1.0, 0.0];
        let mut bytes = vec![0; 40];
        FloatDtype::F64.encode(&trained, &mut bytes);
        let mut gathering = Gathering::default();
        gathering.add(FloatDtype::F64, &bytes, &initial, false);
        let expected = Moments {
            sum: -1.5,
            sum_squares: 10.25,
            initial_sum: -1.0,
            initial_sum_squares: 13.0,
            dot: 11.0,
        };
        assert_eq!(gathering.moments(), expected);
        let histogram = gathering.counts.spread(1.0).histogram;
        // |delta| is 1, 0 and 0.5: 0.5 lies below 10^-0.25, 1 at 10^0, so that a quarter
        // between them is empty.
        assert_eq!((histogram.zero, histogram.first, histogram.counts), (1, -0.5, vec![1, 0, 1]));
    }
}
