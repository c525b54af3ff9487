//! Codes tensors, without loss or rounded to steps.

use cdi_core::internal::spare::{Spare, Taken};
use safetensors::Dtype;

use super::bytes::Bytes;
use super::floats::{self, Floats};
use super::steps::{self, Losses};
use crate::checkpoint::CheckpointError;
use crate::codec::{BlockInput, Choice, EncoderScratch, Form, Model, TensorEncoder, without_pruned};
use crate::pipeline::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use crate::pipeline::codes::{CodeKey, Coded};
use crate::pipeline::copy::PIECE;
use crate::pipeline::error::Error;
use crate::pipeline::outcome::Rounded;
use crate::pipeline::progress::{Progress, Silent};
use crate::pipeline::spool::Spool;
use crate::pipeline::task::TensorTask;
use crate::sparse::Fill;
use crate::tensor::Shape;

/// Maximum number of tensors, and of their bytes, that are processed together.
const BATCH: (usize, u64) = (64, 256 << 20);

/// A tensor to be coded.
#[derive(Clone, Copy)]
pub(in crate::pipeline) enum ToCode<'a> {
    /// As floating-point values.
    Floats(Floats<'a>),
    /// Byte by byte.
    Bytes(Bytes<'a>),
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    floats: floats::Scratch,
    codec: EncoderScratch,
    /// Values in which pruned weights are zero steps.
    at_start: Vec<u8>,
}

impl<'a> ToCode<'a> {
    /// A whole floating-point tensor, without pruning.
    pub fn whole(task: &'a TensorTask<'a>, described: u64) -> Self {
        Self::Floats(Floats::whole(task, described))
    }

    /// The same tensor, without pruning.
    pub fn unpruned(self) -> Self {
        match self {
            Self::Floats(floats) => Self::Floats(Floats { pruning: None, ..floats }),
            bytes => bytes,
        }
    }

    /// The value of its pruned weights; `None` if it is kept.
    pub fn fill(&self) -> Option<Fill> {
        match self {
            Self::Floats(floats) => floats.pruning.map(|pruning| pruning.fill),
            Self::Bytes(_) => None,
        }
    }

    /// Its index in name order.
    pub fn n(&self) -> usize {
        match self {
            Self::Floats(floats) => floats.task.n,
            Self::Bytes(bytes) => bytes.n,
        }
    }

    pub fn name(&self) -> &'a str {
        match self {
            Self::Floats(floats) => floats.task.name,
            Self::Bytes(bytes) => bytes.name,
        }
    }

    /// What its code depends on; `None` if on masks as well.
    pub fn key(&self) -> Option<CodeKey> {
        let name = self.name().to_owned();
        Some(match self {
            Self::Floats(Floats { pruning: Some(_), .. }) => return None,
            Self::Floats(floats) => CodeKey {
                name,
                steps: floats.rounding.map(|rounding| (rounding.step.to_bits(), rounding.over)),
                is_compensated: floats.is_compensated(),
                written: Some(floats.written),
                predicts: floats.predicts,
            },
            Self::Bytes(bytes) => CodeKey {
                name,
                steps: None,
                is_compensated: false,
                written: None,
                predicts: bytes.base.is_some(),
            },
        })
    }

    /// The type of the tensor as it is.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::Floats(floats) => floats.task.dtype.dtype(),
            Self::Bytes(bytes) => bytes.dtype,
        }
    }

    pub fn shape(&self) -> &'a Shape {
        match self {
            Self::Floats(floats) => floats.task.shape,
            Self::Bytes(bytes) => bytes.shape,
        }
    }

    /// Bytes of the tensor as it is.
    pub fn bytes(&self) -> u64 {
        let data = match self {
            Self::Floats(floats) => floats.task.trained,
            Self::Bytes(bytes) => bytes.data,
        };
        data.len() as u64
    }

    /// How many passes over it coding takes.
    fn passes(&self) -> u64 {
        match self {
            Self::Floats(floats) if floats.is_compensated() => 4,
            _ => 3,
        }
    }

    /// Its blocks, in storage order.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        blocks::cut(self.n(), self.shape().matrix())
    }

    /// The form of the values written.
    fn form(&self) -> Form {
        match self {
            Self::Floats(floats) => floats.written.into(),
            Self::Bytes(bytes) => bytes.form,
        }
    }

    fn reads(&self, block: &Block) -> Reads<'_> {
        match self {
            Self::Floats(floats) => floats.reads(block),
            Self::Bytes(bytes) => bytes.reads(block),
        }
    }

    fn input<'s>(
        &'s self,
        choice: &Choice,
        block: &Block,
        scratch: &'s mut floats::Scratch,
    ) -> Result<BlockInput<'s>, CheckpointError> {
        match self {
            Self::Floats(floats) => floats.input(choice, block, scratch),
            Self::Bytes(bytes) => Ok(bytes.input(choice, block)),
        }
    }

    /// Number of finite values of a block, the last whose input was asked for, that a cast makes infinite.
    fn overflowed(&self, block: &Block, scratch: &mut floats::Scratch) -> u64 {
        match self {
            Self::Floats(floats) => floats.overflowed(block, scratch),
            Self::Bytes(_) => 0,
        }
    }

    /// The best coding, and the bits per element in a sample of it.
    fn choose(&self, scratch: &mut floats::Scratch) -> Result<(Choice, f64), CheckpointError> {
        match self {
            Self::Floats(floats) => floats.choose(scratch),
            Self::Bytes(bytes) => Ok(bytes.choose()),
        }
    }
}

/// A tensor that is being coded.
struct Coding<'a> {
    tensor: &'a ToCode<'a>,
    choice: Choice,
    encoder: TensorEncoder,
    /// Position of its first block in the spool, and the lengths of its blocks in bytes.
    start: Option<u64>,
    lengths: Vec<u32>,
    overflowed: u64,
    /// What rounding did to its values.
    losses: Losses,
    /// Its values, if rounding has changed them so that its errors compensate.
    compensated: Option<Vec<u8>>,
}

impl<'a> Coding<'a> {
    fn new(tensor: &'a ToCode<'a>, choice: Choice, progress: &dyn Progress) -> Result<Self, Error> {
        let matrix = tensor.shape().matrix();
        let encoder = TensorEncoder::new(tensor.form(), matrix, choice.model, choice.lines);
        let compensated = match tensor {
            ToCode::Floats(floats) => steps::compensated(floats, &choice, progress)?,
            ToCode::Bytes(_) => None,
        };
        Ok(Self {
            tensor,
            choice,
            encoder,
            start: None,
            lengths: Vec::new(),
            overflowed: 0,
            losses: Losses::default(),
            compensated,
        })
    }

    /// Calls a pass of the encoder with a block. Returns the block's values before rounding compensated its
    /// errors, and the input of the pass.
    fn pass<'s>(
        &'s self,
        block: &Block,
        scratch: &'s mut Scratch,
        pass: impl FnOnce(&TensorEncoder, BlockInput<'_>, &mut EncoderScratch),
    ) -> Result<(&'s [u8], BlockInput<'s>), Error> {
        let mut input = self.tensor.input(&self.choice, block, &mut scratch.floats)?;
        let trained = input.values;
        if let Some(values) = &self.compensated {
            input.values = &values[block.bytes(self.tensor.form().size())];
        }
        if matches!(self.tensor, ToCode::Floats(floats) if floats.pruned_are_at_start(&self.choice)) {
            without_pruned(self.tensor.form(), &input, &mut scratch.at_start);
            let coded = BlockInput { values: &scratch.at_start, pruned: &[], ..input };
            pass(&self.encoder, coded, &mut scratch.codec);
        } else {
            pass(&self.encoder, input, &mut scratch.codec);
        }
        Ok((trained, input))
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
            rounded: match self.choice.model {
                Model::Steps { step, .. } => {
                    let Losses { errors, squares, at_start } = self.losses;
                    Some(Rounded { step, errors, squares, at_start })
                }
                _ => None,
            },
        }
    }
}

/// Codes tensors into the spool, from this position on, a batch at a time, and returns where they end.
/// Progress counts their bytes once for each pass, as this stage.
pub(in crate::pipeline) fn code_all(
    stage: &'static str,
    tensors: &[ToCode<'_>],
    (spool, mut end): (&Spool, u64),
    progress: &dyn Progress,
) -> Result<(Vec<Coded>, u64), Error> {
    progress.begin(stage, tensors.iter().map(|tensor| tensor.passes() * tensor.bytes()).sum());
    let mut coded = Vec::with_capacity(tensors.len());
    let mut rest = tensors;
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = |tensor: &&ToCode<'_>| {
            sum += tensor.bytes();
            sum <= BATCH.1
        };
        let (now, later) = rest.split_at(rest.iter().take(BATCH.0).take_while(fits).count().max(1));
        coded.extend(code(now, spool, &mut end, progress)?);
        rest = later;
    }
    progress.end();
    Ok((coded, end))
}

/// The best coding of each tensor, and the bits per element in a sample of it.
pub(in crate::pipeline) fn choices(tensors: &[ToCode<'_>]) -> Result<Vec<(Choice, f64)>, Error> {
    let numbers: Vec<usize> = (0..tensors.len()).collect();
    blocks::for_each(
        &numbers,
        &Silent,
        |n| Reads { bytes: 0, ..tensors[*n].reads(&Block { tensor: *n, start: 0, len: 1 }) },
        floats::Scratch::default,
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
        .map(|(tensor, (choice, _))| Coding::new(tensor, choice, progress))
        .collect::<Result<_, _>>()?;
    let blocks_of = |(n, tensor): (usize, &ToCode<'_>)| tensor.blocks().map(move |block| (n, block));
    let blocks: Vec<(usize, Block)> = tensors.iter().enumerate().flat_map(blocks_of).collect();
    let reads = |(n, block): &(usize, Block)| tensors[*n].reads(block);
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
        let coding = &all[*n];
        coding.pass(block, scratch, |encoder, input, codec| encoder.measure(block, input, codec)).map(drop)
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.classify());
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
        let coding = &all[*n];
        coding.pass(block, scratch, |encoder, input, codec| encoder.count(block, input, codec)).map(drop)
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.cut());
    let spare = Spare::default();
    // The number of blocks whose codes are held in memory before they are written in order.
    for blocks in blocks.chunks(64 * 1024 * 1024 / (8 * BLOCK_ELEMENTS)) {
        let codes = blocks::for_each(blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
            let (coding, mut code) = (&all[*n], spare.take(Vec::new));
            code.clear();
            let (trained, input) = coding.pass(block, scratch, |encoder, input, codec| {
                encoder.encode(block, input, codec, &mut code);
            })?;
            let losses = steps::losses(coding.tensor.form(), &coding.choice, trained, input);
            let overflowed = coding.tensor.overflowed(block, &mut scratch.floats);
            Ok::<_, Error>((code, overflowed, losses))
        })?;
        let mut placed = Vec::with_capacity(codes.len());
        for ((n, _), (code, overflowed, losses)) in blocks.iter().zip(codes) {
            let coding = &mut all[*n];
            coding.start.get_or_insert(*end);
            coding.lengths.push(code.len() as u32);
            coding.overflowed += overflowed;
            coding.losses.add(losses);
            let at = *end;
            *end += code.len() as u64;
            placed.push((at, code));
        }
        write(&placed, spool)?;
    }
    Ok(all.iter().map(|coding| coding.finish(*end)).collect())
}

/// Writes codes, each at its position behind the one before.
fn write(codes: &[(u64, Taken<'_, Vec<u8>>)], spool: &Spool) -> Result<(), Error> {
    let bytes: usize = codes.iter().map(|(_, code)| code.len()).sum();
    if let Some((start, _)) = codes.first().filter(|_| bytes <= PIECE) {
        let all: Vec<&[u8]> = codes.iter().map(|(_, code)| &***code).collect();
        return Ok(spool.write(*start, &all.concat())?);
    }
    let nothing = |_: &_| Reads::default();
    blocks::for_each(codes, &Silent, nothing, || (), |(), (at, code)| spool.write(*at, code)).map(drop)
}
