"""Runs in parts from Python: the same files as of one process, and Ray, which starts the processes."""

from pathlib import Path

import cdi_prune
import numpy as np
import pytest

CONFIG = """
seed: 3
rules: [{match: "**", init: he}]
trained: {path: trained.safetensors}
analyze: {threshold: 0.01, report: {json: out/report.json}}
prune: {output: out/pruned.safetensors, criterion: magnitude, target: {sparsity: 0.6}, scope: global}
manifest: out/manifest.json
"""


def make(folder: Path, config: str = CONFIG) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(8)
    tensors = {f"l{n}.weight": rng.normal(size=(50, 70), scale=0.1).astype(np.float32) for n in range(6)}
    cdi_prune.save_file(tensors, folder / "trained.safetensors")
    (folder / "x.yaml").write_text(config)
    return folder / "x.yaml"


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    config = make(tmp_path_factory.mktemp("alone") / "run")
    cdi_prune.run(config)
    return outputs(config.parent)


def test_parts_and_merges(tmp_path, expected):
    config = make(tmp_path / "run")
    plan = cdi_prune.plan_parts(config, 3)
    assert plan.steps == ["compare", "score", "narrow", "code", "write"]
    assert [part["tensors"] for part in plan.parts] == [2, 2, 2]
    for step in plan.steps:
        for number in (1, 2, 3):
            done = cdi_prune.run_part(config, number, 3)
            assert (done.step, done.again, done.finished) == (step, False, False)
        assert cdi_prune.run_part(config, 1, 3).again
        merged = cdi_prune.merge(config, 3)
    assert merged.finished and merged.run.pruned["bytes"] == len(expected["pruned.safetensors"])
    assert outputs(config.parent) == expected
    assert cdi_prune.run_part(config, 1, 3).finished
    merged = cdi_prune.merge(config, 3)
    assert merged.finished and merged.run is None


def test_errors(tmp_path):
    config = make(tmp_path / "run", CONFIG + "gates: {max_output_bytes: 10}\n")
    with pytest.raises(ValueError, match="from 1 to 3, got 0"):
        cdi_prune.run_part(config, 0, 3)
    with pytest.raises(ValueError, match="got 0"):
        cdi_prune.merge(config, 0)
    cdi_prune.run_part(config, 2, 3)
    with pytest.raises(cdi_prune.StageError, match="1, 3 are missing") as missing:
        cdi_prune.merge(config, 3)
    assert missing.value.file.endswith(".pruned.safetensors.cdi-prune-parts/of-00003")
    with pytest.raises(cdi_prune.GateError) as failed:
        while True:
            for number in (1, 2, 3):
                cdi_prune.run_part(config, number, 3)
            cdi_prune.merge(config, 3)
    assert failed.value.result.pruned["bytes"] > 10


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_ray_with_a_worker_that_is_killed(tmp_path, ray, expected, monkeypatch):
    import cdi_prune.ray

    config = make(tmp_path / "run")
    mark = tmp_path / "killed"
    part = cdi_prune.ray._part

    # The worker of the first task that does part 2 is killed. A worker cannot import this module.
    def killed(config, number, parts, set, folder):
        import os
        import signal

        if number == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return part(config, number, parts, set, folder)

    monkeypatch.setattr(cdi_prune.ray, "_part", killed)
    seen = []
    run = cdi_prune.ray.run(config, parts=3, progress=lambda *now: seen.append(now))
    assert mark.exists()
    assert outputs(config.parent) == expected
    assert run.pruned["bytes"] == len(expected["pruned.safetensors"])
    steps = ["compare", "score", "narrow", "code", "write"]
    assert seen == [(step, n, 3) for step in steps for n in (1, 2, 3)]
    assert cdi_prune.ray.run(config, parts=3) is None


def test_ray_raises_what_a_run_raises(tmp_path, ray):
    import cdi_prune.ray

    config = make(tmp_path / "run", CONFIG + "gates: {max_output_bytes: 10}\n")
    with pytest.raises(cdi_prune.GateError, match="max_output_bytes"):
        cdi_prune.ray.run(config, parts=2)
    config = make(tmp_path / "wrong", CONFIG + "prunes: {}\n")
    with pytest.raises(cdi_prune.ConfigError) as wrong:
        cdi_prune.ray.run(config, parts=2)
    assert wrong.value.line == 8
