//! The condition for a weight to count as sleeping.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far from its initial value a weight may lie and still be called sleeping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// `|w - w0| <= x`; `x` finite, not negative.
    Absolute(f64),
    /// `|w - w0| <= x * |w0|`; `x` finite, not negative.
    Relative(f64),
    /// At most this many representable values of the stored type from `w0` (rounded to it) to `w`.
    Ulps(u64),
    /// No weight sleeps: what an automatic threshold answers where nothing tells sleeping
    /// weights from others.
    Nothing,
}

impl Default for Threshold {
    /// Exactly the initial value: the one threshold at which restoring a sleeping weight can cost nothing.
    fn default() -> Self {
        Self::Absolute(0.0)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(x) => write!(f, "{x:e}"),
            Self::Relative(x) => write!(f, "{x:e} * |w0|"),
            Self::Ulps(1) => f.write_str("1 ulp"),
            Self::Ulps(n) => write!(f, "{n} ulps"),
            Self::Nothing => f.write_str("none"),
        }
    }
}

/// A number, `{"relative": x}` or `{"ulps": n}`, as in the config; `"none"` for [`Threshold::Nothing`].
impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absolute(x) => serializer.serialize_f64(*x),
            Self::Relative(x) => serializer.collect_map([("relative", x)]),
            Self::Ulps(n) => serializer.collect_map([("ulps", n)]),
            Self::Nothing => serializer.serialize_str("none"),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form {
    Absolute(f64),
    Word(Word),
    Relative { relative: f64 },
    Ulps { ulps: u64 },
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    None,
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Absolute(x) => Self::Absolute(x),
            Form::Word(Word::None) => Self::Nothing,
            Form::Relative { relative } => Self::Relative(relative),
            Form::Ulps { ulps } => Self::Ulps(ulps),
        })
    }
}

impl JsonSchema for Threshold {
    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let form = Form::json_schema(generator);
        json_schema!({
            "description": "The largest |delta| of a sleeping weight: a number, {relative: x} for x * |w0|, {ulps: n} for n \
                            representable values of the stored type, or none where no weight can be called sleeping.",
            "anyOf": form.get("anyOf"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_back_as_written() {
        for (threshold, text) in [
            (Threshold::Absolute(1e-6), "1e-6"),
            (Threshold::Relative(0.5), r#"{"relative":0.5}"#),
            (Threshold::Ulps(2), r#"{"ulps":2}"#),
            (Threshold::Nothing, r#""none""#),
        ] {
            assert_eq!(serde_json::to_string(&threshold).unwrap(), text);
            assert_eq!(serde_json::from_str::<Threshold>(text).unwrap(), threshold);
        }
        assert!(serde_json::from_str::<Threshold>(r#""auto""#).is_err());
    }
}
