//! The factor that weight decay put on every weight that got no gradient.
//!
//! Decoupled decay (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) multiplies a
//! weight by `1 - lr * wd` at each step, coupled L2 under SGD does so up to the momentum's transient: a
//! weight without gradient ends as `s * w0`, with one `s` for all of an optimiser's group. `s` is the place
//! where unusually many `w / w0` meet, over all tensors together: in a small tensor alone, a few live weights
//! meet somewhere by chance.

use super::evidence::{Evidence, Pair, borne_out_by, judge};
use super::threshold::Threshold;
use crate::tensor::FloatDtype;

/// Some or all of a tensor's weights.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The stored type.
    pub dtype: FloatDtype,
    /// The factor, where the config gives it.
    pub decay: Option<f64>,
    /// Weights beside their initial values.
    pub pairs: Vec<Pair>,
}

/// What is decided for a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The factor on its initial values.
    pub decay: f64,
    /// When a weight of it sleeps.
    pub threshold: Threshold,
    /// Place in the list of evidence.
    pub evidence: Option<usize>,
    /// Whether its own weights bear that out.
    pub own: bool,
}

/// More factors than any optimiser has groups.
const MOST_GROUPS: usize = 8;

/// Decides factor and threshold for every tensor from the weights of all of them; the answer is in their
/// order. Tensors are judged together with those of the same type and, where it is given, the same factor.
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
    // Of weights that start at 0 the ratio says nothing; those still at 0 never moved.
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
        // What only all tensors together show, and none alone, is told once.
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
    // Tensors without evidence of their own: the factor that most of their weights agree with,
    // the first of equals.
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

/// Weights of a tensor within the evidence's threshold.
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

/// The evidence at the factor that most weights agree with: no decay first, then the narrow
/// places where ratios meet.
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
    // A heap wider than the window in which it was found has its middle elsewhere.
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

/// The median of the ratios that are a factor, give or take `reach` of it.
fn median_near(pairs: impl Iterator<Item = Pair>, factor: f64, reach: f64) -> f64 {
    let mut near: Vec<f64> =
        pairs.map(|[w, w0]| w / w0).filter(|ratio| (ratio / factor - 1.0).abs() <= reach).collect();
    let middle = near.len() / 2;
    if near.is_empty() { factor } else { *near.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

/// Ratios are counted in bins of 16 bits of their significand, 7.6e-6 to 1.5e-5 of their
/// value, from 2^-20 to 2.
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

/// The factors at which a pair's weight may have been before it was rounded: half a step of its type to
/// either side, or, in wide types, the errors of many steps.
fn interval([w, w0]: Pair, dtype: FloatDtype) -> Option<(f64, f64)> {
    let ratio = w / w0;
    if !(ratio.is_finite() && ratio > 0.0) {
        return None;
    }
    let half = match dtype {
        FloatDtype::F64 | FloatDtype::F32 => 2e-5,
        // Half of the distance to the next value, in parts of the value: by where in its octave that lies.
        FloatDtype::F16 | FloatDtype::Bf16 => {
            let significand = f64::from_bits(w.to_bits() & ((1 << 52) - 1) | 1023 << 52);
            0.5 * step(dtype) / significand
        }
    };
    Some((ratio * (1.0 - half), ratio * (1.0 + half)))
}

/// From 1 to the next value of a type of two bytes.
fn step(dtype: FloatDtype) -> f64 {
    if dtype == FloatDtype::F16 { 1.0 / 1024.0 } else { 1.0 / 128.0 }
}

/// The three best places where many more pairs could have had one factor than to either side of it.
fn candidates(pairs: impl Iterator<Item = Pair>, dtype: FloatDtype) -> Vec<f64> {
    const MOST: usize = 3;
    const LEAST: i64 = 16;
    const OVER_SIDES: f64 = 4.0;
    // Differences of neighbouring bins, then the bins: how many intervals cover each.
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
    // Sums up to each bin, for the mean over the sides.
    let mut sums = Vec::with_capacity(cover.len() + 1);
    sums.push(0i64);
    for x in &cover {
        sums.push(sums[sums.len() - 1] + i64::from(*x));
    }
    // The sides, in bins of the widest kind: beyond the reach of the peak's own intervals.
    let (from, to) = match dtype {
        FloatDtype::F64 | FloatDtype::F32 => (10, 250),
        _ => (
            (1.5 * step(dtype) * (1 << BIN_BITS) as f64) as usize,
            (4.0 * step(dtype) * (1 << BIN_BITS) as f64) as usize,
        ),
    };
    let mean = |low: usize, high: usize| (sums[high] - sums[low]) as f64 / (high - low).max(1) as f64;
    let mut found: Vec<(f64, usize)> = Vec::new();
    // No decay makes weights larger.
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

/// The factor itself: in wide types the median of the ratios near a candidate, in narrow ones the middle of
/// the factors that most pairs agree on.
fn refine(pairs: impl Iterator<Item = Pair> + Clone, candidate: f64, dtype: FloatDtype) -> f64 {
    match dtype {
        FloatDtype::F64 | FloatDtype::F32 => {
            [6e-5, 3e-5].into_iter().fold(candidate, |s, reach| median_near(pairs.clone(), s, reach))
        }
        FloatDtype::F16 | FloatDtype::Bf16 => {
            // The ends of the intervals around the candidate: where most of them overlap.
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
                // Where one value's interval ends another's begins: there both seem to agree,
                // but nowhere around it.
                if depth > most && next - at > 1e-7 * at {
                    (most, best) = (depth, (*at, next));
                }
            }
            (best.0 + best.1) / 2.0
        }
    }
}
