//! Tensors into code.

use std::ops::Range;

use crate::codec::{BlockInput, Choice, EncoderScratch, Model, TensorEncoder, choose};
use crate::encoder::Encoder;
use crate::pipeline::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use crate::pipeline::error::Error;
use crate::pipeline::progress::{Progress, Silent};
use crate::pipeline::spool::Spool;
use crate::pipeline::task::TensorTask;
use crate::tensor::Matrix;

/// Bits that it takes, roughly, to say where its predictions come from.
pub(super) const DESCRIBED: f64 = 8.0 * 150.0;
/// Places of a tensor that are looked at to choose how it is coded.
const SAMPLE: usize = 1 << 14;

/// A tensor that has been coded: its blocks are in the spool.
pub(super) struct Coded {
    pub choice: Choice,
    pub head: Vec<u8>,
    pub blocks: Range<u64>,
}

impl Coded {
    pub fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.blocks.end - self.blocks.start
    }
}

/// Rows, or parts of them, from all over a tensor, and what their places are of all.
fn sample(task: &TensorTask<'_>, encoder: &mut Encoder) -> (Matrix, Vec<u8>, Vec<u8>, f64) {
    let Matrix { rows, cols } = task.matrix;
    let some = (SAMPLE / cols).clamp(4.min(rows), rows);
    let cols_of = cols.min(SAMPLE.div_ceil(some));
    let (mut values, mut initial) = (Vec::new(), Vec::new());
    for n in 0..some {
        let row = n * rows / some;
        let block = Block { tensor: task.n, start: row * cols, len: cols_of };
        values.extend_from_slice(task.values(&block).bytes());
        if let Some(from) = &task.initial {
            initial.extend_from_slice(encoder.encode(from, block.start, block.len, task.dtype, 1.0));
        }
    }
    let share = (some * cols_of) as f64 / (rows * cols) as f64;
    (Matrix { rows: some, cols: cols_of }, values, initial, share)
}

/// How a tensor is coded.
fn choice(task: &TensorTask<'_>, encoder: &mut Encoder) -> Choice {
    let (matrix, values, initial, share) = sample(task, encoder);
    choose(task.dtype, matrix, (&values, &initial, &[]), (1.0, share, DESCRIBED))
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    encoder: Encoder,
    codec: EncoderScratch,
}

/// The values of a block and their predictions: what every pass takes.
fn block_input<'a>(
    task: &'a TensorTask<'_>,
    choice: &Choice,
    block: &Block,
    encoder: &'a mut Encoder,
) -> BlockInput<'a> {
    let prediction: &[u8] = match (&task.initial, choice.model) {
        (Some(initial), Model::Difference) => {
            encoder.encode(initial, block.start, block.len, task.dtype, choice.scale)
        }
        _ => &[],
    };
    let values = task.values(block).bytes();
    BlockInput { values, prediction, pruned: &[] }
}

/// A tensor that is being coded.
struct Coding<'a> {
    task: &'a TensorTask<'a>,
    choice: Choice,
    encoder: TensorEncoder,
    /// Where its blocks begin in the spool, and their lengths.
    start: Option<u64>,
    lengths: Vec<u32>,
}

impl<'a> Coding<'a> {
    fn new(task: &'a TensorTask<'a>, choice: Choice) -> Self {
        let encoder = TensorEncoder::new(task.dtype, task.matrix, choice.model, choice.lines);
        Self { task, choice, encoder, start: None, lengths: Vec::new() }
    }

    fn input<'e>(&'e self, block: &Block, encoder: &'e mut Encoder) -> BlockInput<'e> {
        block_input(self.task, &self.choice, block, encoder)
    }

    /// Once all its blocks are in the spool, of which `end` is the end.
    fn finish(&self, end: u64) -> Coded {
        let start = self.start.unwrap_or(end);
        let len: u64 = self.lengths.iter().map(|len| u64::from(*len)).sum();
        Coded { choice: self.choice, head: self.encoder.head(&self.lengths), blocks: start..start + len }
    }
}

/// Codes these tensors, some of all in their order, into the spool, from `end` on.
pub(super) fn code(
    tasks: &[TensorTask<'_>],
    spool: &Spool,
    end: &mut u64,
    progress: &dyn Progress,
) -> Result<Vec<Coded>, Error> {
    let first = tasks.first().map_or(0, |task| task.n);
    let at = |block: &Block| block.tensor - first;
    let numbers: Vec<usize> = (0..tasks.len()).collect();
    let choices = blocks::for_each(
        &numbers,
        &Silent,
        |n| Reads { bytes: 0, ..tasks[*n].reads(&Block { tensor: first + n, start: 0, len: 1 }) },
        Encoder::default,
        |encoder, n| Ok::<_, Error>(choice(&tasks[*n], encoder)),
    )?;
    let mut all: Vec<Coding<'_>> =
        tasks.iter().zip(choices).map(|(task, choice)| Coding::new(task, choice)).collect();
    let blocks: Vec<Block> = tasks.iter().flat_map(TensorTask::blocks).collect();
    let reads = |block: &Block| tasks[at(block)].reads(block);
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, block| {
        let coding = &all[at(block)];
        coding.encoder.measure(block, coding.input(block, &mut scratch.encoder), &mut scratch.codec);
        Ok::<_, Error>(())
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.classify());
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, block| {
        let coding = &all[at(block)];
        coding.encoder.count(block, coding.input(block, &mut scratch.encoder), &mut scratch.codec);
        Ok::<_, Error>(())
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.cut());
    // So many blocks' codes are held before they go to the spool in their order.
    for blocks in blocks.chunks(64 * 1024 * 1024 / (8 * BLOCK_ELEMENTS)) {
        let codes = blocks::for_each(blocks, progress, reads, Scratch::default, |scratch, block| {
            let (coding, mut code) = (&all[at(block)], Vec::new());
            let input = coding.input(block, &mut scratch.encoder);
            coding.encoder.encode(block, input, &mut scratch.codec, &mut code);
            Ok::<_, Error>(code)
        })?;
        for (block, code) in blocks.iter().zip(codes) {
            let coding = &mut all[at(block)];
            coding.start.get_or_insert(*end);
            coding.lengths.push(code.len() as u32);
            spool.write(*end, &code)?;
            *end += code.len() as u64;
        }
    }
    Ok(all.iter().map(|coding| coding.finish(*end)).collect())
}
