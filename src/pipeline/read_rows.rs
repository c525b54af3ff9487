//! Some rows of one tensor of a pruned file, into memory that the caller owns.

use std::ops::Range;

use super::blocks::{BLOCK_ELEMENTS, Block};
use super::pruned_file::{Decoder, PrunedFile};
use crate::init::Whole;

/// Why rows cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// No such tensor.
    #[error("there is no tensor `{0}`")]
    Unknown(String),
    /// Rows that are not there.
    #[error("tensor `{tensor}` has {rows} rows, asked for {from}..{to}")]
    Beyond {
        /// The tensor.
        tensor: String,
        /// Rows of its matrix view.
        rows: usize,
        /// First row asked for.
        from: usize,
        /// Row behind the last.
        to: usize,
    },
    /// A slice of another length.
    #[error("the rows asked for of tensor `{tensor}` are {expected} bytes, the slice has {got}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Bytes of the rows.
        expected: usize,
        /// Bytes of the slice.
        got: usize,
    },
}

impl PrunedFile {
    /// Restores these rows of a tensor's matrix view (the first dimension by the rest; a vector is one row) into `out`, in
    /// the tensor's type, little-endian, row-major. What is allocated on the way does not grow with the tensor or the number
    /// of rows, but where its initial values can only be drawn all at once (orthogonal schemes).
    ///
    /// # Errors
    /// [`RowsError`]: no such tensor or rows, or a slice of another length than they have. `out` is then untouched.
    pub fn read_rows(&self, name: &str, rows: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        let (_, dtype, shape) =
            self.tensors().find(|(n, ..)| *n == name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        let matrix = shape.matrix();
        let tensor = || name.to_owned();
        if rows.start > rows.end || rows.end > matrix.rows {
            let Range { start: from, end: to } = rows;
            return Err(RowsError::Beyond { tensor: tensor(), rows: matrix.rows, from, to });
        }
        let bits = dtype.bitsize();
        let bytes = |elements: usize| elements * bits / 8;
        let expected = bytes(rows.len() * matrix.cols);
        if out.len() != expected {
            return Err(RowsError::Length { tensor: tensor(), expected, got: out.len() });
        }
        if !self.is_encoded(name) {
            let from = bytes(rows.start * matrix.cols);
            out.copy_from_slice(&self.whole(name).bytes()[from..from + expected]);
            return Ok(());
        }
        let whole = self.drawn_whole(name);
        whole.into_iter().for_each(Whole::prepare);
        let mut decoder = Decoder::default();
        let (first, end) = (rows.start * matrix.cols, rows.end * matrix.cols);
        let mut start = first;
        while start < end {
            let column = start % matrix.cols;
            let len = match BLOCK_ELEMENTS / matrix.cols {
                0 => BLOCK_ELEMENTS.min(matrix.cols - column),
                rows_at_once => (rows_at_once * matrix.cols).min(end - start),
            };
            let block = Block { tensor: 0, start, len };
            let restored = self.read_block(name, &block, &mut decoder);
            out[bytes(start - first)..bytes(start - first + len)].copy_from_slice(restored);
            start += len;
        }
        whole.into_iter().for_each(Whole::release);
        Ok(())
    }
}
