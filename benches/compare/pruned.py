#!/usr/bin/env python3
"""Sizes of pruned checkpoints: as a bitmask, as that bitmask under zstd -19, and coded, all in one run.

Without arguments: the networks that come with the repository, over their start, which facts.json describes. Arguments are
other .safetensors files, pruned without a start. Each is pruned by magnitude over the whole model, tensors of fewer than two
dimensions kept. Needs `cdi-prune` (CDI_PRUNE, or target/release/cdi-prune) and `zstd`."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")
FOLDERS = [*(ROOT / "examples/data").glob("*/"), *(ROOT / "tests/data").glob("*/")]


def pruned(folder, config, form):
    config["prune"]["format"] = form
    (folder / "config.yaml").write_text(json.dumps(config))
    subprocess.run([TOOL, "prune", folder / "config.yaml", "--quiet"], check=True)
    subprocess.run([TOOL, "restore", folder / "p.safetensors", "-o", folder / f"{form}.safetensors", "--quiet"], check=True)
    return (folder / "p.safetensors").stat().st_size


def row(name, file, start):
    whole = file.stat().st_size
    for sparsity in [0.5, 0.7]:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            prune = {"output": "p.safetensors", "criterion": "magnitude", "scope": "global", "target": {"sparsity": sparsity}}
            prune["rules"] = [{"match": "re:bias|norm|Norm|ln", "keep": True, "optional": True}]
            config = {**start, "trained": {"path": str(file)}, "prune": prune}
            sizes = [pruned(folder, config, "bitmask")]
            zstd = subprocess.run(["zstd", "-19", "-c", "-q", folder / "p.safetensors"], check=True, capture_output=True)
            sizes.append(len(zstd.stdout))
            sizes.append(pruned(folder, config, "auto"))
            assert (folder / "bitmask.safetensors").read_bytes() == (folder / "auto.safetensors").read_bytes()
        shares = [f"{size:,} ({100 * size / whole:.1f} %)" for size in sizes]
        print(f"| {name} | {100 * sparsity:.0f} % | {whole:,} | {' | '.join(shares)} |", flush=True)


print("| checkpoint | pruned | bytes | bitmask | bitmask, zstd -19 | coded |")
print("| --- | ---: | ---: | ---: | ---: | ---: |")
if sys.argv[1:]:
    for file in map(Path, sys.argv[1:]):
        row(file.stem, file, {"seed": 0, "rules": [{"match": "**", "init": "none"}]})
else:
    for folder in sorted(FOLDERS, key=lambda folder: folder.name):
        facts = json.loads((folder / "facts.json").read_text())
        row(folder.name, folder / "trained.safetensors", {"seed": facts["seed"], "rules": facts["rules"]})
