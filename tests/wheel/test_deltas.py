"""Deltas from Python, and a publisher in a training loop."""

import json
import threading

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cdi_prune


def model(seed):
    draws = np.random.default_rng(seed)
    return {
        "a": draws.normal(0, 0.02, (60, 700)).astype(np.float32),
        "b": draws.normal(0, 0.02, 300).astype(ml_dtypes.bfloat16),
        "c": np.arange(10),
    }


def step(tensors, n):
    """Every hundredth weight of `a` changes."""
    changed = {name: array.copy() for name, array in tensors.items()}
    changed["a"].ravel()[n::100] *= np.float32(1.01)
    return changed


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name


@pytest.fixture
def versions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    versions = [model(1)]
    for n in range(3):
        versions.append(step(versions[-1], n))
    for n, tensors in enumerate(versions):
        save_file(tensors, f"{n}.safetensors")
    for n in (1, 2, 3):
        cdi_prune.delta(f"{n - 1}.safetensors", f"{n}.safetensors", f"d{n}.safetensors")
    return versions


def test_delta_and_apply(versions, tmp_path):
    seen = []
    made = cdi_prune.delta("0.safetensors", "1.safetensors", "d.safetensors", progress=lambda *turn: seen.append(turn))
    assert seen and all(done <= total for _, done, total in seen)
    assert made.tensors[0] == {
        "name": "a", "change": "changed", "dtype": "F32", "shape": [60, 700], "changed": 420, "bytes": 168_000,
        "largest": made.tensors[0]["largest"], "delta_bytes": made.tensors[0]["delta_bytes"],
    }  # fmt: skip
    assert made.bytes == (tmp_path / "d.safetensors").stat().st_size < 2500
    applied = cdi_prune.apply("0.safetensors", "d.safetensors", "made.safetensors")
    assert applied.state == made.state and applied.base_state == made.base_state and applied.unchanged == 2
    equal(cdi_prune.load_file("made.safetensors"), versions[1])
    # A delta is a file like any other, over its base.
    equal(cdi_prune.load_file("d.safetensors", base="0.safetensors"), versions[1])
    chain = ["d1.safetensors", "d2.safetensors", "d3.safetensors"]
    cdi_prune.apply("0.safetensors", chain, "made.safetensors")
    equal(cdi_prune.load_file("made.safetensors"), versions[3])
    one = cdi_prune.squash(chain, "one.safetensors")
    assert one.layered == 1
    equal(cdi_prune.load_file("one.safetensors", base="0.safetensors"), versions[3])
    assert cdi_prune.squash(chain, "one.safetensors", base="0.safetensors").layered == 0
    assert cdi_prune.apply("0.safetensors", "one.safetensors", dry_run=True).files == []
    cdi_prune.apply("0.safetensors", "one.safetensors", in_place=True)
    equal(cdi_prune.load_file("0.safetensors"), versions[3])


def test_what_is_wrong(versions):
    with pytest.raises(cdi_prune.StageError, match="it applies to the state .*, but 2.safetensors has") as raised:
        cdi_prune.apply("2.safetensors", "d1.safetensors", "x.safetensors")
    assert raised.value.file == "d1.safetensors"
    save_file({**versions[0], "a": versions[0]["a"][:50]}, "other.safetensors")
    with pytest.raises(cdi_prune.StageError, match="this one differs: publish the full checkpoint") as raised:
        cdi_prune.delta("0.safetensors", "other.safetensors", "weight_v000001", form="xor-zstd")
    assert raised.value.tensor == "a"
    with pytest.raises(TypeError, match="apply takes an output, or in_place=True"):
        cdi_prune.apply("0.safetensors", "d1.safetensors")
    with pytest.raises(ValueError, match='form "zip": expected "coded", "xor-zstd" or "overwrite-zstd"'):
        cdi_prune.delta("0.safetensors", "1.safetensors", "x", form="zip")
    with pytest.raises(ValueError, match='checksum "md5": expected "xxh3-128", "blake3" or "adler32"'):
        cdi_prune.delta("0.safetensors", "1.safetensors", "weight_v000001", form="xor-zstd", checksum="md5")
    with pytest.raises(cdi_prune.StageError, match="a version has a number, from 1: call the folder `weight_v000001`"):
        cdi_prune.delta("0.safetensors", "1.safetensors", "x", form="xor-zstd")
    with pytest.raises(TypeError, match="full_every is for form="):
        cdi_prune.Publisher(".", versions[0], full_every=2)


@pytest.mark.parametrize("form", ["coded", "xor-zstd", "overwrite-zstd"])
@pytest.mark.parametrize("start", ["tensors", "path"])
def test_a_publisher(versions, tmp_path, form, start):
    full = {} if form == "coded" else {"full_every": 3}
    first = versions[0] if start == "tensors" else "0.safetensors"
    publisher = cdi_prune.Publisher("out", first, form=form, **full)
    assert publisher.number == 0
    names = []
    for n in (1, 2, 3):
        found = publisher.publish(versions[n])
        assert found.number == publisher.number == n
        assert found.full == (form != "coded" and n == 3)
        assert found.changed == (3 if found.full else 1)
        name = f"out/weight_v{n:06}"
        names.append(f"{name}.safetensors" if form == "coded" else name)
        assert (tmp_path / names[-1]).exists()
        cdi_prune.apply("0.safetensors", names, "made.safetensors")
        equal(cdi_prune.load_file("made.safetensors"), versions[n])
    if form != "coded":
        index = json.loads((tmp_path / "out/weight_v000003/model.safetensors.index.json").read_text())
        assert index["metadata"] == {"version": "000003", "total_size": 168_680}
        equal(load_file(tmp_path / "out/weight_v000003/model-00001-of-00001.safetensors"), versions[3])


def test_a_publisher_goes_on_after_an_error(versions, tmp_path):
    publisher = cdi_prune.Publisher("out", versions[0])
    # In the way of the file.
    blocked = tmp_path / "out/weight_v000001.safetensors"
    blocked.mkdir(parents=True)
    grown = {**versions[1], "a": np.concatenate([versions[1]["a"], versions[1]["a"][:2]])}
    with pytest.raises(cdi_prune.StageError):
        publisher.publish(grown)
    assert publisher.number == 0
    blocked.rmdir()
    publisher.publish(grown)
    cdi_prune.apply("0.safetensors", "out/weight_v000001.safetensors", "made.safetensors")
    equal(cdi_prune.load_file("made.safetensors"), grown)


def test_many_threads_publish_in_turn(versions, tmp_path):
    publisher = cdi_prune.Publisher("out", versions[0], form="xor-zstd")
    threads = [threading.Thread(target=publisher.publish, args=(versions[1 + n % 3],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert publisher.number == 8
    folders = [f"out/weight_v{n:06}" for n in range(1, 9)]
    cdi_prune.apply("0.safetensors", folders, dry_run=True)
