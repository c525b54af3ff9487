"""The JSON report fits its published schema, says what NumPy finds in the tensors, and the CSV says the same."""

import csv
import json

import jsonschema
import numpy as np
import pytest
from conftest import cdi_prune

THRESHOLDS = [0, 1e-3, {"relative": 0.01}, {"ulps": 2}, "auto"]


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(cdi_prune("schema", "--report"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=json.dumps)
@pytest.mark.parametrize("decay", ["none", "auto"])
@pytest.mark.parametrize("command", ["analyze", "run"])
def test_reports_fit_the_schema(case, validator, command, threshold, decay):
    case.run(command, analyze__threshold=threshold, analyze__decay=decay)
    validator.validate(json.loads(case.report.read_text()))


def test_the_schema_refuses_what_is_no_report(case, validator):
    case.run("analyze")
    report = json.loads(case.report.read_text())
    wrong = [("version", 2), ("seed", "42"), ("tensors", None), ("fill", "nearer"), ("totals", {})]
    assert not any(validator.is_valid(report | {key: value}) for key, value in wrong)
    tensor = report["tensors"][0]
    for key, value in [("threshold", "auto"), ("shape", "2x2"), ("decay", "none"), ("delta_quantiles", {"p50": 0})]:
        assert not validator.is_valid(report | {"tensors": [tensor | {key: value}]}), key
    for key in tensor:
        rest = {other: tensor[other] for other in tensor if other != key}
        assert not validator.is_valid(report | {"tensors": [rest]}), key


@pytest.mark.parametrize("decay", [1, 0.786634])
@pytest.mark.parametrize("threshold", [0, 1e-3])
def test_figures(case, threshold, decay):
    initial, trained = case.initial_values(), case.trained()
    case.run("analyze", analyze__threshold=threshold, analyze__decay=decay)
    for tensor in json.loads(case.report.read_text())["tensors"]:
        w, w0 = (weights[tensor["name"]].astype(np.float64) for weights in (trained, initial))
        delta = np.abs(w - decay * w0)
        sleeping = delta <= threshold
        # Against the initial values as they were, without decay.
        expected = {
            "nan_share": 0.0,
            "infinite_share": 0.0,
            "zero_share": np.mean(w == 0),
            "std": w.std(),
            "initial_std": w0.std(),
            "std_ratio": w.std() / w0.std() if w0.std() > 0 else None,
            "norm_change": np.linalg.norm(w) / np.linalg.norm(w0) - 1 if w0.any() else None,
            "centred_cosine": np.corrcoef(w.ravel(), w0.ravel())[0, 1] if w0.std() > 0 and w.std() > 0 else None,
            "cosine": np.sum(w * w0) / np.linalg.norm(w) / np.linalg.norm(w0) if w0.any() else None,
        }
        for key, value in expected.items():
            assert tensor[key] == (value and pytest.approx(value, rel=1e-9, abs=1e-12)), key
        order = np.sort(delta, axis=None)
        for key, q in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)]:
            value = order[int(q * (order.size - 1))]
            assert tensor["delta_quantiles"][key] == pytest.approx(value, rel=1 / 64), key
            if w0.std() > 0:
                assert tensor["delta_over_std"][key] == pytest.approx(value / w0.std(), rel=1 / 64), key
        bins = tensor["delta_histogram"]
        assert bins["zero"] == np.sum(delta == 0)
        assert bins["zero"] + bins["below"] + sum(bins["counts"]) + bins["above"] == delta.size
        if w.ndim < 2:
            assert tensor["sleeping_outputs"] is tensor["sleeping_inputs"] is None
            assert tensor["sleeping_scattered"] == np.sum(sleeping)
        else:
            by_channel = np.moveaxis(sleeping, 1, 0).reshape(w.shape[1], -1)
            outputs, inputs = sleeping.reshape(w.shape[0], -1).all(1), by_channel.all(1)
            assert (tensor["sleeping_outputs"], tensor["sleeping_inputs"]) == (outputs.sum(), inputs.sum())
            whole = np.zeros_like(sleeping)
            whole[outputs] = True
            whole[:, inputs] = True
            assert tensor["sleeping_scattered"] == np.sum(sleeping & ~whole)


def test_csv_says_what_json_says(case):
    table = case.out / "report.csv"
    case.run("run", analyze__threshold="auto", analyze__decay="auto",
             analyze__report={"json": "report.json", "csv": "report.csv"})
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    report = json.loads(case.report.read_text())
    tensors = report["tensors"]
    assert len(rows) == len(tensors)
    files = {f"totals.{key}": report["totals"][key] for key in ("trained_bytes", "pruned_bytes", "pruned_bytes_share")}
    for row, tensor in zip(rows, tensors):
        flat = {}
        for key, value in tensor.items():
            if key == "shape":
                flat[key] = "x".join(map(str, value))
            elif isinstance(value, dict):
                flat |= {f"{key}.{inner}": value[inner] for inner in value}
            else:
                flat[key] = value
        flat |= files
        flat = {key: value for key, value in flat.items() if not key.startswith("delta_histogram.") and value is not None}
        found = {key: value for key, value in row.items() if value != ""}
        assert found.keys() == flat.keys()
        for key, value in flat.items():
            if isinstance(value, bool):
                value = str(value).lower()
            assert (float(found[key]) == value) if isinstance(value, float) else (found[key] == str(value)), key
