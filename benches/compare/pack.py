#!/usr/bin/env python3
"""Sizes of packed checkpoints beside those of zstd and, where it is installed, ZipNN, all in one run.

Without arguments: the networks that come with the repository, alone and over their start, which facts.json describes.
Arguments are other .safetensors files, packed alone. Needs `cdi-prune` (CDI_PRUNE, or target/release/cdi-prune) and `zstd`."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import zipnn
except ImportError:
    zipnn = None

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")
FOLDERS = [*(ROOT / "examples/data").glob("*/"), *(ROOT / "tests/data").glob("*/")]


def size(*command):
    return len(subprocess.run(command, check=True, capture_output=True).stdout)


def packed(file, folder, *start):
    out = folder / "packed.safetensors"
    subprocess.run([TOOL, "pack", file, *start, "-o", out, "--quiet"], check=True)
    subprocess.run([TOOL, "restore", out, "-o", folder / "back.safetensors", "--quiet"], check=True)
    return out.stat().st_size


def row(name, file, start=None):
    whole = file.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sizes = [size("zstd", "-3", "-c", "-q", file), size("zstd", "-19", "-c", "-q", file)]
        if zipnn:
            kind = "bfloat16" if "bf16" in name else "float32"
            sizes.append(len(zipnn.ZipNN(bytearray_dtype=kind, threads=1).compress(bytearray(file.read_bytes()))))
        else:
            sizes.append(None)
        sizes.append(packed(file, folder))
        if start:
            (folder / "config.yaml").write_text(json.dumps(start))
            sizes.append(packed(file, folder, "--config", folder / "config.yaml"))
        else:
            sizes.append(None)
    shares = [f"{size:,} ({100 * size / whole:.1f} %)" if size else "" for size in sizes]
    print(f"| {name} | {whole:,} | {' | '.join(shares)} |", flush=True)


print("| checkpoint | bytes | zstd -3 | zstd -19 | ZipNN | packed alone | over its start |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
if sys.argv[1:]:
    for file in map(Path, sys.argv[1:]):
        row(file.stem, file)
else:
    for folder in sorted(FOLDERS, key=lambda folder: folder.name):
        facts = json.loads((folder / "facts.json").read_text())
        model = {"tensors": facts["shapes"], "dtype": "bf16" if "bf16" in folder.name else "f32"}
        row(folder.name, folder / "trained.safetensors", {"seed": facts["seed"], "rules": facts["rules"], "model": model})
