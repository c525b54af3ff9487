"""The shipped configs run, and what their comments say is so."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import FOLDERS, ROOT, cdi_prune, same_bits
from safetensors.numpy import load_file

DATA = {
    "quickstart": "mlp_pad_sgd",
    "mlp": "mlp_bf16_sgd",
    "cnn": "cnn_adamw",
    "transformer": "byte_lm_adamw",
    "tune": "mlp_pad_sgd",
    "smallest": "mlp_pad_sgd",
}
SLEEPING = {"quickstart": 15442, "mlp": 21546, "cnn": 110, "transformer": 9537, "tune": 15442, "smallest": 15442}


def run(name, out, *changes):
    """Runs a shipped config, its outputs moved to `out`. Gives its report."""
    keys = {
        "init.output": "init.safetensors",
        "analyze.report.json": "report.json",
        "analyze.report.csv": "report.csv",
        "analyze.report.markdown": "report.md",
        "analyze.report.html": "report.html",
        "prune.output": "pruned.safetensors",
    }
    if name in ("tune", "smallest"):
        keys |= {"analyze.report.svg": "plots", "tune.cache": "tune"}
    if name == "smallest":
        keys["prune.values.calibration"] = "moments.safetensors"
        calibrate = ["cargo", "run", "--quiet", "--release", "--example", "calibrate", "--"]
        files = [FOLDERS[DATA[name]] / "trained.safetensors", out / keys["prune.values.calibration"]]
        subprocess.run([*calibrate, *files], cwd=ROOT, check=True)
    moved = [f"{key}={json.dumps(str(out / file))}" for key, file in keys.items()]
    flags = [part for change in [*moved, *changes] for part in ("--set", change)]
    cdi_prune("run", ROOT / f"configs/{name}.yaml", *flags)
    assert sorted(path.name for path in out.iterdir()) == sorted(keys.values())
    return json.loads((out / "report.json").read_text())


# Runs an example as the tests have built it, with the arguments that `cargo run` would give it.
CARGO = """#!/bin/sh
if [ "$1 $2 $3 $4 $6" != "run --quiet --release --example --" ]; then echo "other arguments: $*" >&2; exit 64; fi
example=%s/debug/examples/$5
shift 6
exec "$example" "$@"
"""


@pytest.fixture
def cargo_once(tmp_path_factory, monkeypatch):
    """The examples are built once, as `cargo test --workspace` builds them: cargo takes ten times as long to find that
    there is nothing to do as one runs, and a search runs hundreds."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
    monkeypatch.setenv("CARGO_TARGET_DIR", str(target))
    examples = ["--example", "evaluate", "--example", "calibrate"]
    subprocess.run(["cargo", "build", "--quiet", "--workspace", *examples], cwd=ROOT, check=True)
    folder = tmp_path_factory.mktemp("bin")
    (folder / "cargo").write_text(CARGO % target)
    (folder / "cargo").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize("name", DATA)
def test_run_finds_what_the_comments_say(name, tmp_path, request):
    if name in ("tune", "smallest"):
        request.getfixturevalue("cargo_once")
    assert run(name, tmp_path)["totals"]["sleeping_weights"] == SLEEPING[name]


def test_every_config_is_tested():
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == set(DATA)


@pytest.mark.parametrize("name", ["quickstart", "mlp"])
def test_initial_fill_is_free_and_smaller(name, tmp_path):
    run(name, tmp_path)
    trained = FOLDERS[DATA[name]] / "trained.safetensors"
    pruned, restored = tmp_path / "pruned.safetensors", tmp_path / "restored.safetensors"
    cdi_prune("restore", pruned, "-o", restored)
    assert same_bits(load_file(restored), load_file(trained))
    assert pruned.stat().st_size < trained.stat().st_size


def test_transformer_finds_the_bytes_never_seen(tmp_path):
    report = run("transformer", tmp_path)
    [embedding] = [tensor for tensor in report["tensors"] if tensor["name"] == "tok_emb.weight"]
    assert embedding["sleeping_rows"] == 149
    assert embedding["sleeping_weights"] == 149 * 64


def test_transformer_finds_nothing_without_its_decay(tmp_path):
    report = run("transformer", tmp_path, "analyze.decay=none", "analyze.threshold=0")
    assert report["totals"]["sleeping_weights"] == 0


def test_cnn_with_its_decay(tmp_path):
    report = run("cnn", tmp_path, "analyze.decay=0.986058", "analyze.threshold={relative: 1.0e-4}")
    assert {t["name"]: t["sleeping_weights"] for t in report["tensors"] if t["sleeping_weights"]} == {"fc1.weight": 343}
