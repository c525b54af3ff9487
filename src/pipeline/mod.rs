//! The stages on real files: the config's rules resolved against checkpoints, then blocks of rows through all threads.

mod blocks;
mod compare;
mod encode;
mod error;
mod gates;
mod heatmap;
mod initialise;
mod inspect;
mod listing;
mod manifest;
mod masks;
mod origin;
mod outputs;
mod progress;
mod prune;
mod remove;
mod reports;
mod resolve;
mod restore;
mod run;
mod sample;
mod select;
mod starting;
mod summarise;
mod survey;
mod tune;
mod verify;
mod verify_problem;

pub use compare::{Compared, ComparedTensor};
pub use error::{ChainProblem, Error, Mismatch, RuleProblem, ScoresProblem};
pub use gates::passed as check_gates;
pub use initialise::Written;
pub use inspect::{Inventory, InventoryTensor, inspect};
pub use listing::{PlanRow, listing};
pub use origin::{Action, Origin, Slice, Tensor};
pub use progress::{Progress, Silent};
pub use prune::{Pruned, PrunedResult};
pub use reports::compare_reports;
pub use resolve::Resolved;
pub use restore::restore;
pub use run::{Outcome, Stages, done_before, run};
pub use starting::starting_config;
pub use verify::{Depth, Verified, verify};
pub use verify_problem::VerifyProblem;

use crate::init::encoder;
