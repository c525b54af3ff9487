#!/usr/bin/env python3
"""What the Python package takes, beside NumPy, safetensors and PyTorch, all in one run.

    pip install ./python safetensors
    python3 benches/compare/python.py [FILE] [--repeat 7]

A million He weights, in milliseconds: `init_matrix` against NumPy's and PyTorch's normal draws, which other machines
would not repeat. With FILE, a checkpoint: `load_file` of it packed without a base, against `load_file` of safetensors of
FILE itself, in MB/s of the loaded arrays. Medians; PyTorch where it is installed."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import cdi_prune

try:
    import torch
except ImportError:
    torch = None


def medians(repeat, turns):
    """Seconds of each, whose turns alternate."""
    found = {name: [] for name in turns}
    for _ in range(repeat):
        for name, turn in turns.items():
            began = time.perf_counter()
            turn()
            found[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    noise, draws = cdi_prune.DeterministicNoiseGenerator(1), np.random.default_rng(1)
    std = np.float32((2 / 1000) ** 0.5)
    turns = {
        "cdi_prune, F32": lambda: noise.init_matrix(0, (1000, 1000)),
        "NumPy, F32": lambda: draws.standard_normal((1000, 1000), np.float32) * std,
        "NumPy, F64": lambda: (draws.standard_normal((1000, 1000)) * std).astype(np.float32),
    }
    if torch:
        turns["PyTorch, F32"] = lambda: torch.nn.init.kaiming_normal_(torch.empty(1000, 1000))
    found = medians(options.repeat, turns)
    ours = found["cdi_prune, F32"]
    for name, seconds in found.items():
        print(f"a million He weights, {name}: {1000 * seconds:.2f} ms ({seconds / ours:.1f}x)")
    if options.file:
        with tempfile.TemporaryDirectory(dir=options.file.parent) as folder:
            packed = Path(folder) / "packed.safetensors"
            cdi_prune.pack(options.file, packed)
            size = sum(array.nbytes for array in load_file(options.file).values()) / 1e6
            found = medians(
                options.repeat,
                {
                    f"cdi_prune, packed ({packed.stat().st_size / 1e6:.1f} MB)": lambda: cdi_prune.load_file(packed),
                    "cdi_prune, dense": lambda: cdi_prune.load_file(options.file),
                    f"safetensors, dense ({size:.1f} MB)": lambda: load_file(options.file),
                },
            )
        for name, seconds in found.items():
            print(f"load_file, {name}: {size / seconds:.0f} MB/s")


if __name__ == "__main__":
    main()
