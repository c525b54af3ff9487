#!/usr/bin/env python3
"""The accuracy of a dense checkpoint of LeNet-300-100 or LeNet-5, in per cent, with NumPy alone.

    python3 benches/smallest/lenet_evaluate.py CHECKPOINT TEST

TEST is an .npz file with `x` [images, 784], 0 … 1, and `y`, which lenet.py writes to its folder. A search calls this
hundreds of times, so it does without PyTorch."""

import sys

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load_file


def forward(p, x):
    if "conv1.weight" in p:
        x = x.reshape(-1, 1, 28, 28)
        for layer in ["conv1", "conv2"]:
            weight, bias = p[f"{layer}.weight"], p[f"{layer}.bias"]
            # [image, row, column, channel × kernel]
            patches = sliding_window_view(x, weight.shape[2:], axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
            patches = patches.reshape(*patches.shape[:3], -1)
            x = (patches @ weight.reshape(len(weight), -1).T + bias).transpose(0, 3, 1, 2)
            n, channels, rows, columns = x.shape
            x = x.reshape(n, channels, rows // 2, 2, columns // 2, 2).max(axis=(3, 5))
        x = x.reshape(len(x), -1)
    layers = sorted(name for name in p if name.startswith("fc") and name.endswith(".weight"))
    for layer in layers:
        x = x @ p[layer].T + p[layer.replace("weight", "bias")]
        if layer != layers[-1]:
            x = np.maximum(x, 0)
    return x


def main():
    checkpoint, test = sys.argv[1:]
    data = np.load(test)
    right = forward(load_file(checkpoint), data["x"]).argmax(1) == data["y"]
    print(f"{100 * right.mean():.1f} %")


if __name__ == "__main__":
    main()
