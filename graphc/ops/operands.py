"""Turn what a user passes into tensors of one data type."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.source import constant
from graphc.ir.tensor import Tensor, errors_of
from graphc.ops.cast import cast
from graphc.types import BOOL, FLOAT32, INT64, promote

_WEAK = (bool, int, float)  # Python's numbers take the data type of the tensors they meet


def as_tensor(value: Any) -> Tensor:
    """Return ``value`` as a tensor: itself, or a constant."""
    return value if isinstance(value, Tensor) else constant(value)


def is_weak(value: Any) -> bool:
    """Tell whether ``value`` is a Python number, or a tensor made of Python floats alone."""
    if isinstance(value, Tensor):
        return value.weak and value.dtype.kind == "f"
    return isinstance(value, _WEAK) and not isinstance(value, np.generic)


def beyond(value: Any, t: Tensor) -> int:
    """Return 1 if ``value`` is a Python integer above those of ``t``, -1 if below, else 0."""
    if isinstance(value, bool) or not isinstance(value, int) or t.dtype.kind == "f":
        return 0
    limits = np.iinfo(INT64 if t.dtype == BOOL else t.dtype)
    return int(value > limits.max) - int(value < limits.min)


def _weak_dtype(dtype: np.dtype[Any], value: Any) -> np.dtype[Any]:
    """Return the type of the weak number ``value`` next to tensors of ``dtype``."""
    if isinstance(value, bool):
        return dtype
    if isinstance(value, int):
        return INT64 if dtype == BOOL else dtype
    return dtype if dtype.kind == "f" else FLOAT32


def common(what: str, *values: Any, floating: bool = False) -> tuple[Tensor, ...]:
    """Return ``values`` as tensors cast to one data type.

    Tensors and arrays promote by the array API's table; Python's numbers, and what is made of
    Python floats alone, are weak. With ``floating``, integers and bools become float32.

    Raises :class:`RangeError` for a Python integer that the data type does not hold.
    """
    with errors_of(what):
        given = [v if is_weak(v) else as_tensor(v) for v in values]
        weak = [v for v in given if is_weak(v)]
        strong = [v.dtype for v in given if isinstance(v, Tensor) and not is_weak(v)]
        dtype = promote(*strong) if strong else as_tensor(weak[0]).dtype
        for value in weak:
            dtype = promote(dtype, _weak_dtype(dtype, value))
        if floating and dtype.kind != "f":
            dtype = FLOAT32
        return tuple(_to(v, dtype, bool(strong)) for v in given)


def _to(value: Any, dtype: np.dtype[Any], strong: bool) -> Tensor:
    if isinstance(value, Tensor):
        return cast(value, dtype)
    if strong or dtype.kind != "f":
        return constant(value, dtype)
    return constant(float(value))
