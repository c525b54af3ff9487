"""Packed files, decoded by a program that was written from docs/format.md."""

import json

import ml_dtypes
import numpy as np
import pytest
from conftest import cdi_prune
from decode_coded import decode
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
    with safe_open(tmp_path / "packed.safetensors", "np") as file:
        described = json.loads(file.metadata()["cdi_prune"])["tensors"]
        codes = {tensor["name"]: file.get_tensor(tensor["name"] + ".codes").tobytes() for tensor in described}
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
