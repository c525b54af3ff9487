//! Which pruned elements take their initial value and which take zero, if each takes the nearer of the two.
//! `NAME.fillmask`, U8 `[ceil(pruned / 8)]`, has one bit per pruned element in row-major order, least
//! significant first. The bit is set if the element takes its initial value.

use safetensors::Dtype;

use crate::checkpoint::TensorSpec;
use crate::prelude::*;
use crate::tensor::Shape;

/// Suffix of the tensor that holds the bits.
pub const SUFFIX: &str = ".fillmask";

/// The fill mask of `name` with this many elements pruned, a part of its encoding.
pub fn part(name: &str, pruned: usize) -> TensorSpec {
    TensorSpec {
        name: format!("{name}{SUFFIX}"),
        dtype: Dtype::U8,
        shape: Shape::new(vec![pruned.div_ceil(8)]).expect("fewer than the tensor has elements"),
    }
}

/// Calls `each` with the index of every element of a run whose bit is not set. The bits are in rows of `cols`
/// columns, padded to a byte.
pub fn pruned_places(mask: &[u8], cols: usize, mut each: impl FnMut(usize)) {
    for (row, bits) in mask.chunks(cols.div_ceil(8).max(1)).enumerate() {
        for (n, byte) in bits.iter().enumerate() {
            let beyond = (8 * (n + 1)).saturating_sub(cols).min(7);
            let mut clear = !byte & (0xFF >> beyond);
            while clear != 0 {
                each(row * cols + 8 * n + clear.trailing_zeros() as usize);
                clear &= clear - 1;
            }
        }
    }
}

/// Whether a pruned weight `w` takes `initial`, because that is nearer than zero. If both are equally near,
/// it takes zero, unless `initial` equals the weight bit for bit (negative zero).
#[inline(always)]
pub fn takes_initial(w: f64, initial: f64) -> bool {
    (w - initial).abs() < w.abs() || w.to_bits() == initial.to_bits()
}

/// The bits of a run's pruned elements, as they are stored: the first is bit `first % 8` of the first byte.
/// `takes` has one bit for every element of the run, without padding: whether it takes its initial value.
pub fn gather(takes: &[u8], mask: &[u8], cols: usize, first: usize, out: &mut Vec<u8>) {
    out.clear();
    let mut at = first % 8;
    pruned_places(mask, cols, |place| {
        if at / 8 == out.len() {
            out.push(0);
        }
        out[at / 8] |= (takes[place / 8] >> (place % 8) & 1) << (at % 8);
        at += 1;
    });
}

/// Writes `+0.0` over the pruned elements of a run that do not take their initial values, which `dense`
/// holds. `bits` is from the stored mask; the run's bits begin at bit `first`.
pub fn clear(bits: &[u8], first: usize, mask: &[u8], cols: usize, size: usize, dense: &mut [u8]) {
    let mut at = first;
    pruned_places(mask, cols, |place| {
        if bits[at / 8] >> (at % 8) & 1 == 0 {
            dense[place * size..(place + 1) * size].fill(0);
        }
        at += 1;
    });
}

/// Writes `+0.0` over the elements of `dense` whose bit in `takes` (without padding) is not set.
pub fn clear_unless(takes: &[u8], size: usize, dense: &mut [u8]) {
    for (n, element) in dense.chunks_exact_mut(size).enumerate() {
        if takes[n / 8] >> (n % 8) & 1 == 0 {
            element.fill(0);
        }
    }
}

/// Whether the bits after the last pruned element are clear.
pub fn padding_is_clear(bits: &[u8], pruned: usize) -> bool {
    match (pruned % 8, bits.last()) {
        (used @ 1.., Some(last)) => last >> used == 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_pruned_places_alone() {
        // Rows of 9 columns: the first row stores columns 0 and 8, the second column 1.
        let mask = [0b1, 0b1, 0b10, 0];
        let mut places = Vec::new();
        pruned_places(&mask, 9, |place| places.push(place));
        assert_eq!(places, [1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15, 16, 17]);
        // Elements 1, 9 and 17 take their initial value. Among the pruned elements, these are 0, 7 and 14.
        let takes = [0b10, 0b10, 0b10];
        let mut bits = Vec::new();
        gather(&takes, &mask, 9, 0, &mut bits);
        assert_eq!(bits, [0b1000_0001, 0b100_0000]);
        gather(&takes, &mask, 9, 8 + 3, &mut bits);
        assert_eq!(bits, [0b1000, 0b100, 0b10]);
        let mut dense: Vec<u8> = (1..=18).collect();
        clear(&[0, 0b1000, 0b100, 0b10], 8 + 3, &mask, 9, 1, &mut dense);
        assert_eq!(dense, [1, 2, 0, 0, 0, 0, 0, 0, 9, 10, 11, 0, 0, 0, 0, 0, 0, 18]);
    }

    #[test]
    fn ties_take_zero_unless_the_initial_value_is_the_weight() {
        assert!(takes_initial(1.0, 1.5));
        assert!(!takes_initial(1.0, 2.0));
        assert!(!takes_initial(0.0, -0.0));
        assert!(takes_initial(-0.0, -0.0));
        assert!(!takes_initial(1.0, f64::INFINITY));
    }

    #[test]
    fn padding_must_be_clear() {
        assert!(padding_is_clear(&[0xFF, 0b111], 11));
        assert!(!padding_is_clear(&[0xFF, 0b1111], 11));
        assert!(padding_is_clear(&[0xFF], 8));
        assert!(padding_is_clear(&[], 0));
    }
}
