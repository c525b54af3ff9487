"""Deep Compression (Han, Mao, Dally, ICLR 2016) of a pruned network: shared weights, relative indexes, Huffman codes.

Each layer's kept weights share 2^8 (convolutions) or 2^5 values, found by k-means from evenly spaced centroids, which
are then trained with the sums of their weights' gradients. A kept weight is stored as the number of zeros since the
last one and the index of its value; a gap too long for its 4, 5 or 8 bits (whichever makes the layer smallest) takes
filler zeros. Both are Huffman-coded. The size counts the codes, the lengths of the codes (from which canonical codes
follow), centroids and biases as F32, and nothing for names, shapes or a header."""

import heapq

import numpy as np
import torch

from lenet_networks import train


def shared_values(values, bits):
    """k-means: the index of each value's centroid, and the centroids, without those that no value has."""
    centroids = np.linspace(values.min(), values.max(), 2**bits)
    for _ in range(100):
        index = np.abs(values[:, None] - centroids).argmin(1)
        count = np.bincount(index, minlength=len(centroids))
        sums = np.bincount(index, weights=values, minlength=len(centroids))
        moved = np.where(count > 0, sums / np.maximum(count, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    used, index = np.unique(np.abs(values[:, None] - centroids).argmin(1), return_inverse=True)
    return index, centroids[used]


def huffman_lengths(counts):
    """The length of each symbol's code; 0 where the count is 0."""
    lengths = np.zeros(len(counts), dtype=int)
    heap = [(int(count), symbol, [symbol]) for symbol, count in enumerate(counts) if count]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        a, b = heapq.heappop(heap), heapq.heappop(heap)
        lengths[a[2] + b[2]] += 1
        heapq.heappush(heap, (a[0] + b[0], min(a[1], b[1]), a[2] + b[2]))
    return lengths


def huffman_bits(symbols, alphabet):
    """Bits of the coded symbols and of the table: the length of every symbol's code in as many bits as the longest."""
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = huffman_lengths(counts)
    return int((counts * lengths).sum()) + alphabet * int(lengths.max()).bit_length()


def layer_bits(weight, index, centroids):
    """The fewest bits for one layer over the widths of a gap."""
    places = np.flatnonzero(weight)
    gaps = np.diff(places, prepend=-1) - 1
    filler = len(centroids)
    sizes = []
    for width in [4, 5, 8]:
        fillers = gaps >> width  # each stands for 2^width zeros
        ends = np.cumsum(fillers + 1) - 1
        coded_gaps = np.full(ends[-1] + 1, 2**width - 1)
        coded_gaps[ends] = gaps & (2**width - 1)
        coded_index = np.full(ends[-1] + 1, filler)
        coded_index[ends] = index
        sizes.append(huffman_bits(coded_gaps, 2**width) + huffman_bits(coded_index, filler + 1))
    return min(sizes) + 32 * len(centroids)


def compress(net, pruned, data):
    """The network with shared weights, and its bytes: of all, and of the biases among them."""
    parameters, indexes = {}, {}
    for name, tensor in pruned.items():
        if name.endswith(".bias"):
            parameters[name] = tensor.clone().requires_grad_()
            continue
        kept = tensor.numpy().ravel()
        index, centroids = shared_values(kept[kept != 0].astype(np.float64), 8 if tensor.dim() == 4 else 5)
        indexes[name] = torch.from_numpy(index)
        parameters[name] = torch.tensor(centroids, dtype=torch.float32, requires_grad=True)

    def weights():
        tensors = {}
        for name, parameter in parameters.items():
            if name in indexes:  # the gradient of a centroid is the sum over its weights
                flat = torch.zeros(pruned[name].numel())
                flat = flat.masked_scatter(pruned[name].flatten() != 0, parameter[indexes[name]])
                parameter = flat.view_as(pruned[name])
            tensors[name] = parameter
        return tensors

    shared = train(net, list(parameters.values()), weights, data, "centroids")
    biases = 4 * sum(tensor.numel() for name, tensor in pruned.items() if name not in indexes)
    bits = [layer_bits(pruned[name].numpy().ravel(), index.numpy(), parameters[name].detach().numpy())
            for name, index in indexes.items()]
    return shared, sum((bit + 7) // 8 for bit in bits) + biases, biases
