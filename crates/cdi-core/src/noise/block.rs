//! Runs of draws of one row, and of many short rows: the same values as [`super::scalar`], without branches,
//! so that the compiler vectorises every loop ([`crate::dispatch`]).
//!
//! Operations without vector instructions on common processors are replaced by exact equivalents: integers
//! are converted to reals by setting the exponent of a binary64 and subtracting it again (exact below 2⁵²),
//! and sine and cosine are chosen by selects and sign bits. Nothing is re-associated, so the results have the
//! same bits, which `tests/values/addressing.rs` checks.
//!
//! One gaussian draw is a chain of some 150 dependent operations; in a loop over whole chains, the processor
//! would wait most of the time. Therefore, the chain is divided into three short loops over [`PAIRS`] pairs
//! each, which pass their results on in small arrays. Several iterations of such a loop can overlap.

use super::hash::{GOLDEN, hash64, unit};
use super::math::{C, LN_SHIFT, MANTISSA, S, SQRT_HALF_BITS, horner, ln_series};
use super::scalar::{U1_FLOOR, gaussian_at};
use crate::dispatch::{self, Kernel};
#[cfg(not(feature = "std"))]
use crate::float::Float;

/// Pairs of draws that are processed together. Measured: 32 is slower, 128 is no faster.
const PAIRS: usize = 64;

/// The loops run over multiples of this many pairs, one AVX-512 register, so that there is no remainder.
const LANES: usize = 8;

/// `2⁵²`: adding a smaller integer to its bits gives the bits of that integer plus 2⁵².
const TWO_POW_52: f64 = 4503599627370496.0;
const TWO_POW_52_BITS: u64 = 0x4330_0000_0000_0000;
const ONE_BITS: u64 = 0x3FF0_0000_0000_0000;
const SIGN: u64 = 1 << 63;

/// Fills `out` with the uniform draws `j0, j0 + 1, …` of the row with this key.
pub fn fill_uniform(key: u64, j0: u64, out: &mut [f64]) {
    dispatch::run(Uniforms { key, j0, out });
}

/// Fills `out` with the gaussian draws `j0, j0 + 1, …` of the row with this key.
pub fn fill_gaussian(key: u64, j0: u64, out: &mut [f64]) {
    dispatch::run(Gaussians { key, j0, out });
}

/// The kernel of [`fill_uniform`].
#[derive(Debug)]
pub struct Uniforms<'a> {
    /// Key of the row.
    pub key: u64,
    /// First column.
    pub j0: u64,
    /// Filled.
    pub out: &'a mut [f64],
}

impl Kernel for Uniforms<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        uniforms(self.key, self.j0, self.out, |x| x);
    }
}

/// The kernel of [`fill_gaussian`].
#[derive(Debug)]
pub struct Gaussians<'a> {
    /// Key of the row.
    pub key: u64,
    /// First column.
    pub j0: u64,
    /// Filled.
    pub out: &'a mut [f64],
}

impl Kernel for Gaussians<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        gaussians(self.key, self.j0, self.out, |x| x);
    }
}

/// Fills `out` with the uniform draws `j0, j0 + 1, …` of a row, and applies `scale` to each. For use in a
/// [`Kernel`].
#[inline(always)]
pub fn uniforms(key: u64, j0: u64, out: &mut [f64], scale: impl Fn(f64) -> f64) {
    let mut state = key.wrapping_add(j0.wrapping_mul(GOLDEN));
    let (chunks, tail) = out.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in chunk.iter_mut().enumerate() {
            let h = hash64(state.wrapping_add((lane as u64).wrapping_mul(GOLDEN)));
            *x = scale(fraction(h));
        }
        state = state.wrapping_add((LANES as u64).wrapping_mul(GOLDEN));
    }
    for x in tail {
        *x = scale(unit(hash64(state)));
        state = state.wrapping_add(GOLDEN);
    }
}

/// Fills `out` with the gaussian draws `j0, j0 + 1, …` of a row, and applies `scale` to each. For use in a
/// [`Kernel`].
#[inline(always)]
pub fn gaussians(key: u64, j0: u64, out: &mut [f64], scale: impl Fn(f64) -> f64) {
    // If the run begins with the second draw of a pair, that one is drawn alone; then whole pairs follow.
    let head = (j0 % 2) as usize;
    let (head, pairs) = out.split_at_mut(head.min(out.len()));
    for x in &mut *head {
        *x = scale(gaussian_at(key, j0));
    }
    let j = j0 + head.len() as u64;
    let mut state = key.wrapping_add(j.wrapping_mul(GOLDEN));
    let mut stage = Stage::new();
    for run in pairs.chunks_mut(2 * PAIRS) {
        stage.set_states(0, PAIRS, state);
        stage.gaussians(run, &scale);
        state = state.wrapping_add((2 * PAIRS as u64).wrapping_mul(GOLDEN));
    }
}

/// Fills `out` with the gaussian draws of whole rows `row, row + 1, …` of `cols` columns, and applies `scale`
/// to each. Short rows are processed together. For use in a [`Kernel`].
///
/// # Panics
/// If `cols` is 0 and `out` is not empty.
#[inline(always)]
pub fn gaussian_rows(
    row_key: impl Fn(usize) -> u64,
    mut row: usize,
    cols: usize,
    out: &mut [f64],
    scale: impl Fn(f64) -> f64,
) {
    let pairs = cols.div_ceil(2);
    if pairs > PAIRS / 2 {
        for line in out.chunks_mut(cols) {
            gaussians(row_key(row), 0, line, &scale);
            row += 1;
        }
        return;
    }
    let mut stage = Stage::new();
    let mut values = [0.0; 2 * PAIRS];
    for lines in out.chunks_mut((PAIRS / pairs) * cols) {
        let rows = lines.len() / cols;
        for n in 0..rows {
            stage.set_states(n * pairs, pairs, row_key(row + n));
        }
        stage.gaussians(&mut values[..2 * rows * pairs], &scale);
        for (line, values) in lines.chunks_mut(cols).zip(values.chunks(2 * pairs)) {
            line.copy_from_slice(&values[..cols]);
        }
        row += rows;
    }
}

/// Arrays that the loops pass on.
struct Stage {
    /// Generator state before the first draw of each pair.
    state: [u64; PAIRS],
    /// The second draw.
    h2: [u64; PAIRS],
    /// For the reduced argument `2^k · m` of the logarithm: `k`, `m - 1` and `(m - 1) / (m + 1)`.
    k: [f64; PAIRS],
    f: [f64; PAIRS],
    s: [f64; PAIRS],
}

impl Stage {
    #[inline(always)]
    fn new() -> Self {
        Self { state: [0; PAIRS], h2: [0; PAIRS], k: [0.0; PAIRS], f: [0.0; PAIRS], s: [0.0; PAIRS] }
    }

    /// Sets the states of consecutive pairs of one row; `first` is that of the first pair.
    #[inline(always)]
    fn set_states(&mut self, at: usize, pairs: usize, first: u64) {
        for (n, state) in self.state[at..at + pairs].iter_mut().enumerate() {
            *state = first.wrapping_add((2 * n as u64).wrapping_mul(GOLDEN));
        }
    }

    /// The gaussian draws of the pairs whose states have been set. If the length of `out` is odd, only the
    /// first draw of the last pair.
    #[inline(always)]
    fn gaussians(&mut self, out: &mut [f64], scale: impl Fn(f64) -> f64) {
        let pairs = out.len().div_ceil(2).next_multiple_of(LANES).min(PAIRS);
        let state = &self.state[..pairs];
        let h2 = &mut self.h2[..pairs];
        let k = &mut self.k[..pairs];
        let f = &mut self.f[..pairs];
        let s = &mut self.s[..pairs];
        for n in 0..pairs {
            let h1 = hash64(state[n]);
            h2[n] = hash64(state[n].wrapping_add(GOLDEN));
            let u1 = fraction(h1);
            let u1 = if u1 > U1_FLOOR { u1 } else { U1_FLOOR };
            let b = u1.to_bits().wrapping_add(LN_SHIFT);
            k[n] = f64::from_bits(TWO_POW_52_BITS | (b >> 52)) - (TWO_POW_52 + 1023.0);
            let m = f64::from_bits((b & MANTISSA) + SQRT_HALF_BITS);
            f[n] = m - 1.0;
            // `docs/noise.md` divides by 2 + f. As f = m - 1 is exact, m + 1 is rounded to the same number.
            s[n] = (m - 1.0) / (m + 1.0);
        }
        for n in 0..pairs {
            f[n] = -2.0 * ln_series(k[n], f[n], s[n]);
        }
        let (out, last) = out.as_chunks_mut::<2>();
        for ((out, f), h2) in out.iter_mut().zip(&*f).zip(&*h2) {
            let r = f.sqrt();
            let (cos, sin) = turn(*h2);
            *out = [scale(r * cos), scale(r * sin)];
        }
        if let [x] = last {
            let n = out.len();
            *x = scale(f[n].sqrt() * turn(h2[n]).0);
        }
    }
}

/// The top 52 bits of a draw as a real in `[0, 1)`: the significand of a number in
/// `[1, 2)`, minus 1, exactly.
#[inline(always)]
fn fraction(h: u64) -> f64 {
    f64::from_bits(ONE_BITS | (h >> 12)) - 1.0
}

/// Cosine and sine of the angle, in turns, from the second draw of a pair.
#[inline(always)]
fn turn(h2: u64) -> (f64, f64) {
    const HALF_QUARTER: u64 = 1 << 49;
    const QUARTERS: u64 = !0 << 50;
    let v = h2 >> 12;
    // 1 + turn, and 1 + the nearest quarter turn (2 for a whole one): the upper two bits of the significand
    // count quarters. Both are multiples of 2^-52, at most 1/8 apart, so their difference is exact.
    let q = (v + (ONE_BITS + HALF_QUARTER)) & QUARTERS;
    let t = f64::from_bits(v | ONE_BITS) - f64::from_bits(q);
    let z = t * t;
    let sn = horner(&S, z) * t;
    let cs = horner(&C, z);
    let odd = ((q << 13) as i64) < 0;
    let (a, b) = if odd { (sn, cs) } else { (cs, sn) };
    // The cosine is negative in quarters 1 and 2, the sine in quarters 2 and 3.
    let cos_sign = (q + (1 << 50)) << 12 & SIGN;
    let sin_sign = q << 12 & SIGN;
    (f64::from_bits(a.to_bits() ^ cos_sign), f64::from_bits(b.to_bits() ^ sin_sign))
}
