//! Tensors of a pruned file, or rows of one, into memory that the caller owns.

use core::ops::Range;

use super::decode::{Decoder, ReadBlocks};
use super::error::RowsError;
use super::file::PrunedReader;
use crate::blocks::{BLOCK_ELEMENTS, Block};
use crate::init::Whole;
use crate::prelude::*;
use crate::tensor::bytes_of;

impl PrunedReader {
    /// Restores these rows of a tensor's matrix view (the first dimension by the rest; a vector is one row) into `out`, in
    /// the tensor's type, little-endian, row-major. What is allocated on the way does not grow with the tensor or the number
    /// of rows, but where its initial values can only be drawn all at once (orthogonal schemes).
    ///
    /// # Errors
    /// [`RowsError`]: no such tensor or rows, rows that are not whole bytes (of 4-bit types), or a slice of another length
    /// than they have; `out` is then untouched. Of a coded tensor also a block that does not decode.
    pub fn read_rows(&self, name: &str, rows: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        let (dtype, shape) = self.tensor(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        let matrix = shape.matrix();
        let tensor = || name.to_owned();
        let Range { start: from, end: to } = rows;
        if from > to || to > matrix.rows {
            return Err(RowsError::Beyond { tensor: tensor(), rows: matrix.rows, from, to });
        }
        let (first, end) = (from * matrix.cols, to * matrix.cols);
        let (Some(first_byte), Some(end_byte)) =
            (bytes_of(first, dtype.bitsize()), bytes_of(end, dtype.bitsize()))
        else {
            return Err(RowsError::PartByte { tensor: tensor(), dtype, from, to });
        };
        let expected = end_byte - first_byte;
        if out.len() != expected {
            return Err(RowsError::Length { tensor: tensor(), expected, got: out.len() });
        }
        if !self.is_encoded(name) {
            out.copy_from_slice(&self.whole(name).bytes()[first_byte..end_byte]);
            return Ok(());
        }
        let whole = self.drawn_whole(name);
        whole.into_iter().for_each(Whole::prepare);
        let mut decoder = Decoder::default();
        let size = dtype.bitsize() / 8;
        let mut start = first;
        while start < end {
            let column = start % matrix.cols;
            let len = match BLOCK_ELEMENTS / matrix.cols {
                0 => BLOCK_ELEMENTS.min(matrix.cols - column),
                rows_at_once => (rows_at_once * matrix.cols).min(end - start),
            };
            let block = Block { tensor: 0, start, len };
            let restored = self
                .read_block(name, &block, &mut decoder)
                .map_err(|error| RowsError::Code { tensor: tensor(), error })?;
            out[size * (start - first)..size * (start - first + len)].copy_from_slice(restored);
            start += len;
        }
        whole.into_iter().for_each(Whole::release);
        Ok(())
    }

    /// Restores a whole tensor into `out`, as [`Self::read_rows`] does.
    ///
    /// # Errors
    /// [`RowsError`]: no such tensor, or a slice of another length than it has. `out` is then untouched.
    pub fn read(&self, name: &str, out: &mut [u8]) -> Result<(), RowsError> {
        let (_, shape) = self.tensor(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        self.read_rows(name, 0..shape.matrix().rows, out)
    }

    /// The bytes of a whole tensor, restored.
    ///
    /// # Errors
    /// [`RowsError::Unknown`], [`RowsError::TooLarge`] beyond the reader's [limit](super::Limits), [`RowsError::NoMemory`].
    pub fn read_to_vec(&self, name: &str) -> Result<Vec<u8>, RowsError> {
        let (dtype, shape) = self.tensor(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        let len = shape.bytes(dtype.bitsize()).unwrap_or_default();
        let (tensor, bytes, limit) = (|| name.to_owned(), len as u64, self.limits.bytes);
        if bytes > limit {
            return Err(RowsError::TooLarge { tensor: tensor(), bytes, limit });
        }
        let mut out = Vec::new();
        out.try_reserve_exact(len).map_err(|_| RowsError::NoMemory { tensor: tensor(), bytes })?;
        out.resize(len, 0);
        self.read(name, &mut out)?;
        Ok(out)
    }
}
