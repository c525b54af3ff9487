//! Reads tensors of a pruned file, or rows of them, into memory that the caller owns: directly, or through a
//! handle for many reads of one tensor.

use core::ops::Range;

use safetensors::Dtype;

use super::decode::{Decoder, ReadBlocks};
use super::error::RowsError;
use super::file::PrunedReader;
use crate::blocks::{BLOCK_ELEMENTS, Block};
use crate::init::{Held, Whole};
use crate::prelude::*;
use crate::tensor::{Element, FloatDtype, Shape, bytes_of, load};

impl PrunedReader {
    /// Restores rows of a tensor's matrix view into `out`: in the tensor's type, little-endian, row-major.
    /// The matrix view is the first dimension by all others; a vector is one row. The memory allocated does
    /// not grow with the tensor or the number of rows, unless its initial values can only be drawn all at
    /// once (orthogonal schemes).
    ///
    /// # Errors
    /// [`RowsError`]: there is no such tensor, the rows do not exist or do not begin and end at whole bytes
    /// (4-bit types), or the slice has the wrong length. `out` is then unchanged. For a coded tensor, also if
    /// a block cannot be decoded.
    pub fn read_rows(&self, name: &str, rows: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        self.tensor_reader(name)?.read_rows(rows, out)
    }

    /// Restores rows of a floating-point tensor as elements of a Rust type: the tensor's own type, or one
    /// that can hold all of its values. Otherwise like [`Self::read_rows`].
    ///
    /// # Errors
    /// [`RowsError`], as for [`Self::read_rows`]; [`RowsError::Type`] if the type cannot hold
    /// the tensor's values.
    pub fn read_elements<E: Element>(
        &self,
        name: &str,
        rows: Range<usize>,
        out: &mut [E],
    ) -> Result<(), RowsError> {
        self.tensor_reader(name)?.read_elements(rows, out)
    }

    /// A handle for many reads of one tensor's rows. It keeps data that later reads need again: the matrix of
    /// an orthogonal scheme, which can only be drawn as a whole (its size is within
    /// [`Limits::bytes`](super::Limits), checked when the file was opened), and the last decoded block of a
    /// coded tensor (65,536 elements). Dropping the handle frees both.
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

    /// Restores a whole tensor into `out`, like [`Self::read_rows`].
    ///
    /// # Errors
    /// [`RowsError`]: there is no such tensor, or the slice has the wrong length. `out` is then unchanged.
    pub fn read(&self, name: &str, out: &mut [u8]) -> Result<(), RowsError> {
        let (_, shape) = self.tensor(name).ok_or_else(|| RowsError::Unknown(name.to_owned()))?;
        self.read_rows(name, 0..shape.matrix().rows, out)
    }

    /// Restores a whole tensor into a new vector.
    ///
    /// # Errors
    /// [`RowsError::Unknown`], [`RowsError::TooLarge`] if the tensor exceeds the reader's
    /// [limit](super::Limits), [`RowsError::NoMemory`].
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
/// let mut row = vec![0f32; weights.shape().matrix().cols];
/// for n in (0..weights.shape().matrix().rows).rev() {
///     weights.read_elements(n..n + 1, &mut row)?;
/// }
/// assert_eq!(row, [1.0, 2.0]);
/// // The same row as the bytes of the file's type.
/// let mut bytes = vec![0; weights.row_bytes()];
/// weights.read_rows(0..1, &mut bytes)?;
/// assert_eq!(bytes, [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat());
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

    /// Like [`PrunedReader::read_rows`], for this tensor.
    ///
    /// # Errors
    /// As for that method.
    pub fn read_rows(&mut self, rows: Range<usize>, out: &mut [u8]) -> Result<(), RowsError> {
        let Self { name, dtype, .. } = *self;
        let Range { start: from, end: to } = rows;
        let elements = self.elements(&rows)?;
        let (Some(first), Some(end)) =
            (bytes_of(elements.start, dtype.bitsize()), bytes_of(elements.end, dtype.bitsize()))
        else {
            return Err(RowsError::PartByte { tensor: name.to_owned(), dtype, from, to });
        };
        let expected = end - first;
        if out.len() != expected {
            return Err(RowsError::Length { tensor: name.to_owned(), expected, got: out.len() });
        }
        self.each_run(elements, first..end, |at, bytes| out[at..at + bytes.len()].copy_from_slice(bytes))
    }

    /// Like [`PrunedReader::read_elements`], for this tensor.
    ///
    /// # Errors
    /// As for that method.
    pub fn read_elements<E: Element>(&mut self, rows: Range<usize>, out: &mut [E]) -> Result<(), RowsError> {
        let Self { name, dtype, .. } = *self;
        let tensor = || name.to_owned();
        let Some(from) = FloatDtype::of(dtype).filter(|from| E::DTYPE.holds(*from)) else {
            return Err(RowsError::Type { tensor: tensor(), dtype, requested: E::DTYPE });
        };
        let elements = self.elements(&rows)?;
        if out.len() != elements.len() {
            return Err(RowsError::Elements { tensor: tensor(), expected: elements.len(), got: out.len() });
        }
        let size = from.size();
        let bytes = elements.start * size..elements.end * size;
        self.each_run(elements, bytes, |at, bytes| {
            load(from, bytes, &mut out[at / size..(at + bytes.len()) / size]);
        })
    }

    /// The elements of these rows. Rows that do not exist are an error.
    fn elements(&self, rows: &Range<usize>) -> Result<Range<usize>, RowsError> {
        let (matrix, Range { start: from, end: to }) = (self.shape.matrix(), rows.clone());
        if from > to || to > matrix.rows {
            return Err(RowsError::Beyond { tensor: self.name.to_owned(), rows: matrix.rows, from, to });
        }
        Ok(from * matrix.cols..to * matrix.cols)
    }

    /// Calls `take` for one run of the rows at a time, with the number of bytes before the run
    /// and the run's bytes.
    fn each_run(
        &mut self,
        elements: Range<usize>,
        bytes: Range<usize>,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), RowsError> {
        let Self { file, name, dtype, shape, .. } = *self;
        let (matrix, Range { start: first, end }) = (shape.matrix(), elements);
        if !file.is_encoded(name) {
            take(0, &file.whole(name).bytes()[bytes]);
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
                .map_err(|error| RowsError::Code { tensor: name.to_owned(), error })?;
            take(size * (start - first), restored);
            start += len;
        }
        Ok(())
    }
}
