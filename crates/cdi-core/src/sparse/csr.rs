//! The `csr` encoding: compressed sparse rows, as in SciPy and PyTorch.
//!
//! For a tensor `NAME` with the matrix view `rows x cols`:
//!
//! | tensor | type, shape | holds |
//! | --- | --- | --- |
//! | `NAME.shape` | I64 `[rank]` | the shape |
//! | `NAME.crow_indices` | I32 `[rows + 1]` | the number of stored values before each row, and their total |
//! | `NAME.col_indices` | U16 `[count]` if `cols <= 65536`, else I32 | the column of each stored value |
//! | `NAME.values` | the tensor's type, `[count]` | the stored values, row-major |
//!
//! Row offsets are I64 above 2^31 - 1 values; earlier releases wrote I64 in any case. SciPy and PyTorch
//! require all of them, also without values.

use safetensors::Dtype;

use super::offsets::{self, Offsets};
use super::parts::CsrParts;
use crate::checkpoint::TensorSpec;
use crate::prelude::*;
use crate::tensor::{FloatDtype, Matrix, Shape};

/// Suffixes of the tensors that encode one tensor.
pub const SUFFIXES: CsrParts<&str> =
    CsrParts { shape: ".shape", row_offsets: ".crow_indices", columns: ".col_indices", values: ".values" };

/// Whether the encoding can hold a matrix of this size. The number of the last column must fit in an I32, and
/// there is one row offset more than there are rows.
pub fn can_hold(matrix: Matrix) -> bool {
    matrix.cols <= 1 << 31 && matrix.rows < usize::MAX / 8
}

/// The type of column numbers.
pub fn index_dtype(matrix: Matrix) -> Dtype {
    if matrix.cols <= 1 << 16 { Dtype::U16 } else { Dtype::I32 }
}

/// Bytes of a column number.
pub fn index_size(matrix: Matrix) -> usize {
    if matrix.cols <= 1 << 16 { 2 } else { 4 }
}

/// The tensors that encode `name` with `stored` values kept.
pub fn parts(name: &str, dtype: FloatDtype, shape: &Shape, stored: usize) -> CsrParts<TensorSpec> {
    let matrix = shape.matrix();
    let part = |suffix: &str, dtype, len: usize| TensorSpec {
        name: format!("{name}{suffix}"),
        dtype,
        shape: Shape::new(vec![len]).expect("no part outgrows what the tensor itself may measure"),
    };
    CsrParts {
        shape: part(SUFFIXES.shape, Dtype::I64, shape.rank()),
        row_offsets: part(SUFFIXES.row_offsets, offsets::dtype(stored), matrix.rows + 1),
        columns: part(SUFFIXES.columns, index_dtype(matrix), stored),
        values: part(SUFFIXES.values, dtype.dtype(), stored),
    }
}

/// Appends the column numbers of the set bits of a run: whole rows of `cols` columns, or a part of one row
/// that begins at column `first`.
pub fn columns(mask: &[u8], matrix: Matrix, cols: usize, first: usize, out: &mut Vec<u8>) {
    let narrow = index_size(matrix) == 2;
    for row in mask.chunks(cols.div_ceil(8).max(1)) {
        for (n, byte) in row.iter().enumerate() {
            let mut set = *byte;
            while set != 0 {
                let column = first + 8 * n + set.trailing_zeros() as usize;
                if narrow {
                    out.extend((column as u16).to_le_bytes());
                } else {
                    out.extend((column as i32).to_le_bytes());
                }
                set &= set - 1;
            }
        }
    }
}

/// Sets the bits of a run, with rows padded to a byte as in a bitmask. `counts` gives the number of stored
/// values in each row of the run (one number for a part of a row), `indices` their column numbers, and
/// `first` the column at which the run begins.
///
/// # Panics
/// If a column lies outside the run.
pub fn mask(
    indices: &[u8],
    counts: impl Iterator<Item = usize>,
    matrix: Matrix,
    cols: usize,
    first: usize,
    mask: &mut [u8],
) {
    mask.fill(0);
    let size = index_size(matrix);
    let mut rest = indices;
    for (row, count) in mask.chunks_mut(cols.div_ceil(8).max(1)).zip(counts) {
        let (now, later) = rest.split_at(count * size);
        for index in now.chunks_exact(size) {
            let column = index_at(index) as usize - first;
            row[column / 8] |= 1 << (column % 8);
        }
        rest = later;
    }
}

/// Decodes one column number.
fn index_at(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => -1,
    }
}

/// Of the stored values `from..to` of one row, the first whose column is at least `column`.
pub fn seek(indices: &[u8], matrix: Matrix, from: usize, to: usize, column: usize) -> usize {
    let size = index_size(matrix);
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if index_at(&indices[middle * size..][..size]) < column as i64 {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

/// Contradictions between the parts of an encoded tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// The first row does not begin at the first value.
    #[error("its `crow_indices` begin at {0}, expected 0")]
    Begin(i64),
    /// A row that ends before it begins.
    #[error(
        "row {row} ends at stored value {got} according to its `crow_indices`, before it begins at \
             {begin}"
    )]
    Falls {
        /// The row.
        row: usize,
        /// Where it begins.
        begin: i64,
        /// Where it ends.
        got: i64,
    },
    /// The last entry differs from the number of values.
    #[error("its `crow_indices` end at {got}, expected {expected}, the number of its stored values")]
    End {
        /// Number of stored values.
        expected: usize,
        /// The last entry.
        got: i64,
    },
    /// A column that does not exist.
    #[error("row {row} has a stored value in column {got}, beyond its {cols} columns")]
    Column {
        /// The row.
        row: usize,
        /// The column number in the file.
        got: i64,
        /// Number of columns.
        cols: usize,
    },
    /// Columns of a row that do not increase.
    #[error("row {row} has column {got} after column {before}; the columns of a row must increase")]
    Order {
        /// The row.
        row: usize,
        /// The column before.
        before: i64,
        /// The column after it.
        got: i64,
    },
}

/// Checks row offsets, `[rows + 1]`, against the number of `stored` values.
///
/// # Errors
/// The first contradiction.
pub fn check_rows(crow: Offsets<'_>, stored: usize) -> Result<(), CsrError> {
    let mut numbers = crow.iter();
    let first = numbers.next().unwrap_or_default();
    if first != 0 {
        return Err(CsrError::Begin(first));
    }
    let mut begin = first;
    for (row, got) in numbers.enumerate() {
        if got < begin {
            return Err(CsrError::Falls { row, begin, got });
        }
        begin = got;
    }
    if usize::try_from(begin) != Ok(stored) {
        return Err(CsrError::End { expected: stored, got: begin });
    }
    Ok(())
}

/// Checks the column numbers of the stored values `from..to`. The row offsets must have
/// passed [`check_rows`].
///
/// # Errors
/// The first contradiction.
pub fn check_columns(
    crow: Offsets<'_>,
    indices: &[u8],
    matrix: Matrix,
    from: usize,
    to: usize,
) -> Result<(), CsrError> {
    if index_size(matrix) == 2 {
        check_run(crow, indices.as_chunks::<2>().0, matrix.cols, from, to)
    } else {
        check_run(crow, indices.as_chunks::<4>().0, matrix.cols, from, to)
    }
}

fn check_run<const N: usize>(
    crow: Offsets<'_>,
    indices: &[[u8; N]],
    cols: usize,
    mut from: usize,
    to: usize,
) -> Result<(), CsrError> {
    // The row that contains value `from`: the last that begins at or before it.
    let mut row = crow.up_to(from).saturating_sub(1);
    while from < to {
        while crow.at(row + 1) <= from {
            row += 1;
        }
        let end = crow.at(row + 1).min(to);
        let mut before = if from > crow.at(row) { index_at(&indices[from - 1]) } else { -1 };
        for index in &indices[from..end] {
            let got = index_at(index);
            if usize::try_from(got).map_or(true, |column| column >= cols) {
                return Err(CsrError::Column { row, got, cols });
            }
            if got <= before {
                return Err(CsrError::Order { row, before, got });
            }
            before = got;
        }
        from = end;
    }
    Ok(())
}

/// The number of stored values before a run that begins at this row and column.
pub fn before(crow: Offsets<'_>, indices: &[u8], matrix: Matrix, row: usize, column: usize) -> usize {
    let from = crow.at(row);
    if column == 0 { from } else { seek(indices, matrix, from, crow.at(row + 1), column) }
}

/// The bits of a run, as [`mask()`] sets them. The run begins in `row` at `column` and has `rows` rows (or a
/// part of one) of `cols` columns. `indices` holds the columns of its stored values.
pub fn run_mask(
    crow: Offsets<'_>,
    indices: &[u8],
    matrix: Matrix,
    (row, column): (usize, usize),
    (rows, cols): (usize, usize),
    bits: &mut Vec<u8>,
) {
    bits.resize(rows * cols.div_ceil(8), 0);
    if cols == matrix.cols {
        let counts = (row..row + rows).map(|row| crow.at(row + 1) - crow.at(row));
        mask(indices, counts, matrix, cols, column, bits);
    } else {
        mask(indices, core::iter::once(indices.len() / index_size(matrix)), matrix, cols, column, bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i64s(numbers: &[i64]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    #[test]
    fn columns_are_those_of_the_set_bits_and_back() {
        for (matrix, first) in [(Matrix { rows: 3, cols: 11 }, 0), (Matrix { rows: 1, cols: 70_000 }, 65_536)]
        {
            let cols = if first == 0 { 11 } else { 11.min(matrix.cols - first) };
            let rows = if first == 0 { 3 } else { 1 };
            let bits: Vec<u8> = [0b1010_0101, 0b110, 0, 0, 0xFF, 0b111][..rows * 2].to_vec();
            let mut indices = Vec::new();
            columns(&bits, matrix, cols, first, &mut indices);
            let counts = bits.chunks(2).map(|row| row.iter().map(|b| b.count_ones() as usize).sum());
            let mut back = vec![0xAA; bits.len()];
            mask(&indices, counts, matrix, cols, first, &mut back);
            assert_eq!(back, bits);
        }
        let mut indices = Vec::new();
        columns(&[0b1010_0101, 0b110], Matrix { rows: 1, cols: 11 }, 11, 0, &mut indices);
        assert_eq!(indices, [0, 0, 2, 0, 5, 0, 7, 0, 9, 0, 10, 0]);
        indices.clear();
        columns(&[0b101], Matrix { rows: 1, cols: 65_537 + 3 }, 4, 65_536, &mut indices);
        assert_eq!(indices, [0, 0, 1, 0, 2, 0, 1, 0]);
    }

    #[test]
    fn the_type_of_columns_changes_behind_the_last_that_u16_holds() {
        assert_eq!(index_dtype(Matrix { rows: 1, cols: 65_536 }), Dtype::U16);
        assert_eq!(index_dtype(Matrix { rows: 1, cols: 65_537 }), Dtype::I32);
        assert!(can_hold(Matrix { rows: 1, cols: 1 << 31 }));
        assert!(!can_hold(Matrix { rows: 1, cols: (1 << 31) + 1 }));
    }

    #[test]
    fn contradictions_are_found() {
        let check = |crow: &[i64], stored| check_rows(Offsets::new(&i64s(crow), Dtype::I64), stored);
        let rows = |crow: &[i64], stored| check(crow, stored).unwrap_err().to_string();
        assert_eq!(check(&[0, 2, 2, 3], 3), Ok(()));
        assert_eq!(rows(&[1, 2], 2), "its `crow_indices` begin at 1, expected 0");
        assert_eq!(
            rows(&[0, 2, 1], 1),
            "row 1 ends at stored value 1 according to its `crow_indices`, before it begins at 2"
        );
        assert_eq!(
            rows(&[0, 2, 4], 3),
            "its `crow_indices` end at 4, expected 3, the number of its stored values"
        );
        let matrix = Matrix { rows: 2, cols: 3 };
        let columns = |indices: &[u16]| {
            let crow = i64s(&[0, 2, indices.len() as i64]);
            let crow = Offsets::new(&crow, Dtype::I64);
            let bytes: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
            let whole = check_columns(crow, &bytes, matrix, 0, indices.len());
            // Checking one value at a time finds the same errors.
            let alone = (0..indices.len()).try_for_each(|n| check_columns(crow, &bytes, matrix, n, n + 1));
            assert_eq!(whole, alone);
            whole.map_err(|error| error.to_string())
        };
        assert_eq!(columns(&[0, 2, 0]), Ok(()));
        assert_eq!(
            columns(&[0, 3, 0]).unwrap_err(),
            "row 0 has a stored value in column 3, beyond its 3 columns"
        );
        assert_eq!(
            columns(&[0, 1, 2, 2]).unwrap_err(),
            "row 1 has column 2 after column 2; the columns of a row must increase"
        );
        let wide = Matrix { rows: 1, cols: 70_000 };
        let crow = i64s(&[0, 1]);
        let crow = Offsets::new(&crow, Dtype::I64);
        let found = check_columns(crow, &(-1i32).to_le_bytes(), wide, 0, 1).unwrap_err();
        assert_eq!(found.to_string(), "row 0 has a stored value in column -1, beyond its 70000 columns");
    }
}
