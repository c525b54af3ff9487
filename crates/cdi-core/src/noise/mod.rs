//! The noise function: every draw a pure function of `(seed, layer, i, j)`, fixed to the last bit.
//!
//! Once a checkpoint has been trained from this noise, a change of one bit would falsify every later report
//! about it. The function is therefore versioned ([`NOISE_VERSION`], written into every file), pinned
//! literally in `tests/values/noise_vectors.rs`, and free of anything whose result depends on the machine:
//! all integers wrap at 64 bits; all reals are binary64 with one rounding per operation in the written order;
//! no fused multiply-add, no libm. `docs/noise.md` states the function in full.
//!
//! | module | holds |
//! | --- | --- |
//! | [`hash`] | SplitMix64, the keys of rows, the n-th draw of a row |
//! | [`math`] | the logarithm and the sine and cosine of full turns |
//! | [`scalar`] | one draw at a time: the plain truth |
//! | [`block`] | runs of draws of one row, into a slice |

pub mod block;
pub mod hash;
pub mod math;
pub mod scalar;

/// Version of the noise function. Another function would be version 2 beside it, never instead of it.
pub const NOISE_VERSION: u32 = 1;
