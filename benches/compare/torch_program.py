"""The same jobs as a user would write them with PyTorch, safetensors and the libraries for compressed weights. Analysis needs
a stored copy of the initial checkpoint. `-W ignore`: some of these libraries warn on import."""

import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.utils import prune as pruning


def init(like, output):
    torch.manual_seed(7)
    tensors = {}
    with safe_open(like, "pt") as file:
        for name in file.keys():
            shape = file.get_slice(name).get_shape()
            tensors[name] = torch.nn.init.kaiming_normal_(torch.empty(shape))
    save_file(tensors, output)


def analyze(trained, initial, threshold="1e-3"):
    """One tensor at a time, in place where that is possible, on all threads. In F32; this tool adds up in F64."""
    with safe_open(trained, "pt") as after, safe_open(initial, "pt") as before:
        for name in after.keys():
            w, w0 = after.get_tensor(name), before.get_tensor(name)
            moments = [w.mean().item(), w.std().item(), w0.std().item(), torch.dot(w.flatten(), w0.flatten()).item()]
            delta = (w - w0).abs_()
            changed = delta > float(threshold)
            sums = [delta.mean().item(), delta.norm().item(), delta.max().item(), delta[changed].mean().item()]
            lines = [(~changed).all(dim).sum().item() for dim in (0, 1)]
            histogram = torch.histc(delta.clamp_(min=1e-13).log10_(), 76, -13, 6).tolist()
            print(name, changed.sum().item(), *moments, *sums, *lines, histogram)


def masked(trained, share):
    """The checkpoint with this share of all weights set to zero by `global_unstructured`."""
    tensors = load_file(trained)
    model = torch.nn.ModuleDict()
    for name, weight in tensors.items():
        layer = torch.nn.Module()
        layer.register_parameter("weight", torch.nn.Parameter(weight, requires_grad=False))
        model[name.replace(".", "_")] = layer
    all_of_them = [(layer, "weight") for layer in model.values()]
    pruning.global_unstructured(
        all_of_them, pruning_method=pruning.L1Unstructured, amount=float(share))
    for layer, name in all_of_them:
        pruning.remove(layer, name)
    return {name: layer.weight.data for name, layer in zip(tensors, model.values())}


def prune(trained, share, output):
    save_file(masked(trained, share), output)


def bitmask(zeroed, output):
    from compressed_tensors.compressors.sparse_compressors.sparse_bitmask import BitmaskTensor

    parts = {}
    with safe_open(zeroed, "pt") as file:
        for name in file.keys():
            parts |= BitmaskTensor.from_dense(file.get_tensor(name)).dict(name)
    save_file(parts, output)


def unmask(compressed, output):
    from compressed_tensors.compressors.sparse_compressors.sparse_bitmask import bitmask_decompress

    tensors = {}
    with safe_open(compressed, "pt") as file:
        for shape in (name for name in file.keys() if name.endswith(".shape")):
            name = shape.removesuffix(".shape")
            values, bits = (file.get_tensor(f"{name}.{part}") for part in ("compressed", "bitmask"))
            tensors[name] = bitmask_decompress(values, bits, file.get_tensor(shape).tolist())
    save_file(tensors, output)


if __name__ == "__main__":
    jobs = {job.__name__: job for job in (init, analyze, prune, bitmask, unmask)}
    jobs[sys.argv[1]](*sys.argv[2:])
