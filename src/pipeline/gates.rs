//! Checks the gates against the results of the stages.

use super::error::Error;
use crate::gates::{GateResult, Gates, Measured, MeasuredStart, MeasuredTensor, check};
use crate::report::Report;

/// Every gate for which the stages have a result.
pub(super) fn check_gates(
    gates: &Gates,
    report: &Report,
    output_bytes: Option<u64>,
    metric_drop: Option<f64>,
) -> Vec<GateResult> {
    let tensors = report.tensors.iter().filter_map(|t| {
        Some(MeasuredTensor {
            name: &t.name,
            weights: t.total_weights,
            pruned: t.pruned_weights,
            not_finite: t.not_finite?,
        })
    });
    let start = report.start.as_ref().map(|start| MeasuredStart {
        cosine: start.cosine.unwrap_or(0.0),
        significant: start.significant.unwrap_or(1.0),
        tensor: start.tensor.as_deref(),
    });
    check(gates, &Measured { tensors: tensors.collect(), output_bytes, start, metric_drop })
}

/// The gates that failed, as an error.
///
/// # Errors
/// [`Error::Gates`] if one failed.
pub fn passed(results: &[GateResult]) -> Result<(), Error> {
    let failed: Vec<GateResult> = results.iter().filter(|result| !result.passed).cloned().collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::Gates { failed, of: results.len() }) }
}
