//! Codes a tensor in three passes over its blocks, which may run in any order and on any threads: the first
//! measures rows and columns, the second counts symbols, and the third codes the blocks.

use serde::{Deserialize, Serialize};

use super::bytes;
use super::counts::Counts;
use super::elements::{CHUNK, sized, widen};
use super::frequency;
use super::head::VERSION;
use super::levels::{Classes, Levels, MOST_CLASSES};
use super::rans::{self, Table};
use super::rawbits::BitWriter;
use super::steps;
use super::symbol::{Form, Model, Symbols, low};
use crate::blocks::{BLOCK_ELEMENTS, Block};
use crate::dispatch::{InstructionSet, Kernel};
use crate::lock::Lock;
use crate::prelude::*;
use crate::tensor::Matrix;

/// In [`BlockInput::pruned`], marks an element that is kept.
pub const KEPT: u8 = u8::MAX;

/// By how many half octaves a pruned element counts as smaller than its value.
const PRUNED_LESS: i32 = 8;

/// A block of a tensor to code.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockInput<'a> {
    /// Its values, little-endian.
    pub values: &'a [u8],
    /// As many predictions of the same type; empty if the model has none.
    pub prediction: &'a [u8],
    /// For each element, its symbol if it is pruned, `KEPT` otherwise. Empty if nothing is pruned; must be
    /// empty with `Model::Bytes`.
    pub pruned: &'a [u8],
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct EncoderScratch {
    /// The instruction set that the passes run on.
    set: InstructionSet,
    symbols: Vec<u8>,
    levels: Vec<i32>,
    contexts: Vec<u8>,
    sums: Vec<i64>,
    counts: Counts,
    folded: Vec<u64>,
    rest: BitWriter,
}

impl EncoderScratch {
    /// Buffers for passes that use this instruction set.
    #[cfg(test)]
    pub fn on(set: InstructionSet) -> Self {
        Self { set, ..Self::default() }
    }
}

/// Which lines (rows and columns) of a tensor have classes of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Whether rows have classes.
    pub rows: bool,
    /// Whether columns have classes.
    pub columns: bool,
}

impl Lines {
    /// The lines that can have classes. There must be enough rows and columns, and blocks
    /// must hold whole rows.
    pub fn possible(matrix: Matrix) -> Self {
        const FEW: usize = 8;
        let enough =
            (FEW..=MOST_CLASSES).contains(&matrix.rows) && (FEW..=BLOCK_ELEMENTS).contains(&matrix.cols);
        Self { rows: enough, columns: enough }
    }
}

/// A pass over a block, compiled for each instruction set.
struct Pass<'a> {
    tensor: &'a TensorEncoder,
    block: &'a Block,
    input: BlockInput<'a>,
    scratch: &'a mut EncoderScratch,
    step: Step<'a>,
}

enum Step<'a> {
    Measure,
    Count,
    Encode(&'a mut Vec<u8>),
}

impl Kernel for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { tensor, block, input, scratch, step } = self;
        match step {
            Step::Measure => tensor.measure_block(block, input, scratch),
            Step::Count => tensor.count_block(block, input, scratch),
            Step::Encode(out) => tensor.encode_block(block, input, scratch, out),
        }
    }
}

/// A tensor that is being coded.
#[derive(Debug)]
pub struct TensorEncoder {
    form: Form,
    model: Model,
    matrix: Matrix,
    lines: Lines,
    symbols: Symbols,
    sums: Lock<Sums>,
    levels: Levels,
    counts: Lock<Counts>,
    tables: Vec<Table>,
    coder: rans::Encoder,
}

#[derive(Debug, Default)]
struct Sums {
    rows: Vec<i64>,
    columns: Vec<i64>,
    all: i64,
    /// For each row, the bits that are set in any of its kept values.
    set: Vec<u64>,
}

impl TensorEncoder {
    /// Starts coding a tensor of this type.
    pub fn new(form: impl Into<Form>, matrix: Matrix, model: Model, lines: Lines) -> Self {
        let form = form.into();
        let possible = if model.is_bytes() { Lines::default() } else { Lines::possible(matrix) };
        let lines = Lines { rows: lines.rows && possible.rows, columns: lines.columns && possible.columns };
        Self {
            form,
            model,
            matrix,
            lines,
            symbols: Symbols::new(form, model),
            sums: Lock::default(),
            levels: Levels::default(),
            counts: Lock::new(Counts::new(0)),
            tables: Vec::new(),
            coder: rans::Encoder::new([]),
        }
    }

    /// Whether rows are checked for low bits that are zero in all their values. Blocks must hold
    /// whole rows for this.
    fn has_zeros(&self) -> bool {
        matches!(self.model, Model::Value { .. })
            && self.matrix.cols <= BLOCK_ELEMENTS
            && self.matrix.rows <= MOST_CLASSES
    }

    /// The first pass: measures how large the values of rows and columns are.
    pub fn measure(&self, block: &Block, input: BlockInput<'_>, scratch: &mut EncoderScratch) {
        // Rows and columns are classified by the magnitude of their values, which bytes do not have.
        if self.model.is_bytes() {
            return;
        }
        let set = scratch.set;
        set.run(Pass { tensor: self, block, input, scratch, step: Step::Measure });
    }

    #[inline(always)]
    fn measure_block(&self, block: &Block, input: BlockInput<'_>, scratch: &mut EncoderScratch) {
        let (form, width) = (self.form, block.columns(self.matrix));
        // Half octaves of each value, or of its difference from the prediction; or the number of steps.
        let measures = &mut scratch.levels;
        match self.model {
            Model::Steps { step, .. } => {
                let folded = &mut scratch.folded;
                steps::count(form, step, (input.values, input.prediction), folded);
                const FAR: u64 = 1 << 20;
                measures.resize(folded.len(), 0);
                for (measure, folded) in measures.iter_mut().zip(&*folded) {
                    *measure = ((*folded).min(2 * FAR) as i32 + 1) / 2;
                }
            }
            Model::Value { .. } => form.map(input.values, measures, |form, bits| form.half_octaves(bits)),
            Model::Difference | Model::Bytes { .. } => {
                form.map_pairs(input.values, input.prediction, measures, |form, bits, prediction| {
                    let length = form.bit_length(form.distance(bits, prediction));
                    2 * length as i32 + form.half_octaves(prediction)
                })
            }
        }
        // A pruned element counts as much smaller than its value, so that lines with more pruned elements get
        // classes of their own.
        // Steps are counted, and their logarithm is taken of the mean: there, less is none.
        let (share, less) = if let Model::Steps { .. } = self.model { (0, 0) } else { (1, PRUNED_LESS) };
        for (measure, pruned) in measures.iter_mut().zip(input.pruned) {
            *measure = if *pruned == KEPT { *measure } else { share * *measure - less };
        }
        let columns = &mut scratch.sums;
        columns.clear();
        columns.resize(if self.lines.columns { width } else { 0 }, 0);
        let mut set = Vec::new();
        if self.has_zeros() {
            let size = input.values.len() / measures.len();
            for (n, row) in input.values.chunks(width * size).enumerate() {
                let mut any = 0;
                match input.pruned.get(n * width..(n + 1) * width) {
                    None => form.each(row, |_, bits| any |= bits),
                    Some(pruned) => sized!(form, SIZE => {
                        for (value, pruned) in row.as_chunks::<SIZE>().0.iter().zip(pruned) {
                            any |= if *pruned == KEPT { widen(value) } else { 0 };
                        }
                    }),
                }
                set.push(any);
            }
        }
        let mut rows = Vec::new();
        let mut all = 0;
        for row in measures.chunks(width) {
            let sum = row.iter().map(|m| i64::from(*m)).sum::<i64>();
            all += sum;
            rows.push(sum);
            columns.iter_mut().zip(row).for_each(|(sum, m)| *sum += i64::from(*m));
        }
        let mut sums = self.sums.hold();
        sums.all += all;
        if self.has_zeros() {
            sums.set.resize(self.matrix.rows, 0);
            let first = block.row(self.matrix);
            sums.set[first..first + set.len()].copy_from_slice(&set);
        }
        if self.lines.rows {
            sums.rows.resize(self.matrix.rows, 0);
            let first = block.row(self.matrix);
            sums.rows[first..first + rows.len()].copy_from_slice(&rows);
        }
        if self.lines.columns {
            sums.columns.resize(width, 0);
            sums.columns.iter_mut().zip(columns).for_each(|(sum, own)| *sum += *own);
        }
    }

    /// Ends the first pass: assigns classes to rows and columns.
    pub fn classify(&mut self) {
        let Sums { rows, columns, all, set } = core::mem::take(self.sums.get_mut());
        let Matrix { rows: height, cols: width } = self.matrix;
        let level = |sum: i64, count: usize| match self.model {
            Model::Steps { .. } => steps::level(sum as f64 / count.max(1) as f64),
            _ => rounded_mean(sum, count),
        };
        let mean = level(all, height * width);
        let classes = |sums: &[i64], count: usize, less: i32| {
            let means: Vec<i32> = sums.iter().map(|sum| level(*sum, count) - less).collect();
            let base = means.iter().copied().min().unwrap_or_default();
            let above = means.iter().map(|mean| (mean - base).min(255) as u8).collect();
            Classes { base: base as i16, above }
        };
        // Without classes, all values are at one level. Differences are not: their predictions differ.
        let flat = Classes {
            base: if self.model == Model::Difference || self.lines.columns { mean as i16 } else { 0 },
            above: Vec::new(),
        };
        self.levels.rows = if self.lines.rows { classes(&rows, width, 0) } else { flat };
        self.levels.columns =
            if self.lines.columns { classes(&columns, height, mean) } else { Classes::default() };
        let most = self.form.most_zeros();
        // A row of only +0.0 has no remaining bits in any case.
        let of = |bits: &u64| if *bits == 0 { 0 } else { bits.trailing_zeros().min(most) as u8 };
        let zeros: Vec<u8> = set.iter().map(of).collect();
        if let Some(least) = zeros.iter().copied().min()
            && zeros.iter().any(|zeros| *zeros > 0)
        {
            let above = zeros.iter().map(|zeros| zeros - least).collect();
            self.levels.zeros = Classes { base: least.into(), above };
        }
        let middle = match self.model {
            Model::Difference | Model::Bytes { .. } => 64,
            Model::Value { .. } | Model::Steps { .. } if self.lines == Lines::default() => 0,
            Model::Value { .. } | Model::Steps { .. } => mean,
        };
        *self.counts.get_mut() = Counts::new(middle);
    }

    /// The second pass: counts which symbols occur at which level.
    pub fn count(&self, block: &Block, input: BlockInput<'_>, scratch: &mut EncoderScratch) {
        let set = scratch.set;
        set.run(Pass { tensor: self, block, input, scratch, step: Step::Count });
    }

    #[inline(always)]
    fn count_block(&self, block: &Block, input: BlockInput<'_>, scratch: &mut EncoderScratch) {
        /// What is counted alone and added later, so that other threads need not wait, costs as much as
        /// counting so many symbols.
        const FEW: usize = 1 << 13;
        self.place(block, input, scratch);
        let EncoderScratch { symbols, levels, counts, .. } = scratch;
        if block.len < FEW {
            self.counts.hold().add(levels, symbols);
            return;
        }
        counts.start_like(&self.counts.hold());
        counts.add(levels, symbols);
        self.counts.hold().take(counts);
    }

    /// Ends the second pass: chooses thresholds and tables.
    pub fn cut(&mut self) {
        let cut = self.counts.get_mut().cut();
        self.levels.thresholds = cut.thresholds;
        self.coder = rans::Encoder::new(&cut.tables);
        self.tables = cut.tables;
        if self.tables.len() == 1 {
            // With a single table, classes select nothing.
            self.levels.rows = Classes::default();
            self.levels.columns = Classes::default();
        }
    }

    /// Ends the second pass with an estimate instead. If only a sample was counted, `share` (0 … 1) of the
    /// tensor, the result is that share of the tensor's size in bits.
    pub fn estimate(&mut self, share: f64) -> f64 {
        let counts = self.counts.get_mut();
        let (symbols, tables) = counts.estimate();
        let rest = counts.rest(&self.symbols) as f64;
        // Bits that are known to be zero are not stored. The estimate ignores the few values that are
        // out of reach or zero.
        let known: i64 = (0..self.matrix.rows).map(|row| i64::from(self.levels.zeros.at(row))).sum();
        let rest = (rest - (known * self.matrix.cols as i64) as f64).max(0.0);
        symbols
            + rest
            + self.levels.zeros.bits()
            + self.levels.rows.bits()
            + share * (self.levels.columns.bits() + tables)
    }

    /// The third pass: appends the bytes of a block.
    pub fn encode(
        &self,
        block: &Block,
        input: BlockInput<'_>,
        scratch: &mut EncoderScratch,
        out: &mut Vec<u8>,
    ) {
        let set = scratch.set;
        set.run(Pass { tensor: self, block, input, scratch, step: Step::Encode(out) });
    }

    #[inline(always)]
    fn encode_block(
        &self,
        block: &Block,
        input: BlockInput<'_>,
        scratch: &mut EncoderScratch,
        out: &mut Vec<u8>,
    ) {
        self.place(block, input, scratch);
        let EncoderScratch { symbols, levels, contexts, folded, rest, .. } = scratch;
        self.levels.contexts(levels, contexts);
        // Without a code, a block has no bytes at all. So there must be one if bits remain.
        let leaves = symbols.iter().any(|symbol| self.symbols.count(*symbol) > 0);
        self.coder.encode(contexts, symbols, leaves, out);
        // A local variable, so that its fields stay in registers.
        let mut bits = core::mem::take(rest);
        self.put_rest(block, input, symbols, folded, &mut bits);
        bits.finish(out);
        *rest = bits;
    }

    /// Appends the remaining bits of all symbols.
    #[inline(always)]
    fn put_rest(
        &self,
        block: &Block,
        BlockInput { values, prediction, .. }: BlockInput<'_>,
        symbols: &[u8],
        folded: &[u64],
        rest: &mut BitWriter,
    ) {
        let (mut bits, mut counts) = ([0; CHUNK], [0; CHUNK]);
        match self.model {
            Model::Bytes { .. } => {}
            Model::Steps { .. } => sized!(self.form, SIZE => {
                let values = values.as_chunks::<SIZE>().0.chunks(CHUNK);
                let chunks = values.zip(symbols.chunks(CHUNK)).zip(folded.chunks(CHUNK));
                for ((values, symbols), folded) in chunks {
                    for (n, ((value, symbol), folded)) in values.iter().zip(symbols).zip(folded).enumerate() {
                        counts[n] = Symbols::count_of_steps(self.form, *symbol);
                        let unchanged = Symbols::is_unchanged(*symbol);
                        let count = if unchanged { 0 } else { counts[n] };
                        bits[n] = if unchanged { widen(value) } else { low(*folded, count.into()) };
                    }
                    rest.put_all::<SIZE>(&bits[..values.len()], &counts);
                }
            }),
            Model::Difference => sized!(self.form, SIZE => {
                let form = self.form.sized::<SIZE>();
                let values = values.as_chunks::<SIZE>().0.chunks(CHUNK);
                let predictions = prediction.as_chunks::<SIZE>().0.chunks(CHUNK);
                for ((values, predictions), symbols) in values.zip(predictions).zip(symbols.chunks(CHUNK)) {
                    let each = values.iter().zip(predictions).zip(symbols);
                    for (n, ((value, prediction), symbol)) in each.enumerate() {
                        counts[n] = Symbols::count_of_distance(*symbol);
                        let distance = form.distance(widen(value), widen(prediction));
                        bits[n] = low(distance, counts[n].into());
                    }
                    rest.put_all::<SIZE>(&bits[..values.len()], &counts);
                }
            }),
            Model::Value { .. } => sized!(self.form, SIZE => {
                let form = self.form.sized::<SIZE>();
                let (first, width) = self.levels.rows_of_zeros(block, self.matrix);
                let rows = values.as_chunks::<SIZE>().0.chunks(width).zip(symbols.chunks(width));
                for (row, (values, symbols)) in (first..).zip(rows) {
                    let zeros = self.levels.zeros.at(row) as u32;
                    for (values, symbols) in values.chunks(CHUNK).zip(symbols.chunks(CHUNK)) {
                        for (n, (value, symbol)) in values.iter().zip(symbols).enumerate() {
                            counts[n] = Symbols::count_of_value(form, *symbol, zeros);
                            bits[n] = Symbols::rest_of_value(form, *symbol, widen(value), zeros);
                        }
                        rest.put_all::<SIZE>(&bits[..values.len()], &counts);
                    }
                }
            }),
        }
    }

    /// The bytes that precede the blocks. `lengths` are the lengths of the blocks in bytes.
    pub fn head(&self, lengths: &[u32]) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self.model {
            Model::Value { top } => {
                out.push(0);
                out.extend(top.to_le_bytes());
            }
            Model::Difference => out.push(1),
            Model::Bytes { difference } => out.push(2 + u8::from(difference)),
            Model::Steps { step, difference } => {
                out.push(4 + u8::from(difference));
                out.extend(step.to_le_bytes());
            }
        }
        let flags = u8::from(self.levels.rows != Classes::default())
            | u8::from(self.levels.columns != Classes::default()) << 1
            | u8::from(self.levels.zeros != Classes::default()) << 2;
        out.extend([flags, self.tables.len() as u8]);
        self.levels.write(flags, &mut out);
        let mut bits = BitWriter::default();
        for table in &self.tables {
            frequency::write(table.frequencies(), &mut bits);
        }
        bits.finish(&mut out);
        out.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        out
    }

    /// Computes the symbols and levels of a block.
    #[inline(always)]
    fn place(&self, block: &Block, input: BlockInput<'_>, scratch: &mut EncoderScratch) {
        let EncoderScratch { symbols, levels, folded, .. } = scratch;
        match self.model {
            Model::Steps { step, .. } => {
                steps::count(self.form, step, (input.values, input.prediction), folded);
                symbols.resize(folded.len(), 0);
                for (symbol, folded) in symbols.iter_mut().zip(&*folded) {
                    *symbol = Symbols::of_steps(*folded);
                }
            }
            Model::Value { top } => {
                self.form.map(input.values, symbols, |form, bits| self.symbols.of_value(form, top, bits));
            }
            Model::Difference => {
                self.form.map_pairs(input.values, input.prediction, symbols, |form, bits, prediction| {
                    Symbols::of_distance(form, form.distance(bits, prediction))
                });
            }
            Model::Bytes { .. } => bytes::split(self.form, input.values, input.prediction, symbols),
        }
        for (symbol, pruned) in symbols.iter_mut().zip(input.pruned) {
            *symbol = if *pruned == KEPT { *symbol } else { *pruned };
        }
        self.levels.of_block((self.form, self.model), block, self.matrix, input.prediction, levels);
    }
}

/// The mean rounded to nearest, halves up.
fn rounded_mean(sum: i64, count: usize) -> i32 {
    let count = count.max(1) as i64;
    (2 * sum + count).div_euclid(2 * count) as i32
}
