"""For JAX: pytrees of named arrays, as Flax has them, from files and back, and their initial values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _arrays
from .files import Path, load_file, save_file
from .runs import Config, _initial


def load_pytree(path: Path, base: Path | None = None, separator: str = ".", device: Any = None) -> dict[str, Any]:
    """A checkpoint of any format as nested dictionaries of arrays: `dense.kernel` is `tree["dense"]["kernel"]`."""
    return _nested(load_file(path, base, framework="jax", device=device), separator)


def save_pytree(
    tree: Mapping[str, Any], path: Path, metadata: Mapping[str, str] | None = None, separator: str = ".", **how: Any
) -> list[str]:
    """Writes nested dictionaries of arrays to an ordinary safetensors file. See `save_file` for the rest."""
    return save_file(_flat(tree, separator), path, metadata, **how)


def init_pytree(
    shapes: Mapping[str, Any], config: Config, separator: str = ".", *, set: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Initial values for nested dictionaries of arrays, or of anything with `shape` and `dtype`, such as what
    `jax.eval_shape` gives. Names and layouts are as the config's rules say; kernels of Flax have `layout: in_out`."""
    file, _ = _initial(config, _arrays.model(_flat(shapes, separator)), set, "jax")
    with file:
        return _nested(file.get_tensors(), separator)


def _nested(flat: Mapping[str, Any], separator: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split(separator)
        place = tree
        for part in parents:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"`{name}` lies in an array: another tensor has the name of its parent")
        if last in place:
            raise ValueError(f"`{name}` is an array and the parent of others")
        place[last] = leaf
    return tree


def _flat(tree: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(key, str) or separator in key:
            raise ValueError(f"key {key!r}: expected a string without {separator!r}")
        if isinstance(value, Mapping):
            flat.update(_flat(value, separator, f"{prefix}{key}{separator}"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
