//! The report as CSV: one row per tensor, by RFC 4180; what has no value is an empty field.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Report;
use super::model::ReportTensor;

/// Keys whose value may be an object, with the keys in it. A threshold may be a number or a word as well.
const OBJECTS: [(&str, &[&str]); 3] = [
    ("threshold", &["", "relative", "ulps"]),
    ("delta_quantiles", &["p50", "p90", "p99"]),
    ("delta_over_std", &["p50", "p90", "p99"]),
];

/// What is of whole files stands in every row: a row is a tensor, so that sums over rows
/// are sums over tensors.
const TOTALS: [&str; 3] = ["trained_bytes", "pruned_bytes", "pruned_bytes_share"];

/// Lists of counts are for programs that read JSON.
const LEFT_OUT: &str = "delta_histogram";

/// A header line and one line per tensor; lines end in CR LF. What JSON has in an object has a column for
/// each key in it, `delta_quantiles.p50`; dimensions are joined with `x`; the histogram is left out. At the
/// end stand the sizes of the files. The columns are always the same.
pub fn csv(report: &Report) -> String {
    let columns = columns();
    let totals = fields(&report.totals);
    let mut text = String::new();
    let of_totals = TOTALS.iter().map(|key| title("totals", key));
    line(&mut text, columns.iter().map(|(key, inner)| title(key, inner)).chain(of_totals));
    for tensor in &report.tensors {
        let fields = fields(tensor);
        let of_totals = TOTALS.iter().map(|key| field(totals.get(*key), ""));
        line(&mut text, columns.iter().map(|(key, inner)| field(fields.get(key), inner)).chain(of_totals));
    }
    text
}

fn fields(of: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Key and key within its object, `""` where it is none, in the report's order.
fn columns() -> Vec<(String, &'static str)> {
    let mut columns = Vec::new();
    for (key, _) in fields(&ReportTensor::default()) {
        match OBJECTS.iter().find(|(object, _)| *object == key) {
            Some((_, inner)) => columns.extend(inner.iter().map(|inner| (key.clone(), *inner))),
            None if key == LEFT_OUT => {}
            None => columns.push((key, "")),
        }
    }
    columns
}

fn title(key: &str, inner: &str) -> String {
    if inner.is_empty() { key.to_owned() } else { format!("{key}.{inner}") }
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    let quoted = fields.map(|f| {
        if f.contains([',', '"', '\r', '\n']) { format!("\"{}\"", f.replace('"', "\"\"")) } else { f }
    });
    text.push_str(&quoted.collect::<Vec<_>>().join(","));
    text.push_str("\r\n");
}

fn field(value: Option<&Value>, inner: &str) -> String {
    match value {
        Some(Value::Object(object)) => object.get(inner).map(scalar).unwrap_or_default(),
        Some(value) if inner.is_empty() => scalar(value),
        _ => String::new(),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join("x"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Quantiles, Threshold};
    use crate::report::Drift;

    fn row(tensor: ReportTensor) -> Vec<(String, String)> {
        let fields = fields(&tensor);
        let cell = |(key, inner): &(String, &str)| (title(key, inner), field(fields.get(key), inner));
        columns().iter().map(cell).filter(|(_, text)| !text.is_empty()).collect()
    }

    /// Whatever forms a value takes, each scalar in it has a column.
    #[test]
    fn nothing_is_lost_but_the_histogram() {
        let quantiles = Some(Quantiles { p50: 0.5, p90: 1.0, p99: 2.0 });
        for (threshold, (column, text)) in [
            (Threshold::Absolute(1e-6), ("threshold", "1e-6")),
            (Threshold::Relative(0.5), ("threshold.relative", "0.5")),
            (Threshold::Ulps(2), ("threshold.ulps", "2")),
            (Threshold::Nothing, ("threshold", "none")),
        ] {
            let drift = Drift { delta_quantiles: quantiles, delta_over_std: quantiles, ..Drift::default() };
            let tensor = ReportTensor {
                threshold: Some(threshold),
                drift,
                shape: vec![2, 3],
                ..ReportTensor::default()
            };
            let expected = [
                ("shape", "2x3"),
                ("total_weights", "0"),
                (column, text),
                ("delta_quantiles.p50", "0.5"),
                ("delta_quantiles.p90", "1.0"),
                ("delta_quantiles.p99", "2.0"),
                ("delta_over_std.p50", "0.5"),
                ("delta_over_std.p90", "1.0"),
                ("delta_over_std.p99", "2.0"),
            ];
            assert_eq!(row(tensor), expected.map(|(key, text)| (key.to_owned(), text.to_owned())));
        }
    }
}
