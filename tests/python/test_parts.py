"""Runs in parts, with real processes that die: the same bytes as of one process, whenever they die."""

import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import BINARY, ROOT
from safetensors.numpy import save_file

PARTS = 4
CONFIG = """
seed: 3
rules: [{match: "**", init: he}]
model: {like: trained.safetensors}
init: {output: out/init.safetensors, max_shard_size: 1MB}
trained: {path: trained.safetensors}
analyze: {threshold: 0.01, report: {json: out/report.json}}
prune: {output: out/pruned.safetensors, criterion: movement, target: {sparsity: 0.6}, scope: global, max_shard_size: 800KB}
manifest: out/manifest.json
"""


def command(folder, *args):
    return [BINARY, *args, "--threads", "1"]


def prune(folder, *args, check=True):
    return subprocess.run(command(folder, *args), cwd=folder, capture_output=True, text=True, timeout=60, check=check)


def make(folder):
    folder.mkdir()
    rng = np.random.default_rng(8)
    tensors = {f"l{n}.weight": rng.normal(size=(400, 600), scale=0.1).astype(np.float32) for n in range(12)}
    save_file(tensors, folder / "trained.safetensors")
    (folder / "x.yaml").write_text(CONFIG)


def outputs(folder):
    """The visible files that a run has written."""
    files = (folder / "out").rglob("*")
    relative = ((path.relative_to(folder / "out"), path) for path in files if path.is_file())
    return {str(name): path.read_bytes() for name, path in relative if not name.parts[0].startswith(".")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    make(folder)
    prune(folder, "run", "x.yaml")
    return outputs(folder)


def step(folder):
    """Does all parts of a step that are left, two at a time, and merges. Returns whether the run is finished."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: prune(folder, "run", "x.yaml", "--part", f"{n}/{PARTS}"), range(1, PARTS + 1)))
    return '"finished": true' in prune(folder, "merge", "x.yaml", "--parts", str(PARTS), "--format", "json").stdout


def test_parts_and_merges_that_are_killed_at_a_hundred_moments(tmp_path, expected):
    random.seed(5)
    kills = died = 0
    for attempt in range(100):
        if kills >= 100:
            break
        folder = tmp_path / str(attempt)
        make(folder)
        while True:
            for n in range(1, PARTS + 1):
                # Twins, one of which is killed.
                for args in [("run", "x.yaml", "--part", f"{n}/{PARTS}"), ("merge", "x.yaml", "--parts", str(PARTS))]:
                    if args[0] == "merge" and n < PARTS:
                        continue
                    killed = subprocess.Popen(
                        command(folder, *args), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                    time.sleep(random.uniform(0, 0.04))
                    twin = prune(folder, *args, check=False) if random.random() < 0.3 else None
                    killed.kill()
                    kills += 1
                    died += killed.wait() == -9
                    if twin is not None and args[0] == "run":
                        assert twin.returncode == 0, twin.stderr
                    # Nothing is visible before everything is.
                    assert set(outputs(folder)) in (set(), set(expected)) or args[0] == "merge"
                    if args[0] == "run":
                        prune(folder, *args)
            if '"finished": true' in prune(folder, "merge", "x.yaml", "--parts", str(PARTS), "--format", "json").stdout:
                break
        assert outputs(folder) == expected
    assert kills >= 100 and died >= 30


def test_two_processes_for_every_part(tmp_path, expected):
    folder = tmp_path / "run"
    make(folder)
    while True:
        for n in range(1, PARTS + 1):
            twins = [
                subprocess.Popen(command(folder, "run", "x.yaml", "--part", f"{n}/{PARTS}"), cwd=folder, stdout=-3)
                for _ in range(2)
            ]
            assert [twin.wait() for twin in twins] == [0, 0]
        if step(folder):
            break
    assert outputs(folder) == expected


def test_the_lines_of_the_documentation(tmp_path, expected):
    """The loop over steps in docs/clusters.md, in a shell."""
    folder = tmp_path / "run"
    make(folder)
    text = (ROOT / "docs/clusters.md").read_text()
    loop = text.split("```sh\nN=")[1].split("```")[0].replace("model.yaml", "x.yaml")
    shell = subprocess.run(
        ["bash", "-ec", "N=" + loop],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{Path(BINARY).parent}:/usr/bin:/bin"},
    )
    assert shell.returncode == 0, shell.stderr
    assert outputs(folder) == expected


def test_the_kubernetes_manifests_are_valid():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    import yaml

    for name in ("parts", "merge"):
        manifest = yaml.safe_load((ROOT / f"examples/kubernetes/{name}.yaml").read_text())
        for version in ("1.31", "1.34"):
            kubernetes_validate.validate(manifest, version, strict=True)
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert container["args"][0] == {"parts": "run", "merge": "merge"}[name]
        if name == "parts":
            parts = container["args"][container["args"].index("--parts") + 1]
            assert {str(manifest["spec"][key]) for key in ("completions", "parallelism")} == {parts}
