//! Some rows of a pruned checkpoint, restored and held against the trained ones: every weight is the trained one, or what its
//! fill says.

use std::path::Path;

use super::error::Error;
use super::progress::Progress;
use super::resolve::Resolved;
use super::survey::judge;
use super::verify::first_weight;
use super::verify_problem::VerifyProblem;
use crate::analysis::Comparison;
use crate::prune::Decision;
use crate::reader::{Limits, PrunedReader};
use crate::sparse::{Fill, fillmask};
use crate::tensor::{FloatDtype, cast};
use crate::workers::Threads;

/// Checks `rows` rows, evenly spaced over all rows of the pruned tensors; all of them where there are fewer. Gives how many.
pub(super) fn check_rows(
    resolved: &Resolved<'_>,
    written: &Path,
    base: Option<&Path>,
    rows: u64,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let file = PrunedReader::open_on(&Threads, written, base, Limits::NONE)?;
    let judgement = judge(resolved, progress)?;
    let prune = resolved.settings.prune.as_ref();
    let wrong = |problem| Error::Verify { path: written.to_owned(), problem: Box::new(problem) };
    // Layers of chains are others where units were removed, in their shapes or in what their biases took up.
    let chained = |name: &str| {
        let layers = prune.into_iter().flat_map(|prune| &prune.chains).flat_map(|chain| &chain.layers);
        layers
            .into_iter()
            .any(|layer| name.strip_prefix(layer.as_str()).is_some_and(|rest| rest.starts_with('.')))
    };
    let mut places = Vec::new();
    let mut total = 0u64;
    for (n, (name, tensor)) in tensors.iter().enumerate() {
        let Some((dtype, shape)) = file.tensor(name) else {
            return Err(wrong(VerifyProblem::TensorMissing(name.clone())));
        };
        if let (Some(from), Some(to), false) =
            (FloatDtype::of(tensor.dtype), FloatDtype::of(dtype), chained(name))
        {
            places.push((n, name, tensor, from, to, total));
            total += shape.matrix().rows as u64;
        }
    }
    let rows = rows.min(total);
    for turn in 0..rows {
        // In the middle of each of as many equal parts.
        let at = ((2 * u128::from(turn) + 1) * u128::from(total) / (2 * u128::from(rows))) as u64;
        let place = places.partition_point(|(.., first)| *first <= at) - 1;
        let (n, name, tensor, from, to, first) = places[place];
        let row = (at - first) as usize;
        let columns = tensor.shape.matrix().cols;
        let mut got = vec![0; columns * to.size()];
        if let Err(problem) = file.read_rows(name, row..row + 1, &mut got) {
            return Err(wrong(VerifyProblem::Rows(problem)));
        }
        let Some(data) = checkpoint.tensor(name) else { continue };
        let bytes = data.data.part(row * columns * from.size()..(row + 1) * columns * from.size()).bytes();
        let mut trained = Vec::new();
        cast(bytes, from, to, &mut trained);
        let mut expected = trained.clone();
        let decision = prune.and_then(|prune| prune.decision(name));
        let by_threshold = decision.is_some_and(Decision::is_threshold_of_weights);
        let pruned = tensor.action == super::origin::Action::Prune;
        if let (Some(prune), true) = (prune, pruned) {
            let mut w = vec![0.0; columns];
            from.decode(bytes, &mut w);
            let decided = &judgement.tensors[n];
            let mut w0 = vec![0.0; columns];
            let known = resolved.initial(name, tensor).map(|initial| {
                initial.whole().into_iter().for_each(|whole| whole.prepare_on(&Threads));
                initial.fill(row * columns, Some(from), &mut w0);
                w0.iter_mut().for_each(|w0| *w0 *= decided.decay);
            });
            let comparison = Comparison::new(decided.threshold, decided.decay, from);
            let size = to.size();
            let mut fill = vec![0; size];
            for column in 0..columns {
                let place = column * size..(column + 1) * size;
                if got[place.clone()] == trained[place.clone()] && !by_threshold {
                    continue;
                }
                let sleeps = known.is_some()
                    && comparison.sleeps(w[column], w0[column], (w[column] - w0[column]).abs());
                if by_threshold && !sleeps {
                    continue;
                }
                let value = match prune.fill {
                    Fill::Zero => 0.0,
                    Fill::Init => w0[column],
                    Fill::Nearest if fillmask::takes_initial(w[column], w0[column]) => w0[column],
                    Fill::Nearest => 0.0,
                };
                to.encode(&[value], &mut fill);
                // A zero of the other sign than its initial zero is stored.
                if got[place.clone()] != trained[place.clone()] || (w[column], w0[column]) != (0.0, 0.0) {
                    expected[place].copy_from_slice(&fill);
                }
            }
        }
        if let Some(problem) = first_weight(name, row, to, &expected, &got) {
            return Err(wrong(problem));
        }
    }
    Ok(rows)
}
