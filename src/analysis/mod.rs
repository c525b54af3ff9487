//! Analysis of what training changed: the trained weights compared with their initial values.
//!
//! For a weight `w` and its initial value `w0`, rounded to the stored type and then multiplied by the layer's
//! decay factor, `delta = w - w0` in binary64. The weight is **sleeping** if `|delta|` is within the
//! [`Threshold`], otherwise **changed**. A NaN is changed.

mod api;
mod decay;
mod delta;
mod evidence;
pub(crate) mod exact;
mod heatmap;
mod histogram;
mod lines;
mod moments;
mod start;
mod stats;
mod threshold;
mod units;

pub use api::{WeightAnalysis, analyze_weight_matrix, awakened_mask, check_weight_changed};
pub use decay::{Calibration, Sampled, decide};
pub use delta::{Comparison, Tally, census};
pub use evidence::{Evidence, Pair, RatioHistogram};
pub use heatmap::{Cell, Grid, HeatMap};
pub use histogram::{DeltaHistogram, DeltaSpread, FineCounts, Quantiles, TensorCounts};
pub use lines::{AwakeColumns, SleepingRows};
pub use moments::{Gathering, Moments, Spreads};
pub use start::{StartCosine, StartFound, StartKind, StartTensor, started_here};
pub use stats::DeltaStats;
pub use threshold::Threshold;
pub use units::{AwakeUnits, SleepingUnits};
