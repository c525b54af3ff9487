//! The floating-point types that weights are stored in, and rounding into them.

use safetensors::Dtype;

use super::narrow::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use crate::dispatch::{self, Kernel};

/// A type in which weights are initialised, compared and pruned. Other types pass through untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FloatDtype {
    /// IEEE-754 binary64.
    F64,
    /// IEEE-754 binary32.
    F32,
    /// IEEE-754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
}

impl FloatDtype {
    /// The floating-point type of a stored tensor; `None` if it has another type.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The safetensors type.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F64 => Dtype::F64,
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// The name used in configs: `f64`, `f32`, `f16`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Whether this type can represent every value of `other`. Then it makes no difference whether a value is
    /// stored in `other` directly, or in this type first. Neither of BF16 and F16 holds the other: BF16 has
    /// the larger range, F16 the higher precision.
    pub fn holds(self, other: Self) -> bool {
        match self {
            Self::F64 => true,
            Self::F32 => other != Self::F64,
            Self::F16 | Self::Bf16 => other == self,
        }
    }

    /// The value of `x` when it is stored in this type: rounded to nearest even, **for F16 and BF16 through
    /// F32**, so that writing them directly is the same as writing F32 and casting.
    #[inline(always)]
    pub fn round(self, x: f64) -> f64 {
        match self {
            Self::F64 => x,
            Self::F32 => f64::from(x as f32),
            Self::F16 => f64::from(f16_to_f32(f16_from_f32(x as f32))),
            Self::Bf16 => f64::from(bf16_to_f32(bf16_from_f32(x as f32))),
        }
    }

    /// Applies [`Self::round`] to every element of a slice.
    pub fn round_slice(self, xs: &mut [f64]) {
        if self != Self::F64 {
            dispatch::run(Round { dtype: self, xs });
        }
    }

    /// Writes `xs` as little-endian elements of this type, rounded as by [`Self::round`].
    ///
    /// # Panics
    /// If `out` is not `xs.len()` elements long.
    pub fn encode(self, xs: &[f64], out: &mut [u8]) {
        dispatch::run(Encode { dtype: self, xs, out });
    }

    /// Reads little-endian elements of this type, exactly.
    ///
    /// # Panics
    /// If `bytes` is not `out.len()` elements long.
    pub fn decode(self, bytes: &[u8], out: &mut [f64]) {
        dispatch::run(Decode { dtype: self, bytes, out });
    }

    /// Distance between two values of this type in units in the last place: the number of steps between
    /// neighbouring representable values. Both values must be representable. The two zeros count as one
    /// value. `u64::MAX` if either is NaN.
    #[inline(always)]
    pub fn ulps_between(self, a: f64, b: f64) -> u64 {
        let distance = self.ordinal(a).abs_diff(self.ordinal(b));
        if a.is_nan() || b.is_nan() { u64::MAX } else { distance }
    }

    /// The position of a representable value in the order of all values of this type; 0 for either zero.
    #[inline(always)]
    fn ordinal(self, x: f64) -> i64 {
        let magnitude = match self {
            Self::F64 => x.abs().to_bits() as i64,
            Self::F32 => i64::from((x as f32).abs().to_bits()),
            Self::F16 => i64::from(f16_from_f32(x.abs() as f32)),
            Self::Bf16 => i64::from(bf16_from_f32(x.abs() as f32)),
        };
        if x < 0.0 { -magnitude } else { magnitude }
    }
}

impl core::fmt::Display for FloatDtype {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The kernel of [`FloatDtype::round_slice`].
#[derive(Debug)]
pub struct Round<'a> {
    /// Type to round to.
    pub dtype: FloatDtype,
    /// Values, rounded in place.
    pub xs: &'a mut [f64],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        /// One copy of the loop for each type, selected outside the loop.
        #[inline(always)]
        fn each(xs: &mut [f64], round: impl Fn(f64) -> f64) {
            for x in xs {
                *x = round(*x);
            }
        }
        match self.dtype {
            FloatDtype::F64 => {}
            FloatDtype::F32 => each(self.xs, |x| FloatDtype::F32.round(x)),
            FloatDtype::F16 => each(self.xs, |x| FloatDtype::F16.round(x)),
            FloatDtype::Bf16 => each(self.xs, |x| FloatDtype::Bf16.round(x)),
        }
    }
}

/// The kernel of [`FloatDtype::encode`].
#[derive(Debug)]
pub struct Encode<'a> {
    /// Type of the elements.
    pub dtype: FloatDtype,
    /// Values.
    pub xs: &'a [f64],
    /// Receives the bytes of the elements.
    pub out: &'a mut [u8],
}

impl Kernel for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { dtype, xs, out } = self;
        assert_eq!(out.len(), xs.len() * dtype.size(), "destination of another length");
        match dtype {
            FloatDtype::F64 => put(xs, out, |x| x.to_le_bytes()),
            FloatDtype::F32 => put(xs, out, |x| (x as f32).to_le_bytes()),
            FloatDtype::F16 => put(xs, out, |x| f16_from_f32(x as f32).to_le_bytes()),
            FloatDtype::Bf16 => put(xs, out, |x| bf16_from_f32(x as f32).to_le_bytes()),
        }
    }
}

/// The kernel of [`FloatDtype::decode`].
#[derive(Debug)]
pub struct Decode<'a> {
    /// Type of the elements.
    pub dtype: FloatDtype,
    /// Bytes of the elements.
    pub bytes: &'a [u8],
    /// Receives the values.
    pub out: &'a mut [f64],
}

impl Kernel for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { dtype, bytes, out } = self;
        assert_eq!(bytes.len(), out.len() * dtype.size(), "source of another length");
        match dtype {
            FloatDtype::F64 => get(bytes, out, f64::from_le_bytes),
            FloatDtype::F32 => get(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
            FloatDtype::F16 => get(bytes, out, |b| f64::from(f16_to_f32(u16::from_le_bytes(b)))),
            FloatDtype::Bf16 => get(bytes, out, |b| f64::from(bf16_to_f32(u16::from_le_bytes(b)))),
        }
    }
}

#[inline(always)]
fn put<const N: usize>(xs: &[f64], out: &mut [u8], to: impl Fn(f64) -> [u8; N]) {
    for (x, bytes) in xs.iter().zip(out.as_chunks_mut::<N>().0) {
        *bytes = to(*x);
    }
}

#[inline(always)]
fn get<const N: usize>(bytes: &[u8], out: &mut [f64], from: impl Fn([u8; N]) -> f64) {
    for (x, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *x = from(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_by_way_of_f32() {
        // 1 + 2^-11 lies halfway between two binary16 values. One correct rounding would go up to 1 + 2^-10
        // for the 2^-40 above it; in F32 that excess is lost first, and the tie then goes to even.
        let x = 1.0 + 1.0 / 2048.0 + 1.0 / (1u64 << 40) as f64;
        assert_eq!(FloatDtype::F16.round(x), 1.0);
    }

    #[test]
    fn encode_writes_what_round_says_little_endian() {
        let xs = [0.1, -2.5];
        let mut out = [0u8; 8];
        FloatDtype::F32.encode(&xs, &mut out);
        assert_eq!(out, [0xCD, 0xCC, 0xCC, 0x3D, 0x00, 0x00, 0x20, 0xC0]);
        let mut out = [0u8; 4];
        FloatDtype::Bf16.encode(&xs, &mut out);
        assert_eq!(out, [0xCD, 0x3D, 0x20, 0xC0]);
        FloatDtype::F16.encode(&xs, &mut out);
        assert_eq!(out, [0x66, 0x2E, 0x00, 0xC1]);
        let mut back = [0.0; 2];
        FloatDtype::F16.decode(&out, &mut back);
        assert_eq!(back, [FloatDtype::F16.round(0.1), -2.5]);
    }

    #[test]
    fn a_type_holds_another_by_range_and_precision() {
        let all = [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16];
        for a in all {
            for b in all {
                // The largest value, the smallest and the finest step above 1 tell what a type has
                // and another has not.
                let (largest, smallest, step) = match b {
                    FloatDtype::F64 => (f64::MAX, f64::from_bits(1), f64::EPSILON),
                    FloatDtype::F32 => {
                        (f64::from(f32::MAX), f64::from(f32::from_bits(1)), f64::from(f32::EPSILON))
                    }
                    FloatDtype::F16 => (65_504.0, 1.0 / (1u64 << 24) as f64, 1.0 / 1024.0),
                    FloatDtype::Bf16 => (
                        f64::from(f32::from_bits(0x7F7F_0000)),
                        f64::from(f32::from_bits(1 << 16)),
                        1.0 / 128.0,
                    ),
                };
                let kept = [largest, smallest, 1.0 + step].iter().all(|x| a.round(*x) == *x);
                assert_eq!(a.holds(b), kept, "{a} {b}");
            }
        }
    }

    #[test]
    fn ulps_count_representable_steps() {
        assert_eq!(FloatDtype::F32.ulps_between(1.0, f64::from(1.0f32.next_up())), 1);
        assert_eq!(FloatDtype::F32.ulps_between(0.0, -0.0), 0);
        assert_eq!(
            FloatDtype::F32.ulps_between(f64::from(f32::from_bits(1)), -f64::from(f32::from_bits(1))),
            2
        );
        assert_eq!(FloatDtype::Bf16.ulps_between(1.0, 1.0078125), 1);
        assert_eq!(FloatDtype::F16.ulps_between(1.0, 1.0009765625), 1);
        assert_eq!(FloatDtype::F64.ulps_between(f64::MAX, -f64::MAX), 2 * 0x7FEF_FFFF_FFFF_FFFF);
        assert_eq!(FloatDtype::F64.ulps_between(f64::NAN, 0.0), u64::MAX);
    }
}
