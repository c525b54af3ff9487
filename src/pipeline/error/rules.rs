//! Errors in applying the rules of a config to the tensors of real files.

use safetensors::Dtype;

use super::Error;
use super::words::list;
use crate::config::{ConfigErrorKind, KeyPath, LayerError, PatternHint, Settings};
use crate::init::{ShapeMismatch, SliceError};
use crate::tensor::{Layout, LayoutMismatch, Shape};

/// Why a rule does not fit the tensors. Reported with the position of the rule in the config.
#[derive(Debug, thiserror::Error)]
pub enum RuleProblem {
    /// No rule matches some tensors of the model.
    #[error(
        "no rule matches {} of the model (add a rule; use `init: none` if there is no initial value){hint}",
        list(.tensors)
    )]
    Unmatched {
        /// The names of the tensors.
        tensors: Vec<String>,
        /// Why that may be.
        hint: PatternHint,
    },
    /// The layer id cannot be computed from the name.
    #[error("tensor `{tensor}`: {error}")]
    Layer {
        /// The tensor.
        tensor: String,
        /// The cause.
        error: LayerError,
    },
    /// The scheme does not support this shape.
    #[error("tensor `{tensor}`: {error}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The cause.
        error: ShapeMismatch,
    },
    /// The slices do not fit the tensor.
    #[error("tensor `{tensor}`: {error}")]
    Slices {
        /// The tensor.
        tensor: String,
        /// The cause.
        error: SliceError,
    },
    /// The tensor in `fan_in_of` does not exist.
    #[error("tensor `{tensor}`: `fan_in_of` refers to `{weight}`, but there is no such tensor")]
    NoWeight {
        /// The tensor to be initialised.
        tensor: String,
        /// The missing tensor.
        weight: String,
    },
    /// Groups of m do not divide the size of the dimension.
    #[error(
        "tensor `{tensor}` has {size} {what}, which is not a multiple of {m}; add `where_divisible: true` to \
         leave such tensors unchanged, or give it another structure or `keep: true` in `prune.rules`"
    )]
    Neighbours {
        /// The tensor.
        tensor: String,
        /// Number of neighbours: the size of that dimension.
        size: usize,
        /// What the neighbours are, such as inputs.
        what: &'static str,
        /// Group size.
        m: usize,
    },
    /// Inputs and kernel positions are not adjacent dimensions.
    #[error(
        "tensor `{tensor}` has its outputs between inputs and kernel, in its layout {layout}, but `along: \
         inputs` needs those side by side; use `along: input_channels`"
    )]
    Apart {
        /// The tensor.
        tensor: String,
        /// Its layout.
        layout: Layout,
    },
    /// Tensors that are listed as tied are not.
    #[error("`{first}` and `{second}` are listed as tied, but {why}; remove them from `prune.tied`")]
    Tied {
        /// The first of the tensors.
        first: String,
        /// Another one of the tensors.
        second: String,
        /// Why they are not tied.
        why: &'static str,
    },
    /// The roles in the layout do not fit the tensor's dimensions.
    #[error("tensor `{tensor}`: {error}; give it a separate rule with another `layout`")]
    Roles {
        /// The tensor.
        tensor: String,
        /// The difference.
        error: LayoutMismatch,
    },
    /// The tensor has no filters and channels.
    #[error(
        "tensor `{tensor}` of shape {shape} has no filters or channels, which need two dimensions; give it \
         another structure or `keep: true` in `prune.rules`"
    )]
    NoChannels {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
    },
    /// The tensor has more columns than the encoding can index.
    #[error(
        "tensor `{tensor}` has {columns} columns, but `format: csr` supports at most 2147483648; use another \
         format, or `keep: true` in `prune.rules`"
    )]
    TooWide {
        /// The tensor.
        tensor: String,
        /// Number of columns.
        columns: usize,
    },
    /// Layers do not form a chain.
    #[error("layer `{layer}` of the chain {problem}")]
    Chain {
        /// The layer.
        layer: String,
        /// What is wrong with the layer.
        problem: ChainProblem,
    },
    /// Pruned weights would need initial values, but those are unknown.
    #[error(
        "tensor `{tensor}` has `init: none`, so there is no initial value to fill in; use `fill: zero`, or \
         `keep: true` in `prune.rules`"
    )]
    NoFill {
        /// The tensor.
        tensor: String,
    },
    /// Two tensors would start with the same noise.
    #[error(
        "tensors `{first}` and `{second}` both have layer id {layer}, so they would start with the same \
         noise; give them different ids, or set `shared: true` on their rules if this is intended"
    )]
    SameLayer {
        /// One of the tensors.
        first: String,
        /// The other tensor.
        second: String,
        /// Their common layer id.
        layer: u64,
    },
}

impl RuleProblem {
    /// This problem as an error at this key of the config.
    pub(in crate::pipeline) fn at(self, settings: &Settings, key: &KeyPath) -> Error {
        settings.source.error(key, ConfigErrorKind::Stage(Box::new(self))).into()
    }
}

/// Why a layer cannot be part of a chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainProblem {
    /// The checkpoint does not have it.
    #[error("has no tensor `{0}` in the trained checkpoint")]
    NoWeight(String),
    /// Its weight is not a floating-point tensor.
    #[error("has a weight of type {0}, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// Its weight is a vector, but it is not a batch norm of the previous layer.
    #[error(
        "has a weight of shape {0}, expected a weight of outputs by inputs, or a batch norm after such a \
         layer, with weight, bias, running_mean and running_var for each of its units"
    )]
    NoNorm(Shape),
    /// The rows of its weight are not outputs.
    #[error("has a weight of shape {0} and layout {1}, expected out_in, where rows are outputs")]
    Layout(Shape, Layout),
    /// Its columns do not fit the units of the previous layer.
    #[error("has {columns} columns, expected a multiple of the {units} units of the previous layer")]
    Units {
        /// Number of columns of its weight.
        columns: usize,
        /// Number of units of the previous layer.
        units: usize,
    },
    /// Its bias does not have one number per unit.
    #[error("has a bias of shape {got}, expected {units} floating-point numbers")]
    Bias {
        /// Number of units of the layer.
        units: usize,
        /// Shape of the bias.
        got: Shape,
    },
    /// It is the only layer of the chain that is not a batch norm.
    #[error("is alone: a chain needs at least two layers that are not batch norms")]
    Alone,
}
