//! Decodes blocks of encoded tensors.

use core::ops::Range;

use super::file::PrunedReader;
#[cfg(feature = "std")]
use super::layers::LayerDecoder;
use super::stored::{CodedLayer, Encoded, Stored};
use crate::blocks::{BLOCK_ELEMENTS, Block, Reads};
use crate::checkpoint::{Mapped, TensorRef};
use crate::codec::{BlockDecoder, CodeError, Head};
use crate::init::encoder::Encoder;
use crate::init::{Generator, Initial, Whole};
use crate::prelude::*;
use crate::sparse::offsets::Offsets;
use crate::sparse::{
    BitmaskParts, CsrParts, EncodingParts, Fill, InitialValues, Parts, PrunedTensor, bitmask, csr, fillmask,
};
use crate::tensor::{FloatDtype, cast};

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct Decoder {
    pub(super) encoder: Encoder,
    mask: Vec<u8>,
    pub(super) cast: Vec<u8>,
    /// Values of the pruned elements of a coded tensor.
    pub(super) filled: Encoder,
    pub(super) code: BlockDecoder,
    #[cfg(feature = "std")]
    pub(super) layers: LayerDecoder,
    /// The requested elements of a coded tensor, and a whole block that contains some of them.
    pub(super) out: Vec<u8>,
    pub(super) piece: Vec<u8>,
    /// Which block `piece` is: the address of its tensor's code in memory, and its number.
    pub(super) in_piece: Option<(usize, usize)>,
}

/// The data from which a block of an encoded tensor is restored.
struct BlockParts<'a> {
    /// The range of the block's stored values.
    run: Range<usize>,
    /// Their positions: the block's part of the bitmask, or their columns.
    places: Mapped<'a>,
    values: Mapped<'a>,
    /// The bytes of the fill mask that contain the bits of the block's pruned elements.
    fill: Option<Mapped<'a>>,
}

impl PrunedReader {
    /// The range of the stored values of a block, which is one of [`crate::blocks::cut`] or any whole rows.
    fn run(&self, encoded: &Encoded, block: &Block) -> Range<usize> {
        let Encoded { parts, before, .. } = encoded;
        let matrix = encoded.shape.matrix();
        let row = block.row(matrix);
        let offsets = self.offsets_of(parts.encoding.row_offsets());
        if block.whole_rows(matrix) {
            // The row offsets of a bitmask do not include the total, and there are none without values.
            let last = before.last().copied().unwrap_or_default();
            let offset = |row: usize| if row < offsets.count() { offsets.at(row) } else { last };
            return offset(row)..offset(row + block.len / matrix.cols);
        }
        match &parts.encoding {
            EncodingParts::Csr(CsrParts { columns, .. }) => {
                let columns = self.whole(columns).bytes();
                let before = |column| csr::before(offsets, columns, matrix, row, column);
                let end = block.column(matrix) + block.len;
                let end = if end < matrix.cols { before(end) } else { offsets.at(row + 1) };
                before(block.column(matrix))..end
            }
            EncodingParts::Bitmask(_) => {
                let in_row = matrix.cols.div_ceil(BLOCK_ELEMENTS);
                let n = row * in_row + block.column(matrix) / BLOCK_ELEMENTS;
                before[n]..before[n + 1]
            }
        }
    }

    fn offsets_of(&self, part: &str) -> Offsets<'_> {
        let found = self.whole(part);
        Offsets::new(found.data.bytes(), found.dtype)
    }

    fn block_parts(&self, encoded: &Encoded, block: &Block) -> BlockParts<'_> {
        let (matrix, size) = (encoded.shape.matrix(), encoded.dtype.size());
        let Parts { encoding, fill } = &encoded.parts;
        let part = |name: &String| self.whole(name).data;
        let run = self.run(encoded, block);
        let places = match encoding {
            EncodingParts::Csr(CsrParts { columns, .. }) => {
                let index = csr::index_size(matrix);
                part(columns).part(run.start * index..run.end * index)
            }
            EncodingParts::Bitmask(BitmaskParts { mask, .. }) => part(mask).part(block.mask_bytes(matrix)),
        };
        let values = part(encoding.values()).part(run.start * size..run.end * size);
        let fill = fill.as_ref().map(|fill| {
            let pruned = block.start - run.start..block.start + block.len - run.end;
            part(fill).part(pruned.start / 8..pruned.end.div_ceil(8))
        });
        BlockParts { run, places, values, fill }
    }

    /// The block's part of the tensor in the base, if the initial values are stored there.
    pub(super) fn base_part(&self, description: &PrunedTensor, block: &Block) -> Option<Mapped<'_>> {
        let tensor = self.base.as_ref()?.tensor(&description.name)?;
        Some(tensor.data.part(block.bytes(tensor.dtype.bitsize() / 8)))
    }
}

/// What a delta has of a tensor.
#[derive(Clone, Copy, Debug)]
pub enum Link<'a> {
    /// All of it.
    Whole(TensorRef<'a>),
    /// Nothing: it is the tensor in the base.
    InBase,
    /// A code.
    Coded {
        /// Its head.
        head: &'a Head,
        /// The whole code, with its layers.
        code: Mapped<'a>,
        /// Where in it the code ends that is predicted from the base.
        end: usize,
        /// The layers over it.
        layers: &'a [CodedLayer],
        /// The factor of the base's values, from which values are predicted; `None` if they are not.
        prediction: Option<f64>,
    },
    /// What no delta has.
    Other,
}

/// Reads tensors by blocks.
pub trait ReadBlocks {
    /// Whether the tensor is encoded, so that it must be read by blocks.
    fn is_encoded(&self, name: &str) -> bool;

    /// The head of a tensor's code; `None` if it is not entropy-coded.
    fn head(&self, name: &str) -> Option<&Head>;

    /// What a delta has of a tensor.
    ///
    /// # Panics
    /// If there is no such tensor.
    fn link(&self, name: &str) -> Link<'_>;

    /// A tensor that is stored unencoded, in the file or in its base.
    ///
    /// # Panics
    /// If there is no such tensor.
    fn stored(&self, name: &str) -> TensorRef<'_>;

    /// The generator of an encoded tensor's initial values, if these can only be drawn all at once.
    fn drawn_whole(&self, name: &str) -> Option<&Whole>;

    /// What is read from the files for a block of a tensor.
    fn reads(&self, name: &str, block: &Block) -> Reads<'_>;

    /// The bytes of a block of an encoded tensor.
    ///
    /// # Errors
    /// [`CodeError`], for coded tensors only: all other errors are found when the file is opened.
    fn read_block<'a>(
        &'a self,
        name: &str,
        block: &Block,
        decoder: &'a mut Decoder,
    ) -> Result<&'a [u8], CodeError>;
}

impl ReadBlocks for PrunedReader {
    fn is_encoded(&self, name: &str) -> bool {
        matches!(self.tensors.get(name), Some(Stored::Encoded(_) | Stored::Coded(_)))
    }

    fn head(&self, name: &str) -> Option<&Head> {
        match self.tensors.get(name) {
            Some(Stored::Coded(coded)) => Some(&coded.head),
            _ => None,
        }
    }

    fn link(&self, name: &str) -> Link<'_> {
        match &self.tensors[name] {
            Stored::Whole => Link::Whole(self.whole(name)),
            Stored::InBase(..) => Link::InBase,
            Stored::Coded(coded) => {
                let description = &coded.description;
                let prediction = description.prediction;
                let in_base = matches!(description.init, InitialValues::InBase(_));
                if description.fill != Fill::Zero || prediction.is_some() && !in_base {
                    return Link::Other;
                }
                Link::Coded {
                    head: &coded.head,
                    code: self.code_of(coded),
                    end: coded.end,
                    layers: &coded.layers,
                    prediction,
                }
            }
            Stored::Encoded(_) => Link::Other,
        }
    }

    fn stored(&self, name: &str) -> TensorRef<'_> {
        self.whole(name)
    }

    fn drawn_whole(&self, name: &str) -> Option<&Whole> {
        match self.tensors.get(name) {
            Some(Stored::Encoded(encoded)) => encoded.drawn.as_ref().and_then(Generator::whole),
            Some(Stored::Coded(coded)) => coded.drawn.as_ref().and_then(Generator::whole),
            _ => None,
        }
    }

    fn reads(&self, name: &str, block: &Block) -> Reads<'_> {
        let encoded = match &self.tensors[name] {
            Stored::Whole | Stored::InBase(..) => return Reads::of(self.whole(name).data),
            Stored::Coded(coded) => return self.coded_reads(coded, block),
            Stored::Encoded(encoded) => encoded,
        };
        let Encoded { description, dtype, drawn, .. } = &**encoded;
        let BlockParts { places, values, fill, .. } = self.block_parts(encoded, block);
        let initial = Some(block).filter(|_| description.fill != Fill::Zero);
        let initial = initial.and_then(|block| self.base_part(description, block));
        let mapped = [Some(places), Some(values), initial, fill];
        let whole = drawn.as_ref().and_then(Generator::whole);
        Reads { bytes: (block.len * dtype.size()) as u64, mapped, whole }
    }

    fn read_block<'a>(
        &'a self,
        name: &str,
        block: &Block,
        decoder: &'a mut Decoder,
    ) -> Result<&'a [u8], CodeError> {
        let encoded = match &self.tensors[name] {
            Stored::Whole | Stored::InBase(..) => return Ok(self.whole(name).bytes()),
            Stored::Coded(coded) => return self.read_coded(coded, block, decoder),
            Stored::Encoded(encoded) => encoded,
        };
        let Encoded { description, dtype, shape, parts, drawn, .. } = &**encoded;
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
        let BlockParts { run, places, values, fill } = self.block_parts(encoded, block);
        let cols = block.columns(matrix);
        let mask = match &parts.encoding {
            EncodingParts::Bitmask(_) => places.bytes(),
            EncodingParts::Csr(CsrParts { row_offsets, .. }) => {
                let rows = if block.whole_rows(matrix) { block.len / matrix.cols } else { 1 };
                let at = (block.row(matrix), block.column(matrix));
                let crow = self.offsets_of(row_offsets);
                csr::run_mask(crow, places.bytes(), matrix, at, (rows, cols), mask);
                &*mask
            }
        };
        if let Some(fill) = fill {
            let first = (block.start - run.start) % 8;
            fillmask::clear(fill.bytes(), first, mask, cols, dtype.size(), out);
        }
        bitmask::scatter(values.bytes(), cols, mask, *dtype, out);
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
            InitialValues::Stored { initial_dtype, .. } => self.initial_in_base(description, *initial_dtype),
            InitialValues::InBase(_) => self.initial_in_base(description, None),
        }
    }

    fn initial_in_base(
        &self,
        description: &PrunedTensor,
        stored_as: Option<FloatDtype>,
    ) -> Option<Initial<'_>> {
        let base = self.base.as_ref()?.tensor(&description.name)?;
        Some(Initial::Stored { data: base.data, dtype: base.float()?, stored_as })
    }
}
