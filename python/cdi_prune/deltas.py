"""From version to version: what changed, as files that make the next version of the last one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import _arrays, _native
from ._progress import Progress, shown
from .files import Path, _to_bytes
from .runs import Result, _path


def delta(
    base: Path,
    new: Path,
    output: Path,
    *,
    map: Mapping[str, str] | None = None,
    form: str = "coded",
    checksum: str = "xxh3-128",
    number: int | None = None,
    max_shard_size: int | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune delta`: writes what changed from one checkpoint to the next, without loss.

    `map` has names of the base, and what the new checkpoint calls the same tensors. `form` is "coded", or one that
    serving engines read, "xor-zstd" or "overwrite-zstd"; `checksum` ("xxh3-128", "blake3" or "adler32") and the
    version's `number` are for these. The result has `files`, `bytes`, `tensors`, and for "coded" `base_state` and
    `state`.
    """
    pairs = list((map or {}).items())
    how = (form, checksum)
    with shown(progress) as callback:
        found = _native.delta(
            os.fspath(base), os.fspath(new), os.fspath(output), how, pairs, number, max_shard_size, callback
        )
    return Result(json.loads(found))


def apply(
    base: Path,
    deltas: Path | Sequence[Path],
    output: Path | None = None,
    *,
    in_place: bool = False,
    dry_run: bool = False,
    max_shard_size: int | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune apply`: makes the checkpoint that the last of the deltas gives, in one pass.

    With `in_place`, the files of the base that change are replaced, all together. `dry_run` checks everything and
    writes nothing. Raises StageError if the base is another version, if the deltas are no chain, or if the result is
    not what the last one says; nothing has been written then.
    """
    if in_place == (output is not None) and not dry_run:
        raise TypeError("apply takes an output, or in_place=True")
    paths = [deltas] if isinstance(deltas, (str, os.PathLike)) else deltas
    with shown(progress) as callback:
        found = _native.apply(
            os.fspath(base), [os.fspath(path) for path in paths], _path(output), dry_run, max_shard_size, callback
        )
    return Result(json.loads(found))


def squash(
    deltas: Sequence[Path],
    output: Path,
    *,
    base: Path | None = None,
    max_shard_size: int | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune squash`: makes one delta of several. With the base of the first one, it is as small as a delta that
    was made at once."""
    with shown(progress) as callback:
        paths = [os.fspath(path) for path in deltas]
        found = _native.squash(paths, os.fspath(output), _path(base), max_shard_size, callback)
    return Result(json.loads(found))


#: Name, type, shape, and bytes of a tensor.
_Row = tuple[str, str, list[int], _arrays.Bytes]


class Publisher:
    """Writes versions of a model while it trains, each as what changed since the one before.

    `last` is the version that receivers have already: its tensors (a mapping of names to arrays of NumPy, PyTorch or
    JAX, such as a state dictionary), or the path of its checkpoint; `number` is its number. A copy of the last version
    stays in memory, and while one is written, also one of the new version.

    Version N is `weight_v{N:06}.safetensors` in the folder, for `apply`; with `form` "xor-zstd" or "overwrite-zstd",
    it is a folder `weight_v{N:06}/` as serving engines read it, and a full checkpoint where N is a multiple of
    `full_every`.
    """

    def __init__(
        self,
        folder: Path,
        last: Mapping[str, Any] | Path,
        *,
        form: str = "coded",
        checksum: str = "xxh3-128",
        number: int = 0,
        full_every: int | None = None,
    ) -> None:
        if full_every is not None and form == "coded":
            raise TypeError('full_every is for form="xor-zstd" and "overwrite-zstd"')
        rows: list[_Row] = _rows(last) if isinstance(last, Mapping) else []
        start = (None if isinstance(last, Mapping) else os.fspath(last), rows)
        self._native = _native.Publisher(os.fspath(folder), start, number, (form, checksum), full_every)

    @property
    def number(self) -> int:
        """The number of the last version."""
        return self._native.number()

    def publish(self, tensors: Mapping[str, Any], *, progress: Progress = None) -> Result:
        """Writes the next version, which becomes visible when it is complete. The result has `files`, `bytes`,
        `number`, `full`, and the number of tensors that `changed`. After an error, the next call writes the same
        version."""
        with shown(progress) as callback:
            return Result(json.loads(self._native.publish(_rows(tensors), callback)))


def _rows(tensors: Mapping[str, Any]) -> list[_Row]:
    rows: list[_Row] = []
    for name, tensor in tensors.items():
        dtype, shape, memory = _to_bytes(name, tensor)
        rows.append((name, dtype, shape, memory))
    return rows
