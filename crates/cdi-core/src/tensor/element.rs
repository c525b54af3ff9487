//! Elements of floating-point tensors as Rust types.

use core::fmt::Debug;

use half::{bf16, f16};

use super::FloatDtype;
use super::narrow::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use crate::dispatch::{self, Kernel};

/// The Rust type of a tensor's elements: `f64`, `f32`, [`struct@f16`] or [`bf16`]. No
/// other type implements it.
///
/// ```
/// use cdi_core::tensor::{Element, FloatDtype, bf16, f16};
///
/// assert_eq!(<bf16 as Element>::DTYPE, FloatDtype::Bf16);
/// assert_eq!(f16::rounded(0.1).to_bits(), 0x2E66);
/// assert_eq!(f16::rounded(0.1).widened(), 0.0999755859375);
/// ```
pub trait Element: Copy + Debug + Default + PartialEq + PartialOrd + Send + Sync + bytes::Element {
    /// The type as a value.
    const DTYPE: FloatDtype;

    /// The element that stores `x`: [`FloatDtype::round`].
    fn rounded(x: f64) -> Self;

    /// The same number in binary64, exactly.
    fn widened(self) -> f64;
}

/// What only this crate calls, and only this crate implements.
mod bytes {
    pub trait Element: Sized {
        /// Copies little-endian elements, bit for bit.
        fn copy_from_le(bytes: &[u8], out: &mut [Self]);
    }
}

macro_rules! element {
    ($type:ty, $dtype:ident, |$x:ident| $rounded:expr, |$element:ident| $widened:expr) => {
        impl Element for $type {
            const DTYPE: FloatDtype = FloatDtype::$dtype;

            #[inline(always)]
            fn rounded($x: f64) -> Self {
                $rounded
            }

            #[inline(always)]
            fn widened(self) -> f64 {
                let $element = self;
                $widened
            }
        }

        impl bytes::Element for $type {
            fn copy_from_le(bytes: &[u8], out: &mut [Self]) {
                for (x, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *x = Self::from_le_bytes(*bytes);
                }
            }
        }
    };
}

element!(f64, F64, |x| x, |x| x);
element!(f32, F32, |x| x as f32, |x| f64::from(x));
element!(f16, F16, |x| Self::from_bits(f16_from_f32(x as f32)), |x| f64::from(f16_to_f32(x.to_bits())));
element!(bf16, Bf16, |x| Self::from_bits(bf16_from_f32(x as f32)), |x| bf16_to_f32(x.to_bits()).into());

/// Stores values as elements, each as [`Element::rounded`] gives it.
///
/// # Panics
/// If there are not as many of both.
pub(crate) fn store<E: Element>(xs: &[f64], out: &mut [E]) {
    assert_eq!(out.len(), xs.len(), "destination of another length");
    dispatch::run(Store { xs, out });
}

struct Store<'a, E> {
    xs: &'a [f64],
    out: &'a mut [E],
}

impl<E: Element> Kernel for Store<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (x, element) in self.xs.iter().zip(self.out) {
            *element = E::rounded(*x);
        }
    }
}

/// Elements from the little-endian bytes of a type whose every value they can hold: the same numbers, and
/// the same bits where it is the same type.
///
/// # Panics
/// If there are not as many of both, or `E` does not hold the type.
pub(crate) fn load<E: Element>(from: FloatDtype, bytes: &[u8], out: &mut [E]) {
    const PIECE: usize = 1024;
    assert_eq!(bytes.len(), out.len() * from.size(), "source of another length");
    if from == E::DTYPE {
        return E::copy_from_le(bytes, out);
    }
    assert!(E::DTYPE.holds(from), "{from} does not fit {}", E::DTYPE);
    let mut values = [0.0; PIECE];
    for (bytes, out) in bytes.chunks(PIECE * from.size()).zip(out.chunks_mut(PIECE)) {
        let values = &mut values[..out.len()];
        from.decode(bytes, values);
        store(values, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// Every 16-bit pattern, against the conversions of `half`. NaNs are compared as NaNs: how their payload
    /// is kept is tested where it is decided, in `narrow`.
    #[test]
    fn elements_widen_as_in_the_crate_half() {
        let same =
            |own: f64, theirs: f64| own.to_bits() == theirs.to_bits() || own.is_nan() && theirs.is_nan();
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert!(same(half.widened(), half.to_f64_const()), "{bits:#x}");
            assert!(same(brain.widened(), brain.to_f64_const()), "{bits:#x}");
        }
    }

    /// Each point halfway between two neighbours, with its neighbours in binary32, either sign: all finite
    /// numbers are rounded on one side of one of them. The crate `half` is the oracle.
    #[test]
    fn elements_round_at_every_boundary_as_in_the_crate_half() {
        fn check<E: Element>(halfway: f32, half: impl Fn(f32) -> E, bits: impl Fn(E) -> u16) {
            for x in [halfway.next_down(), halfway, halfway.next_up()].into_iter().flat_map(|x| [x, -x]) {
                assert_eq!(bits(E::rounded(f64::from(x))), bits(half(x)), "{x:e}");
            }
        }
        // Up to the point between the largest finite number and what would follow it.
        for bits in 0..0x7C00 {
            let below = f16::from_bits(bits).to_f32_const();
            let above = if bits == 0x7BFF { 65_536.0 } else { f16::from_bits(bits + 1).to_f32_const() };
            check((below + above) / 2.0, f16::from_f32_const, f16::to_bits);
        }
        for bits in 0..0x7F80 {
            let halfway = f32::from_bits(bits << 16 | 0x8000);
            check(halfway, bf16::from_f32_const, bf16::to_bits);
        }
    }

    #[test]
    fn bytes_are_loaded_bit_for_bit_or_widened() {
        // A signalling NaN among them: only the same type keeps it.
        let bytes: Vec<u8> = [0x2E66_u16, 0xC100, 0x7C01].iter().flat_map(|h| h.to_le_bytes()).collect();
        let mut halves = [f16::ZERO; 3];
        load(FloatDtype::F16, &bytes, &mut halves);
        assert_eq!(halves.map(f16::to_bits), [0x2E66, 0xC100, 0x7C01]);
        let mut singles = [0f32; 3];
        load(FloatDtype::F16, &bytes, &mut singles);
        assert_eq!(singles[..2], [0.099_975_586, -2.5]);
        assert!(singles[2].is_nan());
        // More than one piece.
        let many: Vec<f32> = (0..2500u16).map(f32::from).collect();
        let bytes: Vec<u8> = many.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut doubles = vec![0f64; many.len()];
        load(FloatDtype::F32, &bytes, &mut doubles);
        assert!(doubles.iter().zip(&many).all(|(wide, x)| *wide == f64::from(*x)));
    }
}
