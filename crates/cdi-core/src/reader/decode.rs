//! Blocks of encoded tensors, decoded.

use core::ops::Range;

use super::file::{PrunedReader, Stored};
use crate::blocks::{BLOCK_ELEMENTS, Block, Reads};
use crate::checkpoint::TensorRef;
use crate::codec::{BlockDecoder, CodeError};
use crate::init::encoder::Encoder;
use crate::init::{Generator, Initial, Whole};
use crate::prelude::*;
use crate::sparse::{Fill, Format, InitialValues, PrunedTensor, bitmask, csr, fillmask};
use crate::tensor::{Shape, cast};

/// Buffers of a thread.
#[derive(Debug, Default)]
pub struct Decoder {
    pub(super) encoder: Encoder,
    mask: Vec<u8>,
    cast: Vec<u8>,
    /// What pruned places of a coded tensor become.
    pub(super) filled: Encoder,
    pub(super) code: BlockDecoder,
    /// Places of a coded tensor that were asked for, and a block that they are a part of.
    pub(super) out: Vec<u8>,
    pub(super) piece: Vec<u8>,
    /// Which block `piece` is: where in memory its tensor's code is, and its number.
    pub(super) in_piece: Option<(usize, usize)>,
}

impl PrunedReader {
    /// Which stored values of an encoded tensor a block takes, one of [`crate::blocks::cut`] or any whole rows.
    fn run(
        &self,
        description: &PrunedTensor,
        parts: &[String],
        before: &[usize],
        block: &Block,
    ) -> Range<usize> {
        let matrix = Shape::new(description.shape.clone()).map(|shape| shape.matrix());
        let Ok(matrix) = matrix else { return 0..0 };
        let row = block.row(matrix);
        if description.format == Format::Csr && !block.whole_rows(matrix) {
            let (crow, columns) = (self.whole(&parts[1]).bytes(), self.whole(&parts[2]).bytes());
            let before = |column| csr::before(crow, columns, matrix, row, column);
            let end = block.column(matrix) + block.len;
            return before(block.column(matrix))..if end < matrix.cols {
                before(end)
            } else {
                csr::offset(crow, row + 1)
            };
        }
        if !block.whole_rows(matrix) {
            let n = row * matrix.cols.div_ceil(BLOCK_ELEMENTS) + block.column(matrix) / BLOCK_ELEMENTS;
            return before[n]..before[n + 1];
        }
        let end = row + block.len / matrix.cols;
        let offsets = self.whole(&parts[if description.format == Format::Csr { 1 } else { 3 }]).bytes();
        // A bitmask's row offsets have no last one.
        let last = before.last().copied().unwrap_or_default();
        let offset = |row: usize| if 8 * row < offsets.len() { csr::offset(offsets, row) } else { last };
        offset(row)..offset(end)
    }
}

/// Tensors by blocks.
pub trait ReadBlocks {
    /// Whether the tensor is encoded, so that it must be read by blocks.
    fn is_encoded(&self, name: &str) -> bool;

    /// A tensor that stands in the file as it is.
    ///
    /// # Panics
    /// If there is none of this name.
    fn stored(&self, name: &str) -> TensorRef<'_>;

    /// What draws an encoded tensor's initial values, where only all at once can be drawn.
    fn drawn_whole(&self, name: &str) -> Option<&Whole>;

    /// What of the files a block of a tensor is read from.
    fn reads(&self, name: &str, block: &Block) -> Reads<'_>;

    /// The bytes of a block of an encoded tensor.
    ///
    /// # Errors
    /// [`CodeError`], of coded tensors alone: whatever else can be wrong was found when the file was opened.
    fn read_block<'a>(
        &'a self,
        name: &str,
        block: &Block,
        decoder: &'a mut Decoder,
    ) -> Result<&'a [u8], CodeError>;
}

impl ReadBlocks for PrunedReader {
    fn is_encoded(&self, name: &str) -> bool {
        matches!(self.tensors.get(name), Some(Stored::Encoded { .. } | Stored::Coded(_)))
    }

    fn stored(&self, name: &str) -> TensorRef<'_> {
        self.whole(name)
    }

    fn drawn_whole(&self, name: &str) -> Option<&Whole> {
        match self.tensors.get(name) {
            Some(Stored::Encoded { drawn: Some(drawn), .. }) => drawn.whole(),
            Some(Stored::Coded(coded)) => coded.drawn.as_ref().and_then(Generator::whole),
            _ => None,
        }
    }

    fn reads(&self, name: &str, block: &Block) -> Reads<'_> {
        let (description, dtype, shape, parts, before, drawn) = match &self.tensors[name] {
            Stored::Whole => return Reads::of(self.whole(name).data),
            Stored::Coded(coded) => return self.coded_reads(coded, block),
            Stored::Encoded { description, dtype, shape, parts, before, drawn } => {
                (description, dtype, shape, parts, before, drawn)
            }
        };
        let (matrix, size) = (shape.matrix(), dtype.size());
        let part = |n: usize| self.whole(&parts[n]).data;
        let run = self.run(description, parts, before, block);
        let values = |n: usize| part(n).part(run.start * size..run.end * size);
        let [places, values] = match description.format {
            Format::Csr => {
                let index = csr::index_size(matrix);
                [part(2).part(run.start * index..run.end * index), values(3)]
            }
            _ => [part(1).part(block.mask_bytes(matrix)), values(2)],
        };
        let base = self.base.as_ref().filter(|_| description.fill != Fill::Zero);
        let initial = base.and_then(|base| {
            let tensor = base.tensor(name)?;
            Some(tensor.data.part(block.bytes(tensor.float()?.size())))
        });
        let fill = (description.fill == Fill::Nearest).then(|| {
            let pruned = block.start - run.start..block.start + block.len - run.end;
            part(4).part(pruned.start / 8..pruned.end.div_ceil(8))
        });
        let mapped = [Some(places), Some(values), initial, fill];
        let whole = drawn.as_ref().and_then(Generator::whole);
        Reads { bytes: (block.len * size) as u64, mapped, whole }
    }

    fn read_block<'a>(
        &'a self,
        name: &str,
        block: &Block,
        decoder: &'a mut Decoder,
    ) -> Result<&'a [u8], CodeError> {
        let (description, dtype, shape, parts, before, drawn) = match &self.tensors[name] {
            Stored::Whole => return Ok(self.whole(name).bytes()),
            Stored::Coded(coded) => return self.read_coded(coded, block, decoder),
            Stored::Encoded { description, dtype, shape, parts, before, drawn } => {
                (description, dtype, shape, parts, before, drawn)
            }
        };
        let matrix = shape.matrix();
        let Decoder { encoder, mask, cast: out, .. } = decoder;
        let out = match (description.fill, self.initial(description, drawn.as_ref())) {
            (Fill::Init | Fill::Nearest, Some(initial)) => {
                let trained = description.trained_dtype.unwrap_or(*dtype);
                let values = encoder.encode(&initial, block.start, block.len, trained, description.decay);
                if trained == *dtype {
                    values
                } else {
                    out.clear();
                    cast(values, trained, *dtype, out);
                    out
                }
            }
            _ => encoder.zeros(block.len * dtype.size()),
        };
        let [Some(places), Some(stored), _, fill] = self.reads(name, block).mapped else { return Ok(out) };
        let cols = block.columns(matrix);
        let mask = if description.format == Format::Csr {
            let rows = if block.whole_rows(matrix) { block.len / matrix.cols } else { 1 };
            let at = (block.row(matrix), block.column(matrix));
            let crow = self.whole(&parts[1]).data.bytes();
            csr::run_mask(crow, places.bytes(), matrix, at, (rows, cols), mask);
            &*mask
        } else {
            places.bytes()
        };
        if let Some(fill) = fill {
            fillmask::clear(
                fill.bytes(),
                (block.start - self.run(description, parts, before, block).start) % 8,
                mask,
                cols,
                dtype.size(),
                out,
            );
        }
        bitmask::scatter(stored.bytes(), cols, mask, *dtype, out);
        Ok(out)
    }
}

impl PrunedReader {
    pub(super) fn initial(
        &self,
        description: &PrunedTensor,
        drawn: Option<&Generator>,
    ) -> Option<Initial<'_>> {
        match &description.init {
            InitialValues::Scheme(_) | InitialValues::Slices { .. } => {
                Some(Initial::Generated { generator: drawn?.clone(), stored_as: description.initial_dtype })
            }
            InitialValues::Unknown(_) => None,
            InitialValues::Stored { initial_dtype, .. } => {
                let base = self.base.as_ref()?.tensor(&description.name)?;
                let (bytes, dtype) = (base.bytes(), base.float()?);
                Some(Initial::Stored { bytes, dtype, stored_as: *initial_dtype })
            }
        }
    }
}
