"""Pruned files read with NumPy alone, by the layout table of docs/interface.md, and restored by the program."""

import numpy as np
import pytest
from conftest import cdi_prune, same_bits
from safetensors.numpy import load_file

THRESHOLDS = [0, 1e-3]


def decode(file, name):
    """A bitmask tensor as a dense one, zero where nothing is stored."""
    shape, mask = file[f"{name}.shape"], file[f"{name}.bitmask"]
    values, offsets = file[f"{name}.compressed"], file[f"{name}.row_offsets"]
    rows = len(mask)
    columns = int(np.prod(shape)) // rows
    stored = np.unpackbits(mask, axis=1, count=columns, bitorder="little").astype(bool)
    assert np.array_equal(offsets, np.cumsum(stored.sum(1)) - stored.sum(1) if len(values) else [])
    dense = np.zeros((rows, columns), values.dtype)
    dense[stored] = values
    return dense.reshape(shape)


def expected(case, threshold):
    """The trained checkpoint with zero where |trained - initial| <= threshold, in binary64."""
    initial = case.initial_values()
    result = {}
    for name, trained in case.trained().items():
        delta = trained.astype(np.float64) - initial[name].astype(np.float64)
        result[name] = np.where(np.abs(delta) <= threshold, np.zeros((), trained.dtype), trained)
    return result


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_bitmask_decodes_to_the_zero_filled_tensor(case, threshold):
    case.run("prune", analyze__threshold=threshold, prune__fill="zero", prune__format="bitmask")
    file = load_file(case.pruned)
    names = case.facts["shapes"]
    suffixes = ["shape", "bitmask", "compressed", "row_offsets"]
    assert file.keys() == {f"{name}.{suffix}" for name in names for suffix in suffixes}
    for name in names:
        assert (file[f"{name}.shape"].dtype, file[f"{name}.row_offsets"].dtype) == (np.int64, np.int32)
        # Bits that pad a row are clear.
        set_bits = np.unpackbits(file[f"{name}.bitmask"]).sum()
        assert set_bits == len(file[f"{name}.compressed"])
    assert same_bits({name: decode(file, name) for name in names}, expected(case, threshold))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_dense_zero_fill(case, threshold):
    case.run("prune", analyze__threshold=threshold, prune__fill="zero", prune__format="dense")
    assert same_bits(load_file(case.pruned), expected(case, threshold))


@pytest.mark.parametrize("form", ["dense", "bitmask", "auto"])
def test_initial_fill_at_threshold_0_restores_every_bit(case, form):
    case.run("prune", prune__fill="init", prune__format=form)
    restored = case.out / "restored.safetensors"
    cdi_prune("restore", case.pruned, "-o", restored)
    assert same_bits(load_file(restored), case.trained())


@pytest.mark.parametrize("form", ["dense", "bitmask", "auto"])
def test_zero_fill_restores_zeros(case, form):
    case.run("prune", analyze__threshold=1e-3, prune__fill="zero", prune__format=form)
    restored = case.out / "restored.safetensors"
    cdi_prune("restore", case.pruned, "-o", restored)
    assert same_bits(load_file(restored), expected(case, 1e-3))
