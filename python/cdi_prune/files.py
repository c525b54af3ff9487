"""Checkpoints: pruned, packed, initial or ordinary; a file, its shards, or a folder of either."""

from __future__ import annotations

import importlib
import math
import operator
import os
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Union

import numpy as np

from . import _arrays, _native
from ._progress import Progress, shown

Path = Union[str, "os.PathLike[str]"]

# Bits of an element; of types of which several elements share a byte, nothing is read but bytes.
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


def load_file(
    path: Path,
    base: Path | None = None,
    framework: str = "numpy",
    device: Any = None,
    *,
    max_bytes: int | None = None,
    progress: Progress = None,
) -> dict[str, Any]:
    """All tensors of a checkpoint, restored on all cores, straight into the arrays' memory.

    `base` is the checkpoint that provides initial values, for a file that was pruned or packed over one. `framework`
    is "numpy", "torch" or "jax"; `device` is one of the framework's. The bits are those that `cdi-prune restore`
    writes. A small file can describe tensors of any size: `max_bytes` limits the sum of their bytes, before anything
    is allocated. The default is the memory that this computer has.

    Raises StageError if a file cannot be read, is invalid, or needs another base, and MemoryError above `max_bytes`.
    """
    with open_file(path, base, framework, device) as file:
        total, most = file.nbytes(), _memory() if max_bytes is None else max_bytes
        if total > most:
            limit = "this computer's memory" if max_bytes is None else "max_bytes"
            raise MemoryError(
                f"{os.fspath(path)}: its tensors have {total:,} bytes when they are restored, more than the {most:,} "
                f"of {limit}; `open_file` reads them one by one, or in parts"
            )
        return file.get_tensors(progress=progress)


def open_file(
    path: Path,
    base: Path | None = None,
    framework: str = "numpy",
    device: Any = None,
    *,
    max_memory: int | None = None,
) -> File:
    """Opens a checkpoint, whose tensors are read when they are asked for. Its structure is checked at once.

    `max_memory` limits, in bytes, what is allocated for initial values that can only be drawn all at once
    (orthogonal ones); the default is 4 GiB. For the others, see `load_file`.
    """
    return File(path, base, framework, device, max_memory)


def save_file(
    tensors: Mapping[str, Any],
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    max_shard_size: int | None = None,
    progress: Progress = None,
) -> list[str]:
    """Writes arrays (of NumPy, PyTorch or JAX) to an ordinary safetensors file, which replaces an earlier one when it
    is complete. Returns the files: more than one, the last of them an index, with `max_shard_size` in bytes.

    Raises TypeError for a type that safetensors does not have.
    """
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"metadata: keys and values are strings, got {key!r}: {value!r}")
    rows: list[tuple[str, str, list[int], _arrays.Bytes]] = []
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"names of tensors are strings, got {name!r}")
        dtype, shape, array = _to_bytes(name, tensor)
        rows.append((name, dtype, shape, array))
    with shown(progress) as callback:
        files = _native.save(os.fspath(path), rows, metadata, max_shard_size, callback)
    return [os.fspath(file) for file in files]


def _to_bytes(name: str, tensor: Any) -> tuple[str, list[int], _arrays.Bytes]:
    if type(tensor).__module__.split(".")[0] == "torch":
        tensor = tensor.detach().cpu().contiguous()
        kind = _arrays.dtype_name(tensor.dtype, name)
        if not tensor.numel():
            return kind, list(tensor.shape), np.empty(0, np.uint8)
        memory: _arrays.Bytes = tensor.reshape(-1).view(importlib.import_module("torch").uint8).numpy()
        return kind, list(tensor.shape), memory
    array = np.asarray(tensor)
    dtype = _arrays.dtype_name(array.dtype, name)
    little = array.dtype.newbyteorder("<")
    contiguous = np.ascontiguousarray(array, dtype=little).reshape(array.shape)
    return dtype, list(array.shape), _arrays.as_bytes(contiguous)


class File:
    """An open checkpoint. Several threads may read it at the same time."""

    def __init__(
        self,
        path: Path,
        base: Path | None = None,
        framework: str = "numpy",
        device: Any = None,
        max_memory: int | None = None,
    ) -> None:
        base = None if base is None else os.fspath(base)
        self._begin(_native.File(os.fspath(path), base, max_memory), _arrays.framework(framework, device))

    @classmethod
    def _of(cls, file: _native.File, framework: str, device: Any = None) -> File:
        """The same of a file that the library has opened."""
        self = cls.__new__(cls)
        self._begin(file, _arrays.framework(framework, device))
        return self

    def _begin(self, file: _native.File, framework: _arrays.Framework) -> None:
        self._file: _native.File | None = file
        self._framework = framework
        self._tensors = {name: (dtype, shape) for name, dtype, shape in file.tensors()}

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file. Arrays that were read from it stay."""
        self._file = None

    def _open(self) -> _native.File:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file

    def keys(self) -> list[str]:
        """The names of the tensors, in order."""
        return list(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def metadata(self) -> dict[str, str]:
        """The `__metadata__` of the checkpoint that was pruned or packed."""
        return self._open().metadata()

    def _form(self, name: str) -> tuple[str, list[int], int]:
        """Type, shape and bytes of a tensor."""
        if name not in self._tensors:
            raise KeyError(f"there is no tensor `{name}`")
        dtype, shape = self._tensors[name]
        bits = _BITS.get(dtype) or 8 * _size(dtype)
        return dtype, shape, math.prod(shape) * bits // 8

    def get_dtype(self, name: str) -> str:
        """The type of a tensor, as safetensors spells it."""
        return self._form(name)[0]

    def get_shape(self, name: str) -> list[int]:
        """The shape of a tensor."""
        return list(self._form(name)[1])

    def nbytes(self) -> int:
        """The bytes of all tensors together when they are restored."""
        return sum(self._form(name)[2] for name in self._tensors)

    def get_tensors(self, names: Iterable[str] | None = None, *, progress: Progress = None) -> dict[str, Any]:
        """Tensors as arrays: these, or all. On all cores."""
        file = self._open()
        arrays: dict[str, Any] = {}
        wanted: list[tuple[str, _arrays.Bytes]] = []
        for name in self.keys() if names is None else dict.fromkeys(names):
            array, memory = self._framework.empty(name, *self._form(name))
            arrays[name] = array
            wanted.append((name, memory))
        with shown(progress) as callback:
            file.load(wanted, callback)
        return {name: self._framework.finish(array) for name, array in arrays.items()}

    def get_tensor(self, name: str) -> Any:
        """A tensor as an array."""
        return self.get_tensors([name])[name]

    def get_bytes(self, name: str) -> bytes:
        """The bytes of a tensor of any type, little-endian."""
        memory = np.empty(self._form(name)[2], np.uint8)
        self._open().load([(name, memory)])
        return memory.tobytes()

    def get_slice(self, name: str) -> Slice:
        """A tensor of which indexing restores a part: `file.get_slice(name)[10:20, 3]`."""
        self._form(name)
        return Slice(self, name)


class Slice:
    """A tensor that is restored where it is indexed, by basic indices of NumPy: integers, slices, an ellipsis.

    What is restored are the rows (of the first dimension) from the first to the last that the index takes.
    """

    def __init__(self, file: File, name: str) -> None:
        self._file = file
        self._name = name

    def get_shape(self) -> list[int]:
        """The shape of the whole tensor."""
        return self._file.get_shape(self._name)

    def get_dtype(self) -> str:
        """The type, as safetensors spells it."""
        return self._file.get_dtype(self._name)

    def __getitem__(self, index: Any) -> Any:
        dtype, shape, length = self._file._form(self._name)
        whole: Any = index if _is(tuple, index) else (index,)
        for part in whole:
            if not (part is Ellipsis or _is(slice, part) or hasattr(part, "__index__")):
                kind = type(part).__name__
                raise TypeError(f"tensor `{self._name}`: an index has integers, slices and an ellipsis, got {kind}")
        # A vector is one row.
        if len(shape) < 2 or not length or not whole or whole[0] is Ellipsis:
            return self._file.get_tensor(self._name)[index]
        first: Any = whole[0]
        if _is(slice, first):
            rows = range(*first.indices(shape[0]))
            first = slice(None, None, first.step)
        else:
            row = operator.index(first)
            if not -shape[0] <= row < shape[0]:
                raise IndexError(f"tensor `{self._name}` has {shape[0]} rows, got {row}")
            row %= shape[0]
            rows, first = range(row, row + 1), 0
        begin, end = (min(rows), max(rows) + 1) if len(rows) else (0, 0)
        framework = self._file._framework
        part_shape = [end - begin, *shape[1:]]
        array, memory = framework.empty(self._name, dtype, part_shape, length // shape[0] * (end - begin))
        self._file._open().rows(self._name, begin, end, memory)
        return framework.finish(array[(first, *whole[1:])])


def _memory() -> int:
    """Bytes of this computer's memory; no limit where that is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def _is(kind: type, value: object) -> bool:
    """`isinstance` that leaves the types of what a tuple or a slice holds to `Any`."""
    return isinstance(value, kind)


def _size(dtype: str) -> int:
    """Bytes of an element: `BOOL` has one, and of the others the name says how many bits."""
    return int("".join(c for c in dtype.split("_")[0] if c.isdigit()) or 8) // 8
