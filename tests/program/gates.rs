//! Gates: limits checked last, the exit code, every form of the report, annotations, and every wrong config.

use std::fs;
use std::path::Path;

use cdi_prune::config::Settings;
use serde_json::{Value, json};

use crate::common::{Ran, Scratch, f32s};

/// Twelve weights that started at 0, of which eight sleep: `a.weight` 6 of 8, `b.weight` 2 of 2, the kept
/// `c.bias` none of its 2; and no weight but an integer.
fn scratch(gates: &str) -> Scratch {
    let s = Scratch::new();
    s.write(
        "x.yaml",
        format!(
            "seed: 1\n\
             rules: [{{match: '**', init: zeros}}]\n\
             trained: {{path: trained.safetensors}}\n\
             analyze: {{report: {{json: r.json, markdown: r.md, html: r.html, csv: r.csv}}}}\n\
             prune: {{output: p.safetensors, format: dense, rules: [{{match: c.bias, keep: true}}]}}\n\
             gates: {gates}\n"
        ),
    );
    s.safetensors(
        "trained.safetensors",
        &[
            ("a.weight", "F32", &[2, 4], f32s(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0])),
            ("b.weight", "F32", &[2], f32s(&[0.0, 0.0])),
            ("c.bias", "F32", &[2], f32s(&[3.0, f32::NAN])),
            ("step", "I64", &[1], vec![0; 8]),
        ],
    );
    s
}

fn gates(s: &Scratch) -> Value {
    let report: Value = serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap();
    report["gates"].clone()
}

/// Lines on standard output that speak of gates.
fn said(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().filter(|line| line.contains("Gate ") || line.starts_with("::")).collect()
}

#[test]
fn gates_that_pass() {
    let s = scratch(
        "{min_sparsity: [0.6, {match: [a.*, b.weight], min: 0.8}], max_output_bytes: 1MB, max_tensor_sparsity: 1}",
    );
    let ran = s.run(&["run", "x.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let bytes = fs::metadata(s.path("p.safetensors")).unwrap().len();
    // 8 of 12, 8 of 10; b.weight whole.
    assert_eq!(
        gates(&s),
        json!([
            {"gate": "min_sparsity", "patterns": null, "tensor": null,
             "limit": 0.6, "measured": 8.0 / 12.0, "passed": true},
            {"gate": "min_sparsity", "patterns": ["a.*", "b.weight"], "tensor": null,
             "limit": 0.8, "measured": 0.8, "passed": true},
            {"gate": "max_output_bytes", "patterns": null, "tensor": null,
             "limit": 1_000_000, "measured": bytes, "passed": true},
            {"gate": "max_tensor_sparsity", "patterns": null, "tensor": "b.weight",
             "limit": 1.0, "measured": 1.0, "passed": true},
        ])
    );
    assert_eq!(
        said(&ran),
        [
            "Gate passed: min_sparsity: 0.6667, limit at least 0.6.",
            "Gate passed: min_sparsity of a.*, b.weight: 0.8, limit at least 0.8.",
            &format!("Gate passed: max_output_bytes: {bytes} bytes, limit at most 1,000,000."),
            "Gate passed: max_tensor_sparsity, b.weight: 1, limit at most 1.",
        ]
    );
    assert_eq!(s.run(&["run", "x.yaml", "--quiet"]).stdout, "");
}

const FAILING: &str = "{min_sparsity: 0.7, max_output_bytes: 100, max_tensor_sparsity: 0.9, finite: true}";

#[test]
fn gates_that_fail_when_everything_is_written() {
    let s = scratch(FAILING);
    let ran = s.run(&["run", "x.yaml"]);
    let bytes = fs::metadata(s.path("p.safetensors")).unwrap().len();
    assert_eq!(ran.code, 4, "{ran:?}");
    let message = format!(
        "error: 4 of 4 gates failed; all outputs were written:\n\u{20}\u{20}min_sparsity: 0.6667, limit at \
         least 0.7\n\u{20}\u{20}max_output_bytes: {bytes} bytes, limit at most \
         100\n\u{20}\u{20}max_tensor_sparsity, b.weight: 1, limit at most 0.9\n\u{20}\u{20}finite, c.bias: 1 \
         not finite, limit at most 0\n"
    );
    assert!(ran.stderr.ends_with(&message), "{ran:?}");
    assert_eq!(said(&ran)[0], "Gate FAILED: min_sparsity: 0.6667, limit at least 0.7.");
    assert!(gates(&s).as_array().unwrap().iter().all(|gate| gate["passed"] == json!(false)));
    let markdown = fs::read_to_string(s.path("r.md")).unwrap();
    assert!(
        markdown.contains(
            "## Gates\n\n\
             | gate | limit | measured | result |\n| --- | ---: | ---: | --- |\n\
             | min_sparsity | at least 0.7 | 0.6667 | **failed** |\n"
        ),
        "{markdown}"
    );
    assert!(
        markdown.contains("| max_tensor_sparsity, `b.weight` | at most 0.9 | 1 | **failed** |\n"),
        "{markdown}"
    );
    let html = fs::read_to_string(s.path("r.html")).unwrap();
    let row = "<tr class=\"failed\"><th scope=\"row\"><code>finite, c.bias</code></th><td>at most 0</td>\
               <td>1 not finite</td><td>failed</td></tr>";
    assert!(html.contains(row), "{html}");
    assert!(s.path("r.csv").exists());
}

#[test]
fn without_gates_reports_say_nothing_of_them() {
    let s = scratch("{finite: false}");
    let ran = s.run(&["run", "x.yaml"]);
    assert_eq!((ran.code, gates(&s), said(&ran)), (0, json!([]), vec![]));
    assert!(!fs::read_to_string(s.path("r.md")).unwrap().contains("Gates"));
    assert!(!fs::read_to_string(s.path("r.html")).unwrap().contains("id=\"gates\""));
}

/// A command checks the gates that it finds out something about.
#[test]
fn stages_alone_check_what_they_measure() {
    let s = scratch(FAILING);
    let analyzed = s.run(&["analyze", "x.yaml"]);
    assert_eq!(analyzed.code, 4);
    assert_eq!(said(&analyzed), ["Gate FAILED: finite, c.bias: 1 not finite, limit at most 0."]);
    assert_eq!(gates(&s).as_array().unwrap().len(), 1);
    fs::remove_file(s.path("r.json")).unwrap();
    let pruned = s.run(&["prune", "x.yaml"]);
    assert_eq!((pruned.code, said(&pruned).len()), (4, 4), "{pruned:?}");
    assert!(s.path("p.safetensors").exists() && !s.path("r.json").exists());
}

#[test]
fn annotations_for_github() {
    let s = scratch("{min_sparsity: 0.7, max_tensor_sparsity: 1}");
    let ran = s.run(&["run", "x.yaml", "--format", "github"]);
    assert_eq!(ran.code, 4);
    assert_eq!(
        said(&ran),
        [
            "::warning title=cdi-prune::1 NaN in c.bias.",
            "::warning title=cdi-prune::Every weight is zero in b.weight (as initialised).",
            "::warning title=cdi-prune::Set to zero: 8 weights by sleeping, none of them changed by \
             training; this removes 0.0 %25 of the squared norm of the pruned tensors. 2 sleep outside \
             inputs and outputs whose weights all sleep, so something may read them. Measure the model, or \
             use `fill: init`.",
            "::error title=cdi-prune%3A min_sparsity failed::min_sparsity: 0.6667, limit at least 0.7",
            "::notice title=cdi-prune%3A max_tensor_sparsity passed::max_tensor_sparsity, b.weight: 1, limit at most 1",
        ]
    );
    let quiet = s.run(&["run", "x.yaml", "--format", "github", "--quiet"]);
    let error = "::error title=cdi-prune%3A min_sparsity failed::min_sparsity: 0.6667, limit at least 0.7\n";
    assert_eq!((quiet.code, quiet.stdout.as_str()), (4, error));
}

#[test]
fn a_pattern_that_matches_nothing() {
    let s = scratch("{min_sparsity: [{match: a.wieght, min: 0.5}]}");
    let ran = s.run(&["run", "x.yaml"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: x.yaml:6:32: this rule matches no tensor: `a.wieght` (did you mean `a.weight`?) (use \
             `optional: true` to allow this)\n"
        )
    );
    assert!(!s.path("p.safetensors").exists());
    let s = scratch("{min_sparsity: [{match: a.wieght, min: 0.5, optional: true}, 0.1]}");
    assert_eq!(s.run(&["run", "x.yaml"]).code, 0);
    assert_eq!(gates(&s).as_array().unwrap().len(), 1);
}

/// The message about `gates: …` on the second line of a config with these sections.
#[track_caller]
fn error(sections: &str, gates: &str) -> String {
    let text = format!("{{seed: 1, {sections}\ngates: {gates}}}\n");
    let error = Settings::parse(&text, Path::new("x.yaml"), &[]).unwrap_err().to_string();
    error.strip_prefix("x.yaml:2:").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn gates_without_their_stage() {
    let pruned = "prune: {output: p}, trained: {path: t},";
    let needs = |gate: &str, key: &str| {
        format!("9: `gates.{gate}` needs the key `{key}`, which the config does not have")
    };
    for gate in ["min_sparsity", "max_output_bytes", "max_tensor_sparsity"] {
        assert_eq!(error("analyze: {},", &format!("{{{gate}: 1}}")), needs(gate, "prune"));
    }
    assert_eq!(error("", "{finite: true}"), needs("finite", "analyze"));
    assert_eq!(error(pruned, "{max_metric_drop: 0.1}"), needs("max_metric_drop", "tune"));
    let none = "expected at least one of min_sparsity, max_output_bytes, max_tensor_sparsity, finite, \
                started_here, max_metric_drop, got none";
    assert_eq!(error(pruned, "{}"), format!("8: `gates`: {none}"));
}

#[test]
fn values_that_gates_cannot_have() {
    let error = |gates: &str| error("prune: {output: p}, trained: {path: t},", gates);
    let share = "a number from 0 to 1";
    for (gates, message) in [
        ("{min_sparsity: 1.5}", format!("23: `gates.min_sparsity`: expected {share}, got 1.5")),
        (
            "{min_sparsity: []}",
            format!(
                "23: `gates.min_sparsity`: expected {share} or a list of {{match, min}}, got an empty list"
            ),
        ),
        (
            "{min_sparsity: {min: 1}}",
            format!("23: `gates.min_sparsity`: expected {share} or a list of {{match, min}}, got a mapping"),
        ),
        ("{min_sparsity: [0.5, -1]}", format!("29: `gates.min_sparsity[1]`: expected {share}, got -1")),
        (
            "{min_sparsity: [{match: a, min: x}]}",
            format!("40: `gates.min_sparsity[0].min`: expected {share}, got the text `x`"),
        ),
        ("{min_sparsity: [{match: a}]}", "24: missing key `min` in `gates.min_sparsity[0]`".to_owned()),
        (
            "{min_sparsity: [{match: '[', min: 1}]}",
            "32: pattern `[`: the `[` at character 1 is not closed".to_owned(),
        ),
        (
            "{max_output_bytes: 10MX}",
            "27: `gates.max_output_bytes`: expected a whole number of bytes above 0, such as 10MB \
          (10^6), 10MiB (2^20) or 5GB, got the text `10MX`"
                .to_owned(),
        ),
        ("{max_tensor_sparsity: 2}", format!("30: `gates.max_tensor_sparsity`: expected {share}, got 2")),
        ("{finite: 1}", "17: `gates.finite`: expected true or false, got 1".to_owned()),
        (
            "{min_sparsty: 1}",
            "9: unknown key `min_sparsty` in `gates` (did you mean `min_sparsity`?); the keys are \
          min_sparsity, max_output_bytes, max_tensor_sparsity, finite, started_here, max_metric_drop"
                .to_owned(),
        ),
    ] {
        assert_eq!(error(gates), message, "{gates}");
    }
}
