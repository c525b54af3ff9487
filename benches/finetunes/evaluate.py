#!/usr/bin/env python3
"""How well a fine-tune retrieves, as the command of a search by `tune`.

    python3 benches/finetunes/evaluate.py CHECKPOINT PAIRS

PAIRS is a JSON file with pairs of a function's name and the first sentence of its documentation, which smallest.py
writes. Prints the share of both, in per cent, whose counterpart is the nearest of all."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from make import embed, encoder


def embeddings(w, lines, encoded, **how):
    """In the order of the lines. Those of a batch have about the same length."""
    order = sorted(range(len(lines)), key=lambda n: len(lines[n]))
    found = [None] * len(lines)
    with torch.no_grad():
        for first in range(0, len(order), 64):
            batch = order[first : first + 64]
            for n, vector in zip(batch, embed(w, *encoded([lines[n] for n in batch]), **how)):
                found[n] = vector
    return torch.stack(found)


def retrieval(checkpoint, pairs, encoded):
    w = {name: t.float() if t.is_floating_point() else t for name, t in load_file(checkpoint).items()}
    names, sentences = (embeddings(w, list(lines), encoded) for lines in zip(*pairs))
    scores, own = names @ sentences.T, torch.arange(len(pairs))
    found = torch.cat([scores.argmax(1) == own, scores.argmax(0) == own])
    return 100 * found.float().mean().item()


if __name__ == "__main__":
    checkpoint, pairs = sys.argv[1:]
    print(f"{retrieval(checkpoint, json.loads(Path(pairs).read_text()), encoder()):.4f}")
