//! Functions of binary64 that are the processor's instructions with the standard library, and `libm`'s
//! without it. Each result is exact or correctly rounded, so that both give the same bits.

/// By the names that they have in the standard library.
pub trait Float {
    /// The square root.
    fn sqrt(self) -> Self;
    /// The smallest integer that is not less.
    fn ceil(self) -> Self;
}

impl Float for f64 {
    #[inline]
    fn sqrt(self) -> Self {
        libm::sqrt(self)
    }

    #[inline]
    fn ceil(self) -> Self {
        libm::ceil(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Float;

    #[test]
    fn both_give_the_same_bits() {
        // Every exponent, with significands that end in each of the ways that matter for rounding.
        for exponent in 0..0x7FF_u64 {
            for low in [0, 1, 2, 3, 0x5555_5555_5555, 0x8_0000_0000_0000, 0xF_FFFF_FFFF_FFFF] {
                for sign in [0, 1 << 63] {
                    let x = f64::from_bits(sign | exponent << 52 | low);
                    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                    assert!(same(Float::sqrt(x), f64::sqrt(x)), "{x:e}");
                    assert!(same(Float::ceil(x), f64::ceil(x)), "{x:e}");
                }
            }
        }
    }
}
