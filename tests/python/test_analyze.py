"""The report says what NumPy computed in binary64."""

import json

import pytest

MEANS = ["max_delta", "mean_delta", "rms_delta"]


@pytest.mark.parametrize("threshold", ["0", "1e-06", "0.0001", "0.001", "0.01"])
def test_counts_and_means(case, threshold):
    case.run("analyze", analyze__threshold=float(threshold))
    report = json.loads(case.report.read_text())
    assert [tensor["name"] for tensor in report["tensors"]] == sorted(case.facts["facts"])
    for tensor in report["tensors"]:
        facts = case.facts["facts"][tensor["name"]]
        sleeping = facts[f"sleeping_at_{threshold}"]
        expected = {
            "total_weights": facts["total_weights"],
            "sleeping_weights": sleeping,
            "changed_weights": facts["total_weights"] - sleeping,
            "sleeping_percentage": pytest.approx(100 * sleeping / facts["total_weights"], rel=1e-12),
            "zeros": facts["zeros"],
            "not_finite": 0,
            "shape": case.facts["shapes"][tensor["name"]],
        }
        expected |= {key: pytest.approx(facts[key], rel=1e-12, abs=0) for key in MEANS}
        for lines in ["sleeping_rows", "sleeping_columns"]:
            if f"{lines}_at_{threshold}" in facts:
                expected[lines] = facts[f"{lines}_at_{threshold}"]
        assert {key: tensor[key] for key in expected} == expected
    totals = report["totals"]
    assert totals["total_weights"] == case.facts["params"]
    assert totals["sleeping_weights"] == case.facts["sleeping_totals"][threshold]
