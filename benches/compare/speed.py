#!/usr/bin/env python3
"""How fast `cdi-prune pack` and `restore` are, beside `zstd -3` and ZipNN, all in one run.

    python3 benches/compare/speed.py FILE [--threads 2] [--repeat 5]

FILE is a checkpoint of F32 weights. Every tool reads and writes files in the same folder, and each has the same number of
threads; in every round each tool has its turn, and the medians are printed. User CPU time is that of all threads. Needs
`cdi-prune` (CDI_PRUNE, or target/release/cdi-prune) and `zstd`; `zipnn` from PyPI where it is installed. What comes back is
compared with FILE."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")
# A program of its own, so that its threads' time is told apart; what Python and the imports take is measured and taken off.
ZIPNN = """
import sys, resource, time
import zipnn
z = zipnn.ZipNN(bytearray_dtype="float32", threads=int(sys.argv[4]))
cpu, wall = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.monotonic()
data = open(sys.argv[2], "rb").read()
done = z.compress(bytearray(data)) if sys.argv[1] == "compress" else z.decompress(data)
open(sys.argv[3], "wb").write(done)
print(resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu, time.monotonic() - wall)
"""


def timed(command):
    """User CPU time and wall time of a program."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - began
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, wall


def told(command):
    """The same by what the program prints."""
    text = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    return tuple(map(float, text.split()))


def data(file):
    """The bytes behind the header; writers may space headers differently."""
    whole = file.read_bytes()
    return whole[8 + int.from_bytes(whole[:8], "little") :]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    threads = options.threads
    try:
        import zipnn  # noqa: F401

        has_zipnn = True
    except ImportError:
        has_zipnn = False
    with tempfile.TemporaryDirectory(dir=options.file.parent) as scratch:
        scratch = Path(scratch)
        packed, coded, zipped = (scratch / name for name in ("p.safetensors", "c.zst", "z.znn"))
        back = scratch / "back.safetensors"
        ours = [TOOL, "--threads", threads, "--quiet"]
        zstd = ["zstd", "-q", "-f", f"-T{threads}"]
        turns = {
            ("cdi-prune", "pack"): lambda: timed([*ours, "pack", options.file, "-o", packed]),
            ("cdi-prune", "restore"): lambda: timed([*ours, "restore", packed, "-o", back]),
            ("zstd -3", "pack"): lambda: timed([*zstd, "-3", options.file, "-o", coded]),
            ("zstd -3", "restore"): lambda: timed([*zstd, "-d", coded, "-o", back]),
        }
        if has_zipnn:
            python = [sys.executable, "-c", ZIPNN]
            turns["ZipNN", "pack"] = lambda: told([*python, "compress", options.file, zipped, threads])
            turns["ZipNN", "restore"] = lambda: told([*python, "decompress", zipped, back, threads])
        found = {turn: [] for turn in turns}
        for _ in range(options.repeat):
            for (tool, what), turn in turns.items():
                found[tool, what].append(turn())
                if what == "restore" and data(back) != data(options.file):
                    sys.exit(f"{tool} gave something else back")
        sizes = {"cdi-prune": packed, "zstd -3": coded, "ZipNN": zipped}
        whole = options.file.stat().st_size
        print(f"{options.file.name}, {whole / 1e6:.1f} MB; {threads} threads; medians of {options.repeat} rounds")
        print("| | size | pack: MB/s of CPU time | MB/s | restore: MB/s of CPU time | MB/s |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for tool in dict.fromkeys(tool for tool, _ in turns):
            cells = [f"{100 * sizes[tool].stat().st_size / whole:.1f} %"]
            for what in ("pack", "restore"):
                for n in range(2):
                    cells.append(f"{whole / 1e6 / statistics.median(times[n] for times in found[tool, what]):.0f}")
            print(f"| {tool} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
