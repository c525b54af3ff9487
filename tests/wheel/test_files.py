"""Checkpoints in every format, by the package against the program and against safetensors' own reader."""

import gc
import json
import os
import subprocess
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
from conftest import BF16, CONFIG, ROOT, TRAINED
from safetensors.numpy import load_file as load_dense
from safetensors.numpy import save_file as save_dense

import cdi_prune

FORMS = ("coded", "bitmask", "csr", "dense")


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_trained_bits(pruned, form, tmp_path):
    """The sleeping weights of the quick start have their initial values, so that nothing is lost."""
    same(cdi_prune.load_file(pruned[form]), load_dense(TRAINED))
    written = cdi_prune.restore(pruned[form], tmp_path / "restored.safetensors")
    assert written["files"] == [str(tmp_path / "restored.safetensors")] and written["tensors"] == 6
    same(load_dense(tmp_path / "restored.safetensors"), load_dense(TRAINED))


@pytest.mark.parametrize("name", ["bytes", "delta", "differences", "plain", "pruned", "steps", "values"])
def test_the_vectors_of_the_format(name):
    """Whatever the specification's test files hold: every type, codes of every model, shared ones."""
    folder = ROOT / "tests/vectors"
    base = folder / f"{name}.base.safetensors"
    decoded = (folder / f"{name}.decoded.safetensors").read_bytes()
    length = int.from_bytes(decoded[:8], "little")
    header = json.loads(decoded[8 : 8 + length])
    header.pop("__metadata__", None)
    with cdi_prune.open_file(folder / f"{name}.safetensors", base if base.exists() else None) as file:
        assert file.keys() == sorted(header)
        for tensor, form in header.items():
            assert (file.get_dtype(tensor), file.get_shape(tensor)) == (form["dtype"], form["shape"])
            begin, end = (8 + length + offset for offset in form["data_offsets"])
            assert file.get_bytes(tensor) == decoded[begin:end], tensor
        # As arrays as well: those of float8 need a version of NumPy's package for them.
        assert list(file.get_tensors()) == sorted(header)


def test_no_more_memory_than_allowed(pruned, monkeypatch):
    file = pruned["coded"]
    assert cdi_prune.load_file(file, max_bytes=272_040).keys()
    expected = "its tensors have 272,040 bytes when they are restored, more than the 272,039 of"
    rest = "; `open_file` reads them one by one, or in parts"
    with pytest.raises(MemoryError) as raised:
        cdi_prune.load_file(file, max_bytes=272_039)
    assert str(raised.value) == f"{file}: {expected} max_bytes{rest}"
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 272_039}.__getitem__)
    with pytest.raises(MemoryError) as raised:
        cdi_prune.load_file(file)
    assert str(raised.value) == f"{file}: {expected} this computer's memory{rest}"
    with cdi_prune.open_file(file) as opened:
        assert opened.nbytes() == 272_040


def test_an_ordinary_file_and_types():
    same(cdi_prune.load_file(BF16), load_dense(BF16))
    assert cdi_prune.load_file(BF16)["fc1.weight"].dtype == ml_dtypes.bfloat16


def test_shards_and_folders(tmp_path):
    packed = cdi_prune.pack(TRAINED, tmp_path / "model.safetensors", config=CONFIG, max_shard_size=60_000)
    assert len(packed["written"]["files"]) == 4
    same(cdi_prune.load_file(tmp_path), load_dense(TRAINED))
    same(cdi_prune.load_file(packed["written"]["files"][-1]), load_dense(TRAINED))


def test_a_base(tmp_path):
    base = load_dense(TRAINED)
    save_dense({name: array + np.float32(1e-3) for name, array in base.items()}, tmp_path / "tuned.safetensors")
    cdi_prune.pack(tmp_path / "tuned.safetensors", tmp_path / "packed.safetensors", base=TRAINED)
    found = cdi_prune.load_file(tmp_path / "packed.safetensors", TRAINED)
    same(found, load_dense(tmp_path / "tuned.safetensors"))
    back = cdi_prune.unpack(tmp_path / "packed.safetensors", tmp_path / "back.safetensors", base=TRAINED)
    assert (back["rounded"], back["pruned"]) == (0, 0)
    with pytest.raises(cdi_prune.StageError, match="base"):
        cdi_prune.load_file(tmp_path / "packed.safetensors")


def test_an_open_file(pruned):
    expected = load_dense(TRAINED)
    with cdi_prune.open_file(pruned["coded"]) as file:
        assert file.keys() == sorted(expected) and len(file) == 6 and "fc1.bias" in file and "x" not in file
        assert file.metadata() == {"format": "pt"}
        assert (file.get_dtype("fc1.weight"), file.get_shape("fc1.weight")) == ("F32", [64, 1024])
        assert file.get_tensor("fc2.weight").tobytes() == expected["fc2.weight"].tobytes()
        assert file.get_bytes("fc3.bias") == expected["fc3.bias"].tobytes()
        assert list(file.get_tensors(["fc3.bias", "fc1.bias"])) == ["fc3.bias", "fc1.bias"]
        kept = file.get_tensor("fc1.bias")
    assert kept.tobytes() == expected["fc1.bias"].tobytes()
    with pytest.raises(ValueError, match="the file is closed"):
        file.get_tensor("fc1.bias")


@pytest.mark.parametrize("form", FORMS)
def test_slices_are_those_of_numpy(pruned, form):
    expected = load_dense(TRAINED)
    with cdi_prune.open_file(pruned[form]) as file:
        weight, bias = file.get_slice("fc1.weight"), file.get_slice("fc1.bias")
        assert (weight.get_shape(), weight.get_dtype()) == ([64, 1024], "F32")
        for index in [
            3, -1, slice(2, 9), slice(None, None, -3), slice(60, 1, -7), slice(5, 5), slice(90, 100), (slice(2, 9), 5),
            (4, slice(1, 10, 2)), (..., 4), (), (slice(None), slice(7, 3, -1)), (np.int64(5), ...),
        ]:  # fmt: skip
            part = weight[index]
            assert part.shape == expected["fc1.weight"][index].shape, index
            assert np.array_equal(part, expected["fc1.weight"][index]), index
        assert np.array_equal(bias[3:7], expected["fc1.bias"][3:7]) and bias[5] == expected["fc1.bias"][5]
        for index in (64, -65):
            with pytest.raises(IndexError, match=rf"tensor `fc1.weight` has 64 rows, got {index}"):
                weight[index]
        with pytest.raises(TypeError, match="an index has integers, slices and an ellipsis, got list"):
            weight[[1, 2]]


def test_saving(tmp_path):
    arrays = {
        "view": np.arange(6, dtype="f4").reshape(2, 3).T,
        "scalar": np.array(3, "i8"),
        "empty": np.zeros((0, 4), "f8"),
        "big endian": np.arange(3, dtype=">i4"),
        "bf16": np.ones(3, ml_dtypes.bfloat16),
        "flags": np.array([True, False]),
    }
    path = tmp_path / "saved.safetensors"
    assert cdi_prune.save_file(arrays, path, {"format": "np"}) == [str(path)]
    found = load_dense(path)
    for name, array in arrays.items():
        assert found[name].shape == array.shape and np.array_equal(found[name], array), name
    with cdi_prune.open_file(path) as file:
        assert file.metadata() == {"format": "np"} and file.get_tensor("scalar") == 3
    files = cdi_prune.save_file({f"w{n}": np.ones(1000, "f4") for n in range(5)}, path, max_shard_size=8000)
    assert [os.path.basename(file) for file in files] == [
        "saved-00001-of-00003.safetensors", "saved-00002-of-00003.safetensors", "saved-00003-of-00003.safetensors",
        "saved.safetensors.index.json",
    ]  # fmt: skip
    assert len(cdi_prune.load_file(files[-1])) == 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: cdi_prune.load_file(p / "none"), cdi_prune.StageError, "none: cannot open: No such file"),
        (lambda p: cdi_prune.load_file(TRAINED, framework="tf"), ValueError, 'expected "numpy", "torch" or "jax"'),
        (lambda p: cdi_prune.load_file(TRAINED, device="cuda"), ValueError, "device 'cuda': arrays of NumPy are in"),
        (lambda p: cdi_prune.open_file(TRAINED).get_tensor("x"), KeyError, "there is no tensor `x`"),
        (lambda p: cdi_prune.open_file(3), TypeError, "os.PathLike object, not int"),
        (lambda p: cdi_prune.save_file({"a": np.array(["x"])}, p / "a"), TypeError, "array of <U1, which safetensors"),
        (lambda p: cdi_prune.save_file({"a": np.zeros(1)}, p / "a", {"n": 1}), TypeError, "strings, got 'n': 1"),
        (lambda p: cdi_prune.save_file({1: np.zeros(1)}, p / "a"), TypeError, "names of tensors are strings, got 1"),
        (lambda p: cdi_prune.save_file({"a": np.zeros(1)}, "/proc/a"), cdi_prune.StageError, "/proc"),
        (lambda p: cdi_prune.pack(TRAINED, p / "a", base=TRAINED, config=CONFIG), TypeError, "a base or a config"),
    ],
)  # fmt: skip
def test_what_cannot_be(call, error, message, tmp_path):
    with pytest.raises(error) as raised:
        call(tmp_path)
    assert message in str(raised.value)
    assert not (tmp_path / "a").exists()


def test_errors_say_where(tmp_path):
    with pytest.raises(cdi_prune.StageError) as raised:
        cdi_prune.load_file(tmp_path / "none")
    assert (raised.value.file, raised.value.line, raised.value.exit_code) == (str(tmp_path / "none"), None, 1)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(TRAINED.read_bytes()[:-5])
    with pytest.raises(cdi_prune.StageError, match="damaged.safetensors"):
        cdi_prune.load_file(damaged)


def test_sixteen_threads_load_at_once(pruned):
    expected, failed = load_dense(TRAINED), []

    def load():
        try:
            for _ in range(5):
                same(cdi_prune.load_file(pruned["coded"]), expected)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_forked_children_work(pruned):
    """Threads of the parent are missing in a child, as in the workers of PyTorch's `DataLoader`."""
    script = f"""
import os, signal, sys
import cdi_prune
noise = cdi_prune.DeterministicNoiseGenerator(42)
file = cdi_prune.open_file({str(pruned["coded"])!r})
def work():
    return noise.init_matrix(0, (600, 600)).tobytes(), file.get_tensor("fc1.weight").tobytes()
expected = work()
child = os.fork()
if not child:
    # Ends a child that waits forever.
    signal.alarm(120)
    os._exit(0 if work() == expected and work() == expected else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


def test_types_without_their_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match="`fc1.bias` is BF16, which NumPy has only with the package ml_dtypes: `pip"):
        cdi_prune.load_file(BF16)
    with cdi_prune.open_file(BF16) as file:
        assert len(file.get_bytes("fc1.bias")) == 128


def test_slices_of_many_megabytes(tmp_path):
    """They are restored in runs of 16 MiB."""
    noise = cdi_prune.DeterministicNoiseGenerator(1)
    expected = noise.init(0, (5, 1000, 1200))
    cdi_prune.save_file({"w": expected}, tmp_path / "w.safetensors")
    with cdi_prune.open_file(tmp_path / "w.safetensors") as file:
        assert np.array_equal(file.get_slice("w")[4:0:-1, 7], expected[4:0:-1, 7])


def test_a_thousand_files_leave_nothing_behind(pruned):
    def resources():
        gc.collect()
        pages = int(open("/proc/self/statm").read().split()[1])
        return pages * os.sysconf("SC_PAGESIZE"), len(os.listdir("/proc/self/fd"))

    def open_and_close(times):
        for _ in range(times):
            with cdi_prune.open_file(pruned["coded"]) as file:
                file.get_tensor("fc3.weight")

    open_and_close(100)
    memory, files = resources()
    open_and_close(1000)
    later, now = resources()
    assert now == files
    # A file that stayed mapped would take 170 kB.
    assert later - memory < 20_000_000
