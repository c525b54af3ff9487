#!/usr/bin/env python3
"""Measures cdi-prune against NumPy, PyTorch, cp and cat in one run; README.md beside this file says how to read it."""

import argparse
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WIDTHS = {"f32": 4, "bf16": 2, "f16": 2}
COLUMNS = 4096

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--gib", type=float, default=1.0, help="size of the checkpoint (default: 1)")
arguments.add_argument("--repeat", type=int, default=5, help="runs of which the median is taken (default: 5)")
arguments.add_argument("--place", default="/dev/shm", help="folder to work in (default: /dev/shm)")
arguments.add_argument("--threads", type=int, default=os.cpu_count(), help="default: one per core")
arguments.add_argument("--torch-python", default="/usr/bin/python3", help="a Python that may have PyTorch")
arguments.add_argument("--large", action="store_true", help="also an 8 GiB checkpoint of one tensor, for its memory")
arguments.add_argument("--only", default="", help="sections to run, by their first words, comma-separated")


def run(command, cwd, quiet=True):
    """Seconds and peak resident MiB of a command. The peak comes from the kernel and counts mapped pages."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL if quiet else None, stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{errors.decode()}")
    return seconds, usage.ru_maxrss / 1024


def built(name, *what):
    """The path of a release program of this workspace."""
    subprocess.run(["cargo", "build", "--release", "--quiet", *what], cwd=ROOT, check=True)
    return str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release" / name)


def program():
    """The path of cdi-prune: CDI_PRUNE, or else it is built."""
    given = os.environ.get("CDI_PRUNE")
    return str(Path(given).resolve()) if given else built("cdi-prune", "-p", "cdi-prune", "--bins")


class Table:
    def __init__(self):
        self.rows = []

    def section(self, title):
        self.rows.append((title, None))
        print(f"\n**{title}**\n\n| what | median | spread | peak memory | ratio | target |\n| --- | --- | --- | --- | --- | --- |",
              flush=True)

    def row(self, what, seconds, memory=None, ratio="", target="", unit="s"):
        scale, digits = {"s": (1, 3), "ms": (1e3, 2), "ns": (1e9, 2)}[unit]
        median = statistics.median(seconds)
        spread = f"{min(seconds) * scale:.{digits}f} … {max(seconds) * scale:.{digits}f}"
        memory = f"{memory:.0f} MiB" if memory else ""
        print(f"| {what} | {median * scale:.{digits}f} {unit} | {spread} | {memory} | {ratio} | {target} |", flush=True)
        return median


def together(repeat, commands):
    """Runs the commands in turn, so that a slow moment of the machine meets them all; a first turn is not counted."""
    times = {name: [] for name in commands}
    memory = dict.fromkeys(commands, 0.0)
    for turn in range(repeat + 1):
        for name, command in commands.items():
            seconds, peak = command()
            if turn:
                times[name].append(seconds)
                memory[name] = max(memory[name], peak)
    return times, memory


def config(folder, name, gib, dtype, one=False):
    """Two configs: one that writes the initial checkpoint, one that compares and prunes a trained one."""
    rows = int(gib * 2**30) // WIDTHS[dtype] // COLUMNS
    count = 1 if one else max(1, int(gib * 16))
    tensors = "".join(f"    l{n}.weight: [{rows // count}, {COLUMNS}]\n" for n in range(count))
    rules = "rules:\n  - {match: '**', init: he}\n"
    first, second = folder / f"{name}-init.yaml", folder / f"{name}.yaml"
    first.write_text(f"seed: 7\nmodel:\n  dtype: {dtype}\n  tensors:\n{tensors}{rules}"
                     f"init: {{output: {name}-init.safetensors}}\n")
    second.write_text(f"seed: 7\n{rules}trained: {{path: {name}-trained.safetensors}}\n"
                      f"analyze: {{threshold: 1e-3, report: {{json: {name}.json}}}}\n"
                      f"prune: {{output: {name}-pruned.safetensors, format: bitmask, fill: init}}\n")
    return first, second, rows * COLUMNS


def kernels(table, regenerate, options):
    table.section("Kernel: gaussian weights in F32, one core")
    million = 1 << 20
    snippet = (
        "import time, numpy; g = numpy.random.default_rng(0); t = []\n"
        "for _ in range(15):\n"
        " s = time.perf_counter(); g.standard_normal(1 << 20, dtype='f4'); t.append(time.perf_counter() - s)\n"
        "print(min(t))"
    )
    torch = (
        "import time, torch; torch.set_num_threads(1); x = torch.empty(1 << 20); t = []\n"
        "for _ in range(15):\n"
        " s = time.perf_counter(); x.normal_(); t.append(time.perf_counter() - s)\n"
        "print(min(t))"
    )
    ask = lambda command, **kw: float(subprocess.run(command, check=True, capture_output=True, text=True, **kw).stdout)
    sets = ["portable", "avx2", "avx512"]
    times = {}
    for _ in range(options.repeat):
        for name in sets:
            try:
                ours = ask([regenerate, str(million), "f32", "1", "15"], env={**os.environ, "CDI_PRUNE_ISA": name})
                times.setdefault(name, []).append(ours / million)
            except subprocess.CalledProcessError:
                pass
        times.setdefault("numpy", []).append(ask([sys.executable, "-c", snippet]) / million)
        if importlib.util.find_spec("torch") or subprocess.run(
            [options.torch_python, "-c", "import torch"], capture_output=True
        ).returncode == 0:
            python = sys.executable if importlib.util.find_spec("torch") else options.torch_python
            times.setdefault("torch", []).append(ask([python, "-c", torch]) / million)
        times.setdefault("two", []).append(ask([regenerate, str(million), "f32", str(options.threads), "15"]))
    # Short loops: the least time is the one that nothing else disturbed, and the ratios are of least times.
    table.row("NumPy `standard_normal`", times["numpy"], unit="ns")
    if "torch" in times:
        table.row("PyTorch `normal_`", times["torch"], unit="ns")
    numpy_time, torch_time = min(times["numpy"]), min(times.get("torch", [0]))
    targets = {"avx2": "3.5× NumPy", "avx512": "7× NumPy, 1.8× PyTorch", "portable": ""}
    for name in sets:
        if name in times:
            least = min(times[name])
            ratio = f"{numpy_time / least:.2f}× NumPy" + (f", {torch_time / least:.2f}× PyTorch" if torch_time else "")
            table.row(f"this, {name}, scaled and rounded", times[name], ratio=ratio, target=targets[name], unit="ns")
    table.row(f"this, 2^20 He weights on {options.threads} threads", times["two"], target="1 ms (AVX-512)", unit="ms")


def main():
    options = arguments.parse_args()
    wanted = lambda section: not options.only or any(section.startswith(word) for word in options.only.split(","))
    # Not imported here: a child's peak memory is never less than its parent's was.
    if not all(map(importlib.util.find_spec, ("numpy", "safetensors"))):
        sys.exit("needs numpy and safetensors: python3 -m pip install numpy safetensors")
    tool, regenerate = program(), built("regenerate", "-p", "benches", "--bin", "regenerate")
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    print(f"{time.strftime('%Y-%m-%d')}, {cpu}, {options.threads} threads, {platform.system()} {platform.release()}, "
          f"{options.place}, {options.gib:g} GiB, median of {options.repeat}")
    table = Table()
    folder = Path(tempfile.mkdtemp(prefix="cdi-prune-compare-", dir=options.place))
    try:
        measure(table, tool, regenerate, folder, options, wanted)
    finally:
        shutil.rmtree(folder)


def measure(table, tool, regenerate, folder, options, wanted):
    threads = ["--threads", str(options.threads)]
    ours = lambda *args, threads=threads: lambda: run([tool, *args, "--quiet", *threads], folder)
    alone = lambda elements, dtype, n=options.threads: lambda: (
        float(subprocess.run([regenerate, str(elements), dtype, str(n)], check=True, capture_output=True, text=True).stdout), 0.0)

    def fresh(command, output, keep=False):
        """Outputs are removed outside the time: every run writes into new pages, and room is left for the others."""
        def timed():
            (folder / output).unlink(missing_ok=True)
            result = command()
            if not keep:
                (folder / output).unlink()
            return result
        return timed

    if wanted("kernel"):
        kernels(table, regenerate, options)

    if wanted("init"):
        for dtype in WIDTHS:
            table.section(f"init of {options.gib:g} GiB, {dtype.upper()}")
            init, _, count = config(folder, dtype, options.gib, dtype)
            output = f"{dtype}-init.safetensors"
            run([tool, "init", init, "--quiet", "--set", "init.output=source.safetensors"], folder)
            commands = {
                "cp": fresh(lambda: run(["cp", "source.safetensors", "copy"], folder), "copy"),
                "alone": alone(count, dtype),
                "init": fresh(ours("init", init), output),
            }
            if dtype == "f32":
                program = [sys.executable, HERE / "numpy_program.py", "init", init, "numpy.safetensors"]
                commands["numpy"] = fresh(lambda: run(program, folder), "numpy.safetensors")
            times, memory = together(options.repeat, commands)
            (folder / "source.safetensors").unlink()
            copy = table.row("`cp` of the result", times["cp"], memory["cp"])
            regenerated = table.row("regenerating the weights alone", times["alone"])
            total = statistics.median(times["init"])
            table.row("this", times["init"], memory["init"],
                      f"{total / (copy + regenerated):.2f}× both", "1.15×")
            if "numpy" in times:
                other = statistics.median(times["numpy"])
                table.row("NumPy + safetensors", times["numpy"], memory["numpy"], f"{other / total:.1f}× this")

    first, path, elements = config(folder, "f32", options.gib, "f32")
    if wanted("analyze") or wanted("select") or wanted("threads"):
        run([tool, "init", first, "--quiet"], folder)
        run([sys.executable, HERE / "numpy_program.py", "train", "f32-init.safetensors", "f32-trained.safetensors"], folder)
    if wanted("analyze"):
        table.section(f"analyze, prune, run, restore of {options.gib:g} GiB, F32, half of the weights moved")
        numpy_program = lambda *args: lambda: run([sys.executable, HERE / "numpy_program.py", *args], folder)
        commands = {
            "cat": lambda: run(["sh", "-c", "cat f32-trained.safetensors > /dev/null"], folder),
            "alone": alone(elements, "f32"),
            "analyze": ours("analyze", path),
            "prune": fresh(ours("prune", path), "f32-pruned.safetensors", keep=True),
            "run": fresh(ours("run", path), "f32-pruned.safetensors", keep=True),
            "restore": fresh(
                ours("restore", "f32-pruned.safetensors", "-o", "back.safetensors"), "back.safetensors"),
            "numpy analyze": numpy_program("analyze", "f32-trained.safetensors", "f32-init.safetensors"),
            "numpy prune": fresh(
                numpy_program("prune", "f32-trained.safetensors", "f32-init.safetensors", "zeroed.safetensors"),
                "zeroed.safetensors"),
        }
        times, memory = together(options.repeat, commands)
        middle = {name: statistics.median(t) for name, t in times.items()}
        table.row("`cat` of the trained file", times["cat"], memory["cat"])
        table.row("regenerating the weights alone", times["alone"])
        table.row("analyze", times["analyze"], memory["analyze"], f"{middle['analyze'] / middle['alone']:.2f}× alone", "1.25×")
        table.row("prune to bitmask", times["prune"], memory["prune"], f"{middle['prune'] / middle['analyze']:.2f}× analyze", "1.6×")
        table.row("run (analyze and prune)", times["run"], memory["run"], f"{middle['run'] / middle['analyze']:.2f}× analyze", "1.7×")
        table.row("restore, regenerating half", times["restore"], memory["restore"])
        for name in ("analyze", "prune"):
            table.row(f"NumPy + safetensors, {name}, from a stored copy", times[f"numpy {name}"], memory[f"numpy {name}"],
                      f"{middle[f'numpy {name}'] / middle[name]:.1f}× this")

    if wanted("select"):
        table.section(f"Selection in {options.gib:g} GiB, F32, half of the weights moved")
        setting = lambda **keys: [part for key, value in keys.items() for part in ("--set", f"prune.{key}={value}")]
        share = {"scope": "global", "target": "{sparsity: 0.7}"}
        decisions = {
            "threshold": {},
            "70 % by magnitude, global": {"criterion": "magnitude", **share},
            "70 % by magnitude, per tensor": {"criterion": "magnitude", "target": "{sparsity: 0.7}"},
            "70 % by movement, global, regenerated": {"criterion": "movement", **share},
            "2:4 by magnitude": {"criterion": "magnitude", "structure": "{n: 2, m: 4}"},
            "70 % of the rows by magnitude": {"criterion": "magnitude", "structure": "rows", **share},
        }
        times, memory = together(options.repeat, {
            name: fresh(ours("prune", path, *setting(**keys)), "f32-pruned.safetensors")
            for name, keys in decisions.items()})
        before = statistics.median(times["threshold"])
        for name in decisions:
            ratio = f"{statistics.median(times[name]) / before:.2f}× threshold" if name != "threshold" else ""
            table.row(f"prune: {name}", times[name], memory[name], ratio, "2×" if "magnitude, global" in name else "")

    if wanted("threads"):
        table.section("Threads: analyze")
        times, memory = together(options.repeat, {
            n: ours("analyze", path, threads=["--threads", str(n)]) for n in (1, 2)})
        one, two = (statistics.median(times[n]) for n in (1, 2))
        table.row("1 thread", times[1], memory[1])
        table.row("2 threads", times[2], memory[2], f"{one / two:.2f}× one", "1.85×")

    if wanted("size"):
        table.section("Size: analyze of 1, 2 and 4 times a quarter of it")
        for part in (1, 2, 4):
            init, _, _ = config(folder, f"size{part}", options.gib * part / 4, "f32")
            run([tool, "init", init, "--quiet", "--set", f"init.output=size{part}-trained.safetensors"], folder)
        times, memory = together(options.repeat, {n: ours("analyze", folder / f"size{n}.yaml") for n in (1, 2, 4)})
        before = None
        for part in (1, 2, 4):
            now = statistics.median(times[part])
            ratio = f"{now / before:.2f}× half of it" if before else ""
            table.row(f"{options.gib * part / 4:g} GiB", times[part], memory[part], ratio, "1.8 … 2.2×" if before else "")
            before = now
            (folder / f"size{part}-trained.safetensors").unlink()

    for name in folder.glob("*.safetensors"):
        name.unlink()

    if wanted("small"):
        table.section("100,000 tensors of 8 × 8")
        many = folder / "many.yaml"
        tensors = "".join(f"    blocks.{n}.weight: [8, 8]\n" for n in range(100_000))
        rules = "rules: [{match: 'blocks.*.weight', layer: {base: 0, step: 1, by: 1}, init: he}]\n"
        many.write_text(f"seed: 1\nmodel:\n  tensors:\n{tensors}{rules}init: {{output: many.safetensors}}\n")
        run([tool, "init", many, "--quiet"], folder)
        trained = folder / "manytrained.yaml"
        trained.write_text(f"seed: 1\n{rules}trained: {{path: many.safetensors}}\nanalyze: {{report: {{json: m.json}}}}\n"
                           "prune: {output: many-pruned.safetensors}\n")
        times, memory = together(options.repeat, {
            "init, listed in the config": ours("init", many, "--set", "init.output=many2.safetensors"),
            "analyze": ours("analyze", trained),
            "prune": ours("prune", trained),
        })
        for name in times:
            table.row(name, times[name], memory[name], target="2 s")

    if wanted("orthogonal"):
        table.section("An orthogonal matrix of 2048 × 2048")
        matrix = folder / "orthogonal.yaml"
        matrix.write_text("seed: 1\nmodel: {tensors: {a: [2048, 2048]}}\nrules: [{match: a, init: orthogonal}]\n"
                          "init: {output: orthogonal.safetensors}\n")
        # The decomposition alone: without the start of Python and the gaussian matrix.
        snippet = ("import time, numpy as np; a = np.random.default_rng(0).standard_normal((2048, 2048))\n"
                   "s = time.perf_counter(); q, r = np.linalg.qr(a); q *= np.sign(np.diag(r))\n"
                   "print(time.perf_counter() - s)")
        environment = {**os.environ, **{f"{n}_NUM_THREADS": str(options.threads) for n in ("OMP", "OPENBLAS")}}
        numpy_qr = lambda: (float(subprocess.run([sys.executable, "-c", snippet], check=True, capture_output=True,
                                                 text=True, env=environment).stdout), 0.0)
        times, memory = together(options.repeat, {"numpy": numpy_qr, "init": ours("init", matrix)})
        other = table.row("NumPy `linalg.qr`, signs fixed", times["numpy"])
        table.row("init, noise and file included", times["init"], memory["init"],
                  f"{statistics.median(times['init']) / other:.2f}× NumPy", "4×")

    if wanted("start"):
        table.section("Start-up")
        thousand = folder / "thousand.yaml"
        tensors = "".join(f"    blocks.{n}.weight: [64, 64]\n" for n in range(1000))
        thousand.write_text(f"seed: 1\nmodel:\n  tensors:\n{tensors}rules: [{{match: '**', init: he}}]\ninit: {{output: a}}\n")
        times, memory = together(4 * options.repeat, {
            "`--version`": lambda: run([tool, "--version"], folder),
            "`plan` of 1000 tensors": lambda: run([tool, "plan", thousand], folder),
        })
        for name in times:
            table.row(name, times[name], memory[name], target="20 ms", unit="ms")

    if options.large:
        table.section("Memory: one tensor of 8 GiB, one run each")
        init, path, _ = config(folder, "large", 8, "f32", one=True)
        steps = {
            "init": ["init", init],
            "analyze": ["analyze", path],
            "prune": ["prune", path],
            "run": ["run", path],
            "restore": ["restore", "large-pruned.safetensors", "-o", "back.safetensors"],
        }
        for name, command in steps.items():
            seconds, memory = run([tool, *command, "--quiet", *threads], folder)
            table.row(name, [seconds], memory, target="256 MiB")
            if name == "init":
                (folder / "large-init.safetensors").rename(folder / "large-trained.safetensors")


if __name__ == "__main__":
    main()
