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
/// Its symbol.
const LONGER: u8 = ZERO + DIRECT as u8;
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
        if self.bits <= 32 {
            // A vector holds twice as many numbers of 32 bits as of 64.
            let all = u32::MAX << (32 - self.bits);
            let rising = |bits: u64| {
                let bits = (bits as u32) << (32 - self.bits);
                bits ^ ((spread(bits) | 1 << 31) & all)
            };
            return self.fold_shifted(rising(bits).wrapping_sub(rising(prediction))).into();
        }
        self.fold(self.rising(bits).wrapping_sub(self.rising(prediction)))
    }

    /// Folds a difference modulo 2^bits: 0, -1, 1, -2, … become 0, 1, 2, 3, …
    #[inline(always)]
    pub fn fold(self, difference: u64) -> u64 {
        if self.bits <= 32 {
            return self.fold_shifted((difference as u32) << (32 - self.bits)).into();
        }
        let d = difference << (64 - self.bits);
        // The sign of the difference modulo 2^bits, in every bit.
        let sign = ((d as i64) >> 63) as u64;
        ((d << 1) ^ sign) >> (64 - self.bits) & self.all()
    }

    /// Folds a difference whose highest bit is the highest of a 32-bit number.
    #[inline(always)]
    fn fold_shifted(self, difference: u32) -> u32 {
        ((difference << 1) ^ spread(difference)) >> (32 - self.bits)
    }

    /// The bit length of a number of at most as many bits as a value.
    #[inline(always)]
    pub fn bit_length(self, number: u64) -> u32 {
        if self.bits <= 32 { 32 - (number as u32).leading_zeros() } else { 64 - number.leading_zeros() }
    }

    /// The difference before it was folded.
    #[inline(always)]
    pub fn unfold(folded: u64) -> u64 {
        (folded >> 1) ^ (folded & 1).wrapping_neg()
    }

    #[inline(always)]
    fn at_distance(self, folded: u64, prediction: u64) -> u64 {
        if self.bits <= 32 {
            let less = 32 - self.bits;
            let all = u32::MAX << less;
            let prediction = (prediction as u32) << less;
            let rising = prediction ^ ((spread(prediction) | 1 << 31) & all);
            let number = rising.wrapping_add((Self::unfold(folded) as u32) << less);
            return u64::from((number ^ ((spread(!number) | 1 << 31) & all)) >> less);
        }
        self.unrisen(self.rising(prediction).wrapping_add(Self::unfold(folded)) & self.all())
    }
}

/// The symbols of a model: which there are, and how many remaining bits each has.
#[derive(Clone, Debug)]
pub struct Symbols {
    count: Box<[u8; 256]>,
    /// The last valid symbol.
    last: u8,
}

impl Symbols {
    /// The symbols of a model.
    pub fn new(form: Form, model: Model) -> Self {
        let last = match model {
            Model::Value { top } => LARGEST + top.min(u16::from(u8::MAX - LARGEST)) as u8,
            Model::Difference => FIRST + 4 + 4 * (form.bits as u8 - 3) + 3,
            Model::Bytes { .. } => u8::MAX,
            Model::Steps { .. } => Self::of_steps(u32::MAX.into()),
        };
        let count = |symbol| match model {
            Model::Value { .. } => Self::count_of_value(form, symbol, 0),
            Model::Difference => Self::count_of_distance(symbol),
            Model::Bytes { .. } => 0,
            Model::Steps { .. } => Self::count_of_steps(form, symbol),
        };
        let mut counts = Box::new([0; 256]);
        (0..=last).for_each(|symbol| counts[usize::from(symbol)] = count(symbol));
        Self { count: counts, last }
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
    pub fn of_distance(form: Form, folded: u64) -> u8 {
        let length = form.bit_length(folded);
        // The two bits after the leading one, taken from the upper end: LLVM 22 compiles
        // `folded >> (length - 3) & 3` incorrectly for AVX-512 vectors.
        let next = if form.bits <= 32 {
            (((folded as u32) << ((32 - length) % 32)) >> 29) & 3
        } else {
            (((folded << ((64 - length) % 64)) >> 61) & 3) as u32
        };
        if length < 3 { FIRST + folded as u8 } else { FIRST + 4 + 4 * (length - 3) as u8 + next as u8 }
    }

    /// The number of remaining bits of a symbol in the difference model.
    #[inline(always)]
    pub fn count_of_distance(symbol: u8) -> u8 {
        symbol.saturating_sub(FIRST + 4) / 4
    }

    /// The smallest folded distance with this symbol, which is one of the difference model.
    #[inline(always)]
    pub fn least_distance(symbol: u8) -> u64 {
        let n = symbol.wrapping_sub(FIRST);
        if n < 4 { n.into() } else { u64::from(4 | (n % 4)) << Self::count_of_distance(symbol) }
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

    /// The number of remaining bits of a symbol in the model of steps.
    #[inline(always)]
    pub fn count_of_steps(form: Form, symbol: u8) -> u8 {
        let unchanged = if symbol == FIRST { form.bits as u8 } else { 0 };
        if symbol >= LONGER { symbol - LONGER + DIRECT_BITS as u8 - 1 } else { unchanged }
    }

    /// The folded number of steps of a symbol and its remaining bits; for [`Self::is_unchanged`], these bits.
    #[inline(always)]
    pub fn steps(symbol: u8, rest: u64) -> u64 {
        let direct = u64::from(symbol.saturating_sub(ZERO));
        let least = 1 << ((symbol.saturating_sub(LONGER) + DIRECT_BITS as u8 - 1) % 64);
        rest | if symbol >= LONGER { least } else { direct }
    }

    /// The number of remaining bits of a symbol.
    #[inline(always)]
    pub fn count(&self, symbol: u8) -> u32 {
        self.count[usize::from(symbol)].into()
    }

    /// The number of remaining bits of a symbol in the value model, if the lowest `zeros` bits of the
    /// magnitude are known to be zero.
    #[inline(always)]
    pub fn count_of_value(form: Form, symbol: u8, zeros: u32) -> u8 {
        let unchanged = if symbol == FIRST { form.bits } else { 0 };
        (if symbol >= LARGEST { form.mantissa - 1 - zeros } else { unchanged }) as u8
    }

    /// The remaining bits of a value in the value model.
    #[inline(always)]
    pub fn rest_of_value(form: Form, symbol: u8, bits: u64, zeros: u32) -> u64 {
        let kept = form.most_zeros() - zeros;
        let rest = low(bits >> zeros, kept) | (bits >> (form.bits - 1)) << kept;
        let unchanged = if symbol == FIRST { bits } else { 0 };
        if symbol >= LARGEST { rest } else { unchanged }
    }

    /// The value of a symbol and its remaining bits in the value model; `top` as in the model.
    #[inline(always)]
    pub fn value(form: Form, top: u16, symbol: u8, rest: u64, zeros: u32) -> u64 {
        let kept = form.most_zeros() - zeros;
        let magnitude = u64::from(top.wrapping_sub(u16::from(symbol.wrapping_sub(LARGEST))));
        let value =
            magnitude << (form.mantissa - 2) | low(rest, kept) << zeros | (rest >> kept) << (form.bits - 1);
        // `+0.0` has no remaining bits.
        if symbol >= LARGEST { value } else { rest }
    }

    /// The value at the distance from `prediction` that a symbol and its remaining bits give.
    #[inline(always)]
    pub fn value_at(form: Form, symbol: u8, rest: u64, prediction: u64) -> u64 {
        form.at_distance(Self::least_distance(symbol) | rest, prediction)
    }
}

/// The highest bit in all bits.
#[inline(always)]
fn spread(bits: u32) -> u32 {
    (bits as i32 >> 31) as u32
}

/// The lowest `count` bits; `count` must be below 64.
#[inline(always)]
pub fn low(bits: u64, count: u32) -> u64 {
    bits & ((1 << count) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance as the format defines it, by way of signed numbers of 128 bits.
    fn defined(form: Form, bits: u64, prediction: u64) -> u64 {
        let place = |bits: u64| {
            let magnitude = i128::from(bits & (form.sign() - 1));
            // `-0.0` comes just below `+0.0`.
            if bits & form.sign() == 0 { magnitude } else { -1 - magnitude }
        };
        let modulus = 1i128 << form.bits;
        let mut difference = (place(bits) - place(prediction)).rem_euclid(modulus);
        if difference >= modulus / 2 {
            difference -= modulus;
        }
        (if difference < 0 { -1 - 2 * difference } else { 2 * difference }) as u64
    }

    #[test]
    fn distances_are_those_of_the_definition_in_every_width() {
        for dtype in [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16] {
            let form = Form::from(dtype);
            let ends = [0, 1, form.sign() - 1, form.sign(), form.sign() + 1, form.all()];
            let mixed = (1..200u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (n % 64) & form.all());
            let all: Vec<u64> = ends.into_iter().chain(mixed).collect();
            for a in &all {
                for b in &all {
                    let folded = form.distance(*a, *b);
                    assert_eq!(folded, defined(form, *a, *b), "{dtype} {a:x} {b:x}");
                    assert_eq!(form.at_distance(folded, *b), *a, "{dtype} {a:x} {b:x}");
                    let length = 64 - folded.leading_zeros();
                    assert_eq!(form.bit_length(folded), length);
                    // The symbol and its remaining bits make up the distance.
                    let symbol = Symbols::of_distance(form, folded);
                    let count = Symbols::count_of_distance(symbol);
                    assert_eq!(u32::from(count), length.saturating_sub(3));
                    let rest = low(folded, count.into());
                    assert_eq!(Symbols::least_distance(symbol) | rest, folded);
                }
            }
        }
    }
}
