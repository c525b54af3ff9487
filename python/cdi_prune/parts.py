"""Runs in parts: what several processes do of one run, on whatever engine starts them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import _native
from ._progress import Progress, shown
from .files import Path
from .runs import Config, Result, Run, _config, _outcome, _path


class Merged(Result):
    """What became of a merge: `finished`; else the step that was `merged`, and the `next` one."""

    def __init__(self, found: dict[str, Any], run: Run | None) -> None:
        super().__init__(found)
        #: What the run found and wrote, if this merge has finished it.
        self.run = run


def plan_parts(config: Config, parts: int, *, set: Mapping[str, Any] | None = None) -> Result:
    """`cdi-prune plan --parts`: the `steps` of a run in parts, whether there `may_be_more`, and of each of its
    `parts` the number of `tensors` and their `bytes`."""
    return Result(json.loads(_native.plan_parts(_config(config, set), parts)))


def run_part(
    config: Config,
    number: int,
    parts: int,
    *,
    set: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    progress: Progress = None,
) -> Result:
    """`cdi-prune run --part`: does part `number`, from 1 to `parts`, of the next step.

    All processes of a run see the same files, give the same config, and exchange what they find in `folder`, by
    default a hidden one beside the first output. The result says which `step` it was, and whether the part had been
    done before (`again`), or the whole run is `finished`.
    """
    if not 1 <= number <= parts:
        raise ValueError(f"expected a part from 1 to {parts}, got {number}")
    with shown(progress) as callback:
        how = (parts, _path(folder))
        return Result(json.loads(_native.run_part(_config(config, set), number, how, callback)))


def merge(
    config: Config,
    parts: int,
    *,
    set: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    progress: Progress = None,
) -> Merged:
    """`cdi-prune merge`: merges the parts of a step, once all are done. After the last step, this writes what `run`
    writes, bit for bit, and raises what `run` raises."""
    if parts < 1:
        raise ValueError(f"expected a number of parts, got {parts}")
    with shown(progress) as callback:
        found, told = _native.merge(_config(config, set), (parts, _path(folder)), callback)
    return Merged(json.loads(found), None if told is None else _outcome(told))
