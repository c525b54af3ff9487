#!/usr/bin/env python3
"""Calibration for `prune.values.rounding: compensated` from a PyTorch model.

    import calibrate
    calibrate.save("moments.safetensors", calibrate.moments(model, batches))

Some hundred or thousand training samples are enough. For each weight of a Linear, Conv1d, Conv2d or Conv3d, the file
has the sum of XᵀX, F64 [inputs, inputs], where the rows of X are what the layer took in; the inputs of a convolution
are channels at kernel positions. A weight that several modules share, or whose module runs several times, has the sum
over all calls, under the first of its names, as `save_model` writes it.

Weights without an entry are rounded to nearest: embeddings, and heads tied to them; convolutions with groups, and
transposed ones; weights that are used otherwise than by calling their module, as in MultiheadAttention and LSTM.
Warnings name the linear layers and convolutions that were left out.

The Conv1D of transformers (GPT-2) stores its weight as [inputs, outputs], so its rule in the config needs `layout:
in_out`. Pass the model without wrappers (DataParallel, torch.compile), so that names are those of the checkpoint.

`python3 calibrate.py FOLDER` shows it on a small network: it writes trained.safetensors, moments.safetensors and
config.yaml, for `cdi-prune prune`."""

import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file, save_model

CONFIG = """\
rules: [{match: "**", init: none}]
trained: {path: trained.safetensors}
prune:
  output: pruned.safetensors
  values: {step: 0.1, rounding: compensated, calibration: moments.safetensors}
"""
CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


def moments(model, batches, call=None):
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
def recording(model, most=16_384):
    """Adds up the moments of whatever runs inside `with`, in the dictionary that it gives.

    Layers with more than `most` inputs are left out: their moments take 8 bytes for each pair of inputs."""
    names, embedded = {}, set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, weight in module.named_parameters(recurse=False):
            names.setdefault(weight, []).append(f"{prefix}.{name}" if prefix else name)
        if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
            embedded.add(module.weight)

    sums, hooks, skipped, expected = {}, [], {}, set()
    for prefix, module in model.named_modules():
        rows, inputs = layer(module)
        if rows is None:
            continue
        name = min(names.get(module.weight, [f"{prefix}.weight"]))
        why = reason(module, inputs, most)
        if module.weight in embedded:
            why = "that are embeddings too"
        elif module.weight not in names:
            why = "that are computed from other tensors"
        if why:
            skipped.setdefault(why, []).append(name)
            continue
        expected.add(name)

        def add(module, arguments, name=name, rows=rows):
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


def layer(module):
    """How to get the rows of X of a layer from its input, and their length. None for other modules."""
    if isinstance(module, torch.nn.Linear):
        return matrix_rows, module.in_features
    if isinstance(module, CONVOLUTIONS):
        return unfolded_rows, module.weight[0].numel()
    if type(module).__name__ == "Conv1D" and getattr(module, "weight", None) is not None:
        return matrix_rows, module.weight.shape[0]
    return None, 0


def reason(module, inputs, most):
    """Why a layer has no entry, or None."""
    if getattr(module, "groups", 1) != 1:
        return "of convolutions with groups"
    if inputs > most:
        return f"of more than {most:,} inputs"
    return None


def matrix_rows(_, x):
    return [x.reshape(-1, x.shape[-1])]


def unfolded_rows(module, x):
    """The inputs of each sample: a row for each position, channels at kernel positions in the order of the weight."""
    kernel, padding = module.kernel_size, []
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


def save(file, sums):
    save_file({name: product.contiguous() for name, product in sums.items()}, file)


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(42)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 2),
    )
    # Which of two strokes a noisy image has.
    y = torch.arange(2000) % 2
    x = torch.rand(2000, 1, 8, 8)
    x[y == 0, :, 3, :] += 0.5
    x[y == 1, :, :, 3] += 0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(300):
        chosen = torch.randint(1000, (64,))
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_model(model, str(folder / "trained.safetensors"))
    save(folder / "moments.safetensors", moments(model, x[:1000].split(100)))
    (folder / "config.yaml").write_text(CONFIG)
    with torch.no_grad():
        right = (model(x[1000:]).argmax(1) == y[1000:]).float().mean()
    print(f"{100 * right:.1f} % of 1000 other images")


if __name__ == "__main__":
    main()
