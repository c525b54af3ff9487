"""cdi_prune.calibrate against NumPy, and its file in compensated rounding. Needs PyTorch."""

import subprocess
import sys

import numpy as np
import pytest

import cdi_prune

torch = pytest.importorskip("torch")
from cdi_prune import calibrate  # noqa: E402


def network(**settings):
    """A convolution of 2 channels on images of 6 × 5, and a linear layer."""
    torch.manual_seed(1)
    convolution = torch.nn.Conv2d(2, 4, 3, **settings)
    flat = convolution(torch.zeros(1, 2, 6, 5)).numel()
    return torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(flat, 3))


def images():
    """Neighbouring pixels are alike, so that errors can be compensated."""
    noise = np.random.default_rng(2).normal(size=(7, 2, 6, 5))
    return torch.from_numpy(noise.cumsum(2).cumsum(3).astype("f4"))


def patches(x, padding, stride=1, dilation=1):
    """Every 3 × 3 patch as a row: channels, rows, columns."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding))).astype("f8")
    size = 2 * dilation + 1
    rows = []
    for image in x:
        for row in range(0, x.shape[2] - size + 1, stride):
            for column in range(0, x.shape[3] - size + 1, stride):
                rows.append(image[:, row : row + size : dilation, column : column + size : dilation].reshape(-1))
    return np.array(rows)


@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": 0, "stride": 2}, {"padding": 2, "dilation": 2}])
def test_moments_are_those_of_numpy(settings):
    model, x = network(**settings), images()
    sums = calibrate.moments(model, x.split(3))
    assert sums.keys() == {"0.weight", "3.weight"}
    rows = patches(x.numpy(), **settings)
    np.testing.assert_allclose(sums["0.weight"].numpy(), rows.T @ rows, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        rows = model[:3](x).double().numpy()
    np.testing.assert_allclose(sums["3.weight"].numpy(), rows.T @ rows, rtol=1e-6, atol=1e-6)


def test_one_and_three_dimensions():
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    model = torch.nn.Conv1d(6, 1, 2, padding="same")
    # Padding of an even kernel is on the right.
    flat = np.pad(x.reshape(6, 4).numpy().astype("f8"), ((0, 0), (0, 1)))
    rows = np.array([flat[:, n : n + 2].reshape(-1) for n in range(4)])
    assert np.array_equal(calibrate.moments(model, [x.reshape(1, 6, 4)])["weight"], rows.T @ rows)
    model = torch.nn.Conv3d(1, 1, (2, 3, 4))
    rows = x.reshape(1, 24).double().numpy()
    # A single sample without the dimension of the batch.
    assert np.array_equal(calibrate.moments(model, [x])["weight"], rows.T @ rows)


def test_shared_weights_add_up_and_batches_may_be_pairs_or_arguments():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.b = torch.nn.Linear(3, 3)
            self.a = torch.nn.Linear(3, 3, bias=False)
            self.a.weight = self.b.weight

        def forward(self, x):
            self.b(2 * x)
            self.b(x)
            return self.a(x)

    model, x = Twice(), torch.eye(3)
    model.train()
    for batch in [x, (x, "a label"), {"x": x}]:
        assert np.array_equal(calibrate.moments(model, [batch])["a.weight"], 6 * np.eye(3))
    assert model.training and not model.b._forward_pre_hooks


def test_layers_without_moments_are_named():
    class Conv1D(torch.nn.Module):  # as in transformers
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(4, 4))

        def forward(self, x):
            return x @ self.weight

    model = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(9, 4),
            "stored": Conv1D(),
            "grouped": torch.nn.Conv1d(4, 4, 1, groups=2),
            "normed": torch.nn.utils.weight_norm(torch.nn.Linear(4, 4)),
            "idle": torch.nn.Linear(4, 4),
            "first": torch.nn.Linear(4, 4),
            "head": torch.nn.Linear(4, 9, bias=False),
        }
    )
    model["head"].weight = model["embedding"].weight

    def call(model, ids):
        x = model["stored"](model["embedding"](ids))
        model["head"](model["first"](model["grouped"](x.T).T))

    with pytest.warns(UserWarning) as told:
        sums = calibrate.moments(model, [torch.arange(9)], call)
    assert sums.keys() == {"first.weight", "stored.weight"}
    assert sorted(str(warning.message) for warning in told) == [
        "no moments for weights of convolutions with groups: grouped.weight",
        "no moments for weights that are computed from other tensors: normed.weight",
        "no moments for weights that are embeddings too: embedding.weight",
        "no moments for weights whose module was never called: idle.weight",
    ]


def test_the_file_compensates_rounding(tmp_path):
    """Outputs for the calibration images change less than when every weight is rounded by itself."""
    model, x = network(padding=1), images()
    cdi_prune.save_file(model.state_dict(), tmp_path / "trained.safetensors")
    calibrate.save(tmp_path / "moments.safetensors", calibrate.moments(model, [x]))
    changes = {}
    for rounding in ["nearest", "compensated"]:
        values = {"step": 0.1, "rounding": rounding}
        if rounding == "compensated":
            values["calibration"] = str(tmp_path / "moments.safetensors")
        config = {
            "model": {"like": tmp_path / "trained.safetensors"},
            "rules": [{"match": "**", "init": "none"}],
            "trained": {"path": tmp_path / "trained.safetensors"},
            "prune": {
                "output": tmp_path / "pruned.safetensors",
                "values": values,
                "rules": [{"match": "*.bias", "values": {"exact": True}}],
            },
        }
        cdi_prune.prune(config)
        rounded = network(padding=1)
        rounded.load_state_dict(cdi_prune.load_file(tmp_path / "pruned.safetensors", framework="torch"))
        with torch.no_grad():
            changes[rounding] = [float((rounded[:n](x) - model[:n](x)).norm()) for n in (1, 4)]
    assert all(np.array(changes["compensated"]) < 0.8 * np.array(changes["nearest"])), changes


def test_the_command(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def model():\n    return torch.nn.Linear(3, 2)\n"
        "batches = [torch.eye(3)] * 5\n"
    )
    command = [sys.executable, "-m", "cdi_prune.calibrate", "mine:model", "mine:batches", "-o", "moments.safetensors"]
    done = subprocess.run([*command, "--batches", "4"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "moments.safetensors: moments of 1 weights\n"), done.stderr
    found = cdi_prune.load_file(tmp_path / "moments.safetensors")
    assert np.array_equal(found["weight"], 4 * np.eye(3)) and found["weight"].dtype == np.float64
    for wrong, message in [("mine", "mine: expected MODULE:NAME"), ("mine:x", "module 'mine' has no attribute 'x'")]:
        command[3] = wrong
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr
