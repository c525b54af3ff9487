"""A run in parts against the same run in one process, on this machine: time, and the same bytes.

    python benches/parts.py [--gib 1] [--parts 4 16] [--processes 2] [--place /dev/shm] [--many 60000]

The model has tensors of 16 MiB (F32), of which training has changed every second weight. The parts run in as many
processes at once as the run alone has threads, one thread each. `--many` also times the merges of a model of so many
small tensors in 128 parts, and their memory: what merging costs does not depend on how large the tensors are, but for
the files that it copies.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

BINARY = Path(os.environ.get("CDI_PRUNE", Path(__file__).resolve().parents[1] / "target/release/cdi-prune")).absolute()
PRUNE = {
    "sleeping weights, bitmask": {"format": "bitmask"},
    "70 % by magnitude, global, bitmask": {
        "criterion": "magnitude", "target": {"sparsity": 0.7}, "scope": "global", "format": "bitmask",
    },
    "70 % by movement, global, bitmask": {
        "criterion": "movement", "target": {"sparsity": 0.7}, "scope": "global", "format": "bitmask",
    },
    "coded without loss": {"values": {"exact": True}},
}


def prune(folder, *args):
    return subprocess.run([BINARY, *args], cwd=folder, capture_output=True, text=True, check=True).stdout


def timed(action):
    """Seconds, and the largest memory in MiB of a process that it started."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def config(folder, name, values, shard):
    prune = {"output": f"{name}/pruned.safetensors", "max_shard_size": shard, **values}
    (folder / f"{name}.yaml").write_text(json.dumps({
        "seed": 1,
        "rules": [{"match": "**", "init": "he"}],
        "trained": {"path": "trained.safetensors"},
        "analyze": {"threshold": 0.02, "report": {"json": f"{name}/report.json"}},
        "prune": prune,
    }))


def in_parts(folder, name, parts, processes, merges):
    """Runs all steps; appends the seconds and MiB of each merge."""
    with ThreadPoolExecutor(processes) as pool:
        while True:
            part = lambda n: prune(folder, "run", f"{name}.yaml", "--part", f"{n}/{parts}", "--threads", "1", "--quiet")
            list(pool.map(part, range(1, parts + 1)))
            command = [BINARY, "merge", f"{name}.yaml", "--parts", str(parts), "--format", "json"]
            begun = time.perf_counter()
            process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
            text = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0
            merges.append((time.perf_counter() - begun, usage.ru_maxrss / 1024))
            if json.loads(text)["finished"]:
                return


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--parts", type=int, nargs="*", default=[4, 16])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--many", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.place))
    try:
        # First: the memory of a process counts that of the one that has started it.
        if args.many:
            many(folder, args)
        tensors = {f"b{n}.weight": [4096, 1024] for n in range(max(1, round(args.gib * 64)))}
        model = {"seed": 1, "model": {"tensors": tensors}, "rules": [{"match": "**", "init": "he"}],
                 "init": {"output": "trained.safetensors"}}
        (folder / "init.yaml").write_text(json.dumps(model))
        prune(folder, "init", "init.yaml")
        weights = load_file(folder / "trained.safetensors")
        for weight in weights.values():
            weight[:, ::2] += np.float32(0.05)
        save_file(weights, folder / "trained.safetensors")
        del weights
        print("| run | alone, s |" + "".join(f" {n} parts, s | ratio | the last merge, s |" for n in args.parts))
        print("| --- | ---: |" + " ---: | ---: | ---: |" * len(args.parts))
        for what, values in PRUNE.items():
            config(folder, "alone", values, "16MB")
            row = []
            for _ in range(args.repeat):
                shutil.rmtree(folder / "alone", ignore_errors=True)
                alone = timed(lambda: prune(folder, "run", "alone.yaml", "--quiet", "--threads", str(args.processes)))
                these = [alone]
                for parts in args.parts:
                    shutil.rmtree(folder / "parts", ignore_errors=True)
                    config(folder, "parts", values, "16MB")
                    merges = []
                    these.append(timed(lambda: in_parts(folder, "parts", parts, args.processes, merges)))
                    these.append(merges[-1][0])
                    for file in (folder / "alone").glob("pruned*"):
                        assert filecmp.cmp(file, folder / "parts" / file.name, shallow=False), file
                row.append(these)
            best = [min(column) for column in zip(*row)]
            cells = [f"{best[0]:.2f}"]
            for n in range(len(args.parts)):
                took, merge = best[1 + 2 * n], best[2 + 2 * n]
                cells += [f"{took:.2f}", f"{took / best[0]:.2f}", f"{merge:.2f}"]
            print(f"| {what} | " + " | ".join(cells) + " |", flush=True)
    finally:
        shutil.rmtree(folder)


def many(folder, args):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(args.many, 16, 16)).astype(np.float16)
    tensors = {f"layers.{n // 1000}.experts.{n % 1000}.weight": values[n] for n in range(args.many)}
    save_file(tensors, folder / "trained.safetensors")
    config(folder, "parts", PRUNE["sleeping weights, bitmask"], "64MB")
    merges = []
    in_parts(folder, "parts", 128, args.processes, merges)
    shutil.rmtree(folder / "parts")
    for (seconds, memory), step in zip(merges, ["compare", "write"]):
        print(f"{args.many:,} tensors, 128 parts: the merge of `{step}` took {seconds:.2f} s and {memory:.0f} MiB")


if __name__ == "__main__":
    main()
