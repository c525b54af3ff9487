//! What the rules of a config get wrong about the tensors at hand.

use safetensors::Dtype;

use super::Error;
use super::words::list;
use crate::config::{ConfigErrorKind, KeyPath, LayerError, Settings};
use crate::init::{ShapeMismatch, SliceError};
use crate::tensor::{Layout, LayoutMismatch, Shape};

/// What the rules get wrong about the tensors at hand; reported at the rule's place in the config.
#[derive(Debug, thiserror::Error)]
pub enum RuleProblem {
    /// Tensors of the model that no rule is about.
    #[error("no rule matches {} of the model (add a rule; use `init: none` if there is no initial value)", list(.tensors))]
    Unmatched {
        /// Their names.
        tensors: Vec<String>,
    },
    /// A layer id that cannot be computed from a name.
    #[error("tensor `{tensor}`: {error}")]
    Layer {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: LayerError,
    },
    /// A scheme that cannot make a tensor of this shape.
    #[error("tensor `{tensor}`: {error}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: ShapeMismatch,
    },
    /// Slices that are not those of the tensor.
    #[error("tensor `{tensor}`: {error}")]
    Slices {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: SliceError,
    },
    /// `fan_in_of` leads nowhere.
    #[error("tensor `{tensor}`: `fan_in_of` refers to `{weight}`, but there is no such tensor")]
    NoWeight {
        /// The tensor to initialise.
        tensor: String,
        /// The one that is missing.
        weight: String,
    },
    /// Neighbours that groups of m do not fill.
    #[error(
        "tensor `{tensor}` has {size} {what}, which is not a multiple of {m}; add `where_divisible: true` to \
         leave such tensors unchanged, or give it another structure or `keep: true` in `prune.rules`"
    )]
    Neighbours {
        /// The tensor.
        tensor: String,
        /// How many neighbours it has.
        size: usize,
        /// What they are.
        what: &'static str,
        /// Neighbours of a group.
        m: usize,
    },
    /// Inputs and kernel places that are not side by side.
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
    /// Tensors that are named as tied and are not.
    #[error("`{first}` and `{second}` are listed as tied, but {why}; remove them from `prune.tied`")]
    Tied {
        /// The first of the names.
        first: String,
        /// Another one.
        second: String,
        /// Why they are not.
        why: &'static str,
    },
    /// Roles that are not those of a tensor's dimensions.
    #[error("tensor `{tensor}`: {error}; give it a separate rule with another `layout`")]
    Roles {
        /// The tensor.
        tensor: String,
        /// How they differ.
        error: LayoutMismatch,
    },
    /// A tensor without filters and channels.
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
    /// More columns than the encoding can number.
    #[error(
        "tensor `{tensor}` has {columns} columns, but `format: csr` supports at most 2147483648; use another \
         format, or `keep: true` in `prune.rules`"
    )]
    TooWide {
        /// The tensor.
        tensor: String,
        /// Its columns.
        columns: usize,
    },
    /// Layers that form no chain.
    #[error("layer `{layer}` of the chain {problem}")]
    Chain {
        /// The layer.
        layer: String,
        /// Why it has no place there.
        problem: ChainProblem,
    },
    /// Pruned places that would take values nobody knows.
    #[error(
        "tensor `{tensor}` has `init: none`, so there is no initial value to fill in; use `fill: zero`, or \
         `keep: true` in `prune.rules`"
    )]
    NoFill {
        /// The tensor.
        tensor: String,
    },
    /// Two tensors that would start with the same noise.
    #[error(
        "tensors `{first}` and `{second}` both have layer id {layer}, so they would start with the same \
         noise; give them different ids, or set `shared: true` on their rules if this is intended"
    )]
    SameLayer {
        /// One tensor.
        first: String,
        /// The other.
        second: String,
        /// Their id.
        layer: u64,
    },
}

impl RuleProblem {
    /// The error about this key of the config.
    pub(in crate::pipeline) fn at(self, settings: &Settings, key: &KeyPath) -> Error {
        settings.source.error(key, ConfigErrorKind::Stage(Box::new(self))).into()
    }
}

/// Why a layer has no place in a chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainProblem {
    /// It is not in the checkpoint.
    #[error("has no tensor `{0}` in the trained checkpoint")]
    NoWeight(String),
    /// Its weight is no floating-point tensor.
    #[error("has a weight of type {0}, expected F64, F32, F16 or BF16")]
    Dtype(Dtype),
    /// A vector that is no batch norm of the layer before it.
    #[error(
        "has a weight of shape {0}, expected a weight of outputs by inputs, or a batch norm after such a \
         layer, with weight, bias, running_mean and running_var for each of its units"
    )]
    NoNorm(Shape),
    /// A weight whose rows are no outputs.
    #[error("has a weight of shape {0} and layout {1}, expected out_in, where rows are outputs")]
    Layout(Shape, Layout),
    /// Columns that are not those of the units before.
    #[error("has {columns} columns, expected a multiple of the {units} units of the previous layer")]
    Units {
        /// Columns of its weight.
        columns: usize,
        /// Units of the layer before.
        units: usize,
    },
    /// A bias that is not one number a unit.
    #[error("has a bias of shape {got}, expected {units} floating-point numbers")]
    Bias {
        /// Units of the layer.
        units: usize,
        /// Shape of the bias.
        got: Shape,
    },
    /// Nothing that it could pass units to.
    #[error("is alone: a chain needs at least two layers that are not batch norms")]
    Alone,
}
