//! Compares measured values with the limits of gates.

use super::{Figure, Gate, GateResult, Gates};

/// The measured values. A value that a command does not measure is `None`, and its gates are skipped.
#[derive(Clone, Debug, Default)]
pub struct Measured<'a> {
    /// Floating-point tensors of the trained checkpoint, in name order.
    pub tensors: Vec<MeasuredTensor<'a>>,
    /// Size of the pruned checkpoint in bytes.
    pub output_bytes: Option<u64>,
    /// Whether the trained checkpoint started from the initial values.
    pub start: Option<MeasuredStart<'a>>,
    /// How much worse the pruned checkpoint is than the original, in the metric's units;
    /// negative if it is better.
    pub metric_drop: Option<f64>,
}

/// Evidence that the trained checkpoint started from the initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredStart<'a> {
    /// Cosine of weights and initial values, -1 … 1; either sign is evidence, and 0 means that there is none.
    pub cosine: f64,
    /// The smallest cosine that is not chance.
    pub significant: f64,
    /// The tensor with this cosine, if it is of a single tensor.
    pub tensor: Option<&'a str>,
}

/// A floating-point tensor.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Number of weights.
    pub weights: u64,
    /// Number of pruned weights; `None` without pruning.
    pub pruned: Option<u64>,
    /// Weights that are NaN or infinite.
    pub not_finite: u64,
}

/// Evaluates every gate that can be measured, in the order of the config's documentation.
pub fn check(gates: &Gates, measured: &Measured<'_>) -> Vec<GateResult> {
    let tensors = &measured.tensors;
    let pruned = tensors.iter().all(|t| t.pruned.is_some());
    let mut results = Vec::new();
    for gate in gates.min_sparsity.iter().filter(|_| pruned) {
        let about: Vec<_> = tensors.iter().filter(|t| gate.is_about(t.name)).collect();
        if about.is_empty() && gate.optional {
            continue;
        }
        let weights = about.iter().map(|t| t.weights).sum();
        let share = share(about.iter().filter_map(|t| t.pruned).sum(), weights);
        results.push(GateResult {
            patterns: (!gate.text.is_empty()).then(|| gate.text.clone()),
            ..result(Gate::MinSparsity, Figure::Real(gate.min), Figure::Real(share), share >= gate.min)
        });
    }
    if let (Some(limit), Some(bytes)) = (gates.max_output_bytes, measured.output_bytes) {
        let (limit_figure, figure) = (Figure::Count(limit), Figure::Count(bytes));
        results.push(result(Gate::MaxOutputBytes, limit_figure, figure, bytes <= limit));
    }
    if let (Some(limit), true) = (gates.max_tensor_sparsity, pruned) {
        let of = |t: &MeasuredTensor<'_>| share(t.pruned.unwrap_or(0), t.weights);
        let worst = first_largest(tensors, of);
        let largest = worst.map_or(0.0, of);
        results.push(GateResult {
            tensor: worst.map(|t| t.name.to_owned()),
            ..result(Gate::MaxTensorSparsity, Figure::Real(limit), Figure::Real(largest), largest <= limit)
        });
    }
    if gates.finite {
        let count: u64 = tensors.iter().map(|t| t.not_finite).sum();
        let worst = first_largest(tensors, |t| t.not_finite as f64);
        results.push(GateResult {
            tensor: worst.map(|t| t.name.to_owned()),
            ..result(Gate::Finite, Figure::Count(0), Figure::Count(count), count == 0)
        });
    }
    if let (true, Some(start)) = (gates.started_here, measured.start) {
        let (limit, figure) = (Figure::Real(start.significant), Figure::Real(start.cosine));
        let passed = start.cosine.abs() >= start.significant;
        results.push(GateResult {
            tensor: start.tensor.map(str::to_owned),
            ..result(Gate::StartedHere, limit, figure, passed)
        });
    }
    if let (Some(limit), Some(drop)) = (gates.max_metric_drop, measured.metric_drop) {
        results.push(result(Gate::MaxMetricDrop, Figure::Real(limit), Figure::Real(drop), drop <= limit));
    }
    results
}

fn result(gate: Gate, limit: Figure, measured: Figure, passed: bool) -> GateResult {
    GateResult { gate, patterns: None, tensor: None, limit, measured, passed }
}

/// The first of the tensors for which the figure is largest, if it is above 0.
fn first_largest<'t, 'a>(
    tensors: &'t [MeasuredTensor<'a>],
    of: impl Fn(&MeasuredTensor<'a>) -> f64,
) -> Option<&'t MeasuredTensor<'a>> {
    let mut largest: Option<&MeasuredTensor<'a>> = None;
    for tensor in tensors {
        if of(tensor) > largest.map_or(0.0, &of) {
            largest = Some(tensor);
        }
    }
    largest
}

/// `n / of`; 0 if `of` is 0.
fn share(n: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::SparsityGate;
    use super::*;
    use crate::rules::Pattern;

    fn sparsity(patterns: &[&str], min: f64) -> SparsityGate {
        let compiled = patterns.iter().map(|p| Pattern::new(p).unwrap()).collect();
        let text = patterns.iter().map(|p| (*p).to_owned()).collect();
        SparsityGate { text, patterns: compiled, min, optional: true }
    }

    fn tensors(pruned: bool) -> Vec<MeasuredTensor<'static>> {
        let tensor = |name, weights, gone, not_finite| MeasuredTensor {
            name,
            weights,
            pruned: pruned.then_some(gone),
            not_finite,
        };
        vec![tensor("a", 8, 6, 0), tensor("b", 8, 6, 2), tensor("c", 0, 0, 0), tensor("d", 4, 0, 3)]
    }

    fn all() -> Gates {
        Gates {
            min_sparsity: vec![sparsity(&[], 0.6), sparsity(&["b", "d"], 0.51), sparsity(&["x"], 1.0)],
            max_output_bytes: Some(100),
            max_tensor_sparsity: Some(0.75),
            finite: true,
            started_here: true,
            max_metric_drop: Some(0.25),
        }
    }

    #[test]
    fn limits_themselves_pass() {
        let start = Some(MeasuredStart { cosine: 0.02, significant: 0.02, tensor: Some("b") });
        let measured =
            Measured { tensors: tensors(true), output_bytes: Some(100), start, metric_drop: Some(0.25) };
        let found: Vec<_> = check(&all(), &measured)
            .into_iter()
            .map(|r| (r.gate.name(), r.tensor, r.measured.as_f64(), r.passed))
            .collect();
        let tensor = |name: &str| Some(name.to_owned());
        assert_eq!(
            found,
            [
                ("min_sparsity", None, 0.6, true),
                ("min_sparsity", None, 0.5, false),
                ("max_output_bytes", None, 100.0, true),
                ("max_tensor_sparsity", tensor("a"), 0.75, true),
                ("finite", tensor("d"), 5.0, false),
                ("started_here", tensor("b"), 0.02, true),
                ("max_metric_drop", None, 0.25, true),
            ]
        );
    }

    #[test]
    fn one_beyond_fails() {
        let start = Some(MeasuredStart { cosine: 0.0199, significant: 0.02, tensor: None });
        let measured =
            Measured { tensors: tensors(true), output_bytes: Some(101), start, metric_drop: Some(0.2501) };
        let gates = Gates {
            min_sparsity: vec![sparsity(&["**"], 0.6001)],
            max_tensor_sparsity: Some(0.7499),
            ..all()
        };
        assert!(check(&gates, &measured).iter().all(|result| !result.passed));
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let measured = Measured { tensors: tensors(false), ..Measured::default() };
        let found: Vec<_> = check(&all(), &measured).iter().map(|r| r.gate).collect();
        assert_eq!(found, [Gate::Finite]);
    }

    /// Without tensors, the share of pruned weights is 0.
    #[test]
    fn nothing_is_no_sparsity() {
        let gates = Gates {
            min_sparsity: vec![SparsityGate { optional: false, ..sparsity(&[], 0.1) }],
            ..Gates::default()
        };
        let found = check(&gates, &Measured { output_bytes: Some(8), ..Measured::default() });
        assert_eq!((found[0].measured, found[0].passed), (Figure::Real(0.0), false));
    }
}
