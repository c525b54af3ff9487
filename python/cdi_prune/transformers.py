"""For transformers: pruned and packed model folders, as models."""

from __future__ import annotations

import importlib
import os
from typing import Any

from .files import Path, load_file
from .runs import Result, restore


def restore_pretrained(folder: Path, base: Path | None = None, out: Path | None = None) -> str:
    """Restores a pruned or packed model folder to one that any program loads, with its config and tokenizer.
    Returns the new folder: `out`, or the name of `folder` with `-restored` appended."""
    folder = os.fspath(folder).rstrip("/")
    target = os.path.join(os.fspath(out) if out is not None else f"{folder}-restored", "")
    done: Result = restore(folder, target, base=base)
    first: str = done["files"][0]
    return os.path.dirname(first)


def load_pretrained(auto_class: Any, folder: Path, base: Path | None = None, **keywords: Any) -> Any:
    """A model from a pruned or packed folder, without a restored copy on the disk:
    `load_pretrained(AutoModel, folder)`.

    `auto_class` is `AutoModel`, another auto class, or a model's own. `keywords` go to its `from_pretrained`.
    Tensors that the model misses are a RuntimeError: transformers alone would give them random values.
    """
    folder = os.fspath(folder)
    config = keywords.pop("config", None)
    if config is None:
        config = importlib.import_module("transformers").AutoConfig.from_pretrained(folder)
    state = load_file(folder, base, framework="torch")
    model, found = auto_class.from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True, **keywords
    )
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"]))
        raise RuntimeError(f"{folder}: {type(model).__name__} has tensors that the file does not have: {missing}")
    return model
