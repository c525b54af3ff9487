//! Values as symbols and what symbols leave. A symbol says how large a value, or its difference to a
//! prediction, is: its bit length and the two bits behind the leading one. The bits below these are close to
//! random, and stand as they are.

use safetensors::Dtype;

use crate::prelude::*;
use crate::tensor::FloatDtype;

/// The symbol of a place that is pruned and takes what the tensor's `fill` says (`nearest`: zero).
pub const PRUNED: u8 = 0;
/// The symbol of one that takes its initial value where `fill` is `nearest`.
pub const PRUNED_TO_INITIAL: u8 = 1;
/// The first symbol of stored values: in the difference model one that is as predicted, in the value
/// model anything at all.
const FIRST: u8 = 2;
/// In the value model, `+0.0`.
const ZERO: u8 = 3;
/// In the value model, the largest magnitude.
const LARGEST: u8 = 4;

/// How values become symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// By their own magnitude, `bits >> (mantissa - 2)`, counted down from `top`; the sign stands
    /// as it is. `+0.0` has a symbol of its own, and whatever is out of reach another, behind which
    /// all of its bits stand.
    Value {
        /// The largest in reach.
        top: u16,
    },
    /// By their distance to a prediction, counted in values of the type.
    Difference,
    /// By their bytes, each of which is a symbol: of any type of whole bytes.
    Bytes {
        /// Whether the bytes are those of the difference to a prediction, folded as in [`Self::Difference`];
        /// here it is one of bits, read as integers.
        difference: bool,
    },
}

impl Model {
    /// Whether there are predictions.
    pub fn is_difference(self) -> bool {
        matches!(self, Self::Difference | Self::Bytes { difference: true })
    }

    /// Whether bytes are symbols: every symbol is a byte, and none a pruned place.
    pub fn is_bytes(self) -> bool {
        matches!(self, Self::Bytes { .. })
    }
}

/// The bits of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Of a value.
    pub bits: u32,
    /// Of its mantissa; 0 for types that are not one of [`FloatDtype`], which have their bytes alone.
    pub mantissa: u32,
}

impl From<FloatDtype> for Form {
    fn from(dtype: FloatDtype) -> Self {
        let (bits, mantissa) = match dtype {
            FloatDtype::F64 => (64, 52),
            FloatDtype::F32 => (32, 23),
            FloatDtype::F16 => (16, 10),
            FloatDtype::Bf16 => (16, 7),
        };
        Self { bits, mantissa }
    }
}

impl Form {
    /// Of this type; `None` if its elements are not 1, 2, 4 or 8 bytes.
    pub fn of(dtype: Dtype) -> Option<Self> {
        if let Some(float) = FloatDtype::of(dtype) {
            return Some(float.into());
        }
        let bits = dtype.bitsize();
        matches!(bits, 8 | 16 | 32 | 64).then_some(Self { bits: bits as u32, mantissa: 0 })
    }

    /// Bytes of an element.
    #[inline(always)]
    pub fn size(self) -> usize {
        self.bits as usize / 8
    }

    /// Whether its values have magnitudes, as all models but bytes need.
    pub fn is_float(self) -> bool {
        self.mantissa > 0
    }

    #[inline(always)]
    fn sign(self) -> u64 {
        1 << (self.bits - 1)
    }

    #[inline(always)]
    fn all(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// How many bits of a mantissa stand as they are in the value model, all of which may be zero.
    #[inline(always)]
    pub fn most_zeros(self) -> u32 {
        self.mantissa.saturating_sub(2)
    }

    /// The magnitude of a value in half octaves, roughly: exponent and first bit of the mantissa.
    #[inline(always)]
    pub fn half_octaves(self, bits: u64) -> i32 {
        ((bits & (self.sign() - 1)) >> (self.mantissa - 1)) as i32
    }

    /// The magnitude that the value model counts.
    #[inline(always)]
    pub fn magnitude(self, bits: u64) -> u16 {
        ((bits & (self.sign() - 1)) >> (self.mantissa - 2)) as u16
    }

    /// Maps the bits of values to numbers that rise as the values do.
    #[inline(always)]
    fn rising(self, bits: u64) -> u64 {
        if bits & self.sign() != 0 { !bits & self.all() } else { bits | self.sign() }
    }

    #[inline(always)]
    fn unrisen(self, number: u64) -> u64 {
        if number & self.sign() != 0 { number ^ self.sign() } else { !number & self.all() }
    }

    /// The distance of a value from another, folded: 0, -1, 1, -2, … become 0, 1, 2, 3, …
    #[inline(always)]
    pub fn distance(self, bits: u64, prediction: u64) -> u64 {
        self.fold(self.rising(bits).wrapping_sub(self.rising(prediction)))
    }

    /// Folds a difference modulo 2^bits: 0, -1, 1, -2, … become 0, 1, 2, 3, …
    #[inline(always)]
    pub fn fold(self, difference: u64) -> u64 {
        let d = difference << (64 - self.bits);
        // The sign of the difference modulo 2^bits, in every bit.
        let sign = ((d as i64) >> 63) as u64;
        ((d << 1) ^ sign) >> (64 - self.bits) & self.all()
    }

    /// The difference that was folded.
    #[inline(always)]
    pub fn unfold(folded: u64) -> u64 {
        (folded >> 1) ^ (folded & 1).wrapping_neg()
    }

    #[inline(always)]
    fn at_distance(self, folded: u64, prediction: u64) -> u64 {
        self.unrisen(self.rising(prediction).wrapping_add(Self::unfold(folded)) & self.all())
    }
}

/// For each symbol, the bits that it stands for and how many follow it.
#[derive(Clone, Debug)]
pub struct Symbols {
    form: Form,
    base: Box<[u64; 256]>,
    count: Box<[u8; 256]>,
    /// The last symbol that there can be.
    last: u8,
}

impl Symbols {
    /// The symbols of a model.
    pub fn new(form: Form, model: Model) -> Self {
        let (mut base, mut count) = (Box::new([0; 256]), Box::new([0; 256]));
        let last = match model {
            Model::Value { top } => {
                // Anything at all.
                count[usize::from(FIRST)] = form.bits as u8;
                let values = u32::from(top).min(255 - u32::from(LARGEST));
                for n in 0..=values {
                    let symbol = usize::from(LARGEST) + n as usize;
                    base[symbol] = u64::from(u32::from(top) - n) << (form.mantissa - 2);
                    count[symbol] = (form.mantissa - 1) as u8;
                }
                LARGEST + values as u8
            }
            Model::Difference => {
                let first = usize::from(FIRST);
                (base[first], base[first + 1], base[first + 2], base[first + 3]) = (0, 1, 2, 3);
                for length in 3..=form.bits {
                    for next in 0..4 {
                        let symbol = first + 4 + 4 * (length as usize - 3) + next as usize;
                        base[symbol] = (4 | next) << (length - 3);
                        count[symbol] = (length - 3) as u8;
                    }
                }
                FIRST + 4 + 4 * (form.bits as u8 - 3) + 3
            }
            Model::Bytes { .. } => u8::MAX,
        };
        Self { form, base, count, last }
    }

    /// The last symbol that there can be.
    pub fn last(&self) -> u8 {
        self.last
    }

    /// The symbol of a value that stands for itself; `top` as in the model.
    #[inline(always)]
    pub fn of_value(&self, top: u16, bits: u64) -> u8 {
        let below = top.wrapping_sub(self.form.magnitude(bits));
        let in_reach = below <= u16::from(self.last - LARGEST);
        let symbol = if in_reach { LARGEST + below as u8 } else { FIRST };
        if bits == 0 { ZERO } else { symbol }
    }

    /// The symbol of a folded distance.
    #[inline(always)]
    pub fn of_distance(folded: u64) -> u8 {
        let unused = folded.leading_zeros();
        if unused > 61 {
            return FIRST + folded as u8;
        }
        // The two bits behind the leading one, from the upper end: LLVM 22 gets `folded >> (61 - unused) & 3`
        // wrong in AVX-512 vectors.
        FIRST + 4 + 4 * (61 - unused) as u8 + (folded << unused >> 61 & 3) as u8
    }

    /// How many bits a symbol leaves.
    #[inline(always)]
    pub fn count(&self, symbol: u8) -> u32 {
        self.count[usize::from(symbol)].into()
    }

    /// How many bits a symbol of a value leaves, where the lowest `zeros` bits of its magnitude
    /// are known to be zero.
    #[inline(always)]
    pub fn count_of_value(&self, symbol: u8, zeros: u32) -> u32 {
        self.count(symbol) - if symbol >= LARGEST { zeros } else { 0 }
    }

    /// The bits, `count` of them, that the symbol of a value leaves.
    #[inline(always)]
    pub fn rest_of_value(&self, symbol: u8, bits: u64, zeros: u32, count: u32) -> u64 {
        match symbol {
            FIRST => bits,
            LARGEST.. => {
                low(bits >> zeros, count - 1) | u64::from(bits & self.form.sign() != 0) << (count - 1)
            }
            _ => 0,
        }
    }

    /// The value of a symbol and the bits that it left.
    #[inline(always)]
    pub fn value(&self, symbol: u8, rest: u64, zeros: u32) -> u64 {
        if symbol == FIRST {
            return rest;
        }
        let kept = self.form.most_zeros() - zeros;
        self.base[usize::from(symbol)] | low(rest, kept) << zeros | (rest >> kept) << (self.form.bits - 1)
    }

    /// The value at the distance of a symbol and the bits that it left.
    #[inline(always)]
    pub fn value_at(&self, symbol: u8, rest: u64, prediction: u64) -> u64 {
        self.form.at_distance(self.base[usize::from(symbol)] | rest, prediction)
    }
}

/// The lowest `count` bits, fewer than 64.
#[inline(always)]
pub fn low(bits: u64, count: u32) -> u64 {
    bits & ((1 << count) - 1)
}
