//! Codes tensors without loss.

use std::ops::Range;

use crate::checkpoint::CheckpointError;
use crate::codec::{
    BlockInput, Choice, EncoderScratch, KEPT, PRUNED, PRUNED_TO_INITIAL, TensorEncoder, choose,
};
use crate::encoder::Encoder;
use crate::pipeline::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use crate::pipeline::error::Error;
use crate::pipeline::masks::Masks;
use crate::pipeline::nearer::Nearer;
use crate::pipeline::progress::{Progress, Silent};
use crate::pipeline::spool::Spool;
use crate::pipeline::task::TensorTask;
use crate::sparse::{Fill, bitmask};
use crate::tensor::{FloatDtype, Matrix, cast};

/// Number of elements of a tensor that are sampled to choose a coding.
const SAMPLE: usize = 1 << 14;
/// Maximum number of tensors, and of their bytes, that are processed together.
const BATCH: (usize, usize) = (64, 256 << 20);

/// A tensor to be coded.
pub(in crate::pipeline) struct ToCode<'a> {
    pub task: &'a TensorTask<'a>,
    /// The type of the values written.
    pub written: FloatDtype,
    /// How it is pruned; `None` if it is kept.
    pub pruning: Option<Pruning<'a>>,
    /// Whether it may be predicted from its initial values.
    pub predicts: bool,
    /// What describing the source of its predictions takes, in bytes.
    pub described: u64,
}

/// How a tensor is pruned.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct Pruning<'a> {
    pub masks: &'a Masks,
    /// The value of pruned weights.
    pub fill: Fill,
}

/// A coded tensor. Its blocks are in the spool.
pub(in crate::pipeline) struct Coded {
    pub choice: Choice,
    pub head: Vec<u8>,
    pub blocks: Range<u64>,
    /// Number of finite values beyond the range of the type that they were cast to.
    pub overflowed: u64,
}

impl Coded {
    pub fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.blocks.end - self.blocks.start
    }

    /// The factor of the initial values from which its values are predicted; `None` if they are not.
    pub fn prediction(&self) -> Option<f64> {
        self.choice.prediction()
    }
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    input: InputScratch,
    codec: EncoderScratch,
    kept: Vec<u8>,
    values: Vec<u8>,
}

/// Buffers for the input of a block.
#[derive(Default)]
struct InputScratch {
    encoder: Encoder,
    filled: Encoder,
    nearer: Nearer,
    values: Vec<u8>,
    mask: Vec<u8>,
    pruned: Vec<u8>,
}

impl<'a> ToCode<'a> {
    /// A whole tensor, without pruning.
    pub fn whole(task: &'a TensorTask<'a>, described: u64) -> Self {
        Self { task, written: task.dtype, pruning: None, predicts: true, described }
    }

    fn reads(&self, block: &Block) -> Reads<'_> {
        let nearest = self.pruning.is_some_and(|pruning| pruning.fill == Fill::Nearest);
        self.task.reads_with(block, self.task.initial.is_some() && (self.predicts || nearest))
    }

    /// The values of a block, and the symbols that mark its kept and pruned elements.
    fn values<'s>(
        &'s self,
        block: &Block,
        scratch: &'s mut InputScratch,
    ) -> Result<(&'s [u8], &'s [u8], &'s mut Encoder), CheckpointError> {
        let TensorTask { dtype, matrix, ref initial, ref calibration, .. } = *self.task;
        let InputScratch { encoder, filled, nearer, values, mask, pruned } = scratch;
        let trained = self.task.values(block).bytes();
        pruned.clear();
        if let Some(Pruning { masks, fill }) = self.pruning {
            masks.read(block, matrix, mask)?;
            symbols(mask, block.columns(matrix), pruned);
            if let Some(initial) = initial.as_ref().filter(|_| fill == Fill::Nearest) {
                let initial = filled.encode(initial, block.start, block.len, dtype, calibration.decay);
                let takes = nearer.find(trained, initial, dtype);
                for (n, symbol) in pruned.iter_mut().enumerate() {
                    if *symbol == PRUNED && takes[n / 8] >> (n % 8) & 1 == 1 {
                        *symbol = PRUNED_TO_INITIAL;
                    }
                }
            }
        }
        if self.written == dtype {
            return Ok((trained, pruned, encoder));
        }
        values.clear();
        cast(trained, dtype, self.written, values);
        Ok((values, pruned, encoder))
    }

    /// The input of a block for a pass of the encoder.
    fn input<'s>(
        &'s self,
        choice: &Choice,
        block: &Block,
        scratch: &'s mut InputScratch,
    ) -> Result<BlockInput<'s>, CheckpointError> {
        let (values, pruned, encoder) = self.values(block, scratch)?;
        let prediction: &[u8] = match (&self.task.initial, choice.prediction()) {
            (Some(initial), Some(scale)) => {
                encoder.encode(initial, block.start, block.len, self.written, scale)
            }
            _ => &[],
        };
        Ok(BlockInput { values, prediction, pruned })
    }

    /// Number of finite values kept in a block that are beyond the range of the type that they are cast to.
    fn overflowed(&self, block: &Block, scratch: &mut Scratch) -> u64 {
        let TensorTask { dtype, matrix, .. } = *self.task;
        if self.written == dtype {
            return 0;
        }
        let Scratch { input, kept, values, .. } = scratch;
        values.clear();
        let trained = self.task.values(block).bytes();
        if self.pruning.is_none() {
            return cast(trained, dtype, self.written, values);
        }
        bitmask::gather(trained, block.columns(matrix), &input.mask, dtype, kept);
        cast(kept, dtype, self.written, values)
    }

    /// Chooses the best coding from a sample of rows, or parts of rows, spread over the tensor. Also returns
    /// the bits per element of the sample.
    fn choose(&self, scratch: &mut InputScratch) -> Result<(Choice, f64), CheckpointError> {
        let Matrix { rows, cols } = self.task.matrix;
        let some = (SAMPLE / cols).clamp(4.min(rows), rows);
        let cols_of = cols.min(SAMPLE.div_ceil(some));
        let (mut all, mut initial, mut symbols) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..some {
            let row = n * rows / some;
            let block = Block { tensor: self.task.n, start: row * cols, len: cols_of };
            let (values, pruned, encoder) = self.values(&block, scratch)?;
            all.extend_from_slice(values);
            symbols.extend_from_slice(pruned);
            if let Some(from) = self.task.initial.as_ref().filter(|_| self.predicts) {
                initial.extend_from_slice(encoder.encode(from, block.start, block.len, self.written, 1.0));
            }
        }
        let share = (some * cols_of) as f64 / (rows * cols) as f64;
        let matrix = Matrix { rows: some, cols: cols_of };
        let decay = self.task.calibration.decay;
        let described = 8.0 * self.described as f64;
        let choice = choose(self.written, matrix, (&all, &initial, &symbols), (decay, share, described));
        Ok((choice, choice.bits / (some * cols_of) as f64))
    }
}

/// Converts the mask of a block to one symbol per element. The mask has rows of `columns` bits,
/// each padded to a byte.
fn symbols(mask: &[u8], columns: usize, out: &mut Vec<u8>) {
    for row in mask.chunks(columns.div_ceil(8).max(1)) {
        let end = out.len() + columns;
        row.iter().for_each(|bits| out.extend_from_slice(&SYMBOLS[usize::from(*bits)]));
        out.truncate(end);
    }
}

/// The symbols of eight elements, by the byte of their mask bits.
const SYMBOLS: [[u8; 8]; 256] = {
    let mut all = [[PRUNED; 8]; 256];
    let mut n = 0;
    while n < 8 * 256 {
        if (n / 8) >> (n % 8) & 1 == 1 {
            all[n / 8][n % 8] = KEPT;
        }
        n += 1;
    }
    all
};

/// A tensor that is being coded.
struct Coding<'a> {
    tensor: &'a ToCode<'a>,
    choice: Choice,
    encoder: TensorEncoder,
    /// Position of its first block in the spool, and the lengths of its blocks in bytes.
    start: Option<u64>,
    lengths: Vec<u32>,
    overflowed: u64,
}

impl<'a> Coding<'a> {
    fn new(tensor: &'a ToCode<'a>, choice: Choice) -> Self {
        let encoder = TensorEncoder::new(tensor.written, tensor.task.matrix, choice.model, choice.lines);
        Self { tensor, choice, encoder, start: None, lengths: Vec::new(), overflowed: 0 }
    }

    /// Calls a pass of the encoder with a block.
    fn pass(
        &self,
        block: &Block,
        scratch: &mut Scratch,
        pass: impl FnOnce(&TensorEncoder, BlockInput<'_>, &mut EncoderScratch),
    ) -> Result<(), Error> {
        let input = self.tensor.input(&self.choice, block, &mut scratch.input)?;
        pass(&self.encoder, input, &mut scratch.codec);
        Ok(())
    }

    /// Completes the tensor when all its blocks are in the spool; `end` is the end of the spool.
    fn finish(&self, end: u64) -> Coded {
        let start = self.start.unwrap_or(end);
        let len: u64 = self.lengths.iter().map(|len| u64::from(*len)).sum();
        Coded {
            choice: self.choice,
            head: self.encoder.head(&self.lengths),
            blocks: start..start + len,
            overflowed: self.overflowed,
        }
    }
}

/// Codes tensors into the spool, from its beginning, a batch at a time. Progress counts
/// three times their bytes.
pub(in crate::pipeline) fn code_all(
    tensors: &[ToCode<'_>],
    spool: &Spool,
    progress: &dyn Progress,
) -> Result<Vec<Coded>, Error> {
    let bytes = |tensor: &ToCode<'_>| tensor.task.trained.bytes().len();
    let mut coded = Vec::with_capacity(tensors.len());
    let mut end = 0;
    let mut rest = tensors;
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = |tensor: &&ToCode<'_>| {
            sum += bytes(tensor);
            sum <= BATCH.1
        };
        let (now, later) = rest.split_at(rest.iter().take(BATCH.0).take_while(fits).count().max(1));
        coded.extend(code(now, spool, &mut end, progress)?);
        rest = later;
    }
    Ok(coded)
}

/// The best coding of each tensor, and the bits per element in a sample of it.
pub(in crate::pipeline) fn choices(tensors: &[ToCode<'_>]) -> Result<Vec<(Choice, f64)>, Error> {
    let numbers: Vec<usize> = (0..tensors.len()).collect();
    blocks::for_each(
        &numbers,
        &Silent,
        |n| Reads { bytes: 0, ..tensors[*n].reads(&Block { tensor: *n, start: 0, len: 1 }) },
        InputScratch::default,
        |scratch, n| tensors[*n].choose(scratch),
    )
}

/// Codes these tensors into the spool, starting at position `end`.
fn code(
    tensors: &[ToCode<'_>],
    spool: &Spool,
    end: &mut u64,
    progress: &dyn Progress,
) -> Result<Vec<Coded>, Error> {
    let mut all: Vec<Coding<'_>> = tensors
        .iter()
        .zip(choices(tensors)?)
        .map(|(tensor, (choice, _))| Coding::new(tensor, choice))
        .collect();
    let blocks_of = |(n, tensor): (usize, &ToCode<'_>)| tensor.task.blocks().map(move |block| (n, block));
    let blocks: Vec<(usize, Block)> = tensors.iter().enumerate().flat_map(blocks_of).collect();
    let reads = |(n, block): &(usize, Block)| tensors[*n].reads(block);
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
        all[*n].pass(block, scratch, |encoder, input, codec| encoder.measure(block, input, codec))
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.classify());
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
        all[*n].pass(block, scratch, |encoder, input, codec| encoder.count(block, input, codec))
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.cut());
    // The number of blocks whose codes are held in memory before they are written in order.
    for blocks in blocks.chunks(64 * 1024 * 1024 / (8 * BLOCK_ELEMENTS)) {
        let codes = blocks::for_each(blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
            let (coding, mut code) = (&all[*n], Vec::new());
            coding.pass(block, scratch, |encoder, input, codec| {
                encoder.encode(block, input, codec, &mut code);
            })?;
            Ok::<_, Error>((code, coding.tensor.overflowed(block, scratch)))
        })?;
        for ((n, _), (code, overflowed)) in blocks.iter().zip(codes) {
            let coding = &mut all[*n];
            coding.start.get_or_insert(*end);
            coding.lengths.push(code.len() as u32);
            coding.overflowed += overflowed;
            spool.write(*end, &code)?;
            *end += code.len() as u64;
        }
    }
    Ok(all.iter().map(|coding| coding.finish(*end)).collect())
}
