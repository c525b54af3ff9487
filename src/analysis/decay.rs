//! The factor by which weight decay has multiplied every weight without gradient.
//!
//! Decoupled decay (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) multiplies a
//! weight by `1 - lr * wd` at each step. Coupled L2 regularisation under SGD does the same, except for the
//! transient of the momentum. A weight without gradient ends as `s * w0`, with the same `s` for all weights
//! of a parameter group. `s` is where the ratios `w / w0` of all tensors together have an unusually high
//! peak. Small tensors are not examined alone, because a few live weights can have the same ratio by chance.

use super::evidence::{Evidence, Pair, borne_out_by, judge};
use super::threshold::Threshold;
use crate::tensor::FloatDtype;

/// A sample of the weights of a tensor, or all of them.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The stored type.
    pub dtype: FloatDtype,
    /// The factor, if the config gives it.
    pub decay: Option<f64>,
    /// Weights with their initial values.
    pub pairs: Vec<Pair>,
}

/// Decision about a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The factor on its initial values.
    pub decay: f64,
    /// The threshold for its weights.
    pub threshold: Threshold,
    /// Index in the list of evidence.
    pub evidence: Option<usize>,
    /// Whether its own weights support this.
    pub own: bool,
}

/// Maximum number of factors: more than the parameter groups of any optimiser.
const MOST_GROUPS: usize = 8;

/// Infers factor and threshold of every tensor from the weights of all tensors. The decisions are in
/// the order of the tensors. Tensors of the same type, and with the same factor if the config gives
/// one, are examined together.
pub fn decide(tensors: &[Sampled]) -> (Vec<Calibration>, Vec<Evidence>) {
    let nothing = Calibration { decay: 1.0, threshold: Threshold::Nothing, evidence: None, own: false };
    let mut decided = vec![nothing; tensors.len()];
    let mut evidence = Vec::new();
    let mut left: Vec<usize> = (0..tensors.len()).collect();
    while let Some(first) = left.first() {
        let kind = |n: usize| (tensors[n].dtype, tensors[n].decay.map(f64::to_bits));
        let (pool, others): (Vec<usize>, Vec<usize>) = left.iter().partition(|n| kind(**n) == kind(*first));
        left = others;
        decide_pool(tensors, &pool, &mut decided, &mut evidence);
    }
    (decided, evidence)
}

fn decide_pool(
    tensors: &[Sampled],
    pool: &[usize],
    decided: &mut [Calibration],
    evidence: &mut Vec<Evidence>,
) {
    let Some(&first) = pool.first() else { return };
    let Sampled { dtype, decay: given, .. } = tensors[first];
    // Weights that started at 0 have no ratio; those that are still 0 never moved.
    let (mut left, zeros): (Vec<usize>, Vec<usize>) =
        pool.iter().partition(|n| tensors[**n].pairs.iter().any(|[_, w0]| *w0 != 0.0));
    for n in zeros {
        let decay = given.unwrap_or(1.0);
        decided[n] = Calibration { decay, threshold: Threshold::Absolute(0.0), evidence: None, own: true };
    }
    let begin = evidence.len();
    while !left.is_empty() && evidence.len() - begin < MOST_GROUPS {
        let mut found = find(tensors, &left, given, dtype);
        let borne_out = |n: &usize| found.found && borne_out_by(pairs(tensors, &[*n]), &found, dtype);
        let (own, others): (Vec<usize>, Vec<usize>) = left.iter().partition(|n| borne_out(n));
        found.tensors = own.len() as u64;
        found.decay_sought = given.is_none();
        // Evidence that no tensor shows alone, but all together do, is reported once.
        if own.is_empty() && evidence.len() > begin {
            break;
        }
        for n in &own {
            decided[*n] = decision(&found, evidence.len(), true);
        }
        let end = own.is_empty();
        evidence.push(found);
        left = others;
        if end {
            break;
        }
    }
    // Tensors without evidence of their own get the factor that most of their weights agree with; of several,
    // the first.
    for n in left {
        let agreeing = |e: &Evidence| judge_again(tensors, n, e, dtype);
        let best = (begin..evidence.len()).rev().max_by_key(|e| agreeing(&evidence[*e]));
        if let Some(best) = best {
            decided[n] = decision(&evidence[best], best, false);
        }
    }
}

fn decision(evidence: &Evidence, place: usize, own: bool) -> Calibration {
    Calibration { decay: evidence.decay, threshold: evidence.threshold, evidence: Some(place), own }
}

/// Number of weights of a tensor that are within the threshold of the evidence.
fn judge_again(tensors: &[Sampled], n: usize, evidence: &Evidence, dtype: FloatDtype) -> usize {
    let sleeps = |[w, w0]: &Pair| {
        let expected = evidence.decay * w0;
        match evidence.threshold {
            Threshold::Relative(x) => (w - expected).abs() <= x * expected.abs(),
            Threshold::Ulps(_) => *w == dtype.round(expected),
            _ => false,
        }
    };
    tensors[n].pairs.iter().filter(|pair| sleeps(pair)).count()
}

fn pairs<'a>(tensors: &'a [Sampled], of: &'a [usize]) -> impl Iterator<Item = Pair> + Clone + 'a {
    of.iter().flat_map(|n| tensors[*n].pairs.iter().copied())
}

/// The evidence for the factor that most weights agree with. Factor 1 (no decay) is examined first, then the
/// peaks of the ratios.
fn find(tensors: &[Sampled], of: &[usize], given: Option<f64>, dtype: FloatDtype) -> Evidence {
    let all = || pairs(tensors, of);
    if let Some(s) = given {
        return judge(all(), s, dtype);
    }
    let mut best = judge(all(), 1.0, dtype);
    for candidate in candidates(all(), dtype) {
        let s = refine(all(), candidate, dtype);
        let evidence = judge(all(), s, dtype);
        let agreeing = |e: &Evidence| if e.found { e.sleeping as f64 - e.live_expected } else { 0.0 };
        if evidence.found && agreeing(&evidence) > 1.01 * agreeing(&best) {
            best = evidence;
        }
    }
    // The middle of a peak that is wider than the window may be outside the window.
    for _ in 0..3 {
        let Threshold::Relative(reach @ f64::MIN_POSITIVE..) = best.threshold else { break };
        let s = median_near(all(), best.decay, reach);
        let evidence = judge(all(), s, dtype);
        if s == best.decay || !evidence.found || (evidence.sleeping as f64) < 0.999 * best.sleeping as f64 {
            break;
        }
        best = evidence;
    }
    best
}

/// The median of the ratios within `reach` of a factor, relative to it.
fn median_near(pairs: impl Iterator<Item = Pair>, factor: f64, reach: f64) -> f64 {
    let mut near: Vec<f64> =
        pairs.map(|[w, w0]| w / w0).filter(|ratio| (ratio / factor - 1.0).abs() <= reach).collect();
    let middle = near.len() / 2;
    if near.is_empty() { factor } else { *near.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

/// Ratios from 2^-20 to 2 are counted in bins by the upper 16 bits of their significand: each bin is 7.6e-6
/// to 1.5e-5 of its value wide.
const BIN_BITS: u32 = 16;
const LOWEST_EXPONENT: u64 = 1023 - 20;
const BINS: usize = 21 << BIN_BITS;

fn bin(ratio: f64) -> Option<usize> {
    let bin = (ratio.to_bits() >> (52 - BIN_BITS)).checked_sub(LOWEST_EXPONENT << BIN_BITS)? as usize;
    (ratio > 0.0 && bin < BINS).then_some(bin)
}

fn ratio_of(bin: usize) -> f64 {
    f64::from_bits((((bin as u64) + (LOWEST_EXPONENT << BIN_BITS)) << (52 - BIN_BITS)) | 1 << (51 - BIN_BITS))
}

/// The interval of factors that explain a weight: it may have been rounded by half a step of its type; in
/// wide types, by the rounding errors of many training steps.
fn interval([w, w0]: Pair, dtype: FloatDtype) -> Option<(f64, f64)> {
    let ratio = w / w0;
    if !(ratio.is_finite() && ratio > 0.0) {
        return None;
    }
    let half = match dtype {
        FloatDtype::F64 | FloatDtype::F32 => 2e-5,
        // Half the distance to the next value, relative to the value; it depends on the
        // position in the octave.
        FloatDtype::F16 | FloatDtype::Bf16 => {
            let significand = f64::from_bits(w.to_bits() & ((1 << 52) - 1) | 1023 << 52);
            0.5 * step(dtype) / significand
        }
    };
    Some((ratio * (1.0 - half), ratio * (1.0 + half)))
}

/// Distance from 1 to the next value of a two-byte type.
fn step(dtype: FloatDtype) -> f64 {
    if dtype == FloatDtype::F16 { 1.0 / 1024.0 } else { 1.0 / 128.0 }
}

/// The three highest peaks: factors that explain many more pairs than the factors on either side.
fn candidates(pairs: impl Iterator<Item = Pair>, dtype: FloatDtype) -> Vec<f64> {
    const MOST: usize = 3;
    const LEAST: i64 = 16;
    const OVER_SIDES: f64 = 4.0;
    // First the differences between neighbouring bins, then the number of intervals that cover each bin.
    let mut cover = vec![0i32; BINS + 1];
    for (low, high) in pairs.filter_map(|pair| interval(pair, dtype)) {
        if let (Some(low), Some(high)) = (bin(low), bin(high)) {
            cover[low] += 1;
            cover[high + 1] -= 1;
        }
    }
    let mut sum = 0;
    for x in &mut cover {
        sum += *x;
        *x = sum;
    }
    // Cumulative sums, for the means on both sides.
    let mut sums = Vec::with_capacity(cover.len() + 1);
    sums.push(0i64);
    for x in &cover {
        sums.push(sums[sums.len() - 1] + i64::from(*x));
    }
    // The sides, in the widest bins, begin beyond the intervals of the peak itself.
    let (from, to) = match dtype {
        FloatDtype::F64 | FloatDtype::F32 => (10, 250),
        _ => (
            (1.5 * step(dtype) * (1 << BIN_BITS) as f64) as usize,
            (4.0 * step(dtype) * (1 << BIN_BITS) as f64) as usize,
        ),
    };
    let mean = |low: usize, high: usize| (sums[high] - sums[low]) as f64 / (high - low).max(1) as f64;
    let mut found: Vec<(f64, usize)> = Vec::new();
    // Decay never makes weights larger.
    let end = bin(1.0 + step(FloatDtype::Bf16)).unwrap_or(BINS);
    for (n, here) in cover.iter().enumerate().take(end.min(BINS - to)).skip(from) {
        let here = i64::from(*here);
        if here < LEAST {
            continue;
        }
        let sides = (mean(n.saturating_sub(to), n - from) + mean(n + from, n + to)) / 2.0;
        let excess = here as f64 - sides;
        if (here as f64) < OVER_SIDES * sides {
            continue;
        }
        match found.iter_mut().find(|(_, other)| other.abs_diff(n) < to) {
            Some(other) => {
                if excess > other.0 {
                    *other = (excess, n);
                }
            }
            None => found.push((excess, n)),
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    found.truncate(MOST);
    found.into_iter().map(|(_, n)| ratio_of(n)).collect()
}

/// The exact factor near a candidate: in wide types, the median of the ratios; in narrow types, the middle of
/// the factors that explain most pairs.
fn refine(pairs: impl Iterator<Item = Pair> + Clone, candidate: f64, dtype: FloatDtype) -> f64 {
    match dtype {
        FloatDtype::F64 | FloatDtype::F32 => {
            [6e-5, 3e-5].into_iter().fold(candidate, |s, reach| median_near(pairs.clone(), s, reach))
        }
        FloatDtype::F16 | FloatDtype::Bf16 => {
            // The ends of the intervals around the candidate show where most of them overlap.
            let mut ends: Vec<(f64, i32)> = pairs
                .filter_map(|pair| interval(pair, dtype))
                .filter(|(low, high)| *low <= candidate * 1.0001 && *high >= candidate * 0.9999)
                .flat_map(|(low, high)| [(low, 1), (high, -1)])
                .collect();
            ends.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let (mut depth, mut most, mut best) = (0, 0, (candidate, candidate));
            for (n, (at, change)) in ends.iter().enumerate() {
                depth += change;
                let next = ends.get(n + 1).map_or(*at, |(next, _)| *next);
                // The intervals of neighbouring values share an end point. Both include it, but the factors
                // around it are in only one of them.
                if depth > most && next - at > 1e-7 * at {
                    (most, best) = (depth, (*at, next));
                }
            }
            (best.0 + best.1) / 2.0
        }
    }
}
