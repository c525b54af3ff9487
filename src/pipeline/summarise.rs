//! Builds the report from the results of the stages.

use std::collections::BTreeMap;

use super::compare::ComparedTensor;
use super::gone::Gone;
use super::origin::{Action, Origin, Tensor};
use super::outcome::{Pruned, PrunedResult, Rounded};
use super::start::Told;
use super::task::ByTensor;
use crate::analysis::{Calibration, DeltaStats, Evidence};
use crate::checkpoint::Checkpoint;
use crate::config::Settings;
use crate::noise::NOISE_VERSION;
use crate::report::{Changes, Drift, Report, ReportTensor, RoundingError, Totals, share};
use crate::tensor::FloatDtype;

/// Results of the stages, for each tensor in name order.
pub(super) struct Findings<'f> {
    pub calibrations: ByTensor<Calibration>,
    /// The evidence for settings that were inferred from the weights.
    pub evidence: Vec<Evidence>,
    pub compared: Vec<ComparedTensor>,
    pub told: Told,
    /// Results and effect of pruning, if it was done.
    pub pruned: Option<(&'f Pruned, &'f [Gone])>,
    /// Bytes of the trained checkpoint's files.
    pub trained_bytes: u64,
}

/// Results for one tensor.
struct Found<'f> {
    name: &'f str,
    tensor: &'f Tensor,
    compared: ComparedTensor,
    /// Of the comparison, if the tensor was compared.
    calibration: Option<Calibration>,
    started_here: Option<bool>,
    /// Of pruning, if it was done.
    result: Option<PrunedResult>,
    /// The effect of pruning. `None` for a tensor that became smaller, because removing units removes more
    /// weights than the masks show.
    gone: Option<Gone>,
}

impl<'f> Findings<'f> {
    /// The results for one tensor, by its index. The comparison's are moved: a report is large.
    fn of(&mut self, n: usize, name: &'f str, tensor: &'f Tensor) -> Found<'f> {
        let compared = std::mem::take(&mut self.compared[n]);
        let calibration = self.calibrations.get(n).filter(|_| compared.compared).copied();
        let result = self.pruned.map(|(pruned, _)| pruned.tensors[n]);
        let shown = result.is_some_and(|result| result.action == Action::Prune && !result.smaller);
        Found {
            name,
            tensor,
            compared,
            calibration,
            started_here: self.told.tensors[n],
            result,
            gone: self.pruned.map(|(_, gone)| gone[n]).filter(|_| shown),
        }
    }
}

/// Combines the results of the comparison, and of pruning if it was done, into a report.
pub(super) fn summarise<'f>(
    settings: &Settings,
    tensors: &'f BTreeMap<String, Tensor>,
    mut findings: Findings<'f>,
) -> Report {
    let mut sums = Sums::default();
    let mut rows = Vec::with_capacity(tensors.len());
    for (n, (name, tensor)) in tensors.iter().enumerate() {
        let found = findings.of(n, name, tensor);
        sums.add(&found);
        rows.push(found.row(settings));
    }
    let pruned = findings.pruned.map(|(pruned, _)| pruned);
    Report {
        version: 1,
        seed: settings.seed,
        noise_version: NOISE_VERSION,
        config_sha256: settings.config_sha256.clone(),
        fill: settings.prune.as_ref().filter(|prune| pruned.is_some() && !prune.keep).map(|prune| prune.fill),
        totals: sums.totals(pruned.map(|pruned| pruned.written.bytes), findings.trained_bytes),
        start: Some(findings.told.start),
        evidence: findings.evidence,
        gates: Vec::new(),
        tune: None,
        removed: Vec::new(),
        tensors: rows,
    }
}

/// Totals over all tensors.
#[derive(Default)]
struct Sums {
    /// Totals of floating-point tensors, and of those that were compared.
    all: DeltaStats,
    known: DeltaStats,
    sleeping_rows: u64,
    sleeping_columns: u64,
    pruned_weights: u64,
    pruned_changed: u64,
    squares: f64,
    all_squares: f64,
}

impl Sums {
    fn add(&mut self, found: &Found<'_>) {
        let Found { tensor, compared, result, gone, .. } = found;
        if FloatDtype::of(tensor.dtype).is_some() {
            self.all.merge(&compared.stats);
            self.pruned_weights += result.map_or(0, |result| result.pruned);
            self.pruned_changed += gone.and_then(|gone| gone.changed).unwrap_or(0);
            self.squares += gone.map_or(0.0, |gone| gone.squares);
            self.all_squares += gone.map_or(0.0, |gone| gone.all_squares);
        }
        if compared.compared {
            self.known.merge(&compared.stats);
            self.sleeping_rows += compared.sleeping_rows;
            self.sleeping_columns += compared.sleeping_columns;
        }
    }

    /// With the bytes of the pruned file, if there is one.
    fn totals(&self, pruned_bytes: Option<u64>, trained_bytes: u64) -> Totals {
        let Self { all, known, .. } = self;
        let pruned = pruned_bytes.map(|_| self);
        Totals {
            total_weights: all.total,
            compared_weights: known.total,
            changes: Changes::new(known),
            sleeping_rows: Some(self.sleeping_rows),
            sleeping_columns: Some(self.sleeping_columns),
            zeros: Some(all.zeros),
            not_finite: Some(all.not_finite),
            pruned_weights: pruned.map(|sums| sums.pruned_weights),
            pruned_changed_weights: pruned.map(|sums| sums.pruned_changed),
            pruned_norm_share: pruned.map(|sums| part(sums.squares, sums.all_squares)),
            sparsity: pruned.map(|sums| share(sums.pruned_weights, all.total)),
            trained_bytes: Some(trained_bytes),
            pruned_bytes,
            pruned_bytes_share: pruned_bytes.map(|bytes| share(bytes, trained_bytes)),
        }
    }
}

impl Found<'_> {
    /// Its row in the report.
    fn row(self, settings: &Settings) -> ReportTensor {
        let Self { name, tensor, compared, calibration, result, gone, started_here } = self;
        let (stats, is_compared) = (&compared.stats, compared.compared);
        let (origin, total) = (tensor.origin.as_ref(), tensor.shape.elements() as u64);
        let is_float = FloatDtype::of(tensor.dtype).is_some();
        let units = compared.sleeping_units.filter(|_| is_compared);
        let pruned = result.filter(|result| result.action == Action::Prune);
        let prune = settings.prune.as_ref();
        let casts = prune.is_some_and(|prune| prune.dtype.is_some());
        let decision = prune.filter(|_| pruned.is_some()).and_then(|prune| prune.decision(name));
        let drift = || Drift::new(stats.finite, &compared.moments, &compared.spread);
        ReportTensor {
            name: name.to_owned(),
            layer_id: origin.and_then(|origin| origin.layer),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.dims().to_vec(),
            init: origin.map(Origin::init_text),
            rule: origin.map(|origin| origin.rule.clone()),
            total_weights: total,
            changes: if is_compared { Changes::new(stats) } else { Changes::default() },
            threshold: calibration.map(|found| found.threshold),
            decay: calibration.map(|found| found.decay),
            evidence: calibration.and_then(|found| found.evidence),
            own_evidence: calibration.and_then(|found| found.evidence.map(|_| found.own)),
            sleeping_rows: is_compared.then_some(compared.sleeping_rows),
            sleeping_columns: is_compared.then_some(compared.sleeping_columns),
            zeros: is_float.then_some(stats.zeros),
            not_finite: is_float.then_some(stats.not_finite),
            sleeping_outputs: units.map(|units| units.outputs),
            sleeping_inputs: units.map(|units| units.inputs),
            sleeping_scattered: is_compared.then(|| scattered(tensor, &compared)),
            nan_share: is_float.then(|| share(stats.nan, total)),
            infinite_share: is_float.then(|| share(stats.not_finite - stats.nan, total)),
            zero_share: is_float.then(|| share(stats.zeros, total)),
            drift: if is_compared { drift() } else { Drift::default() },
            started_here,
            action: result.map(|result| result.action.name().to_owned()),
            criterion: decision.map(|decision| decision.criterion.to_string()),
            pruned_weights: result.map(|result| result.pruned),
            pruned_changed_weights: gone.and_then(|gone| gone.changed),
            pruned_norm_share: gone.map(|gone| part(gone.squares, gone.all_squares)),
            sparsity: result.map(|result| share(result.pruned, total)),
            overflowed_weights: pruned.filter(|_| casts).map(|result| result.overflowed),
            rounding: result.and_then(|result| result.rounded).map(
                |Rounded { step, errors, squares, at_start }| RoundingError {
                    step,
                    error: part(errors, squares).sqrt(),
                    at_start,
                },
            ),
        }
    }
}

/// Bytes of a checkpoint's files, without an index.
pub(super) fn trained_bytes(checkpoint: &Checkpoint) -> u64 {
    (0..checkpoint.shards().count()).map(|n| checkpoint.whole_file(n).len() as u64).sum()
}

/// A sum of squares as a share of the total; 0 if the total is 0. (The sums may overflow.)
fn part(squares: f64, of: f64) -> f64 {
    let share = squares / of;
    if share.is_finite() { share } else { 0.0 }
}

/// Sleeping weights outside outputs and inputs in which every weight sleeps.
fn scattered(tensor: &Tensor, found: &ComparedTensor) -> u64 {
    let sleeping = found.stats.sleeping();
    let Some(units) = found.sleeping_units else { return sleeping };
    // An output has fan-in weights: one for each kernel element of each input.
    let (fan_in, fan_out) = tensor.shape.fans(tensor.layout());
    let whole = u128::from(units.outputs) * fan_in as u128 + u128::from(units.inputs) * fan_out as u128
        - u128::from(units.crossed);
    u64::try_from(u128::from(sleeping).saturating_sub(whole)).unwrap_or(sleeping)
}
