"""Turn what a user passes into tensors of one data type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.op import Array
from graphc.ir.source import Constant, constant, fixed
from graphc.ir.tensor import Tensor, located
from graphc.ops.cast import cast
from graphc.types import BOOL, FLOAT32, INT64, promote

_WEAK = (bool, int, float)  # Python's numbers take the data type of the tensors they meet

_FLOAT: ContextVar[np.dtype[Any]] = ContextVar("float", default=FLOAT32)
"""What integers become where they must be floating-point."""


@contextmanager
def floats_of(dtype: np.dtype[Any]) -> Iterator[None]:
    """Let integers become ``dtype`` where they must be floating-point, and float32 otherwise."""
    before = _FLOAT.set(dtype)
    try:
        yield
    finally:
        _FLOAT.reset(before)


def as_tensor(value: Any) -> Tensor:
    """Return ``value`` as a tensor: itself, or a constant."""
    return value if isinstance(value, Tensor) else constant(value)


def is_weak(value: Any) -> bool:
    """Tell whether ``value`` is a Python number, or a tensor made of Python floats alone."""
    if isinstance(value, Tensor):
        return value.weak and value.dtype.kind == "f"
    return isinstance(value, _WEAK) and not isinstance(value, np.generic)


def value_of(value: Any) -> Array | None:
    """Return a number, array or constant as an array; None where the value is not known yet."""
    if isinstance(value, Tensor):
        return value.op.value.array if isinstance(value.op, Constant) else None
    return np.asarray(value)


def beyond(value: Any, other: Any) -> int:
    """Tell where a Python integer lies to those of a tensor: 1 above all, -1 below, else 0."""
    if not isinstance(value, int) or not isinstance(other, Tensor) or other.dtype.kind == "f":
        return 0
    limits = np.iinfo(INT64 if other.dtype == BOOL else other.dtype)
    return int(value > limits.max) - int(value < limits.min)


def _weak_dtype(dtype: np.dtype[Any], value: Any) -> np.dtype[Any]:
    """Return the type of the weak number ``value`` next to tensors of ``dtype``."""
    if isinstance(value, bool):
        return dtype
    if isinstance(value, int):
        return INT64 if dtype == BOOL else dtype
    return dtype if dtype.kind == "f" else _FLOAT.get()


def common(what: str, *values: Any, floating: bool = False) -> tuple[Tensor, ...]:
    """Return ``values`` as tensors cast to one data type.

    Tensors and arrays promote by the array API's table; Python's numbers, and what is made of
    Python floats alone, are weak. With ``floating``, integers and bools become float32.

    Raises :class:`RangeError` for a Python integer that the data type does not hold.
    """
    first, *others = (v.dtype if isinstance(v, Tensor) and not v.weak else None for v in values)
    if (
        first is not None
        and all(d is first for d in others)
        and (first.kind == "f" or not floating)
    ):
        return values
    try:
        given = [v if isinstance(v, Tensor) or is_weak(v) else fixed(v) for v in values]
        weak = [v for v in given if is_weak(v)]
        strong = [v.dtype for v in given if isinstance(v, Tensor) and not is_weak(v)]
        dtype = promote(*strong) if strong else as_tensor(weak[0]).dtype
        for value in weak:
            dtype = promote(dtype, _weak_dtype(dtype, value))
        if floating and dtype.kind != "f":
            dtype = _FLOAT.get()
        return tuple([_to(v, dtype, bool(strong)) for v in given])
    except GraphcError as error:
        raise located(error, what, tuple(v for v in values if isinstance(v, Tensor))) from None


def _to(value: Any, dtype: np.dtype[Any], strong: bool) -> Tensor:
    if isinstance(value, Tensor):
        return cast(value, dtype)
    if strong or dtype.kind != "f":
        return fixed(value, dtype)
    return fixed(float(value))
