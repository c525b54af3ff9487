//! Tensors of a pruned file, or rows of one, into memory that the caller owns: at once, or through a handle
//! on one tensor for many reads.

use core::ops::Range;

use safetensors::Dtype;

use super::decode::{Decoder, ReadBlocks};
use super::error::RowsError;
use super::file::PrunedReader;
use crate::blocks::{BLOCK_ELEMENTS, Block};
use crate::init::{Held, Whole};
use crate::prelude::*;
use crate::tensor::{Shape, bytes_of};

impl PrunedReader {
    /// Restores these rows of a tensor's matrix view (the first dimension by the rest; a vector is one row)
    /// into `out`, in the tensor's type, little-endian, row-major. The memory allocated does not grow with
    /// the tensor or the number of rows, except if its initial values can only be drawn all at once
    /// (orthogonal schemes).
    ///
    /// # Errors
    /// [`RowsError`]: no such tensor or rows, rows that do not begin and end at bytes (4-bit types), or a
    /// slice with the wrong length; `out` is then untouched. For a coded tensor, also a block that cannot be
    /// decoded.
    pub fn read_rows(&self, name: &str, rows: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        self.tensor_reader(name)?.read_rows(rows, out)
    }

    /// A handle on a tensor, for many reads of its rows: what one read leaves for the next is kept. That is
    /// the matrix of an orthogonal scheme, which can only be drawn whole (as large as
    /// [`Limits::bytes`](super::Limits) allowed when the file was opened), and the last decoded block of a
    /// coded tensor (65,536 elements). It goes with the handle.
    ///
    /// # Errors
    /// [`RowsError::Unknown`].
    pub fn tensor_reader(&self, name: &str) -> Result<TensorReader<'_>, RowsError> {
        let (name, _) =
            self.tensors.get_key_value(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        let (dtype, shape) = self.tensor(name).expect("just found");
        let whole = self.drawn_whole(name).map(Whole::hold);
        Ok(TensorReader { file: self, name, dtype, shape, whole, decoder: Decoder::default() })
    }

    /// Restores a whole tensor into `out`, as [`Self::read_rows`] does.
    ///
    /// # Errors
    /// [`RowsError`]: no such tensor, or a slice with the wrong length. `out` is then untouched.
    pub fn read(&self, name: &str, out: &mut [u8]) -> Result<(), RowsError> {
        let (_, shape) = self.tensor(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        self.read_rows(name, 0..shape.matrix().rows, out)
    }

    /// Restores a whole tensor into a new vector.
    ///
    /// # Errors
    /// [`RowsError::Unknown`], [`RowsError::TooLarge`] beyond the reader's [limit](super::Limits),
    /// [`RowsError::NoMemory`].
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

/// A handle for one tensor of a file, created by [`PrunedReader::tensor_reader`].
///
/// ```
/// use cdi_core::reader::PrunedReader;
///
/// // An ordinary checkpoint: the bytes of the header's length, the header, and six values.
/// let header = r#"{"w":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#;
/// let values = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// file.extend(header.bytes());
/// file.extend(values.iter().flat_map(|x| x.to_le_bytes()));
///
/// let file = PrunedReader::from_bytes(file, None)?;
/// let mut weights = file.tensor_reader("w")?;
/// let mut row = vec![0; weights.row_bytes()];
/// for n in (0..weights.shape().matrix().rows).rev() {
///     weights.read_rows(n..n + 1, &mut row)?;
/// }
/// assert_eq!(row, [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorReader<'f> {
    file: &'f PrunedReader,
    name: &'f str,
    dtype: Dtype,
    shape: &'f Shape,
    whole: Option<Held>,
    decoder: Decoder,
}

impl TensorReader<'_> {
    /// Type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Shape of the tensor.
    pub fn shape(&self) -> &Shape {
        self.shape
    }

    /// Bytes in a row of the matrix view; 0 if rows are not whole bytes.
    pub fn row_bytes(&self) -> usize {
        bytes_of(self.shape.matrix().cols, self.dtype.bitsize()).unwrap_or_default()
    }

    /// [`PrunedReader::read_rows`] of this tensor.
    ///
    /// # Errors
    /// As there.
    pub fn read_rows(&mut self, rows: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        let Self { file, name, dtype, shape, .. } = *self;
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
        if !file.is_encoded(name) {
            out.copy_from_slice(&file.whole(name).bytes()[first_byte..end_byte]);
            return Ok(());
        }
        self.whole.iter().for_each(Held::prepare);
        let size = dtype.bitsize() / 8;
        let mut start = first;
        while start < end {
            let column = start % matrix.cols;
            let len = match BLOCK_ELEMENTS / matrix.cols {
                0 => BLOCK_ELEMENTS.min(matrix.cols - column),
                rows_at_once => (rows_at_once * matrix.cols).min(end - start),
            };
            let block = Block { tensor: 0, start, len };
            let restored = file
                .read_block(name, &block, &mut self.decoder)
                .map_err(|error| RowsError::Code { tensor: tensor(), error })?;
            out[size * (start - first)..size * (start - first + len)].copy_from_slice(restored);
            start += len;
        }
        Ok(())
    }
}
