//! The stages on real files: resolves the config's rules against checkpoints, then processes blocks of rows
//! on all threads.
//!
//! Each command of the program is a function here. The crate's page shows [`run`]; this packs a checkpoint
//! over the initial values of a config, and unpacks it:
//!
//! ```
//! use cdi_prune::checkpoint::OpenOptions;
//! use cdi_prune::config::Settings;
//! use cdi_prune::pipeline::{PredictFrom, Resolved, RestoreOptions, Silent, Stages};
//! use cdi_prune::pipeline::{inspect, pack, run, unpack};
//! use cdi_prune::reader::PrunedReader;
//!
//! let folder = tempfile::tempdir()?;
//! let file = |name: &str| folder.path().join(name);
//! let config = "
//! seed: 42
//! model: {tensors: {fc1.weight: [64, 128]}}
//! rules: [{match: fc1.weight, init: he}]
//! init: {output: init.safetensors}
//! trained: {path: trained.safetensors}
//! ";
//! let settings = Settings::parse(config, &file("config.yaml"), &[])?;
//! run(&Resolved::new(&settings)?, Stages::Init, &Silent, |_| {})?;
//! // Training would begin with this file, and write the trained one.
//! std::fs::copy(file("init.safetensors"), file("trained.safetensors"))?;
//!
//! let resolved = Resolved::new(&settings)?;
//! let packed = pack(&PredictFrom::Config(&resolved), &file("packed.safetensors"), None, &Silent)?;
//! assert_eq!((packed.tensors[0].from, packed.tensors[0].to), (4 * 64 * 128, 10));
//! let options = OpenOptions::default();
//! let code = inspect(&file("packed.safetensors"), options, &Silent)?.tensors.remove(0).code;
//! assert_eq!(code.map(|code| code.tensor).as_deref(), Some("fc1.weight"));
//!
//! let (from, to) = (file("packed.safetensors"), file("back.safetensors"));
//! let unpacked = unpack(&from, &to, RestoreOptions::default(), &Silent)?;
//! assert_eq!((unpacked.rounded, unpacked.pruned), (0, 0));
//! let [back, trained] = [to, file("trained.safetensors")].map(|path| PrunedReader::open(&path, None));
//! assert_eq!(back?.read_to_vec("fc1.weight")?, trained?.read_to_vec("fc1.weight")?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block_pass;
mod block_result;
mod blocks;
mod calibrate;
mod codes;
mod coding;
mod compare;
mod copy;
mod delta;
mod encode;
mod error;
mod expected;
mod findings;
mod fit;
mod gates;
mod gone;
mod heatmap;
mod infer_config;
mod initialise;
mod inputs;
mod inspect;
mod kept;
mod listing;
mod load;
mod manifest;
mod masks;
mod nearer;
mod origin;
mod outcome;
mod outputs;
mod overrides;
mod pack;
mod parts;
mod patterns;
mod pieces;
mod plan;
mod progress;
mod prune;
mod remove;
mod reports;
mod resolve;
mod restore;
mod run;
mod same;
mod save;
mod select;
mod spool;
mod start;
mod summarise;
mod task;
mod team;
mod tune;
mod unpack;
mod verify;
mod wrappers;

pub use block_pass::BlockPass;
pub use block_result::{BLOCK_RESULT_VERSION, BlockKeys, BlockResult};
pub use delta::{
    Applied, ApplyOptions, Change, ChangedTensor, Checksum, DeltaOptions, Encoding, Made, PublishForm,
    Published, Publisher, SquashOptions, Squashed, VersionOptions, VersionWritten, apply, delta, squash,
    verify_delta, version,
};
pub use error::{
    BlockProblem, ChainProblem, DeltaProblem, Error, Mismatch, PartsProblem, PhaseEnd, RuleProblem,
    ScoresProblem, Step, VerifyProblem,
};
pub use gates::passed as check_gates;
pub use infer_config::infer_config;
pub use inspect::{Inventory, InventoryCode, InventoryTensor, Lineage, Predicted, inspect};
pub use listing::{PlanRow, listing};
pub use load::{load, open};
pub use origin::{Action, Origin, Slice, Tensor};
pub use outcome::{Outcome, Pruned, PrunedResult, Undivided, Written};
pub use overrides::overrides_are_read;
pub use pack::{Packed, PackedTensor, PredictFrom, pack};
pub use parts::{Merged, PartDone, PartsOptions, PartsPlan, merge, plan_parts, run_part};
pub use progress::{Progress, Silent};
pub use reports::compare_reports;
pub use resolve::Resolved;
pub use restore::{RestoreOptions, restore};
pub use run::{Stages, done_before, run, run_into, time_candidate};
pub use save::save;
pub use team::PartSize;
pub use unpack::{Unpacked, unpack};
pub use verify::{Depth, Verified, verify};
