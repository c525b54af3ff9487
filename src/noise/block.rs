//! Runs of draws of one row: the same values as [`super::scalar`], computed eight lanes at a time without a branch,
//! so that the compiler turns every step into vector instructions.
//!
//! The lanes replace what has no vector form on common processors by exact equivalents: integer-to-real conversion by
//! setting the exponent of a binary64 and subtracting it again (exact below 2⁵²), the choice of sine and cosine by
//! selects and sign bits. Nothing is re-associated, so the results are bit-identical; `tests/noise_block.rs` says so.

use super::hash::{GOLDEN, draw, hash64, unit};
use super::math::{C, LN_SHIFT, MANTISSA, S, SQRT_HALF_BITS, horner, ln_reduced};
use super::scalar::{U1_FLOOR, gaussian_at};

/// Lanes per step: one AVX-512 register, two of AVX2, four of SSE2.
const LANES: usize = 8;

/// `2⁵²`: adding an integer below it to these bits makes that real number plus 2⁵².
const TWO_POW_52: f64 = 4503599627370496.0;
const TWO_POW_52_BITS: u64 = 0x4330_0000_0000_0000;
const ONE_BITS: u64 = 0x3FF0_0000_0000_0000;
const SIGN: u64 = 1 << 63;

/// Fills `out` with the uniform draws `j0, j0 + 1, …` of the row with this key.
pub fn fill_uniform(key: u64, j0: u64, out: &mut [f64]) {
    let mut state = key.wrapping_add(j0.wrapping_mul(GOLDEN));
    for x in out {
        *x = unit(hash64(state));
        state = state.wrapping_add(GOLDEN);
    }
}

/// Fills `out` with the gaussian draws `j0, j0 + 1, …` of the row with this key.
pub fn fill_gaussian(key: u64, j0: u64, out: &mut [f64]) {
    // A run that begins with the sine of a pair gives that one alone; from there on it holds whole pairs.
    let head = (j0 % 2) as usize;
    let (head, pairs) = out.split_at_mut(head.min(out.len()));
    for x in &mut *head {
        *x = gaussian_at(key, j0);
    }
    let mut j = j0 + head.len() as u64;
    let (chunks, tail) = pairs.as_chunks_mut::<{ 2 * LANES }>();
    for chunk in chunks {
        gaussian_lanes(key, j, chunk);
        j += 2 * LANES as u64;
    }
    if !tail.is_empty() {
        let mut last = [0.0; 2 * LANES];
        gaussian_lanes(key, j, &mut last);
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

/// Sixteen gaussians from an even column on: eight pairs of draws.
#[inline(always)]
fn gaussian_lanes(key: u64, j: u64, out: &mut [f64; 2 * LANES]) {
    let mut r = [0.0; LANES];
    let mut cos = [0.0; LANES];
    let mut sin = [0.0; LANES];
    for lane in 0..LANES {
        let n = j + 2 * lane as u64;
        let h1 = draw(key, n);
        let h2 = draw(key, n + 1);

        let u1 = f64::from_bits(ONE_BITS | (h1 >> 12)) - 1.0;
        let u1 = if u1 > U1_FLOOR { u1 } else { U1_FLOOR };
        let b = u1.to_bits().wrapping_add(LN_SHIFT);
        let k = f64::from_bits(TWO_POW_52_BITS | (b >> 52)) - (TWO_POW_52 + 1023.0);
        let m = f64::from_bits((b & MANTISSA) + SQRT_HALF_BITS);
        r[lane] = (-2.0 * ln_reduced(k, m)).sqrt();

        let v = h2 >> 12;
        let q = (v + (1 << 49)) >> 50;
        // Both are multiples of 2^-52 at most 1 apart: the difference is exact.
        let turn = f64::from_bits(ONE_BITS | v) - 1.0;
        let quarter = (f64::from_bits(TWO_POW_52_BITS | q) - TWO_POW_52) * 0.25;
        let t = turn - quarter;
        let z = t * t;
        let sn = horner(&S, z) * t;
        let cs = horner(&C, z);
        let odd = (q & 1).wrapping_neg();
        let a = (sn.to_bits() & odd) | (cs.to_bits() & !odd);
        let b = (cs.to_bits() & odd) | (sn.to_bits() & !odd);
        // Quarters 1 and 2 have a negative cosine, 2 and 3 a negative sine.
        cos[lane] = f64::from_bits(a ^ (((q + 1) << 62) & SIGN));
        sin[lane] = f64::from_bits(b ^ ((q << 62) & SIGN));
    }
    for lane in 0..LANES {
        out[2 * lane] = r[lane] * cos[lane];
        out[2 * lane + 1] = r[lane] * sin[lane];
    }
}
