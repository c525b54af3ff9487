#!/usr/bin/env python3
"""Measures cdi-prune against what else a user would take for the same job: time, memory and bytes, in one table.

Run it with a Python that has PyTorch, safetensors, NumPy, compressed-tensors 0.12 and zipnn; of the last two, rows are left
out where they are not installed. `zstd` must be there. Works in /dev/shm by default."""

import argparse
import importlib.util
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from run import HERE, config, program, run, together

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--gib", type=float, default=1.0, help="size of the checkpoint (default: 1)")
arguments.add_argument("--repeat", type=int, default=3, help="runs of which the median is taken (default: 3)")
arguments.add_argument("--place", default="/dev/shm", help="folder to work in (default: /dev/shm)")
arguments.add_argument("--threads", type=int, default=os.cpu_count(), help="default: one per core")
SHARE = "0.7"
ZIPNN = """
import sys
from zipnn import ZipNN
job, source, output, threads = sys.argv[1:]
data = getattr(ZipNN(bytearray_dtype="float32", threads=int(threads)), job)(bytearray(open(source, "rb").read()))
open(output, "wb").write(data)
"""


def has(module):
    return importlib.util.find_spec(module) is not None


def measure(folder, tool, options):
    first, path, _ = config(folder, "f32", options.gib, "f32")
    threads = str(options.threads)
    ours = lambda *args: [tool, *args, "--quiet", "--threads", threads]
    theirs = lambda *args: [sys.executable, "-W", "ignore", HERE / "torch_program.py", *args]
    with_zipnn = lambda *args: [sys.executable, "-W", "ignore", "-c", ZIPNN, *args]
    importing = lambda modules: [sys.executable, "-W", "ignore", "-c", f"import {modules}"]
    with_numpy = lambda *args: [sys.executable, HERE / "numpy_program.py", *args]
    initial, trained = "f32-init.safetensors", "f32-trained.safetensors"
    run(ours("init", first), folder)
    run(with_numpy("train", initial, trained), folder)
    cut = ["--set", "prune.criterion=magnitude", "--set", "prune.scope=global", "--set", f"prune.target={{sparsity: {SHARE}}}",
           "--set", "prune.fill=zero"]
    pruned = lambda form, output: ours("prune", path, *cut, "--set", f"prune.format={form}", "--set", f"prune.output={output}")
    copy = lambda source, output: ["cp", source, output]
    # Of each job: what does it, the command, and the file that it writes. Ours is first; what reads a file comes after it.
    jobs = {
        "start, which the times below include": [
            ("this", [tool, "--version"], None),
            ("Python with PyTorch", importing("torch, safetensors.torch, torch.nn.utils.prune"), None),
            ("compressed-tensors", importing("compressed_tensors"), None),
            ("ZipNN", importing("zipnn"), None),
            ("Python with NumPy", importing("numpy, safetensors.numpy"), None),
        ],
        "write the initial checkpoint": [
            ("this", ours("init", first, "--set", "init.output=a"), "a"),
            ("PyTorch `kaiming_normal_`, `save_file`", theirs("init", initial, "b"), "b"),
            ("NumPy, `save_file`", with_numpy("init", first, "c"), "c"),
            ("`cp` of a stored copy", copy(initial, "d"), "d"),
        ],
        "compare with the initial weights": [
            ("this, from the seed", ours("analyze", path), None),
            ("PyTorch, from a stored copy", theirs("analyze", trained, initial), None),
            ("NumPy, from a stored copy", with_numpy("analyze", trained, initial), None),
        ],
        "prune 70 % by magnitude": [
            ("this, `format: bitmask`", pruned("bitmask", "mask"), "mask"),
            ("this, `format: auto`", pruned("auto", "auto"), "auto"),
            ("PyTorch `global_unstructured`, dense", theirs("prune", trained, SHARE, "zeroed"), "zeroed"),
        ],
        "encode the pruned checkpoint": [
            ("compressed-tensors, bitmask", theirs("bitmask", "zeroed", "theirs"), "theirs"),
            (f"`zstd -3 -T{threads}`", ["zstd", "-3", f"-T{threads}", "-qf", "zeroed", "-o", "zeroed.zst"], "zeroed.zst"),
        ],
        "restore the pruned checkpoint": [
            ("this, from bitmask", ours("restore", "mask", "-o", "back"), "back"),
            ("this, from auto", ours("restore", "auto", "-o", "back"), "back"),
            ("compressed-tensors, from bitmask", theirs("unmask", "theirs", "back"), "back"),
            ("`zstd -d`", ["zstd", "-d", "-qf", "zeroed.zst", "-o", "back"], "back"),
            ("`cp` of a stored copy", copy(trained, "back"), "back"),
        ],
        "store the checkpoint without loss": [
            ("this, over the seed", ours("pack", trained, "--config", path, "-o", "over"), "over"),
            ("this, alone", ours("pack", trained, "-o", "packed"), "packed"),
            (f"`zstd -3 -T{threads}`", ["zstd", "-3", f"-T{threads}", "-qf", trained, "-o", "all.zst"], "all.zst"),
            ("ZipNN", with_zipnn("compress", trained, "zipped", threads), "zipped"),
        ],
        "read it back": [
            ("this, over the seed", ours("restore", "over", "-o", "back"), "back"),
            ("this, alone", ours("restore", "packed", "-o", "back"), "back"),
            ("`zstd -d`", ["zstd", "-d", "-qf", "all.zst", "-o", "back"], "back"),
            ("ZipNN", with_zipnn("decompress", "zipped", "back", threads), "back"),
        ],
    }
    needs = {"compressed-tensors": "compressed_tensors", "ZipNN": "zipnn"}
    print("| job | with | median | spread | peak memory | bytes |\n| --- | --- | ---: | --- | ---: | ---: |")
    for job, ways in jobs.items():
        ways = [way for way in ways if all(has(needs[word]) for word in needs if way[0].startswith(word))]
        written = {}

        def timed(name, command, output):
            # What was there before is removed outside the time.
            if output:
                (folder / output).unlink(missing_ok=True)
            result = run(command, folder)
            written[name] = f"{(folder / output).stat().st_size:,}" if output else ""
            return result

        times, memory = together(options.repeat, {way[0]: lambda way=way: timed(*way) for way in ways})
        for name, _, _ in ways:
            spread = f"{min(times[name]):.2f} … {max(times[name]):.2f}"
            median = statistics.median(times[name])
            print(f"| {job} | {name} | {median:.2f} s | {spread} | {memory[name]:.0f} MiB | {written[name]} |", flush=True)
            job = ""
        for unused in "abcd":
            (folder / unused).unlink(missing_ok=True)


def main():
    options = arguments.parse_args()
    if not all(map(has, ("torch", "numpy", "safetensors"))) or shutil.which("zstd") is None:
        sys.exit("needs PyTorch, NumPy and safetensors (python3 -m pip install torch numpy safetensors) and zstd")
    tool = program()
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "")
    print(f"{time.strftime('%Y-%m-%d')}, {cpu}, {options.threads} threads, {options.place}, {options.gib:g} GiB of F32, "
          f"median of {options.repeat}\n")
    with tempfile.TemporaryDirectory(prefix="cdi-prune-peers-", dir=options.place) as folder:
        measure(Path(folder), tool, options)


if __name__ == "__main__":
    main()
