"""The Python of README, docs/python.md and docs/deltas.md, run as printed, in a folder with what the repository ships."""

import os
import re

import pytest
from conftest import ROOT

import cdi_prune


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("configs", "examples"):
        os.symlink(ROOT / name, tmp_path / name)
    # Configs name outputs beside their folder.
    (tmp_path / "configs").unlink()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/quickstart.yaml").write_text((ROOT / "configs/quickstart.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    cdi_prune.run("configs/quickstart.yaml")


def run(texts):
    """One after the other, with what the ones before have defined."""
    names = {}
    for text in texts:
        exec(compile(text, "<block>", "exec"), names)
    return len(texts)


@pytest.mark.parametrize(("page", "count"), [("README.md", 1), ("docs/python.md", 4)])
def test_blocks_without_a_framework(page, count, repository, capsys):
    assert run([text for text in blocks(page) if "import torch" not in text]) == count
    assert "15442" in capsys.readouterr().out


def test_blocks_of_deltas(repository, capsys):
    assert run(blocks("docs/deltas.md")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith(f"{n} 1 tensor, ") for n, line in enumerate(lines, 1))
    assert all(int(line.split()[3]) < 1000 for line in lines)


def test_blocks_with_torch(repository):
    pytest.importorskip("torch")
    assert run([text for text in blocks("docs/python.md") if "import torch" in text]) == 1
