"""Progress of long work."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator
from typing import Any, Union

#: Called with the stage, and how many of its bytes are done and how many there are.
Callback = Callable[[str, int, int], object]
Progress = Union[Callback, bool, None]


@contextlib.contextmanager
def shown(progress: Progress) -> Generator[Callback | None, None, None]:
    """What the library calls: the given function, or for True a bar of tqdm, which must be installed."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with contextlib.closing(_Bar()) as bar:
            yield bar
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress: expected a function, True or None, got {type(progress).__name__}")


class _Bar:
    def __init__(self) -> None:
        try:
            self.tqdm: Any = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            raise ImportError("progress=True needs the package tqdm: `pip install tqdm`, or give a function") from None
        self.stage = ""
        self.bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self.bar is None or stage != self.stage:
            self.close()
            self.bar = self.tqdm(total=total, desc=stage, unit="B", unit_scale=True)
            self.stage = stage
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
