"""The same jobs as a user would write them with NumPy and safetensors. It needs a stored copy of the initial checkpoint,
and holds whole tensors in memory."""

import math
import re
import shutil
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file


def init(config, output):
    generator = np.random.default_rng(7)
    tensors = {}
    for name, rows, columns in re.findall(r"^    (\S+): \[(\d+), (\d+)\]$", open(config).read(), re.MULTILINE):
        weights = generator.standard_normal((int(rows), int(columns)), dtype=np.float32)
        weights *= np.float32(math.sqrt(2 / int(columns)))
        tensors[name] = weights
    save_file(tensors, output)


def analyze(trained, initial, threshold=1e-3):
    with safe_open(trained, "np") as after, safe_open(initial, "np") as before:
        for name in sorted(after.keys()):
            delta = np.abs(after.get_tensor(name).astype(np.float64) - before.get_tensor(name))
            changed = delta > threshold
            print(name, changed.sum(), delta.mean(), delta.max(), np.sqrt((delta**2).mean()), delta[changed].mean(),
                  (~changed).all(axis=1).sum(), (~changed).all(axis=0).sum())


def prune(trained, initial, output, threshold=1e-3):
    tensors = {}
    with safe_open(trained, "np") as after, safe_open(initial, "np") as before:
        for name in sorted(after.keys()):
            weights = after.get_tensor(name)
            sleeping = np.abs(weights.astype(np.float64) - before.get_tensor(name)) <= threshold
            weights[sleeping] = 0
            tensors[name] = weights
    save_file(tensors, output)


def train(initial, trained):
    """Training in our stead: moves half of the weights of an F32 checkpoint."""
    shutil.copyfile(initial, trained)
    with open(trained, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    weights = np.memmap(trained, dtype="<f4", mode="r+", offset=start)
    generator = np.random.default_rng(1)
    for at in range(0, len(weights), 1 << 22):
        piece = weights[at : at + (1 << 22)]
        piece[generator.random(len(piece), dtype="f4") < 0.5] += np.float32(0.01)
    weights.flush()


{"init": init, "analyze": analyze, "prune": prune, "train": train}[sys.argv[1]](*sys.argv[2:])
