//! SplitMix64 as a hash, and the keys of rows.
//!
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the constants
//! are those of the reference implementation `splitmix64.c` (Vigna).

/// The golden-ratio increment of SplitMix64.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output of SplitMix64 for state `x`: one increment, then the mixing function.
#[inline(always)]
pub const fn hash64(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The key of a layer, from which the keys of its rows are derived.
#[inline(always)]
pub const fn layer_key(seed: u64, layer: u64) -> u64 {
    hash64(hash64(seed) ^ layer)
}

/// The key of row `i` of a layer: `hash64(hash64(hash64(seed) ^ layer) ^ i)`.
#[inline(always)]
pub const fn row_key(seed: u64, layer: u64, i: u64) -> u64 {
    hash64(layer_key(seed, layer) ^ i)
}

/// The `n`-th draw (from 0) of the row with this key: the `n`-th output of SplitMix64 started at `key`.
#[inline(always)]
pub const fn draw(key: u64, n: u64) -> u64 {
    hash64(key.wrapping_add(n.wrapping_mul(GOLDEN)))
}

/// The top 52 bits of a draw as a real in `[0, 1)`, a multiple of 2⁻⁵², exact.
#[inline(always)]
pub fn unit(h: u64) -> f64 {
    const TWO_POW_MINUS_52: f64 = 1.0 / (1u64 << 52) as f64;
    // Below 2^52 the conversion is exact, and so is the product with a power of two.
    (h >> 12) as f64 * TWO_POW_MINUS_52
}
