//! One draw at a time, exactly as `docs/noise.md` specifies it: the reference that every fast path must equal
//! bit for bit.

use super::hash::{draw, row_key, unit};
use super::math::{cos_sin_turn, ln};
#[cfg(not(feature = "std"))]
use crate::float::Float;

/// Lower bound of the logarithm's argument `u1`. It limits |gaussian| to about 7.43.
pub const U1_FLOOR: f64 = 1e-12;

/// Uniform draw in `[0, 1)`, a multiple of 2⁻⁵², at `(seed, layer, i, j)`.
#[inline]
pub fn uniform(seed: u64, layer: u64, i: u64, j: u64) -> f64 {
    uniform_at(row_key(seed, layer, i), j)
}

/// Standard normal draw at `(seed, layer, i, j)`, `|x| <= 7.44`.
///
/// Box and Muller, "A note on the generation of random normal deviates", Ann. Math. Statist. 29 (1958): of
/// one pair of draws, an even column takes the cosine, and the odd column after it the sine.
#[inline]
pub fn gaussian(seed: u64, layer: u64, i: u64, j: u64) -> f64 {
    gaussian_at(row_key(seed, layer, i), j)
}

/// [`uniform`] with a row key that is already known.
#[inline]
pub fn uniform_at(key: u64, j: u64) -> f64 {
    unit(draw(key, j))
}

/// [`gaussian`] with a row key that is already known.
#[inline]
pub fn gaussian_at(key: u64, j: u64) -> f64 {
    let p = j >> 1;
    let u1 = unit(draw(key, 2 * p)).max(U1_FLOOR);
    let h2 = draw(key, 2 * p + 1);
    let r = (-2.0 * ln(u1)).sqrt();
    let (cos, sin) = cos_sin_turn(h2 >> 12);
    if j.is_multiple_of(2) { r * cos } else { r * sin }
}
