"""The notebook runs from start to end, in a folder of its own, and prints what it should."""

import os
import shutil

import nbclient
import nbformat
from conftest import ROOT


def test_the_notebook(tmp_path):
    os.symlink(ROOT / "examples/data", tmp_path / "data")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(ROOT / "examples/notebooks/quickstart.ipynb", folder)
    notebook = nbformat.read(folder / "quickstart.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs are not checked in"
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert "1000 training images, 1000 test images" in printed
    assert "<Run: initial out/init.safetensors, " in printed
    shown = [output["data"] for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert any("image/png" in data for data in shown)
    assert any("<iframe" in data.get("text/html", "") for data in shown)
    # The border of 240 pixels at least, and what it saves.
    files = {name: (folder / f"out/{name}.safetensors").stat().st_size for name in ("trained", "pruned", "rounded-0.1")}
    assert files["pruned"] < 0.8 * files["trained"] and files["rounded-0.1"] < 0.1 * files["trained"]
