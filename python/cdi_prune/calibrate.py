"""Calibration for `prune.values.rounding: compensated` from a PyTorch model.

    from cdi_prune import calibrate
    calibrate.save("moments.safetensors", calibrate.moments(model, batches))

or from the command line, where `mine.py` has the two, or functions that return them:

    python -m cdi_prune.calibrate mine:model mine:batches -o moments.safetensors

Some hundred or thousand training samples are enough. For each weight of a Linear, Conv1d, Conv2d or Conv3d, the file
has the sum of XᵀX, F64 [inputs, inputs], where the rows of X are what the layer took in; the inputs of a convolution
are channels at kernel positions. A weight that several modules share, or whose module runs several times, has the sum
over all calls, under the first of its names, as `save_model` writes it.

Weights without an entry are rounded to nearest: embeddings, and heads tied to them; convolutions with groups, and
transposed ones; weights that are used otherwise than by calling their module, as in MultiheadAttention and LSTM.
Warnings name the linear layers and convolutions that were left out.

The Conv1D of transformers (GPT-2) stores its weight as [inputs, outputs], so its rule in the config needs `layout:
in_out`. Pass the model without wrappers (DataParallel, torch.compile), so that names are those of the checkpoint."""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .files import Path, save_file

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def moments(
    model: nn.Module, batches: Iterable[Any], call: Callable[[nn.Module, Any], object] | None = None
) -> dict[str, torch.Tensor]:
    """Runs the model on all batches and returns {name of a weight: XᵀX}.

    A batch is a tensor, a tuple or list that begins with the model's input, or a dictionary of its arguments. For
    others, pass call(model, batch)."""
    device = next(model.parameters()).device
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), recording(model) as sums:
            for batch in batches:
                if call:
                    call(model, batch)
                elif hasattr(batch, "keys"):
                    model(**{key: x.to(device) if torch.is_tensor(x) else x for key, x in batch.items()})
                else:
                    model((batch[0] if isinstance(batch, (tuple, list)) else batch).to(device))
    finally:
        for module, was in training:
            module.training = was
    return sums


@contextmanager
def recording(model: nn.Module, most: int = 16_384) -> Iterator[dict[str, torch.Tensor]]:
    """Adds up the moments of whatever runs inside `with`, in the dictionary that it gives.

    Layers with more than `most` inputs are left out: their moments take 8 bytes for each pair of inputs."""
    names: dict[Any, list[str]] = {}
    embedded: set[Any] = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, weight in module.named_parameters(recurse=False):
            names.setdefault(weight, []).append(f"{prefix}.{name}" if prefix else name)
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            embedded.add(module.weight)

    sums: dict[str, Any] = {}
    hooks, expected = [], set()
    skipped: dict[str, list[str]] = {}
    for prefix, module in model.named_modules():
        rows, inputs = _layer(module)
        if rows is None:
            continue
        name = min(names.get(module.weight, [f"{prefix}.weight"]))
        why = _reason(module, inputs, most)
        if module.weight in embedded:
            why = "that are embeddings too"
        elif module.weight not in names:
            why = "that are computed from other tensors"
        if why:
            skipped.setdefault(why, []).append(name)
            continue
        expected.add(name)

        def add(module: nn.Module, arguments: Any, name: str = name, rows: Any = rows) -> None:
            if not arguments:
                raise TypeError(f"the module of {name} is called with keywords only, which hooks do not see")
            x = arguments[0].detach()
            # Apple's GPUs have no binary64. Images one by one, since they are large when unfolded.
            parts = (part.double() for part in rows(module, x.cpu() if x.device.type == "mps" else x))
            product = sum(part.T @ part for part in parts)
            sums[name] = sums.get(name, 0) + product.cpu()

        hooks.append(module.register_forward_pre_hook(add))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
    unseen = sorted(expected - sums.keys())
    if unseen:
        skipped["whose module was never called"] = unseen
    for why, which in skipped.items():
        warnings.warn(f"no moments for weights {why}: {', '.join(which)}", stacklevel=3)


def _layer(module: Any) -> tuple[Callable[[Any, Any], Iterable[Any]] | None, int]:
    """How to get the rows of X of a layer from its input, and their length. None for other modules."""
    if isinstance(module, nn.Linear):
        return _matrix_rows, module.in_features
    if isinstance(module, _CONVOLUTIONS):
        return _unfolded_rows, module.weight[0].numel()
    if type(module).__name__ == "Conv1D" and getattr(module, "weight", None) is not None:
        return _matrix_rows, module.weight.shape[0]
    return None, 0


def _reason(module: Any, inputs: int, most: int) -> str | None:
    """Why a layer has no entry, or None."""
    if getattr(module, "groups", 1) != 1:
        return "of convolutions with groups"
    if inputs > most:
        return f"of more than {most:,} inputs"
    return None


def _matrix_rows(_: Any, x: Any) -> Iterable[Any]:
    return [x.reshape(-1, x.shape[-1])]


def _unfolded_rows(module: Any, x: Any) -> Iterator[Any]:
    """The inputs of each sample: a row for each position, channels at kernel positions in the order of the weight."""
    kernel = module.kernel_size
    padding: list[int] = []
    for n, size in enumerate(kernel):
        whole = module.dilation[n] * (size - 1)
        if module.padding == "same":
            padding = [whole // 2, whole - whole // 2, *padding]
        else:
            padding = [0 if module.padding == "valid" else module.padding[n]] * 2 + padding
    if x.dim() == len(kernel) + 1:
        x = x[None]
    x = F.pad(x, padding, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
    for n, size in enumerate(kernel):
        # The windows of a dimension become the last dimension.
        x = x.unfold(n + 2, module.dilation[n] * (size - 1) + 1, module.stride[n])[..., :: module.dilation[n]]
    spatial = len(kernel)
    for sample in x:
        # [channel, positions …, kernel positions …]
        order = [*range(1, spatial + 1), 0, *range(spatial + 1, 2 * spatial + 1)]
        yield sample.permute(order).reshape(-1, module.weight[0].numel())


def save(file: Path, sums: Mapping[str, torch.Tensor]) -> None:
    """Writes what `moments` returned."""
    save_file(sums, file)


def _named(text: str) -> Any:
    """The object `module:name`, or what it returns if it is a function."""
    module, colon, name = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text}: expected MODULE:NAME, such as mine:model")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    return found() if callable(found) and not isinstance(found, nn.Module) else found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cdi_prune.calibrate",
        description="Second moments of the inputs of a PyTorch model's layers, for compensated rounding.",
        epilog="example: python -m cdi_prune.calibrate mine:model mine:batches -o moments.safetensors --batches 100",
    )
    # Modules beside the user, as for any script.
    sys.path.insert(0, os.getcwd())
    parser.add_argument("model", type=_named, help="a trained module, or a function that returns it, as MODULE:NAME")
    parser.add_argument("data", type=_named, help="batches of training data, such as a DataLoader, as MODULE:NAME")
    parser.add_argument("-o", "--output", required=True, help="file to write")
    parser.add_argument("--batches", type=int, help="use at most so many batches")
    options = parser.parse_args()
    sums = moments(options.model, itertools.islice(options.data, options.batches))
    save(options.output, sums)
    print(f"{options.output}: moments of {len(sums)} weights")


if __name__ == "__main__":
    main()
