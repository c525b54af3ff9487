//! Evidence for weights that training never touched, at a given decay factor.
//!
//! Let `rho = |w / (s * w0) - 1|`. For untouched weights, `rho` is 0 (without decay), or about 1e-5, the
//! rounding errors of many steps. Live weights have all values of `rho`, and near 0 their number grows
//! tenfold per decade. If there are untouched weights, a valley lies between the two groups. Two-byte types
//! are too coarse for this. In them, untouched weights equal `s * w0` when it is rounded, while live weights
//! have neighbouring values as often as that one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::histogram::power_of_ten;
use super::threshold::Threshold;
use crate::tensor::FloatDtype;

/// Minimum share and minimum number of the examined weights that can count as sleeping.
const LEAST_SHARE: f64 = 2e-4;
const LEAST_COUNT: f64 = 16.0;
/// Minimum ratio of the weights in the peak to the live weights expected there.
const PEAK_OVER_LIVE: f64 = 20.0;
/// Maximum ratio of the valley to the peak.
const VALLEY_OVER_PEAK: f64 = 0.2;
/// Minimum share of truly sleeping weights among those that count as sleeping, as expected from the density
/// of the live weights.
const LEAST_PRECISION: f64 = 0.97;
/// The same for two-byte types, in which live weights often have the neighbouring values.
const NARROW_PEAK_OVER_LIVE: f64 = 5.0;
/// The threshold may widen as long as the expected share of live weights stays below this.
const AMPLE_LIVE_SHARE: f64 = 0.005;

/// Quarters of a decade of rho, from 1e-9 to 1. The spacing of F32 values is larger than the smallest.
const LOWEST_QUARTER: i32 = -36;
const QUARTERS: usize = 36;
/// The largest threshold: at 10^-3.5, a weight is as likely live as sleeping.
const HIGHEST_CUT: usize = 22;

/// Evidence for `decay: auto` or `threshold: auto`, for the tensors with one stored type and one factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Whether any weights can be called sleeping.
    pub found: bool,
    /// The stored type of the tensors: f64, f32, f16 or bf16.
    pub dtype: String,
    /// The factor on the initial values; if none was found, the last one examined: 1.
    pub decay: f64,
    /// Whether the factor was inferred (`decay: auto`); otherwise the config gives it.
    pub decay_sought: bool,
    /// The resulting threshold, if requested: `none` if nothing was found.
    pub threshold: Threshold,
    /// Number of tensors whose own weights support this.
    pub tensors: u64,
    /// Number of weights examined, with an initial value other than 0: all of a checkpoint, or an even sample
    /// of a large one.
    pub weights: u64,
    /// How many of them are within the threshold.
    pub sleeping: u64,
    /// How many live weights are expected there by chance, from the density of live weights next to it.
    pub live_expected: f64,
    /// Weights in the fullest bin of the histogram (for two-byte types, at exactly the expected value).
    pub peak: u64,
    /// Live weights expected in that bin, judging by its neighbourhood.
    pub peak_live_expected: f64,
    /// Weights in the valley between the peak and the live weights.
    pub valley: u64,
    /// Counts of rho in quarters of a decade.
    pub histogram: RatioHistogram,
}

/// Counts by the decimal logarithm of `rho = |w / (s * w0) - 1|`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatioHistogram {
    /// Weights whose rho is exactly 0.
    pub zero: u64,
    /// Other weights below the first edge.
    pub below: u64,
    /// Decimal logarithm of the first edge: -9.
    pub first: f64,
    /// Distance between edges: 0.25.
    pub step: f64,
    /// Weights between each edge and the next, up to a rho of 1.
    pub counts: Vec<u64>,
    /// Weights whose rho is above 1.
    pub above: u64,
}

impl Evidence {
    /// Share of truly sleeping weights among those called so, as far as the live ones' density tells.
    pub fn expected_precision(&self) -> Option<f64> {
        (self.sleeping > 0).then(|| (1.0 - self.live_expected / self.sleeping as f64).max(0.0))
    }
}

/// A weight and its initial value, rounded to the stored type.
pub type Pair = [f64; 2];

/// rho of one pair; `None` if the initial value is 0 or a value is not finite.
fn rho([w, w0]: Pair, s: f64) -> Option<f64> {
    let rho = (w / (s * w0) - 1.0).abs();
    (w0 != 0.0 && rho.is_finite()).then_some(rho)
}

/// Counts of rho of many weights.
#[derive(Clone, Debug)]
pub(super) struct RhoCounts {
    zero: u64,
    below: u64,
    bins: [u64; QUARTERS],
    above: u64,
}

impl RhoCounts {
    pub fn of(pairs: impl Iterator<Item = Pair>, s: f64) -> Self {
        let mut counts = Self { zero: 0, below: 0, bins: [0; QUARTERS], above: 0 };
        let edges: Vec<f64> = (0..=QUARTERS).map(edge).collect();
        // How many edges are at or below each power of two: each factor of two contains one or two more.
        let exponent = |x: f64| (x.to_bits() >> 52) as usize;
        let below: Vec<usize> = (0..2048u64)
            .map(|e| edges.partition_point(|edge| *edge <= f64::from_bits(e << 52)).min(QUARTERS + 1))
            .collect();
        for rho in pairs.filter_map(|pair| rho(pair, s)) {
            if rho == 0.0 {
                counts.zero += 1;
                continue;
            }
            let mut n = below[exponent(rho)];
            while n <= QUARTERS && edges[n] <= rho {
                n += 1;
            }
            match n {
                0 => counts.below += 1,
                n if n > QUARTERS => counts.above += 1,
                n => counts.bins[n - 1] += 1,
            }
        }
        counts
    }

    fn total(&self) -> u64 {
        self.zero + self.below + self.bins.iter().sum::<u64>() + self.above
    }

    fn histogram(&self) -> RatioHistogram {
        RatioHistogram {
            zero: self.zero,
            below: self.below,
            first: f64::from(LOWEST_QUARTER) / 4.0,
            step: 0.25,
            counts: self.bins.to_vec(),
            above: self.above,
        }
    }

    /// Number of weights below edge `n`.
    fn up_to(&self, n: usize) -> u64 {
        self.zero + self.below + self.bins[..n].iter().sum::<u64>()
    }

    /// Live weights per unit of rho in the decade above edge `n`.
    fn live_density(&self, n: usize) -> f64 {
        let decade = &self.bins[n..(n + 4).min(QUARTERS)];
        decade.iter().sum::<u64>() as f64 / (edge(n + decade.len()) - edge(n))
    }
}

fn edge(n: usize) -> f64 {
    power_of_ten(LOWEST_QUARTER + n as i32)
}

fn width(n: usize) -> f64 {
    edge(n + 1) - edge(n)
}

/// Looks for untouched weights among the pairs, at a given factor.
pub(super) fn judge(pairs: impl Iterator<Item = Pair> + Clone, s: f64, dtype: FloatDtype) -> Evidence {
    let counts = RhoCounts::of(pairs.clone(), s);
    let mut evidence = Evidence {
        found: false,
        dtype: dtype.name().to_owned(),
        decay: s,
        decay_sought: false,
        threshold: Threshold::Nothing,
        tensors: 0,
        weights: counts.total(),
        sleeping: 0,
        live_expected: 0.0,
        peak: 0,
        peak_live_expected: 0.0,
        valley: 0,
        histogram: counts.histogram(),
    };
    let found = match dtype {
        FloatDtype::F64 | FloatDtype::F32 => {
            cut_at_zero(&counts, s, dtype).or_else(|| cut_in_valley(&counts, s))
        }
        FloatDtype::F16 | FloatDtype::Bf16 => cut_at_value(&Steps::of(pairs, s, dtype)),
    };
    if let Some(cut) = found {
        evidence = Evidence {
            found: true,
            threshold: cut.threshold,
            sleeping: cut.sleeping,
            live_expected: cut.live_expected,
            peak: cut.peak,
            peak_live_expected: cut.peak_live_expected,
            valley: cut.valley,
            ..evidence
        };
    }
    evidence
}

struct Candidate {
    threshold: Threshold,
    sleeping: u64,
    live_expected: f64,
    peak: u64,
    peak_live_expected: f64,
    valley: u64,
}

impl Candidate {
    /// Whether there are enough weights in the peak, far more than live weights alone, and
    /// a valley next to it.
    fn is_sound(&self, weights: u64, over_live: f64, precision: f64) -> bool {
        let sleeping = self.sleeping as f64;
        sleeping - self.live_expected >= (LEAST_SHARE * weights as f64).max(LEAST_COUNT)
            && self.peak as f64 >= over_live * self.peak_live_expected
            && self.valley as f64 <= VALLEY_OVER_PEAK * self.peak as f64
            && self.live_expected <= (1.0 - precision) * sleeping
    }
}

/// Without decay, untouched weights equal their initial values.
fn cut_at_zero(counts: &RhoCounts, s: f64, dtype: FloatDtype) -> Option<Candidate> {
    if s != 1.0 {
        return None;
    }
    // Half the distance to the next value of the type, and a decade that is wide compared with it.
    let (half_ulp, beside) = if dtype == FloatDtype::F32 { (6e-8, 8) } else { (1.2e-16, 0) };
    let live = counts.live_density(beside) * half_ulp;
    let valley = counts.bins[beside..beside + 4].iter().copied().max().unwrap_or(0);
    let cut = Candidate {
        threshold: Threshold::Relative(0.0),
        sleeping: counts.zero,
        live_expected: live,
        peak: counts.zero,
        peak_live_expected: live,
        valley,
    };
    cut.is_sound(counts.total(), PEAK_OVER_LIVE, LEAST_PRECISION).then_some(cut)
}

/// With decay, the ratios of untouched weights differ by rounding errors. The threshold is the lower edge of
/// the valley after the peak, or the upper edge if that adds almost no live weights.
fn cut_in_valley(counts: &RhoCounts, s: f64) -> Option<Candidate> {
    // The fullest bin. Everything below the bins counts as one bin.
    let low = (counts.zero + counts.below, None);
    let bins = counts.bins[..HIGHEST_CUT].iter().enumerate().map(|(n, count)| (*count, Some(n)));
    let over_live = |n: Option<usize>| n.map_or(0.0, |n| counts.live_density(HIGHEST_CUT) * width(n));
    let (peak, at) = std::iter::once(low)
        .chain(bins)
        .max_by(|a, b| (a.0 as f64 - over_live(a.1)).total_cmp(&(b.0 as f64 - over_live(b.1))))?;
    // Without decay, only weights equal to their initial values are known to be untouched.
    if s == 1.0 {
        return None;
    }
    let first = at.map_or(0, |n| n + 1);
    let cut_at = |n: usize| {
        let live = counts.live_density(n) * edge(n);
        Candidate {
            threshold: Threshold::Relative(edge(n)),
            sleeping: counts.up_to(n),
            live_expected: live,
            peak,
            peak_live_expected: at.map_or(0.0, |at| counts.live_density(n) * width(at)),
            valley: counts.bins[n],
        }
    };
    // After the peak, the number of sleeping weights falls, and that of live weights rises: by 1.8 per bin if
    // they are spread evenly, by less if training was so short that they are close to their initial values.
    let rises = |n: usize| {
        let next = counts.bins[n + 1] as f64;
        counts.bins[n] as f64 <= (next + 2.0 * next.sqrt()).min(VALLEY_OVER_PEAK * peak as f64)
    };
    let n = (first..HIGHEST_CUT).find(|n| rises(*n))?;
    let cut = cut_at(n);
    if !cut.is_sound(counts.total(), PEAK_OVER_LIVE, LEAST_PRECISION) {
        return None;
    }
    let wider = cut_at(n + 1);
    let ample = wider.live_expected <= AMPLE_LIVE_SHARE * wider.sleeping as f64;
    Some(if ample {
        Candidate { valley: cut.valley, peak_live_expected: cut.peak_live_expected, ..wider }
    } else {
        cut
    })
}

/// Weights of a two-byte type, by their distance from the expected value in representable values.
struct Steps {
    weights: u64,
    /// Counts at distance -2, -1, 0, 1 and 2.
    near: [u64; 5],
}

impl Steps {
    pub fn of(pairs: impl Iterator<Item = Pair>, s: f64, dtype: FloatDtype) -> Self {
        let mut steps = Self { weights: 0, near: [0; 5] };
        for [w, w0] in pairs.filter(|[w, w0]| *w0 != 0.0 && w.is_finite()) {
            steps.weights += 1;
            let expected = dtype.round(s * w0);
            let distance = dtype.ulps_between(w, expected);
            if distance <= 2 {
                let distance = distance as usize;
                steps.near[if w < expected { 2 - distance } else { 2 + distance }] += 1;
            }
        }
        steps
    }

    fn live(&self) -> f64 {
        let [a, b, _, c, d] = self.near;
        (a + b + c + d) as f64 / 4.0
    }
}

fn cut_at_value(steps: &Steps) -> Option<Candidate> {
    let live = steps.live();
    let peak = steps.near[2];
    let cut = Candidate {
        threshold: Threshold::Ulps(0),
        sleeping: peak,
        live_expected: live,
        peak,
        peak_live_expected: live,
        valley: (steps.near[1] + steps.near[3]) / 2,
    };
    // A weight that moved and returned is indistinguishable from one that never moved, so no precision is
    // required.
    cut.is_sound(steps.weights, NARROW_PEAK_OVER_LIVE, 0.0).then_some(cut)
}

/// Whether the weights of one tensor alone support the evidence of all.
pub(super) fn borne_out_by(
    pairs: impl Iterator<Item = Pair> + Clone,
    evidence: &Evidence,
    dtype: FloatDtype,
) -> bool {
    const LEAST: f64 = 8.0;
    const OVER_LIVE: f64 = 5.0;
    let (sleeping, live) = match evidence.threshold {
        Threshold::Ulps(_) => {
            let steps = Steps::of(pairs, evidence.decay, dtype);
            (steps.near[2], steps.live())
        }
        _ => {
            let counts = RhoCounts::of(pairs, evidence.decay);
            match evidence.threshold {
                Threshold::Relative(x) if x > 0.0 => {
                    let n = (0..QUARTERS).find(|n| edge(*n) >= x).unwrap_or(QUARTERS - 1);
                    (counts.up_to(n), counts.live_density(n) * x)
                }
                _ => (counts.zero, counts.live_density(8) * 6e-8),
            }
        }
    };
    sleeping as f64 >= LEAST && sleeping as f64 >= OVER_LIVE * live
}
