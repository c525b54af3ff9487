//! Selection of the weights to prune: those with the smallest scores by a criterion.
//!
//! This module works on numbers in memory; the pipeline provides the blocks. A score is a binary64 number,
//! and scores are compared as integers ([`key`]). So a selection needs only histograms ([`Narrowing`]), never
//! a sorted copy of all weights.
//!
//! Rounding needs second moments of a layer's inputs as well:
//!
//! ```
//! use cdi_prune::prune::Moments;
//! use cdi_prune::workers::Alone;
//!
//! // Two inputs that are always the same.
//! let moments = Moments::new(&[4.0, 4.0, 4.0, 4.0], 2, &Alone)?;
//! let mut weights = [0.4, 0.4];
//! moments.round_row(&mut weights, &mut Vec::new(), |_, wanted| wanted.unwrap_or(0.0).round());
//! // Each rounded to nearest, both would be 0; 0 and 1 together are nearer to 0.8.
//! assert_eq!(weights, [0.0, 1.0]);
//! # Ok::<(), cdi_prune::prune::MomentsError>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `settings` | criteria, targets, scopes and structures, as a config chooses them |
//! | `score` | scores of weights by each criterion |
//! | `key` | scores as integers in the same order |
//! | `largest` | the largest scores of a small group |
//! | `compensate` | rounding that makes up for its errors, given the inputs of a layer |
//! | `count` | the number of weights for a sparsity, and gradients of sparsities over the depth |
//! | `narrow` | selection of the smallest keys by histograms |
//! | `structure` | weights that are pruned together: rows, channels, blocks, `n` of `m` |
//! | `units` | units of a chain of layers that can be removed once their rows or columns are zero |

mod compensate;
mod count;
mod key;
mod largest;
mod narrow;
mod score;
mod settings;
mod structure;
mod units;

pub use compensate::{Moments, MomentsError};
pub use count::{gradient, natural_order, share_of};
pub use key::{NEVER, key, keys};
pub use largest::{keep_largest, keep_largest_of};
pub use narrow::{
    BlockBoundary, Boundary, Enough, InQuestion, Narrowing, Step, Ties, allowances, first_enough,
};
pub use score::Pair;
pub use settings::{Along, Criterion, Decision, Scope, Structure, Target};
pub use structure::{Groups, Lane};
pub use units::{Activation, Joint, Units};
