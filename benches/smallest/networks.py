#!/usr/bin/env python3
"""Evaluates a checkpoint of one of the repository's five networks, or measures what its layers take in.

    python3 networks.py evaluate NETWORK CHECKPOINT
    python3 networks.py moments NETWORK CHECKPOINT OUT

`evaluate` prints the share of right answers, as `tune` reads it: on the first thousand test images of Fashion-MNIST,
or for byte_lm_adamw on the 3,840 bytes of examples/data/bytes.safetensors. `moments` writes a file for
`prune.values.calibration`: for each weight of two or more dimensions XᵀX, F64 [inputs, inputs], where the rows of X
are the inputs of the layer, for a thousand training images or 64,000 bytes of the topics of Python's `help`. Embeddings
have no entry.

Other data: `--data FILE` for tensors x and y as in examples/data; `--idx FOLDER` for the other nine thousand test
images, from Fashion-MNIST's own files (`apt install dataset-fashion-mnist`); `--docstrings` for byte_lm_adamw, 64,000
bytes of the docstrings of Python's library. Texts are those of the Python that runs this. Needs only NumPy."""

import argparse
import gzip
import importlib
import inspect
import json
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "examples/data"
# Their docstrings have examples and prose; importing them has no effect.
DOCUMENTED = """
    argparse ast asyncio calendar collections concurrent.futures configparser contextlib csv ctypes.util datetime
    decimal difflib dis doctest email.message enum fractions ftplib functools gettext glob heapq http.client imaplib
    inspect ipaddress itertools json locale logging mailbox math mimetypes multiprocessing.pool numbers optparse os
    pathlib pickle pprint random re sched selectors shelve shutil smtplib socket sqlite3 ssl statistics string
    subprocess tarfile tempfile textwrap threading time traceback turtle types unittest urllib.parse urllib.request
    uuid weakref xml.dom.minidom xml.etree.ElementTree zipfile
""".split()
HEADS = 4
WINDOW = 64


def load(path):
    """The tensors of a safetensors file, BF16 as F32."""
    whole = Path(path).read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    tensors = {}
    for name, entry in json.loads(whole[8:end]).items():
        if name != "__metadata__":
            kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1"}[entry["dtype"]]
            first, last = (end + offset for offset in entry["data_offsets"])
            values = np.frombuffer(whole[first:last], kind).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                values = (values.astype("<u4") << 16).view("<f4")
            tensors[name] = values
    return tensors


def save(path, tensors):
    """Writes tensors of binary64 as a safetensors file."""
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F64", "shape": values.shape, "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = (values.astype("<f8").tobytes() for values in tensors.values())
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))


class Layers:
    """The weights of a checkpoint, and what they multiply."""

    def __init__(self, weights):
        self.weights = {name: values.astype("<f4") for name, values in weights.items()}
        self.moments = None

    def linear(self, name, x):
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        rows = x.reshape(-1, x.shape[-1])
        if self.moments is not None:
            wide = rows.astype("<f8")
            self.moments[f"{name}.weight"] = self.moments.get(f"{name}.weight", 0) + wide.T @ wide
        out = rows @ weight.reshape(len(weight), -1).T
        if bias is not None:
            out += bias
        return out.reshape(*x.shape[:-1], -1)

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(1e-5))
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def mlp(layers, x):
    """fc1 … fcN with ReLU between, on images with as wide a border of zeros as fc1 takes."""
    side = int(layers.weights["fc1.weight"].shape[1] ** 0.5)
    border = (side - 28) // 2
    x = np.pad(x.reshape(-1, 28, 28), ((0, 0), (border, border), (border, border)))
    x = layers.linear("fc1", x.reshape(len(x), -1).astype("<f4") / np.float32(255))
    last = sum(name.endswith(".weight") for name in layers.weights)
    for n in range(2, last + 1):
        x = layers.linear(f"fc{n}", np.maximum(x, 0))
    return x


def cnn(layers, x):
    """Twice a 3×3 convolution, ReLU and maximum of 2×2; then two linear layers with ReLU between."""
    x = x.reshape(-1, 28, 28, 1).astype("<f4") / np.float32(255)
    for name in ["conv1", "conv2"]:
        around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        # [image, row, column, channel, kernel row, kernel column]: the weights' order.
        around = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (1, 2))
        x = np.maximum(layers.linear(name, around.reshape(*x.shape[:3], -1)), 0)
        n, rows, columns, channels = x.shape
        x = x.reshape(n, rows // 2, 2, columns // 2, 2, channels).max((2, 4))
    x = layers.linear("fc1", x.transpose(0, 3, 1, 2).reshape(len(x), -1))
    return layers.linear("fc2", np.maximum(x, 0))


def byte_lm(layers, x):
    """A transformer with the norms in front, which predicts the next byte at every place."""
    n, length = x.shape
    hidden = np.triu(np.full((length, length), -np.inf, "<f4"), 1)
    x = layers.weights["tok_emb.weight"][x] + layers.weights["pos_emb.weight"][:length]
    for block in ["h0", "h1"]:
        qkv = layers.linear(f"{block}.qkv", layers.norm(f"{block}.ln1", x))
        q, k, v = qkv.reshape(n, length, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        scores = np.exp(q @ k.transpose(0, 1, 3, 2) / np.float32(q.shape[3] ** 0.5) + hidden)
        seen = (scores / scores.sum(3, keepdims=True)) @ v
        x = x + layers.linear(f"{block}.o", seen.transpose(0, 2, 1, 3).reshape(x.shape))
        inner = gelu(layers.linear(f"{block}.up", layers.norm(f"{block}.ln2", x)))
        x = x + layers.linear(f"{block}.down", inner)
    return layers.linear("head", layers.norm("lnf", x))


def gelu(x):
    """x Φ(x), with erfc of Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = np.zeros_like(x)
    for factor in [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]:
        tail = (tail + np.float32(factor)) * t
    tail *= np.exp(-z * z) / 2
    return x * np.where(x < 0, tail, 1 - tail)


NETWORKS = {
    "mlp_pad_sgd": (mlp, DATA / "mlp_pad_sgd"),
    "mlp_bf16_sgd": (mlp, DATA / "mlp_bf16_sgd"),
    "mlp_pad_sgdm_wd": (mlp, DATA.parents[1] / "tests/data/mlp_pad_sgdm_wd"),
    "cnn_adamw": (cnn, DATA.parents[1] / "tests/data/cnn_adamw"),
    "byte_lm_adamw": (byte_lm, DATA.parents[1] / "tests/data/byte_lm_adamw"),
}


def images(folder):
    """The test images of Fashion-MNIST and their classes, without the thousand of examples/data."""
    x = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    y = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(x, "u1", offset=16).reshape(-1, 784)[1000:], np.frombuffer(y, "u1", offset=8)[1000:]


def topics():
    """What `help` says about the language, without the topic that examples/data/bytes.safetensors is from."""
    from pydoc_data.topics import topics

    return windows(topics[name] for name in sorted(topics) if name != "typesmapping")


def docstrings():
    found = {}
    for module in map(importlib.import_module, DOCUMENTED):
        for _, value in [("", module), *sorted(vars(module).items())]:
            members = sorted(vars(value).items()) if inspect.isclass(value) else []
            for _, member in [("", value), *members]:
                text = getattr(member, "__doc__", None)
                if isinstance(text, str) and (inspect.ismodule(member) or inspect.isclass(member) or callable(member)):
                    found[inspect.cleandoc(text)] = None
    return windows(found)


def windows(texts):
    """A thousand windows of 64 bytes and the bytes that follow each byte, from everywhere in the texts."""
    text = np.frombuffer("\n\n".join(texts).encode(), "u1")
    starts = np.linspace(0, len(text) - WINDOW - 1, 1000).astype(int)[:, None] + np.arange(WINDOW)
    return text[starts], text[starts + 1]


def measure(network, checkpoint, x, y, out=None):
    """How many answers are right. Writes the moments to `out`."""
    forward, _ = NETWORKS[network]
    layers = Layers(load(checkpoint))
    layers.moments = {} if out else None
    right = 0
    for first in range(0, len(x), 250):
        guesses = forward(layers, x[first : first + 250]).argmax(-1)
        right += int((guesses == y[first : first + 250]).sum())
    if out:
        save(out, layers.moments)
    return right


def examples(file):
    tensors = load(file)
    return tensors["x"], tensors["y"]


def held_out(network):
    """What `evaluate` takes."""
    return examples(DATA / ("bytes.safetensors" if network == "byte_lm_adamw" else "fashion.safetensors"))


def seen(network):
    """What `moments` takes."""
    return topics() if network == "byte_lm_adamw" else examples(DATA / "fashion_train.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ["evaluate", "moments"]:
        command = commands.add_parser(name)
        command.add_argument("network", choices=NETWORKS)
        command.add_argument("checkpoint", type=Path)
        if name == "moments":
            command.add_argument("out", type=Path)
        others = command.add_mutually_exclusive_group()
        others.add_argument("--data", type=Path)
        others.add_argument("--idx", type=Path)
        others.add_argument("--docstrings", action="store_true")
    options = parser.parse_args()

    if options.data:
        x, y = examples(options.data)
    elif options.idx:
        x, y = images(options.idx)
    elif options.docstrings:
        x, y = docstrings()
    else:
        x, y = held_out(options.network) if options.command == "evaluate" else seen(options.network)
    right = measure(options.network, options.checkpoint, x, y, getattr(options, "out", None))
    print(f"{right} of {y.size} right: {100 * right / y.size:.6g} %")


if __name__ == "__main__":
    main()
