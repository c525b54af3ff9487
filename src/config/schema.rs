//! The config's JSON Schema, with the forms of those values that may be written in several ways.
//!
//! The types here are never made: they only describe what [`super::resolve`] accepts where [`super::wire`] keeps a
//! value as it was typed. `tests` below and the tests of the settings hold the two together.

use schemars::JsonSchema;

use super::wire;
use crate::init::SchemeParams;

/// The JSON Schema (draft 2020-12) of the config, for editors that complete and check YAML.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(wire::Config).to_value()
}

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
    enum Tensor { Shape(Vec<u64>), Full(wire::Tensor) }

    /// One id for all tensors of the rule, `auto`, or a formula.
    #[schemars(untagged)]
    enum Layer { Id(u64), Auto(Auto), Affine(wire::Affine) }

    /// The hash of the tensor's name.
    #[schemars(rename_all = "lowercase")]
    enum Auto { Auto }

    /// A group by its number, from 1, or by its name.
    #[schemars(untagged)]
    enum By { Number(#[schemars(range(min = 1))] u64), Name(String) }

    /// A mode, `none`, a mode with parameters, or another checkpoint.
    #[schemars(untagged)]
    enum InitValue { Mode(String), Params(Box<SchemeParams>), From(wire::FromCheckpoint) }

    /// A word for the whole, or a role for each dimension.
    #[schemars(untagged)]
    enum LayoutValue { Word(LayoutWord), Roles(#[schemars(length(min = 1, max = 8))] Vec<RoleWord>) }

    /// Outputs first, or last.
    #[schemars(rename_all = "snake_case")]
    enum LayoutWord { OutIn, InOut }

    /// What a dimension counts.
    #[schemars(rename_all = "lowercase")]
    enum RoleWord { Expert, Out, In, Kernel }

    /// What groups of n of m go along.
    #[schemars(rename_all = "snake_case")]
    enum AlongWord { Inputs, InputChannels, Columns }

    /// A slice's name, or its name with what differs from the rule.
    #[schemars(untagged)]
    enum SliceForm { Name(String), Full(wire::Slice) }

    /// A mode, or a mode with parameters.
    #[schemars(untagged)]
    enum SliceInit { Mode(String), Params(Box<SchemeParams>) }

    /// A number (the largest |delta|), a form that depends on the weight, or `auto`.
    #[schemars(untagged)]
    enum ThresholdValue {
        Absolute(#[schemars(range(min = 0))] f64),
        Form(wire::ThresholdForm),
        Auto(Told),
    }

    /// The weights tell it.
    #[schemars(rename_all = "lowercase")]
    enum Told { Auto }

    /// `none`, `auto`, or the factor.
    #[schemars(untagged)]
    enum Decay { Word(DecayWord), Factor(#[schemars(extend("exclusiveMinimum" = 0))] f64) }

    /// No decay, which is the factor 1, or whatever the weights tell.
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
    enum Criterion { Word(CriterionWord), Scores(wire::Scores) }

    /// By what weights are ranked.
    #[schemars(rename_all = "snake_case")]
    enum CriterionWord { Sleeping, Magnitude, Movement, MagnitudeIncrease, Nearest, Random }

    /// What the analysis' threshold says, or a number of places.
    #[schemars(untagged)]
    enum Target { Word(TargetWord), Form(wire::TargetForm) }

    /// All that the analysis' threshold calls sleeping.
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
        Some(wire::SparsityGate),
    }

    /// A function between two layers.
    #[schemars(rename_all = "lowercase")]
    enum ActivationWord { Relu, Identity, Gelu, Silu, Tanh }

    /// What is ranked with each other.
    #[schemars(rename_all = "lowercase")]
    enum Scope { Tensor, Global, Row }

    /// A structure's name, n of m, or blocks.
    #[schemars(untagged)]
    enum Structure {
        Word(StructureWord),
        OfM(#[schemars(regex(pattern = r"^[1-9][0-9]*:[1-9][0-9]*$"))] String),
        Form(wire::StructureForm),
    }

    /// What goes together.
    #[schemars(rename_all = "lowercase")]
    enum StructureWord { Unstructured, Rows, Columns, Filters, Channels }

    /// What a pruned place becomes.
    #[schemars(rename_all = "lowercase")]
    enum FillValue { Zero, Init, Nearest }

    /// How a pruned tensor is stored.
    #[schemars(rename_all = "lowercase")]
    enum FormatValue { Auto, Dense, Bitmask, Csr }

    /// The type of the values written.
    #[schemars(rename_all = "lowercase")]
    enum OutputDtype { Keep, F32, Bf16, F16 }
}

/// The version of the config's format.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "lends its schema and is never made")]
pub(super) struct Version(#[schemars(range(min = 1, max = 1))] u64);

/// A seed: a number that either a signed or an unsigned integer of 64 bits holds.
#[derive(JsonSchema)]
#[schemars(extend("minimum" = i64::MIN, "maximum" = u64::MAX))]
#[schemars(transparent)]
#[expect(dead_code, reason = "lends its schema and is never made")]
pub(super) struct Seed(i128);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The keys of an object schema, at the end of a path of keys through `$ref`s.
    fn properties(schema: &Value, path: &[&str]) -> Vec<String> {
        let mut at = schema;
        for key in path {
            at = resolved(schema, &at["properties"][key]);
        }
        at["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn resolved<'s>(root: &'s Value, mut at: &'s Value) -> &'s Value {
        // Optional mappings are `anyOf: [{$ref}, {type: null}]`, lists hold theirs in `items`.
        loop {
            if let Some(reference) = at["$ref"].as_str() {
                at = root.pointer(reference.trim_start_matches('#')).unwrap();
            } else if let Some(first) = at["anyOf"].get(0) {
                at = first;
            } else if at.get("items").is_some() {
                at = &at["items"];
            } else {
                return at;
            }
        }
    }

    #[test]
    fn the_schema_names_every_key_that_this_version_reads() {
        let schema = schema();
        assert_eq!(schema["title"], "cdi-prune config");
        assert_eq!(schema.get("required"), None, "a seed is needed only where something is drawn");
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(
            properties(&schema, &[]),
            [
                "version", "seed", "model", "rules", "init", "trained", "analyze", "prune", "tune", "gates",
                "manifest"
            ]
        );
        assert_eq!(properties(&schema, &["model"]), ["like", "tensors", "dtype", "layout"]);
        assert_eq!(
            properties(&schema, &["rules"]),
            ["match", "layer", "init", "slices", "layout", "decay", "shared", "optional"]
        );
        assert_eq!(properties(&schema, &["analyze", "report"]), ["json", "csv", "markdown", "html", "svg"]);
        assert_eq!(
            properties(&schema, &["prune", "rules"]),
            [
                "match",
                "keep",
                "criterion",
                "target",
                "scope",
                "structure",
                "min_elements",
                "floor",
                "ceiling",
                "optional"
            ]
        );
        assert_eq!(resolved(&schema, &schema["properties"]["seed"])["maximum"], json!(u64::MAX));
    }

    #[test]
    fn every_key_is_described() {
        fn check(at: &Value, path: &str) {
            match at {
                Value::Object(map) => {
                    if let Some(Value::Object(properties)) = map.get("properties") {
                        for (key, property) in properties {
                            assert!(property.get("description").is_some(), "{path}.{key} has no description");
                        }
                    }
                    map.iter().for_each(|(key, value)| check(value, &format!("{path}.{key}")));
                }
                Value::Array(list) => list.iter().for_each(|value| check(value, path)),
                _ => {}
            }
        }
        check(&schema(), "");
    }
}
