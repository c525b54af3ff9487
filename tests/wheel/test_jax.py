"""JAX: pytrees of the program's files."""

import numpy as np
import pytest
from conftest import BF16, TRAINED
from safetensors.numpy import load_file as load_dense

import cdi_prune

jax = pytest.importorskip("jax")
import cdi_prune.jax as cdi  # noqa: E402


def test_files(pruned, tmp_path):
    tree = cdi.load_pytree(pruned["coded"])
    expected = load_dense(TRAINED)
    assert set(tree) == {"fc1", "fc2", "fc3"} and isinstance(tree["fc1"]["weight"], jax.Array)
    for name, array in expected.items():
        layer, leaf = name.split(".")
        assert np.asarray(tree[layer][leaf]).tobytes() == array.tobytes()
    half = cdi.load_pytree(BF16)["fc1"]["weight"]
    assert half.dtype == jax.numpy.bfloat16 and np.asarray(half).tobytes() == load_dense(BF16)["fc1.weight"].tobytes()
    cdi.save_pytree(tree, tmp_path / "tree.safetensors")
    assert (tmp_path / "tree.safetensors").read_bytes()[-100:] == TRAINED.read_bytes()[-100:]


def test_initial_values():
    shapes = {
        "dense": {"kernel": jax.ShapeDtypeStruct((6, 4), np.float32), "bias": jax.ShapeDtypeStruct((4,), np.float32)},
        "conv": {"kernel": jax.ShapeDtypeStruct((3, 3, 2, 8), jax.numpy.bfloat16)},
    }
    config = {
        "seed": 42,
        "rules": [
            {"match": "dense.kernel", "layer": 0, "init": "he", "layout": "in_out"},
            {"match": "conv.kernel", "layer": 1, "init": "xavier", "layout": "in_out"},
            {"match": "**.bias", "init": "zeros"},
        ],
    }
    tree = cdi.init_pytree(shapes, config)
    noise = cdi_prune.DeterministicNoiseGenerator(42)
    assert np.array_equal(tree["dense"]["kernel"], noise.init(0, (6, 4), "he", layout="in_out"))
    kernel = noise.init(1, (3, 3, 2, 8), "xavier", layout="in_out", dtype="bfloat16")
    assert tree["conv"]["kernel"].dtype == jax.numpy.bfloat16 and np.array_equal(tree["conv"]["kernel"], kernel)
    assert np.array_equal(tree["dense"]["bias"], np.zeros(4))


def test_what_is_no_tree(tmp_path):
    cdi_prune.save_file({"a": np.zeros(1), "a.b": np.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="`a.b` lies in an array"):
        cdi.load_pytree(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="key 'a.b': expected a string without '.'"):
        cdi.save_pytree({"a.b": np.zeros(1)}, tmp_path / "y.safetensors")
    with pytest.raises(TypeError, match="`a` is int32; initial values have bfloat16, float16, float32, float64"):
        cdi.init_pytree({"a": jax.ShapeDtypeStruct((2,), np.int32)}, {"seed": 1, "rules": []})
