//! The `bitmask` encoding: one bit per place, set where a value is stored, and the stored values in order.
//!
//! For a tensor `NAME` of the matrix view `rows x cols`:
//!
//! | tensor | type, shape | holds |
//! | --- | --- | --- |
//! | `NAME.shape` | I64 `[rank]` | the shape |
//! | `NAME.bitmask` | U8 `[rows, ceil(cols / 8)]` | bit `j % 8` (least significant first) of byte `j / 8` is column `j` |
//! | `NAME.compressed` | the tensor's type, `[count]` | the stored values, row-major |
//! | `NAME.row_offsets` | I64 `[rows]` | stored values before each row |
//!
//! This is what compressed-tensors 0.3 to 0.8 calls `sparse-bitmask`. Padding bits at the end of a row are 0.

use safetensors::Dtype;

use crate::checkpoint::TensorSpec;
use crate::tensor::{FloatDtype, Matrix, Shape};

/// Suffixes of the tensors that stand for one.
pub const SUFFIXES: [&str; 4] = [".shape", ".bitmask", ".compressed", ".row_offsets"];

/// The tensors that stand for `name` with `stored` values kept, in the order of [`SUFFIXES`].
pub fn parts(name: &str, dtype: FloatDtype, shape: &Shape, stored: usize) -> [TensorSpec; 4] {
    let matrix = shape.matrix();
    let part = |suffix: &str, dtype, dims: Vec<usize>| TensorSpec {
        name: format!("{name}{suffix}"),
        dtype,
        shape: Shape::new(dims).expect("no part outgrows what the tensor itself may measure"),
    };
    [
        part(SUFFIXES[0], Dtype::I64, vec![shape.rank()]),
        part(SUFFIXES[1], Dtype::U8, vec![matrix.rows, matrix.mask_row_bytes()]),
        part(SUFFIXES[2], dtype.dtype(), vec![stored]),
        part(SUFFIXES[3], Dtype::I64, vec![matrix.rows]),
    ]
}

/// Packs one row (or a part of one that begins at a multiple of 8 columns) of 0/1 flags, one byte each.
pub fn pack_row(flags: &[u8], mask: &mut [u8]) {
    let (whole, rest) = flags.as_chunks::<8>();
    let (bytes, last) = mask.split_at_mut(whole.len());
    for (byte, flags) in bytes.iter_mut().zip(whole) {
        // Gathers the lowest bit of eight bytes: bit 8k moves to bit 56 + k, and no two products meet.
        *byte = (u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
    if let Some(byte) = last.first_mut() {
        *byte = rest.iter().enumerate().fold(0, |b, (n, flag)| b | (flag << n));
    }
}

/// Values stored according to a mask.
pub fn count(mask: &[u8]) -> usize {
    mask.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// Appends to `stored` the elements of `dense` (rows of `cols` elements, or a part of one row) whose bit is set.
pub fn gather(dense: &[u8], cols: usize, mask: &[u8], dtype: FloatDtype, stored: &mut Vec<u8>) {
    for (row, mask) in rows(dense, cols, mask, dtype.size()) {
        match dtype.size() {
            8 => gather_row::<8>(row, mask, stored),
            4 => gather_row::<4>(row, mask, stored),
            _ => gather_row::<2>(row, mask, stored),
        }
    }
}

/// Overwrites the elements of `dense` whose bit is set with the stored values, and returns how many bytes it took.
///
/// # Panics
/// If `stored` has fewer values than bits are set.
pub fn scatter(stored: &[u8], cols: usize, mask: &[u8], dtype: FloatDtype, dense: &mut [u8]) -> usize {
    let size = dtype.size();
    let mut taken = 0;
    for (row, mask) in dense.chunks_mut((cols * size).max(1)).zip(mask.chunks(cols.div_ceil(8).max(1))) {
        taken += match size {
            8 => scatter_row::<8>(&stored[taken..], mask, row),
            4 => scatter_row::<4>(&stored[taken..], mask, row),
            _ => scatter_row::<2>(&stored[taken..], mask, row),
        };
    }
    taken
}

/// Overwrites the elements of `dense` whose bit is set with those of `from` at the same places.
pub fn overlay(from: &[u8], cols: usize, mask: &[u8], dtype: FloatDtype, dense: &mut [u8]) {
    let size = dtype.size();
    let lines = from.chunks((cols * size).max(1)).zip(dense.chunks_mut((cols * size).max(1)));
    for ((from, dense), mask) in lines.zip(mask.chunks(cols.div_ceil(8).max(1))) {
        for (n, byte) in mask.iter().enumerate() {
            let places = 8 * n * size..(8 * (n + 1) * size).min(from.len());
            match byte {
                0 => {}
                0xFF => dense[places.clone()].copy_from_slice(&from[places]),
                _ => {
                    for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                        let place = (8 * n + bit) * size..(8 * n + bit + 1) * size;
                        dense[place.clone()].copy_from_slice(&from[place]);
                    }
                }
            }
        }
    }
}

fn rows<'a>(
    dense: &'a [u8],
    cols: usize,
    mask: &'a [u8],
    size: usize,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    dense.chunks((cols * size).max(1)).zip(mask.chunks(cols.div_ceil(8).max(1)))
}

fn gather_row<const N: usize>(row: &[u8], mask: &[u8], stored: &mut Vec<u8>) {
    let elements = row.as_chunks::<N>().0;
    for (eight, byte) in elements.chunks(8).zip(mask) {
        if *byte == 0xFF {
            stored.extend_from_slice(eight.as_flattened());
        } else {
            let mut bits = *byte;
            while bits != 0 {
                stored.extend_from_slice(&eight[bits.trailing_zeros() as usize]);
                bits &= bits - 1;
            }
        }
    }
}

fn scatter_row<const N: usize>(stored: &[u8], mask: &[u8], row: &mut [u8]) -> usize {
    let values = stored.as_chunks::<N>().0;
    let mut next = 0;
    for (eight, byte) in row.as_chunks_mut::<N>().0.chunks_mut(8).zip(mask) {
        let mut bits = *byte;
        while bits != 0 {
            eight[bits.trailing_zeros() as usize] = values[next];
            next += 1;
            bits &= bits - 1;
        }
    }
    next * N
}

/// Why the parts of an encoded tensor do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitmaskError {
    /// A bit set in the padding of a row.
    #[error("the bitmask of row {row} has a bit set beyond its {cols} columns")]
    Padding {
        /// The row.
        row: usize,
        /// Columns.
        cols: usize,
    },
    /// A row that does not begin where the rows before it end.
    #[error("row {row} begins at stored value {got} by its row offset, at {expected} by the bitmask")]
    RowOffset {
        /// The row.
        row: usize,
        /// Offset by the bits.
        expected: usize,
        /// Offset in the file.
        got: i64,
    },
    /// More or fewer values than bits.
    #[error("{got} stored values, expected {expected} for the bits set in the bitmask")]
    Count {
        /// Bits set.
        expected: usize,
        /// Values there.
        got: usize,
    },
}

/// Checks mask, row offsets and number of values against each other. The slices' lengths are the caller's to check.
pub fn validate(matrix: Matrix, mask: &[u8], row_offsets: &[u8], stored: usize) -> Result<(), BitmaskError> {
    let mut before = 0;
    let width = matrix.mask_row_bytes();
    for (row, offset) in row_offsets.as_chunks::<8>().0.iter().enumerate() {
        let got = i64::from_le_bytes(*offset);
        if usize::try_from(got) != Ok(before) {
            return Err(BitmaskError::RowOffset { row, expected: before, got });
        }
        let bits = &mask[row * width..(row + 1) * width];
        if let (Some(last), used @ 1..) = (bits.last(), matrix.cols % 8)
            && last >> used != 0
        {
            return Err(BitmaskError::Padding { row, cols: matrix.cols });
        }
        before += count(bits);
    }
    if before != stored {
        return Err(BitmaskError::Count { expected: before, got: stored });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: FloatDtype = FloatDtype::F32;

    #[test]
    fn rows_are_packed_least_significant_bit_first() {
        let mut mask = [0; 2];
        pack_row(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1], &mut mask);
        assert_eq!(mask, [0b1000_0001, 0b0000_0110]);
        for n in 0..=255u8 {
            let flags: Vec<u8> = (0..8).map(|bit| n >> bit & 1).collect();
            pack_row(&flags, &mut mask[..1]);
            assert_eq!(mask[0], n);
        }
    }

    #[test]
    fn scatter_undoes_gather_and_overlay_copies_in_place() {
        for cols in [1, 7, 8, 9, 20] {
            let (rows, width) = (3, usize::div_ceil(cols, 8));
            let dense: Vec<u8> = (0..rows * cols).flat_map(|n| (n as f32).to_le_bytes()).collect();
            let flags: Vec<u8> = (0..rows * cols).map(|n| u8::from(n % 3 != 1)).collect();
            let mut mask = vec![0; rows * width];
            for (flags, mask) in flags.chunks(cols).zip(mask.chunks_mut(width)) {
                pack_row(flags, mask);
            }
            let mut stored = Vec::new();
            gather(&dense, cols, &mask, F32, &mut stored);
            assert_eq!(stored.len(), count(&mask) * 4);
            assert_eq!(count(&mask), flags.iter().filter(|f| **f == 1).count());
            let mut back = vec![0; dense.len()];
            assert_eq!(scatter(&stored, cols, &mask, F32, &mut back), stored.len());
            let expected: Vec<u8> = dense
                .chunks(4)
                .zip(&flags)
                .flat_map(|(v, f)| if *f == 1 { v.to_vec() } else { vec![0; 4] })
                .collect();
            assert_eq!(back, expected);
            let mut overlaid = vec![0; dense.len()];
            overlay(&dense, cols, &mask, F32, &mut overlaid);
            assert_eq!(overlaid, expected);
        }
    }

    #[test]
    fn contradictions_are_found() {
        let matrix = Matrix { rows: 2, cols: 3 };
        let offsets = |a: i64, b: i64| [a.to_le_bytes(), b.to_le_bytes()].concat();
        assert_eq!(validate(matrix, &[0b101, 0b1], &offsets(0, 2), 3), Ok(()));
        let text = |mask: &[u8], offsets: &[u8], stored| {
            validate(matrix, mask, offsets, stored).unwrap_err().to_string()
        };
        assert_eq!(
            text(&[0b1101, 1], &offsets(0, 3), 4),
            "the bitmask of row 0 has a bit set beyond its 3 columns"
        );
        assert_eq!(
            text(&[0b101, 1], &offsets(0, -1), 3),
            "row 1 begins at stored value -1 by its row offset, at 2 by the bitmask"
        );
        assert_eq!(
            text(&[0b101, 1], &offsets(0, 2), 2),
            "2 stored values, expected 3 for the bits set in the bitmask"
        );
    }
}
