//! The description in a file's `__metadata__`: everything that is needed to restore the file.

use alloc::collections::BTreeMap;
use core::cell::{Cell, RefCell};

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use super::deflated::{self, DescriptionError};
use super::{Fill, Format};
use crate::checkpoint::METADATA_KEY;
use crate::digest;
use crate::init::SchemeParams;
use crate::noise::NOISE_VERSION;
use crate::prelude::*;
use crate::tensor::{Dims, FloatDtype, Layout, Shape};

/// Version of this description.
pub const VERSION: u32 = 1;

/// The tensor that holds the codes of several tensors.
pub const SHARED_CODES: &str = "cdi_prune.codes";

/// A code of this many bytes or more has a tensor of its own.
pub const SHARED_LIMIT: u64 = 1 << 16;

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
    /// The checkpoint that this file refers to: some of its tensors are stored only there, or have [`InBase`]
    /// as their initial values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What the file is a delta of, if it is one. [`FileMetadata::base`] is absent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// The pruned tensors, in name order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", serialize_with = "short")]
    pub tensors: Vec<PrunedTensor>,
}

/// The base of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The checkpoint's name when the file was written.
    pub from: String,
    /// [`base_digest`] of the tensors that this file needs from it.
    pub sha256: String,
}

/// Between which checkpoints a delta is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The base's name when the file was written.
    pub from: String,
    /// The state of the base.
    pub base: String,
    /// The state of the new checkpoint.
    pub state: String,
    /// Tensors that have another name in the base: the new names, and those in the base.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed: BTreeMap<String, String>,
    /// Tensors that the base does not have, in name order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Tensors of the base that the new checkpoint does not have, in name order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// SHA-256 of the concatenated SHA-256 digests of tensors' bytes, each in hexadecimal, in the order in which
/// the file describes the tensors.
pub fn base_digest<'a>(digests: impl Iterator<Item = &'a str>) -> String {
    digest::of_pieces(digests.map(str::as_bytes))
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An initial checkpoint.
    Initial,
    /// A pruned checkpoint.
    Pruned,
    /// A checkpoint over its previous version.
    Delta,
}

/// One pruned tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrunedTensor {
    /// Its name.
    pub name: String,
    /// Type of the tensor, as in safetensors.
    pub dtype: safetensors::Dtype,
    /// Its shape.
    #[serde(deserialize_with = "Dims::list")]
    pub shape: Vec<usize>,
    /// How it is stored.
    pub format: Format,
    /// What its pruned elements become.
    #[serde(default)]
    pub fill: Fill,
    /// The layer id of its noise; `None` if its initial values are not drawn.
    pub layer_id: Option<u64>,
    /// Its initial values.
    #[serde(default = "InitialValues::unknown")]
    pub init: InitialValues,
    /// The dimensions from which the fans are computed.
    #[serde(default)]
    pub layout: Layout,
    /// The type of the tensor in the initial checkpoint, if that type cannot hold all values of the tensor's
    /// own type. Drawn values are rounded to it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_dtype: Option<FloatDtype>,
    /// The type of the trained tensor, if its values were cast to another type. Initial values are
    /// rounded to it, multiplied by the decay factor and rounded to it again, before they are cast
    /// like all other values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_dtype: Option<FloatDtype>,
    /// If stored values are differences from initial values, the factor of the initial values.
    /// Only for coded tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<f64>,
    /// The factor by which training shrank weights that it did not change otherwise.
    #[serde(default = "one")]
    pub decay: f64,
    /// If its code is in [`SHARED_CODES`], the length of the code in bytes. Codes lie there in the order of
    /// the descriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u64>,
    /// Codes of later versions, which lie behind the tensor's own: each predicts its values from what the
    /// codes before it give. Only for coded tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

impl PrunedTensor {
    /// A tensor in this format, complete and without initial values.
    pub fn new(name: &str, dtype: safetensors::Dtype, shape: &Shape, format: Format) -> Self {
        Self {
            name: name.to_owned(),
            dtype,
            shape: shape.dims().to_vec(),
            format,
            fill: Fill::Zero,
            layer_id: None,
            init: InitialValues::unknown(),
            layout: Layout::default(),
            initial_dtype: None,
            trained_dtype: None,
            prediction: None,
            decay: one(),
            code: None,
            layers: Vec::new(),
        }
    }
}

/// A code over another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its length in bytes.
    pub code: u64,
    /// The factor of the values before it.
    pub prediction: f64,
}

fn one() -> f64 {
    1.0
}

/// A description without the keys that have their default value. This saves space: the description is a large
/// part of a small coded tensor.
#[derive(Serialize)]
struct Short<'a> {
    name: &'a str,
    dtype: safetensors::Dtype,
    shape: &'a [usize],
    format: Format,
    #[serde(skip_serializing_if = "is_default")]
    fill: Fill,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_id: Option<u64>,
    #[serde(skip_serializing_if = "InitialValues::is_unknown")]
    init: &'a InitialValues,
    #[serde(skip_serializing_if = "is_default")]
    layout: Layout,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_dtype: Option<FloatDtype>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trained_dtype: Option<FloatDtype>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<f64>,
    #[serde(skip_serializing_if = "is_one")]
    decay: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u64>,
    #[serde(skip_serializing_if = "<[Layer]>::is_empty")]
    layers: &'a [Layer],
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

/// Serialises tensors that are coded or in the base in the short form. All others keep every key, as
/// in earlier releases.
fn short<S: Serializer>(tensors: &[PrunedTensor], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tensors.iter().map(Description::of))
}

/// Tensors that are serialised while they are made, which can be done once.
struct OneByOne<'a, I> {
    tensors: RefCell<I>,
    /// Becomes true if one is coded or in the base.
    packed: &'a Cell<bool>,
}

impl<I: Iterator<Item = PrunedTensor>> Serialize for OneByOne<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for tensor in &mut *self.tensors.borrow_mut() {
            self.packed.set(self.packed.get() || tensor.format.is_packed());
            list.serialize_element(&Description::of(&tensor))?;
        }
        list.end()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Description<'a> {
    Whole(&'a PrunedTensor),
    Short(Short<'a>),
}

impl<'a> Description<'a> {
    fn of(tensor: &'a PrunedTensor) -> Self {
        if !tensor.format.is_packed() {
            return Self::Whole(tensor);
        }
        Self::Short(Short {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            format: tensor.format,
            fill: tensor.fill,
            layer_id: tensor.layer_id,
            init: &tensor.init,
            layout: tensor.layout,
            initial_dtype: tensor.initial_dtype,
            trained_dtype: tensor.trained_dtype,
            prediction: tensor.prediction,
            decay: tensor.decay,
            code: tensor.code,
            layers: &tensor.layers,
        })
    }
}

/// Where initial values come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InitialValues {
    /// The tensor of the same name in another checkpoint.
    Stored {
        /// That checkpoint, as named in the config.
        from: String,
        /// SHA-256 of the tensor's bytes there, in hexadecimal.
        sha256: String,
        /// Like [`PrunedTensor::initial_dtype`] for drawn values. It has a separate field because earlier
        /// releases wrote that one for stored values too, but did not round to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initial_dtype: Option<FloatDtype>,
    },
    /// Slices along the output dimension, in order.
    Slices {
        /// The slices, each initialised like a separate tensor.
        slices: Vec<SliceValues>,
    },
    /// Unknown. The pruned elements do not need them.
    Unknown(Unknown),
    /// The tensor of the same name in the file's base.
    InBase(InBase),
    /// A scheme.
    Scheme(Box<SchemeParams>),
}

impl InitialValues {
    fn unknown() -> Self {
        Self::Unknown(Unknown::None)
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// The keyword for unknown initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// The same word as in the config.
    None,
}

/// The keyword for initial values from the file's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InBase {
    /// The checkpoint in [`FileMetadata::base`].
    Base,
}

/// Initial values of a slice of a fused tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceValues {
    /// Its name in the config.
    pub name: String,
    /// Number of outputs.
    pub size: usize,
    /// The layer id of its noise.
    pub layer_id: u64,
    /// Its scheme.
    pub init: SchemeParams,
}

impl FileMetadata {
    /// A description without tensors.
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self {
            version: VERSION,
            noise_version: NOISE_VERSION,
            kind,
            seed,
            base: None,
            delta: None,
            tensors: Vec::new(),
        }
    }

    /// The file's `__metadata__`: `others`, this description under its key, and `format: pt`, because some
    /// loaders refuse files without it. Descriptions without coded tensors are plain JSON, as in earlier
    /// releases.
    pub fn into_map(mut self, others: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let tensors = core::mem::take(&mut self.tensors);
        self.into_map_with(tensors.into_iter(), others)
    }

    /// The same with these tensors, each of which is made when it is written: very many take more memory than
    /// their text.
    pub fn into_map_with(
        self,
        tensors: impl Iterator<Item = PrunedTensor>,
        others: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        #[derive(Serialize)]
        struct Whole<T: Serialize> {
            #[serde(flatten)]
            head: FileMetadata,
            #[serde(skip_serializing_if = "Option::is_none")]
            tensors: Option<T>,
        }
        let mut map = others.clone();
        map.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
        let (mut tensors, packed) = (tensors.peekable(), Cell::new(false));
        let tensors =
            tensors.peek().is_some().then(|| OneByOne { tensors: RefCell::new(tensors), packed: &packed });
        let whole = Whole { head: self, tensors };
        let json =
            serde_json::to_string(&whole).expect("strings, integers and finite reals always serialise");
        map.insert(METADATA_KEY.to_owned(), if packed.get() { deflated::shorter(json) } else { json });
        map
    }

    /// The description in a file's `__metadata__`; `None` if there is none.
    pub fn find(map: &BTreeMap<String, String>) -> Option<Result<Self, DescriptionError>> {
        let read = |text| Ok(serde_json::from_slice(&deflated::json(text)?)?);
        map.get(METADATA_KEY).map(|text| read(text))
    }
}
