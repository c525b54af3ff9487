//! Row offsets: how many values of an encoded tensor are stored before each of its rows.

use safetensors::Dtype;

/// The type of the row offsets of a tensor with this many stored values. No type is narrower, because not
/// every program that reads these encodings knows others.
pub fn dtype(stored: usize) -> Dtype {
    if i32::try_from(stored).is_ok() { Dtype::I32 } else { Dtype::I64 }
}

/// Bytes of one of them.
pub fn size(stored: usize) -> usize {
    if i32::try_from(stored).is_ok() { 4 } else { 8 }
}

/// Row offsets as stored.
#[derive(Clone, Copy, Debug)]
pub struct Offsets<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Offsets<'a> {
    /// Offsets of type I32 or I64.
    pub fn new(bytes: &'a [u8], dtype: Dtype) -> Self {
        Self { bytes, size: if dtype == Dtype::I32 { 4 } else { 8 } }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.bytes.len() / self.size
    }

    /// The offset at this index; `usize::MAX` if it is negative.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(self, index: usize) -> usize {
        usize::try_from(self.number(index)).unwrap_or(usize::MAX)
    }

    /// Of offsets that do not fall, how many are at most `value`.
    pub fn up_to(self, value: usize) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle) <= value { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = i64> + Clone + use<'a> {
        (0..self.count()).map(move |index| self.number(index))
    }

    fn number(self, index: usize) -> i64 {
        let bytes = &self.bytes[index * self.size..][..self.size];
        match *bytes {
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => -1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn both_types_hold_the_same_numbers() {
        let narrow: Vec<u8> = [0i32, 3, -1, i32::MAX].iter().flat_map(|n| n.to_le_bytes()).collect();
        let wide: Vec<u8> = [0i64, 3, -1, 0x7FFF_FFFF].iter().flat_map(|n| n.to_le_bytes()).collect();
        for offsets in [Offsets::new(&narrow, Dtype::I32), Offsets::new(&wide, Dtype::I64)] {
            assert_eq!(offsets.iter().collect::<Vec<_>>(), [0, 3, -1, 0x7FFF_FFFF]);
            assert_eq!((offsets.count(), offsets.at(1), offsets.at(2)), (4, 3, usize::MAX));
        }
        let rising: Vec<u8> = [0i32, 0, 2, 5].iter().flat_map(|n| n.to_le_bytes()).collect();
        let rising = Offsets::new(&rising, Dtype::I32);
        assert_eq!([0, 1, 2, 4, 5, 9].map(|value| rising.up_to(value)), [2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn the_type_changes_behind_the_last_that_i32_holds() {
        assert_eq!((dtype(i32::MAX as usize), size(i32::MAX as usize)), (Dtype::I32, 4));
        assert_eq!((dtype(1 << 31), size(1 << 31)), (Dtype::I64, 8));
    }
}
