//! From what the stages found to the report.

use std::collections::BTreeMap;

use super::compare::{Compared, ComparedTensor};
use super::origin::{Action, Tensor};
use super::prune::PrunedResult;
use super::survey::Judgement;
use crate::analysis::DeltaStats;
use crate::config::Settings;
use crate::noise::NOISE_VERSION;
use crate::report::{Changes, Drift, Report, ReportTensor, Totals, share};
use crate::tensor::FloatDtype;

/// Puts together what the comparison, and pruning where it was done, found of the trained checkpoint's tensors.
pub fn summarise(
    settings: &Settings,
    tensors: &BTreeMap<String, Tensor>,
    judgement: &Judgement,
    compared: &Compared,
    pruned: Option<&[PrunedResult]>,
) -> Report {
    let mut rows = Vec::with_capacity(tensors.len());
    let (mut all, mut known) = (DeltaStats::default(), DeltaStats::default());
    let casts = settings.prune.as_ref().is_some_and(|prune| prune.dtype.is_some());
    let (mut sleeping_rows, mut sleeping_columns, mut pruned_weights) = (0, 0, 0);
    for (n, (name, tensor)) in tensors.iter().enumerate() {
        let found = &compared.tensors[n];
        let result = pruned.map(|p| p[n]);
        let float = FloatDtype::of(tensor.dtype).is_some();
        let origin = tensor.origin.as_ref();
        if float {
            all.merge(&found.stats);
            pruned_weights += result.map_or(0, |r| r.pruned);
        }
        if found.compared {
            known.merge(&found.stats);
            sleeping_rows += found.sleeping_rows;
            sleeping_columns += found.sleeping_columns;
        }
        let total = tensor.shape.elements() as u64;
        let judged = &judgement.tensors[n];
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
            threshold: found.compared.then_some(judged.threshold),
            decay: found.compared.then_some(judged.decay),
            evidence: judged.evidence.filter(|_| found.compared),
            own_evidence: judged.evidence.filter(|_| found.compared).map(|_| judged.own),
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
            action: result.map(|r| r.action.name().to_owned()),
            pruned_weights: result.map(|r| r.pruned),
            sparsity: result.map(|r| share(r.pruned, total)),
            overflowed_weights: result.filter(|r| casts && r.action == Action::Prune).map(|r| r.overflowed),
        });
    }
    let totals = Totals {
        total_weights: all.total,
        compared_weights: known.total,
        changes: Changes::new(&known),
        sleeping_rows: Some(sleeping_rows),
        sleeping_columns: Some(sleeping_columns),
        zeros: Some(all.zeros),
        not_finite: Some(all.not_finite),
        pruned_weights: pruned.map(|_| pruned_weights),
        sparsity: pruned.map(|_| share(pruned_weights, all.total)),
    };
    Report {
        version: 1,
        seed: settings.seed,
        noise_version: NOISE_VERSION,
        config_sha256: settings.config_sha256.clone(),
        fill: settings.prune.as_ref().filter(|_| pruned.is_some()).map(|prune| prune.fill),
        totals,
        evidence: judgement.evidence.clone(),
        gates: Vec::new(),
        tune: None,
        removed: Vec::new(),
        tensors: rows,
    }
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
