//! Logarithm, sine and cosine with the same bits on every processor: they consist of single IEEE-754
//! operations in a fixed order.
//!
//! The platform's functions differ between C libraries, and between builds with and without FMA. For the
//! arguments that occur in the noise function, these are within 3e-15 (absolute) of the exact values. Each
//! constant is given as its bits, followed by the hexadecimal float of `docs/noise.md`.

/// High part of ln 2 with trailing zeros, so that `k * LN2_HI` is exact for every exponent `k`.
pub const LN2_HI: f64 = f64::from_bits(0x3FE62E42FEE00000); // 0x1.62e42feep-1
/// ln 2 minus [`LN2_HI`].
pub const LN2_LO: f64 = f64::from_bits(0x3DEA39EF35793C76); // 0x1.a39ef35793c76p-33

/// Coefficients in `z = s²` of `ln((1+s)/(1-s)) = 2s + s·z·L(z)`: a minimax fit of the kind
/// of fdlibm's `e_log.c`.
pub const L: [f64; 7] = [
    f64::from_bits(0x3FE5555555555558), // 0x1.5555555555558p-1
    f64::from_bits(0x3FD99999999952D7), // 0x1.99999999952d7p-2
    f64::from_bits(0x3FD2492492DF281A), // 0x1.2492492df281ap-2
    f64::from_bits(0x3FCC71C62E3F11E5), // 0x1.c71c62e3f11e5p-3
    f64::from_bits(0x3FC7462B51CB66EA), // 0x1.7462b51cb66eap-3
    f64::from_bits(0x3FC39FE51A7C12D9), // 0x1.39fe51a7c12d9p-3
    f64::from_bits(0x3FC2B5900DE57B3B), // 0x1.2b5900de57b3bp-3
];

/// Coefficients in `z = t²` of `sin(2πt) = t·S(z)`, `|t| <= 1/8`.
pub const S: [f64; 7] = [
    f64::from_bits(0x401921FB54442D18), // 0x1.921fb54442d18p+2
    f64::from_bits(0xC044ABBCE625BE41), // -0x1.4abbce625be41p+5
    f64::from_bits(0x405466BC677587F8), // 0x1.466bc677587f8p+6
    f64::from_bits(0xC0532D2CCE2E5B19), // -0x1.32d2cce2e5b19p+6
    f64::from_bits(0x40450782FDA12D96), // 0x1.50782fda12d96p+5
    f64::from_bits(0xC02E30071AFC3E58), // -0x1.e30071afc3e58p+3
    f64::from_bits(0x400E3F3839955186), // 0x1.e3f3839955186p+1
];

/// Coefficients in `z = t²` of `cos(2πt) = C(z)`, `|t| <= 1/8`.
pub const C: [f64; 7] = [
    f64::from_bits(0x3FF0000000000000), // 0x1.0000000000000p+0
    f64::from_bits(0xC033BD3CC9BE458B), // -0x1.3bd3cc9be458bp+4
    f64::from_bits(0x40503C1F081B0780), // 0x1.03c1f081b0780p+6
    f64::from_bits(0xC0555D3C7DBFD139), // -0x1.55d3c7dbfd139p+6
    f64::from_bits(0x404E1F4FB60281F5), // 0x1.e1f4fb60281f5p+5
    f64::from_bits(0xC03A6C9C1BE9EB48), // -0x1.a6c9c1be9eb48p+4
    f64::from_bits(0x401F3DBCEA61B161), // 0x1.f3dbcea61b161p+2
];

/// The bits of sqrt(1/2), the lower end of the interval to which [`ln`] reduces its argument.
pub const SQRT_HALF_BITS: u64 = 0x3FE6A09E667F3BCD;
/// Moves the exponent boundary of a binary64 from 1 to sqrt(1/2).
pub const LN_SHIFT: u64 = 0x3FF0000000000000 - SQRT_HALF_BITS;
/// The 52 bits of a binary64's significand.
pub const MANTISSA: u64 = 0x000F_FFFF_FFFF_FFFF;

/// Polynomial by Horner's rule, from the last coefficient to the first, with two roundings per step (no fused
/// multiply-add).
#[inline(always)]
pub fn horner(c: &[f64; 7], z: f64) -> f64 {
    let mut p = c[6];
    p = p * z + c[5];
    p = p * z + c[4];
    p = p * z + c[3];
    p = p * z + c[2];
    p = p * z + c[1];
    p * z + c[0]
}

/// Natural logarithm for normal `u > 0`; the noise function asks for `1e-12 <= u <= 1`.
///
/// Writes `u = 2^k · m` with `m` in `[sqrt(1/2), sqrt 2)`, then `ln m` by the series in `s = (m-1)/(m+1)`.
#[inline(always)]
pub fn ln(u: f64) -> f64 {
    let b = u.to_bits().wrapping_add(LN_SHIFT);
    let k = ((b >> 52) as i64 - 0x3FF) as f64;
    let m = f64::from_bits((b & MANTISSA) + SQRT_HALF_BITS);
    ln_reduced(k, m)
}

/// `k · ln 2 + ln m`, the second half of [`ln`]; `k` is an integer, `m` in `[sqrt(1/2), sqrt 2)`.
#[inline(always)]
pub(super) fn ln_reduced(k: f64, m: f64) -> f64 {
    let f = m - 1.0;
    ln_series(k, f, f / (2.0 + f))
}

/// The rest of [`ln`] for `f = m - 1` and `s = f / (2 + f)`.
#[inline(always)]
pub(super) fn ln_series(k: f64, f: f64, s: f64) -> f64 {
    let z = s * s;
    let r = z * horner(&L, z);
    let h = (0.5 * f) * f;
    k * LN2_HI + (f - (h - (s * (h + r) + k * LN2_LO)))
}

/// `(cos, sin)` of `2π · v · 2⁻⁵²` for the 52-bit numerator `v` of a turn.
///
/// The nearest quarter turn is subtracted in integers, exactly, so that short polynomials
/// on ±1/8 turn suffice.
#[inline(always)]
pub fn cos_sin_turn(v: u64) -> (f64, f64) {
    const TWO_POW_MINUS_52: f64 = 1.0 / (1u64 << 52) as f64;
    let q = (v + (1 << 49)) >> 50;
    let t = (v as i64 - (q << 50) as i64) as f64 * TWO_POW_MINUS_52;
    let z = t * t;
    let sn = horner(&S, z) * t;
    let cs = horner(&C, z);
    match q & 3 {
        0 => (cs, sn),
        1 => (-sn, cs),
        2 => (-cs, -sn),
        _ => (sn, -cs),
    }
}
