//! Selection of the weights to prune: scores by a criterion, and the smallest of them.
//!
//! This module works on numbers in memory; the pipeline provides the blocks. A score is a real in binary64,
//! ordered by its bits ([`key`]), so a selection needs only counts of bits ([`Narrowing`]) and never a sorted
//! copy of all weights.
//!
//! | module | holds |
//! | --- | --- |
//! | `settings` | criteria, targets, scopes and structures, as a config chooses them |
//! | `score` | what each criterion makes of a weight and its initial value |
//! | `key` | scores as integers of the same order |
//! | `count` | how many of `n` a sparsity is, and a gradient of sparsities over the depth |
//! | `narrow` | from histograms of keys to the one key at which a selection ends |
//! | `structure` | places that go together: rows, channels, blocks, `n` of `m` |
//! | `units` | what a chain of layers can do without once its rows or columns are zero |

mod count;
mod key;
mod narrow;
mod score;
mod settings;
mod structure;
mod units;

pub use count::{gradient, natural_order, share_of};
pub use key::{NEVER, key, keys};
pub use narrow::{
    BlockBoundary, Boundary, Enough, InQuestion, Narrowing, Step, Ties, allowances, first_enough,
};
pub use score::Pair;
pub use settings::{Along, Criterion, Decision, Scope, Structure, Target};
pub use structure::{Groups, Lane, keep_largest};
pub use units::{Activation, Joint, Units};
