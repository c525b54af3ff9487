//! What a config says beside its rules.

use super::purpose::Purpose;
use super::yaml::yaml;

/// What a config says beside its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// What the checkpoint is called.
    pub checkpoint: String,
    /// What the config is for.
    pub purpose: Purpose,
    /// The folder below `outputs` that is called after the checkpoint.
    pub name: String,
    /// The value of `model.like`: a path from the config's folder; `None` leaves `model` and `init` out.
    pub like: Option<String>,
    /// The value of `trained.path`.
    pub trained: String,
    /// Components to take out of the trained checkpoint's names.
    pub strip: Vec<String>,
    /// Prefixes to take off the trained checkpoint's names.
    pub strip_prefix: Vec<String>,
    /// The seed, where the checkpoint is an initial one that was made with it.
    pub seed: Option<u64>,
    /// The folder for outputs, from the config's.
    pub outputs: String,
    /// Whether large outputs are to be cut in shards.
    pub sharded: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            checkpoint: "model.safetensors".to_owned(),
            purpose: Purpose::default(),
            name: "model".to_owned(),
            like: Some("model.safetensors".to_owned()),
            trained: "model.safetensors".to_owned(),
            strip: Vec::new(),
            strip_prefix: Vec::new(),
            seed: None,
            outputs: "out".to_owned(),
            sharded: false,
        }
    }
}

impl Surroundings {
    /// An output of this name, as a value.
    pub(super) fn output(&self, file: &str) -> String {
        yaml(&format!("{}/{}/{file}", self.outputs, self.name))
    }
}
