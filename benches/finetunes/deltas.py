#!/usr/bin/env python3
"""Deltas of fine-tuned checkpoints: bytes and seconds of `cdi-prune delta` and `apply` beside stock tools, all in one
run.

    python3 benches/finetunes/deltas.py FOLDER [--place /dev/shm] [--repeat 5]

FOLDER is what make.py wrote. Needs `cdi-prune` (CDI_PRUNE, or target/release/cdi-prune), `zstd`, `cp`, and NumPy;
`zipnn` from PyPI where it is installed. Everything is written to and read from PLACE. Seconds are medians of elapsed
time, with all processors; those of the XOR include computing it, which NumPy does. Each result is compared with what it
should be. Memory is the largest resident set of `apply`."""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sizes import TOOL, data
from variants import VARIANTS

try:
    import zipnn
except ImportError:
    zipnn = None


def call(*command):
    subprocess.run(command, check=True, capture_output=True)


def xored(one, other):
    return np.bitwise_xor(np.frombuffer(one, "u1"), np.frombuffer(other, "u1")).tobytes()


class Ours:
    def __init__(self, *options):
        self.options = options

    def make(self, base, new, out):
        call(TOOL, "delta", base, new, "-o", out, "--quiet", *self.options)

    def apply(self, base, delta, out):
        call(TOOL, "apply", base, delta, "-o", out, "--quiet")


class Xor:
    """XOR of the bytes behind the header, and zstd with these options."""

    def make(self, base, new, out):
        raw = out.with_suffix(".xor")
        raw.write_bytes(xored(data(base), data(new)))
        call("zstd", "-3", "-T0", "-q", "-f", raw, "-o", out)

    def apply(self, base, delta, out):
        raw = delta.with_suffix(".back")
        call("zstd", "-d", "-q", "-f", delta, "-o", raw)
        out.write_bytes(xored(data(base), raw.read_bytes()))


class Patch:
    def make(self, base, new, out):
        call("zstd", "-3", "-T0", "--long=27", "-q", "-f", f"--patch-from={base}", new, "-o", out)

    def apply(self, base, delta, out):
        call("zstd", "-d", "--long=27", "-q", "-f", f"--patch-from={base}", delta, "-o", out)


class ZipNN:
    def __init__(self, kind):
        self.tool = zipnn.ZipNN(bytearray_dtype=kind, threads=os.cpu_count())

    def make(self, base, new, out):
        out.write_bytes(self.tool.compress(bytearray(xored(data(base), data(new)))))

    def apply(self, base, delta, out):
        out.write_bytes(xored(data(base), self.tool.decompress(delta.read_bytes())))


class Copy:
    """The full file."""

    def make(self, base, new, out):
        call("cp", new, out)

    apply = None


def size(path):
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def timed(repeat, work):
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(tool, base, new, place, repeat):
    """Bytes, seconds to make and seconds to apply."""
    delta, out = place / "delta", place / "out.safetensors"
    if isinstance(tool, Ours):
        delta = place / ("weight_v000001" if tool.options else "delta.safetensors")

    def make():
        tool.make(base, new, delta)

    made = timed(repeat, make)
    if tool.apply is None:
        # What a receiver of the full file does.
        applied = timed(repeat, lambda: call("cp", delta, out))
        return size(delta), made, applied
    applied = timed(repeat, lambda: tool.apply(base, delta, out))
    expected, found = data(new), out.read_bytes()
    if isinstance(tool, (Ours, Patch)):
        found = data(out)
    if found != expected:
        sys.exit(f"{new}: {type(tool).__name__} gave something else")
    bytes_of = size(delta)
    shutil.rmtree(delta) if delta.is_dir() else delta.unlink()
    return bytes_of, made, applied


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--place", type=Path, default="/dev/shm")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    tools = {
        "full file, cp": lambda _: Copy(),
        "zstd -3 --patch-from": lambda _: Patch(),
        "XOR, zstd -3": lambda _: Xor(),
        "XOR, ZipNN": lambda kind: ZipNN(kind) if zipnn else None,
        "--form xor-zstd": lambda _: Ours("--form", "xor-zstd"),
        "delta": lambda _: Ours(),
    }
    print("| fine-tune | | bytes | make, s | apply, s | state, MB/s | of cp |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (start, *_) in VARIANTS.items():
        if not (options.folder / f"{name}.safetensors").exists():
            continue
        with tempfile.TemporaryDirectory(dir=options.place) as scratch:
            place = Path(scratch)
            base, new = (Path(shutil.copy(options.folder / f"{n}.safetensors", place)) for n in (start, name))
            found = {}
            for tool, make in tools.items():
                made = make("bfloat16" if "bf16" in name else "float32")
                if made is not None:
                    found[tool] = measure(made, base, new, place, options.repeat)
            copied = found["full file, cp"][2]
            for tool, (bytes_of, made, applied) in found.items():
                rate = new.stat().st_size / applied / 1e6
                share = f"{applied / copied:.1f}×"
                print(f"| `{name}` | {tool} | {bytes_of:,} | {made:.2f} | {applied:.2f} | {rate:,.0f} | {share} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"\nLargest resident set of a program: {peak / 1024:.0f} MiB (zstd's included).")


if __name__ == "__main__":
    main()
