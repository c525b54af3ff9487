//! Checks the description of a pruned file against its tensors: every count, offset and padding bit.

use safetensors::Dtype;

use super::error::{BaseProblem, OpenError, PrunedProblem};
use super::file::PrunedReader;
use super::parts::{check_bitmask, check_csr};
use super::stored::{Encoded, PartsSeen, Stored};
#[cfg(feature = "std")]
use crate::checkpoint::view::View;
use crate::checkpoint::{Checkpoint, FileName, TensorRef};
use crate::digest;
use crate::init::{Generator, SchemeParams, slice_shape, slice_sizes};
use crate::noise::NOISE_VERSION;
use crate::prelude::*;
use crate::sparse::offsets::Offsets;
use crate::sparse::{
    Base, BitmaskParts, CsrParts, Delta, EncodingParts, FileMetadata, Fill, Format, InitialValues, Kind,
    Parts, PrunedTensor, SliceValues, VERSION, base_digest, csr, fillmask, suffixes,
};
#[cfg(feature = "std")]
use crate::state::State;
#[cfg(feature = "std")]
use crate::tensor::ShapeError;
use crate::tensor::{FloatDtype, Layout, Shape};
use crate::workers::Workers;

impl PrunedReader {
    /// Reads the descriptions of all shards, and the bases that they need, each with the names of the
    /// tensors that it must have.
    pub(super) fn read_metadata(&mut self) -> Result<(Vec<PrunedTensor>, Vec<Needed>), PrunedProblem> {
        let (mut descriptions, mut bases) = (Vec::new(), Vec::new());
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
            if found.kind == Kind::Initial {
                continue;
            }
            read_delta(&mut self.delta, found.kind, found.delta)?;
            if *seed.get_or_insert(found.seed) != found.seed {
                return Err(PrunedProblem::Seeds(seed.unwrap_or_default(), found.seed));
            }
            let needed = found.tensors.iter().filter(|tensor| needs_base(tensor));
            let names: Vec<String> = needed.map(|tensor| tensor.name.clone()).collect();
            if let (Some(first), None) = (names.first(), &self.delta) {
                let problem = "it is, or begins from, a tensor of the file's base, which is not described";
                let wrong =
                    || PrunedProblem::Description { tensor: first.clone(), problem: problem.to_owned() };
                bases.push((found.base.ok_or_else(wrong)?, names));
            }
            descriptions.extend(found.tensors);
        }
        self.seed = seed.unwrap_or_default();
        let first = bases.first().map(|(base, names)| (&base.from, names[0].as_str()));
        let of_delta = self.delta.as_ref().and_then(|delta| {
            Some((&delta.from, descriptions.iter().find(|tensor| needs_base(tensor))?.name.as_str()))
        });
        if let (None, Some((from, name)), false) = (&self.base, first.or(of_delta), self.is_link) {
            return Err(PrunedProblem::BaseNeeded { tensor: name.to_owned(), from: from.clone() });
        }
        Ok((descriptions, bases))
    }

    /// Deltas need more code than others: the digest of a state, and views of the base.
    #[cfg(not(feature = "std"))]
    pub(super) fn check_state(&mut self, _: &[PrunedTensor], _: &impl Workers) -> Result<(), PrunedProblem> {
        let problem =
            "this build of the reader, without the Rust standard library, reads none: apply it first";
        self.delta.as_ref().map_or(Ok(()), |_| Err(PrunedProblem::Delta(problem)))
    }

    /// Checks the state of a delta's base, and has the base show its tensors as those of the delta.
    #[cfg(feature = "std")]
    pub(super) fn check_state(
        &mut self,
        descriptions: &[PrunedTensor],
        workers: &impl Workers,
    ) -> Result<(), PrunedProblem> {
        let (Some(delta), Some(base)) = (&self.delta, &mut self.base) else {
            return Ok(());
        };
        let got = State::of(base, workers, |_| false).unwrap_or_default();
        if got != delta.base {
            let (base, expected) = (base.name().clone(), delta.base.clone());
            return Err(PrunedProblem::OtherState { base, expected, got });
        }
        let limit = self.limits.bytes;
        let too_large = |tensor: &str, got: u64| {
            let (what, unit, way_out) = ("which has grown since its base, has", "bytes", "`Limits::bytes`");
            PrunedProblem::Limit { tensor: tensor.to_owned(), what, got, unit, limit, way_out }
        };
        let mut shapes = Vec::new();
        for tensor in descriptions.iter().filter(|tensor| needs_base(tensor)) {
            let problem = |e: ShapeError| PrunedProblem::Description {
                tensor: tensor.name.clone(),
                problem: e.to_string(),
            };
            let shape = Shape::new(tensor.shape.clone()).map_err(problem)?;
            let from = delta.renamed.get(&tensor.name).unwrap_or(&tensor.name);
            let found = base.tensor(from);
            let grown = found.is_some_and(|found| *found.shape != shape);
            let bytes = shape.bytes(tensor.dtype.bitsize()).map_or(u64::MAX, |bytes| bytes as u64);
            if grown && bytes > limit {
                return Err(too_large(&tensor.name, bytes));
            }
            if grown || *from != tensor.name {
                shapes.push((&tensor.name, from, shape));
            }
        }
        let views = shapes.iter().map(|(name, from, shape)| View { name, from, shape });
        base.view(views).map(drop).map_err(|(tensor, got)| too_large(&tensor, got))
    }

    /// Checks that the base has the same tensors as when the files were written. That they exist
    /// was checked before.
    pub(super) fn check_bases(&self, bases: &[Needed]) -> Result<(), Wrong> {
        let Some(base) = &self.base else { return Ok(()) };
        for (Base { sha256, .. }, names) in bases {
            let tensors = names.iter().filter_map(|name| base.tensor(name));
            let digests: Vec<String> = tensors.map(|tensor| digest::of_mapped(tensor.data)).collect();
            let got = base_digest(digests.iter().map(String::as_str));
            if got != *sha256 {
                let (base, expected) = (base.name().clone(), sha256.clone());
                return Err(PrunedProblem::OtherBase { base, expected, got }.into());
            }
        }
        Ok(())
    }

    /// Validates one described tensor.
    pub(super) fn add(
        &mut self,
        description: PrunedTensor,
        parts: &mut PartsSeen,
        workers: &impl Workers,
    ) -> Result<(), Wrong> {
        let name = description.name.clone();
        let shape = Shape::new(description.shape.clone())
            .map_err(|e| PrunedProblem::Description { tensor: name.clone(), problem: e.to_string() })?;
        if description.format == Format::Base {
            return self.add_in_base(&description, &shape);
        }
        let float = FloatDtype::of(description.dtype);
        if float.is_none() && description.format != Format::Coded {
            let problem = format!("{} is not a type that can be pruned", description.dtype);
            return Err(PrunedProblem::Description { tensor: name, problem }.into());
        }
        if description.format == Format::Dense {
            // Complete as it is, whatever its pruned elements were filled with.
            return self
                .part(&name, &name, description.dtype, Some(shape.dims()))
                .map(drop)
                .map_err(Wrong::from);
        }
        let matrix = shape.matrix();
        let elements = shape.elements() as u64;
        if elements > self.limits.elements {
            let limit = self.limits.elements;
            let (what, unit, way_out) = ("has", "elements", "`Limits::elements`");
            return Err(
                PrunedProblem::Limit { tensor: name, what, got: elements, unit, limit, way_out }.into()
            );
        }
        if description.format == Format::Csr && !csr::can_hold(matrix) {
            let problem = format!("csr cannot have {} columns, more than 2147483648", matrix.cols);
            return Err(PrunedProblem::Description { tensor: name, problem }.into());
        }
        let suffixes = suffixes(description.format, description.fill == Fill::Nearest);
        let names = suffixes.map(|suffixes| suffixes.map(|suffix| format!("{name}{suffix}")));
        let Some((names, dtype)) = names.zip(float) else {
            return self.add_coded(description, shape, parts);
        };
        let before = self.check_parts(&description, &shape, &names, workers)?;
        let drawn = self.drawn_within(&description, &shape)?;
        parts.names.extend(names.clone().into_vec());
        let encoded = Encoded { description, dtype, shape, parts: names, before, drawn };
        let stored = Stored::Encoded(Box::new(encoded));
        if self.tensors.insert(name.clone(), stored).is_some() {
            return Err(PrunedProblem::Twice(name).into());
        }
        Ok(())
    }

    /// Validates a described tensor that is stored in the base.
    fn add_in_base(&mut self, description: &PrunedTensor, shape: &Shape) -> Result<(), Wrong> {
        let (name, dtype) = (&description.name, description.dtype);
        if !self.is_link {
            let base = self.base.as_ref().expect("asked for when the descriptions were read");
            let tensor = base_tensor_of(base, name, shape, dtype).map_err(Wrong::Other)?;
            if tensor.dtype != dtype {
                let problem = BaseProblem::OtherDtype { expected: dtype, got: tensor.dtype };
                let (path, tensor) = (base.name().clone(), name.clone());
                return Err(Wrong::Other(OpenError::Base { path, tensor, problem }));
            }
        }
        let in_file = self.checkpoint.tensor(name).is_some();
        match self.tensors.insert(name.clone(), Stored::InBase(dtype, shape.clone())) {
            None if !in_file => Ok(()),
            _ => Err(PrunedProblem::Twice(name.clone()).into()),
        }
    }

    /// Checks that the parts of an encoded tensor are consistent. Returns the number of values stored before
    /// each block of a bitmask.
    fn check_parts(
        &self,
        description: &PrunedTensor,
        shape: &Shape,
        names: &Parts<String>,
        workers: &impl Workers,
    ) -> Result<Vec<usize>, PrunedProblem> {
        let (name, matrix) = (&description.name, shape.matrix());
        let Parts { encoding, fill } = names;
        let dims = self.part(name, encoding.shape(), Dtype::I64, Some(&[shape.rank()]))?;
        let count = self.part(name, encoding.values(), description.dtype, None)?.shape.elements();
        let dims: Vec<i64> = dims.bytes().as_chunks::<8>().0.iter().map(|d| i64::from_le_bytes(*d)).collect();
        if !dims.iter().map(|d| usize::try_from(*d)).eq(shape.dims().iter().map(|d| Ok(*d))) {
            let expected = shape.dims().to_vec();
            return Err(PrunedProblem::StoredShape { tensor: name.clone(), expected, got: dims });
        }
        let before = match encoding {
            EncodingParts::Csr(CsrParts { row_offsets, columns, .. }) => {
                let crow = self.offsets(name, row_offsets, matrix.rows + 1)?;
                let crow = Offsets::new(crow.bytes(), crow.dtype);
                let columns = self.part(name, columns, csr::index_dtype(matrix), Some(&[count]))?;
                check_csr(workers, matrix, crow, columns.data, count)
                    .map_err(|error| PrunedProblem::Csr { tensor: name.clone(), error })?;
                Vec::new()
            }
            EncodingParts::Bitmask(BitmaskParts { mask, row_offsets, .. }) => {
                let dims = [matrix.rows, matrix.mask_row_bytes()];
                let mask = self.part(name, mask, Dtype::U8, Some(&dims))?;
                let none = count == 0 && self.checkpoint.tensor(row_offsets).is_some_and(is_empty);
                let row_offsets = self.offsets(name, row_offsets, if none { 0 } else { matrix.rows })?;
                check_bitmask(workers, matrix, mask.data, &row_offsets, count)
                    .map_err(|error| PrunedProblem::Bitmask { tensor: name.clone(), error })?
            }
        };
        if let Some(fill) = fill {
            // The checks above ensure that there are no more values than elements.
            let pruned = shape.elements() - count;
            let fill = self.part(name, fill, Dtype::U8, Some(&[pruned.div_ceil(8)]))?;
            if !fillmask::padding_is_clear(fill.bytes(), pruned) {
                return Err(PrunedProblem::FillPadding { tensor: name.clone(), pruned });
            }
        }
        Ok(before)
    }

    /// The row offsets of an encoded tensor. Earlier releases wrote I64 for any number of values.
    fn offsets(&self, tensor: &str, part: &str, rows: usize) -> Result<TensorRef<'_>, PrunedProblem> {
        let is_wide = self.checkpoint.tensor(part).is_some_and(|found| found.dtype == Dtype::I64);
        self.part(tensor, part, if is_wide { Dtype::I64 } else { Dtype::I32 }, Some(&[rows]))
    }

    /// Like [`Self::check_initial`], and checks the limits.
    pub(super) fn drawn_within(
        &self,
        description: &PrunedTensor,
        shape: &Shape,
    ) -> Result<Option<Generator>, Wrong> {
        let drawn = self.check_initial(description, shape)?;
        let name = description.name.clone();
        if let Some(whole) = drawn.as_ref().and_then(Generator::whole)
            && whole.bytes() as u64 > self.limits.bytes
        {
            let (what, unit) = ("drawing its initial values, which is done all at once, takes", "bytes");
            let (got, limit) = (whole.bytes() as u64, self.limits.bytes);
            let way_out = "`restore --max-memory`, or `Limits::bytes`";
            return Err(PrunedProblem::Limit { tensor: name, what, got, unit, limit, way_out }.into());
        }
        Ok(drawn)
    }

    /// Checks that the values of pruned elements are available. Returns the generator of initial values,
    /// if these are drawn.
    fn check_initial(&self, description: &PrunedTensor, shape: &Shape) -> Result<Option<Generator>, Wrong> {
        let tensor = description.name.clone();
        // Predictions need initial values too.
        let fill = if description.prediction.is_some() { Fill::Init } else { description.fill };
        match (&description.init, fill, &self.base) {
            (_, Fill::Zero, _) => Ok(None),
            (InitialValues::InBase(_), _, None) if self.is_link => Ok(None),
            (InitialValues::Scheme(params), Fill::Init | Fill::Nearest, _) => {
                let drawn = self.generator(params, description.layer_id, description.layout, shape);
                drawn.map(Some).map_err(|problem| PrunedProblem::Description { tensor, problem }.into())
            }
            (InitialValues::Slices { slices }, Fill::Init | Fill::Nearest, _) => {
                let drawn = self.sliced_generator(slices, description.layout, shape);
                drawn.map(Some).map_err(|problem| PrunedProblem::Description { tensor, problem }.into())
            }
            (InitialValues::Unknown(_), Fill::Init | Fill::Nearest, _) => {
                let problem = "initial values are not known, but its pruned weights need them".to_owned();
                Err(PrunedProblem::Description { tensor, problem }.into())
            }
            (InitialValues::InBase(_), Fill::Init | Fill::Nearest, base) => {
                let base = base.as_ref().expect("asked for when the descriptions were read");
                let found = base_tensor_of(base, &tensor, shape, description.dtype);
                found.map(|_| None).map_err(Wrong::Other)
            }
            (InitialValues::Stored { from, .. }, Fill::Init | Fill::Nearest, None) => {
                Err(PrunedProblem::BaseNeeded { tensor, from: from.clone() }.into())
            }
            (InitialValues::Stored { sha256, .. }, Fill::Init | Fill::Nearest, Some(base)) => {
                let found = base_tensor_of(base, &tensor, shape, description.dtype).map_err(Wrong::Other)?;
                let got = digest::of_mapped(found.data);
                if got == *sha256 {
                    return Ok(None);
                }
                let problem = BaseProblem::Digest { expected: sha256.clone(), got };
                Err(Wrong::Other(OpenError::Base { path: base.name().clone(), tensor, problem }))
            }
        }
    }

    /// The generator of a tensor's initial values. The error says why there is none.
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

    /// The same for a tensor in slices.
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

    pub(super) fn part(
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
}

/// Takes in what the description of a file says about the delta that the file is.
fn read_delta(known: &mut Option<Delta>, kind: Kind, delta: Option<Delta>) -> Result<(), PrunedProblem> {
    match (kind, delta) {
        (Kind::Delta, Some(delta)) => {
            if *known.get_or_insert_with(|| delta.clone()) != delta {
                return Err(PrunedProblem::Delta("its shards are those of different deltas"));
            }
            Ok(())
        }
        (Kind::Pruned | Kind::Initial, None) => Ok(()),
        _ => Err(PrunedProblem::Delta("its description does not say over which state, or which it gives")),
    }
}

fn is_empty(tensor: TensorRef<'_>) -> bool {
    tensor.shape.dims() == [0]
}

/// The base of a file, and the names of the tensors that it must have.
pub(super) type Needed = (Base, Vec<String>);

/// Whether a tensor is stored in the file's base, or has its initial values there.
fn needs_base(tensor: &PrunedTensor) -> bool {
    tensor.format == Format::Base || matches!(tensor.init, InitialValues::InBase(_))
}

/// The tensor of a base checkpoint that provides the initial values for a floating-point tensor of
/// this name and shape.
pub fn base_tensor<'c>(base: &'c Checkpoint, name: &str, shape: &Shape) -> Result<TensorRef<'c>, OpenError> {
    base_tensor_of(base, name, shape, Dtype::F32)
}

/// The same for a tensor of type `dtype`. The base tensor may have another floating-point type; any other
/// type must be the same.
pub fn base_tensor_of<'c>(
    base: &'c Checkpoint,
    name: &str,
    shape: &Shape,
    dtype: Dtype,
) -> Result<TensorRef<'c>, OpenError> {
    let wrong = |problem| OpenError::Base { path: base.name().clone(), tensor: name.to_owned(), problem };
    let tensor = base.tensor(name).ok_or_else(|| wrong(BaseProblem::Missing))?;
    if tensor.shape != shape {
        return Err(wrong(BaseProblem::Shape { expected: shape.clone(), got: tensor.shape.clone() }));
    }
    if FloatDtype::of(dtype).is_some() {
        if tensor.float().is_none() {
            return Err(wrong(BaseProblem::Dtype(tensor.dtype)));
        }
    } else if tensor.dtype != dtype {
        return Err(wrong(BaseProblem::OtherDtype { expected: dtype, got: tensor.dtype }));
    }
    Ok(tensor)
}

/// An error that may not have the path of its file yet.
pub(super) enum Wrong {
    Pruned(PrunedProblem),
    Other(OpenError),
}

impl From<PrunedProblem> for Wrong {
    fn from(problem: PrunedProblem) -> Self {
        Self::Pruned(problem)
    }
}

impl Wrong {
    pub(super) fn at(self, path: &FileName) -> OpenError {
        match self {
            Self::Pruned(problem) => OpenError::Pruned { path: path.clone(), problem },
            Self::Other(error) => error,
        }
    }
}
