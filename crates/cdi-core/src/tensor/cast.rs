//! Conversion of stored elements from one type to another.

use super::FloatDtype;

use crate::prelude::*;

/// Elements per piece.
const PIECE: usize = 1024;

/// Appends the elements `bytes` of type `from` to `out` as type `to`, each rounded once, to nearest even.
/// Returns the number of finite elements beyond the range of `to`, which became infinite.
pub fn cast(bytes: &[u8], from: FloatDtype, to: FloatDtype, out: &mut Vec<u8>) -> u64 {
    if from == to {
        out.extend_from_slice(bytes);
        return 0;
    }
    let limit = overflow(to);
    let mut overflowed = 0;
    let mut values = [0.0; PIECE];
    for bytes in bytes.chunks(PIECE * from.size()) {
        let values = &mut values[..bytes.len() / from.size()];
        from.decode(bytes, values);
        overflowed += values.iter().filter(|x| x.is_finite() && x.abs() >= limit).count() as u64;
        if from == FloatDtype::F64 && to.size() == 2 {
            values.iter_mut().for_each(|x| *x = to_odd(*x));
        }
        let start = out.len();
        out.resize(start + values.len() * to.size(), 0);
        to.encode(values, &mut out[start..]);
    }
    overflowed
}

/// The smallest number that is rounded to infinity: halfway between the largest finite number of the type and
/// the one that would follow it.
fn overflow(dtype: FloatDtype) -> f64 {
    match dtype {
        FloatDtype::F64 => f64::INFINITY,
        FloatDtype::F32 => f64::from(f32::MAX) + (1u128 << 103) as f64,
        FloatDtype::F16 => 65_520.0,
        FloatDtype::Bf16 => (2.0 - 1.0 / 256.0) * (1u128 << 127) as f64,
    }
}

/// A binary32 number that rounds to 16 bits as `x` does. If `x` is no binary32 number, this is the neighbour
/// whose last bit is set: it is never halfway between two 16-bit numbers.
fn to_odd(x: f64) -> f64 {
    let near = x as f32;
    if f64::from(near) == x || !near.is_finite() || near.to_bits() & 1 == 1 {
        return f64::from(near);
    }
    let bits = near.to_bits();
    let away = f64::from(near).abs() < x.abs();
    let magnitude = bits & 0x7FFF_FFFF;
    let magnitude = if away { magnitude + 1 } else { magnitude - 1 };
    // The sign is that of the number.
    f64::from(f32::from_bits(magnitude | bits & 0x8000_0000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(x: f64, from: FloatDtype, to: FloatDtype) -> (f64, u64) {
        let mut bytes = vec![0; from.size()];
        from.encode(&[x], &mut bytes);
        let mut out = Vec::new();
        let overflowed = cast(&bytes, from, to, &mut out);
        let mut back = [0.0];
        to.decode(&out, &mut back);
        (back[0], overflowed)
    }

    #[test]
    fn doubles_are_rounded_once() {
        use FloatDtype::{Bf16, F16, F64};
        let ulp16 = 1.0 / 1024.0;
        // A hair above and below the middle of two values, which binary32 does not hold.
        let hair = 1.0 / (1u64 << 40) as f64;
        assert_eq!(one(1.0 + ulp16 / 2.0 + hair, F64, F16), (1.0 + ulp16, 0));
        assert_eq!(one(1.0 + 1.5 * ulp16 - hair, F64, F16), (1.0 + ulp16, 0));
        assert_eq!(one(1.0 + ulp16 / 2.0, F64, F16), (1.0, 0));
        assert_eq!(one(-1.0 - ulp16 / 2.0 - hair, F64, F16), (-1.0 - ulp16, 0));
        assert_eq!(one(1.0 + 1.0 / 256.0 + hair, F64, Bf16), (1.0 + 1.0 / 128.0, 0));
        assert_eq!(one(1e-300, F64, F16).0.to_bits(), 0);
        assert_eq!(one(-1e-300, F64, Bf16).0.to_bits(), 1 << 63);
    }

    #[test]
    fn numbers_beyond_the_range_are_counted() {
        use FloatDtype::{Bf16, F16, F32, F64};
        assert_eq!(one(65_519.0, F32, F16), (65_504.0, 0));
        assert_eq!(one(65_520.0, F32, F16), (f64::INFINITY, 1));
        assert_eq!(one(-1e5, Bf16, F16), (f64::NEG_INFINITY, 1));
        assert_eq!(one(f64::INFINITY, F32, F16), (f64::INFINITY, 0));
        assert_eq!(one(f64::from(f32::MAX), F32, Bf16), (f64::INFINITY, 1));
        assert_eq!(one(3.39e38, F32, Bf16).1, 0);
        assert_eq!(one(f64::from(f32::MAX), F64, F32), (f64::from(f32::MAX), 0));
        assert_eq!(one(1e39, F64, F32), (f64::INFINITY, 1));
        assert_eq!(one(65_519.999_999_999, F64, F16), (65_504.0, 0));
        let (nan, overflowed) = one(f64::NAN, F32, F16);
        assert!(nan.is_nan() && overflowed == 0);
    }
}
