//! Codes tensors, without loss or rounded to steps.

use std::borrow::Borrow;

use cdi_core::internal::spare::Spare;
use safetensors::Dtype;

use super::bytes::Bytes;
use super::floats::{self, Floats};
use super::prepared::Prepared;
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

/// Maximum number of tensors of several blocks, and of bytes of all tensors, that are processed together.
const BATCH: (usize, u64) = (64, 256 << 20);

/// Maximum number of tensors of one block that are processed together, and of their blocks' bytes.
const SINGLE: (usize, u64) = (4096, 64 << 20);

/// Number of blocks whose codes are held in memory before they are written in order.
const HELD: usize = 64 * 1024 * 1024 / (8 * BLOCK_ELEMENTS);

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
    code: Vec<u8>,
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
    fn choose(&self, scratch: &mut Scratch) -> Result<(Choice, f64), CheckpointError> {
        match self {
            Self::Floats(floats) => floats.choose(&mut scratch.floats, &mut scratch.codec),
            Self::Bytes(bytes) => Ok(bytes.choose(&mut scratch.codec)),
        }
    }

    fn encoder(&self, choice: &Choice) -> TensorEncoder {
        TensorEncoder::new(self.form(), self.shape().matrix(), choice.model, choice.lines)
    }

    /// Its block, if it has one and is coded from the beginning to the end at once.
    fn single(&self) -> Option<Block> {
        let is_compensated = matches!(self, Self::Floats(floats) if floats.is_compensated());
        let mut blocks = self.blocks();
        let first = blocks.next().filter(|_| !is_compensated);
        first.filter(|_| blocks.next().is_none())
    }

    /// What the encoder gets of a block. `compensated` are the values of the whole tensor, if rounding has
    /// changed them so that its errors compensate.
    fn prepare<'s>(
        &'s self,
        (choice, compensated): (&Choice, Option<&'s [u8]>),
        block: &Block,
        floats: &'s mut floats::Scratch,
        at_start: &'s mut Vec<u8>,
    ) -> Result<Prepared<'s>, CheckpointError> {
        let mut input = self.input(choice, block, floats)?;
        let trained = input.values;
        if let Some(values) = compensated {
            input.values = &values[block.bytes(self.form().size())];
        }
        let mut coded = input;
        if matches!(self, Self::Floats(floats) if floats.pruned_are_at_start(choice)) {
            without_pruned(self.form(), &input, at_start);
            coded = BlockInput { values: at_start, pruned: &[], ..input };
        }
        Ok(Prepared { trained, input, coded })
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
        let compensated = match tensor {
            ToCode::Floats(floats) => steps::compensated(floats, &choice, progress)?,
            ToCode::Bytes(_) => None,
        };
        Ok(Self {
            tensor,
            choice,
            encoder: tensor.encoder(&choice),
            start: None,
            lengths: Vec::new(),
            overflowed: 0,
            losses: Losses::default(),
            compensated,
        })
    }

    /// What a pass of the encoder with a block needs.
    fn prepare<'s>(
        &'s self,
        block: &Block,
        Scratch { floats, codec, at_start, .. }: &'s mut Scratch,
    ) -> Result<(&'s TensorEncoder, Prepared<'s>, &'s mut EncoderScratch), CheckpointError> {
        let what = (&self.choice, self.compensated.as_deref());
        Ok((&self.encoder, self.tensor.prepare(what, block, floats, at_start)?, codec))
    }

    /// Completes the tensor when all its blocks are in the spool; `end` is the end of the spool.
    fn finish(&self, end: u64) -> Coded {
        let start = self.start.unwrap_or(end);
        let coded = coded(&self.choice, &self.encoder, &self.lengths, self.overflowed, self.losses);
        Coded { blocks: start..start + coded.blocks.end, ..coded }
    }
}

/// A tensor whose blocks, of these lengths, are at the beginning of the spool.
fn coded(
    choice: &Choice,
    encoder: &TensorEncoder,
    lengths: &[u32],
    overflowed: u64,
    Losses { errors, squares, at_start }: Losses,
) -> Coded {
    let rounded = match choice.model {
        Model::Steps { step, .. } => Some(Rounded { step, errors, squares, at_start }),
        _ => None,
    };
    let bytes = lengths.iter().map(|len| u64::from(*len)).sum();
    Coded { choice: *choice, head: encoder.head(lengths), blocks: 0..bytes, overflowed, rounded }
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
    let mut all = Vec::with_capacity(tensors.len());
    let mut rest = tensors;
    while !rest.is_empty() {
        let (mut of_one, mut others, mut bytes) = (0, 0, 0);
        let fits = |tensor: &&ToCode<'_>| {
            bytes += tensor.bytes();
            *(if tensor.single().is_some() { &mut of_one } else { &mut others }) += 1;
            bytes <= BATCH.1 && others <= BATCH.0 && of_one <= SINGLE.0
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let (single, several): (Vec<_>, Vec<_>) = now.iter().partition(|tensor| tensor.single().is_some());
        let mut single = code_single(&single, (spool, &mut end), progress)?.into_iter();
        let mut several = code_several(&several, (spool, &mut end), progress)?.into_iter();
        let of = |tensor: &ToCode<'_>| match tensor.single() {
            Some(_) => single.next(),
            None => several.next(),
        };
        all.extend(now.iter().map(of).map(|coded| coded.expect("each is one of both kinds")));
        rest = later;
    }
    progress.end();
    Ok((all, end))
}

/// The best coding of each tensor, and the bits per element in a sample of it.
pub(in crate::pipeline) fn choices<'a>(
    tensors: &[impl Borrow<ToCode<'a>> + Sync],
) -> Result<Vec<(Choice, f64)>, Error> {
    let numbers: Vec<usize> = (0..tensors.len()).collect();
    let tensor = |n: &usize| tensors[*n].borrow();
    // Only a sample is read.
    let reads = |n: &usize| Reads { bytes: 0, ..tensor(n).reads(&Block { tensor: *n, start: 0, len: 1 }) };
    blocks::for_each(&numbers, &Silent, reads, Scratch::default, |scratch, n| tensor(n).choose(scratch))
}

/// Codes tensors of one block each into the spool, starting at position `end`: each by one thread, which does
/// all that there is to do while the block is in its cache.
fn code_single(
    mut tensors: &[&ToCode<'_>],
    (spool, end): (&Spool, &mut u64),
    progress: &dyn Progress,
) -> Result<Vec<Coded>, Error> {
    let mut all = Vec::with_capacity(tensors.len());
    while !tensors.is_empty() {
        let mut bytes = 0;
        let fits = |tensor: &&&ToCode<'_>| {
            bytes += tensor.bytes();
            bytes <= SINGLE.1
        };
        let (now, later) = tensors.split_at(tensors.iter().take_while(fits).count().max(1));
        let block_of = |(n, tensor): (usize, &&ToCode<'_>)| Some((n, tensor.single()?));
        let blocks: Vec<(usize, Block)> = now.iter().enumerate().filter_map(block_of).collect();
        let reads = |(n, block): &(usize, Block)| {
            let reads = now[*n].reads(block);
            Reads { bytes: now[*n].passes() * reads.bytes, ..reads }
        };
        let found = blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
            let tensor = now[*n];
            let (choice, _) = tensor.choose(scratch)?;
            let mut encoder = tensor.encoder(&choice);
            let Scratch { floats, codec, at_start, code } = scratch;
            let prepared = tensor.prepare((&choice, None), block, floats, at_start)?;
            encoder.measure(block, prepared.coded, codec);
            encoder.classify();
            encoder.count(block, prepared.coded, codec);
            encoder.cut();
            code.clear();
            encoder.encode(block, prepared.coded, codec, code);
            let losses = steps::losses(tensor.form(), &choice, &prepared);
            let overflowed = tensor.overflowed(block, floats);
            let coded = coded(&choice, &encoder, &[code.len() as u32], overflowed, losses);
            Ok::<_, Error>((coded, code.clone()))
        })?;
        let mut placed = Vec::with_capacity(found.len());
        for (coded, code) in &found {
            let at = *end;
            *end += code.len() as u64;
            all.push(Coded { blocks: at..*end, ..coded.clone() });
            placed.push((at, code.as_slice()));
        }
        write(&placed, spool)?;
        tensors = later;
    }
    Ok(all)
}

/// Codes tensors into the spool, starting at position `end`, with the blocks of all of them shared among the
/// threads in each pass.
fn code_several(
    tensors: &[&ToCode<'_>],
    (spool, end): (&Spool, &mut u64),
    progress: &dyn Progress,
) -> Result<Vec<Coded>, Error> {
    let mut all: Vec<Coding<'_>> = tensors
        .iter()
        .zip(choices(tensors)?)
        .map(|(tensor, (choice, _))| Coding::new(tensor, choice, progress))
        .collect::<Result<_, _>>()?;
    let blocks_of = |(n, tensor): (usize, &&ToCode<'_>)| tensor.blocks().map(move |block| (n, block));
    let blocks: Vec<(usize, Block)> = tensors.iter().enumerate().flat_map(blocks_of).collect();
    let reads = |(n, block): &(usize, Block)| tensors[*n].reads(block);
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
        let (encoder, prepared, codec) = all[*n].prepare(block, scratch)?;
        encoder.measure(block, prepared.coded, codec);
        Ok::<_, Error>(())
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.classify());
    blocks::for_each(&blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
        let (encoder, prepared, codec) = all[*n].prepare(block, scratch)?;
        encoder.count(block, prepared.coded, codec);
        Ok::<_, Error>(())
    })?;
    all.iter_mut().for_each(|coding| coding.encoder.cut());
    let spare = Spare::default();
    for blocks in blocks.chunks(HELD) {
        let codes = blocks::for_each(blocks, progress, reads, Scratch::default, |scratch, (n, block)| {
            let (coding, mut code) = (&all[*n], spare.take(Vec::new));
            code.clear();
            let (encoder, prepared, codec) = coding.prepare(block, scratch)?;
            encoder.encode(block, prepared.coded, codec, &mut code);
            let losses = steps::losses(coding.tensor.form(), &coding.choice, &prepared);
            let overflowed = coding.tensor.overflowed(block, &mut scratch.floats);
            Ok::<_, Error>((code, overflowed, losses))
        })?;
        let mut placed = Vec::with_capacity(codes.len());
        for ((n, _), (code, overflowed, losses)) in blocks.iter().zip(&codes) {
            let coding = &mut all[*n];
            coding.start.get_or_insert(*end);
            coding.lengths.push(code.len() as u32);
            coding.overflowed += overflowed;
            coding.losses.add(*losses);
            placed.push((*end, code.as_slice()));
            *end += code.len() as u64;
        }
        write(&placed, spool)?;
    }
    Ok(all.iter().map(|coding| coding.finish(*end)).collect())
}

/// Writes codes, each at its position behind the one before, small ones together.
fn write(mut codes: &[(u64, &[u8])], spool: &Spool) -> Result<(), Error> {
    let mut together = Vec::new();
    while let [first, ..] = codes {
        let mut bytes = 0;
        let fits = |(_, code): &&(u64, &[u8])| {
            bytes += code.len();
            bytes <= PIECE
        };
        let (now, later) = codes.split_at(codes.iter().take_while(fits).count().max(1));
        together.push((first.0, now));
        codes = later;
    }
    let nothing = |_: &_| Reads::default();
    blocks::for_each(&together, &Silent, nothing, Vec::new, |buffer, (at, codes)| {
        if let [(_, code)] = codes {
            return spool.write(*at, code);
        }
        buffer.clear();
        codes.iter().for_each(|(_, code)| buffer.extend_from_slice(code));
        spool.write(*at, buffer)
    })
    .map(drop)
}
