//! Floating-point tensors to be coded: their values, or those that pruning leaves, either alone or as
//! differences from their initial values.

use crate::checkpoint::{Checkpoint, CheckpointError, TensorRef};
use crate::codec::{
    BlockInput, Choice, EncoderScratch, Filled, KEPT, Over, PRUNED, PRUNED_TO_INITIAL, Sample, choose,
    choose_steps,
};
use crate::encoder::Encoder;
use crate::pipeline::blocks::{Block, Reads};
use crate::pipeline::kept::Kept;
use crate::pipeline::masks::Masks;
use crate::pipeline::nearer::Nearer;
use crate::pipeline::task::TensorTask;
use crate::sparse::{Fill, bitmask};
use crate::tensor::{FloatDtype, Matrix, cast};

/// Number of elements of a tensor that are sampled to choose a coding.
const SAMPLE: usize = 1 << 14;

/// A floating-point tensor to be coded.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct Floats<'a> {
    pub task: &'a TensorTask<'a>,
    /// The type of the values written.
    pub written: FloatDtype,
    /// How it is pruned; `None` if it is kept.
    pub pruning: Option<Pruning<'a>>,
    /// Whether it may be predicted from its initial values.
    pub predicts: bool,
    /// What describing the source of its predictions takes, in bytes.
    pub described: u64,
    /// How its values are rounded to steps; `None` if they are coded without loss.
    pub rounding: Option<Rounding<'a>>,
}

/// How a tensor is pruned.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct Pruning<'a> {
    pub masks: &'a Masks,
    /// The value of pruned weights.
    pub fill: Fill,
}

/// How a tensor is rounded.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct Rounding<'a> {
    /// Length of a step.
    pub step: f64,
    pub over: Over,
    /// The second moments of its inputs, and the file that they are from, if rounding compensates its errors.
    pub moments: Option<(&'a Checkpoint, TensorRef<'a>)>,
    /// Keeps them factored, if there is a search.
    pub kept: Option<&'a Kept>,
}

/// Buffers for the input of a block.
#[derive(Default)]
pub(in crate::pipeline) struct Scratch {
    encoder: Encoder,
    filled: Encoder,
    nearer: Nearer,
    values: Vec<u8>,
    mask: Vec<u8>,
    pruned: Vec<u8>,
    /// Kept values before and after a cast.
    kept: Vec<u8>,
    written: Vec<u8>,
}

impl<'a> Floats<'a> {
    /// A whole tensor, without pruning.
    pub fn whole(task: &'a TensorTask<'a>, described: u64) -> Self {
        Self { task, written: task.dtype, pruning: None, predicts: true, described, rounding: None }
    }

    /// Whether rounding compensates its errors.
    pub fn is_compensated(&self) -> bool {
        self.rounding.is_some_and(|rounding| rounding.moments.is_some())
    }

    pub fn reads(&self, block: &Block) -> Reads<'_> {
        let nearest = self.pruning.is_some_and(|pruning| pruning.fill == Fill::Nearest);
        self.task.reads_with(block, self.task.initial.is_some() && (self.predicts || nearest))
    }

    /// The values of a block, and the symbols that mark its kept and pruned elements.
    fn values<'s>(
        &'s self,
        block: &Block,
        scratch: &'s mut Scratch,
    ) -> Result<(&'s [u8], &'s [u8], &'s mut Encoder), CheckpointError> {
        let TensorTask { dtype, matrix, ref initial, ref calibration, .. } = *self.task;
        let Scratch { encoder, filled, nearer, values, mask, pruned, .. } = scratch;
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
    pub fn input<'s>(
        &'s self,
        choice: &Choice,
        block: &Block,
        scratch: &'s mut Scratch,
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

    /// The values that pruned elements of a block take: those with the first symbol, and those that take
    /// their initial value. Empty for zeros.
    pub fn fills(&self, block: &Block) -> (Vec<f64>, Vec<f64>) {
        let TensorTask { dtype, ref initial, ref calibration, .. } = *self.task;
        let fill = self.pruning.map_or(Fill::Zero, |pruning| pruning.fill);
        let Some(initial) = initial.as_ref().filter(|_| fill != Fill::Zero) else {
            return Default::default();
        };
        let mut encoder = Encoder::default();
        let bytes = encoder.encode(initial, block.start, block.len, dtype, calibration.decay);
        let mut values = vec![0.0; block.len];
        dtype.decode(bytes, &mut values);
        self.written.round_slice(&mut values);
        if fill == Fill::Nearest { (Vec::new(), values) } else { (values, Vec::new()) }
    }

    /// Number of finite values kept in a block that are beyond the range of the type that they are cast to.
    /// Its input must have been the last that was asked for.
    pub fn overflowed(&self, block: &Block, scratch: &mut Scratch) -> u64 {
        let TensorTask { dtype, matrix, .. } = *self.task;
        if self.written == dtype {
            return 0;
        }
        let Scratch { mask, kept, written, .. } = scratch;
        written.clear();
        let trained = self.task.values(block).bytes();
        if self.pruning.is_none() {
            return cast(trained, dtype, self.written, written);
        }
        bitmask::gather(trained, block.columns(matrix), mask, dtype, kept);
        cast(kept, dtype, self.written, written)
    }

    /// The value of pruned weights. Initial values that are cast again are rounded twice, and so may not be
    /// what is predicted.
    fn filled(&self) -> Filled {
        match self.pruning.map(|pruning| pruning.fill) {
            Some(Fill::Zero) => Filled::Zero,
            Some(Fill::Init) if self.written == self.task.dtype => {
                Filled::Initial(self.task.calibration.decay)
            }
            _ => Filled::Otherwise,
        }
    }

    /// Whether pruned weights need no symbol of their own.
    pub fn pruned_are_at_start(&self, choice: &Choice) -> bool {
        self.pruning.is_some() && self.filled().is_start(choice.model, choice.scale)
    }

    /// Chooses the best coding from a sample of rows, or parts of rows, spread over the tensor. Also returns
    /// the bits per element of the sample.
    pub fn choose(
        &self,
        scratch: &mut Scratch,
        codec: &mut EncoderScratch,
    ) -> Result<(Choice, f64), CheckpointError> {
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
        let sample = Sample {
            dtype: self.written,
            matrix,
            values: &all,
            initial: &initial,
            pruned: &symbols,
            filled: self.filled(),
            scale: self.task.calibration.decay,
            share,
            described: 8.0 * self.described as f64,
        };
        let choice = match self.rounding {
            Some(Rounding { step, over, .. }) => choose_steps(&sample, step, over, codec),
            None => choose(&sample, codec),
        };
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
