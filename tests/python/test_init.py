"""The initial checkpoint is an ordinary one, and holds what an independent program computed."""

import json

from conftest import ROOT, sha256
from safetensors import safe_open
from safetensors.numpy import load_file

SHA256 = json.loads((ROOT / "tests/data/init_sha256.json").read_text())


def test_names_shapes_types_and_values(case):
    case.run("init")
    initial = load_file(case.initial)
    assert {name: list(array.shape) for name, array in initial.items()} == case.facts["shapes"]
    assert {array.dtype.name for array in initial.values()} == {case.dtype}
    assert {name: sha256(array) for name, array in initial.items()} == SHA256[case.name]


def test_shards_open_through_their_index(case):
    case.run("init", init__max_shard_size="100kB")
    index = json.loads((case.out / "init.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == case.facts["shapes"].keys()
    shards = set(index["weight_map"].values())
    whole = load_file(case.trained_path)
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in whole.values())
    assert (len(shards) > 1) == (index["metadata"]["total_size"] > 100_000)
    found = {}
    for shard in shards:
        with safe_open(case.out / shard, framework="numpy") as file:
            names = set(file.keys())
            assert names == {name for name, where in index["weight_map"].items() if where == shard}
            arrays = {name: file.get_tensor(name) for name in names}
        # One tensor larger than the limit has a shard of its own.
        assert len(names) == 1 or sum(array.nbytes for array in arrays.values()) <= 100_000
        found |= {name: sha256(array) for name, array in arrays.items()}
    assert found == SHA256[case.name]
