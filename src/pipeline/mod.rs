//! The stages on real files: the config's rules resolved against checkpoints, then blocks of rows through all threads.

mod blocks;
mod compare;
mod encoder;
mod error;
mod heatmap;
mod initialise;
mod inspect;
mod listing;
mod masks;
mod origin;
mod outputs;
mod progress;
mod prune;
mod pruned_file;
mod reports;
mod resolve;
mod restore;
mod run;
mod select;
mod starting;
mod summarise;
mod survey;

pub use compare::{Compared, ComparedTensor};
pub use error::{BaseProblem, Error, Mismatch, PrunedProblem, RuleProblem, ScoresProblem};
pub use initialise::Written;
pub use inspect::{Inventory, InventoryTensor, inspect};
pub use listing::{PlanRow, listing};
pub use origin::{Action, Origin, Slice, Tensor};
pub use progress::{Progress, Silent};
pub use prune::{Pruned, PrunedResult};
pub use pruned_file::PrunedFile;
pub use reports::compare_reports;
pub use resolve::Resolved;
pub use restore::restore;
pub use run::{Outcome, Stages, run};
pub use starting::starting_config;
