"""What the tests share: the binary, the shipped data, and configs made from it.

The binary is that of the environment variable CDI_PRUNE, or the release build of this checkout.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import ml_dtypes  # noqa: F401: gives NumPy the type bfloat16, by which safetensors.numpy loads BF16
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("CDI_PRUNE", ROOT / "target/release/cdi-prune")).absolute()
FOLDERS = {
    "mlp_pad_sgd": ROOT / "examples/data/mlp_pad_sgd",
    "mlp_bf16_sgd": ROOT / "examples/data/mlp_bf16_sgd",
    "mlp_pad_sgdm_wd": ROOT / "tests/data/mlp_pad_sgdm_wd",
    "byte_lm_adamw": ROOT / "tests/data/byte_lm_adamw",
    "cnn_adamw": ROOT / "tests/data/cnn_adamw",
}


def sha256(array):
    """Of an array's bytes, as safetensors stores them."""
    return hashlib.sha256(array.tobytes()).hexdigest()


class Case:
    """One shipped checkpoint, and a folder to write to."""

    def __init__(self, name, out):
        self.name, self.out = name, out
        self.trained_path = FOLDERS[name] / "trained.safetensors"
        self.facts = json.loads((FOLDERS[name] / "facts.json").read_text())
        self.dtype = "bfloat16" if "bf16" in name else "float32"
        self.report = out / "report.json"
        self.initial = out / "init.safetensors"
        self.pruned = out / "pruned.safetensors"

    def trained(self):
        return load_file(self.trained_path)

    def run(self, command, **changes):
        """Runs a command on this case's config; `section__key=value` changes one key. Gives standard output."""
        config = {
            "version": 1,
            "seed": self.facts["seed"],
            "model": {"tensors": self.facts["shapes"], "dtype": {"bfloat16": "bf16", "float32": "f32"}[self.dtype]},
            "rules": self.facts["rules"],
            "init": {"output": "init.safetensors"},
            "trained": {"path": str(self.trained_path)},
            "analyze": {"threshold": 0, "report": {"json": "report.json"}},
            "prune": {"output": "pruned.safetensors"},
        }
        for path, value in changes.items():
            section, key = path.split("__")
            config[section][key] = value
        file = self.out / "config.yaml"
        file.write_text(json.dumps(config))  # YAML too
        return cdi_prune(command, file)

    def initial_values(self):
        """The program's own initial checkpoint, which test_init.py pins to an independent one."""
        self.run("init")
        return load_file(self.initial)


def cdi_prune(*arguments):
    """Runs the binary, which must succeed. Gives standard output."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stderr}"
    return done.stdout


def same_bits(a, b):
    """Whether two checkpoints have the same names, types, shapes and bytes."""
    assert a.keys() == b.keys()
    return all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
        for name in a
    )


@pytest.fixture(scope="session", autouse=True)
def _binary_exists():
    if not BINARY.is_file():
        pytest.exit(f"{BINARY} does not exist: run `cargo build --release`, or set CDI_PRUNE", returncode=2)


@pytest.fixture(params=FOLDERS)
def case(request, tmp_path):
    """Each shipped checkpoint in turn."""
    return Case(request.param, tmp_path)
