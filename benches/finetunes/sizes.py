#!/usr/bin/env python3
"""Sizes of fine-tuned checkpoints over their base: `cdi-prune pack --base` beside stock tools, all in one run.

    python3 benches/finetunes/sizes.py FOLDER

FOLDER is what make.py wrote. Needs `cdi-prune` (CDI_PRUNE, or target/release/cdi-prune), `zstd`, and NumPy; `zipnn`
from PyPI where it is installed. Each packed file is restored and compared with its input, byte for byte."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from variants import VARIANTS

try:
    import zipnn
except ImportError:
    zipnn = None

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")


def size(*command, text=None):
    return len(subprocess.run(command, check=True, capture_output=True, input=text).stdout)


def packed(file, base, folder):
    out, back = folder / "packed.safetensors", folder / "back.safetensors"
    subprocess.run([TOOL, "pack", file, "--base", base, "-o", out, "--quiet"], check=True)
    subprocess.run([TOOL, "restore", out, "--base", base, "-o", back, "--quiet"], check=True)
    if data(back) != data(file):
        sys.exit(f"{file}: restored otherwise than it was")
    return out.stat().st_size


def data(file):
    """The bytes behind the header; writers may space headers differently."""
    whole = file.read_bytes()
    return whole[8 + int.from_bytes(whole[:8], "little") :]


def main():
    folder = Path(sys.argv[1])
    print("| fine-tune | bytes | XOR, zstd -3 | XOR, ZipNN | zstd -19 --patch-from | cdi-prune pack |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    lost = False
    for name, (start, *_) in VARIANTS.items():
        file, base = folder / f"{name}.safetensors", folder / f"{start}.safetensors"
        if not file.exists():
            continue
        xor = (np.frombuffer(data(file), "u1") ^ np.frombuffer(data(base), "u1")).tobytes()
        kind = "bfloat16" if "bf16" in name else "float32"
        others = [
            size("zstd", "-3", "-c", "-q", text=xor),
            len(zipnn.ZipNN(bytearray_dtype=kind, threads=1).compress(bytearray(xor))) if zipnn else None,
            size("zstd", "-19", "--long=27", "-c", "-q", f"--patch-from={base}", file),
        ]
        with tempfile.TemporaryDirectory() as scratch:
            ours = packed(file, base, Path(scratch))
        lost |= ours >= min(other for other in others if other)
        row = " | ".join(f"{other:,}" if other else "" for other in others)
        print(f"| `{name}` | {file.stat().st_size:,} | {row} | {ours:,} |", flush=True)
    sys.exit("a stock tool made a smaller file" if lost else None)


if __name__ == "__main__":
    main()
