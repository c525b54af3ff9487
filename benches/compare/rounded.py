#!/usr/bin/env python3
"""Sizes and accuracies of the shipped networks with values rounded to steps, to nearest and compensated, in one run.

    cargo build --release --bins --examples
    python3 benches/compare/rounded.py

Every weight and bias of a network has steps of the same length, counted from its initial value or from zero, whichever is
smaller. Accuracies are those of the restored files on the thousand test images of examples/data; the second moments for
compensated rounding are from a thousand training images. Needs target/release (or CDI_PRUNE_RELEASE)."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RELEASE = Path(os.environ.get("CDI_PRUNE_RELEASE", ROOT / "target/release"))
NETWORKS = ["examples/data/mlp_pad_sgd", "tests/data/mlp_pad_sgdm_wd", "examples/data/mlp_bf16_sgd"]
STEPS = [0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.14, 0.2]


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def accuracy(file):
    return float(re.match(r"([0-9.]+) %", run(RELEASE / "examples/evaluate", file)).group(1))


def row(folder, network, step):
    facts = json.loads((network / "facts.json").read_text())
    trained = network / "trained.safetensors"
    cells = []
    for rounding in ["nearest", "compensated"]:
        values = {"step": step, "rounding": rounding}
        if rounding == "compensated":
            values["calibration"] = str(folder / f"{network.name}.moments")
        prune = {"output": "p.safetensors", "values": values}
        config = {"seed": facts["seed"], "rules": facts["rules"], "trained": {"path": str(trained)}, "prune": prune}
        (folder / "config.yaml").write_text(json.dumps(config))
        run(RELEASE / "cdi-prune", "prune", folder / "config.yaml", "--quiet")
        run(RELEASE / "cdi-prune", "restore", folder / "p.safetensors", "-o", folder / "r.safetensors", "--quiet")
        size = (folder / "p.safetensors").stat().st_size
        cells.append(f"{size:,} ({100 * size / trained.stat().st_size:.1f} %), {accuracy(folder / 'r.safetensors'):.1f} %")
    return cells


def main():
    print("| network | step | nearest: bytes, accuracy | compensated: bytes, accuracy |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for network in (ROOT / name for name in NETWORKS):
            trained = network / "trained.safetensors"
            run(RELEASE / "examples/calibrate", trained, folder / f"{network.name}.moments")
            print(f"| `{network.name}` | | {trained.stat().st_size:,}, {accuracy(trained):.1f} % | |", flush=True)
            for step in STEPS:
                print(f"| | {step} | {' | '.join(row(folder, network, step))} |", flush=True)


if __name__ == "__main__":
    main()
