#!/usr/bin/env python3
"""Whole files of the repository's five networks with values rounded to steps: bytes, and accuracies when restored.

    cargo build --release
    python3 benches/smallest/run.py [--idx FOLDER]              # `tune` looks for the smallest file within a budget
    python3 benches/smallest/run.py [--idx FOLDER] --one-step   # steps of one length for all of a network

Without calibration, values are rounded to nearest; with it, compensated. `networks.py` evaluates on the test images and
the text of examples/data, by which steps are chosen, and calibrates on training data. A second accuracy is that on
other data, which confirms the first: for the transformer the docstrings of Python's library, for the others, with
--idx, the other nine thousand test images of Fashion-MNIST, from the folder of its own files (`apt install
dataset-fashion-mnist`). Needs NumPy, and `cdi-prune` (CDI_PRUNE, or target/release/cdi-prune)."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import networks

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")
STEPS = [0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.14, 0.2]
# Those of the transformer's embeddings have to be short.
LM_STEPS = [0.0025, 0.005, 0.0075, 0.01, 0.014, 0.02, 0.03, 0.04]


class Case:
    """One network, its data, and a folder to write to."""

    def __init__(self, name, folder, idx):
        self.name, self.folder = name, folder
        self.facts = json.loads((networks.NETWORKS[name][1] / "facts.json").read_text())
        self.trained = networks.NETWORKS[name][1] / "trained.safetensors"
        self.data, self.other = [networks.held_out(name)], []
        if name == "byte_lm_adamw":
            self.data.append(networks.docstrings())
            self.other = ["--docstrings"]
        elif idx:
            self.data.append(networks.images(idx))
            self.other = ["--idx", str(idx.absolute())]
        self.moments = folder / f"{name}.moments"
        networks.measure(name, self.trained, *networks.seen(name), self.moments)

    def accuracies(self, checkpoint):
        """In per cent: on the data by which steps are chosen, and on others."""
        return [100 * networks.measure(self.name, checkpoint, x, y) / y.size for x, y in self.data]

    def pruned(self, step, rounding, **sections):
        """Bytes and accuracies of the file that these settings give."""
        values = {"step": step, "rounding": rounding}
        if rounding == "compensated":
            values["calibration"] = str(self.moments)
        config = {
            "seed": self.facts["seed"],
            "rules": self.facts["rules"],
            "trained": {"path": str(self.trained)},
            "prune": {"output": "pruned.safetensors", "values": values},
            **sections,
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))
        file, restored = self.folder / "pruned.safetensors", self.folder / "restored.safetensors"
        run("run", self.folder / "config.yaml", "--quiet", "--force")
        run("restore", file, "-o", restored, "--quiet")
        return file.stat().st_size, self.accuracies(restored)

    def searched(self, rounding, budget, most):
        """The smallest file that `tune` finds, and the one that other data confirm, which is written: bytes, and accuracy
        on the data of the search and on the others. NumPy evaluates the second once more."""
        command = [sys.executable, str(Path(networks.__file__).resolve()), "evaluate", self.name, "{checkpoint}"]
        tune = {"command": command, "better": "higher", "max_drop": budget, "jobs": 2, "cache": f"{rounding}.tune"}
        if most:
            tune["max_evaluations"] = most
        if self.other:
            tune["confirm"] = [*command, *self.other]
        size, measured = self.pruned("auto", rounding, tune=tune, analyze={"report": {"json": "report.json"}})
        tune = json.loads((self.folder / "report.json").read_text())["tune"]
        points, confirmed = tune["points"], tune.get("confirmation", {"points": []})["points"]
        smallest = min((point for point in points if point["within"]), key=lambda point: (point["bytes"], point["drop"]))
        written = points[tune["winner"]]
        assert written["bytes"] == size and all(abs(x - y) < 0.01 for x, y in zip([written["metric"]], measured))
        assert tune["original_metric"] - measured[0] <= budget + 1e-9
        other = [point["metric"] for point in confirmed]
        return (smallest["bytes"], [smallest["metric"], *other[:1]]), (size, [written["metric"], *other[-1:]])

    def bytes(self, size):
        return f"{size:,} ({100 * size / self.trained.stat().st_size:.1f} %)"


def run(*command):
    done = subprocess.run([TOOL, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"cdi-prune {' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")


def shown(accuracies):
    return " / ".join(f"{accuracy:.1f}" for accuracy in accuracies) + " %"


def one_step(case, steps):
    """Rows of the table for one length of step after the other."""
    for step in steps:
        cells = []
        for rounding in ["nearest", "compensated"]:
            size, accuracies = case.pruned(step, rounding)
            cells.append(f"{case.bytes(size)}, {shown(accuracies)}")
        print(f"| | {step} | {' | '.join(cells)} |", flush=True)


def search(case, budgets, most):
    """Rows of the table for one budget after the other, of searches with at most this many evaluations."""
    for budget in budgets:
        found = [each for rounding in ["nearest", "compensated"] for each in case.searched(rounding, budget, most)]
        cells = [f"{case.bytes(size)}, {shown(accuracies)}" for size, accuracies in found]
        print(f"| | {budget} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=networks.NETWORKS, default=list(networks.NETWORKS))
    parser.add_argument("--idx", type=Path)
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.5, 0.1], help="in points")
    parser.add_argument("--evaluations", type=int, help="at most so many for each search")
    parser.add_argument("--one-step", action="store_true")
    parser.add_argument("--steps", nargs="+", type=float)
    options = parser.parse_args()

    what = "step" if options.one_step else "budget"
    columns = ["nearest", "compensated"]
    if not options.one_step:
        columns = [f"{rounding}: {which}" for rounding in columns for which in ["smallest", "confirmed"]]
    print(f"| network | {what} | {' | '.join(columns)} |")
    print(f"| --- | ---: |{' ---: |' * len(columns)}")
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            case = Case(name, Path(folder), options.idx)
            whole = f"{case.trained.stat().st_size:,}, {shown(case.accuracies(case.trained))}"
            print(f"| `{case.name}` | | {whole} |{' |' * (len(columns) - 1)}", flush=True)
            if options.one_step:
                one_step(case, options.steps or (LM_STEPS if name == "byte_lm_adamw" else STEPS))
            else:
                search(case, options.budgets, options.evaluations)


if __name__ == "__main__":
    main()
