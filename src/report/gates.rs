//! Gates in words, and as annotations of GitHub Actions.

use crate::gates::{Figure, Gate, GateResult};
use crate::text::{printable, significant, thousands};

/// What the gate is about: `min_sparsity of fc*.weight`, `max_tensor_sparsity, fc1.weight`.
/// `name` writes names.
pub(super) fn subject(result: &GateResult, name: impl Fn(&str) -> String) -> String {
    let gate = result.gate.name();
    match (&result.patterns, &result.tensor) {
        (Some(patterns), _) => {
            let patterns: Vec<String> = patterns.iter().map(|pattern| name(pattern)).collect();
            format!("{gate} of {}", patterns.join(", "))
        }
        (None, Some(tensor)) => format!("{gate}, {}", name(tensor)),
        (None, None) => gate.to_owned(),
    }
}

/// Measured value and limit, `0.227, limit at least 0.25`. Digits enough to tell them apart.
pub(super) fn figures(result: &GateResult) -> (String, String) {
    let (measured, limit) = (result.measured, result.limit);
    let unit = match result.gate {
        Gate::MaxOutputBytes => " bytes",
        Gate::Finite => " not finite",
        _ => "",
    };
    let digits = (4..18)
        .find(|digits| measured == limit || figure(measured, *digits) != figure(limit, *digits))
        .unwrap_or(17);
    let bound = if result.gate.is_least() { "at least" } else { "at most" };
    (format!("{}{unit}", figure(measured, digits)), format!("{bound} {}", figure(limit, digits)))
}

fn figure(figure: Figure, digits: usize) -> String {
    match figure {
        Figure::Count(n) => thousands(n),
        Figure::Real(x) => significant(x, digits),
    }
}

/// One gate in a line for a terminal: `min_sparsity of fc*.weight: 0.227, limit at least 0.25`.
pub fn gate_words(result: &GateResult) -> String {
    let (measured, limit) = figures(result);
    format!("{}: {measured}, limit {limit}", subject(result, printable))
}

/// How serious an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It stops the job, or should.
    Error,
    /// Worth a look.
    Warning,
    /// For information.
    Notice,
}

/// A line that GitHub Actions makes an annotation of, by its workflow commands. Characters that would end the
/// title or the line are written as their numbers.
pub fn annotation(severity: Severity, title: &str, message: &str) -> String {
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    };
    let message = escaped(message);
    let title = escaped(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{command} title={title}::{message}")
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The annotation of one gate.
pub fn gate_annotation(result: &GateResult) -> String {
    let (severity, word) =
        if result.passed { (Severity::Notice, "passed") } else { (Severity::Error, "failed") };
    annotation(severity, &format!("cdi-prune: {} {word}", result.gate.name()), &gate_words(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(gate: Gate, measured: Figure, limit: Figure) -> GateResult {
        GateResult { gate, patterns: None, tensor: None, limit, measured, passed: false }
    }

    #[test]
    fn digits_tell_a_failure_from_its_limit() {
        let words = |measured, limit| {
            gate_words(&result(Gate::MinSparsity, Figure::Real(measured), Figure::Real(limit)))
        };
        assert_eq!(words(0.227_054_8, 0.25), "min_sparsity: 0.2271, limit at least 0.25");
        assert_eq!(words(0.499_999_7, 0.5), "min_sparsity: 0.4999997, limit at least 0.5");
        assert_eq!(words(0.123_456_7, 0.123_456_7), "min_sparsity: 0.1235, limit at least 0.1235");
        let bytes = result(Gate::MaxOutputBytes, Figure::Count(219_992), Figure::Count(200_000));
        assert_eq!(gate_words(&bytes), "max_output_bytes: 219,992 bytes, limit at most 200,000");
        let finite = GateResult {
            tensor: Some("a\n".to_owned()),
            ..result(Gate::Finite, Figure::Count(3), Figure::Count(0))
        };
        assert_eq!(gate_words(&finite), "finite, a\\n: 3 not finite, limit at most 0");
    }

    #[test]
    fn annotations_cannot_be_left() {
        assert_eq!(
            annotation(Severity::Error, "a: b, 5%\n::x", "50 %\r\n::error::no: it is, text"),
            "::error title=a%3A b%2C 5%25%0A%3A%3Ax::50 %25%0D%0A::error::no: it is, text"
        );
        let passed = GateResult {
            patterns: Some(vec!["**.q,v".to_owned()]),
            passed: true,
            ..result(Gate::MinSparsity, Figure::Real(0.5), Figure::Real(0.25))
        };
        assert_eq!(
            gate_annotation(&passed),
            "::notice title=cdi-prune%3A min_sparsity passed::min_sparsity of **.q,v: 0.5, limit at least 0.25"
        );
    }
}
