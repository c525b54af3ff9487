//! Comparison of two reports, of two training steps or two recipes.

mod narrative;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::model::{Report, ReportTensor};
use super::verdict::proof;
use crate::analysis::Threshold;

pub(super) use narrative::warnings_with;
pub use narrative::{verdict, warnings};
pub use rows::{ComparisonRow, decayed, rows, totals};

/// Two reports side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportComparison {
    /// The first report's origin.
    pub old: Origin,
    /// The second's.
    pub new: Origin,
    /// Whether counts of sleeping weights can be compared in every tensor that both have.
    pub comparable: bool,
    /// Tensors of the first report that the second does not have.
    pub only_in_old: Vec<String>,
    /// Tensors of the second report that the first does not have.
    pub only_in_new: Vec<String>,
    /// The tensors of both, in name order.
    pub tensors: Vec<TensorComparison>,
}

/// What a report is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The seed.
    pub seed: u64,
    /// Version of the noise function.
    pub noise_version: u32,
    /// Digest of the config.
    pub config_sha256: String,
}

/// One tensor of both reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorComparison {
    /// Its name.
    pub name: String,
    /// What is not the same: `shape`, `dtype`, `init`, `threshold`, `decay`.
    pub differs: Vec<Difference>,
    /// Whether the counts of sleeping weights can be compared: by one threshold and factor, or, whatever
    /// these are, each time those that the weights themselves tell from live ones.
    pub comparable: bool,
    /// The first report's figures.
    pub old: Figures,
    /// The second's.
    pub new: Figures,
    /// How many more weights are awake; below 0 fewer. `None` where counts cannot be compared.
    pub awakened: Option<i64>,
    /// Figures of the second report in parts of the first's.
    pub ratio: Ratios,
}

/// What two tensors may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// The shape: nothing else is compared then.
    Shape,
    /// The stored type.
    Dtype,
    /// The initialisation or its layer id.
    Init,
    /// The threshold.
    Threshold,
    /// The factor on the initial values.
    Decay,
}

/// A tensor's figures in one report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: String,
    /// Its weights.
    pub total_weights: u64,
    /// Sleeping ones.
    pub sleeping_weights: Option<u64>,
    /// Their share, 0 … 100.
    pub sleeping_percentage: Option<f64>,
    /// Mean |delta|.
    pub mean_delta: Option<f64>,
    /// Largest |delta|.
    pub max_delta: Option<f64>,
    /// Standard deviation of the weights.
    pub std: Option<f64>,
    /// As used.
    pub threshold: Option<Threshold>,
    /// The factor on the initial values.
    pub decay: Option<f64>,
    /// Weights that are NaN or infinite.
    pub not_finite: Option<u64>,
}

/// New over old; `None` where either is not known or the old one is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ratios {
    /// Of mean |delta|.
    pub mean_delta: Option<f64>,
    /// Of the largest |delta|.
    pub max_delta: Option<f64>,
    /// Of the standard deviation of the weights.
    pub std: Option<f64>,
}

impl Figures {
    fn of(tensor: &ReportTensor) -> Self {
        Self {
            shape: tensor.shape.clone(),
            dtype: tensor.dtype.clone(),
            total_weights: tensor.total_weights,
            sleeping_weights: tensor.changes.sleeping_weights,
            sleeping_percentage: tensor.changes.sleeping_percentage,
            mean_delta: tensor.changes.mean_delta,
            max_delta: tensor.changes.max_delta,
            std: tensor.drift.std,
            threshold: tensor.threshold,
            decay: tensor.decay,
            not_finite: tensor.not_finite,
        }
    }
}

/// `new / old`, where that is a number.
fn ratio(old: Option<f64>, new: Option<f64>) -> Option<f64> {
    let ratio = new? / old?;
    ratio.is_finite().then_some(ratio)
}

/// Compares two reports.
pub fn compare(old: &Report, new: &Report) -> ReportComparison {
    let by_name =
        |report: &'_ Report| -> BTreeSet<String> { report.tensors.iter().map(|t| t.name.clone()).collect() };
    let (old_names, new_names) = (by_name(old), by_name(new));
    let olds: BTreeMap<&str, &ReportTensor> = old.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut tensors: Vec<TensorComparison> = new
        .tensors
        .iter()
        .filter_map(|t| Some(tensor((old, olds.get(t.name.as_str())?), (new, t))))
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    ReportComparison {
        old: origin(old),
        new: origin(new),
        comparable: tensors.iter().all(|t| t.comparable || t.is_uncounted()),
        only_in_old: old_names.difference(&new_names).cloned().collect(),
        only_in_new: new_names.difference(&old_names).cloned().collect(),
        tensors,
    }
}

fn origin(report: &Report) -> Origin {
    Origin {
        seed: report.seed,
        noise_version: report.noise_version,
        config_sha256: report.config_sha256.clone(),
    }
}

fn tensor(old: (&Report, &ReportTensor), new: (&Report, &ReportTensor)) -> TensorComparison {
    let (a, b) = (old.1, new.1);
    let differences = [
        (Difference::Shape, a.shape != b.shape),
        (Difference::Dtype, a.dtype != b.dtype),
        (Difference::Init, (&a.init, a.layer_id) != (&b.init, b.layer_id)),
        (Difference::Threshold, measure(a) != measure(b)),
        (Difference::Decay, a.decay != b.decay),
    ];
    let differs: Vec<Difference> =
        differences.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect();
    let same_shape = !differs.contains(&Difference::Shape);
    let same_measure = !differs.contains(&Difference::Threshold) && !differs.contains(&Difference::Decay);
    let both_told = proof(old.0, a).is_some() && proof(new.0, b).is_some();
    let counts = a.changes.sleeping_weights.zip(b.changes.sleeping_weights);
    let comparable = same_shape && counts.is_some() && (same_measure || both_told);
    let ratios = Ratios {
        mean_delta: ratio(a.changes.mean_delta, b.changes.mean_delta),
        max_delta: ratio(a.changes.max_delta, b.changes.max_delta),
        std: ratio(a.drift.std, b.drift.std),
    };
    TensorComparison {
        name: b.name.clone(),
        differs,
        comparable,
        old: Figures::of(a),
        new: Figures::of(b),
        awakened: counts.filter(|_| comparable).map(|(old, new)| difference(old, new)),
        ratio: if same_shape { ratios } else { Ratios::default() },
    }
}

/// The threshold, by one name where several say that a weight must be its initial value.
fn measure(tensor: &ReportTensor) -> Option<Threshold> {
    tensor.threshold.map(|threshold| match threshold {
        Threshold::Relative(0.0) => Threshold::Absolute(0.0),
        Threshold::Ulps(0) if tensor.decay == Some(1.0) => Threshold::Absolute(0.0),
        other => other,
    })
}

/// How many more weights woke up when the sleeping ones went from `old` to `new`.
fn difference(old: u64, new: u64) -> i64 {
    i64::try_from(i128::from(old) - i128::from(new)).unwrap_or(if old > new { i64::MAX } else { i64::MIN })
}

impl TensorComparison {
    /// Whether it has no counts in either report: another type, or no initial value.
    fn is_uncounted(&self) -> bool {
        self.old.sleeping_weights.is_none() && self.new.sleeping_weights.is_none()
    }
}
