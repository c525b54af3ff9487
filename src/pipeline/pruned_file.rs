//! Pruned files as they are read: validated in full, then any run of any tensor on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;

use super::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use super::check_parts::{check_bitmask, check_csr};
use super::encoder::Encoder;
use super::error::{BaseProblem, Error, PrunedProblem};
use super::prune::digest;
use super::resolve::base_tensor;
use crate::checkpoint::{Checkpoint, TensorRef};
use crate::init::{Generator, Initial, SchemeParams, Whole, slice_shape, slice_sizes};
use crate::noise::NOISE_VERSION;
use crate::sparse::{
    FileMetadata, Fill, Format, InitialValues, Kind, PrunedTensor, SliceValues, VERSION, bitmask, csr,
    fillmask, suffixes,
};
use crate::tensor::{FloatDtype, Layout, Shape, cast};

/// A checkpoint, pruned or not, whose tensors can be read as ordinary dense ones.
#[derive(Debug)]
pub struct PrunedFile {
    checkpoint: Checkpoint,
    base: Option<Checkpoint>,
    seed: u64,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
    kind: Option<Kind>,
}

#[derive(Debug)]
enum Stored {
    /// As it is in the file.
    Whole,
    /// In parts.
    Encoded {
        description: Box<PrunedTensor>,
        dtype: FloatDtype,
        shape: Shape,
        /// Names of the parts, in the order of the encoding's suffixes.
        parts: Vec<String>,
        /// Stored values before each block.
        before: Vec<usize>,
        /// Draws the values of pruned places, where they are drawn.
        drawn: Option<Generator>,
    },
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    encoder: Encoder,
    mask: Vec<u8>,
    cast: Vec<u8>,
}

impl PrunedFile {
    /// Opens and validates a pruned file or sharded set; an ordinary checkpoint opens too, as what it is. `base` is the
    /// checkpoint that initial values were taken from, where a tensor needs one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::Pruned`], [`Error::Base`].
    pub fn open(path: &Path, base: Option<&Path>) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(path)?;
        let wrong = |problem| Error::Pruned { path: path.to_owned(), problem };
        let mut file = Self {
            base: base.map(Checkpoint::open).transpose()?,
            seed: 0,
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
            kind: None,
            checkpoint,
        };
        let mut parts = BTreeSet::new();
        for description in file.read_metadata().map_err(wrong)? {
            file.add(description, &mut parts).map_err(|e| e.at(path))?;
        }
        for (name, _) in file.checkpoint.tensors() {
            if !parts.contains(name) && file.tensors.insert(name.to_owned(), Stored::Whole).is_some() {
                return Err(wrong(PrunedProblem::Twice(name.to_owned())));
            }
        }
        Ok(file)
    }

    /// Reads the descriptions of all shards.
    fn read_metadata(&mut self) -> Result<Vec<PrunedTensor>, PrunedProblem> {
        let mut descriptions = Vec::new();
        let mut seed = None;
        for metadata in self.checkpoint.metadata() {
            for (key, value) in metadata {
                if key != crate::checkpoint::METADATA_KEY {
                    self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            let Some(found) = FileMetadata::find(metadata) else { continue };
            let found = found.map_err(PrunedProblem::Unreadable)?;
            for (what, got, expected) in
                [("version", found.version, VERSION), ("noise version", found.noise_version, NOISE_VERSION)]
            {
                if got != expected {
                    return Err(PrunedProblem::Version { what, got, expected });
                }
            }
            self.kind = Some(found.kind);
            if found.kind != Kind::Pruned {
                continue;
            }
            if *seed.get_or_insert(found.seed) != found.seed {
                return Err(PrunedProblem::Seeds(seed.unwrap_or_default(), found.seed));
            }
            descriptions.extend(found.tensors);
        }
        self.seed = seed.unwrap_or_default();
        Ok(descriptions)
    }

    /// Validates one described tensor.
    fn add(&mut self, description: PrunedTensor, parts: &mut BTreeSet<String>) -> Result<(), Wrong> {
        let name = description.name.clone();
        let shape = Shape::new(description.shape.clone())
            .map_err(|e| PrunedProblem::Description { tensor: name.clone(), problem: e.to_string() })?;
        let dtype = FloatDtype::of(description.dtype).ok_or_else(|| PrunedProblem::Description {
            tensor: name.clone(),
            problem: format!("{} is not a type that can be pruned", description.dtype),
        })?;
        if description.format == Format::Dense {
            // Complete as it stands, whatever its pruned places were filled with.
            return self
                .part(&name, &name, description.dtype, Some(shape.dims()))
                .map(drop)
                .map_err(Wrong::from);
        }
        let matrix = shape.matrix();
        let nearest = description.fill == Fill::Nearest;
        let part_names: Vec<String> =
            suffixes(description.format).iter().map(|suffix| format!("{name}{suffix}")).collect();
        let part_names = &part_names[..if nearest { 5 } else { 4 }];
        let (values_at, rows_at) = if description.format == Format::Csr { (3, 1) } else { (2, 3) };
        let shape_part = self.part(&name, &part_names[0], Dtype::I64, Some(&[shape.rank()]))?;
        let values = self.part(&name, &part_names[values_at], description.dtype, None)?;
        let count = values.shape.elements();
        let dims: Vec<i64> =
            shape_part.bytes().as_chunks::<8>().0.iter().map(|d| i64::from_le_bytes(*d)).collect();
        if !dims.iter().map(|d| usize::try_from(*d)).eq(shape.dims().iter().map(|d| Ok(*d))) {
            let expected = shape.dims().to_vec();
            return Err(PrunedProblem::StoredShape { tensor: name, expected, got: dims }.into());
        }
        let before = if description.format == Format::Csr {
            let crow = self.part(&name, &part_names[rows_at], Dtype::I64, Some(&[matrix.rows + 1]))?;
            let columns = self.part(&name, &part_names[2], csr::index_dtype(matrix), Some(&[count]))?;
            check_csr(matrix, crow.data, columns.data, count)
                .map_err(|error| PrunedProblem::Csr { tensor: name.clone(), error })?
        } else {
            let dims = [matrix.rows, matrix.mask_row_bytes()];
            let mask = self.part(&name, &part_names[1], Dtype::U8, Some(&dims))?;
            let row_offsets = self.part(&name, &part_names[rows_at], Dtype::I64, Some(&[matrix.rows]))?;
            check_bitmask(matrix, mask.data, row_offsets.data, count)
                .map_err(|error| PrunedProblem::Bitmask { tensor: name.clone(), error })?
        };
        if nearest {
            // The checks above leave no room for more values than elements.
            let pruned = shape.elements() - count;
            let fill = self.part(&name, &part_names[4], Dtype::U8, Some(&[pruned.div_ceil(8)]))?;
            if !fillmask::padding_is_clear(fill.bytes(), pruned) {
                return Err(PrunedProblem::FillPadding { tensor: name, pruned }.into());
            }
        }
        if !description.decay.is_finite() {
            let problem = format!("a decay of {}", description.decay);
            return Err(PrunedProblem::Description { tensor: name, problem }.into());
        }
        let drawn = self.check_initial(&description, &shape)?;
        parts.extend(part_names.iter().cloned());
        let stored = Stored::Encoded {
            description: Box::new(description),
            dtype,
            shape,
            parts: part_names.to_vec(),
            before,
            drawn,
        };
        if self.tensors.insert(name.clone(), stored).is_some() {
            return Err(PrunedProblem::Twice(name).into());
        }
        Ok(())
    }

    /// Whether the pruned places' values can be had, and what draws them, where they are drawn.
    fn check_initial(&self, description: &PrunedTensor, shape: &Shape) -> Result<Option<Generator>, Wrong> {
        let tensor = description.name.clone();
        match (&description.init, description.fill, &self.base) {
            (_, Fill::Zero, _) => Ok(None),
            (InitialValues::Scheme(params), Fill::Init | Fill::Nearest, _) => {
                let drawn = self.generator(params, description.layer_id, description.layout, shape);
                drawn.map(Some).map_err(|problem| PrunedProblem::Description { tensor, problem }.into())
            }
            (InitialValues::Slices { slices }, Fill::Init | Fill::Nearest, _) => {
                let drawn = self.sliced_generator(slices, description.layout, shape);
                drawn.map(Some).map_err(|problem| PrunedProblem::Description { tensor, problem }.into())
            }
            (InitialValues::Unknown(_), Fill::Init | Fill::Nearest, _) => {
                let problem = "initial values are not known, and its pruned places take them".to_owned();
                Err(PrunedProblem::Description { tensor, problem }.into())
            }
            (InitialValues::Stored { from, .. }, Fill::Init | Fill::Nearest, None) => {
                Err(PrunedProblem::BaseNeeded { tensor, from: from.clone() }.into())
            }
            (InitialValues::Stored { sha256, .. }, Fill::Init | Fill::Nearest, Some(base)) => {
                let got = digest(base_tensor(base, &tensor, shape).map_err(Wrong::Other)?.data);
                if got == *sha256 {
                    return Ok(None);
                }
                let problem = BaseProblem::Digest { expected: sha256.clone(), got };
                Err(Wrong::Other(Error::Base { path: base.path().to_owned(), tensor, problem }))
            }
        }
    }

    /// What draws a tensor's initial values; otherwise why nothing can.
    fn generator(
        &self,
        params: &SchemeParams,
        layer_id: Option<u64>,
        layout: Layout,
        shape: &Shape,
    ) -> Result<Generator, String> {
        let scheme = params.scheme().map_err(|error| error.to_string())?;
        scheme.check_shape(shape, layout).map_err(|error| error.to_string())?;
        let layer = match layer_id {
            None if scheme.is_random() => return Err("no layer id".to_owned()),
            layer => layer.unwrap_or_default(),
        };
        Ok(Generator::new(self.seed, layer, &scheme, shape, layout))
    }

    /// The same of a tensor in slices.
    fn sliced_generator(
        &self,
        slices: &[SliceValues],
        layout: Layout,
        shape: &Shape,
    ) -> Result<Generator, String> {
        let given: Vec<Option<usize>> = slices.iter().map(|slice| Some(slice.size)).collect();
        let sizes = slice_sizes(shape, layout, &given).map_err(|error| error.to_string())?;
        let parts = slices.iter().zip(sizes).map(|(slice, size)| {
            let shape = slice_shape(shape, layout, size);
            Ok((size, self.generator(&slice.init, Some(slice.layer_id), layout, &shape)?))
        });
        Ok(Generator::sliced(shape, layout, parts.collect::<Result<_, String>>()?))
    }

    fn part(
        &self,
        tensor: &str,
        part: &str,
        dtype: Dtype,
        dims: Option<&[usize]>,
    ) -> Result<TensorRef<'_>, PrunedProblem> {
        let found = self
            .checkpoint
            .tensor(part)
            .ok_or_else(|| PrunedProblem::PartMissing { tensor: tensor.to_owned(), part: part.to_owned() })?;
        let fits = match dims {
            Some(dims) => found.shape.dims() == dims,
            None => found.shape.rank() == 1,
        };
        if found.dtype == dtype && fits {
            return Ok(found);
        }
        let expected = dims.map_or("[count]".to_owned(), |dims| format!("{dims:?}"));
        Err(PrunedProblem::PartForm {
            tensor: tensor.to_owned(),
            part: part.to_owned(),
            expected: format!("{dtype} {expected}"),
            got: format!("{} {}", found.dtype, found.shape),
        })
    }

    /// Whether the file describes itself as pruned.
    pub fn is_pruned(&self) -> bool {
        self.kind == Some(Kind::Pruned)
    }

    /// Whether the file describes itself as an initial checkpoint.
    pub fn is_initial(&self) -> bool {
        self.kind == Some(Kind::Initial)
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Every file that is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.checkpoint.files().chain(self.base.iter().flat_map(Checkpoint::files))
    }

    /// The `__metadata__` that the trained checkpoint had.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names, types and shapes of the dense tensors, in name order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Dtype, &Shape)> {
        self.tensors.iter().map(|(name, stored)| match stored {
            Stored::Whole => {
                let tensor = self.whole(name);
                (name.as_str(), tensor.dtype, tensor.shape)
            }
            Stored::Encoded { dtype, shape, .. } => (name.as_str(), dtype.dtype(), shape),
        })
    }

    /// The bytes of a dense tensor, restored; `None` if there is none of this name.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let (_, dtype, shape) = self.tensors().find(|(n, ..)| *n == name)?;
        let mut bytes = Vec::with_capacity(shape.elements() * dtype.bitsize() / 8);
        match &self.tensors[name] {
            Stored::Whole => bytes.extend(self.whole(name).bytes()),
            Stored::Encoded { shape, drawn, .. } => {
                let whole = drawn.as_ref().and_then(Generator::whole);
                whole.into_iter().for_each(Whole::prepare);
                let mut decoder = Decoder::default();
                for block in blocks::cut(0, shape.matrix()) {
                    bytes.extend(self.read_block(name, &block, &mut decoder));
                }
                whole.into_iter().for_each(Whole::release);
            }
        }
        Some(bytes)
    }

    /// Which stored values of an encoded tensor a block takes, one of [`blocks::cut`] or any whole rows.
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
        if !block.whole_rows(matrix) {
            let n = row * matrix.cols.div_ceil(BLOCK_ELEMENTS) + block.column(matrix) / BLOCK_ELEMENTS;
            return before[n]..before[n + 1];
        }
        let end = row + block.len / matrix.cols;
        let offsets = self.whole(&parts[if description.format == Format::Csr { 1 } else { 3 }]).bytes();
        // A bitmask's row offsets have no last one.
        let last = before[before.len() - 1];
        let offset = |row: usize| if 8 * row < offsets.len() { csr::offset(offsets, row) } else { last };
        offset(row)..offset(end)
    }

    /// What draws an encoded tensor's initial values, where only all at once can be drawn.
    pub(super) fn drawn_whole(&self, name: &str) -> Option<&Whole> {
        match self.tensors.get(name) {
            Some(Stored::Encoded { drawn: Some(drawn), .. }) => drawn.whole(),
            _ => None,
        }
    }

    /// What of the files a block of a tensor is read from.
    pub(super) fn reads(&self, name: &str, block: &Block) -> Reads<'_> {
        let Stored::Encoded { description, dtype, shape, parts, before, drawn } = &self.tensors[name] else {
            return Reads::of(self.whole(name).data);
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

    /// The bytes of a block of an encoded tensor.
    pub(super) fn read_block<'a>(&'a self, name: &str, block: &Block, decoder: &'a mut Decoder) -> &'a [u8] {
        let Stored::Encoded { description, dtype, shape, parts, before, drawn } = &self.tensors[name] else {
            return self.whole(name).bytes();
        };
        let matrix = shape.matrix();
        let Decoder { encoder, mask, cast: out } = decoder;
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
        let [Some(places), Some(stored), _, fill] = self.reads(name, block).mapped else { return out };
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
        out
    }

    /// Whether the tensor is encoded, so that it must be read by blocks.
    pub(super) fn is_encoded(&self, name: &str) -> bool {
        matches!(self.tensors.get(name), Some(Stored::Encoded { .. }))
    }

    /// A tensor that stands in the file as it is.
    pub(super) fn whole(&self, name: &str) -> TensorRef<'_> {
        self.checkpoint.tensor(name).expect("found when the file was opened")
    }

    fn initial(&self, description: &PrunedTensor, drawn: Option<&Generator>) -> Option<Initial<'_>> {
        match &description.init {
            InitialValues::Scheme(_) | InitialValues::Slices { .. } => {
                Some(Initial::Generated { generator: drawn?.clone(), stored_as: description.initial_dtype })
            }
            InitialValues::Unknown(_) => None,
            InitialValues::Stored { .. } => {
                let base = self.base.as_ref()?.tensor(&description.name)?;
                Some(Initial::Stored { bytes: base.bytes(), dtype: base.float()? })
            }
        }
    }
}

/// An error on the way to getting its path.
enum Wrong {
    Pruned(PrunedProblem),
    Other(Error),
}

impl From<PrunedProblem> for Wrong {
    fn from(problem: PrunedProblem) -> Self {
        Self::Pruned(problem)
    }
}

impl Wrong {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::Pruned(problem) => Error::Pruned { path: path.to_owned(), problem },
            Self::Other(error) => error,
        }
    }
}
