//! The noise function: every draw is a pure function of `(seed, layer, i, j)`, fixed to the last bit.
//!
//! ```
//! use cdi_core::noise::{draw, fill_gaussian, fill_uniform, gaussian, gaussian_at, row_key, uniform, uniform_at};
//!
//! // One draw at row 3, column 5 of layer 1.
//! let (seed, layer, row, column) = (42, 1, 3, 5);
//! let (normal, flat) = (gaussian(seed, layer, row, column), uniform(seed, layer, row, column));
//! // The draws of a row follow from its key …
//! let key = row_key(seed, layer, row);
//! assert_eq!((gaussian_at(key, column), uniform_at(key, column)), (normal, flat));
//! // … many at once in less time: columns 4 to 7.
//! let mut columns = [0.0; 4];
//! fill_gaussian(key, 4, &mut columns);
//! assert_eq!(columns[1], normal);
//! fill_uniform(key, 4, &mut columns);
//! assert_eq!(columns[1], flat);
//! // A uniform draw is the upper 52 bits of a raw one.
//! assert_eq!(flat, (draw(key, column) >> 12) as f64 / (1u64 << 52) as f64);
//! ```
//!
//! Once a checkpoint has been trained from this noise, a change of one bit would make every later report
//! about it wrong. Therefore the function is versioned ([`NOISE_VERSION`], which is written into every file),
//! pinned literally in `tests/values/noise_vectors.rs`, and free of anything whose result depends on the
//! machine: integers wrap at 64 bits; reals are binary64, with one rounding per operation, in the order
//! written; there is no fused multiply-add and no function of the platform's mathematical library.
//! `docs/noise.md` specifies the function in full.
//!
//! | module | holds |
//! | --- | --- |
//! | `hash` | SplitMix64, the keys of rows, the n-th draw of a row |
//! | `math` | the logarithm, and the sine and cosine of turns |
//! | `scalar` | one draw at a time: the reference |
//! | `block` | runs of draws of one row, into a slice |

pub(crate) mod block;
pub(crate) mod hash;
pub(crate) mod math;
pub(crate) mod scalar;

pub use block::{fill_gaussian, fill_uniform};
pub use hash::{draw, row_key};
pub use scalar::{gaussian, gaussian_at, uniform, uniform_at};

/// Version of the noise function. A different function would be version 2, and version 1 would remain.
pub const NOISE_VERSION: u32 = 1;
