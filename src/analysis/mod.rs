//! What training changed: the trained weights beside their initial values.
//!
//! For a weight `w` and its initial value `w0`, rounded to the stored type and then times the layer's decay factor,
//! `delta = w - w0` in binary64; the weight is **sleeping** where `|delta|` is within the [`Threshold`], else
//! **changed**. A NaN is changed.

mod api;
mod delta;
mod lines;
mod stats;
mod threshold;

pub use api::{WeightAnalysis, analyze_weight_matrix, awakened_mask, check_weight_changed};
pub use delta::{Comparison, Tally, census};
pub use lines::{AwakeColumns, SleepingRows};
pub use stats::DeltaStats;
pub use threshold::Threshold;
