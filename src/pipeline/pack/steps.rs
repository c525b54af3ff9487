//! Rounding to whole numbers of steps: the length of a tensor's steps, and rounding that compensates its
//! errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::floats::{Floats, Rounding, Scratch};
use super::prepared::Prepared;
use crate::checkpoint::TensorRef;
use crate::codec::{Choice, Form, KEPT, Model, PRUNED_TO_INITIAL, nearest_step};
use crate::config::{PruneSettings, StepLength, Steps};
use crate::pipeline::blocks::{self, Block, Reads};
use crate::pipeline::error::{CalibrationProblem, Error};
use crate::pipeline::progress::{Progress, Silent};
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::{Tasks, TensorTask};
use crate::prune::Moments;
use crate::tensor::{FloatDtype, Layout};
use crate::workers::Threads;

impl<'a> Rounding<'a> {
    /// As the config says.
    pub fn new(resolved: &'a Resolved<'_>, task: &TensorTask<'_>, steps: &Steps) -> Result<Self, Error> {
        let opened = |path| resolved.calibration(path).expect("opened before pruning");
        let file = steps.calibration.as_deref().map(opened);
        let moments = file.and_then(|file| Some((file, file.tensor(task.name)?)));
        Ok(Self { step: length(steps.step, task)?, over: steps.over, moments, kept: resolved.kept() })
    }
}

/// What the finite values of a tensor are like.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct Extent {
    least: f64,
    largest: f64,
    squares: f64,
    count: f64,
}

impl Extent {
    pub const NONE: Self =
        Self { least: f64::INFINITY, largest: f64::NEG_INFINITY, squares: 0.0, count: 0.0 };

    pub fn of(task: &TensorTask<'_>) -> Result<Self, Error> {
        let blocks: Vec<Block> = task.blocks().collect();
        let reads = |block: &Block| task.reads_with(block, false);
        let each = blocks::for_each(&blocks, &Silent, reads, Vec::new, |values, block| {
            decode(task.dtype, task.values(block).bytes(), block.len, values);
            let one = |w: &f64| Self { least: *w, largest: *w, squares: w * w, count: 1.0 };
            let finite = values.iter().filter(|w| w.is_finite());
            Ok::<_, Error>(finite.map(one).fold(Self::NONE, Self::and))
        })?;
        Ok(each.into_iter().fold(Self::NONE, Self::and))
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            largest: self.largest.max(other.largest),
            squares: self.squares + other.squares,
            count: self.count + other.count,
        }
    }

    /// Of the values. NaN if there are none.
    pub fn root_mean_square(self) -> f64 {
        (self.squares / self.count).sqrt()
    }
}

/// The length of a tensor's steps. Where it depends on the values and they are all the same, any will do.
fn length(length: StepLength, task: &TensorTask<'_>) -> Result<f64, Error> {
    let step = match length {
        StepLength::Length(step) => step,
        StepLength::Auto => Extent::of(task)?.root_mean_square() / 8.0,
        StepLength::Bits(bits) => {
            let Extent { least, largest, .. } = Extent::of(task)?;
            (largest - least) / f64::from((1u32 << bits) - 1)
        }
    };
    Ok(if step > 0.0 && step.is_finite() { step } else { 1.0 })
}

/// Checks the files of second moments against the tensors that they are for.
pub(in crate::pipeline) fn check_calibrations(
    resolved: &Resolved<'_>,
    prune: &PruneSettings,
    tasks: &Tasks<'_>,
    owns: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let rounded: BTreeMap<&str, (&TensorTask<'_>, Steps)> =
        tasks.iter().filter_map(|task| Some((task.name, (task, prune.steps(task.name)?)))).collect();
    for path in prune.calibrations() {
        let Some(file) = resolved.calibration(path) else { continue };
        let wrong = |tensor: &str, problem| Error::Calibration {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            problem: Box::new(problem),
        };
        for (name, tensor) in file.tensors() {
            let task = match rounded.get(name) {
                Some((task, _)) => task,
                // Second moments may be those of a whole model, of which some tensors are not rounded.
                None if resolved.trained()?.1.contains_key(name) => continue,
                None => return Err(wrong(name, CalibrationProblem::Unknown)),
            };
            if !owns(name) {
                continue;
            }
            check(task, &tensor).map_err(|problem| wrong(name, problem))?;
        }
        let mut with_it = rounded.iter().filter(|(_, (_, steps))| steps.calibration.as_deref() == Some(path));
        let is_of_use = with_it.clone().any(|(name, _)| file.tensor(name).is_some());
        if let Some((first, _)) = with_it.next().filter(|_| !is_of_use) {
            return Err(wrong(first, CalibrationProblem::Nothing));
        }
    }
    Ok(())
}

fn check(task: &TensorTask<'_>, moments: &TensorRef<'_>) -> Result<(), CalibrationProblem> {
    if task.shape.rank() < 2 {
        return Err(CalibrationProblem::Rank(task.shape.clone()));
    }
    let Some(Sides { inputs, is_by_output, .. }) = Sides::of(task) else {
        return Err(CalibrationProblem::Layout(task.layout.to_string()));
    };
    if !matches!(moments.float(), Some(FloatDtype::F32 | FloatDtype::F64)) {
        return Err(CalibrationProblem::Dtype(moments.dtype));
    }
    if moments.shape.dims() != [inputs, inputs] || inputs > blocks::BLOCK_ELEMENTS {
        let (shape, got) = (task.shape.clone(), moments.shape.clone());
        let place = if is_by_output { "first" } else { "last" };
        return Err(CalibrationProblem::Shape { inputs, shape, got, place });
    }
    Ok(())
}

/// Number of weights that are held at the same time if those of an output are not side by
/// side: 33 bytes each.
const STRIP: usize = 1 << 20;

/// The outputs of a layer and their inputs, including the elements of a kernel.
struct Sides {
    inputs: usize,
    outputs: usize,
    /// Whether the weights of an output are side by side.
    is_by_output: bool,
}

impl Sides {
    /// `None` for roles of dimensions, in which a tensor may have several matrices.
    fn of(task: &TensorTask<'_>) -> Option<Self> {
        let last = *task.shape.dims().last()?;
        let by_input = Self { inputs: task.elements() / last.max(1), outputs: last, is_by_output: false };
        match task.layout {
            Layout::OutIn => {
                Some(Self { inputs: task.matrix.cols, outputs: task.matrix.rows, is_by_output: true })
            }
            Layout::InOut => Some(by_input),
            Layout::Roles(_) => None,
        }
    }
}

/// A tensor to be rounded so that the outputs of its layer change least.
struct Compensation<'a> {
    floats: &'a Floats<'a>,
    choice: &'a Choice,
    moments: &'a Moments,
    step: f64,
    sides: Sides,
}

/// A weight before rounding, what it is predicted as, and the value that it gets if it is pruned.
#[derive(Clone, Copy)]
struct Weight {
    value: f64,
    prediction: f64,
    fixed: Option<f64>,
}

/// All values of a tensor, rounded so that the outputs of its layer change least, in the type in which they
/// are written. `None` if its second moments are not known.
pub(super) fn compensated(
    floats: &Floats<'_>,
    choice: &Choice,
    progress: &dyn Progress,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(Rounding { moments: Some((file, tensor)), kept, .. }) = floats.rounding else { return Ok(None) };
    let (Model::Steps { step, .. }, Some(dtype)) = (choice.model, tensor.float()) else { return Ok(None) };
    let Some(sides) = Sides::of(floats.task) else { return Ok(None) };
    let name = floats.task.name;
    let factor = || {
        let mut moments = vec![0.0; sides.inputs * sides.inputs];
        dtype.decode(tensor.bytes(), &mut moments);
        Moments::new(&moments, sides.inputs, &Threads).map_err(|problem| Error::Calibration {
            path: file.path().to_owned(),
            tensor: name.to_owned(),
            problem: Box::new(problem.into()),
        })
    };
    let moments = match kept {
        Some(kept) => kept.moments(file.path(), name, factor)?,
        None => Arc::new(factor()?),
    };
    let tensor = Compensation { floats, choice, moments: &moments, step, sides };
    if tensor.sides.is_by_output { tensor.by_blocks(progress) } else { tensor.by_strips(progress) }.map(Some)
}

/// Buffers of a thread.
#[derive(Default)]
struct Buffers {
    scratch: Scratch,
    weights: Vec<Weight>,
    row: Vec<f64>,
    errors: Vec<f64>,
}

impl Compensation<'_> {
    /// Rounds blocks, which consist of whole outputs.
    fn by_blocks(&self, progress: &dyn Progress) -> Result<Vec<u8>, Error> {
        let Self { floats, sides, .. } = self;
        let blocks: Vec<Block> = floats.task.blocks().collect();
        let reads = |block: &Block| floats.reads(block);
        let rounded = blocks::for_each(&blocks, progress, reads, Buffers::default, |buffers, block| {
            let Buffers { scratch, weights, row, errors } = buffers;
            self.weights(block, scratch, weights)?;
            let mut values = Vec::with_capacity(block.len);
            for output in weights.chunks(sides.inputs) {
                self.round(output.iter().copied(), row, errors);
                values.extend_from_slice(row);
            }
            let mut out = vec![0; block.len * floats.written.size()];
            floats.written.encode(&values, &mut out);
            Ok::<_, Error>(out)
        })?;
        Ok(rounded.concat())
    }

    /// Rounds a strip of outputs after the other, each gathered from all blocks.
    fn by_strips(&self, progress: &dyn Progress) -> Result<Vec<u8>, Error> {
        let Self { floats, sides: Sides { inputs, outputs, .. }, .. } = *self;
        let (size, width) = (floats.written.size(), (STRIP / inputs.max(1)).clamp(1, outputs.max(1)));
        let blocks: Vec<Block> = floats.task.blocks().collect();
        let mut out = vec![0; inputs * outputs * size];
        for first in (0..outputs).step_by(width) {
            let strip = first..(first + width).min(outputs);
            // Progress counts the tensor once.
            let told: &dyn Progress = if first == 0 { progress } else { &Silent };
            let reads = |block: &Block| floats.reads(block);
            let gathered = blocks::for_each(&blocks, told, reads, Buffers::default, |buffers, block| {
                let Buffers { scratch, weights, .. } = buffers;
                self.weights(block, scratch, weights)?;
                let here = weights
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| strip.contains(&((block.start + n) % outputs)));
                Ok::<_, Error>(here.map(|(_, weight)| *weight).collect::<Vec<Weight>>())
            })?;
            // Blocks are in storage order, so this is the strip's part of one input after the other.
            let gathered = gathered.concat();
            let numbers: Vec<usize> = (0..strip.len()).collect();
            let none = |_: &usize| Reads { bytes: 0, ..floats.reads(&blocks[0]) };
            let rounded = blocks::for_each(&numbers, &Silent, none, Buffers::default, |buffers, n| {
                let Buffers { row, errors, .. } = buffers;
                self.round(gathered.iter().skip(*n).step_by(strip.len()).copied(), row, errors);
                let mut bytes = vec![0; inputs * size];
                floats.written.encode(row, &mut bytes);
                Ok::<_, Error>(bytes)
            })?;
            for (output, bytes) in strip.zip(rounded) {
                for (input, value) in bytes.chunks(size).enumerate() {
                    let at = (input * outputs + output) * size;
                    out[at..at + size].copy_from_slice(value);
                }
            }
        }
        Ok(out)
    }

    /// The weights of a block.
    fn weights(&self, block: &Block, scratch: &mut Scratch, out: &mut Vec<Weight>) -> Result<(), Error> {
        let (fill, initial) = self.floats.fills(block);
        let input = self.floats.input(self.choice, block, scratch)?;
        let decoded = |bytes: &[u8]| {
            let mut values = Vec::new();
            decode(self.floats.written, bytes, block.len, &mut values);
            values
        };
        let (values, predictions) = (decoded(input.values), decoded(input.prediction));
        let fixed = |n: usize| match input.pruned.get(n) {
            None | Some(&KEPT) => None,
            Some(&PRUNED_TO_INITIAL) => Some(initial.get(n).copied().unwrap_or_default()),
            Some(_) => Some(fill.get(n).copied().unwrap_or_default()),
        };
        out.clear();
        out.extend((0..block.len).map(|n| Weight {
            value: values[n],
            prediction: predictions[n],
            fixed: fixed(n),
        }));
        Ok(())
    }

    /// Rounds the weights of an output.
    fn round(&self, weights: impl Iterator<Item = Weight>, row: &mut Vec<f64>, errors: &mut Vec<f64>) {
        let weights: Vec<Weight> = weights.collect();
        row.clear();
        row.extend(weights.iter().map(|weight| weight.value));
        self.moments.round_row(row, errors, |input, wanted| {
            let Weight { value, prediction, fixed } = weights[input];
            let wanted = wanted.unwrap_or(prediction);
            let nearest =
                || nearest_step(self.floats.written, self.step, wanted, prediction).unwrap_or(value);
            fixed.unwrap_or_else(nearest)
        });
    }
}

/// What rounding does to some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Losses {
    /// Sum of the squares of what it changes.
    pub errors: f64,
    /// Sum of the squares of the values.
    pub squares: f64,
    /// Number of values that become their starting point.
    pub at_start: u64,
}

impl Losses {
    pub fn add(&mut self, other: Self) {
        self.errors += other.errors;
        self.squares += other.squares;
        self.at_start += other.at_start;
    }
}

/// What rounding does to the kept finite values of a block; zeros if nothing is rounded. `trained` are the
/// values before any rounding.
pub(super) fn losses(form: Form, choice: &Choice, Prepared { trained, input, .. }: &Prepared<'_>) -> Losses {
    let mut found = Losses::default();
    let (Model::Steps { step, .. }, Some(dtype)) = (choice.model, form.float()) else { return found };
    let decoded = |bytes: &[u8]| {
        let mut out = Vec::new();
        decode(dtype, bytes, trained.len() / dtype.size(), &mut out);
        out
    };
    let (trained, values, predictions) = (decoded(trained), decoded(input.values), decoded(input.prediction));
    for (n, value) in trained.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        if input.pruned.get(n).is_some_and(|pruned| *pruned != KEPT) {
            continue;
        }
        let rounded = nearest_step(dtype, step, values[n], predictions[n]).unwrap_or(values[n]);
        let error = value - rounded;
        found.errors += error * error;
        found.squares += value * value;
        found.at_start += u64::from(rounded == predictions[n]);
    }
    found
}

/// Values of a block, zeros if there are none.
fn decode(dtype: FloatDtype, bytes: &[u8], len: usize, out: &mut Vec<f64>) {
    out.clear();
    out.resize(len, 0.0);
    if !bytes.is_empty() {
        dtype.decode(bytes, out);
    }
}
