//! The `bitmask` encoding: one bit per element, set if its value is stored, and the stored values in order.
//!
//! For a tensor `NAME` with the matrix view `rows x cols`:
//!
//! | tensor | type, shape | holds |
//! | --- | --- | --- |
//! | `NAME.shape` | I64 `[rank]` | the shape |
//! | `NAME.bitmask` | U8 `[rows, ceil(cols / 8)]` | bit `j % 8` (least significant first) of byte `j / 8` is column `j` |
//! | `NAME.compressed` | the tensor's type, `[count]` | the stored values, row-major |
//! | `NAME.row_offsets` | I32 `[rows]` | the number of stored values before each row |
//!
//! Row offsets are I64 above 2^31 - 1 values, and there are none, I32 `[0]`, without any. Earlier releases
//! wrote I64 `[rows]` in any case.
//!
//! compressed-tensors 0.3 to 0.8 calls this encoding `sparse-bitmask`. It requires all four tensors, but
//! never reads the row offsets. Padding bits at the end of a row are 0.

use safetensors::Dtype;

use super::offsets::{self, Offsets};
use super::parts::BitmaskParts;
use crate::bits;
use crate::checkpoint::TensorSpec;
use crate::prelude::*;
use crate::tensor::{FloatDtype, Matrix, Shape};

/// Suffixes of the tensors that encode one tensor.
pub const SUFFIXES: BitmaskParts<&str> =
    BitmaskParts { shape: ".shape", mask: ".bitmask", values: ".compressed", row_offsets: ".row_offsets" };

/// The tensors that encode `name` with `stored` values kept.
pub fn parts(name: &str, dtype: FloatDtype, shape: &Shape, stored: usize) -> BitmaskParts<TensorSpec> {
    let matrix = shape.matrix();
    let part = |suffix: &str, dtype, dims: Vec<usize>| TensorSpec {
        name: format!("{name}{suffix}"),
        dtype,
        shape: Shape::new(dims).expect("no part outgrows what the tensor itself may measure"),
    };
    BitmaskParts {
        shape: part(SUFFIXES.shape, Dtype::I64, vec![shape.rank()]),
        mask: part(SUFFIXES.mask, Dtype::U8, vec![matrix.rows, matrix.mask_row_bytes()]),
        values: part(SUFFIXES.values, dtype.dtype(), vec![stored]),
        row_offsets: part(SUFFIXES.row_offsets, offsets::dtype(stored), vec![offset_rows(matrix, stored)]),
    }
}

/// How many row offsets there are: none if no value is stored.
pub fn offset_rows(matrix: Matrix, stored: usize) -> usize {
    if stored == 0 { 0 } else { matrix.rows }
}

/// Fills `stored` with the elements of `dense` whose bit is set. `dense` has rows of `cols` elements, or
/// is a part of one row.
pub fn gather(dense: &[u8], cols: usize, mask: &[u8], dtype: FloatDtype, stored: &mut Vec<u8>) {
    let count = bits::count(mask) as usize;
    // Room for eight more values: eight are always written, even if only some of them count.
    stored.resize((count + 8) * dtype.size(), 0);
    let mut next = 0;
    for (row, mask) in rows(dense, cols, mask, dtype.size()) {
        match dtype.size() {
            8 => gather_row::<8>(row, mask, stored, &mut next),
            4 => gather_row::<4>(row, mask, stored, &mut next),
            _ => gather_row::<2>(row, mask, stored, &mut next),
        }
    }
    stored.truncate(count * dtype.size());
}

/// Overwrites the elements of `dense` whose bit is set with the stored values. Returns the number of bytes
/// taken from `stored`.
///
/// # Panics
/// If `stored` has fewer values than there are bits set.
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

/// Overwrites the elements of `dense` whose bit is set with the elements of `from` at the same positions.
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

fn gather_row<const N: usize>(row: &[u8], mask: &[u8], stored: &mut [u8], next: &mut usize) {
    let stored = stored.as_chunks_mut::<N>().0;
    let (eights, rest) = row.as_chunks::<N>().0.as_chunks::<8>();
    for (eight, byte) in eights.iter().zip(mask) {
        let Some(to) = stored[*next..].first_chunk_mut::<8>() else { return };
        if *byte == 0xFF {
            *to = *eight;
            *next += 8;
        } else if *byte != 0 {
            // Writes every element, and the next one over it unless its bit is set. This avoids branches.
            let mut n = 0;
            for (bit, element) in eight.iter().enumerate() {
                to[n % 8] = *element;
                n += usize::from(byte >> bit & 1);
            }
            *next += n;
        }
    }
    if let (Some(byte), false) = (mask.last(), rest.is_empty()) {
        for (bit, element) in rest.iter().enumerate() {
            stored[*next] = *element;
            *next += usize::from(byte >> bit & 1);
        }
    }
}

fn scatter_row<const N: usize>(stored: &[u8], mask: &[u8], row: &mut [u8]) -> usize {
    let values = stored.as_chunks::<N>().0;
    let (eights, rest) = row.as_chunks_mut::<N>().0.as_chunks_mut::<8>();
    let mut next = 0;
    for (eight, byte) in eights.iter_mut().zip(mask) {
        match values[next..].first_chunk::<8>() {
            Some(from) => {
                let mut n = 0;
                for (bit, element) in eight.iter_mut().enumerate() {
                    let stored = byte >> bit & 1 == 1;
                    *element = if stored { from[n % 8] } else { *element };
                    n += usize::from(stored);
                }
                next += n;
            }
            None => next += scatter_last(&values[next..], *byte, eight),
        }
    }
    if let (Some(byte), false) = (mask.last(), rest.is_empty()) {
        next += scatter_last(&values[next..], *byte, rest);
    }
    next * N
}

/// Scatters up to eight elements. `values` may have fewer than eight values, but needs one for each bit set.
fn scatter_last<const N: usize>(values: &[[u8; N]], byte: u8, elements: &mut [[u8; N]]) -> usize {
    let mut next = 0;
    for (bit, element) in elements.iter_mut().enumerate() {
        if byte >> bit & 1 == 1 {
            *element = values[next];
            next += 1;
        }
    }
    next
}

/// Contradictions between the parts of an encoded tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitmaskError {
    /// A bit is set in the padding of a row.
    #[error("the bitmask of row {row} has a bit set beyond its {cols} columns")]
    Padding {
        /// The row.
        row: usize,
        /// Number of columns.
        cols: usize,
    },
    /// The offset of a row differs from the number of bits set before it.
    #[error(
        "row {row} begins at stored value {got} according to its row offset, but at {expected} according \
             to the bitmask"
    )]
    RowOffset {
        /// The row.
        row: usize,
        /// The offset according to the bits.
        expected: usize,
        /// The offset in the file.
        got: i64,
    },
    /// The number of values differs from the number of bits set.
    #[error("{got} stored values, expected {expected} for the bits set in the bitmask")]
    Count {
        /// Number of bits set.
        expected: usize,
        /// Number of stored values.
        got: usize,
    },
}

/// The result of checking a run of an encoded tensor (whole rows, or a part of one) by its own bits and
/// offsets alone. So runs can be checked in any order and then joined in theirs.
#[derive(Clone, Debug)]
pub struct CheckedRun {
    /// The row of its first element.
    row: usize,
    /// The offset of its first row, if that row begins in this run.
    first_offset: Option<i64>,
    /// Number of bits set.
    count: usize,
    error: Option<BitmaskError>,
}

impl CheckedRun {
    /// Checks a run that begins in row `row` and has `cols` columns of each of its rows. These reach
    /// the end of the row if `ends_rows`. `row_offsets` holds the offsets of the rows that begin in
    /// the run, or nothing if no value is stored.
    pub fn new(
        matrix: Matrix,
        row: usize,
        cols: usize,
        ends_rows: bool,
        mask: &[u8],
        row_offsets: Offsets<'_>,
    ) -> Self {
        let mut offsets = row_offsets.iter();
        let first_offset = offsets.clone().next();
        let mut run = Self { row, first_offset, count: 0, error: None };
        for (n, bits) in mask.chunks(cols.div_ceil(8).max(1)).enumerate() {
            // The values before the run are not known yet, so offsets are compared with the first offset.
            let expected = first_offset.unwrap_or(0).checked_add_unsigned(run.count as u64);
            if let Some(got) = offsets.next()
                && expected != Some(got)
            {
                let expected = usize::try_from(expected.unwrap_or(0)).unwrap_or(0);
                run.error = Some(BitmaskError::RowOffset { row: row + n, expected, got });
                return run;
            }
            if let (true, Some(last), used @ 1..) = (ends_rows, bits.last(), matrix.cols % 8)
                && last >> used != 0
            {
                run.error = Some(BitmaskError::Padding { row: row + n, cols: matrix.cols });
                return run;
            }
            run.count += bits::count(bits) as usize;
        }
        run
    }

    /// Joins the runs of a tensor in order, and checks them against each other and against the number of
    /// `stored` values. Returns the number of values stored before each run.
    pub fn join(runs: &[Self], stored: usize) -> Result<Vec<usize>, BitmaskError> {
        let mut before = 0;
        let mut starts = Vec::with_capacity(runs.len());
        for run in runs {
            if let Some(got) = run.first_offset
                && usize::try_from(got) != Ok(before)
            {
                return Err(BitmaskError::RowOffset { row: run.row, expected: before, got });
            }
            if let Some(error) = &run.error {
                return Err(error.clone());
            }
            starts.push(before);
            before += run.count;
        }
        if before != stored {
            return Err(BitmaskError::Count { expected: before, got: stored });
        }
        Ok(starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: FloatDtype = FloatDtype::F32;

    #[test]
    fn scatter_undoes_gather_and_overlay_copies_in_place() {
        for cols in [1, 7, 8, 9, 20] {
            let (rows, width) = (3, usize::div_ceil(cols, 8));
            let dense: Vec<u8> = (0..rows * cols).flat_map(|n| (n as f32).to_le_bytes()).collect();
            let flags: Vec<u8> = (0..rows * cols).map(|n| u8::from(n % 3 != 1)).collect();
            let mut mask = vec![0; rows * width];
            for (flags, mask) in flags.chunks(cols).zip(mask.chunks_mut(width)) {
                bits::pack(flags, mask);
            }
            let mut stored = Vec::new();
            gather(&dense, cols, &mask, F32, &mut stored);
            assert_eq!(stored.len(), bits::count(&mask) as usize * 4);
            assert_eq!(bits::count(&mask) as usize, flags.iter().filter(|f| **f == 1).count());
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
        let check = |mask: &[u8], offsets: &[u8], stored| {
            // As one run of both rows, and as one run for each row.
            let whole = CheckedRun::new(matrix, 0, 3, true, mask, Offsets::new(offsets, Dtype::I64));
            let alone = [0, 1].map(|row| {
                let offset = Offsets::new(&offsets[8 * row..8 * row + 8], Dtype::I64);
                CheckedRun::new(matrix, row, 3, true, &mask[row..=row], offset)
            });
            let joined = CheckedRun::join(&alone, stored);
            assert_eq!(CheckedRun::join(&[whole], stored).map(|_| ()), joined.clone().map(|_| ()));
            joined
        };
        assert_eq!(check(&[0b101, 0b1], &offsets(0, 2), 3), Ok(vec![0, 2]));
        let text =
            |mask: &[u8], offsets: &[u8], stored| check(mask, offsets, stored).unwrap_err().to_string();
        assert_eq!(
            text(&[0b1101, 1], &offsets(0, 3), 4),
            "the bitmask of row 0 has a bit set beyond its 3 columns"
        );
        assert_eq!(
            text(&[0b101, 1], &offsets(0, -1), 3),
            "row 1 begins at stored value -1 according to its row offset, but at 2 according to the bitmask"
        );
        assert_eq!(
            text(&[0b101, 1], &offsets(0, 2), 2),
            "2 stored values, expected 3 for the bits set in the bitmask"
        );
    }
}
