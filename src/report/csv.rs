//! The report as CSV: one row per tensor, by RFC 4180; what has no value is an empty field.

use serde_json::Value;

use super::Report;

/// A header line and one line per tensor; lines end in CR LF, lists are joined with `x`.
pub fn csv(report: &Report) -> String {
    let mut text = String::new();
    for (n, tensor) in report.tensors.iter().enumerate() {
        let Ok(Value::Object(fields)) = serde_json::to_value(tensor) else { continue };
        if n == 0 {
            line(&mut text, fields.keys().cloned());
        }
        line(&mut text, fields.values().map(field));
    }
    text
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    let quoted = fields.map(|f| {
        if f.contains([',', '"', '\r', '\n']) { format!("\"{}\"", f.replace('"', "\"\"")) } else { f }
    });
    text.push_str(&quoted.collect::<Vec<_>>().join(","));
    text.push_str("\r\n");
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(field).collect::<Vec<_>>().join("x"),
        other => other.to_string(),
    }
}
