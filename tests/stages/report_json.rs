//! The JSON report: read back it is the same report, and its schema says everything that is in it.

use std::fs;

use cdi_prune::report::{Report, json as to_json, parse, schema};
use serde_json::{Value, json};

use crate::common::{Scratch, f32s, root, shipped_config};

/// A report of a shipped checkpoint. (`tests/python` checks all of them against the schema
/// with another program.)
fn report(folder: &str, threshold: &str) -> String {
    let s = Scratch::new();
    let mut config = shipped_config(&root().join(folder));
    config["analyze"] = json!({"report": {"json": "r.json"}});
    config["prune"] =
        json!({"output": "p.safetensors", "dtype": "f32", "rules": [{"match": "**.bias", "keep": true}]});
    s.write("x.yaml", config.to_string());
    let threshold = format!("analyze.threshold={threshold}");
    let ran = s.run(&["run", "x.yaml", "--set", &threshold, "--set", "analyze.decay=auto"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::read_to_string(s.path("r.json")).unwrap()
}

#[test]
fn reports_are_read_back_as_they_were_written() {
    for folder in [
        "examples/data/mlp_pad_sgd",
        "examples/data/mlp_bf16_sgd",
        "tests/data/mlp_pad_sgdm_wd",
        "tests/data/byte_lm_adamw",
        "tests/data/cnn_adamw",
    ] {
        for threshold in ["auto", "1.0e-6", "{relative: 0.1}", "{ulps: 3}"] {
            let text = report(folder, threshold);
            let parsed: Report = parse(text.as_bytes()).unwrap();
            assert!(to_json(&parsed) == text, "{folder} at {threshold}");
        }
    }
}

#[test]
fn a_report_without_values_is_read_back_too() {
    let s = Scratch::new();
    // NaN only, a scalar, no weight at all, another type: no means, no quantiles, no initial value.
    let tensors = [
        ("a", "F32", &[2, 2][..], f32s(&[f32::NAN; 4])),
        ("b", "F32", &[], f32s(&[1.0])),
        ("c", "F32", &[0, 3], Vec::new()),
        ("d", "U8", &[1], vec![1]),
        ("e", "F32", &[1], f32s(&[1.0])),
    ];
    s.safetensors("trained.safetensors", &tensors);
    s.write(
        "x.yaml",
        "{seed: 18446744073709551615, rules: [{match: e, init: none}, {match: '**', layer: 18446744073709551615, init: \
         {mode: normal, std: 0.1}, shared: true}], trained: {path: trained.safetensors}, analyze: {report: {json: r.json}}}",
    );
    let ran = s.run(&["analyze", "x.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let text = fs::read_to_string(s.path("r.json")).unwrap();
    let report = parse(text.as_bytes()).unwrap();
    assert_eq!(to_json(&report), text);
    assert_eq!((report.seed, report.tensors[1].layer_id), (u64::MAX, Some(u64::MAX)));
    assert_eq!(report.tensors[0].drift.delta_quantiles, None);
}

#[test]
fn the_schema_is_printed() {
    let s = Scratch::new();
    let ran = s.run(&["schema", "--report"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(printed, schema());
    assert_eq!(printed["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(printed["title"], "cdi-prune report");
    let config: Value = serde_json::from_str(&s.run(&["schema"]).stdout).unwrap();
    assert_eq!(config["title"], "cdi-prune config");
}

/// The object schema at the end of `$ref` and `anyOf`.
fn object<'s>(root: &'s Value, mut at: &'s Value) -> Option<&'s Value> {
    loop {
        if let Some(reference) = at["$ref"].as_str() {
            at = root.pointer(reference.trim_start_matches('#')).unwrap();
        } else if let Some(first) = at["anyOf"].get(0) {
            at = first;
        } else if at.get("items").is_some() {
            at = &at["items"];
        } else {
            return at.get("properties").is_some().then_some(at);
        }
    }
}

/// Every key of the value is in the schema, required there and described; and the other way round, but for
/// `rounding`, which is absent where nothing is rounded.
fn described(root: &Value, schema: &Value, value: &Value, path: &str) {
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let properties = &schema["properties"];
    let present: Vec<String> = keys(properties).into_iter().filter(|key| key != "rounding").collect();
    assert_eq!(present, keys(value), "{path}");
    let mut required: Vec<String> = serde_json::from_value(schema["required"].clone()).unwrap();
    required.sort();
    assert_eq!(required, keys(value), "{path}");
    for (key, value) in value.as_object().unwrap() {
        let property = &properties[key];
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.len() > 10, "{path}.{key}: {property}");
        let value =
            if let Value::Array(items) = value { items.first().unwrap_or(&Value::Null) } else { value };
        // A threshold is a choice of forms, described as a whole.
        if let (Some(inner), Value::Object(_), false) = (object(root, property), value, key == "threshold") {
            described(root, inner, value, &format!("{path}.{key}"));
        }
    }
}

#[test]
fn the_schema_has_every_key_of_a_report_and_describes_it() {
    let report: Value = serde_json::from_str(&report("tests/data/mlp_pad_sgdm_wd", "auto")).unwrap();
    let schema = schema();
    described(&schema, &schema, &report, "report");
    let tensor = object(&schema, &schema["properties"]["tensors"]).unwrap();
    // fc1.weight, which has every value.
    described(&schema, tensor, &report["tensors"][1], "tensors[]");
    let found: Vec<&String> = report["tensors"][1]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, v)| v.is_null())
        .map(|(k, _)| k)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Dead outputs and inputs are those of the layout. Each expert has its own: output 1 of both experts and
/// input 2 of the second one stay at their initial zeros, in any order of storage.
#[test]
fn dead_units_are_where_the_layout_has_them() {
    // (layout, shape, and for each dimension which of the numbers (expert, output, input) it counts)
    for (layout, shape, of) in [
        ("[expert, out, in]", [2, 3, 4], [0, 1, 2]),
        ("[expert, in, out]", [2, 4, 3], [0, 2, 1]),
        // As kernel, output, input: nothing is an expert's own.
        ("[kernel, out, in]", [2, 3, 4], [0, 1, 2]),
        ("[in, out, kernel]", [4, 3, 2], [2, 1, 0]),
        ("out_in", [3, 4, 2], [1, 2, 0]),
        ("in_out", [2, 4, 3], [0, 2, 1]),
    ] {
        let s = Scratch::new();
        let experts = layout.contains("expert");
        let weights: Vec<f32> = (0..24)
            .map(|place| {
                let index = [place / (shape[1] * shape[2]), place / shape[2] % shape[1], place % shape[2]];
                let mut numbers = [0; 3];
                of.iter().zip(index).for_each(|(which, n)| numbers[*which] = n);
                let [expert, output, input] = numbers;
                f32::from(u8::from(!(output == 1 || (input == 2 && (expert == 1 || !experts)))))
            })
            .collect();
        s.safetensors("trained.safetensors", &[("w", "F32", &shape, f32s(&weights))]);
        let config = format!(
            "{{seed: 1, rules: [{{match: w, init: zeros, layout: {layout}}}], trained: {{path: trained.safetensors}}, \
             analyze: {{threshold: 0, report: {{json: r.json}}}}}}"
        );
        s.write("x.yaml", config);
        let ran = s.run(&["analyze", "x.yaml"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let report: Value = serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap();
        let tensor = &report["tensors"][0];
        let got =
            ["sleeping_outputs", "sleeping_inputs", "sleeping_scattered"].map(|key| tensor[key].clone());
        let expected = if experts { [2, 1, 0] } else { [1, 1, 0] };
        assert_eq!(got, expected.map(Value::from), "{layout}");
    }
}
