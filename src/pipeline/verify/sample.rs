//! Restores some rows of a pruned checkpoint and compares them with the trained ones: every weight must be
//! the trained weight, or the value of its fill.

use std::path::Path;

use super::differ::first_weight;
use crate::config::PruneSettings;
use crate::pipeline::calibrate::{Calibrated, calibrate};
use crate::pipeline::error::{Error, VerifyProblem};
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::TensorTask;
use crate::pipeline::team::Team;
use crate::reader::{Limits, PrunedReader};
use crate::sparse::{Fill, fillmask};
use crate::tensor::{FloatDtype, cast};
use crate::workers::Threads;

/// A tensor whose rows are compared.
struct Sampled<'a> {
    task: &'a TensorTask<'a>,
    /// Type of the values written.
    written: FloatDtype,
    /// Number of rows of the tensors before it.
    first: u64,
}

/// Checks `rows` rows, evenly spaced over all rows of the pruned tensors, or all if there are fewer.
/// Returns their number.
pub(super) fn check_rows(
    resolved: &Resolved<'_>,
    written: &Path,
    base: Option<&Path>,
    rows: u64,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let file = PrunedReader::open_on(&Threads, written, base, Limits::NONE, resolved.options())?;
    let Calibrated { tasks, .. } = calibrate(resolved, &Team::alone(), progress)?;
    let (_, tensors) = resolved.trained()?;
    let prune = resolved.settings.prune.as_ref();
    let wrong = |problem| Error::Verify { path: written.to_owned(), problem: Box::new(problem) };
    let mut sampled = Vec::new();
    let mut total = 0u64;
    for (n, name) in tensors.keys().enumerate() {
        let Some((dtype, shape)) = file.tensor(name) else {
            return Err(wrong(VerifyProblem::TensorMissing(name.clone())));
        };
        if let (Some(task), Some(written), false) =
            (tasks.get(n), FloatDtype::of(dtype), is_chained(prune, name))
        {
            sampled.push(Sampled { task, written, first: total });
            total += shape.matrix().rows as u64;
        }
    }
    let rows = rows.min(total);
    for turn in 0..rows {
        // The middle row of each of as many equal parts.
        let at = ((2 * u128::from(turn) + 1) * u128::from(total) / (2 * u128::from(rows))) as u64;
        let Sampled { task, written, first } = &sampled[sampled.partition_point(|s| s.first <= at) - 1];
        let row = (at - first) as usize;
        let mut got = vec![0; task.matrix.cols * written.size()];
        if let Err(problem) = file.read_rows(task.name, row..row + 1, &mut got) {
            return Err(wrong(VerifyProblem::Rows(problem)));
        }
        let expected = expected(task, *written, prune, row, &got);
        if let Some(problem) = first_weight(task.name, row, *written, &expected, &got) {
            return Err(wrong(problem));
        }
    }
    Ok(rows)
}

/// If units were removed, the layers of chains differ in their shapes, or in constants added to their biases.
fn is_chained(prune: Option<&PruneSettings>, name: &str) -> bool {
    let mut layers = prune.into_iter().flat_map(|prune| &prune.chains).flat_map(|chain| &chain.layers);
    layers.any(|layer| name.strip_prefix(layer.as_str()).is_some_and(|rest| rest.starts_with('.')))
}

/// The expected row: the trained one, except for pruned weights. Which weights are pruned is read from the
/// row itself, unless the threshold alone decides.
fn expected(
    task: &TensorTask<'_>,
    written: FloatDtype,
    prune: Option<&PruneSettings>,
    row: usize,
    got: &[u8],
) -> Vec<u8> {
    let (columns, dtype, size) = (task.matrix.cols, task.dtype, written.size());
    let bytes = task.trained.part(row * columns * dtype.size()..(row + 1) * columns * dtype.size()).bytes();
    let mut trained = Vec::new();
    cast(bytes, dtype, written, &mut trained);
    let Some(prune) = prune.filter(|_| task.decision.is_some()) else { return trained };
    let mut expected = trained.clone();
    let (mut w, mut w0) = (vec![0.0; columns], vec![0.0; columns]);
    dtype.decode(bytes, &mut w);
    if let Some(initial) = &task.initial {
        initial.whole().into_iter().for_each(|whole| whole.prepare_on(&Threads));
        task.fill(row * columns, &mut w0);
        w0.iter_mut().for_each(|w0| *w0 *= task.calibration.decay);
    }
    let (comparison, by_threshold) = (task.comparison(), task.pruned_by_comparison());
    let mut fill = vec![0; size];
    for (column, (w, w0)) in w.iter().zip(&w0).enumerate() {
        let place = column * size..(column + 1) * size;
        let is_trained = got[place.clone()] == trained[place.clone()];
        let sleeps = || task.initial.is_some() && comparison.sleeps(*w, *w0, (w - w0).abs());
        if if by_threshold { !sleeps() } else { is_trained } {
            continue;
        }
        let value = match prune.fill {
            Fill::Zero => 0.0,
            Fill::Init => *w0,
            Fill::Nearest if fillmask::takes_initial(*w, *w0) => *w0,
            Fill::Nearest => 0.0,
        };
        written.encode(&[value], &mut fill);
        // A zero whose sign differs from that of its initial value is stored.
        if !is_trained || (*w, *w0) != (0.0, 0.0) {
            expected[place].copy_from_slice(&fill);
        }
    }
    expected
}
