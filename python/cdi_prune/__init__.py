"""Deterministic initial checkpoints, what training changed of them, and files that need only the change.

`load_file` reads every file of cdi-prune, `DeterministicNoiseGenerator` draws initial values, and `run` and the other
functions do what the commands of the program `cdi-prune` do. The guide is docs/python.md.
"""

from .deltas import Publisher, apply, delta, squash
from .errors import CdiPruneError, ConfigError, GateError, NotTrainedError, StageError
from .files import File, Slice, load_file, open_file, save_file
from .noise import DeterministicNoiseGenerator
from .parts import Merged, merge, plan_parts, run_part
from .runs import Result, Run, analyze, compare, init, inspect, pack, plan, prune, restore, run, unpack, verify

__all__ = [
    "CdiPruneError",
    "ConfigError",
    "DeterministicNoiseGenerator",
    "File",
    "GateError",
    "Merged",
    "NotTrainedError",
    "Publisher",
    "Result",
    "Run",
    "Slice",
    "StageError",
    "analyze",
    "apply",
    "compare",
    "delta",
    "init",
    "inspect",
    "load_file",
    "merge",
    "open_file",
    "pack",
    "plan",
    "plan_parts",
    "prune",
    "restore",
    "run",
    "run_part",
    "save_file",
    "squash",
    "unpack",
    "verify",
]
