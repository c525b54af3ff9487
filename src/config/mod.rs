//! The config: YAML as typed, resolved into complete settings.
//!
//! ```
//! use cdi_prune::config::Settings;
//!
//! let text = "
//! seed: 42
//! model: {tensors: {fc1.weight: [256, 784]}}
//! rules:
//!   - {match: fc1.weight, layer: 0, init: he}
//! init: {output: init.safetensors}
//! ";
//! let settings = Settings::parse(text, "configs/mlp.yaml".as_ref(), &[])?;
//! assert_eq!(settings.seed, 42);
//! assert_eq!(settings.init.unwrap().output, std::path::Path::new("configs/init.safetensors"));
//!
//! let wrong = Settings::parse("sed: 42", "mlp.yaml".as_ref(), &[]).unwrap_err();
//! assert!(wrong.to_string().starts_with("mlp.yaml:1:1: unknown key `sed` (did you mean `seed`?)"));
//! # Ok::<(), cdi_prune::config::ConfigError>(())
//! ```
//!
//! [`Source`] reads the text into a tree and applies the overrides (`--set`). The tree is read into the types
//! that mirror the interface page (`wire`), which are checked and completed into [`Settings`]. An error in
//! any step contains the key concerned, and [`Source`] finds that key's line and column, or the override that
//! set it. Later stages report problems with the config in the same way: see [`Source::error`].

mod duration;
mod error;
mod forms;
mod goals;
mod init_value;
mod layer;
mod load;
mod node;
mod outputs;
mod overrides;
mod path;
mod pruning;
mod resolve;
mod schema;
mod settings;
mod size;
mod source;
#[cfg(test)]
mod tests;
mod tune;
mod typed;
mod unused;
mod values;
mod wire;

pub use duration::{DurationError, parse_duration};
pub use error::{ConfigError, ConfigErrorKind, PatternHint, Place};
pub use init_value::{parse_init, takes_gain};
pub(crate) use layer::id_of_name;
pub use layer::{Group, LayerError, LayerRule};
pub use outputs::{OutputKind, ReportForm};
pub use path::{KeyPath, Step};
pub use pruning::{Chain, FormatChoice, PruneRule, PruneSettings};
pub use schema::schema;
pub use settings::{
    AnalyzeSettings, Decay, InitRule, InitSettings, InitSource, ModelSettings, ReportPaths, Settings,
    SliceRule, TrainedSettings,
};
pub use size::{SizeError, parse_size};
pub use source::Source;
pub use tune::{Recipe, TuneSearch, TuneSettings};
pub use values::{StepLength, Steps, Values};
