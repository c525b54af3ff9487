//! Rounding to whole numbers of steps: the length of a tensor's steps, and rounding that compensates its
//! errors.

use std::collections::BTreeMap;

use super::floats::{Floats, Rounding, Scratch};
use crate::checkpoint::TensorRef;
use crate::codec::{BlockInput, Choice, Form, KEPT, Model, PRUNED_TO_INITIAL, nearest_step};
use crate::config::{PruneSettings, StepLength, Steps};
use crate::pipeline::blocks::{self, Block};
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
        Ok(Self { step: length(steps.step, task)?, over: steps.over, moments })
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
            let Some((task, _)) = rounded.get(name) else {
                return Err(wrong(name, CalibrationProblem::Unknown));
            };
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
    if task.layout != Layout::OutIn {
        return Err(CalibrationProblem::Layout(task.layout.to_string()));
    }
    if !matches!(moments.float(), Some(FloatDtype::F32 | FloatDtype::F64)) {
        return Err(CalibrationProblem::Dtype(moments.dtype));
    }
    let inputs = task.matrix.cols;
    if moments.shape.dims() != [inputs, inputs] || inputs > blocks::BLOCK_ELEMENTS {
        let (shape, got) = (task.shape.clone(), moments.shape.clone());
        return Err(CalibrationProblem::Shape { inputs, shape, got });
    }
    Ok(())
}

/// All values of a tensor, rounded so that the outputs of its layer change least, in the type in which they
/// are written. `None` if its second moments are not known.
pub(super) fn compensated(
    floats: &Floats<'_>,
    choice: &Choice,
    progress: &dyn Progress,
) -> Result<Option<Vec<u8>>, Error> {
    let Some((file, tensor)) = floats.rounding.and_then(|rounding| rounding.moments) else { return Ok(None) };
    let (Model::Steps { step, .. }, Some(dtype)) = (choice.model, tensor.float()) else { return Ok(None) };
    let inputs = floats.task.matrix.cols;
    let mut moments = vec![0.0; inputs * inputs];
    dtype.decode(tensor.bytes(), &mut moments);
    let moments = Moments::new(&moments, inputs, &Threads).map_err(|problem| Error::Calibration {
        path: file.path().to_owned(),
        tensor: floats.task.name.to_owned(),
        problem: Box::new(problem.into()),
    })?;
    let blocks: Vec<Block> = floats.task.blocks().collect();
    let rounded = blocks::for_each(
        &blocks,
        progress,
        |block| floats.reads(block),
        Buffers::default,
        |buffers, block| round_block(floats, choice, (&moments, step), block, buffers),
    )?;
    Ok(Some(rounded.concat()))
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
pub(super) fn losses(form: Form, choice: &Choice, trained: &[u8], input: BlockInput<'_>) -> Losses {
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

/// Buffers of a thread.
#[derive(Default)]
struct Buffers {
    scratch: Scratch,
    values: Vec<f64>,
    predictions: Vec<f64>,
    errors: Vec<f64>,
}

/// Rounds a block, which consists of whole rows.
fn round_block(
    floats: &Floats<'_>,
    choice: &Choice,
    (moments, step): (&Moments, f64),
    block: &Block,
    Buffers { scratch, values, predictions, errors }: &mut Buffers,
) -> Result<Vec<u8>, Error> {
    let (fill, initial) = floats.fills(block);
    let dtype = floats.written;
    let input = floats.input(choice, block, scratch)?;
    decode(dtype, input.values, block.len, values);
    decode(dtype, input.prediction, block.len, predictions);
    let width = moments.inputs();
    for (row, weights) in values.chunks_mut(width).enumerate() {
        let own = weights.to_vec();
        moments.round_row(weights, errors, |input_index, wanted| {
            let n = row * width + input_index;
            match input.pruned.get(n) {
                None | Some(&KEPT) => {}
                Some(&PRUNED_TO_INITIAL) => return initial.get(n).copied().unwrap_or_default(),
                Some(_) => return fill.get(n).copied().unwrap_or_default(),
            }
            let prediction = predictions[n];
            let wanted = wanted.unwrap_or(prediction);
            nearest_step(dtype, step, wanted, prediction).unwrap_or(own[input_index])
        });
    }
    let mut out = vec![0; input.values.len()];
    dtype.encode(values, &mut out);
    Ok(out)
}

/// Values of a block, zeros if there are none.
fn decode(dtype: FloatDtype, bytes: &[u8], len: usize, out: &mut Vec<f64>) {
    out.clear();
    out.resize(len, 0.0);
    if !bytes.is_empty() {
        dtype.decode(bytes, out);
    }
}
