//! Values as symbols and remaining bits. A symbol tells how large a value is, or its difference from a
//! prediction: its bit length and the two bits after the leading one. The bits below these are close to
//! random and are stored unchanged.

use serde::{Deserialize, Serialize};

use safetensors::Dtype;

use crate::prelude::*;
use crate::tensor::FloatDtype;

/// The symbol of a pruned element that takes the value of the tensor's `fill` (`nearest`: zero).
pub const PRUNED: u8 = 0;
/// The symbol of a pruned element that takes its initial value if `fill` is `nearest`.
pub const PRUNED_TO_INITIAL: u8 = 1;
/// The first symbol of stored values. In the difference model it stands for a value equal to its prediction,
/// in the value model for any value.
const FIRST: u8 = 2;
/// In the value model, the symbol of `+0.0`; in the model of steps, that of no step.
const ZERO: u8 = 3;
/// In the model of steps, how many folded numbers of steps have a symbol of their own.
const DIRECT: u64 = 192;
/// The bit length of the first number that has none.
const DIRECT_BITS: u32 = 8;
/// In the value model, the symbol of the largest magnitude.
const LARGEST: u8 = 4;

/// In place of a folded number of steps: the value is stored unchanged, because it is not finite or too far
/// from its prediction.
pub const UNCHANGED: u64 = u64::MAX;

/// How values become symbols.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// By their own magnitude, `bits >> (mantissa - 2)`, counted down from `top`. The sign is stored
    /// unchanged. `+0.0` has a symbol of its own. Another symbol stands for values that are out of reach, and
    /// all of their bits follow it.
    Value {
        /// The largest magnitude in reach.
        top: u16,
    },
    /// By their distance from a prediction, counted in values of the type.
    Difference,
    /// By their bytes, each of which is a symbol. For any type of whole bytes.
    Bytes {
        /// Whether the bytes are those of the difference from a prediction, folded as in
        /// [`Self::Difference`]. Here it is the difference of the bits, read as integers.
        difference: bool,
    },
    /// By their distance from a prediction or from zero, rounded to a whole number of steps. Values are not
    /// restored exactly.
    Steps {
        /// The length of a step, positive and finite.
        step: f64,
        /// Whether distances are from a prediction.
        difference: bool,
    },
}

impl Model {
    /// Whether there are predictions.
    pub fn is_difference(self) -> bool {
        matches!(
            self,
            Self::Difference | Self::Bytes { difference: true } | Self::Steps { difference: true, .. }
        )
    }

    /// Whether values are restored exactly.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::Steps { .. })
    }

    /// Whether symbols are bytes. If so, no symbol stands for a pruned element.
    pub fn is_bytes(self) -> bool {
        matches!(self, Self::Bytes { .. })
    }
}

/// The bits of a type's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Bits of a value.
    pub bits: u32,
    /// Bits of the mantissa; 0 for types other than [`FloatDtype`], which can only be coded as bytes.
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
    /// The form of this type; `None` if its elements do not have 1, 2, 4 or 8 bytes.
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

    /// The floating-point type of this form.
    pub fn float(self) -> Option<FloatDtype> {
        let all = [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16];
        all.into_iter().find(|dtype| Self::from(*dtype) == self)
    }

    /// Whether values have magnitudes, which all models except bytes need.
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

    /// How many bits of a mantissa are stored unchanged in the value model; all of them may be zero.
    #[inline(always)]
    pub fn most_zeros(self) -> u32 {
        self.mantissa.saturating_sub(2)
    }

    /// The approximate magnitude of a value in half octaves: its exponent and the first bit of its mantissa.
    #[inline(always)]
    pub fn half_octaves(self, bits: u64) -> i32 {
        ((bits & (self.sign() - 1)) >> (self.mantissa - 1)) as i32
    }

    /// The magnitude of a value in the units of the value model.
    #[inline(always)]
    pub fn magnitude(self, bits: u64) -> u16 {
        ((bits & (self.sign() - 1)) >> (self.mantissa - 2)) as u16
    }

    /// Maps the bits of values to numbers in the same order as the values.
    #[inline(always)]
    fn rising(self, bits: u64) -> u64 {
        if bits & self.sign() != 0 { !bits & self.all() } else { bits | self.sign() }
    }

    #[inline(always)]
    fn unrisen(self, number: u64) -> u64 {
        if number & self.sign() != 0 { number ^ self.sign() } else { !number & self.all() }
    }

    /// The distance of a value from a prediction, folded: 0, -1, 1, -2, … become 0, 1, 2, 3, …
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

    /// The difference before it was folded.
    #[inline(always)]
    pub fn unfold(folded: u64) -> u64 {
        (folded >> 1) ^ (folded & 1).wrapping_neg()
    }

    #[inline(always)]
    fn at_distance(self, folded: u64, prediction: u64) -> u64 {
        self.unrisen(self.rising(prediction).wrapping_add(Self::unfold(folded)) & self.all())
    }
}

/// For each symbol, the bits that it stands for and the number of remaining bits.
#[derive(Clone, Debug)]
pub struct Symbols {
    base: Box<[u64; 256]>,
    count: Box<[u8; 256]>,
    /// The last valid symbol.
    last: u8,
}

impl Symbols {
    /// The symbols of a model.
    pub fn new(form: Form, model: Model) -> Self {
        let (mut base, mut count) = (Box::new([0; 256]), Box::new([0; 256]));
        let last = match model {
            Model::Value { top } => {
                // Any value: all its bits follow.
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
            Model::Steps { .. } => {
                count[usize::from(FIRST)] = form.bits as u8;
                for n in 0..DIRECT {
                    base[usize::from(ZERO) + n as usize] = n;
                }
                for length in DIRECT_BITS..=32 {
                    let symbol = Self::of_steps(1 << length) - 1;
                    base[usize::from(symbol)] = 1 << (length - 1);
                    count[usize::from(symbol)] = length as u8 - 1;
                }
                Self::of_steps(u32::MAX.into())
            }
        };
        Self { base, count, last }
    }

    /// The last valid symbol.
    pub fn last(&self) -> u8 {
        self.last
    }

    /// The symbol of a value in the value model; `top` as in the model.
    #[inline(always)]
    pub fn of_value(&self, form: Form, top: u16, bits: u64) -> u8 {
        let below = top.wrapping_sub(form.magnitude(bits));
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
        // The two bits after the leading one, taken from the upper end: LLVM 22 compiles
        // `folded >> (61 - unused) & 3` incorrectly for AVX-512 vectors.
        FIRST + 4 + 4 * (61 - unused) as u8 + (folded << unused >> 61 & 3) as u8
    }

    /// The symbol of a folded number of steps, below 2^33 or [`UNCHANGED`].
    #[inline(always)]
    pub fn of_steps(folded: u64) -> u8 {
        let longer = (64 - DIRECT_BITS).wrapping_sub(folded.leading_zeros());
        let symbol = if folded < DIRECT { ZERO + folded as u8 } else { ZERO + DIRECT as u8 + longer as u8 };
        if folded == UNCHANGED { FIRST } else { symbol }
    }

    /// Whether a symbol stands for a value of which all bits follow.
    #[inline(always)]
    pub fn is_unchanged(symbol: u8) -> bool {
        symbol == FIRST
    }

    /// The folded number of steps of a symbol and its remaining bits.
    #[inline(always)]
    pub fn steps(&self, symbol: u8, rest: u64) -> u64 {
        self.base[usize::from(symbol)] | rest
    }

    /// The number of remaining bits of a symbol.
    #[inline(always)]
    pub fn count(&self, symbol: u8) -> u32 {
        self.count[usize::from(symbol)].into()
    }

    /// The number of remaining bits of a symbol in the value model, if the lowest `zeros` bits of the
    /// magnitude are known to be zero.
    #[inline(always)]
    pub fn count_of_value(&self, symbol: u8, zeros: u32) -> u32 {
        self.count(symbol) - if symbol >= LARGEST { zeros } else { 0 }
    }

    /// The `count` remaining bits of a value in the value model.
    #[inline(always)]
    pub fn rest_of_value(form: Form, symbol: u8, bits: u64, zeros: u32, count: u32) -> u64 {
        match symbol {
            FIRST => bits,
            LARGEST.. => low(bits >> zeros, count - 1) | u64::from(bits & form.sign() != 0) << (count - 1),
            _ => 0,
        }
    }

    /// The value of a symbol and its remaining bits.
    #[inline(always)]
    pub fn value(&self, form: Form, symbol: u8, rest: u64, zeros: u32) -> u64 {
        if symbol == FIRST {
            return rest;
        }
        let kept = form.most_zeros() - zeros;
        self.base[usize::from(symbol)] | low(rest, kept) << zeros | (rest >> kept) << (form.bits - 1)
    }

    /// The value at the distance from `prediction` that a symbol and its remaining bits give.
    #[inline(always)]
    pub fn value_at(&self, form: Form, symbol: u8, rest: u64, prediction: u64) -> u64 {
        form.at_distance(self.base[usize::from(symbol)] | rest, prediction)
    }
}

/// The lowest `count` bits; `count` must be below 64.
#[inline(always)]
pub fn low(bits: u64, count: u32) -> u64 {
    bits & ((1 << count) - 1)
}
