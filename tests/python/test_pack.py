"""Packed files, decoded by a program that was written from docs/format.md."""

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from coded_header import codes_of, description
from conftest import cdi_prune
from decode_coded import FORMS, decode
from safetensors import safe_open
from safetensors.numpy import save_file

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def bits(array):
    return array.ravel().view(f"u{array.dtype.itemsize}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("against", ["nothing", "base"])
def test_a_decoder_written_from_the_page(tmp_path, dtype, against):
    rng = np.random.default_rng(3)
    trained, base = {}, {}
    for name, shape in {"few": (30, 40), "many": (90, 800), "long": (1, 66_000), "conv": (16, 8, 3, 5)}.items():
        w0 = rng.normal(size=shape) * 0.05
        step = rng.normal(size=shape) * 0.002 * np.exp(rng.normal(size=(shape[0],) + (1,) * (len(shape) - 1)))
        w = w0 * 0.9 + np.where(rng.random(shape) < 0.6, step, 0)
        w[..., :3] = 0.9 * w0[..., :3]
        w.ravel()[:6] = [0, -0.0, np.nan, np.inf, 1e-40, -3.0]
        if shape[0] > 20:
            # Once stored in fewer bits.
            w[20:27] = w[20:27].astype(np.float16)
        base[name], trained[name] = w0.astype(DTYPES[dtype]), w.astype(DTYPES[dtype])
    save_file(trained, tmp_path / "trained.safetensors")
    save_file(base, tmp_path / "base.safetensors")
    more = ["--base", tmp_path / "base.safetensors"] if against == "base" else []
    cdi_prune("pack", tmp_path / "trained.safetensors", *more, "-o", tmp_path / "packed.safetensors", "--quiet")
    described, codes = coded(tmp_path / "packed.safetensors")
    # The two others are small: where a code wins little, they stay as they are.
    assert {"long", "many"} <= codes.keys()
    predicted = 0
    for tensor in described:
        name, factor = tensor["name"], tensor.get("prediction")
        prediction = None
        if factor is not None:
            predicted += 1
            scaled = base[name].astype(np.float64) * factor
            if dtype != "F64":
                scaled = scaled.astype(np.float32)
            prediction = bits(scaled.astype(DTYPES[dtype]))
        got = decode(codes[name], dtype, tensor["shape"], prediction)
        assert np.array_equal(got, bits(trained[name])), name
        assert len(codes[name]) < trained[name].nbytes
    assert (predicted > 0) == (against == "base")


@pytest.mark.parametrize("against", ["nothing", "base"])
def test_types_that_are_not_floating_point(tmp_path, against):
    rng = np.random.default_rng(5)
    base = {
        "bool": rng.random((40, 300)) < 0.1,
        "i8": (rng.normal(size=(40, 300)) * 20).astype(np.int8),
        "u16": rng.integers(0, 3000, (2, 33_000), np.uint16),
        "i32": rng.integers(-(2**20), 2**20, (5, 7, 300), np.int32),
        "i64": np.arange(5000),
        "f8": (rng.normal(size=(40, 300)) * 0.1).astype(ml_dtypes.float8_e4m3fn),
    }
    trained = {name: array.copy() for name, array in base.items()}
    for array in trained.values():
        if array.dtype != bool:
            # Some one up, some one down.
            array.ravel().view(f"u{array.dtype.itemsize}")[::9] += 1
            array.ravel().view(f"u{array.dtype.itemsize}")[::7] -= 1
    save_file(trained, tmp_path / "trained.safetensors")
    save_file(base, tmp_path / "base.safetensors")
    more = ["--base", tmp_path / "base.safetensors"] if against == "base" else []
    cdi_prune("pack", tmp_path / "trained.safetensors", *more, "-o", tmp_path / "packed.safetensors", "--quiet")
    described, codes = coded(tmp_path / "packed.safetensors")
    # This one is the base's itself.
    in_base = {"bool"} if against == "base" else set()
    assert {tensor["name"] for tensor in described if tensor["format"] == "base"} == in_base
    assert codes.keys() | in_base == trained.keys()
    predicted = 0
    for tensor in described:
        name = tensor["name"]
        if name in in_base:
            continue
        assert tensor.get("prediction") in (None, 1)
        predicted += "prediction" in tensor
        prediction = bits(base[name]) if "prediction" in tensor else None
        got = decode(codes[name], tensor["dtype"], tensor["shape"], prediction)
        assert np.array_equal(got, bits(trained[name])), name
        assert len(codes[name]) < trained[name].nbytes
    assert predicted == (5 if against == "base" else 0)


def coded(path):
    """What a file says about its tensors, and the codes of those that are coded."""
    tensors, metadata = raw(path)
    described = description(metadata["cdi_prune"])
    return described["tensors"], codes_of(described, tensors)


VECTORS = Path(__file__).resolve().parents[1] / "vectors"


@pytest.mark.parametrize("name", ["values", "differences", "pruned", "bytes", "steps", "rows", "plain"])
def test_vectors(name):
    tensors, metadata = raw(VECTORS / f"{name}.safetensors")
    base = raw(VECTORS / f"{name}.base.safetensors")[0] if (VECTORS / f"{name}.base.safetensors").exists() else {}
    decoded, digests = {}, {}
    if name == "rows":
        lines = (VECTORS / "rows.sha256").read_text().split("\n")
        digests = dict(line.split("  ")[::-1] for line in lines if line)
    else:
        decoded = raw(VECTORS / f"{name}.decoded.safetensors")[0]
    # The form of earlier releases: JSON, and a tensor for each code.
    is_plain = metadata["cdi_prune"].startswith("{")
    assert is_plain == (name == "plain") == ("cdi_prune.codes" not in tensors)
    metadata = description(metadata["cdi_prune"])
    codes = codes_of(metadata, tensors)
    described = metadata["tensors"]
    in_base = [tensor["name"] for tensor in described if tensor["format"] == "base"]
    assert len(described) == len(codes) + len(in_base) == len(decoded or digests)
    if "base" in metadata:
        needed = [t["name"] for t in described if t["format"] == "base" or t.get("init") == "base"]
        whole = "".join(hashlib.sha256(base[of]).hexdigest() for of in needed)
        assert hashlib.sha256(whole.encode()).hexdigest() == metadata["base"]["sha256"]
    for tensor in described:
        of, dtype = tensor["name"], tensor["dtype"]
        if of in in_base:
            assert base[of] == decoded[of]
            continue
        factor, fill = tensor.get("prediction"), tensor.get("fill", "zero")
        prediction = factor and bits_times(base[of], dtype, factor)
        initial = None if fill == "zero" else bits_times(base[of], dtype, tensor["decay"])
        fills = initial if fill == "init" else None
        got = decode(codes[of], dtype, tensor["shape"], prediction, fills, initial).tobytes()
        if digests:
            assert hashlib.sha256(got).hexdigest() == digests[of]
        else:
            assert got == decoded[of], of


def raw(path):
    """The bytes of each tensor of a file, and its metadata."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header.pop("__metadata__", {})
    return {name: data[end + t["data_offsets"][0] : end + t["data_offsets"][1]] for name, t in header.items()}, metadata


def bits_times(data, dtype, factor):
    """The bits of elements times a factor, rounded to their type."""
    if dtype not in DTYPES:
        assert factor == 1
        return np.frombuffer(data, f"u{FORMS[dtype][0] // 8}")
    values = np.frombuffer(data, DTYPES[dtype])
    scaled = values.astype(np.float64) * factor
    if dtype != "F64":
        scaled = scaled.astype(np.float32)
    return bits(scaled.astype(DTYPES[dtype]))


def times(values, factor, dtype):
    """Values times a factor in binary64, rounded to a type."""
    product = values.astype(np.float64) * factor
    return (product if dtype == "F64" else product.astype(np.float32)).astype(DTYPES[dtype])


@pytest.mark.parametrize("dtype, to", [("F32", "F32"), ("F32", "BF16"), ("F64", "F16"), ("BF16", "BF16")])
@pytest.mark.parametrize("fill", ["zero", "init", "nearest"])
def test_pruned_elements(tmp_path, dtype, to, fill):
    rng = np.random.default_rng(5)
    trained, base = {}, {}
    for name, shape in {"few": (12, 30), "many": (70, 1000), "long": (2, 66_000)}.items():
        w0 = rng.normal(size=shape) * 0.05
        w = w0 * 0.75 + np.where(rng.random(shape) < 0.7, rng.normal(size=shape) * 0.002, 0)
        base[name], trained[name] = w0.astype(DTYPES[dtype]), w.astype(DTYPES[dtype])
    save_file(trained, tmp_path / "trained.safetensors")
    save_file(base, tmp_path / "base.safetensors")
    config = {
        "rules": [{"match": "**", "init": {"from": "base.safetensors"}, "decay": 0.75}],
        "trained": {"path": "trained.safetensors"},
        "prune": {"output": "p.safetensors", "criterion": "movement", "target": {"sparsity": 0.4}, "fill": fill},
    }
    config["prune"] |= {"format": "coded", "any_start": True, "dtype": "keep" if to == dtype else to.lower()}
    (tmp_path / "x.yaml").write_text(json.dumps(config))
    cdi_prune("prune", tmp_path / "x.yaml", "--quiet")
    out = ["-o", tmp_path / "dense.safetensors", "--quiet"]
    cdi_prune("restore", tmp_path / "p.safetensors", "--base", tmp_path / "base.safetensors", *out)
    described, codes = coded(tmp_path / "p.safetensors")
    assert codes.keys() == trained.keys()
    pruned = 0
    with safe_open(tmp_path / "dense.safetensors", "np") as file:
        for tensor in described:
            name, w0 = tensor["name"], base[tensor["name"]]
            assert (tensor["dtype"], tensor.get("fill", "zero")) == (to, fill)
            prediction = None
            if "prediction" in tensor:
                prediction = bits(times(times(w0, 1.0, to), tensor["prediction"], to))
            filled = None
            if fill != "zero":
                filled = times(w0, tensor.get("decay", 1.0), tensor.get("trained_dtype", to).upper())
                filled = bits(filled.astype(DTYPES[to]))
            fills = filled if fill == "init" else None
            got = decode(codes[name], to, tensor["shape"], prediction, fills, filled)
            assert np.array_equal(got, bits(file.get_tensor(name))), name
            pruned += np.count_nonzero(got != bits(trained[name].astype(DTYPES[to])))
    # 0.4 of each, but for those that take the very value that they had.
    assert pruned > 0.2 * sum(w.size for w in trained.values())
