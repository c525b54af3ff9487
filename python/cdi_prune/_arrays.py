"""Types of safetensors, and arrays for them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_NUMPY = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64",
}  # fmt: skip
# Types that NumPy has only with the package ml_dtypes.
_ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
# What PyTorch calls them too, those of ml_dtypes in newer versions.
_ALL = {**_NUMPY, **_ML_DTYPES}
# What a config calls the types of initial values.
_INITIAL = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_NAMES = {name: dtype for dtype, name in _ALL.items()}


def numpy_dtype(dtype: str, tensor: str = "") -> np.dtype[Any]:
    """The NumPy type of a safetensors type.

    Raises TypeError where NumPy has none, and ImportError where it needs ml_dtypes.
    """
    if dtype in _NUMPY:
        return np.dtype(_NUMPY[dtype])
    of = f"tensor `{tensor}` is" if tensor else "the type is"
    if dtype not in _ML_DTYPES:
        raise TypeError(f"{of} {dtype}, which NumPy has no type for; read its bytes with `get_bytes`")
    try:
        ml_dtypes = importlib.import_module("ml_dtypes")
    except ImportError:
        raise ImportError(
            f"{of} {dtype}, which NumPy has only with the package ml_dtypes: `pip install ml_dtypes`, or use "
            'framework="torch"'
        ) from None
    if not hasattr(ml_dtypes, _ML_DTYPES[dtype]):
        raise TypeError(f"{of} {dtype}, which this version of ml_dtypes does not have; a newer one may")
    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype]))
    return found


def dtype_name(dtype: Any, tensor: str) -> str:
    """The safetensors type of a type of NumPy or PyTorch. Raises TypeError where there is none."""
    name = dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")
    if name not in _NAMES:
        raise TypeError(f"tensor `{tensor}` is an array of {dtype}, which safetensors has no type for")
    return _NAMES[name]


def model(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The section `model` of a config with these tensors: whatever has a shape, and a type that initial values have."""
    forms = {}
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _INITIAL:
            raise TypeError(f"`{name}` is {dtype}; initial values have {', '.join(sorted(_INITIAL))}")
        forms[name] = {"shape": list(tensor.shape), "dtype": _INITIAL[dtype]}
    return {"tensors": forms}


def as_bytes(array: npt.NDArray[Any]) -> Bytes:
    """The bytes of a contiguous array, as they are in memory."""
    return array.reshape(-1).view(np.uint8)


class Framework(Protocol):
    """Makes arrays of one framework."""

    def empty(self, name: str, dtype: str, shape: list[int], length: int) -> tuple[Any, Bytes]:
        """A new array and its bytes, which are still to be written."""
        ...

    def finish(self, array: Any) -> Any:
        """The array when its bytes have been written."""
        ...


class NumPy:
    def empty(self, name: str, dtype: str, shape: list[int], length: int) -> tuple[Any, Bytes]:
        array = np.empty(shape, numpy_dtype(dtype, name))
        return array, as_bytes(array)

    def finish(self, array: Any) -> Any:
        return array


class Torch:
    def __init__(self, device: Any) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.device = device

    def empty(self, name: str, dtype: str, shape: list[int], length: int) -> tuple[Any, Bytes]:
        kind = getattr(self.torch, _ALL.get(dtype, ""), None)
        if kind is None:
            raise TypeError(f"tensor `{name}` is {dtype}, which this version of PyTorch has no type for")
        memory = self.torch.empty(length, dtype=self.torch.uint8)
        if not length:
            return self.torch.empty(shape, dtype=kind), memory.numpy()
        return memory.view(kind).reshape(shape), memory.numpy()

    def finish(self, array: Any) -> Any:
        return array if self.device is None else array.to(self.device)


class Jax(NumPy):
    def __init__(self, device: Any) -> None:
        self.jax: Any = importlib.import_module("jax")
        self.device = device

    def finish(self, array: Any) -> Any:
        # 64-bit types become 32-bit ones unless JAX is told otherwise, as for any array.
        return self.jax.device_put(array, self.device)


def framework(name: str, device: Any) -> Framework:
    """The framework of this name. Raises ValueError if it is unknown."""
    if name in ("numpy", "np"):
        if device not in (None, "cpu"):
            raise ValueError(f"device {device!r}: arrays of NumPy are in the computer's memory; leave `device` out")
        return NumPy()
    if name in ("torch", "pt"):
        return Torch(device)
    if name in ("jax", "flax"):
        return Jax(device)
    raise ValueError(f'framework {name!r}: expected "numpy", "torch" or "jax"')
