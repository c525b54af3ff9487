//! A base and the deltas over it, read as the checkpoint that they give: each block through
//! all of them at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use cdi_core::internal::checkpoint::growth;
use cdi_core::internal::{LayerDecoder, Link, ReadBlocks};
use safetensors::Dtype;

use crate::checkpoint::{Checkpoint, OpenOptions, TensorRef};
use crate::codec::{BlockDecoder, BlockValues, block_of};
use crate::encoder::Encoder;
use crate::pipeline::blocks::Reads;
use crate::pipeline::error::{DeltaProblem, Error};
use crate::reader::{Limits, PrunedProblem, PrunedReader};
use crate::sparse::Delta;
use crate::tensor::{FloatDtype, Shape};
use crate::workers::Threads;

/// A delta that is open. What it needs of its base is found when it is applied.
#[derive(Debug)]
pub(in crate::pipeline) struct Opened {
    pub reader: PrunedReader,
    pub delta: Delta,
}

impl Opened {
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, Error> {
        // Nothing is allocated that grows with a described tensor.
        let reader = PrunedReader::open_link(&Threads, path, Limits::NONE, options)?;
        match reader.delta().cloned() {
            Some(delta) => Ok(Self { reader, delta }),
            None => Err(DeltaProblem::NotADelta.of(path)),
        }
    }

    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// What the base calls the tensor of this name.
    pub fn source<'a>(&'a self, name: &'a str) -> &'a str {
        self.delta.renamed.get(name).map_or(name, String::as_str)
    }
}

/// A base and the deltas over it, in order. Checkpoint 0 is the base, checkpoint n what the
/// first n deltas give.
#[derive(Debug)]
pub(in crate::pipeline) struct Chain {
    pub base: Checkpoint,
    pub deltas: Vec<Opened>,
}

/// Buffers of a thread for one delta.
#[derive(Debug, Default)]
struct Level {
    encoder: Encoder,
    decoder: BlockDecoder,
    layers: LayerDecoder,
    /// The base's values of a block.
    values: Vec<u8>,
    /// A block of which only a part was needed, and which it is: the address of its code, and its number.
    piece: Vec<u8>,
    in_piece: Option<(usize, usize)>,
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Scratch {
    levels: Vec<Level>,
    out: Vec<u8>,
}

/// Type and shape of a tensor.
pub(in crate::pipeline) type FormOf<'a> = (Dtype, &'a Shape);

impl Chain {
    /// The last checkpoint.
    pub fn last(&self) -> usize {
        self.deltas.len()
    }

    /// Type and shape of a tensor in a checkpoint.
    pub fn form(&self, checkpoint: usize, name: &str) -> Option<FormOf<'_>> {
        match checkpoint.checked_sub(1) {
            None => self.base.tensor(name).map(|tensor| (tensor.dtype, tensor.shape)),
            Some(n) => self.deltas[n].reader.tensor(name),
        }
    }

    /// The name in the base of the tensor that one of the last checkpoint comes from, if there is one.
    pub fn source<'a>(&'a self, name: &'a str) -> &'a str {
        self.deltas.iter().rev().fold(name, |name, delta| delta.source(name))
    }

    /// The tensors of the last checkpoint.
    pub fn tensors(&self) -> BTreeMap<&str, FormOf<'_>> {
        match self.deltas.last() {
            None => self.base.tensors().map(|(name, t)| (name, (t.dtype, t.shape))).collect(),
            Some(last) => last.reader.tensors().map(|(name, dtype, shape)| (name, (dtype, shape))).collect(),
        }
    }

    /// Checks that each checkpoint has what the next delta needs of it. The states may still differ.
    pub fn check(&self) -> Result<(), Error> {
        for (n, delta) in self.deltas.iter().enumerate() {
            for (name, dtype, shape) in delta.reader.tensors() {
                let any_float = match delta.reader.link(name) {
                    Link::Whole(_) => continue,
                    Link::InBase => false,
                    Link::Coded { head, .. } if !head.is_difference() => continue,
                    Link::Coded { .. } => FloatDtype::of(dtype).is_some(),
                    Link::Other => return Err(DeltaProblem::NotADelta.of(delta.path())),
                };
                let source = delta.source(name);
                let fits = |(found, old): FormOf<'_>| {
                    let types = if any_float { FloatDtype::of(found).is_some() } else { found == dtype };
                    let grown = growth(old, shape).is_some() && dtype.bitsize().is_multiple_of(8);
                    types && (old == shape || grown)
                };
                if !self.form(n, source).is_some_and(fits) {
                    return Err(DeltaProblem::Needs { tensor: source.to_owned() }.of(delta.path()));
                }
            }
        }
        Ok(())
    }

    /// The name in the base of a tensor of the last checkpoint whose bytes are the base's; `None` if
    /// they come from a delta.
    pub fn in_base<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut name = name;
        for (n, delta) in self.deltas.iter().enumerate().rev() {
            let form = delta.reader.tensor(name)?;
            // Tensors without elements are in every delta.
            if !matches!(delta.reader.link(name), Link::InBase) && form.1.elements() > 0 {
                return None;
            }
            let source = delta.source(name);
            if self.form(n, source)? != form {
                return None;
            }
            name = source;
        }
        Some(name)
    }

    /// What is read of the deltas for these bytes of a tensor of the last checkpoint, as
    /// far as there is room.
    pub fn reads<'a>(&'a self, name: &'a str, range: &Range<usize>) -> Reads<'a> {
        let bytes = if self.in_base(name).is_some() { 0 } else { range.len() as u64 };
        let mut reads = Reads { bytes, ..Reads::default() };
        let mut name = name;
        for (delta, place) in self.deltas.iter().rev().zip(&mut reads.mapped) {
            let Some((dtype, shape)) = delta.reader.tensor(name) else { break };
            match delta.reader.link(name) {
                Link::Whole(tensor) if range.end <= tensor.data.len() => {
                    *place = Some(tensor.data.part(range.clone()));
                }
                Link::Coded { head, code, .. } => {
                    let first = range.start / (dtype.bitsize() / 8);
                    // Of a tensor that grew later, its own blocks are others.
                    if first < shape.elements() {
                        *place = Some(code.part(head.block_bytes(block_of(shape.matrix(), first).0)));
                    }
                }
                _ => {}
            }
            name = delta.source(name);
        }
        reads
    }

    /// These bytes of a tensor of the last checkpoint.
    pub fn read<'s>(
        &self,
        name: &str,
        range: Range<usize>,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [u8], Error> {
        let Scratch { levels, out } = scratch;
        levels.resize_with(self.last(), Level::default);
        out.resize(range.len(), 0);
        self.fill(self.last(), name, range, levels, out)?;
        Ok(out)
    }

    /// Writes bytes of a tensor of checkpoint `n` to `out`. [`Self::check`] found no fault.
    fn fill(
        &self,
        n: usize,
        name: &str,
        range: Range<usize>,
        levels: &mut [Level],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let copy = |tensor: TensorRef<'_>, out: &mut [u8]| {
            out.copy_from_slice(&tensor.bytes()[range.clone()]);
            Ok(())
        };
        let Some(delta) = n.checked_sub(1).map(|n| &self.deltas[n]) else {
            return copy(self.base.tensor(name).expect("checked before"), out);
        };
        let (dtype, shape) = delta.reader.tensor(name).expect("checked before");
        let (head, code, own, layers, prediction) = match delta.reader.link(name) {
            Link::Whole(tensor) => return copy(tensor, out),
            Link::InBase => return self.fill_from(n - 1, (delta.source(name), shape), range, levels, out),
            Link::Coded { head, code, end, layers, prediction } => {
                (head, code.bytes(), &code.bytes()[..end], layers, prediction)
            }
            Link::Other => unreachable!("checked before"),
        };
        let (level, below) = levels.split_last_mut().expect("one for each delta");
        let Level { encoder, decoder, layers: layer_decoder, values, piece, in_piece } = level;
        let size = dtype.bitsize() / 8;
        let mut start = range.start;
        while start < range.end {
            let (number, block) = block_of(shape.matrix(), start / size);
            let bytes = block.bytes(size);
            let end = bytes.end.min(range.end);
            let to = start - range.start..end - range.start;
            let from = start - bytes.start..end - bytes.start;
            start = end;
            let this = Some((code.as_ptr().addr(), number));
            if *in_piece == this {
                out[to].copy_from_slice(&piece[from]);
                continue;
            }
            let mut predicted = BlockValues::default();
            if let Some(scale) = prediction {
                let source = delta.source(name);
                let (source_dtype, _) = self.form(n - 1, source).expect("checked before");
                let whole = block.bytes(source_dtype.bitsize() / 8);
                values.resize(whole.len(), 0);
                self.fill_from(n - 1, (source, shape), whole, below, values)?;
                predicted.prediction = match (FloatDtype::of(source_dtype), FloatDtype::of(dtype)) {
                    (Some(from), Some(to)) => encoder.encode_values(values, from, to, scale),
                    _ => values,
                };
            }
            let is_whole = from == (0..bytes.len());
            let target = if is_whole {
                &mut out[to.clone()]
            } else {
                *in_piece = None;
                piece.resize(bytes.len(), 0);
                &mut **piece
            };
            let decoded = decoder.decode(head, own, (number, &block), predicted, target);
            let float = FloatDtype::of(dtype);
            let decoded =
                decoded.and_then(|()| layer_decoder.decode(layers, code, float, (number, &block), target));
            decoded.map_err(|error| Error::Pruned {
                path: delta.path().to_owned(),
                problem: PrunedProblem::Code { tensor: name.to_owned(), error },
            })?;
            if !is_whole {
                *in_piece = this;
                out[to].copy_from_slice(&piece[from]);
            }
        }
        Ok(())
    }

    /// The same of a tensor as it would be with `shape`: what it does not have is zero.
    fn fill_from(
        &self,
        n: usize,
        (name, shape): (&str, &Shape),
        range: Range<usize>,
        levels: &mut [Level],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let (dtype, old) = self.form(n, name).expect("checked before");
        if old == shape {
            return self.fill(n, name, range, levels, out);
        }
        let size = dtype.bitsize() / 8;
        let (was, is) = growth(old, shape).expect("checked before");
        let (was, is) = (was * size, is * size);
        let mut at = range.start;
        while at < range.end {
            let (run, column) = (at / is, at % is);
            let end = if column < was { run * is + was } else { (run + 1) * is }.min(range.end);
            let to = &mut out[at - range.start..end - range.start];
            if column < was {
                let first = run * was + column;
                self.fill(n, name, first..first + end - at, levels, to)?;
            } else {
                to.fill(0);
            }
            at = end;
        }
        Ok(())
    }
}
