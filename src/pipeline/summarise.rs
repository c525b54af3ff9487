//! From what the stages found to the report.

use std::collections::BTreeMap;

use super::calibrate::Calibrated;
use super::compare::ComparedTensor;
use super::gone::Gone;
use super::origin::{Action, Tensor};
use super::outcome::Pruned;
use super::start::Told;
use crate::analysis::DeltaStats;
use crate::checkpoint::Checkpoint;
use crate::config::Settings;
use crate::noise::NOISE_VERSION;
use crate::report::{Changes, Drift, Report, ReportTensor, Totals, share};
use crate::tensor::FloatDtype;

/// What the stages found; of each tensor in name order.
pub(super) struct Findings<'f> {
    pub calibrated: &'f Calibrated<'f>,
    pub compared: &'f [ComparedTensor],
    pub told: Told,
    /// What pruning did and what went, where it was done.
    pub pruned: Option<(&'f Pruned, &'f [Gone])>,
    /// Bytes of the trained checkpoint's files.
    pub trained_bytes: u64,
}

/// Puts together what the comparison, and pruning where it was done, found of the trained checkpoint's tensors.
pub(super) fn summarise(
    settings: &Settings,
    tensors: &BTreeMap<String, Tensor>,
    findings: Findings<'_>,
) -> Report {
    let Findings { calibrated, compared, told, pruned, trained_bytes } = findings;
    let mut rows = Vec::with_capacity(tensors.len());
    let (mut all, mut known) = (DeltaStats::default(), DeltaStats::default());
    let casts = settings.prune.as_ref().is_some_and(|prune| prune.dtype.is_some());
    let (mut sleeping_rows, mut sleeping_columns, mut pruned_weights) = (0, 0, 0);
    let (mut pruned_changed, mut squares, mut all_squares) = (0, 0.0, 0.0);
    for (n, (name, tensor)) in tensors.iter().enumerate() {
        let found = &compared[n];
        let result = pruned.map(|(pruned, _)| pruned.tensors[n]);
        let action_pruned = result.is_some_and(|r| r.action == Action::Prune);
        // What goes with units is more than the masks say.
        let gone = pruned
            .map(|(_, gone)| gone[n])
            .filter(|_| result.is_some_and(|r| r.action == Action::Prune && !r.smaller));
        let float = FloatDtype::of(tensor.dtype).is_some();
        let origin = tensor.origin.as_ref();
        if float {
            all.merge(&found.stats);
            pruned_weights += result.map_or(0, |r| r.pruned);
            pruned_changed += gone.and_then(|gone| gone.changed).unwrap_or(0);
            squares += gone.map_or(0.0, |gone| gone.squares);
            all_squares += gone.map_or(0.0, |gone| gone.all_squares);
        }
        if found.compared {
            known.merge(&found.stats);
            sleeping_rows += found.sleeping_rows;
            sleeping_columns += found.sleeping_columns;
        }
        let total = tensor.shape.elements() as u64;
        let task = calibrated.tasks.get(n).filter(|_| found.compared);
        let judged = task.map(|task| task.calibration);
        let units = found.sleeping_units.filter(|_| found.compared);
        rows.push(ReportTensor {
            name: name.clone(),
            layer_id: origin.and_then(|o| o.layer),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.dims().to_vec(),
            init: origin.map(|o| o.init_text()),
            rule: origin.map(|o| o.rule.clone()),
            total_weights: total,
            changes: if found.compared { Changes::new(&found.stats) } else { Changes::default() },
            threshold: judged.map(|judged| judged.threshold),
            decay: judged.map(|judged| judged.decay),
            evidence: judged.and_then(|judged| judged.evidence),
            own_evidence: judged.and_then(|judged| judged.evidence.map(|_| judged.own)),
            sleeping_rows: found.compared.then_some(found.sleeping_rows),
            sleeping_columns: found.compared.then_some(found.sleeping_columns),
            zeros: float.then_some(found.stats.zeros),
            not_finite: float.then_some(found.stats.not_finite),
            sleeping_outputs: units.map(|units| units.outputs),
            sleeping_inputs: units.map(|units| units.inputs),
            sleeping_scattered: found.compared.then(|| scattered(tensor, found)),
            nan_share: float.then(|| share(found.stats.nan, total)),
            infinite_share: float.then(|| share(found.stats.not_finite - found.stats.nan, total)),
            zero_share: float.then(|| share(found.stats.zeros, total)),
            drift: if found.compared {
                Drift::new(found.stats.finite, &found.moments, &found.spread)
            } else {
                Drift::default()
            },
            started_here: told.tensors[n],
            action: result.map(|r| r.action.name().to_owned()),
            criterion: settings
                .prune
                .as_ref()
                .filter(|_| action_pruned)
                .and_then(|prune| prune.decision(name))
                .map(|decision| decision.criterion.to_string()),
            pruned_weights: result.map(|r| r.pruned),
            pruned_changed_weights: gone.and_then(|gone| gone.changed),
            pruned_norm_share: gone.map(|gone| part(gone.squares, gone.all_squares)),
            sparsity: result.map(|r| share(r.pruned, total)),
            overflowed_weights: result.filter(|r| casts && r.action == Action::Prune).map(|r| r.overflowed),
        });
    }
    let pruned_bytes = pruned.map(|(pruned, _)| pruned.written.bytes);
    let totals = Totals {
        total_weights: all.total,
        compared_weights: known.total,
        changes: Changes::new(&known),
        sleeping_rows: Some(sleeping_rows),
        sleeping_columns: Some(sleeping_columns),
        zeros: Some(all.zeros),
        not_finite: Some(all.not_finite),
        pruned_weights: pruned.map(|_| pruned_weights),
        pruned_changed_weights: pruned.map(|_| pruned_changed),
        pruned_norm_share: pruned.map(|_| part(squares, all_squares)),
        sparsity: pruned.map(|_| share(pruned_weights, all.total)),
        trained_bytes: Some(trained_bytes),
        pruned_bytes,
        pruned_bytes_share: pruned_bytes.map(|bytes| share(bytes, trained_bytes)),
    };
    Report {
        version: 1,
        seed: settings.seed,
        noise_version: NOISE_VERSION,
        config_sha256: settings.config_sha256.clone(),
        fill: settings.prune.as_ref().filter(|_| pruned.is_some()).map(|prune| prune.fill),
        totals,
        start: Some(told.start),
        evidence: calibrated.evidence.clone(),
        gates: Vec::new(),
        tune: None,
        removed: Vec::new(),
        tensors: rows,
    }
}

/// Bytes of a checkpoint's files, an index not counted.
pub(super) fn trained_bytes(checkpoint: &Checkpoint) -> u64 {
    (0..checkpoint.shards().count()).map(|n| checkpoint.whole_file(n).bytes().len() as u64).sum()
}

/// A sum of squares by one that it is a part of, 0 of nothing. (Squares may be beyond the range of reals.)
fn part(squares: f64, of: f64) -> f64 {
    let share = squares / of;
    if share.is_finite() { share } else { 0.0 }
}

/// Sleeping weights outside outputs and inputs that sleep whole.
fn scattered(tensor: &Tensor, found: &ComparedTensor) -> u64 {
    let sleeping = found.stats.sleeping();
    let Some(units) = found.sleeping_units else { return sleeping };
    // An output has one weight for each of its inputs' places, the fan-in.
    let (fan_in, fan_out) = tensor.shape.fans(tensor.layout());
    let whole = u128::from(units.outputs) * fan_in as u128 + u128::from(units.inputs) * fan_out as u128
        - u128::from(units.crossed);
    u64::try_from(u128::from(sleeping).saturating_sub(whole)).unwrap_or(sleeping)
}
