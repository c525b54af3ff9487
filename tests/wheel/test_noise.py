"""Initial values: with the literal bits that an independent NumPy program computed, and those of checkpoints."""

import hashlib
import json

import ml_dtypes
import numpy as np
import pytest
from conftest import CONFIG, ROOT

import cdi_prune
from cdi_prune import DeterministicNoiseGenerator

VECTORS = json.loads((ROOT / "tests/values/noise_vectors.json").read_text())
TYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16"}
noise = DeterministicNoiseGenerator(seed=42)


def test_draws_are_those_of_the_noise_function():
    assert len(VECTORS["coordinates"]) > 10
    for row in VECTORS["coordinates"]:
        draw = DeterministicNoiseGenerator(row["seed"]).gaussian(row["layer"], row["i"], row["j"])
        assert np.float64(draw).view(np.uint64) == int(row["gaussian_bits"], 16)
    assert noise.gaussian(3) == noise.gaussian(3, 0) == noise.gaussian(3, 0, 0)
    assert repr(noise) == "DeterministicNoiseGenerator(seed=42)"


def test_tensors_have_the_digests_of_the_vectors():
    checked = 0
    for row in VECTORS["tensors"]:
        make = DeterministicNoiseGenerator(row["seed"])
        for dtype, digest in row["sha256"].items():
            mode = {"mode": row["init"], **{key: row[key] for key in ("low", "high", "zero_mean") if key in row}}
            made = make.init(row["layer"], row["shape"], mode, dtype=TYPES[dtype])
            assert hashlib.sha256(made.tobytes()).hexdigest() == digest, (row["init"], dtype)
            checked += 1
    assert checked > 10


def test_matrices_are_those_of_an_initial_checkpoint(outputs):
    folder, paths = outputs()
    written = cdi_prune.init(CONFIG, set=paths).initial
    assert written["files"] == [str(folder / "init.safetensors")]
    file = cdi_prune.load_file(folder / "init.safetensors")
    for layer, name in enumerate(["fc1.weight", "fc2.weight", "fc3.weight"]):
        made = noise.init_matrix(layer, file[name].shape)
        assert made.dtype == np.float32 and made.tobytes() == file[name].tobytes()


def test_one_weight_is_that_of_the_matrix():
    matrix = noise.init_matrix(5, (64, 128), "xavier")
    for i, j in [(0, 0), (63, 127), (17, 3)]:
        assert noise.init_weight(5, i, j, 128, 64, "xavier") == matrix[i, j]


def test_a_shape_may_come_third():
    expected = noise.init_matrix(0, (6, 4))
    for made in [noise.init_matrix(0, "he", (6, 4)), noise.init_matrix(0, 6, 4), noise.init_matrix(0, [6, 4], "he")]:
        assert np.array_equal(made, expected)


def test_orthogonal_rows():
    matrix = noise.init_matrix(1, (30, 40), orthogonal=True).astype("f8")
    assert np.allclose(matrix @ matrix.T, np.eye(30), atol=1e-6)
    assert np.array_equal(noise.init_matrix(1, (30, 40), "orthogonal"), matrix.astype("f4"))


def test_kernels_and_layouts(tmp_path):
    config = {
        "seed": 42,
        "model": {"tensors": {"conv": [8, 3, 5, 5], "flax": [5, 5, 3, 8]}},
        "rules": [
            {"match": "conv", "layer": 2, "init": {"mode": "he", "zero_mean": True}},
            {"match": "flax", "layer": 3, "init": "xavier", "layout": "in_out"},
        ],
        "init": {"output": str(tmp_path / "init.safetensors")},
    }
    cdi_prune.init(config)
    file = cdi_prune.load_file(tmp_path / "init.safetensors")
    made = noise.init_conv_kernel(2, (8, 3, 5, 5), {"mode": "he", "zero_mean": True})
    assert made.tobytes() == file["conv"].tobytes()
    made = noise.init_conv_kernel(3, (5, 5, 3, 8), "xavier", layout="in_out")
    assert made.tobytes() == file["flax"].tobytes()


def test_types_are_rounded_once():
    exact = noise.init(4, (300, 300), "he", dtype=np.float64)
    assert np.array_equal(noise.init(4, (300, 300)), exact.astype("f4"))
    # The 16-bit types by way of float32, as checkpoints of them are written.
    assert np.array_equal(noise.init(4, (300, 300), dtype=np.float16), exact.astype("f4").astype("f2"))
    bf16 = noise.init(4, (300, 300), dtype="bfloat16")
    assert bf16.dtype == ml_dtypes.bfloat16
    assert np.array_equal(bf16, exact.astype("f4").astype(ml_dtypes.bfloat16))


def test_schemes_of_a_config():
    draws = noise.init(0, (1000, 1000), {"mode": "normal", "std": 0.02})
    assert abs(draws.std() / 0.02 - 1) < 1e-2 and draws.dtype == np.float32
    assert np.array_equal(noise.init(0, (3,), "zeros"), np.zeros(3, "f4"))


def test_what_changed():
    trained = noise.init_matrix(0, (4, 6))
    trained[1, 2] = 0.5 + trained[1, 2]
    delta = float(trained[1, 2]) - noise.init_weight(0, 1, 2, 6, 4)
    assert abs(delta - 0.5) < 1e-7
    trained[3, 0] = np.nan
    found = noise.analyze_weight_matrix(trained, 0)
    assert found == {
        "total_weights": 24, "changed_weights": 2, "sleeping_weights": 22, "changed_percentage": 100 * 2 / 24,
        "mean_delta": delta / 23, "max_delta": delta, "not_finite": 1, "zeros": 0, "sleeping_rows": 2,
        "sleeping_columns": 4,
    }  # fmt: skip
    mask = noise.get_awakened_mask(np.asfortranarray(trained), 0)
    assert mask.dtype == bool and np.argwhere(mask).tolist() == [[1, 2], [3, 0]]
    assert noise.get_awakened_mask(trained, 0, threshold=0.5).sum() == 1
    assert noise.check_weight_changed(float(trained[1, 2]), 0, 1, 2, 6, 4) == (True, delta)
    assert noise.check_weight_changed(float(trained[0, 0]), 0, 0, 0, 6, 4) == (False, 0.0)
    assert noise.check_weight_changed(float("nan"), 0, 0, 0, 6, 4)[0]


def test_sums_have_the_bits_of_the_report(tmp_path):
    """Also where a matrix has several blocks of 65,536 weights, whose sums are added in order."""
    trained = noise.init_matrix(7, (300, 1000))
    trained[::3] += noise.init_matrix(8, (100, 1000))
    cdi_prune.save_file({"w": trained}, tmp_path / "trained.safetensors")
    config = {
        "seed": 42,
        "rules": [{"match": "w", "layer": 7, "init": "he"}],
        "trained": {"path": tmp_path / "trained.safetensors"},
        "analyze": {},
    }
    reported = cdi_prune.analyze(config)["tensors"][0]
    found = noise.analyze_weight_matrix(trained, 7)
    assert found["changed_weights"] == 100_000 and found["sleeping_rows"] == 200
    # Added up without blocks, the last digit is 7.
    assert found["mean_delta"] == 0.011869062159601195
    for key in ("total_weights", "changed_weights", "mean_delta", "max_delta"):
        assert found[key] == reported[key], key
    # Any byte order, and any order of the elements in memory.
    for same in (trained.astype(">f4"), np.asfortranarray(trained)):
        assert noise.analyze_weight_matrix(same, 7) == found


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DeterministicNoiseGenerator(1 << 64), ValueError, "seed: expected an integer from 0 to 2^64 - 1, got 184467"),
        (lambda: DeterministicNoiseGenerator("x"), TypeError, "seed: expected an integer, got str"),
        (lambda: noise.gaussian(), TypeError, "gaussian takes one to three indices (layer id, i, j), got 0"),
        (lambda: noise.init_matrix(0, (2, 2, 2)), ValueError, "shape (2, 2, 2): expected two numbers, (fan_out, fan_in)"),
        (lambda: noise.init_matrix(0, 3), TypeError, "shape: expected a sequence of integers, got 3"),
        (lambda: noise.init_conv_kernel(0, (2, 2)), ValueError, "shape (2, 2): expected (out, in, height, width)"),
        (lambda: noise.init_matrix(0, (2, 2), "hee"), ValueError, "unknown initialisation mode `hee` (did you mean `he`?)"),
        (lambda: noise.init(0, (3,), "eye"), ValueError, "`eye` needs"),
        (lambda: noise.init(0, (2**40, 2**40)), ValueError, "has more elements than this machine can address"),
        (lambda: noise.init(0, (2, 2), dtype="int8"), TypeError, "dtype int8: expected float64, float32, float16 or bfloat16"),
        (lambda: noise.init(0, (2, 2), layout="oi"), ValueError, "layout 'oi': expected \"out_in\" or \"in_out\""),
        (lambda: noise.init_weight(0, 4, 0, 6, 4), ValueError, "weight (4, 0) is outside the matrix of 4 x 6"),
        (lambda: noise.analyze_weight_matrix(np.zeros((2, 2)), 0), TypeError, "weights: expected float32, got float64"),
        (lambda: noise.analyze_weight_matrix(np.zeros(2, "f4"), 0), ValueError, "weights: expected a matrix, got shape (2,)"),
        (lambda: noise.get_awakened_mask(np.zeros((2, 2), "f4"), 0, -1), ValueError, "threshold -1: expected a finite"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
