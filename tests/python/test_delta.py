"""Deltas against readers that were written from the descriptions alone, and updates in place that are killed."""

import json
import random
import shutil
import struct
import subprocess
import time
import zlib

import blake3
import ml_dtypes
import numpy as np
import pytest
import xxhash
import zstandard
from coded_header import codes_of, description
from conftest import BINARY
from decode_coded import decode
from safetensors.numpy import load_file, save_file
from test_recovery import files, injected, run, strace


def cdi_prune(folder, *args):
    done = subprocess.run([BINARY, *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def header(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def state(path):
    """The state of a checkpoint of one file, as docs/deltas.md defines it."""
    tensors, data = header(path)
    tensors.pop("__metadata__", None)

    def number(n):
        return struct.pack("<Q", n)

    found = blake3.blake3()
    for name, form in sorted(tensors.items(), key=lambda item: item[0].encode()):
        begin, end = form["data_offsets"]
        dims = form["shape"]
        rows, columns = (dims[0], int(np.prod(dims[1:]))) if len(dims) > 1 else (1, int(np.prod(dims)))
        size = (end - begin) // max(1, rows * columns)
        blocks, at = [], begin
        at_once = 65536 // columns if columns else 0
        for step in (
            [min(at_once, rows - row) * columns for row in range(0, rows, at_once)]
            if at_once
            else [min(65536, columns - column) for _ in range(rows) for column in range(0, columns, 65536)]
            if columns
            else []
        ):
            blocks.append(blake3.blake3(data[at : at + step * size]).digest())
            at += step * size
        for text in (name, form["dtype"]):
            found.update(number(len(text.encode())) + text.encode())
        found.update(number(len(dims)) + b"".join(map(number, dims)))
        found.update(blake3.blake3(b"".join(blocks)).digest())
    return found.hexdigest()


def model(seed, dtype=np.float32):
    draws = np.random.default_rng(seed)
    tensors = {f"layer.{n}.weight": draws.normal(0, 0.02, (70 + n, 1500)).astype(dtype) for n in range(3)}
    tensors["long"] = draws.normal(0, 0.02, (2, 70000)).astype(dtype)
    tensors["bias"] = draws.normal(0, 0.02, 50).astype(dtype)
    tensors["none"] = np.zeros((0, 5), dtype)
    return tensors


def step(tensors, seed, share=0.03):
    """A step of reinforcement learning: few weights change."""
    draws = np.random.default_rng(seed)
    changed = {}
    for name, array in tensors.items():
        mask = draws.random(array.shape) < share
        mask[:1] |= name == "bias"
        changed[name] = np.where(mask, (array.astype(np.float32) * 1.01).astype(array.dtype), array)
    changed["layer.1.weight"] = tensors["layer.1.weight"]
    return changed


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes() and found[name].shape == array.shape, name


CHECKSUMS = {
    "xxh3-128": lambda data: xxhash.xxh3_128(data).hexdigest(),
    "blake3": lambda data: blake3.blake3(data).hexdigest(),
    "adler32": lambda data: f"{zlib.adler32(data):08x}",
}


def receive(tensors, folder):
    """What an engine makes of a version: `tensors` are the bytes of each, changed in place."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    meta = index["metadata"]
    assert meta["compression_format"] == "zstd"
    checksum = CHECKSUMS[meta["checksum_format"]]
    for file in sorted(set(index["weight_map"].values())):
        entries, data = header(folder / file)
        checksums = entries.pop("__metadata__")
        for name, entry in entries.items():
            assert index["weight_map"][name] == file
            assert entry["dtype"] == "U8" and len(entry["shape"]) == 1
            begin, end = entry["data_offsets"]
            old = np.frombuffer(tensors[name], np.uint8)
            difference = np.frombuffer(zstandard.ZstdDecompressor().decompress(data[begin:end]), np.uint8)
            if meta["delta_encoding"] == "xor":
                new = old ^ difference
            else:
                count = int(difference[:4].view("<u4")[0])
                positions = difference[4 : 4 + 4 * count].view("<u4")
                new = old.copy()
                new[positions] = difference[4 + 4 * count :]
            tensors[name] = new.tobytes()
            assert checksum(tensors[name]) == checksums[name], name
    return meta


@pytest.mark.parametrize("checksum", CHECKSUMS)
@pytest.mark.parametrize("form", ["xor", "overwrite"])
def test_a_receiver_reads_every_version(tmp_path, form, checksum):
    versions = [model(1, ml_dtypes.bfloat16)]
    versions += [step(versions[0], n) for n in (2, 3)]
    for n, tensors in enumerate(versions):
        save_file(tensors, tmp_path / f"{n}.safetensors")
    received = {name: array.tobytes() for name, array in versions[0].items()}
    for n in (1, 2):
        folder = f"weight_v{n:06}"
        old, new = f"{n - 1}.safetensors", f"{n}.safetensors"
        size = ["--max-shard-size", "5kB"] if n == 2 else []
        cdi_prune(tmp_path, "delta", old, new, "-o", folder, "--form", f"{form}-zstd", "--checksum", checksum, *size)
        meta = receive(received, tmp_path / folder)
        assert (meta["version"], meta["base_version"]) == (f"{n:06}", f"{n - 1:06}")
        assert received == {name: array.tobytes() for name, array in versions[n].items()}
        # Tensors that did not change are left out.
        index = json.loads((tmp_path / folder / "model.safetensors.index.json").read_text())
        assert "layer.1.weight" not in index["weight_map"] and "none" not in index["weight_map"]
    assert len(list((tmp_path / "weight_v000002").glob("model-*-of-*.safetensors"))) > 1
    # The program is a receiver too: of one version, of several, and in place.
    cdi_prune(tmp_path, "apply", "0.safetensors", "weight_v000001", "weight_v000002", "-o", "made.safetensors")
    equal(load_file(tmp_path / "made.safetensors"), versions[2])
    shutil.copy(tmp_path / "0.safetensors", tmp_path / "in.safetensors")
    for n in (1, 2):
        cdi_prune(tmp_path, "apply", "in.safetensors", f"weight_v00000{n}", "--in-place")
    equal(load_file(tmp_path / "in.safetensors"), versions[2])


def test_a_version_that_another_program_wrote(tmp_path):
    """As the description has it, by NumPy and zstandard; a full version begins the chain anew."""
    versions = [model(4)]
    versions += [step(versions[0], 5)]
    versions += [step(versions[1], 6)]
    save_file(versions[0], tmp_path / "base.safetensors")

    def write(number, tensors, meta, checksums=None):
        folder = tmp_path / f"weight_v{number:06}"
        folder.mkdir()
        file = "model-00001-of-00001.safetensors"
        save_file(tensors, folder / file, checksums)
        index = {"metadata": {"version": f"{number:06}", **meta}, "weight_map": dict.fromkeys(tensors, file)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    def delta(number, old, new, encoding, checksum):
        tensors, checksums = {}, {}
        for name, array in new.items():
            a, b = (np.frombuffer(part.tobytes(), np.uint8) for part in (old[name], array))
            at = np.flatnonzero(a != b).astype("<u4")
            if not len(at):
                continue
            overwrite = struct.pack("<I", len(at)) + at.tobytes() + b[at].tobytes()
            data = (a ^ b).tobytes() if encoding == "xor" else overwrite
            tensors[name] = np.frombuffer(zstandard.ZstdCompressor(level=1).compress(data), np.uint8)
            checksums[name] = CHECKSUMS[checksum](array.tobytes())
        meta = {"base_version": f"{number - 1:06}", "delta_encoding": encoding, "compression_format": "zstd"}
        write(number, tensors, {**meta, "checksum_format": checksum}, checksums)

    delta(1, versions[0], versions[1], "overwrite", "blake3")
    delta(2, versions[1], versions[2], "xor", "adler32")
    cdi_prune(tmp_path, "apply", "base.safetensors", "weight_v000001", "weight_v000002", "-o", "made.safetensors")
    equal(load_file(tmp_path / "made.safetensors"), versions[2])
    write(3, versions[0], {})
    delta(4, versions[0], versions[1], "xor", "xxh3-128")
    folders = [f"weight_v{n:06}" for n in (1, 2, 3, 4)]
    cdi_prune(tmp_path, "apply", "base.safetensors", *folders, "-o", "made.safetensors")
    equal(load_file(tmp_path / "made.safetensors"), versions[1])

    # That is no update of the base, and nothing that was published is touched.
    before = files(tmp_path)
    args = ["apply", "base.safetensors", *folders, "--in-place"]
    done = subprocess.run([BINARY, *args], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and files(tmp_path) == before
    assert done.stderr == (
        "error: base.safetensors: --in-place: weight_v000003 is a full version, with which the chain begins anew; write it "
        "to another folder with `-o`\n"
    )

    def refused(*args):
        before = files(tmp_path)
        done = subprocess.run([BINARY, "apply", *args, "-o", "x.safetensors"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1 and files(tmp_path) == before
        return done.stderr.removeprefix("error: ").strip()

    assert refused("weight_v000003", "weight_v000002") == (
        "weight_v000002: it applies to version 000001, but what comes before it is version 000003; versions are given in "
        "their order, without gaps"
    )
    found = refused("base.safetensors", "weight_v000002")
    assert "after version 000002, expected " in found
    assert found.endswith(": the base is another version, or the difference is damaged; nothing was written")
    assert refused("base.safetensors", "weight_v000001", "base.safetensors") == (
        "base.safetensors: it is not the folder of a version, as the others are: its index has no `version`"
    )
    # Bytes that are no difference of this tensor, and some that would be gigabytes.
    index = tmp_path / "weight_v000001/model-00001-of-00001.safetensors"
    entries, data = header(index)
    compress = zstandard.ZstdCompressor(level=1).compress
    for difference, message in [
        (b"abc", "its difference is cut off"),
        (struct.pack("<II", 1, 0), "its difference has 8 bytes, expected 9 for 1 changes"),
        (struct.pack("<IIB", 1, 200, 7), "a change at byte 200 of 200"),
        (bytes(1 << 32), "its difference has 1005 bytes, expected 4 for 0 changes"),
    ]:
        tensors = {
            name: np.frombuffer(data[slice(*entry["data_offsets"])], np.uint8)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
        if len(difference) > 1 << 30:
            packed = zstandard.ZstdCompressor(level=1).compressobj()
            parts = [packed.compress(bytes(1 << 20)) for _ in range(1 << 12)]
            code = b"".join([*parts, packed.flush()])
        else:
            code = compress(difference)
        tensors["bias"] = np.frombuffer(code, np.uint8)
        save_file(tensors, index, entries["__metadata__"])
        assert refused("base.safetensors", "weight_v000001") == f"weight_v000001/model.safetensors.index.json: tensor `bias`: {message}"


def test_states_and_codes_are_those_of_the_description(tmp_path):
    """The states by hashlib, and the codes by the decoder that was written from docs/format.md."""
    versions = [model(7)]
    versions += [step(versions[0], 8)]
    for n, tensors in enumerate(versions):
        save_file(tensors, tmp_path / f"{n}.safetensors")
    found = json.loads(
        cdi_prune(tmp_path, "delta", "0.safetensors", "1.safetensors", "-o", "d.safetensors", "--format", "json")
    )
    assert found["base_state"] == state(tmp_path / "0.safetensors")
    assert found["state"] == state(tmp_path / "1.safetensors")
    # One difference over the other, as squashing leaves them.
    save_file(step(versions[1], 9), tmp_path / "2.safetensors")
    cdi_prune(tmp_path, "delta", "1.safetensors", "2.safetensors", "-o", "e.safetensors")
    cdi_prune(tmp_path, "squash", "d.safetensors", "e.safetensors", "-o", "s.safetensors")
    for delta, last in (("d", "1"), ("s", "2")):
        entries, data = header(tmp_path / f"{delta}.safetensors")
        described = description(entries.pop("__metadata__")["cdi_prune"])
        inside = {name: data[slice(*entry["data_offsets"])] for name, entry in entries.items()}
        codes, new = codes_of(described, inside), load_file(tmp_path / f"{last}.safetensors")
        assert described["kind"] == "delta" and len(described["tensors"]) >= 5
        layered = 0
        for tensor in described["tensors"]:
            name = tensor["name"]
            values = versions[0][name].view(np.uint32).ravel()
            if tensor["format"] == "coded":
                layers = tensor.get("layers", [])
                layered += len(layers)
                lengths = [layer["code"] for layer in layers]
                ends = np.cumsum([len(codes[name]) - sum(lengths), *lengths])
                factors = [tensor.get("prediction"), *(layer["prediction"] for layer in layers)]
                begin = 0
                for factor, end in zip(factors, ends, strict=True):
                    scaled = (values.view(np.float32).astype(np.float64) * factor).astype(np.float32)
                    values = decode(codes[name][begin:end], "F32", tensor["shape"], scaled.view(np.uint32))
                    begin = end
            assert np.array_equal(values, new[name].view(np.uint32).ravel()), name
        assert layered == (0 if delta == "d" else 4)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Fifty versions of a folder with three shards, and the deltas between them."""
    folder = tmp_path_factory.mktemp("chain")
    tensors = {f"w{n}": np.random.default_rng(n).normal(size=(30, 40)).astype(np.float32) for n in range(6)}
    draws = random.Random(1)
    shards = {f"w{n}": f"m-{n // 2}.safetensors" for n in range(6)}
    for version in range(51):
        if version:
            for name in draws.sample(sorted(tensors), 3):
                tensors[name] = tensors[name].copy()
                tensors[name][draws.randrange(30)] *= 1.5
        save_file(tensors, folder / f"{version}.safetensors")
        if version:
            args = [f"{version - 1}.safetensors", f"{version}.safetensors", "-o", f"d{version}.safetensors"]
            cdi_prune(folder, "--quiet", "delta", *args)
    start = load_file(folder / "0.safetensors")
    (folder / "model").mkdir()
    for file in sorted(set(shards.values())):
        save_file({name: array for name, array in start.items() if shards[name] == file}, folder / "model" / file)
    index = {"metadata": {"total_size": sum(a.nbytes for a in start.values())}, "weight_map": shards}
    (folder / "model/model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def whole(folder):
    """The tensors of a folder, as a loader finds them by its index."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    loaded = {file: load_file(folder / file) for file in set(index.values())}
    return {name: loaded[file][name] for name, file in index.items()}


def test_fifty_versions(chain, tmp_path):
    deltas = [str(chain / f"d{n}.safetensors") for n in range(1, 51)]
    last = load_file(chain / "50.safetensors")
    cdi_prune(tmp_path, "apply", str(chain / "0.safetensors"), *deltas, "-o", "at_once.safetensors")
    equal(load_file(tmp_path / "at_once.safetensors"), last)
    for base in ([], ["--base", str(chain / "0.safetensors")]):
        cdi_prune(tmp_path, "squash", *deltas, "-o", "one.safetensors", *base)
        cdi_prune(tmp_path, "apply", str(chain / "0.safetensors"), "one.safetensors", "-o", "made.safetensors")
        equal(load_file(tmp_path / "made.safetensors"), last)
    shutil.copytree(chain / "model", tmp_path / "model")
    for delta in deltas:
        cdi_prune(tmp_path, "apply", "model", delta, "--in-place")
    equal(whole(tmp_path / "model"), last)


@strace
@pytest.mark.parametrize("call", ["rename", "fsync", "unlink", "pwrite64", "openat", "close"])
def test_killed_in_place_at_any_call(chain, tmp_path, call):
    """A loader finds the old version, the new one, or no index; the next call finds a whole version."""
    old, new = load_file(chain / "0.safetensors"), load_file(chain / "1.safetensors")
    delta = str(chain / "d1.safetensors")
    seen = {"old": 0, "new": 0, "nothing": 0}
    for n in range(1, 500):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        shutil.copytree(chain / "model", tmp_path / "model")
        run(tmp_path, "apply", "model", delta, "--in-place", inject=[f"{call}:signal=KILL:when={n}"])
        if not injected(tmp_path):
            break
        if (tmp_path / "model/model.safetensors.index.json").exists():
            found = whole(tmp_path / "model")
            same = all(np.array_equal(found[name], old[name]) for name in old)
            equal(found, old if same else new)
            seen["old" if same else "new"] += 1
        else:
            seen["nothing"] += 1
        # Whatever comes next, here a check that writes nothing, finds one of the two.
        again = run(tmp_path, "apply", "model", delta, "--in-place")
        assert again.returncode == 0 or "there is nothing to apply" in again.stderr, again.stderr
        equal(whole(tmp_path / "model"), new)
        left = [name for name in files(tmp_path / "model") if "cdi-prune" in name and "lock" not in name]
        assert not [name for name in left if name.endswith("-update")], left
    assert n > 2 and sum(seen.values()) == n - 1, seen


def test_killed_in_place_at_any_moment(chain, tmp_path):
    """Two hundred times, over fifty versions: the version that an update began from, or the one it gives."""
    shutil.copytree(chain / "model", tmp_path / "model")
    draws = random.Random(2)
    version, killed, tries = 0, 0, 0
    versions = [load_file(chain / f"{n}.safetensors") for n in range(51)]
    began = time.perf_counter()
    cdi_prune(tmp_path, "apply", "model", str(chain / "d1.safetensors"), "--dry-run")
    length = time.perf_counter() - began
    while killed < 200 and tries < 2000:
        tries += 1
        delta = str(chain / f"d{version + 1}.safetensors")
        process = subprocess.Popen(
            [BINARY, "--quiet", "apply", "model", delta, "--in-place"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        time.sleep(draws.random() * 1.5 * length)
        process.kill()
        error = process.communicate()[1]
        assert process.returncode in (0, 1, -9), error
        if process.returncode == 1:
            assert "there is nothing to apply" in error
        killed += process.returncode == -9
        check = subprocess.run(
            [BINARY, "--quiet", "apply", "model", delta, "--in-place"], cwd=tmp_path, capture_output=True, text=True
        )
        assert check.returncode == 0 or "there is nothing to apply" in check.stderr, check.stderr
        version += 1
        equal(whole(tmp_path / "model"), versions[version])
        if version == 50:
            shutil.rmtree(tmp_path / "model")
            shutil.copytree(chain / "model", tmp_path / "model")
            version = 0
    assert killed == 200
