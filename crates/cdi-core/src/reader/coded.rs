//! Opens coded tensors and reads them by blocks.

use core::ops::Range;

use safetensors::Dtype;

use super::decode::Decoder;
use super::error::PrunedProblem;
use super::file::PrunedReader;
use super::stored::{Coded, CodedLayer, PartsSeen, Stored};
use super::validate::Wrong;
use crate::blocks::{Block, Reads};
use crate::checkpoint::Mapped;
use crate::codec::{BlockValues, CODES, CodeError, Form, Head, PRUNED, PRUNED_TO_INITIAL, block_of};
use crate::init::Generator;
use crate::prelude::*;
use crate::sparse::{Fill, Format, InitialValues, PrunedTensor, SHARED_CODES};
use crate::tensor::{FloatDtype, Shape, cast};

impl PrunedReader {
    /// Validates the description and head of a coded tensor. Its blocks are validated when they are decoded.
    pub(super) fn add_coded(
        &mut self,
        description: PrunedTensor,
        shape: Shape,
        parts: &mut PartsSeen,
    ) -> Result<(), Wrong> {
        let name = description.name.clone();
        let (codes, place) = self.place_of_code(&description, parts)?;
        let code = &self.whole(&codes).bytes()[place.clone()];
        let pruned = if description.fill == Fill::Nearest { PRUNED_TO_INITIAL } else { PRUNED };
        let wrong = |error| PrunedProblem::Code { tensor: name.clone(), error };
        let dtype = description.dtype;
        let described = |problem| PrunedProblem::Description { tensor: name.clone(), problem };
        let form =
            Form::of(dtype).ok_or_else(|| described(format!("{dtype} is not a type that can be coded")))?;
        let (end, layers) = layers_of(&description, code, form, &shape)?;
        let head = Head::read(&code[..end], form, shape.matrix(), Some(pruned)).map_err(wrong)?;
        contradiction(&description, form, &head).map_or(Ok(()), |problem| Err(described(problem)))?;
        let drawn = self.drawn_within(&description, &shape)?;
        parts.names.insert(codes.clone());
        let coded = Coded {
            description: Box::new(description),
            dtype,
            shape,
            codes,
            place,
            head,
            end,
            layers,
            drawn,
        };
        match self.tensors.insert(name.clone(), Stored::Coded(Box::new(coded))) {
            Some(_) => Err(PrunedProblem::Twice(name).into()),
            None => Ok(()),
        }
    }

    /// The name of the tensor that holds a tensor's code, and where in it the code is.
    fn place_of_code(
        &self,
        description: &PrunedTensor,
        parts: &mut PartsSeen,
    ) -> Result<(String, Range<usize>), PrunedProblem> {
        let name = &description.name;
        let own = format!("{name}{CODES}");
        let Some(length) = description.code else {
            let len = self.part(name, &own, Dtype::U8, None)?.data.len();
            return Ok((own, 0..len));
        };
        if self.checkpoint.tensor(&own).is_some() {
            let problem = format!("its code is in `{SHARED_CODES}`, but there is also a tensor `{own}`");
            return Err(PrunedProblem::Description { tensor: name.clone(), problem });
        }
        // The sum of all lengths was checked before.
        let start = parts.shared;
        parts.shared += length as usize;
        Ok((SHARED_CODES.to_owned(), start..parts.shared))
    }

    /// Checks that the described codes that share a tensor fill it.
    pub(super) fn check_shared(&self, descriptions: &[PrunedTensor]) -> Result<(), PrunedProblem> {
        let shared = || descriptions.iter().filter_map(|tensor| tensor.code.map(|length| (tensor, length)));
        let wrong = |tensor: &PrunedTensor, problem: String| {
            Err(PrunedProblem::Description { tensor: tensor.name.clone(), problem })
        };
        if let Some((tensor, _)) = shared().find(|(tensor, _)| tensor.format != Format::Coded) {
            return wrong(tensor, format!("it has a `code`, but its format is `{}`", tensor.format.name()));
        }
        let Some((first, _)) = shared().next() else { return Ok(()) };
        if self.checkpoint.metadata().len() > 1 {
            return wrong(first, format!("a file that is one of several shards has no `{SHARED_CODES}`"));
        }
        let got = self.part(&first.name, SHARED_CODES, Dtype::U8, None)?.data.len();
        let described = shared().fold(0u64, |sum, (_, length)| sum.saturating_add(length));
        if described != got as u64 {
            return Err(PrunedProblem::SharedCodes { described, got });
        }
        Ok(())
    }

    /// The code of a coded tensor.
    pub(super) fn code_of<'a>(&'a self, coded: &Coded) -> Mapped<'a> {
        self.whole(&coded.codes).data.part(coded.place.clone())
    }

    /// What is read from the files for a block of a coded tensor, one of [`crate::blocks::cut`].
    pub(super) fn coded_reads<'a>(&'a self, coded: &'a Coded, block: &Block) -> Reads<'a> {
        let (number, _) = block_of(coded.shape.matrix(), block.start);
        let all = self.code_of(coded);
        let code = all.part(coded.head.block_bytes(number));
        // Of the layers, which are rare, the last.
        let layer = coded
            .layers
            .last()
            .map(|layer| all.part(layer.place.clone()).part(layer.head.block_bytes(number)));
        let base = self.base_part(&coded.description, block);
        let whole = coded.drawn.as_ref().and_then(Generator::whole);
        let bytes = (block.len * coded.head.size()) as u64;
        Reads { bytes, mapped: [Some(code), base, layer, None], whole }
    }

    /// The bytes of a block of a coded tensor: one of [`crate::blocks::cut`], or any run of elements.
    pub(super) fn read_coded<'a>(
        &self,
        coded: &Coded,
        block: &Block,
        decoder: &'a mut Decoder,
    ) -> Result<&'a [u8], CodeError> {
        let (matrix, size) = (coded.shape.matrix(), coded.head.size());
        let Decoder {
            encoder,
            filled,
            cast: filled_cast,
            code: blocks,
            #[cfg(feature = "std")]
            layers,
            out,
            piece,
            in_piece,
            ..
        } = decoder;
        let code = self.code_of(coded).bytes();
        let initial = self.initial(&coded.description, coded.drawn.as_ref());
        out.resize(block.len * size, 0);
        let mut start = block.start;
        while start < block.start + block.len {
            let (number, whole) = block_of(matrix, start);
            let end = (whole.start + whole.len).min(block.start + block.len);
            let to = (start - block.start) * size..(end - block.start) * size;
            let from = (start - whole.start) * size..(end - whole.start) * size;
            let this = Some((code.as_ptr().addr(), number));
            if *in_piece == this {
                out[to].copy_from_slice(&piece[from]);
                start = end;
                continue;
            }
            let mut values = BlockValues::default();
            if let Some((initial, dtype)) = initial.as_ref().zip(FloatDtype::of(coded.dtype)) {
                if let Some(scale) = coded.description.prediction {
                    values.prediction = encoder.encode(initial, whole.start, whole.len, dtype, scale);
                }
                if coded.description.fill != Fill::Zero {
                    let decay = coded.description.decay;
                    let trained = coded.description.trained_dtype.unwrap_or(dtype);
                    let mut filled = &*filled.encode(initial, whole.start, whole.len, trained, decay);
                    if trained != dtype {
                        filled_cast.clear();
                        cast(filled, trained, dtype, filled_cast);
                        filled = filled_cast;
                    }
                    match coded.description.fill {
                        Fill::Nearest => values.initial = filled,
                        _ => values.pruned = filled,
                    }
                }
            } else if coded.head.is_difference()
                && let Some(base) = self.base_part(&coded.description, &whole)
            {
                values.prediction = base.bytes();
            }
            let is_whole = (start, end) == (whole.start, whole.start + whole.len);
            let target = if is_whole {
                &mut out[to.clone()]
            } else {
                *in_piece = None;
                piece.resize(whole.len * size, 0);
                &mut **piece
            };
            blocks.decode(&coded.head, &code[..coded.end], (number, &whole), values, target)?;
            #[cfg(feature = "std")]
            layers.decode(&coded.layers, code, FloatDtype::of(coded.dtype), (number, &whole), target)?;
            if !is_whole {
                *in_piece = this;
                out[to].copy_from_slice(&piece[from]);
            }
            start = end;
        }
        Ok(out)
    }
}

/// Where in its code a tensor's own one ends, and the layers behind it. Only deltas have some.
#[cfg(feature = "std")]
fn layers_of(
    description: &PrunedTensor,
    code: &[u8],
    form: Form,
    shape: &Shape,
) -> Result<(usize, Vec<CodedLayer>), PrunedProblem> {
    let tensor = || description.name.clone();
    let described = |problem| PrunedProblem::Description { tensor: tensor(), problem };
    let behind = description.layers.iter().map(|layer| layer.code).fold(0u64, u64::saturating_add);
    let end = usize::try_from(behind).ok().and_then(|behind| code.len().checked_sub(behind));
    let end =
        end.ok_or_else(|| described(format!("its layers have {behind} bytes, its code {}", code.len())))?;
    let (mut layers, mut at) = (Vec::new(), end);
    for layer in &description.layers {
        let place = at..at + layer.code as usize;
        at = place.end;
        let head = Head::read(&code[place.clone()], form, shape.matrix(), None)
            .map_err(|error| PrunedProblem::Code { tensor: tensor(), error })?;
        if !head.is_difference() || !layer.prediction.is_finite() {
            let problem = "a layer of its code is not predicted from what is before it";
            return Err(described(problem.to_owned()));
        }
        layers.push(CodedLayer { head, place, prediction: layer.prediction });
    }
    Ok((end, layers))
}

#[cfg(not(feature = "std"))]
fn layers_of(
    description: &PrunedTensor,
    code: &[u8],
    _: Form,
    _: &Shape,
) -> Result<(usize, Vec<CodedLayer>), PrunedProblem> {
    if description.layers.is_empty() {
        return Ok((code.len(), Vec::new()));
    }
    let problem = "this build of the reader, without the Rust standard library, reads no layers".to_owned();
    Err(PrunedProblem::Description { tensor: description.name.clone(), problem })
}

/// A contradiction between a tensor's description and its code.
fn contradiction(description: &PrunedTensor, form: Form, head: &Head) -> Option<String> {
    let (dtype, prediction) = (description.dtype, description.prediction);
    if head.is_difference() != prediction.is_some() {
        return Some("its code and its description disagree on whether values are predicted".to_owned());
    }
    if head.is_bytes() && description.fill != Fill::Zero {
        return Some(
            "its elements are coded as bytes, so that none can be pruned, but it has a `fill`".to_owned(),
        );
    }
    let other =
        |init: &InitialValues| !matches!(init, InitialValues::Stored { .. } | InitialValues::InBase(_));
    if !form.is_float() && prediction.is_some_and(|factor| factor != 1.0 || other(&description.init)) {
        return Some(format!("{dtype} can only be predicted from another checkpoint, with the factor 1"));
    }
    None
}
