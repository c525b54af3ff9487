//! What a report says of where its checkpoint started.

use super::model::{Report, ReportTensor};
use super::start::against_chance;
use crate::analysis::StartCosine;

/// What is said of a checkpoint that does not seem to have started here, as a sentence; `None` of any other.
pub fn start_words(report: &Report) -> Option<String> {
    let words = report.start.as_ref()?.words()?;
    let mut chars = words.chars();
    let first = chars.next()?;
    Some(format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

/// Whether a tensor's standard deviation may be held against the initial one: not where nothing says
/// that it started there.
pub fn std_tells(report: &Report, tensor: &ReportTensor) -> bool {
    match report.start.as_ref().map(|start| start.started_here) {
        Some(Some(started_here)) => started_here,
        Some(None) => tensor.drift.centred_cosine.is_none() || tensor.started_here == Some(true),
        None => true,
    }
}

/// A word on a tensor among others that started here.
pub(super) fn of_tensor(tensor: &ReportTensor) -> String {
    let cosine = tensor.drift.centred_cosine.unwrap_or(0.0);
    let weights = tensor.total_weights - tensor.not_finite.unwrap_or(0).min(tensor.total_weights);
    let told = StartCosine::of_tensor(cosine, weights);
    let chance = if cosine < told.chance { told.chance } else { told.significant };
    format!(" ({})", against_chance(cosine, chance, weights))
}
