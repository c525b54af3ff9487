"""PyTorch: the bits are those of the program's files."""

import numpy as np
import pytest
from conftest import BF16, CONFIG, TRAINED

import cdi_prune

torch = pytest.importorskip("torch")
from safetensors.torch import load_file as load_dense  # noqa: E402
from torch import nn  # noqa: E402

import cdi_prune.torch as cdi  # noqa: E402


def network():
    """That of the shipped checkpoint."""
    model = nn.Module()
    model.fc1, model.fc2, model.fc3 = nn.Linear(1024, 64), nn.Linear(64, 32), nn.Linear(32, 10)
    return model


def bits(state):
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def test_files(pruned):
    expected = load_dense(TRAINED)
    for form, file in pruned.items():
        found = cdi_prune.load_file(file, framework="torch", device="cpu")
        assert all(torch.is_tensor(t) and t.dtype == torch.float32 for t in found.values())
        assert bits(found) == bits(expected), form
    half = cdi_prune.load_file(BF16, framework="torch")
    assert half["fc1.weight"].dtype == torch.bfloat16
    assert all(torch.equal(half[name], tensor) for name, tensor in load_dense(BF16).items())
    with cdi_prune.open_file(pruned["coded"], framework="pt") as file:
        part = file.get_slice("fc1.weight")[3:60:7, 5]
    assert torch.equal(part, expected["fc1.weight"][3:60:7, 5])


def test_saving(tmp_path):
    tensors = {
        "view": torch.arange(6.0).reshape(2, 3).T,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
    }
    cdi_prune.save_file(tensors, tmp_path / "x.safetensors")
    found = load_dense(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    again = cdi_prune.load_file(tmp_path / "x.safetensors", framework="torch")
    assert all(torch.equal(again[name], tensor) and again[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_initial_values_in_place(outputs):
    folder, paths = outputs()
    cdi_prune.init(CONFIG, set=paths)
    model = network()
    done = cdi.init_(model, CONFIG)
    assert bits(model.state_dict()) == bits(load_dense(folder / "init.safetensors"))
    assert done.config == CONFIG and len(done.tensors) == 6
    assert done.tensors[1] == {"name": "fc1.weight", "layer_id": 0, "init": "he"}


def test_a_seed_alone():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.conv = nn.Embedding(100, 16), nn.Conv2d(3, 8, 3)
            self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 100)
            self.head.weight = self.embedding.weight

    model = Model()
    done = cdi.init_(model, 7)
    # The tied weight once, under its first name.
    assert [row["name"] for row in done.tensors] == [
        "conv.bias", "conv.weight", "embedding.weight", "head.bias", "norm.bias", "norm.weight",
    ]  # fmt: skip
    noise = cdi_prune.DeterministicNoiseGenerator(7)
    assert model.head.weight is model.embedding.weight
    assert np.array_equal(model.embedding.weight.detach().numpy(), noise.init(0, (100, 16), "normal"))
    kernels = noise.init_conv_kernel(1, (8, 3, 3, 3), "torch_default")
    assert np.array_equal(model.conv.weight.detach().numpy(), kernels)
    bound = 1 / 27**0.5
    assert 0 < model.conv.bias.abs().max() <= bound and 0.8 * bound < kernels.max() <= bound
    assert model.norm.weight.eq(1).all() and model.norm.bias.eq(0).all()
    # What it returns describes the model: nothing has changed, then one weight has.
    assert cdi.analyze(model, done.config)["totals"]["changed_weights"] == 0
    with torch.no_grad():
        model.embedding.weight[3, 5] += 1
    assert cdi.analyze(model, done.config)["totals"]["changed_weights"] == 1
    masks = cdi.masks(model.state_dict(), done.config)
    assert masks["embedding.weight"].nonzero().tolist() == [[3, 5]] and not masks["conv.weight"].any()
    assert not cdi.masks(model, done.config, threshold=2)["embedding.weight"].any()


def test_no_default():
    model = nn.Module()
    model.cell = nn.GRUCell(2, 3)
    with pytest.raises(ValueError, match="no default for `cell.weight_ih` of GRUCell, .*: give a config with rules"):
        cdi.init_(model, 1)


def test_what_training_changed():
    model = network()
    cdi.load_model(model, TRAINED)
    report = cdi.analyze(model, CONFIG)
    assert report["totals"]["sleeping_weights"] == 15_442
    assert report["tensors"] == cdi.analyze(load_dense(TRAINED), str(CONFIG))["tensors"]
    masks = cdi.masks(model, CONFIG)
    assert sum(int((~mask).sum()) for name, mask in masks.items()) == 15_442


def test_models(pruned, tmp_path):
    model = network()
    assert cdi.load_model(model, pruned["coded"]) == ([], [])
    assert bits(model.state_dict()) == bits(load_dense(TRAINED))
    model.tied = model.fc2
    cdi.save_model(model, tmp_path / "model.safetensors", {"epoch": "3"})
    with cdi_prune.open_file(tmp_path / "model.safetensors") as file:
        assert len(file) == 6 and file.metadata() == {"format": "pt", "epoch": "3"}
    other = network()
    other.tied = other.fc2
    cdi.load_model(other, tmp_path / "model.safetensors")
    assert bits(other.state_dict()) == bits(model.state_dict())
    other.more = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="not those of Module; missing: more.weight, more.bias"):
        cdi.load_model(other, tmp_path / "model.safetensors")
    assert cdi.load_model(other, tmp_path / "model.safetensors", strict=False) == (["more.weight", "more.bias"], [])
    wrong = network()
    wrong.fc3 = nn.Linear(32, 11)
    with pytest.raises(RuntimeError, match=r"`fc3.bias` has shape \(10,\), expected \(11,\)"):
        cdi.load_model(wrong, tmp_path / "model.safetensors")


def training(hold, steps=200):
    """A network from seed 1 that learns whether a sum is positive, by Adam."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    config = cdi.init_(model, 1).config
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    held = hold(model, optimizer)
    for _ in range(steps):
        x = torch.randn(64, 20)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), (x.sum(1) > 0).long()).backward()
        optimizer.step()
        if isinstance(held, cdi.HoldAtInit) and hold is by_module:
            held.step()
    x = torch.randn(2000, 20)
    return model, config, (model(x).argmax(1) == (x.sum(1) > 0)).float().mean().item(), held


def by_module(model, optimizer):
    return cdi.HoldAtInit(model, keep=0.1)


def by_optimizer(model, optimizer):
    return cdi.HoldAtInit(optimizer, keep=0.1)


def test_held_at_init(tmp_path):
    model, config, accuracy, hold = training(by_module)
    # 64 × 20 and 2 × 64 weights, a tenth of which may have changed; biases are free.
    assert (hold.kept, hold.steps) == (140, 200)
    masks = cdi.masks(model, config)
    changed = sum(int(masks[name].sum()) for name in ("0.weight", "2.weight"))
    assert 0 < changed <= 140
    assert accuracy > 0.9
    other, _, _, _ = training(by_optimizer)
    assert bits(other.state_dict()) == bits(model.state_dict())
    # What is held costs no bytes.
    free, _, _, _ = training(lambda model, optimizer: None)
    sizes = []
    for n, trained in enumerate((model, free)):
        cdi.save_model(trained, tmp_path / f"{n}.safetensors")
        sizes.append(cdi_prune.pack(tmp_path / f"{n}.safetensors", tmp_path / f"{n}.packed", config=config)["written"]["bytes"])
    assert sizes[0] < 0.4 * sizes[1]


def test_frozen_weights_stay_the_same():
    model, config, _, hold = training(lambda model, optimizer: cdi.HoldAtInit(optimizer, keep=0.1, freeze_after=5))
    kept = hold._most_moved()
    assert all(torch.equal(kept[name], mask) for name, mask in hold._frozen.items())


def test_what_cannot_be_held():
    with pytest.raises(ValueError, match="keep 2: expected a share from 0 to 1"):
        cdi.HoldAtInit(network(), keep=2)
    with pytest.raises(ValueError, match="there is no parameter to hold"):
        cdi.HoldAtInit(nn.LayerNorm(3))
