//! The forms of those values of the config that may be written in several ways: mappings as they are typed,
//! and enums that only lend their schema.
//!
//! The enums are never made: they describe what [`super::resolve`] accepts where [`super::wire`] keeps a
//! value as it was typed. The tests of the schema and of the settings hold the two together.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::node::Node;
use crate::init::SchemeParams;

/// Layer id `base + step * c`, where `c` is the number matched by a group of the pattern.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Affine {
    /// Id for the number 0, or for every tensor if neither `step` nor `by` is given; default 0.
    pub base: Option<u64>,
    /// Step between ids; default 1.
    pub step: Option<u64>,
    /// The group, by its number, from 1, or by its name in a regular expression; default 1.
    #[schemars(with = "Option<By>")]
    pub by: Option<Node>,
}

/// A slice of a fused tensor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Slice {
    /// Name of the slice. With `layer: auto`, the id is the hash of the tensor's name, a dot and this name.
    pub name: String,
    /// Number of outputs; default: an equal share of the outputs that the other slices leave.
    #[schemars(with = "Option<u64>", range(min = 1))]
    pub size: Option<Node>,
    /// Layer id; default: the rule's id plus the number of the slice.
    #[schemars(with = "Option<Layer>")]
    pub layer: Option<Node>,
    /// A mode, or a mode with parameters; default: that of the rule.
    #[schemars(with = "Option<SliceInit>")]
    pub init: Option<Node>,
}

/// The tensor with the same name in a stored checkpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FromCheckpoint {
    /// The checkpoint: a safetensors file, an index, or a folder.
    pub from: PathBuf,
}

/// A threshold that depends on the weight: exactly one of the keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ThresholdForm {
    /// |delta| <= this * |w0|.
    pub relative: Option<f64>,
    /// Maximum distance from the initial value, as a number of representable values of the stored type.
    pub ulps: Option<u64>,
}

/// Importance scores from another program; the largest are kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scores {
    /// A checkpoint with a tensor of the same name and shape for every pruned tensor, or with one number per
    /// input channel, by which magnitudes are multiplied.
    pub scores: PathBuf,
}

/// How many weights are pruned: exactly one of the keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetForm {
    /// Share to prune; a list gives one share per tensor along the depth.
    #[schemars(with = "Option<Shares>")]
    pub sparsity: Option<Node>,
    /// How many to keep.
    #[schemars(with = "Option<u64>")]
    pub keep: Option<Node>,
    /// Size limit: as many weights are pruned as necessary.
    #[schemars(with = "Option<Size>")]
    pub bytes: Option<Node>,
}

/// A number of steps over the range of a tensor's values.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BitsForm {
    /// How many bits can count the steps.
    #[schemars(with = "u64", range(min = 1, max = 16))]
    pub bits: Node,
}

/// Which weights are pruned together: `n` with `m`, or `block`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StructureForm {
    /// How many of every m are kept.
    #[schemars(with = "Option<u64>", range(min = 1))]
    pub n: Option<Node>,
    /// How many neighbours are ranked together.
    #[schemars(with = "Option<u64>", range(min = 1))]
    pub m: Option<Node>,
    /// The neighbours: input_channels at one kernel position (default), inputs with their kernel positions,
    /// or columns as stored.
    #[schemars(with = "Option<AlongWord>")]
    pub along: Option<Node>,
    /// Leave tensors unchanged if m does not divide their inputs; default false, which refuses them.
    pub where_divisible: Option<bool>,
    /// Rows and columns of a block.
    #[schemars(with = "Option<[u64; 2]>")]
    pub block: Option<Node>,
}

/// Minimum share pruned of the weights of all tensors with matching names together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SparsityGate {
    /// A glob anchored at both ends, `re:` and an unanchored regular expression, or a list of them.
    #[serde(rename = "match")]
    #[schemars(with = "OneOrMany")]
    pub patterns: Node,
    /// The share.
    #[schemars(with = "f64", range(min = 0, max = 1))]
    pub min: Node,
    /// Allow the patterns to match nothing; default false.
    #[serde(default)]
    pub optional: bool,
}

/// What has the name of an enum below.
mod full {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::Node;
    use crate::tensor::FloatDtype;

    /// A listed tensor with its own type.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in super::super) struct Tensor {
        /// Dimensions, outermost first.
        #[schemars(with = "Vec<u64>")]
        pub shape: Node,
        /// Type; default: that of the model.
        pub dtype: Option<FloatDtype>,
    }
}

pub(super) use full::Tensor as FullTensor;

/// Declares enums that only lend their schema.
macro_rules! forms {
    ($($(#[$attribute:meta])* enum $name:ident { $($body:tt)* })*) => {
        $(
            #[derive(JsonSchema)]
            #[expect(dead_code, reason = "lends its schema and is never made")]
            $(#[$attribute])*
            pub(super) enum $name { $($body)* }
        )*
    };
}

forms! {
    /// A word, or a list of them.
    #[schemars(untagged)]
    enum OneOrMany { One(String), Many(Vec<String>) }

    /// A shape, outermost dimension first, or a shape and a type.
    #[schemars(untagged)]
    enum Tensor { Shape(Vec<u64>), Full(FullTensor) }

    /// One id for all tensors of the rule, `auto`, or a formula.
    #[schemars(untagged)]
    enum Layer { Id(u64), Auto(Auto), Affine(Affine) }

    /// The hash of the tensor's name.
    #[schemars(rename_all = "lowercase")]
    enum Auto { Auto }

    /// A group by its number, from 1, or by its name.
    #[schemars(untagged)]
    enum By { Number(#[schemars(range(min = 1))] u64), Name(String) }

    /// A mode, `none`, a mode with parameters, or another checkpoint.
    #[schemars(untagged)]
    enum InitValue { Mode(String), Params(Box<SchemeParams>), From(FromCheckpoint) }

    /// A named layout, or a role for each dimension.
    #[schemars(untagged)]
    enum LayoutValue { Word(LayoutWord), Roles(#[schemars(length(min = 1, max = 8))] Vec<RoleWord>) }

    /// Outputs first, or last.
    #[schemars(rename_all = "snake_case")]
    enum LayoutWord { OutIn, InOut }

    /// Role of a dimension.
    #[schemars(rename_all = "lowercase")]
    enum RoleWord { Expert, Out, In, Kernel }

    /// Direction of groups of n of m.
    #[schemars(rename_all = "snake_case")]
    enum AlongWord { Inputs, InputChannels, Columns }

    /// The name of a slice, or its name with the settings that differ from the rule.
    #[schemars(untagged)]
    enum SliceForm { Name(String), Full(Slice) }

    /// A mode, or a mode with parameters.
    #[schemars(untagged)]
    enum SliceInit { Mode(String), Params(Box<SchemeParams>) }

    /// A number (the largest |delta|), a form that depends on the weight, or `auto`.
    #[schemars(untagged)]
    enum ThresholdValue {
        Absolute(#[schemars(range(min = 0))] f64),
        Form(ThresholdForm),
        Auto(Told),
    }

    /// Inferred from the weights.
    #[schemars(rename_all = "lowercase")]
    enum Told { Auto }

    /// `none`, `auto`, or the factor.
    #[schemars(untagged)]
    enum Decay { Word(DecayWord), Factor(#[schemars(extend("exclusiveMinimum" = 0))] f64) }

    /// No decay (factor 1), or inferred from the weights.
    #[schemars(rename_all = "lowercase")]
    enum DecayWord { None, Auto }

    /// Bytes, or a number with a unit: 10MB is 10^7, 10MiB is 10 * 2^20.
    #[schemars(untagged)]
    enum Size {
        Bytes(#[schemars(range(min = 1))] u64),
        Text(#[schemars(regex(pattern = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKMGT]B|[KMGT]iB|B)?\s*$"))] String),
    }

    /// A criterion's name, or scores of a file.
    #[schemars(untagged)]
    enum Criterion { Word(CriterionWord), Scores(Scores) }

    /// Ranking criterion.
    #[schemars(rename_all = "snake_case")]
    enum CriterionWord { Sleeping, Magnitude, Movement, MagnitudeIncrease, Nearest, Random }

    /// The threshold of the analysis, or a number of weights.
    #[schemars(untagged)]
    enum Target { Word(TargetWord), Form(TargetForm) }

    /// All weights that sleep by the threshold of the analysis.
    #[schemars(rename_all = "lowercase")]
    enum TargetWord { Threshold }

    /// A share, or several along the depth.
    #[schemars(untagged)]
    enum Shares {
        One(#[schemars(range(min = 0, max = 1))] f64),
        Many(#[schemars(length(min = 1), inner(range(min = 0, max = 1)))] Vec<f64>),
    }

    /// Seconds, or a number with a unit: ms, s, m or h.
    #[schemars(untagged)]
    enum Duration {
        Seconds(#[schemars(extend("exclusiveMinimum" = 0))] f64),
        Text(#[schemars(regex(pattern = r"^\s*[0-9]*\.?[0-9]*\s*(ms|s|m|h)?\s*$"))] String),
    }

    /// A share of all weights, or a list of such shares and of those of some tensors.
    #[schemars(untagged)]
    enum MinSparsity {
        All(#[schemars(range(min = 0, max = 1))] f64),
        Several(#[schemars(length(min = 1))] Vec<MinSparsityEntry>),
    }

    /// A share of all weights, or of those of some tensors.
    #[schemars(untagged)]
    enum MinSparsityEntry {
        All(#[schemars(range(min = 0, max = 1))] f64),
        Some(SparsityGate),
    }

    /// A function between two layers.
    #[schemars(rename_all = "lowercase")]
    enum ActivationWord { Relu, Identity, Gelu, Silu, Tanh }

    /// Which weights are ranked together.
    #[schemars(rename_all = "lowercase")]
    enum Scope { Tensor, Global, Row }

    /// A structure's name, n of m, or blocks.
    #[schemars(untagged)]
    enum Structure {
        Word(StructureWord),
        OfM(#[schemars(regex(pattern = r"^[1-9][0-9]*:[1-9][0-9]*$"))] String),
        Form(StructureForm),
    }

    /// Which weights are pruned together.
    #[schemars(rename_all = "lowercase")]
    enum StructureWord { Unstructured, Rows, Columns, Filters, Channels }

    /// Value of a pruned weight.
    #[schemars(rename_all = "lowercase")]
    enum FillValue { Zero, Init, Nearest }

    /// Storage format of a pruned tensor.
    #[schemars(rename_all = "lowercase")]
    enum FormatValue { Auto, Coded, Sparse, Dense, Bitmask, Csr }

    /// Type of the values written.
    #[schemars(rename_all = "lowercase")]
    enum OutputDtype { Keep, F32, Bf16, F16 }

    /// A length, `auto`, or a number of bits.
    #[schemars(untagged)]
    enum Step {
        Length(#[schemars(extend("exclusiveMinimum" = 0))] f64),
        Auto(Told),
        Bits(BitsForm),
    }

    /// From where steps are counted.
    #[schemars(rename_all = "lowercase")]
    enum OverWord { Auto, Init, Zero }

    /// How values are rounded to steps.
    #[schemars(rename_all = "lowercase")]
    enum RoundingWord { Nearest, Compensated }
}

/// The version of the config's format.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "lends its schema and is never made")]
pub(super) struct Version(#[schemars(range(min = 1, max = 1))] u64);

/// A seed: a number that fits in a signed or an unsigned 64-bit integer.
#[derive(JsonSchema)]
#[schemars(extend("minimum" = i64::MIN, "maximum" = u64::MAX))]
#[schemars(transparent)]
#[expect(dead_code, reason = "lends its schema and is never made")]
pub(super) struct Seed(i128);
