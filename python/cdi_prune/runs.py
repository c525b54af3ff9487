"""The commands of the program as functions."""

from __future__ import annotations

import html as _html
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union

from . import _native
from ._progress import Progress, shown
from .files import File, Path

#: A config: the path of a YAML file, or its content, as text (of more than one line) or as a mapping.
Config = Union[str, "os.PathLike[str]", Mapping[str, Any]]


class Result(Mapping[str, Any]):
    """What a command found: a mapping with the keys of its JSON form, which are attributes too: `result["totals"]`
    and `result.totals` are the same."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def __getattr__(self, name: str) -> Any:
        # Asked for what is no attribute. `_found` itself is missing in a copy that is being made.
        found: dict[str, Any] = self.__dict__.get("_found", {})
        if name in found:
            return found[name]
        raise AttributeError(f"{type(self).__name__} has no `{name}`; it has {', '.join(found) or 'no keys'}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self._found if key.isidentifier())]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._found!r})"


class Run(Result):
    """What a run found and wrote: the keys of the JSON report (`totals`, `tensors`, …), none if it compared
    nothing."""

    def __init__(self, found: dict[str, Any], page: str | None) -> None:
        super().__init__(found.get("report") or {})
        self._page = page
        #: Whether nothing was done, since the manifest proves that all outputs are up to date.
        self.up_to_date: bool = found["up_to_date"]
        #: The initial checkpoint and the pruned one, if they were written: `files`, `tensors`, `bytes`.
        self.initial: dict[str, Any] | None = found.get("initial")
        self.pruned: dict[str, Any] | None = found.get("pruned")
        #: The files of the report.
        self.report_files: list[str] = found.get("report_files", [])

    def __repr__(self) -> str:
        if self.up_to_date:
            return "<Run: up to date>"
        parts: list[str] = []
        for what, written in (("initial", self.initial), ("pruned", self.pruned)):
            if written:
                parts.append(f"{what} {written['files'][0]}, {written['bytes']:,} bytes")
        totals = self.get("totals")
        if totals and totals.get("sleeping_weights") is not None:
            parts.append(f"{totals['sleeping_weights']:,} of {totals['total_weights']:,} weights sleep")
        return f"<Run: {'; '.join(parts) or 'nothing written'}>"

    def to_pandas(self) -> Any:
        """The tensors of the report as a pandas.DataFrame, a row each. Needs the package pandas."""
        pandas = importlib.import_module("pandas")
        return pandas.json_normalize(self.get("tensors", []))

    def _repr_html_(self) -> str:
        if self._page is None:
            return f"<pre>{_html.escape(repr(self))}</pre>"
        page = _html.escape(self._page, quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 40em; border: 0" sandbox="allow-scripts"></iframe>'


def run(config: Config, *, set: Mapping[str, Any] | None = None, force: bool = False, progress: Progress = None) -> Run:
    """`cdi-prune run`: every stage of the config. `set` overrides keys: `{"analyze.threshold": 1e-4}`.

    Relative paths in a config file are relative to its folder, those of text or a mapping to the current
    folder. `progress` is a function that is called with the stage, its bytes that are done and all its bytes,
    or True for a bar of tqdm.

    Raises NotTrainedError before there is a trained checkpoint, and GateError if a gate failed; both when everything
    has been written, which their `result` tells.
    """
    return _run(config, "run", set, progress, force)


def init(config: Config, *, set: Mapping[str, Any] | None = None, progress: Progress = None) -> Run:
    """`cdi-prune init`: writes the initial checkpoint."""
    return _run(config, "init", set, progress)


def analyze(config: Config, *, set: Mapping[str, Any] | None = None, progress: Progress = None) -> Run:
    """`cdi-prune analyze`: compares the trained checkpoint with its initial values, and writes the reports."""
    return _run(config, "analyze", set, progress)


def prune(config: Config, *, set: Mapping[str, Any] | None = None, progress: Progress = None) -> Run:
    """`cdi-prune prune`: writes the pruned checkpoint."""
    return _run(config, "prune", set, progress)


def plan(config: Config, *, set: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """`cdi-prune plan`: every tensor with its rule, layer id, initialiser, action and size."""
    rows: list[dict[str, Any]] = json.loads(_native.plan(_config(config, set)))
    return rows


def verify(manifest: Path, *, sample: int | None = None, progress: Progress = None) -> Result:
    """`cdi-prune verify`: checks every file of a run against its manifest. Raises StageError if one differs."""
    with shown(progress) as callback:
        return Result(json.loads(_native.verify(os.fspath(manifest), sample, callback)))


def compare(old: Path, new: Path) -> Result:
    """`cdi-prune compare`: what changed between two JSON reports."""
    return Result(json.loads(_native.compare(os.fspath(old), os.fspath(new))))


def inspect(file: Path, *, progress: Progress = None) -> Result:
    """`cdi-prune inspect`: the tensors of a checkpoint, with shares of zeros and, if coded, bits per weight."""
    with shown(progress) as callback:
        return Result(json.loads(_native.inspect(os.fspath(file), callback)))


def pack(
    checkpoint: Path,
    output: Path,
    *,
    base: Path | None = None,
    config: Config | None = None,
    set: Mapping[str, Any] | None = None,
    max_shard_size: int | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune pack`: codes a whole checkpoint without loss, over its base or the initial values of a config."""
    if base is not None and config is not None:
        raise TypeError("pack takes a base or a config, not both")
    start = None if config is None else _config(config, set)
    with shown(progress) as callback:
        found = _native.pack(os.fspath(checkpoint), os.fspath(output), _path(base), start, max_shard_size, callback)
    return Result(json.loads(found))


def unpack(
    file: Path,
    output: Path,
    *,
    base: Path | None = None,
    max_shard_size: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune unpack`: gives back what was packed, bit for bit."""
    return _restored(_native.unpack, file, output, (_path(base), max_shard_size, max_memory), progress)


def restore(
    file: Path,
    output: Path,
    *,
    base: Path | None = None,
    max_shard_size: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune restore`: the ordinary dense checkpoint of a pruned or packed file."""
    return _restored(_native.restore, file, output, (_path(base), max_shard_size, max_memory), progress)


def _restored(
    native: Callable[..., str], file: Path, output: Path, how: tuple[Any, ...], progress: Progress
) -> Result:
    with shown(progress) as callback:
        return Result(json.loads(native(os.fspath(file), os.fspath(output), how, callback)))


def _path(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path)


def _config(config: Config, set: Mapping[str, Any] | None) -> tuple[str | None, str, list[str]]:
    overrides = [f"{key}={json.dumps(value)}" for key, value in (set or {}).items()]
    # JSON is YAML. Without a file, relative paths are relative to the current folder, and messages say `config`.
    if isinstance(config, Mapping):
        return json.dumps(dict(config), default=os.fspath), "config", overrides
    if isinstance(config, str) and "\n" in config:
        return config, "config", overrides
    return None, os.fspath(config), overrides


def _initial(config: Config, model: Any, set: Mapping[str, Any] | None, framework: str) -> tuple[File, list[Any]]:
    """The initial checkpoint of a model by a config, in memory, and the rows of `plan` that have initial values."""
    # Relative paths in a config stay those of its folder: what is added are overrides. The output is not written.
    overrides = {"model": model, "init": {"output": "initial.safetensors"}, **(set or {})}
    spec = _config(config, overrides)
    rows = [row for row in json.loads(_native.plan(spec)) if row["init"] not in (None, "none")]
    return File._of(_native.initial(spec), framework), rows


def _run(config: Config, stage: str, set: Mapping[str, Any] | None, progress: Progress, force: bool = True) -> Run:
    with shown(progress) as callback:
        return _outcome(_native.run(_config(config, set), stage, force, callback))


def _outcome(told: tuple[str, str | None, Exception | None]) -> Run:
    """What a run found; raises what came after all outputs."""
    found, page, error = told
    result = Run(json.loads(found), page)
    if error is not None:
        error.result = result  # type: ignore[attr-defined]
        raise error
    return result
