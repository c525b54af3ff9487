//! What a file of this tool says about itself, in its `__metadata__`: all that restoring it needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Fill, Format};
use crate::checkpoint::METADATA_KEY;
use crate::init::SchemeParams;
use crate::noise::NOISE_VERSION;
use crate::tensor::{Dims, FloatDtype, Layout};

/// Version of this description.
pub const VERSION: u32 = 1;

/// The JSON under the key `cdi_prune`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileMetadata {
    /// [`VERSION`].
    pub version: u32,
    /// Which noise function regenerates initial values.
    pub noise_version: u32,
    /// What the file is.
    pub kind: Kind,
    /// The seed, reduced to 64 bits.
    pub seed: u64,
    /// The pruned tensors, in name order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<PrunedTensor>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An initial checkpoint.
    Initial,
    /// A pruned checkpoint.
    Pruned,
}

/// One pruned tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrunedTensor {
    /// Its name.
    pub name: String,
    /// Its type, in safetensors' spelling.
    pub dtype: safetensors::Dtype,
    /// Its shape.
    #[serde(deserialize_with = "Dims::list")]
    pub shape: Vec<usize>,
    /// How it is stored.
    pub format: Format,
    /// What its pruned places are.
    pub fill: Fill,
    /// The layer id of its noise; `None` where its initial values are not drawn.
    pub layer_id: Option<u64>,
    /// Its initial values.
    pub init: InitialValues,
    /// Which dimensions the fans are taken from.
    pub layout: Layout,
    /// The type in which the initial checkpoint stored it, where that does not hold all values of its own: drawn values are
    /// rounded to it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_dtype: Option<FloatDtype>,
    /// The type of the trained tensor, where the values were cast to another: initial values are rounded to it, and times the
    /// decay factor rounded to it again, before they are cast like all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_dtype: Option<FloatDtype>,
    /// The factor of the initial values that stored values are differences to, where they are: only of coded tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<f64>,
    /// The factor by which training shrank untouched weights.
    pub decay: f64,
}

/// Where initial values come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InitialValues {
    /// The tensor of the same name in another checkpoint.
    Stored {
        /// That checkpoint, as the config named it.
        from: String,
        /// SHA-256 of the tensor's bytes there, in hexadecimal.
        sha256: String,
        /// As [`PrunedTensor::initial_dtype`] of drawn values. Here, because earlier releases wrote that one beside stored values
        /// too, and did not round by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initial_dtype: Option<FloatDtype>,
    },
    /// Slices along the output dimension, in their order.
    Slices {
        /// Each a tensor of its own.
        slices: Vec<SliceValues>,
    },
    /// Not known: the pruned places need none.
    Unknown(Unknown),
    /// A scheme.
    Scheme(Box<SchemeParams>),
}

/// The word for initial values that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// As in the config.
    None,
}

/// Initial values of a slice of a fused tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceValues {
    /// Its name in the config.
    pub name: String,
    /// Outputs.
    pub size: usize,
    /// The layer id of its noise.
    pub layer_id: u64,
    /// Its scheme.
    pub init: SchemeParams,
}

impl FileMetadata {
    /// A description without tensors.
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self { version: VERSION, noise_version: NOISE_VERSION, kind, seed, tensors: Vec::new() }
    }

    /// The file's `__metadata__`: `others`, this description under its key, and `format: pt`, without which some
    /// loaders refuse a file.
    pub fn into_map(self, others: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut map = others.clone();
        map.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
        let json = serde_json::to_string(&self).expect("strings, integers and finite reals always serialise");
        map.insert(METADATA_KEY.to_owned(), json);
        map
    }

    /// The description in a file's `__metadata__`: `None` where there is none, the JSON's error where it is not one.
    pub fn find(map: &BTreeMap<String, String>) -> Option<Result<Self, serde_json::Error>> {
        map.get(METADATA_KEY).map(|json| serde_json::from_str(json))
    }
}
