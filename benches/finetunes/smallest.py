#!/usr/bin/env python3
"""Whole files of a fine-tune with values rounded to steps from its base: bytes, and how well it retrieves when restored.

    python3 benches/finetunes/smallest.py FOLDER [--fine-tune full_f32_decay] [--steps 0.0007 0.002 …]
    python3 benches/finetunes/smallest.py FOLDER --tune 100

FOLDER is what make.py wrote. Retrieval: names of 500 Python functions that training has not seen, and first sentences
of their documentation; the share of both whose counterpart is the nearest of 500. The second figure is for 500 others.
The weights of linear layers have steps of one length; with --tune, `tune` searches with so many evaluations for steps
that lose at most half a point on the first 500 pairs, and evaluate.py evaluates. Moments for compensated rounding are
those of a thousand texts of the training data, by the Python package. Needs that (`pip install ./python`),
the packages that make.py needs, and `cdi-prune` (CDI_PRUNE, or target/release/cdi-prune)."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from cdi_prune import calibrate
from evaluate import retrieval
from make import embed, encoder, split, texts
from variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")
# Steps of the other tensors, which have no moments. Their values hardly moved, and take few bytes.
OTHERS = [
    {"match": "embeddings.*_embeddings.weight", "values": {"step": 0.0007}},
    {"match": ["**.bias", "**LayerNorm.weight"], "values": {"step": 0.0003}},
]


def modules(w):
    """The linear layers as modules of the names that they have in the checkpoint."""
    root = torch.nn.Module()
    for name, weight in w.items():
        path, _, last = name.rpartition(".")
        if last == "weight" and weight.dim() == 2 and not path.startswith(("embeddings", "pooler")):
            *parents, leaf = path.split(".")
            parent = root
            for part in parents:
                if part not in parent._modules:
                    parent.add_module(part, torch.nn.Module())
                parent = parent._modules[part]
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = weight, w[f"{path}.bias"]
            parent.add_module(leaf, layer)
    return root


def moments(checkpoint, lines, encoded, out):
    w = {name: t.float() if t.is_floating_point() else t for name, t in load_file(checkpoint).items()}
    root = modules(w)
    layers = dict(root.named_modules())
    with torch.no_grad(), calibrate.recording(root) as sums:
        # One by one, so that nothing is padding.
        for line in lines:
            embed(w, *encoded([line]), linear=lambda _, name, x: layers[name](x))
    calibrate.save(out, sums)


def rounded(folder, start, trained, step, rounding, **sections):
    """Bytes of the file; restores it to restored.safetensors. The step "auto" is searched for."""
    values = {"step": step, "rounding": rounding}
    if rounding == "compensated":
        values["calibration"] = "moments.safetensors"
    config = {
        "rules": [{"match": "**", "init": {"from": str(start)}}],
        "trained": {"path": str(trained)},
        "prune": {"output": "pruned.safetensors", "values": values, "rules": OTHERS if step != "auto" else []},
        **sections,
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    file = folder / "pruned.safetensors"
    subprocess.run([TOOL, "prune", folder / "config.yaml", "--quiet"], check=True)
    restore = [TOOL, "restore", file, "--base", start, "-o", folder / "restored.safetensors", "--quiet"]
    subprocess.run(restore, check=True)
    return file.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fine-tune", choices=VARIANTS, default="full_f32_decay")
    parser.add_argument("--steps", nargs="+", type=float, default=[0.0005, 0.0007, 0.001, 0.0015, 0.002, 0.0025, 0.003])
    parser.add_argument("--tune", type=int, metavar="N", help="search for the steps, with so many evaluations")
    options = parser.parse_args()
    trained = (options.folder / f"{options.fine_tune}.safetensors").absolute()
    start = (options.folder / f"{VARIANTS[options.fine_tune][0]}.safetensors").absolute()

    encoded = encoder()
    training, *held_out = split(texts())
    held_out = [pairs[:500] for pairs in held_out]
    shown = lambda file: " / ".join(f"{retrieval(file, pairs, encoded):.1f}" for pairs in held_out) + " %"
    print("| step | nearest: bytes, retrieval | compensated: bytes, retrieval |")
    print("| ---: | ---: | ---: |")
    print(f"| the base | {shown(start)} | |")
    print(f"| `{options.fine_tune}` | {trained.stat().st_size:,}, {shown(trained)} | |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = [text for pair in training[:: len(training) // 500][:500] for text in pair]
        moments(trained, lines, encoded, folder / "moments.safetensors")
        pairs = folder / "pairs.json"
        pairs.write_text(json.dumps(held_out[0]))
        command = [sys.executable, str(Path(__file__).with_name("evaluate.py").absolute()), "{checkpoint}", str(pairs)]
        tune = {"command": command, "better": "higher", "max_drop": 0.5, "max_evaluations": options.tune}
        for step in ["auto"] if options.tune else options.steps:
            cells, sections = [], {"tune": tune} if options.tune else {}
            for rounding in ["nearest", "compensated"]:
                size = rounded(folder, start, trained, step, rounding, **sections)
                cells.append(f"{size:,}, {shown(folder / 'restored.safetensors')}")
            print(f"| {step} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
