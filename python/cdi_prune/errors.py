"""What can go wrong, by the exit codes of the program."""

from __future__ import annotations

from typing import Any


class CdiPruneError(Exception):
    """Any error of this package that is not about an argument's type or value.

    `file`, `line` and `column` (both from 1) say where the error is, and `tensor` which tensor it is about, as far
    as that is known; otherwise they are None. `exit_code` is that of the program for the same error.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        tensor: str | None = None,
    ) -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.column = column
        self.tensor = tensor
        #: What a run had found and written before it failed: a `cdi_prune.Run`, for errors that come at its end.
        self.result: Any = None


class StageError(CdiPruneError):
    """A stage failed: input, output or data."""


class ConfigError(CdiPruneError):
    """Wrong config, or paths that exclude each other."""

    exit_code = 2


class NotTrainedError(CdiPruneError):
    """The trained checkpoint does not exist yet. The initial checkpoint was written, if the config has one."""

    exit_code = 3


class GateError(CdiPruneError):
    """A gate of the config failed. All outputs were written; `result` has the report."""

    exit_code = 4


_BY_CODE = {error.exit_code: error for error in (StageError, ConfigError, NotTrainedError, GateError)}


def _of_code(
    code: int, message: str, file: Any, line: int | None, column: int | None, tensor: str | None
) -> CdiPruneError:
    """The error that the library makes."""
    kind = _BY_CODE.get(code, StageError)
    return kind(message, None if file is None else str(file), line, column, tensor)
