"""Initial values: every weight is a function of (seed, layer id, coordinates)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Union, cast

import numpy as np
import numpy.typing as npt

from . import _arrays, _native

#: A mode, such as "he", or a mapping with the keys that `init` has in a config: {"mode": "normal", "std": 0.02}.
Mode = Union[str, Mapping[str, Any]]


class DeterministicNoiseGenerator:
    """Initial values of one seed, with the same bits as those of the program, on any machine.

    Layer ids are integers from 0 to 2^64 - 1; a seed may also be negative, down to -2^63, which is the seed 2^64
    higher. Values are those that a checkpoint of type F32 stores, as NumPy arrays of float32, unless another `dtype`
    is asked for.
    """

    def __init__(self, seed: int = 42) -> None:
        if _is_integer(seed) and -(1 << 63) <= int(seed) < 0:
            seed = int(seed) + (1 << 64)
        self.seed = _unsigned("seed", seed)

    def __repr__(self) -> str:
        return f"DeterministicNoiseGenerator(seed={self.seed})"

    def gaussian(self, *indices: int) -> float:
        """A draw from the standard normal distribution, in binary64, at the coordinates (layer id, i, j). Of these,
        one to three are given; the others are 0."""
        if not 1 <= len(indices) <= 3:
            raise TypeError(f"gaussian takes one to three indices (layer id, i, j), got {len(indices)}")
        layer, i, j = (*(_unsigned("index", index) for index in indices), 0, 0)[:3]
        return _native.gaussian(self.seed, layer, i, j)

    def init_weight(self, layer_id: int, i: int, j: int, fan_in: int, fan_out: int, mode: Mode = "he") -> float:
        """The weight of output i and input j of a linear layer `[fan_out, fan_in]`, without drawing any other. It has
        the value that F32 stores."""
        initial = self._initial(layer_id, (fan_out, fan_in), mode)
        return float(np.float32(initial.at(_unsigned("i", i), _unsigned("j", j))))

    def init_matrix(
        self,
        layer_id: int,
        shape: Any,
        mode: Any = "he",
        orthogonal: bool = False,
        *,
        dtype: Any = np.float32,
        layout: str = "out_in",
    ) -> npt.NDArray[Any]:
        """The weights of a linear layer of shape `(fan_out, fan_in)`. The shape may also come third, after the mode or
        after its first number: `init_matrix(0, "he", (64, 128))`, `init_matrix(0, 64, 128)`.

        `orthogonal=True` is mode="orthogonal". `dtype` is float64, float32, float16, "bfloat16" or "BF16" (with the
        package ml_dtypes); the values are those of a checkpoint of this type (16-bit ones are rounded by way of
        float32).
        """
        if isinstance(shape, (str, Mapping)):
            shape, mode = ("he" if isinstance(mode, str) else mode), cast("Mode", shape)
        elif _is_integer(shape) and _is_integer(mode):
            shape, mode = (shape, mode), "he"
        if len(_shape(shape)) != 2:
            raise ValueError(f"shape {shape!r}: expected two numbers, (fan_out, fan_in)")
        return self.init(layer_id, shape, "orthogonal" if orthogonal else mode, dtype=dtype, layout=layout)

    def init_conv_kernel(
        self, layer_id: int, shape: Sequence[int], mode: Mode = "he", *, dtype: Any = np.float32, layout: str = "out_in"
    ) -> npt.NDArray[Any]:
        """The kernels of a convolution, of shape `(out, in, height, width)`, or with one or three kernel
        dimensions. For the order of Flax and Keras, `(height, width, in, out)`, see `layout` of `init`."""
        if len(_shape(shape)) < 3:
            raise ValueError(f"shape {shape!r}: expected (out, in, height, width)")
        return self.init(layer_id, shape, mode, dtype=dtype, layout=layout)

    def init(
        self, layer_id: int, shape: Sequence[int], mode: Mode = "he", *, dtype: Any = np.float32, layout: str = "out_in"
    ) -> npt.NDArray[Any]:
        """A tensor of any shape that the mode can initialise: its initial values as in a checkpoint of this
        type. `layout` is "out_in" (PyTorch) or "in_out" (Flax, Keras, Conv1D of transformers)."""
        shape = _shape(shape)
        initial = self._initial(layer_id, shape, mode, layout)
        numpy_type = _dtype(dtype)
        out: npt.NDArray[Any] = np.empty(shape, numpy_type)
        flat = out.reshape(-1)
        if numpy_type == np.float64:
            initial.fill_f64(flat)
        elif numpy_type == np.float32:
            initial.fill_f32(flat)
        elif numpy_type == np.float16:
            initial.fill_f16(flat.view(np.uint16))
        else:
            initial.fill_bf16(flat.view(np.uint16))
        return out

    def check_weight_changed(
        self,
        current: float,
        layer_id: int,
        i: int,
        j: int,
        fan_in: int,
        fan_out: int,
        *,
        mode: Mode = "he",
        threshold: float = 0.0,
    ) -> tuple[bool, float]:
        """Whether a weight, rounded to F32, differs from its initial value by more than the threshold, and by how much:
        `(changed, current - initial)`. NaN has changed."""
        delta = float(np.float32(current)) - self.init_weight(layer_id, i, j, fan_in, fan_out, mode)
        return not abs(delta) <= _threshold(threshold), delta

    def analyze_weight_matrix(
        self, weights: npt.ArrayLike, layer_id: int, mode: Mode = "he", threshold: float = 0.0
    ) -> dict[str, float]:
        """Compares a matrix `[fan_out, fan_in]` of float32 with its initial values.

        Returns `total_weights`, `changed_weights` (|delta| above the threshold, or NaN), `sleeping_weights` (the
        others), `changed_percentage`, `mean_delta` and `max_delta` (of the finite |delta|), and `not_finite`, `zeros`,
        `sleeping_rows` and `sleeping_columns` (in which every weight sleeps).
        """
        return self._compared(weights, layer_id, mode, threshold)[0]

    def get_awakened_mask(
        self, weights: npt.ArrayLike, layer_id: int, threshold: float = 0.0, *, mode: Mode = "he"
    ) -> npt.NDArray[np.bool_]:
        """True for each weight that has changed, as `analyze_weight_matrix` counts them."""
        return self._compared(weights, layer_id, mode, threshold)[1]

    def _compared(
        self, weights: npt.ArrayLike, layer_id: int, mode: Mode, threshold: float
    ) -> tuple[dict[str, float], npt.NDArray[np.bool_]]:
        array = np.asarray(weights)
        if array.dtype.newbyteorder("=") != np.float32:
            raise TypeError(f"weights: expected float32, got {array.dtype}; `analyze` compares checkpoints of any type")
        if array.ndim != 2:
            raise ValueError(f"weights: expected a matrix, got shape {array.shape}")
        initial = self._initial(layer_id, array.shape, mode)
        return initial.compare(np.ascontiguousarray(array, np.float32), _threshold(threshold))

    def _initial(self, layer_id: int, shape: Sequence[int], mode: Mode, layout: str = "out_in") -> _native.Initial:
        if layout not in ("out_in", "in_out"):
            raise ValueError(f'layout {layout!r}: expected "out_in" or "in_out"')
        text = json.dumps(mode if isinstance(mode, str) else dict(mode))
        dims = [_unsigned("shape", size) for size in shape]
        return _native.Initial(self.seed, _unsigned("layer_id", layer_id), text, dims, layout == "in_out")


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__")


def _unsigned(what: str, value: Any) -> int:
    if not _is_integer(value):
        raise TypeError(f"{what}: expected an integer, got {type(value).__name__}")
    number = int(value)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{what}: expected an integer from 0 to 2^64 - 1, got {number}")
    return number


def _shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (str, bytes)) or not hasattr(shape, "__iter__"):
        raise TypeError(f"shape: expected a sequence of integers, got {shape!r}")
    return tuple(_unsigned("shape", size) for size in shape)


def _threshold(threshold: float) -> float:
    if not 0 <= threshold < float("inf"):
        raise ValueError(f"threshold {threshold}: expected a finite number of at least 0")
    return float(threshold)


def _dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, str) and dtype.lower() in ("bf16", "bfloat16"):
        return _arrays.numpy_dtype("BF16")
    numpy_type: np.dtype[Any] = np.dtype(dtype)
    if numpy_type.name not in ("float64", "float32", "float16", "bfloat16"):
        raise TypeError(f"dtype {dtype}: expected float64, float32, float16 or bfloat16")
    return numpy_type
