//! Analysis of what training changed: the trained weights compared with their initial values.
//!
//! For a weight `w` and its initial value `w0`, rounded to the stored type and then multiplied by the layer's
//! decay factor, `delta = w - w0` in binary64. The weight is **sleeping** if `|delta|` is within the
//! [`Threshold`], otherwise **changed**. A NaN is changed.
//!
//! Weight decay shrinks untouched weights too. [`decide`] infers the factor and the
//! threshold from the weights:
//!
//! ```
//! use cdi_prune::analysis::{Comparison, Pair, Sampled, decide};
//! use cdi_prune::init::{Generator, SchemeParams};
//! use cdi_prune::tensor::{FloatDtype, Layout, Shape};
//!
//! const F32: FloatDtype = FloatDtype::F32;
//! let he = SchemeParams::named("he").scheme()?;
//! let mut initial = vec![0.0; 64 * 64];
//! Generator::new(42, 0, &he, &Shape::new(vec![64, 64])?, Layout::OutIn).fill(0, &mut initial);
//! F32.round_slice(&mut initial);
//! // Decay has shrunk every weight by a tenth, and training has moved one in four.
//! let moved = |n: usize| if n % 4 == 0 { initial[n + 1] / 2.0 } else { 0.0 };
//! let trained: Vec<f64> = (0..initial.len()).map(|n| F32.round(0.9 * initial[n] + moved(n))).collect();
//!
//! let pairs: Vec<Pair> = trained.iter().zip(&initial).map(|(w, w0)| [*w, *w0]).collect();
//! let (found, evidence) = decide(&[Sampled { dtype: F32, decay: None, pairs }]);
//! assert!(evidence[0].found && (found[0].decay - 0.9).abs() < 1e-6);
//!
//! let (mut bytes, mut changed) = (vec![0; 4 * trained.len()], vec![0; trained.len() / 8]);
//! F32.encode(&trained, &mut bytes);
//! let stats =
//!     Comparison::new(found[0].threshold, found[0].decay, F32).compare(&bytes, &mut initial, &mut changed);
//! assert_eq!((stats.changed, stats.sleeping()), (1024, 3072));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

pub use api::{
    WeightAnalysis, analyze_weight_matrix, analyze_weight_matrix_until, awakened_mask, check_weight_changed,
};
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
