//! The config's JSON Schema.

use super::wire::Config;

/// The JSON Schema (draft 2020-12) of the config, for editors that complete and check YAML.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The keys of an object schema that a path of keys leads to, through `$ref`s.
    fn properties(schema: &Value, path: &[&str]) -> Vec<String> {
        let mut at = schema;
        for key in path {
            at = resolved(schema, &at["properties"][key]);
        }
        at["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn resolved<'s>(root: &'s Value, mut at: &'s Value) -> &'s Value {
        // Optional mappings are `anyOf: [{$ref}, {type: null}]`; for lists, the schema is in `items`.
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
                "values",
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
