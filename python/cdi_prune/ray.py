"""Runs in parts as Ray tasks: `cdi_prune.ray.run`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import ray

from . import errors
from .files import Path
from .parts import merge, run_part
from .runs import Config, Run

#: Called with the name of a step, the number of its parts that are done, and the number of all parts.
Progress = Callable[[str, int, int], object]


def _part(config: Config, number: int, parts: int, set: Mapping[str, Any] | None, folder: str | None) -> str | None:
    """Does a part. Returns the name of its step; None if the run is finished."""
    step: str | None = run_part(config, number, parts, set=set, folder=folder)["step"]
    return step


def _merge(config: Config, parts: int, set: Mapping[str, Any] | None, folder: str | None) -> tuple[bool, Run | None]:
    merged = merge(config, parts, set=set, folder=folder)
    return merged["finished"], merged.run


def run(
    config: Path,
    *,
    parts: int,
    address: str | None = None,
    set: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    num_cpus: float = 1,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    max_retries: int = 3,
    progress: Progress | None = None,
) -> Run | None:
    """Runs a config in parts on a Ray cluster, and writes what `cdi_prune.run` writes on one machine, bit for bit.

    `config` is the path of a config that every node sees at the same place, like its inputs and outputs; `folder` is
    where parts exchange what they find, by default a hidden folder beside the first output. Each step is `parts` tasks,
    and a task that merges them. `address` is given to `ray.init` if Ray is not connected yet. `num_cpus`, `memory`
    (bytes) and `resources` are what a part asks of a node: it uses `num_cpus` threads, at least 1. A task whose worker
    or node dies is done again, up to `max_retries` times; that is safe, as a part that is done again has the same
    result. `progress` is called with the step, and how many parts of how many are done.

    Returns what the run found; None if it had been finished before. Raises what `cdi_prune.run` raises. After
    KeyboardInterrupt, or an error, the tasks that are left are cancelled, and the outputs are as they were.
    """
    if not ray.is_initialized():
        ray.init(address=address)
    path = os.path.abspath(os.fspath(config))
    where = None if folder is None else os.path.abspath(os.fspath(folder))
    # Threads start with the process, which may have done tasks of others before.
    threads = {"env_vars": {"RAYON_NUM_THREADS": str(max(1, int(num_cpus)))}}
    options: dict[str, Any] = {
        "num_cpus": num_cpus,
        "max_retries": max_retries,
        "resources": dict(resources or {}),
        "runtime_env": threads,
    }
    if memory is not None:
        options["memory"] = memory
    part: Any = ray.remote(**options)(_part)
    merging: Any = ray.remote(**options)(_merge)
    pending: list[Any] = []
    try:
        while True:
            pending = [part.remote(path, number, parts, set, where) for number in range(1, parts + 1)]
            while pending:
                ready, pending = ray.wait(pending, num_returns=1)
                step = ray.get(ready[0])
                if progress is not None and step is not None:
                    progress(step, parts - len(pending), parts)
            pending = [merging.remote(path, parts, set, where)]
            merged: tuple[bool, Run | None] = ray.get(pending[0])
            pending = []
            if merged[0]:
                return merged[1]
    except ray.exceptions.RayTaskError as error:
        # What the function raised, not what Ray makes of it.
        if isinstance(error.cause, errors.CdiPruneError):
            raise error.cause from None
        raise
    finally:
        for task in pending:
            ray.cancel(task, force=True)
