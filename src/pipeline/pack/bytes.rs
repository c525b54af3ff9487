//! Tensors that are coded by their bytes, either alone or as differences from a base's.

use safetensors::Dtype;

use crate::checkpoint::{Mapped, TensorRef};
use crate::codec::{BlockInput, Choice, EncoderScratch, Form, choose_bytes};
use crate::pipeline::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use crate::tensor::{Matrix, Shape};

/// Number of elements of a tensor that are sampled to choose a coding.
const SAMPLE: usize = 1 << 16;

/// A tensor whose bytes are to be coded, of any type with elements of whole bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct Bytes<'a> {
    /// Its index in name order.
    pub n: usize,
    pub name: &'a str,
    pub dtype: Dtype,
    pub form: Form,
    pub shape: &'a Shape,
    pub data: Mapped<'a>,
    /// A tensor of the same type and shape that it can be predicted from.
    pub base: Option<Mapped<'a>>,
    /// What describing that tensor takes, in bytes.
    described: u64,
}

impl<'a> Bytes<'a> {
    /// A tensor that is not floating point, and the tensor that it may be predicted from; `None` if it cannot
    /// be coded.
    pub fn new(
        (n, name): (usize, &'a str),
        tensor: TensorRef<'a>,
        base: Option<TensorRef<'a>>,
        described: u64,
    ) -> Option<Self> {
        let TensorRef { dtype, shape, data, .. } = tensor;
        let form = Form::of(dtype).filter(|form| !form.is_float() && shape.elements() > 0)?;
        let base = base.filter(|base| base.shape == shape && base.dtype == dtype);
        Some(Self { n, name, dtype, form, shape, data, base: base.map(|base| base.data), described })
    }

    fn part(&self, data: Mapped<'a>, block: &Block) -> Mapped<'a> {
        data.part(block.bytes(self.form.size()))
    }

    pub fn reads(&self, block: &Block) -> Reads<'a> {
        let mut reads = Reads::of(self.part(self.data, block));
        reads.mapped[1] = self.base.map(|base| self.part(base, block));
        reads
    }

    /// The input of a block for a pass of the encoder.
    pub fn input(&self, choice: &Choice, block: &Block) -> BlockInput<'a> {
        let base = self.base.filter(|_| choice.model.is_difference());
        let prediction = base.map_or(&[][..], |base| self.part(base, block).bytes());
        BlockInput { values: self.part(self.data, block).bytes(), prediction, pruned: &[] }
    }

    /// Chooses the best coding from samples at the beginning of some blocks. Also returns the bits per
    /// element of the samples.
    pub fn choose(&self, scratch: &mut EncoderScratch) -> (Choice, f64) {
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
        let matrix = Matrix { rows: 1, cols };
        let share = (share, 8.0 * self.described as f64);
        let choice = choose_bytes(self.form, matrix, (&values, &base), share, scratch);
        (choice, choice.bits / cols as f64)
    }
}
