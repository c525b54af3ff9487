//! F16 and BF16 to and from F32, without a branch or a processor's own instruction, so that loops over them
//! become vector code on every processor. Those of the crate `half` do not: it is the oracle of the tests.

/// Quiet bit of a binary16 NaN.
const F16_QUIET: u32 = 0x0200;

/// The nearest binary16, ties to even; overflow to infinity; a NaN stays one, made quiet, with the upper
/// bits of its payload.
#[inline(always)]
pub fn f16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = bits & 0x8000_0000;
    let magnitude = bits ^ sign;
    // Normal range: round at bit 13, move the exponent's bias from 127 to 15. A carry out of the significand
    // raises the exponent, at the top into infinity, as it should.
    let normal = (magnitude + 0x0FFF + (magnitude >> 13 & 1)).wrapping_sub((127 - 15) << 23) >> 13;
    // Below 2^-14 the spacing is 2^-24, that of binary32 just above 1/2: adding 1/2 rounds to it.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let nan = 0x7C00 | F16_QUIET | (magnitude >> 13 & 0x03FF);
    let small = magnitude < (127 - 14) << 23;
    let finite = if small { subnormal } else { normal };
    let finite = if magnitude >= (127 + 16) << 23 { 0x7C00 } else { finite };
    let any = if magnitude > 0x7F80_0000 { nan } else { finite };
    (any | sign >> 16) as u16
}

/// The same number, exactly; a NaN is made quiet.
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    let h = u32::from(h);
    let magnitude = (h & 0x7FFF) << 13;
    let exponent = magnitude & 0x0F80_0000;
    let normal = magnitude + ((127 - 15) << 23);
    // Infinities and NaNs have the largest exponent here and there.
    let special = magnitude | 0x7F80_0000;
    let special = if magnitude > 0x0F80_0000 { special | F16_QUIET << 13 } else { special };
    // A subnormal is its significand times 2^-24: with the exponent of 2^-14 before it, less 2^-14.
    let smallest = (127 - 14) << 23;
    let subnormal = (f32::from_bits(magnitude + smallest) - f32::from_bits(smallest)).to_bits();
    let bits = if exponent == 0 { subnormal } else { normal };
    let bits = if exponent == 0x0F80_0000 { special } else { bits };
    f32::from_bits(bits | (h & 0x8000) << 16)
}

/// The nearest bfloat16, ties to even; a NaN stays one, made quiet, with the upper bits of its payload.
#[inline(always)]
pub fn bf16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 | 0x0040;
    (if bits & 0x7FFF_FFFF > 0x7F80_0000 { nan } else { rounded }) as u16
}

/// The same number, exactly.
#[inline(always)]
pub fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn every_half_widens_as_in_the_crate_half() {
        for h in 0..=u16::MAX {
            assert_eq!(f16_to_f32(h).to_bits(), f16::from_bits(h).to_f32_const().to_bits(), "{h:#x}");
            let (own, theirs) = (bf16_to_f32(h), bf16::from_bits(h).to_f32_const());
            // `half` makes NaNs quiet here, which keeps their being NaN and nothing else.
            assert!(own.to_bits() == theirs.to_bits() || own.is_nan() && theirs.is_nan(), "{h:#x}");
        }
    }

    #[test]
    fn binary32_narrows_as_in_the_crate_half() {
        // Every exponent and sign, and of significands all upper bits, with low bits around each tie.
        for upper in 0..=u32::from(u16::MAX) >> 1 {
            for low in [0, 1, 0x0FFF, 0x1000, 0x1001, 0x1FFF, 0x7FFF, 0x8000, 0x8001, 0xF000, 0xFFFF] {
                for sign in [0, 0x8000_0000] {
                    let x = f32::from_bits(upper << 16 | low | sign);
                    let (own, theirs) = (f16_from_f32(x), f16::from_f32_const(x).to_bits());
                    assert_eq!(own, theirs, "f16 of {:#x}", x.to_bits());
                    let (own, theirs) = (bf16_from_f32(x), bf16::from_f32_const(x).to_bits());
                    assert_eq!(own, theirs, "bf16 of {:#x}", x.to_bits());
                }
            }
        }
    }
}
