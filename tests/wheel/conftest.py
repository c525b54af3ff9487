"""The shipped data, and files made of it by the package."""

from pathlib import Path

import pytest

import cdi_prune

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ROOT / "examples/data/mlp_pad_sgd/trained.safetensors"
BF16 = ROOT / "examples/data/mlp_bf16_sgd/trained.safetensors"
CONFIG = ROOT / "configs/quickstart.yaml"


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """Overrides that lead the outputs of the quick start's config to a folder of the tests."""

    def make(**more):
        folder = tmp_path_factory.mktemp("run")
        paths = {
            "init.output": str(folder / "init.safetensors"),
            "prune.output": str(folder / "pruned.safetensors"),
            "analyze.report": {"json": str(folder / "report.json")},
        }
        return folder, {**paths, **more}

    return make


@pytest.fixture(scope="session")
def pruned(outputs):
    """The pruned file of the quick start, in each format."""
    files = {}
    for form in ("coded", "bitmask", "csr", "dense"):
        folder, paths = outputs(**{"prune.format": form})
        cdi_prune.run(CONFIG, set=paths)
        files[form] = folder / "pruned.safetensors"
    return files
