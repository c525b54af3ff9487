"""What type checkers see of the package; run by none of the tests."""

# pyright: strict
from __future__ import annotations

from pathlib import Path

import numpy as np
from typing_extensions import assert_type

import cdi_prune


def weights(path: Path) -> float:
    with cdi_prune.open_file(path, base=None) as file:
        assert_type(file.keys(), "list[str]")
        assert_type(file.get_shape("w"), "list[int]")
        part = file.get_slice("w")[0:3, ...]
        assert_type(file.metadata(), "dict[str, str]")
    noise = cdi_prune.DeterministicNoiseGenerator(seed=1)
    matrix = noise.init_matrix(0, (3, 4), {"mode": "normal", "std": 0.1}, dtype=np.float16)
    changed, delta = noise.check_weight_changed(0.5, 0, 1, 2, 4, 3)
    assert_type(changed, bool)
    mask = noise.get_awakened_mask(matrix, 0)
    assert_type(mask.dtype, "np.dtype[np.bool_]")
    return delta + float(part.sum())


def report(config: Path) -> int:
    try:
        run = cdi_prune.run(config, set={"analyze.threshold": 1e-4}, progress=lambda stage, done, total: None)
    except cdi_prune.GateError as error:
        assert_type(error.file, "str | None")
        return error.exit_code
    assert_type(run.up_to_date, bool)
    return int(run["totals"]["sleeping_weights"])
