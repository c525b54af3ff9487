//! Codes tensors that are not floating-point: their bytes, either alone or as differences from a base.

use std::collections::BTreeMap;

use super::PredictFrom;
use super::code::Coded;
use crate::checkpoint::{Mapped, TensorRef};
use crate::codec::{BlockInput, Choice, EncoderScratch, Form, Lines, TensorEncoder, choose_bytes};
use crate::pipeline::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use crate::pipeline::error::Error;
use crate::pipeline::plan::Coding;
use crate::pipeline::progress::Progress;
use crate::pipeline::spool::Spool;
use crate::sparse::{Fill, Format, InBase, InitialValues, PrunedTensor, Unknown};
use crate::tensor::{Dtype, Layout, Matrix, Shape};

/// Number of elements of a tensor that are sampled to choose a coding.
const SAMPLE: usize = 1 << 16;

/// A tensor whose bytes are to be coded.
#[derive(Debug)]
pub(super) struct BytesTask<'a> {
    pub name: &'a str,
    dtype: Dtype,
    form: Form,
    shape: &'a Shape,
    data: Mapped<'a>,
    /// A tensor of the same name, type and shape that it can be predicted from.
    base: Option<Mapped<'a>>,
}

/// The tasks for those of the tensors that are not floating-point and have elements of whole bytes.
pub(super) fn tasks<'a>(
    start: &PredictFrom<'a>,
    tensors: impl Iterator<Item = (&'a str, TensorRef<'a>)>,
) -> Vec<BytesTask<'a>> {
    let others = tensors.filter(|(_, tensor)| tensor.float().is_none() && tensor.shape.elements() > 0);
    let task = |(name, TensorRef { dtype, shape, data, .. }): (&'a str, TensorRef<'a>)| {
        let base = start.base().and_then(|base| base.tensor(name));
        let base = base.filter(|base| base.shape == shape && base.dtype == dtype);
        Some(BytesTask { name, dtype, form: Form::of(dtype)?, shape, data, base: base.map(|base| base.data) })
    };
    others.filter_map(task).collect()
}

impl<'a> BytesTask<'a> {
    fn part(&self, data: Mapped<'a>, block: &Block) -> Mapped<'a> {
        data.part(block.bytes(self.form.size()))
    }

    fn reads(&self, block: &Block) -> Reads<'a> {
        let mut reads = Reads::of(self.part(self.data, block));
        reads.mapped[1] = self.base.map(|base| self.part(base, block));
        reads
    }

    fn input(&self, choice: &Choice, block: &Block) -> BlockInput<'a> {
        let base = self.base.filter(|_| choice.model.is_difference());
        let prediction = base.map_or(&[][..], |base| self.part(base, block).bytes());
        BlockInput { values: self.part(self.data, block).bytes(), prediction, pruned: &[] }
    }

    /// Chooses the best coding from samples at the beginning of some blocks.
    fn choose(&self) -> Choice {
        let matrix = self.shape.matrix();
        let every = self.shape.elements().div_ceil(BLOCK_ELEMENTS).min(16);
        let some = SAMPLE / every;
        let all: Vec<Block> = blocks::cut(0, matrix).collect();
        let (mut values, mut base) = (Vec::new(), Vec::new());
        for block in all.iter().step_by(all.len().div_ceil(every).max(1)) {
            let block = Block { len: block.len.min(some), ..*block };
            values.extend_from_slice(self.part(self.data, &block).bytes());
            base.extend_from_slice(self.base.map_or(&[], |base| self.part(base, &block).bytes()));
        }
        let cols = values.len() / self.form.size();
        let share = cols as f64 / self.shape.elements() as f64;
        choose_bytes(
            self.form,
            Matrix { rows: 1, cols },
            (&values, &base),
            (share, 8.0 * Coding::IN_BASE as f64),
        )
    }

    /// Codes the tensor into the spool, starting at position `end`.
    fn code(&self, spool: &Spool, end: &mut u64, progress: &dyn Progress) -> Result<Coded, Error> {
        let choice = self.choose();
        let mut encoder = TensorEncoder::new(self.form, self.shape.matrix(), choice.model, Lines::default());
        let all: Vec<Block> = blocks::cut(0, self.shape.matrix()).collect();
        let reads = |block: &Block| self.reads(block);
        encoder.classify();
        blocks::for_each(&all, progress, reads, EncoderScratch::default, |scratch, block| {
            encoder.count(block, self.input(&choice, block), scratch);
            Ok::<_, Error>(())
        })?;
        encoder.cut();
        let (start, mut lengths) = (*end, Vec::with_capacity(all.len()));
        // The number of blocks whose codes are held in memory before they are written in order.
        for some in all.chunks(64 * 1024 * 1024 / (8 * BLOCK_ELEMENTS)) {
            let codes =
                blocks::for_each(some, progress, reads, EncoderScratch::default, |scratch, block| {
                    let mut code = Vec::new();
                    encoder.encode(block, self.input(&choice, block), scratch, &mut code);
                    Ok::<_, Error>(code)
                })?;
            for code in codes {
                lengths.push(code.len() as u32);
                spool.write(*end, &code)?;
                *end += code.len() as u64;
            }
        }
        Ok(Coded { choice, head: encoder.head(&lengths), blocks: start..*end, overflowed: 0 })
    }

    /// The description that is needed to restore the tensor.
    pub fn described(&self, choice: &Choice) -> PrunedTensor {
        let prediction = choice.prediction();
        let init = match prediction {
            None => InitialValues::Unknown(Unknown::None),
            Some(_) => InitialValues::InBase(InBase::Base),
        };
        PrunedTensor {
            name: self.name.to_owned(),
            dtype: self.dtype,
            shape: self.shape.dims().to_vec(),
            format: Format::Coded,
            fill: Fill::Zero,
            layer_id: None,
            init,
            layout: Layout::default(),
            initial_dtype: None,
            trained_dtype: None,
            prediction,
            decay: 1.0,
            code: None,
        }
    }
}

/// Codes tensors into the spool, after those already coded. Keeps only the tensors that become smaller.
pub(super) fn code<'a>(
    tasks: &[BytesTask<'a>],
    coding: Coding,
    spool: &Spool,
    coded: &mut BTreeMap<&'a str, Coded>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut end = coded.values().map(|coded| coded.blocks.end).max().unwrap_or_default();
    progress.begin("pack", 2 * tasks.iter().map(|task| task.data.bytes().len() as u64).sum::<u64>());
    for task in tasks {
        let found = task.code(spool, &mut end, progress)?;
        if coding.is_worth_it(found.bytes(), found.prediction(), task.data.bytes().len() as u64) {
            coded.insert(task.name, found);
        } else {
            end = found.blocks.start;
        }
    }
    progress.end();
    Ok(())
}
